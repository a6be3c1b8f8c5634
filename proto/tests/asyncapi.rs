//! `asyncapi.yaml` says what the native framing does: its examples are decoded and encoded, its schemas hold, and nothing
//! that the code knows is missing from it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use boon::{Compiler, Draft, SchemaIndex, Schemas};
use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use switchboard_proto::framing::native;
use switchboard_proto::{
    About, Action, Close, Command, ErrorCode, EventName, GapReason, HistoryItem, MessageId, Outgoing,
    Position, PresenceEntry, Profile, Publication, Request, RequestId, Retry, Room, Sender, SessionId,
    SessionInfo, Timestamp, UserId,
};

/// The name of each variant's message in the document, and the list of all of them: a new variant does not compile
/// until it is listed here, and then fails until the document has it.
macro_rules! messages {
    ($list:ident, $name:ident, $of:ident $(<$life:lifetime>)?, $($variant:ident => $text:literal,)+) => {
        const $list: &[&str] = &[$($text,)+];
        fn $name(value: &$of $(<$life>)?) -> &'static str {
            match value { $($of::$variant { .. } => $text,)+ }
        }
    };
}

messages! { COMMANDS, command_name, Command,
    Auth => "auth", Refresh => "refresh", Join => "join", Leave => "leave", Publish => "publish",
    Presence => "presence", Online => "online", History => "history", Ping => "ping",
}
messages! { SERVER_FRAMES, frame_name, Outgoing<'_>,
    Welcome => "welcome", AuthSuccess => "auth_success", Joined => "joined", Left => "left",
    Added => "joined", Removed => "left",
    Published => "published", Message => "message", MemberJoined => "member_joined",
    MemberLeft => "member_left", UserOnline => "user_online", UserOffline => "user_offline",
    UserCount => "user_count", Online => "online_list", Presence => "presence_list", History => "history_list", Gap => "gap",
    Draining => "draining", Error => "error", Ping => "server_ping", Pong => "pong",
}

/// The document with a compiled schema for each message and each named schema.
struct Document {
    value: Value,
    schemas: Schemas,
    compiled: BTreeMap<String, SchemaIndex>,
}

impl Document {
    fn load() -> Self {
        let value: Value = serde_saphyr::from_str(include_str!("../asyncapi.yaml")).unwrap();
        let mut compiler = Compiler::new();
        compiler.set_default_draft(Draft::V7);
        compiler.add_resource("mem:///asyncapi", value.clone()).unwrap();
        let mut schemas = Schemas::new();
        let mut compiled = BTreeMap::new();
        for (section, below) in [("messages", "/payload"), ("schemas", "")] {
            for name in value["components"][section].as_object().unwrap().keys() {
                let location = format!("mem:///asyncapi#/components/{section}/{name}{below}");
                compiled.insert(
                    format!("{section}/{name}"),
                    compiler.compile(&location, &mut schemas).expect(&location),
                );
            }
        }
        Self { value, schemas, compiled }
    }

    fn check(&self, schema: &str, value: &Value) -> Result<(), String> {
        let index = self.compiled[schema];
        self.schemas.validate(value, index).map_err(|error| format!("{value} is no {schema}: {error:#}"))
    }

    fn check_message(&self, name: &str, payload: &Value) -> Result<(), String> {
        self.check(&format!("messages/{name}"), payload)
    }

    /// The messages that operations with this action name, replies apart.
    fn messages(&self, action: &str) -> BTreeSet<&str> {
        let operations = self.value["operations"].as_object().unwrap().values();
        operations.filter(|operation| operation["action"] == action).flat_map(references).collect()
    }

    /// The messages that answer an operation.
    fn replies(&self) -> BTreeSet<&str> {
        let operations = self.value["operations"].as_object().unwrap().values();
        operations.filter_map(|operation| operation.get("reply")).flat_map(references).collect()
    }

    fn examples(&self, name: &str) -> Vec<&Value> {
        let examples = self.value["components"]["messages"][name]["examples"].as_array().unwrap();
        examples.iter().map(|example| &example["payload"]).collect()
    }
}

fn references(holder: &Value) -> Vec<&str> {
    let messages = holder["messages"].as_array().unwrap().iter();
    messages.map(|message| message["$ref"].as_str().unwrap().rsplit('/').next().unwrap()).collect()
}

