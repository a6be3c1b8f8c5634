use chassis::auth::{Identity, Scopes};
use proto::{ChannelOptions, EventName, Kind, MessageId, Pattern, Position, Tenant, UserId};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::*;
use crate::endpoint::Protocol;
use crate::peer::standing::{Record, Standing};

const NOW: Timestamp = Timestamp(1_000_000);

fn session() -> Session {
    let terms = Terms {
        node: NodeId::new("n").unwrap(),
        endpoint: Endpoint { max_rooms: 2, ..Endpoint::default() },
        channels: Arc::default(),
    };
    Session::new(Arc::new(terms), SessionId::new("s").unwrap())
}

fn identity(user: &str) -> Box<Identity> {
    Box::new(Identity {
        tenant: Tenant::new("t").unwrap(),
        user: UserId::new(user).unwrap(),
        name: None,
        rooms: vec![Pattern::new("*").unwrap()],
        scopes: Scopes::default(),
        claims: Map::from_iter([("large".to_owned(), Value::Null)]),
        expires_at: 1060,
        token: TokenFacts::default(),
    })
}

fn with_token() -> Handshake {
    Handshake { token: Some("token".to_owned()), since: Cursor::default(), resume: None, device: None }
}

/// The user is a member of no room.
fn nothing_more() -> Outcome {
    Outcome::Admitted { places: Vec::new(), rooms: Vec::new(), memberships: Vec::new(), resumed: None }
}

fn admitted() -> Session {
    let mut session = session();
    session.opened(with_token(), NOW);
    session.finished(Outcome::Verified(Purpose::Authenticate, Ok(identity("ann"))), NOW);
    session.finished(nothing_more(), NOW);
    effects(&mut session);
    session
}

/// Effects in short: the type of a frame, the name of an operation or timer, the code of a close.
fn effects(session: &mut Session) -> Vec<String> {
    std::iter::from_fn(|| session.poll())
        .map(|effect| match effect {
            Effect::Send(frame) => {
                // A server frame of less than 126 bytes has a head of two bytes, of more than that four.
                let head = if frame[1] < 126 { 2 } else { 4 };
                let frame: Value = serde_json::from_slice(&frame[head..]).unwrap();
                match frame["code"].as_str() {
                    Some(code) => format!("error {code}"),
                    None => frame["type"].as_str().unwrap().to_owned(),
                }
            }
            Effect::Start(operation) => {
                format!("{operation:?}").split([' ', '{']).next().unwrap_or_default().to_owned()
            }
            Effect::Leave(channel) => format!("leave {channel}"),
            Effect::Set(timer, after) => format!("{timer:?} {:?}", after.map(|after| after.as_secs())),
            Effect::Accept => "accept".to_owned(),
            Effect::Refuse(code, _) => format!("refuse {}", code.as_str()),
            Effect::Close(close, _) => format!("close {}", close.code()),
        })
        .collect()
}

fn ask(session: &mut Session, command: Command) -> Vec<String> {
    session.request(Ok(Request { id: None, command }), true, NOW);
    effects(session)
}

fn join(room: &str) -> Command {
    Command::Join { room: Room::new(room).unwrap(), since: None }
}

fn joined(session: &mut Session, room: &str) {
    ask(session, join(room));
    let room = Room::new(room).unwrap();
    let position = Position::start(proto::Epoch(1));
    session.finished(Outcome::Joined { room, position, recovered: false, user_count: None }, NOW);
    assert_eq!(effects(session), ["joined"]);
}

#[test]
fn a_session_begins_when_its_token_is_good() {
    let mut session = session();
    session.opened(Handshake::default(), NOW);
    assert_eq!(effects(&mut session), ["welcome", "Authentication Some(10)"]);
    assert_eq!(ask(&mut session, join("a")), ["error not_authenticated"]);
    assert_eq!(ask(&mut session, Command::Ping), ["pong"]);
    assert_eq!(
        ask(&mut session, Command::Auth { token: "t".to_owned(), since: Cursor::default(), device: None }),
        ["Verify"]
    );
    session.finished(Outcome::Verified(Purpose::Authenticate, Ok(identity("ann"))), NOW);
    assert_eq!(effects(&mut session), ["Authentication None", "Token Some(60)", "Admit"]);
    session.finished(nothing_more(), NOW);
    assert_eq!(effects(&mut session), ["auth_success"]);
}

