use super::*;
use crate::cursor::Cursor;
use crate::error::ErrorCode;
use crate::message::{About, Action, Command, GapReason, HistoryItem, PresenceEntry, SessionInfo};
use crate::name::{DeviceId, EventName, MessageId, Room, SessionId, UserId};
use crate::position::{Epoch, Nonce, Position};
use crate::publication::Sender;
use serde_json::json;
use serde_json::value::RawValue;

const NOW: Timestamp = Timestamp(1000);

fn compile(written: &Value) -> Vocabulary {
    Vocabulary::compile("vocabulary", written).unwrap()
}

fn wrong(written: &Value) -> String {
    Vocabulary::compile("vocabulary", written).unwrap_err().to_string()
}

fn heard(vocabulary: &Vocabulary, event: &str, body: &str) -> Result<Request, Invalid> {
    vocabulary.decode(Heard { event, body })
}

fn publication(event: &str) -> Publication {
    Publication {
        event: EventName::new(event).unwrap(),
        data: RawValue::from_string(r#"{"text":"hi"}"#.into()).unwrap(),
        binary: crate::BinaryPlaces::default(),
        id: Some(MessageId::new("m-1").unwrap()),
        from: Some(Sender {
            user: UserId::new("42").unwrap(),
            name: Some("Ada".into()),
            profile: Some(Profile::new(r#" { "id": 42, "colour": "red" } "#.trim()).unwrap()),
            session: None,
        }),
        timestamp: Timestamp(5),
    }
}

#[test]
fn an_error_names_the_key() {
    for (written, error) in [
        (
            json!({"incomming": {}}),
            "vocabulary.incomming: is none of profile, incoming, outgoing, publications, errors",
        ),
        (json!({"incoming": {"go": {"action": "join"}}}), "vocabulary.incoming.go.room: is missing"),
        (
            json!({"incoming": {"go": {"action": "leave", "room": "a", "data": 1}}}),
            "vocabulary.incoming.go.data: means nothing to this action",
        ),
        (
            json!({"incoming": {"go": {"action": "join", "room": "$data.room"}}}),
            "vocabulary.incoming.go.room: there is no $data here; there are $event, $body",
        ),
        (
            json!({"outgoing": {"published": {"event": "ok", "body": {"a": ["$userCount"]}}}}),
            "vocabulary.outgoing.published.body.a[0]: there is no $userCount here; there are $id, $timestamp, \
             $channel, $room, $messageId, $position, $offset, $duplicate",
        ),
        (
            json!({"outgoing": {"joined": {"event": "ok", "to": "other_users"}}}),
            "vocabulary.outgoing.joined.to: means something only to publications",
        ),
        (
            json!({"errors": {"oops": {"event": "e"}}}),
            "vocabulary.errors.oops: is no error code and no action",
        ),
        (json!({"publications": []}), "vocabulary.publications: is not a table"),
        (
            json!({"profile": {"id": "$user.id"}}),
            "vocabulary.profile.id: there is no $user here; there are $claims",
        ),
    ] {
        assert_eq!(wrong(&written), error);
    }
    for (written, parts) in [
        (json!({"outgoing": {"joind": {"event": "x"}}}), ["vocabulary.outgoing.joind: ", "member_joined"]),
        (json!({"outgoing": {"left": {"event": "x", "bdoy": 1}}}), ["vocabulary.outgoing.left: ", "bdoy"]),
        (json!({"outgoing": {"left": {}}}), ["vocabulary.outgoing.left: ", "event"]),
        (json!({"incoming": {"go": {"action": "fly"}}}), ["vocabulary.incoming.go: ", "fly"]),
        (json!({"incoming": {"go": {"action": "ping", "rom": 1}}}), ["vocabulary.incoming.go: ", "rom"]),
        (json!({"incoming": {"go": {"room": "x"}}}), ["vocabulary.incoming.go: ", "action"]),
    ] {
        let error = wrong(&written);
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }
}

#[test]
fn every_action_finds_its_places() {
    let vocabulary = compile(&json!({"incoming": {
        "login": {"action": "auth", "token": "$body"},
        "back": {"action": "auth", "token": "$body.jwt", "since": "$body.at", "device": "$body.app"},
        "renew": {"action": "refresh", "token": "$body.jwt"},
        "enter": {"action": "join", "room": "conv-${body.id}", "since": "$body.since", "id": "$body.request"},
        "exit": {"action": "leave", "room": "conv-${body.id}"},
        "typing:start": {"action": "signal", "room": "$body.id", "event": "typing", "data": {"isTyping": true}},
        "who": {"action": "presence", "room": "lobby"},
        "past": {"action": "history", "room": "$body.id", "since": "$body.since", "limit": "$body.limit"},
        "alive": {"action": "ping"},
        "*": {"action": "publish", "room": "$body.room ?? \"lobby\"", "message_id": "$body.mid"},
    }}));
    let command = |event, body| heard(&vocabulary, event, body).unwrap().command;
    assert!(matches!(command("login", "\"jwt\""), Command::Auth { token, .. } if token == "jwt"));
    let Command::Auth { since, device, .. } =
        command("back", r#"{"jwt":"j","at":"all@v1.1.2.3","app":"phone-7"}"#)
    else {
        panic!()
    };
    assert_ne!(since, Cursor::default());
    assert_eq!(device, Some(DeviceId::new("phone-7").unwrap()));
    assert!(matches!(command("renew", r#"{"jwt":"j"}"#), Command::Refresh { token } if token == "j"));
    let Command::Join { room, since } = command("enter", r#"{"id":7,"since":"v1.1.2.3"}"#) else { panic!() };
    assert_eq!((room.as_str(), since.unwrap().to_string().as_str()), ("conv-7", "v1.1.2.3"));
    assert!(matches!(command("exit", r#"{"id":7}"#), Command::Leave { room } if room.as_str() == "conv-7"));
    let Command::Publish { event, data, ephemeral: true, .. } = command("typing:start", r#"{"id":"a"}"#)
    else {
        panic!()
    };
    assert_eq!((event.as_str(), data.get()), ("typing", r#"{"isTyping":true}"#));
    assert!(matches!(command("who", "null"), Command::Presence { room } if room.as_str() == "lobby"));
    let past = command("past", r#"{"id":"a","limit":"20"}"#);
    assert!(matches!(past, Command::History { limit: Some(20), since: None, .. }));
    assert!(matches!(command("alive", "[1]"), Command::Ping));
    let Command::Publish { room, event, data, message_id, ephemeral: false, .. } =
        command("any", r#"{"mid":5, "x":[1.0]}"#)
    else {
        panic!()
    };
    assert_eq!((room.as_str(), event.as_str()), ("lobby", "any"));
    assert_eq!((data.get(), message_id.unwrap().as_str()), (r#"{"mid":5, "x":[1.0]}"#, "5"));
}

#[test]
fn a_refusal_has_the_request_id_and_quotes_no_content() {
    let vocabulary = compile(&json!({"incoming": {
        "enter": {"action": "join", "room": "conv-${body.id}", "since": "$body.since", "id": "$body.request"},
        "past": {"action": "history", "room": "a", "limit": "$body.limit"},
        "say": {"action": "publish", "room": "a", "data": {"text": "$body.text | string"}},
    }}));
    let refused = |event, body| {
        let invalid = heard(&vocabulary, event, body).unwrap_err();
        assert!(!invalid.message.contains("SECRET"), "{}", invalid.message);
        (invalid.code, invalid.message, invalid.id.map(|id| id.as_json().to_owned()))
    };
    assert_eq!(
        refused("enter", r#"{"request":"q","since":"SECRET"}"#),
        (ErrorCode::InvalidMessage, "the room is missing".into(), Some(r#""q""#.into()))
    );
    assert_eq!(refused("enter", r#"{"id":"{SECRET}"}"#).0, ErrorCode::InvalidName);
    assert_eq!(refused("enter", r#"{"id":1,"since":"SECRET"}"#).0, ErrorCode::InvalidPosition);
    assert_eq!(refused("past", r#"{"limit":"SECRET"}"#).0, ErrorCode::InvalidMessage);
    assert_eq!(refused("say", r#"{"text":["SECRET"]}"#).1, "body.text is missing");
    assert_eq!(refused("SECRET", "null").0, ErrorCode::Unknown);
}

/// Every kind with every value that it can have: each is known to the compiler, and found.
#[test]
fn every_kind_has_the_values_it_says_it_has() {
    let (room, id) = (Room::new("lobby").unwrap(), MessageId::new("m-1").unwrap());
    let position = Position { epoch: Epoch(1), offset: 2, nonce: Nonce(3) };
    let publication = publication("chat");
    let user = PresenceEntry { user: UserId::new("42").unwrap(), name: None, profile: None };
    let session = SessionInfo {
        session: SessionId::new("s").unwrap(),
        user: user.user.clone(),
        name: None,
        profile: None,
        expires_at: 9,
    };
    let about = About { action: Action::Publish, room: Some(room.clone()), message_id: Some(id.clone()) };
    let (room, users) = (&room, [user.clone()]);
    let items = [HistoryItem { position, publication: publication.clone() }];
    let all = [
        Outgoing::Welcome { node: "n", heartbeat: 1, authenticated: true, timestamp: NOW },
        Outgoing::AuthSuccess { session: &session, positions: &[("all".into(), position)] },
        Outgoing::Joined {
            room,
            position: Some(position),
            recovered: true,
            latest: false,
            user_count: Some(1),
        },
        Outgoing::Left { room },
        Outgoing::Added { room, position: Some(position), latest: false, user_count: Some(1) },
        Outgoing::Removed { room },
        Outgoing::Published { room, message_id: Some(&id), position: Some(position), duplicate: false },
        Outgoing::Message {
            channel: "room:lobby",
            position: Some(position),
            latest: false,
            publication: &publication,
        },
        Outgoing::MemberJoined { room, user: &user, user_count: 1 },
        Outgoing::MemberLeft { room, user: &user, user_count: 1 },
        Outgoing::UserOnline { user: &user, user_count: 1 },
        Outgoing::UserOffline { user: &user, user_count: 1 },
        Outgoing::UserCount { channel: "room:lobby", user_count: 1 },
        Outgoing::Online { users: &users, user_count: 1 },
        Outgoing::Presence { room, users: &users, user_count: 1 },
        Outgoing::History { room, items: &items, position, more: false },
        Outgoing::Gap { channel: "room:lobby", reason: GapReason::Fork, position },
        Outgoing::Draining { reconnect_after: 1 },
        Outgoing::Error { code: ErrorCode::Conflict, message: "m", about: Some(&about) },
        Outgoing::Ping { timestamp: NOW },
        Outgoing::Pong { timestamp: NOW },
    ];
    assert_eq!(all.len(), kind::Kind::ALL.len());
    let request = RequestId::new(&RawValue::from_string("1".into()).unwrap());
    for (outgoing, (word, kind)) in all.iter().zip(kind::Kind::ALL) {
        let values = <kind::Said as Variable>::ALL.iter().filter(|(_, said, _)| kind.has(*said));
        let body: Map<_, _> =
            values.map(|(name, _, _)| ((*name).to_owned(), Value::from(format!("${name}")))).collect();
        let vocabulary = compile(&json!({"outgoing": {*word: {"event": "e", "body": body}}}));
        let told = vocabulary.encode(outgoing, request.as_ref(), NOW).unwrap();
        let found: Map<String, Value> = serde_json::from_str(&told.body.unwrap()).unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), body.keys().collect::<Vec<_>>(), "{word}");
        assert!(found.values().all(|value| !value.is_null()), "{word}: {found:?}");
    }
}

#[test]
fn the_most_particular_rule_speaks() {
    let rule = |event: &str| json!({"event": event});
    let vocabulary = compile(&json!({
        "outgoing": {"message": rule("any"), "error": rule("oops")},
        "publications": {"chat": {"event": "said ${data.text}", "to": "other_users"}},
        "errors": {"forbidden": rule("no"), "join": rule("not in")},
    }));
    let message = |event| {
        let publication = publication(event);
        let message =
            Outgoing::Message { channel: "all", position: None, latest: false, publication: &publication };
        (vocabulary.encode(&message, None, NOW).unwrap().event, vocabulary.audience(&publication))
    };
    assert_eq!(message("chat"), ("said hi".to_owned(), Audience::OtherUsers));
    assert_eq!(message("other"), ("any".to_owned(), Audience::Everyone));
    let error = |code, action| {
        let about = About { action, room: None, message_id: None };
        let error = Outgoing::Error { code, message: "", about: Some(&about) };
        vocabulary.encode(&error, None, NOW).unwrap()
    };
    assert_eq!(error(ErrorCode::Forbidden, Action::Join).event, "no");
    assert_eq!(error(ErrorCode::NotJoined, Action::Join).event, "not in");
    assert_eq!(error(ErrorCode::NotJoined, Action::Leave), Told { event: "oops".into(), body: None });
}

#[test]
fn a_user_has_the_fields_of_the_profile_and_of_the_token() {
    let vocabulary = compile(&json!({
        "outgoing": {
            "message": {"event": "m", "body": ["$user.id", "${user.id}", "$user.name", "$user.colour", "$user"]},
            "presence": {"event": "p", "body": {"$each": "$users", "$item": {"who": "$item.id", "n": "$item.name"}}},
            "history": {"event": "h", "body": {"$each": "$messages", "$item": ["$item.data.text", "$item.user.id"]}},
        },
    }));
    let publication = publication("chat");
    let message =
        Outgoing::Message { channel: "all", position: None, latest: false, publication: &publication };
    let body = |outgoing: &Outgoing<'_>| vocabulary.encode(outgoing, None, NOW).unwrap().body.unwrap();
    assert_eq!(body(&message), r#"[42,"42","Ada","red",{"name":"Ada","id": 42, "colour": "red"}]"#);
    let (room, user) = (Room::new("r").unwrap(), UserId::new("7").unwrap());
    let users = [PresenceEntry { user, name: Some("Bo".into()), profile: None }];
    assert_eq!(
        body(&Outgoing::Presence { room: &room, users: &users, user_count: 1 }),
        r#"[{"n":"Bo","who":"7"}]"#
    );
    let position = Position::start(Epoch(1));
    let items = [HistoryItem { position, publication: publication.clone() }];
    let history = Outgoing::History { room: &room, items: &items, position, more: false };
    assert_eq!(body(&history), r#"[["hi",42]]"#);
}

#[test]
fn a_profile_is_made_of_claims() {
    let vocabulary =
        compile(&json!({"profile": {"id": "$claims.id ?? $claims.sub", "on": "$claims.isActive"}}));
    let profile = |claims| vocabulary.profile(claims).map(|profile| profile.unwrap().as_json().to_owned());
    assert_eq!(profile(r#"{"sub":"x","isActive":false}"#).unwrap(), r#"{"id":"x","on":false}"#);
    let long = format!(r#"{{"id":"{}"}}"#, "x".repeat(2000));
    assert_eq!(profile(&long), Err(ProfileError::TooLong));
    assert_eq!(compile(&json!({})).profile("{}"), Ok(None));
}

/// The tables of the documentation name each kind and each of its values.
#[test]
fn the_documentation_has_every_kind_and_value() {
    let documentation = include_str!("../../vocabularies.md");
    for (word, kind) in kind::Kind::ALL {
        let general = |name: &str| matches!(name, "id" | "timestamp");
        let values: Vec<_> = <kind::Said as Variable>::ALL
            .iter()
            .filter(|(name, said, _)| kind.has(*said) && !general(name))
            .map(|(name, _, _)| *name)
            .collect();
        let row = format!("| `{word}` | ");
        let row = documentation
            .lines()
            .find(|line| line.starts_with(&row) && line.contains('$') != values.is_empty());
        let mut written: Vec<_> =
            row.unwrap().split(['`', ' ']).filter_map(|part| part.strip_prefix('$')).collect();
        written
            .sort_by_key(|name| <kind::Said as Variable>::ALL.iter().position(|(known, _, _)| known == name));
        assert_eq!(written, values, "{word}");
    }
}

#[test]
fn a_rule_may_be_for_what_is_there_and_followed_by_another() {
    let vocabulary = compile(&json!({ "outgoing": {
        "member_left": { "event": "left", "body": "$room", "also": { "event": "quiet", "body": "$user.id" } },
        "published": { "event": "safe", "when": "$messageId" },
    } }));
    let user = PresenceEntry { user: UserId::new("ann").unwrap(), name: None, profile: None };
    let (room, id) = (Room::new("attic").unwrap(), MessageId::new("m").unwrap());
    let event = |told: Option<Told>| told.map(|told| told.event);
    let left = Outgoing::MemberLeft { room: &room, user: &user, user_count: 0 };
    assert_eq!(event(vocabulary.encode(&left, None, NOW)).as_deref(), Some("left"));
    assert_eq!(event(vocabulary.encode_also(&left, NOW)).as_deref(), Some("quiet"));
    for (message_id, expected) in [(Some(&id), Some("safe")), (None, None)] {
        let published = Outgoing::Published { room: &room, message_id, position: None, duplicate: false };
        assert_eq!(event(vocabulary.encode(&published, None, NOW)).as_deref(), expected);
        assert_eq!(vocabulary.encode_also(&published, NOW), None);
    }
    for (rule, key) in [
        (json!({ "event": "x", "also": { "event": "y" } }), "pong.also"),
        (json!({ "event": "x", "when": "$messageId" }), "pong.when"),
    ] {
        assert!(wrong(&json!({ "outgoing": { "pong": rule } })).contains(key));
    }
}