fn field<T: FromStr<Err: std::fmt::Debug>>(frame: &Value, name: &str) -> Option<T> {
    frame.get(name).map(|value| value.as_str().unwrap().parse().unwrap())
}

fn raw(value: &Value) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).unwrap()
}

/// What a decoded request says, as the frame that would say just that.
fn as_frame(request: &Request) -> Value {
    let mut frame = match &request.command {
        Command::Auth { token, since, device } => {
            let since = Some(since.to_string()).filter(|text| !text.is_empty());
            json!({ "token": token, "since": since, "device": device })
        }
        Command::Refresh { token } => json!({ "token": token }),
        Command::Join { room, since } => json!({ "room": room, "since": since }),
        Command::Leave { room } | Command::Presence { room } => json!({ "room": room }),
        Command::Publish { room, event, data, message_id, ephemeral, .. } => json!({
            "room": room, "event": event, "messageId": message_id, "ephemeral": ephemeral.then_some(true),
            "data": serde_json::from_str::<Value>(data.get()).unwrap(),
        }),
        Command::History { room, since, limit } => json!({ "room": room, "since": since, "limit": limit }),
        Command::Online | Command::Ping => json!({}),
    };
    let fields = frame.as_object_mut().unwrap();
    fields.insert("type".into(), command_name(&request.command).into());
    fields.insert("id".into(), serde_json::to_value(&request.id).unwrap());
    fields.retain(|name, value| name == "data" || !value.is_null());
    frame
}

fn user(value: &Value) -> PresenceEntry {
    PresenceEntry {
        user: field(value, "user").unwrap(),
        name: value.get("name").map(|name| name.as_str().unwrap().to_owned()),
        profile: value.get("profile").map(|profile| Profile::new(profile.to_string()).unwrap()),
    }
}

fn publication(value: &Value) -> Publication {
    Publication {
        event: field(value, "event").unwrap(),
        data: raw(&value["data"]),
        binary: switchboard_proto::BinaryPlaces::default(),
        id: field(value, "messageId"),
        from: value.get("from").map(user).map(|PresenceEntry { user, name, profile }| Sender {
            user,
            name,
            profile,
            session: Some(SessionId::new("never-shown").unwrap()),
        }),
        timestamp: Timestamp(value["timestamp"].as_u64().unwrap()),
    }
}

