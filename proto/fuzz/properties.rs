//! What holds for each decoder whatever the bytes, for the fuzz targets and for the tests that replay their seeds.

use std::sync::OnceLock;

use serde::de::IgnoredAny;
use serde_json::Value;
use switchboard_proto::framing::{Framing, engineio, native, socketio};
use switchboard_proto::template::Template;
use switchboard_proto::vocabulary::{Claims, Vocabulary};
use switchboard_proto::{
    Channel, Command, EventName, Invalid, MessageId, Outgoing, Pattern, Position, Publication, Request, Room,
    Tenant, Timestamp, UserId,
};

/// A native frame is decoded or refused; data is kept as written, and a refusal can be told to the client.
pub(crate) fn native(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    decoded(text, native::decode(text));
}

/// What holds for the result of any framing's decoder.
fn decoded(text: &str, result: Result<Request, Invalid>) {
    match result {
        Ok(Request { id, command }) => {
            if let Some(id) = id {
                assert!(text.contains(id.as_json()), "an id is kept as written");
            }
            if let Command::Publish { data, .. } = &command {
                assert!(text.contains(data.get()), "data is kept as written");
            }
        }
        Err(invalid) => {
            let error = Outgoing::Error { code: invalid.code, message: &invalid.message, about: None };
            let frame = native::encode(&error, invalid.id.as_ref());
            let Ok(frame) = serde_json::from_str::<Value>(&frame) else { panic!("{frame} is not JSON") };
            assert_eq!(frame["code"], invalid.code.as_str());
        }
    }
}

/// A frame of an application is decoded or refused in both framings; what it publishes is encoded as a JSON object whose
/// event only the configuration names.
pub(crate) fn vocabulary(input: &[u8]) {
    static FRAMINGS: OnceLock<[Framing; 2]> = OnceLock::new();
    let framings = FRAMINGS.get_or_init(|| {
        let compile = |name| {
            let written = include_str!("vocabulary.json");
            let written = serde_json::from_str(written).unwrap_or_else(|error| panic!("{error}"));
            let vocabulary = Vocabulary::compile("", &written).unwrap_or_else(|error| panic!("{error}"));
            Framing::new(name, Some(vocabulary)).unwrap_or_else(|error| panic!("{error}"))
        };
        ["flat", "event"].map(compile)
    });
    let Ok(text) = std::str::from_utf8(input) else { return };
    for framing in framings {
        let Ok(Request { command, id }) = framing.decode(text) else { continue };
        if let Some(id) = id {
            assert!(text.contains(id.as_json()), "an id is kept as written");
        }
        let Command::Publish { event, data, binary, message_id, .. } = command else { continue };
        let timestamp = Timestamp(1);
        let publication = Publication { event, data, binary, id: message_id, from: None, timestamp };
        let message =
            Outgoing::Message { channel: "room:r", position: None, latest: false, publication: &publication };
        let Some(frame) = framing.encode(&message, None, Timestamp(1)) else { panic!("said nothing") };
        assert!(serde_json::from_str::<IgnoredAny>(&frame).is_ok(), "{frame} is not JSON");
        // Half a surrogate pair or great depth is passed on, but not every parser reads it.
        if let Ok(frame) = serde_json::from_str::<Value>(&frame) {
            let name = frame.get("type").or_else(|| frame.get("event"));
            assert_eq!(name.and_then(Value::as_str), Some("said"));
        }
    }
}

/// A template is compiled or refused, with the key in the error; what it renders is JSON.
pub(crate) fn template(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (written, claims) = text.split_once('\n').unwrap_or((text, "{}"));
    let Ok(template) = Template::<Claims>::compile("key", &Value::from(written)) else { return };
    if serde_json::from_str::<IgnoredAny>(claims).is_err() {
        return;
    }
    if let Some(json) = template.render(&claims) {
        assert!(serde_json::from_str::<IgnoredAny>(&json).is_ok(), "{json} is not JSON");
        assert_eq!(template.render_whole(&claims), Ok(json));
    }
}

/// An Engine.IO body is read or refused; what was read is written and read again as the same.
pub(crate) fn engineio(input: &[u8]) {
    let Ok(body) = std::str::from_utf8(input) else { return };
    let Ok(packets) = engineio::decode_payload(body).collect::<Result<Vec<_>, _>>() else { return };
    let mut written = engineio::Payload::default();
    for packet in &packets {
        match packet {
            engineio::Packet::Binary(bytes) => written.push_binary(bytes),
            text => written.push_text(&text.to_text()),
        }
    }
    let written = written.into_string();
    let again: Result<Vec<_>, _> = engineio::decode_payload(&written).collect();
    assert_eq!(again, Ok(packets));
}

/// A Socket.IO packet is read or refused; what was read is written as something that is read as the same, and cannot
/// be taken for two packets.
pub(crate) fn socketio(input: &[u8]) {
    const MOST: usize = 10;
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(packet) = socketio::Packet::decode(text, MOST) else { return };
    let written = packet.to_text();
    assert!(!written.contains(engineio::SEPARATOR), "{written} falls apart");
    match socketio::Packet::decode(&written, MOST) {
        Ok(again) => assert_eq!(format!("{again:?}"), format!("{packet:?}")),
        Err(error) => panic!("{written}: {error}"),
    }
    if let socketio::Body::Event { arguments, .. } = packet.body {
        assert!(socketio::event_name(arguments).is_ok(), "an event has a name");
    }
}

/// A text is a name, a channel, a position or a pattern, or it is refused; whatever is accepted is its own text, and no
/// identifier can leave a key.
pub(crate) fn names(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    for identifier in [
        Tenant::new(text).map(String::from),
        UserId::new(text).map(String::from),
        Room::new(text).map(String::from),
    ]
    .into_iter()
    .flatten()
    {
        assert_eq!(identifier, text);
        assert!(!identifier.contains(|c: char| !c.is_ascii_graphic() || "{}*?[]\\/\"'".contains(c)));
    }
    for printable in
        [EventName::new(text).map(String::from), MessageId::new(text).map(String::from)].into_iter().flatten()
    {
        assert_eq!(printable, text);
        assert!(!printable.contains(char::is_control));
    }
    if let Ok(channel) = Channel::parse(text) {
        assert_eq!(channel.as_str(), text);
    }
    if let Ok(position) = text.parse::<Position>() {
        assert_eq!(position.to_string(), text);
    }
    if let Some((pattern, name)) = text.split_once('\n')
        && let Ok(pattern) = Pattern::new(pattern)
    {
        let star = pattern.as_str().contains('*');
        assert!(star || pattern.matches(name) == (pattern.as_str() == name));
    }
}

/// Stored bytes are a publication or refused; what was read is written and read again as the same.
pub(crate) fn publication(input: &[u8]) {
    let Ok(publication) = Publication::decode(input) else { return };
    let stored = publication.encode().unwrap_or_else(|error| panic!("{error}"));
    let again = Publication::decode(&stored).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(again, publication);
}