#[test]
fn a_refused_token_ends_an_attempt_but_not_a_session() {
    for (error, close) in [
        (TokenError::BadSignature, "close 4500"),
        (TokenError::Expired, "close 4001"),
        (TokenError::KeysUnavailable, "close 1013"),
    ] {
        let mut session = session();
        session.opened(with_token(), NOW);
        effects(&mut session);
        session.finished(Outcome::Verified(Purpose::Authenticate, Err(error)), NOW);
        assert_eq!(effects(&mut session).last().map(String::as_str), Some(close));
        assert!(ask(&mut session, Command::Ping).is_empty(), "a closed session is silent");
    }
    let mut session = admitted();
    assert_eq!(ask(&mut session, Command::Refresh { token: "t".to_owned() }), ["Verify"]);
    session.finished(Outcome::Verified(Purpose::Refresh, Err(TokenError::Expired)), NOW);
    assert_eq!(effects(&mut session), ["error token_expired"]);
    session.finished(Outcome::Verified(Purpose::Refresh, Ok(identity("bob"))), NOW);
    assert_eq!(effects(&mut session), ["error forbidden"]);
    session.finished(Outcome::Verified(Purpose::Refresh, Ok(identity("ann"))), NOW);
    assert_eq!(effects(&mut session), ["Token Some(60)", "auth_success"]);
}

#[test]
fn the_number_of_rooms_is_limited_and_joining_again_takes_no_second_place() {
    let mut session = admitted();
    joined(&mut session, "a");
    joined(&mut session, "b");
    assert_eq!(ask(&mut session, join("c")), ["error limit_reached"]);
    joined(&mut session, "b");
    let leave = |room| Command::Leave { room: Room::new(room).unwrap() };
    assert_eq!(ask(&mut session, leave("b")), ["leave t/r/b", "left"]);
    assert_eq!(ask(&mut session, leave("b")), ["error not_joined"]);
    joined(&mut session, "c");
}

#[test]
fn failures_are_told_and_end_only_what_cannot_begin() {
    let mut session = admitted();
    ask(&mut session, join("a"));
    session.finished(Outcome::Failed(Failure::Unavailable), NOW);
    assert_eq!(effects(&mut session), ["error unavailable"]);
    session.finished(Outcome::Failed(Failure::Conflict), NOW);
    assert_eq!(effects(&mut session), ["error conflict"]);
    session.finished(Outcome::Failed(Failure::NotAdmitted), NOW);
    assert_eq!(effects(&mut session), ["error unavailable", "close 1013"]);
}

#[test]
fn each_timer_has_its_end() {
    for (timer, code) in [(Timer::Authentication, 4003), (Timer::Token, 4001), (Timer::Lag, 4008)] {
        let mut session = admitted();
        session.expired(timer);
        session.expired(timer);
        assert_eq!(effects(&mut session), [format!("close {code}")]);
    }
    let mut session = admitted();
    session.drain(Duration::from_secs(1));
    assert_eq!(effects(&mut session), ["draining", "close 1012"]);
}

#[test]
fn what_a_room_keeps_is_what_is_published_with() {
    let mut session = admitted();
    joined(&mut session, "a");
    for (ephemeral, kept) in [(false, true), (true, false)] {
        let command = Command::Publish {
            room: Room::new("a").unwrap(),
            event: EventName::new("e").unwrap(),
            data: RawValue::from_string("1".to_owned()).unwrap(),
            binary: proto::BinaryPlaces::default(),
            message_id: Some(MessageId::new("m").unwrap()),
            ephemeral,
        };
        session.request(Ok(Request { id: None, command }), true, NOW);
        let Some(Effect::Start(Operation::Publish { publish, .. })) = session.poll() else {
            panic!("no publish")
        };
        let size = ChannelOptions::default_for(Kind::Room).history_size;
        assert_eq!(publish.retention.map(|retention| retention.size), kept.then_some(size));
        assert_eq!(publish.publication.from.unwrap().user, UserId::new("ann").unwrap());
        assert!(publish.idempotency.is_some());
    }
}