/// Builds what the frame of a message says, and has the server write it.
fn written(name: &str, frame: &Value) -> String {
    let id = frame.get("id").map(|id| RequestId::new(&raw(id)).unwrap());
    let encode = |outgoing: Outgoing<'_>| {
        assert_eq!(frame_name(&outgoing), name);
        native::encode(&outgoing, id.as_ref())
    };
    let text = |name: &str| frame[name].as_str().unwrap();
    let number = |name: &str| frame[name].as_u64().unwrap();
    let yes = |name: &str| frame[name].as_bool().unwrap();
    let room = || field::<Room>(frame, "room").unwrap();
    let position = field::<Position>(frame, "position");
    let timestamp = frame.get("timestamp").map(|_| Timestamp(number("timestamp")));
    match name {
        "welcome" => encode(Outgoing::Welcome {
            node: text("node"),
            heartbeat: number("heartbeat"),
            authenticated: yes("authenticated"),
            timestamp: timestamp.unwrap(),
        }),
        "auth_success" => {
            let PresenceEntry { user, name, profile } = user(frame);
            let session = field(frame, "session").unwrap();
            let session = SessionInfo { session, user, name, profile, expires_at: number("expiresAt") };
            let positions = frame["positions"].as_object().unwrap().iter();
            let positions: Vec<_> = positions
                .map(|(channel, at)| (channel.clone(), at.as_str().unwrap().parse().unwrap()))
                .collect();
            encode(Outgoing::AuthSuccess { session: &session, positions: &positions })
        }
        "joined" => encode(Outgoing::Joined {
            room: &room(),
            position,
            recovered: yes("recovered"),
            latest: frame.get("latest").is_some(),
            user_count: frame.get("userCount").and_then(Value::as_u64),
        }),
        "left" => encode(Outgoing::Left { room: &room() }),
        "published" => encode(Outgoing::Published {
            room: &room(),
            message_id: field::<MessageId>(frame, "messageId").as_ref(),
            position,
            duplicate: yes("duplicate"),
        }),
        "message" => encode(Outgoing::Message {
            channel: text("channel"),
            position,
            latest: frame.get("latest").is_some(),
            publication: &publication(frame),
        }),
        "member_joined" => encode(Outgoing::MemberJoined {
            room: &room(),
            user: &user(frame),
            user_count: number("userCount"),
        }),
        "member_left" => encode(Outgoing::MemberLeft {
            room: &room(),
            user: &user(frame),
            user_count: number("userCount"),
        }),
        "user_online" => encode(Outgoing::UserOnline { user: &user(frame), user_count: number("userCount") }),
        "user_offline" => {
            encode(Outgoing::UserOffline { user: &user(frame), user_count: number("userCount") })
        }
        "user_count" => {
            encode(Outgoing::UserCount { channel: text("channel"), user_count: number("userCount") })
        }
        "online_list" => {
            let users: Vec<_> = frame["users"].as_array().unwrap().iter().map(user).collect();
            encode(Outgoing::Online { users: &users, user_count: number("userCount") })
        }
        "presence_list" => {
            let users: Vec<_> = frame["users"].as_array().unwrap().iter().map(user).collect();
            encode(Outgoing::Presence { room: &room(), users: &users, user_count: number("userCount") })
        }
        "history_list" => {
            let item = |item| HistoryItem {
                position: field(item, "position").unwrap(),
                publication: publication(item),
            };
            let items: Vec<_> = frame["messages"].as_array().unwrap().iter().map(item).collect();
            encode(Outgoing::History {
                room: &room(),
                items: &items,
                position: position.unwrap(),
                more: yes("more"),
            })
        }
        "gap" => {
            let reasons = [GapReason::Trimmed, GapReason::Reset, GapReason::Fork];
            let reason = reasons.into_iter().find(|reason| json!(reason) == frame["reason"]).unwrap();
            encode(Outgoing::Gap { channel: text("channel"), reason, position: position.unwrap() })
        }
        "draining" => encode(Outgoing::Draining { reconnect_after: number("reconnectAfter") }),
        "error" => {
            let code = *ErrorCode::ALL.iter().find(|code| code.as_str() == text("code")).unwrap();
            let about = About {
                action: Action::Publish,
                room: field(frame, "room"),
                message_id: field(frame, "messageId"),
            };
            encode(Outgoing::Error { code, message: text("message"), about: Some(&about) })
        }
        "server_ping" => encode(Outgoing::Ping { timestamp: timestamp.unwrap() }),
        "pong" => encode(Outgoing::Pong { timestamp: timestamp.unwrap() }),
        other => panic!("the server has no frame {other}"),
    }
}

