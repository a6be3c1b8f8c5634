//! Existing systems' frames, from vocabularies alone: what their clients send is understood, and what they are sent has
//! the shape that they know.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use serde_json::value::RawValue;
use serde_json::{Value, json};
use switchboard_proto::framing::Framing;
use switchboard_proto::vocabulary::{Audience, Vocabulary};
use switchboard_proto::{
    About, Action, Command, Epoch, ErrorCode, EventName, MessageId, Nonce, Outgoing, Position, PresenceEntry,
    Publication, Room, Sender, SessionId, SessionInfo, Timestamp, UserId,
};

const NOW: Timestamp = Timestamp(1_760_776_800_000);

fn framing(name: &str, toml: &str) -> Framing {
    let written: Value = toml::from_str(toml).unwrap();
    Framing::new(name, Some(Vocabulary::compile("vocabulary", &written).unwrap())).unwrap()
}

fn tango() -> Framing {
    framing("flat", include_str!("vocabularies/tango.toml"))
}

fn dialer() -> Framing {
    framing("event", include_str!("vocabularies/dialer.toml"))
}

/// The frame of what a client is told.
fn told(framing: &Framing, outgoing: &Outgoing<'_>) -> Value {
    serde_json::from_str(&framing.encode(outgoing, None, NOW).unwrap()).unwrap()
}

fn command(framing: &Framing, frame: &Value) -> Command {
    framing.decode(&frame.to_string()).unwrap().command
}

fn room(name: &str) -> Room {
    Room::new(name).unwrap()
}

fn session(framing: &Framing, user: &str, claims: &Value) -> SessionInfo {
    SessionInfo {
        session: SessionId::new("s-1754329930293").unwrap(),
        user: UserId::new(user).unwrap(),
        name: None,
        profile: framing.profile(&claims.to_string()).unwrap(),
        expires_at: 1_760_780_400,
    }
}

fn john(framing: &Framing) -> PresenceEntry {
    let claims = json!({"id": 123, "username": "johndoe", "name": "John Doe", "isActive": true, "exp": 1});
    let SessionInfo { user, name, profile, .. } = session(framing, "123", &claims);
    PresenceEntry { user, name, profile }
}

fn publication(event: &str, data: &str, id: Option<&str>, from: Option<&PresenceEntry>) -> Publication {
    Publication {
        event: EventName::new(event).unwrap(),
        data: RawValue::from_string(data.to_owned()).unwrap(),
        binary: switchboard_proto::BinaryPlaces::default(),
        id: id.map(|id| MessageId::new(id).unwrap()),
        from: from.map(|user| Sender {
            user: user.user.clone(),
            name: user.name.clone(),
            profile: user.profile.clone(),
            session: None,
        }),
        timestamp: NOW,
    }
}

mod tango {
    use super::*;

    #[test]
    fn a_client_authenticates_in_band() {
        let Command::Auth { token, .. } = command(&tango(), &json!({"type": "auth", "token": "a.b.c"}))
        else {
            panic!()
        };
        assert_eq!(token, "a.b.c");
        let claims = json!({"id": 123, "username": "johndoe", "name": "John Doe", "secret": "kept"});
        let session = session(&tango(), "123", &claims);
        assert_eq!(
            told(&tango(), &Outgoing::AuthSuccess { session: &session, positions: &[] }),
            json!({
                "type": "auth_success", "message": "Authentication successful",
                "user": {"id": 123, "username": "johndoe", "name": "John Doe"}, "timestamp": NOW,
            })
        );
    }

    #[test]
    fn a_refusal_has_the_words_that_the_client_knows() {
        let error = |code, action: Option<Action>| {
            let id = MessageId::new("msg_1").unwrap();
            let about = action.map(|action| About { action, room: None, message_id: Some(id) });
            told(&tango(), &Outgoing::Error { code, message: "why", about: about.as_ref() })
        };
        assert_eq!(
            error(ErrorCode::InvalidToken, Some(Action::Auth)),
            json!({"type": "auth_error", "message": "Authentication failed", "timestamp": NOW})
        );
        assert_eq!(
            error(ErrorCode::NotAuthenticated, Some(Action::Publish)),
            json!({"type": "error", "message": "Not authenticated", "timestamp": NOW})
        );
        assert_eq!(
            error(ErrorCode::Unavailable, Some(Action::Publish)),
            json!({"type": "error", "message": "Failed to send message", "messageId": "msg_1", "timestamp": NOW})
        );
        assert_eq!(
            error(ErrorCode::InvalidMessage, None),
            json!({"type": "error", "message": "Invalid message format", "timestamp": NOW})
        );
        assert_eq!(
            error(ErrorCode::RateLimited, Some(Action::Publish)),
            json!({"type": "error", "message": "Too many messages", "messageId": "msg_1", "timestamp": NOW})
        );
        assert_eq!(
            error(ErrorCode::Forbidden, Some(Action::Join)),
            json!({"type": "error", "message": "why", "timestamp": NOW})
        );
    }

