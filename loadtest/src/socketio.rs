//! The few packets of Socket.IO (revision 5 of its protocol, over Engine.IO 4)
//! that a load run speaks, with the events of `socketio.toml`.

use crate::framing::Kind;

/// The configuration that a started server needs for these events: an endpoint
/// beside the native one, with recovery.
pub const CONFIGURATION: &str = include_str!("socketio.toml");

/// Where that endpoint is.
pub const PATH: &str = "/socket.io/";

/// What the opening handshake says of the protocol.
pub const QUERY: &str = "EIO=4&transport=websocket";

/// The answer to a ping of Engine.IO.
pub const PONG: &str = "3";

/// A session to go on with: its key, and where the client stood in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// What the server called the session when it began.
    pub pid: String,
    /// The last argument of the last event.
    pub offset: String,
}

/// Asks to be connected to the main namespace; with a place, to go on there.
#[must_use]
pub fn connect(token: &str, place: Option<&Place>) -> String {
    match place {
        None => format!(r#"40{{"token":"{token}"}}"#),
        Some(Place { pid, offset }) if offset.is_empty() => {
            format!(r#"40{{"pid":"{pid}","token":"{token}"}}"#)
        }
        Some(Place { pid, offset }) => {
            format!(r#"40{{"pid":"{pid}","offset":"{offset}","token":"{token}"}}"#)
        }
    }
}

/// The key of the session, in the answer to [`connect`].
#[must_use]
pub fn pid_of(connected: &[u8]) -> Option<&str> {
    const KEY: &[u8] = b"\"pid\":\"";
    let at = connected.windows(KEY.len()).position(|window| window == KEY)?;
    let rest = connected.get(at + KEY.len()..)?;
    std::str::from_utf8(rest.split(|byte| *byte == b'"').next()?).ok()
}

/// The last argument of an event, where that is a text: with recovery it tells
/// where the client stands.
#[must_use]
pub fn offset_of(event: &[u8]) -> Option<&str> {
    let arguments = event.strip_suffix(b"\"]")?;
    let begin = arguments.iter().rposition(|byte| *byte == b'"')?;
    std::str::from_utf8(arguments.get(begin + 1..)?).ok()
}

/// The kind of a packet.
#[must_use]
pub fn kind_of(packet: &[u8]) -> Kind {
    let Some(event) = packet.strip_prefix(b"42[\"") else {
        return match packet {
            [b'0', ..] => Kind::Welcome,
            [b'2', ..] => Kind::Ping,
            [b'4', b'0', ..] => Kind::AuthSuccess,
            [b'4', b'1' | b'4', ..] => Kind::Error,
            _ => Kind::Other,
        };
    };
    match event.split(|byte| *byte == b'"').next() {
        Some(b"load") => Kind::Message,
        Some(b"joined") => Kind::Joined,
        Some(b"left") => Kind::Left,
        Some(b"error") => Kind::Error,
        _ => Kind::Other,
    }
}

/// The event that joins a room.
#[must_use]
pub fn join(room: &str) -> String {
    format!(r#"42["join",{{"room":"{room}"}}]"#)
}

/// The event that leaves a room.
#[must_use]
pub fn leave(room: &str) -> String {
    format!(r#"42["leave",{{"room":"{room}"}}]"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_told_apart() {
        for (packet, kind) in [
            (r#"0{"sid":"x","upgrades":[]}"#, Kind::Welcome),
            ("2", Kind::Ping),
            (r#"40{"sid":"s","pid":"p"}"#, Kind::AuthSuccess),
            (r#"44{"message":"no"}"#, Kind::Error),
            ("41", Kind::Error),
            (r#"42["joined",{"room":"r"},"o"]"#, Kind::Joined),
            (r#"42["load",{"seq":1},"o"]"#, Kind::Message),
            (r#"42["other"]"#, Kind::Other),
            ("6", Kind::Other),
        ] {
            assert_eq!(kind_of(packet.as_bytes()), kind, "{packet}");
        }
    }

    #[test]
    fn a_session_is_gone_on_with_by_what_the_server_told() {
        let pid = pid_of(br#"40{"sid":"s","pid":"p1"}"#).unwrap().to_owned();
        let offset = offset_of(br#"42["load",{"seq":1},"o1"]"#).unwrap().to_owned();
        assert_eq!(offset_of(br#"42["load",{"seq":1}]"#), None);
        let place = Place { pid, offset };
        assert_eq!(connect("T", Some(&place)), r#"40{"pid":"p1","offset":"o1","token":"T"}"#);
        let place = Place { offset: String::new(), ..place };
        assert_eq!(connect("T", Some(&place)), r#"40{"pid":"p1","token":"T"}"#);
        assert_eq!(connect("T", None), r#"40{"token":"T"}"#);
    }
}
