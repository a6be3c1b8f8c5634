//! The few messages of the native protocol that a load run speaks.

use crate::framing::Kind;

/// The event that every message of a load run has.
pub const EVENT: &str = "load";

/// A sign of life.
pub const PING: &str = r#"{"type":"ping"}"#;

/// The kind of a message, given its JSON; read from its `type` alone.
#[must_use]
pub fn kind_of(payload: &[u8]) -> Kind {
    match text_after(payload, b"\"type\":\"") {
        Some(b"welcome") => Kind::Welcome,
        Some(b"auth_success") => Kind::AuthSuccess,
        Some(b"joined") => Kind::Joined,
        Some(b"left") => Kind::Left,
        Some(b"published") => Kind::Published,
        Some(b"message") => Kind::Message,
        Some(b"error") => Kind::Error,
        Some(b"ping") => Kind::Ping,
        _ => Kind::Other,
    }
}

/// `join` of a room.
#[must_use]
pub fn join(room: &str) -> String {
    format!(r#"{{"type":"join","room":"{room}","id":1}}"#)
}

/// `leave` of a room.
#[must_use]
pub fn leave(room: &str) -> String {
    format!(r#"{{"type":"leave","room":"{room}","id":2}}"#)
}

/// Appends `publish` to a room; `data` is JSON.
pub fn publish(room: &str, data: &[u8], out: &mut Vec<u8>) {
    let head = format!(r#"{{"type":"publish","room":"{room}","event":"{EVENT}","data":"#);
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(data);
    out.push(b'}');
}

/// The room that a command of ours names.
#[must_use]
pub fn room_of(command: &[u8]) -> Option<&str> {
    std::str::from_utf8(text_after(command, b"\"room\":\"")?).ok()
}

/// The data within a `publish` of ours, where it stands last.
#[must_use]
pub fn data_of(publish: &[u8]) -> Option<&[u8]> {
    after(publish, b"\"data\":")?.strip_suffix(b"}")
}

/// Appends a delivery of `data` in `room`, with envelope fields as long as a
/// server's.
pub fn message(room: &str, data: &[u8], out: &mut Vec<u8>) {
    let head = format!(r#"{{"type":"message","channel":"room:{room}","event":"{EVENT}","data":"#);
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(data);
    out.extend_from_slice(br#","position":"v1.193b2f6c1a0.1234.9e3779b97f4a7c15","#);
    out.extend_from_slice(br#""from":{"user":"publisher"},"timestamp":1760000000000}"#);
}

/// The JSON string without escapes that follows `key`.
fn text_after<'a>(payload: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    after(payload, key)?.split(|byte| *byte == b'"').next()
}

fn after<'a>(payload: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let at = payload.windows(key.len()).position(|window| window == key)?;
    payload.get(at + key.len()..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_apart() {
        assert_eq!(kind_of(br#"{"type":"joined","room":"r"}"#), Kind::Joined);
        assert_eq!(kind_of(br#"{"id":1,"type":"error"}"#), Kind::Error);
        assert_eq!(kind_of(br#"{"type":"later"}"#), Kind::Other);
        assert_eq!(kind_of(b"[]"), Kind::Other);
    }

    #[test]
    fn a_publish_gives_back_its_room_and_data() {
        let mut command = Vec::new();
        publish("r1", br#"{"seq":1}"#, &mut command);
        assert_eq!(room_of(&command), Some("r1"));
        assert_eq!(data_of(&command), Some(&br#"{"seq":1}"#[..]));
    }

    #[test]
    fn messages_are_json() {
        let mut text = Vec::new();
        message("r", b"{}", &mut text);
        for json in [text, join("r").into_bytes(), leave("r").into_bytes()] {
            serde_json::from_slice::<serde_json::Value>(&json).unwrap();
        }
    }
}