    #[test]
    fn a_client_joins_and_leaves_rooms_by_their_slug() {
        let join = json!({"type": "join_room", "roomSlug": "general-chat"});
        let Command::Join { room: joined, since: None } = command(&tango(), &join) else { panic!() };
        assert_eq!(joined, room("general-chat"));
        let leave = json!({"type": "leave_room", "roomSlug": "general-chat"});
        let Command::Leave { room: left } = command(&tango(), &leave) else { panic!() };
        assert_eq!(left, room("general-chat"));

        let joined = Outgoing::Joined {
            room: &joined,
            position: None,
            recovered: false,
            latest: false,
            user_count: Some(15),
        };
        assert_eq!(
            told(&tango(), &joined),
            json!({
                "type": "room_joined", "roomSlug": "general-chat", "message": "Joined room general-chat",
                "userCount": 15, "timestamp": NOW,
            })
        );
        assert_eq!(
            told(&tango(), &Outgoing::Left { room: &left }),
            json!({"type": "room_left", "roomSlug": "general-chat", "timestamp": NOW})
        );
    }

    #[test]
    fn the_others_are_told_who_came_and_went() {
        let (room, user) = (&room("general-chat"), &john(&tango()));
        let notice = |event: &str| {
            json!({
                "type": event, "data": {"userId": 123, "username": "johndoe", "roomSlug": "general-chat"},
                "roomSlug": "general-chat", "timestamp": NOW,
            })
        };
        assert_eq!(
            told(&tango(), &Outgoing::MemberJoined { room, user, user_count: 2 }),
            notice("user_joined")
        );
        assert_eq!(told(&tango(), &Outgoing::MemberLeft { room, user, user_count: 1 }), notice("user_left"));
    }