#[test]
fn every_command_and_every_frame_is_described_and_nothing_else() {
    let document = Document::load();
    assert_eq!(document.messages("receive"), COMMANDS.iter().copied().collect());
    let sent: BTreeSet<_> = document.messages("send").union(&document.replies()).copied().collect();
    assert_eq!(sent, SERVER_FRAMES.iter().copied().collect());
    let described: BTreeSet<_> =
        document.value["components"]["messages"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(described, COMMANDS.iter().chain(SERVER_FRAMES).copied().collect());
}

#[test]
fn every_example_fits_its_schema() {
    let document = Document::load();
    for name in COMMANDS.iter().chain(SERVER_FRAMES) {
        assert!(!document.examples(name).is_empty(), "{name} has no example");
        for example in document.examples(name) {
            document.check_message(name, example).unwrap();
        }
    }
}

#[test]
fn every_command_example_is_decoded_to_what_it_says() {
    let document = Document::load();
    for name in COMMANDS {
        for example in document.examples(name) {
            let request = native::decode(&example.to_string()).unwrap();
            assert_eq!(command_name(&request.command), *name);
            assert_eq!(&as_frame(&request), example);
        }
    }
}

#[test]
fn every_server_example_is_what_the_server_writes() {
    let document = Document::load();
    for name in SERVER_FRAMES {
        for example in document.examples(name) {
            let text = written(name, example);
            assert_eq!(&serde_json::from_str::<Value>(&text).unwrap(), example);
        }
    }
}

#[test]
fn the_required_fields_of_a_command_are_those_that_the_decoder_requires() {
    let document = Document::load();
    for name in COMMANDS {
        for example in document.examples(name) {
            for field in example.as_object().unwrap().keys() {
                let mut without = example.clone();
                without.as_object_mut().unwrap().remove(field);
                let described = document.check_message(name, &without).is_ok();
                assert_eq!(native::decode(&without.to_string()).is_ok(), described, "{name} without {field}");
            }
        }
    }
}

#[test]
fn only_replies_repeat_a_request_id() {
    let document = Document::load();
    for name in COMMANDS.iter().chain(SERVER_FRAMES) {
        let message = &document.value["components"]["messages"][name];
        let has_id = message["payload"]["properties"].get("id").is_some();
        assert_eq!(has_id, COMMANDS.contains(name) || document.replies().contains(name), "{name}");
        assert_eq!(has_id, message.get("correlationId").is_some(), "{name}");
    }
}

#[test]
fn the_close_codes_are_the_catalogue() {
    let document = Document::load();
    let described = document.value["info"]["x-close-codes"].as_array().unwrap();
    let catalogue = Close::ALL.iter().map(|close| {
        let retry = match close.retry() {
            Retry::Reconnect => "reconnect",
            Retry::Later => "later",
            Retry::Never => "never",
        };
        json!({ "code": close.code(), "name": close.label(), "retry": retry, "reason": close.reason() })
    });
    assert_eq!(without_when(described), catalogue.collect::<Vec<_>>());
}

#[test]
fn the_error_codes_are_the_catalogue() {
    let document = Document::load();
    let schema = &document.value["components"]["schemas"]["ErrorCode"];
    let words: Vec<_> = ErrorCode::ALL.iter().map(|code| json!(code)).collect();
    assert_eq!(schema["enum"].as_array().unwrap(), &words);
    let catalogue = ErrorCode::ALL
        .iter()
        .map(|code| json!({ "code": code, "status": code.status(), "retryable": code.retryable() }));
    let described = schema["x-error-codes"].as_array().unwrap();
    assert_eq!(without_when(described), catalogue.collect::<Vec<_>>());
    for code in ErrorCode::ALL {
        let text = native::encode(&Outgoing::Error { code: *code, message: "m", about: None }, None);
        document.check_message("error", &serde_json::from_str(&text).unwrap()).unwrap();
    }
}

/// Each entry explains itself in `when`, which only people read.
fn without_when(entries: &[Value]) -> Vec<Value> {
    let mut entries = entries.to_vec();
    for entry in &mut entries {
        let when = entry.as_object_mut().unwrap().remove("when").unwrap();
        assert!(when.as_str().unwrap().ends_with('.'));
    }
    entries
}

#[test]
fn the_schemas_of_names_and_positions_accept_what_the_types_accept() {
    let document = Document::load();
    let text = prop_oneof!["[ -~]{0,3}", any::<String>(), "[a-z]{127,130}"];
    let positions = "(v1)?\\.?(0|1|01|a|A|ffffffffffffffff)\\.(0|7|07|\\+1)\\.(0|c|0c|C)";
    let runner = &mut proptest::test_runner::TestRunner::default();
    runner
        .run(&(text, positions), |(text, position)| {
            let fits = |schema: &str| document.check(&format!("schemas/{schema}"), &json!(text)).is_ok();
            prop_assert_eq!(Room::new(&text).is_ok(), fits("Room"), "{:?}", text);
            prop_assert_eq!(UserId::new(&text).is_ok(), fits("UserId"), "{:?}", text);
            // JSON Schema counts characters, the limit is in bytes.
            if text.is_ascii() {
                prop_assert_eq!(EventName::new(&text).is_ok(), fits("EventName"), "{:?}", text);
                prop_assert_eq!(MessageId::new(&text).is_ok(), fits("MessageId"), "{:?}", text);
            }
            let described = document.check("schemas/Position", &json!(position)).is_ok();
            prop_assert_eq!(position.parse::<Position>().is_ok(), described, "{}", position);
            Ok(())
        })
        .unwrap();
}