#[test]
fn what_is_not_understood_counts_and_so_does_what_the_user_sends_elsewhere() {
    let mut session = admitted();
    let ping = |session: &mut Session, user_may| {
        session.request(Ok(Request { id: None, command: Command::Ping }), user_may, NOW);
        effects(session)
    };
    assert_eq!(ping(&mut session, false), ["error rate_limited"]);
    assert_eq!(ping(&mut session, true), ["pong"]);
    let rubbish = || Invalid { id: None, code: ErrorCode::InvalidMessage, message: String::new() };
    while {
        session.request(Err(rubbish()), true, NOW);
        effects(&mut session) == ["error invalid_message"]
    } {}
    assert_eq!(ping(&mut session, true), ["error rate_limited"]);
}

/// A session whose client asks to be connected.
fn asking(resume: Option<Resume>, token: Option<&str>) -> Session {
    let vocabulary = serde_json::json!({ "outgoing": { "welcome": { "event": "hi" } } });
    let vocabulary = proto::vocabulary::Vocabulary::compile("v", &vocabulary).unwrap();
    let terms = Terms {
        node: NodeId::new("n").unwrap(),
        endpoint: Endpoint {
            protocol: Protocol::SocketIo,
            framing: proto::framing::Framing::socketio(vocabulary, "/"),
            in_band: false,
            recovery: Some(Duration::from_secs(120)),
            ..Endpoint::default()
        },
        channels: Arc::default(),
    };
    let mut session = Session::new(Arc::new(terms), SessionId::new("s").unwrap());
    session.opened(
        Handshake { token: token.map(str::to_owned), since: Cursor::default(), resume, device: None },
        NOW,
    );
    session
}

/// All effects but frames and timers, in short.
fn decisions(session: &mut Session) -> Vec<String> {
    std::iter::from_fn(|| session.poll())
        .filter_map(|effect| match effect {
            Effect::Send(_) => Some("frame".to_owned()),
            Effect::Accept => Some("accept".to_owned()),
            Effect::Refuse(code, _) => Some(format!("refuse {}", code.as_str())),
            Effect::Start(Operation::Admit { keep, .. }) => {
                Some(format!("{keep:?}").split([' ', '{', '(']).next().unwrap_or_default().to_owned())
            }
            Effect::Start(Operation::Recall { .. }) => Some("recall".to_owned()),
            Effect::Start(_) | Effect::Set(..) | Effect::Leave(_) => None,
            Effect::Close(close, _) => Some(format!("close {}", close.code())),
        })
        .collect()
}

#[test]
fn who_asks_to_be_connected_is_told_nothing_before_its_token_is_found_good() {
    let mut session = asking(None, Some("token"));
    assert!(decisions(&mut session).is_empty());
    session.finished(Outcome::Verified(Purpose::Authenticate, Ok(identity("ann"))), NOW);
    assert_eq!(decisions(&mut session), ["New"]);
    session.finished(nothing_more(), NOW);
    assert_eq!(decisions(&mut session), ["accept", "frame"]);

    let mut session = asking(None, Some("token"));
    session.finished(Outcome::Verified(Purpose::Authenticate, Err(TokenError::Expired)), NOW);
    assert_eq!(decisions(&mut session), ["refuse token_expired"]);
    assert_eq!(decisions(&mut asking(None, None)), ["refuse not_authenticated"]);
    // Who is to come back is not refused.
    let mut session = asking(None, Some("token"));
    session.finished(Outcome::Failed(Failure::NotAdmitted), NOW);
    assert_eq!(decisions(&mut session), ["close 1013"]);
}

#[test]
fn a_session_is_gone_on_with_only_by_its_user() {
    let id = |text: &str| SessionId::new(text).unwrap();
    let record = |user: &str| {
        let user = (Tenant::new("t").unwrap(), UserId::new(user).unwrap());
        let standing = Standing::new(id("k"), Duration::from_secs(1), id("s"), user);
        Record::decode(&standing.record()).map(Box::new)
    };
    for (record, told, keep) in [
        (record("ann"), None, "Resumed"),
        (record("ann"), Some("-"), "Resumed"),
        (record("ann"), Some("connected"), "New"),
        (record("bob"), None, "New"),
        (None, None, "New"),
    ] {
        let mut session = asking(Some(Resume { key: id("k"), told: told.map(str::to_owned) }), Some("token"));
        session.finished(Outcome::Verified(Purpose::Authenticate, Ok(identity("ann"))), NOW);
        assert_eq!(decisions(&mut session), ["recall"]);
        session.finished(Outcome::Recalled(record), NOW);
        assert_eq!(decisions(&mut session), [keep]);
    }
}