    #[test]
    fn a_chat_message_is_confirmed_and_delivered() {
        let sent = json!({
            "type": "chat_message", "roomSlug": "general-chat", "message": "Hello <b>everyone</b>!",
            "messageId": "msg_1729238400_123",
        });
        let Command::Publish { room, event, data, message_id, ephemeral: false, .. } =
            command(&tango(), &sent)
        else {
            panic!()
        };
        assert_eq!((room.as_str(), event.as_str()), ("general-chat", "chat_message"));
        assert_eq!(data.get(), r#"{"message":"Hello <b>everyone</b>!"}"#);

        let position = Some(Position { epoch: Epoch(7), offset: 456, nonce: Nonce(9) });
        let sent =
            Outgoing::Published { room: &room, message_id: message_id.as_ref(), position, duplicate: false };
        assert_eq!(
            told(&tango(), &sent),
            json!({
                "type": "message_sent", "messageId": "msg_1729238400_123", "timestamp": NOW,
                "roomSlug": "general-chat",
            })
        );

        let sender = john(&tango());
        let mut publication =
            publication("chat_message", data.get(), Some("msg_1729238400_123"), Some(&sender));
        let message = |publication: &Publication| {
            told(
                &tango(),
                &Outgoing::Message { channel: "room:general-chat", position, latest: false, publication },
            )
        };
        assert_eq!(
            message(&publication),
            json!({
                "type": "new_message",
                "data": {
                    "id": 456, "slug": "msg_1729238400_123", "chatRoomSlug": "general-chat", "userSlug": "123",
                    "username": "johndoe", "messageType": "TEXT", "message": "Hello <b>everyone</b>!",
                    "createdAt": "2025-10-18T08:40:00.000Z",
                },
                "roomSlug": "general-chat", "timestamp": NOW,
            })
        );
        publication.id = None;
        assert_eq!(message(&publication)["data"]["slug"], "v1.7.456.9");
    }

    #[test]
    fn a_message_id_is_optional_and_rubbish_is_refused() {
        let sent = json!({"type": "chat_message", "roomSlug": "a", "message": "x"});
        let Command::Publish { message_id: None, .. } = command(&tango(), &sent) else { panic!() };
        for (frame, code) in [
            ("{", ErrorCode::InvalidMessage),
            ("[]", ErrorCode::InvalidMessage),
            ("\"auth\"", ErrorCode::InvalidMessage),
            (r#"["auth"]"#, ErrorCode::InvalidMessage),
            (r#"{"token":"x"}"#, ErrorCode::InvalidMessage),
            (r#"{"type":7}"#, ErrorCode::InvalidMessage),
            (r#"{"type":"auth"}"#, ErrorCode::InvalidMessage),
            (r#"{"type":"dance"}"#, ErrorCode::Unknown),
            (r#"{"type":"join_room"}"#, ErrorCode::InvalidMessage),
            (r#"{"type":"join_room","roomSlug":{}}"#, ErrorCode::InvalidMessage),
            (r#"{"type":"join_room","roomSlug":"a/b"}"#, ErrorCode::InvalidName),
            (r#"{"type":"chat_message","roomSlug":"a"}"#, ErrorCode::InvalidMessage),
            (r#"{"type":"chat_message","roomSlug":"a","message":["x"]}"#, ErrorCode::InvalidMessage),
        ] {
            assert_eq!(tango().decode(frame).unwrap_err().code, code, "{frame}");
        }
    }

    #[test]
    fn a_text_pong_is_a_sign_of_life_without_an_answer() {
        assert!(matches!(command(&tango(), &json!({"type": "pong"})), Command::Ping));
        assert!(tango().encode(&Outgoing::Pong { timestamp: NOW }, None, NOW).is_none());
        assert_eq!(
            told(&tango(), &Outgoing::Ping { timestamp: NOW }),
            json!({"type": "ping", "timestamp": NOW})
        );
    }

    #[test]
    fn the_backend_names_its_own_events() {
        let publication = publication("user_post_created", r#"{"type":"auth_error","n":1.50}"#, None, None);
        for channel in ["user:123", "room:followers-of-7"] {
            let message =
                Outgoing::Message { channel, position: None, latest: false, publication: &publication };
            assert_eq!(
                tango().encode(&message, None, NOW).unwrap(),
                r#"{"type":"user_post_created","data":{"type":"auth_error","n":1.50},"timestamp":1760776800000}"#
            );
        }
        assert_eq!(tango().audience(&publication), Audience::Everyone);
    }

    #[test]
    fn what_the_client_does_not_know_is_not_sent() {
        let welcome = Outgoing::Welcome { node: "n", heartbeat: 1, authenticated: false, timestamp: NOW };
        assert!(tango().encode(&welcome, None, NOW).is_none());
        assert!(tango().encode(&Outgoing::Draining { reconnect_after: 1 }, None, NOW).is_none());
    }
}

mod dialer {
    use super::*;

    #[test]
    fn the_first_frame_names_the_client() {
        for claims in
            [json!({"email": "test@example.com", "id": 7}), json!({"email": "test@example.com", "sub": "7"})]
        {
            let session = session(&dialer(), "7", &claims);
            assert_eq!(
                told(&dialer(), &Outgoing::AuthSuccess { session: &session, positions: &[] }),
                json!({"event": "connected", "data": {
                    "clientId": "test@example.com-s-1754329930293", "user": "test@example.com",
                }})
            );
        }
        let welcome = Outgoing::Welcome { node: "n", heartbeat: 1, authenticated: true, timestamp: NOW };
        assert!(dialer().encode(&welcome, None, NOW).is_none());
    }

    #[test]
    fn a_ping_is_answered() {
        assert!(matches!(command(&dialer(), &json!({"type": "ping", "data": {}})), Command::Ping));
        assert!(matches!(command(&dialer(), &json!({"event": "ping"})), Command::Ping));
        assert_eq!(
            told(&dialer(), &Outgoing::Pong { timestamp: Timestamp(1_754_329_930_294) }),
            json!({"event": "pong", "data": {"timestamp": 1_754_329_930_294_u64}})
        );
    }

    #[test]
    fn a_malformed_frame_is_refused_and_nothing_is_said() {
        for frame in ["", "rubbish", "{\"type\":", "[\"ping\",null]", "{\"data\":{}}", "{\"type\":\"call\"}"]
        {
            let invalid = dialer().decode(frame).unwrap_err();
            let error = Outgoing::Error { code: invalid.code, message: &invalid.message, about: None };
            assert!(dialer().encode(&error, None, NOW).is_none(), "{frame}");
        }
    }

    #[test]
    fn a_call_event_reaches_everyone_with_its_payload_as_it_came() {
        let payload = r#"{"call_control_id":"v3:abc","from":"+15550100","state":"parked","n":1.0}"#;
        for event in [
            "call-initiated",
            "call-answered",
            "call-hangup",
            "dtmf-received",
            "call-recording-saved",
            "call-speak-started",
            "call-speak-ended",
        ] {
            let publication = publication(event, payload, Some("evt-1"), None);
            let message = Outgoing::Message {
                channel: "all",
                position: None,
                latest: false,
                publication: &publication,
            };
            assert_eq!(
                dialer().encode(&message, None, NOW).unwrap(),
                format!(r#"{{"event":"{event}","data":{payload}}}"#)
            );
        }
    }
}

/// The worked example of the documentation.
mod documentation {
    use super::*;

    fn fenced(language: &str) -> &'static str {
        let text = include_str!("../vocabularies.md");
        let (_, rest) = text.split_once(&format!("```{language}\n")).unwrap();
        rest.split_once("```").unwrap().0
    }

    fn lines(direction: &str) -> Vec<&'static str> {
        fenced("frames").lines().filter_map(|line| line.strip_prefix(direction)).collect()
    }

    #[test]
    fn the_worked_example_works() {
        let framing = framing("event", fenced("toml"));
        let commands: Vec<_> =
            lines("-> ").into_iter().map(|line| framing.decode(line).unwrap().command).collect();
        let [
            Command::Auth { .. },
            Command::Join { room: board, .. },
            Command::Publish { event: stroke, data: points, message_id, ephemeral: false, .. },
            Command::Publish { event: pointer, data: place, ephemeral: true, .. },
        ] = &commands[..]
        else {
            panic!("{commands:?}")
        };

        let session = session(&framing, "7", &json!({"id": 7, "nick": "ada", "exp": 1}));
        let ada = PresenceEntry { user: session.user.clone(), name: None, profile: session.profile.clone() };
        let position = Some(Position { epoch: Epoch(1), offset: 41, nonce: Nonce(1) });
        let drawn = publication(stroke.as_str(), points.get(), Some("k-1"), Some(&ada));
        let pointed = publication(pointer.as_str(), place.get(), None, Some(&ada));
        let about = About { action: Action::Publish, room: Some(board.clone()), message_id: None };
        let told = [
            Outgoing::AuthSuccess { session: &session, positions: &[] },
            Outgoing::Joined { room: board, position, recovered: false, latest: false, user_count: Some(3) },
            Outgoing::Published { room: board, message_id: message_id.as_ref(), position, duplicate: false },
            Outgoing::Message { channel: "room:12", position, latest: false, publication: &drawn },
            Outgoing::Message { channel: "room:12", position: None, latest: false, publication: &pointed },
            Outgoing::Error { code: ErrorCode::Forbidden, message: "", about: Some(&about) },
        ];
        let told: Vec<Value> = told.iter().map(|outgoing| super::told(&framing, outgoing)).collect();
        let shown: Vec<Value> =
            lines("<- ").into_iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(told, shown);
        assert_eq!(framing.audience(&pointed), Audience::OtherSessions);
        assert!(framing.encode(&Outgoing::Left { room: board }, None, NOW).is_none());
    }
}

#[test]
fn a_framing_that_cannot_carry_a_vocabulary_says_so() {
    let compile = |toml: &str| Vocabulary::compile("vocabulary", &toml::from_str(toml).unwrap()).unwrap();
    let refused =
        |name: &str, toml: Option<&str>| Framing::new(name, toml.map(compile)).unwrap_err().to_string();
    assert!(refused("flat", None).starts_with("vocabulary: is missing"));
    assert!(refused("native", Some("")).starts_with("vocabulary: "));
    assert!(refused("xml", None).starts_with("framing: is none of native, flat, event"));
    let spread = "[outgoing.message]\nevent = \"$event\"\nbody = \"$data\"";
    assert!(refused("flat", Some(spread)).starts_with("vocabulary.outgoing.message.body: must be a table"));
    let named = "[errors.join]\nevent = \"e\"\nbody = { type = 1 }";
    assert!(refused("flat", Some(named)).starts_with("vocabulary.errors.join.body: has a field type"));
    assert!(Framing::new("event", Some(compile(spread))).is_ok());
}
