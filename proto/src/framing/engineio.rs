//! Engine.IO packets, revision 4 of the protocol: what a WebSocket frame or the body of a polling request holds.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The revision of the protocol, as clients name it in `EIO`.
pub const REVISION: &str = "4";

/// What a client sends with a ping to try a new transport, and expects back with the pong.
pub const PROBE: &str = "probe";

/// Stands between the packets of a polling body.
pub const SEPARATOR: char = '\u{1e}';

/// Stands before a binary message in a polling body.
const BINARY: char = 'b';

/// A packet. Binary messages are a kind of their own: on a WebSocket they are binary frames without a type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet<'a> {
    /// The handshake, as JSON: see [`Handshake`].
    Open(&'a str),
    /// The session ends.
    Close,
    /// A heartbeat of the server, or the probe of a client.
    Ping(&'a str),
    /// The answer to a ping.
    Pong(&'a str),
    /// A text message.
    Message(&'a str),
    /// A binary message.
    Binary(Bytes),
    /// The client uses the new transport from here on.
    Upgrade,
    /// Nothing; it lets a waiting request be answered.
    Noop,
}

/// What the server tells when a session opens. Times are in milliseconds, sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Handshake {
    /// The session's id, which is a secret between the two.
    pub sid: String,
    /// The transports that the session may change to.
    pub upgrades: Vec<String>,
    /// How often the server pings.
    pub ping_interval: u64,
    /// How long it waits for the answer.
    pub ping_timeout: u64,
    /// The largest body and message that it takes.
    pub max_payload: usize,
}

/// Why bytes are not a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// There is not even a type.
    #[error("an empty packet")]
    Empty,
    /// The type is none of revision 4.
    #[error("a packet of unknown type")]
    UnknownType,
    /// A binary message is not Base64 (RFC 4648, section 4).
    #[error("a binary packet that is not Base64")]
    Base64,
}

impl<'a> Packet<'a> {
    /// Decodes a text frame of a WebSocket. Data after a type that has none is ignored.
    ///
    /// # Errors
    /// [`Malformed`], after which the session has to be closed.
    pub fn decode(text: &'a str) -> Result<Self, Malformed> {
        let mut rest = text.chars();
        let kind = rest.next().ok_or(Malformed::Empty)?;
        let data = rest.as_str();
        Ok(match kind {
            '0' => Self::Open(data),
            '1' => Self::Close,
            '2' => Self::Ping(data),
            '3' => Self::Pong(data),
            '4' => Self::Message(data),
            '5' => Self::Upgrade,
            '6' => Self::Noop,
            _ => return Err(Malformed::UnknownType),
        })
    }

    /// Writes a packet as a text frame holds it; a binary message, as a polling body does.
    pub fn encode(&self, out: &mut String) {
        let (kind, data) = match self {
            Self::Open(data) => ('0', *data),
            Self::Close => ('1', ""),
            Self::Ping(data) => ('2', *data),
            Self::Pong(data) => ('3', *data),
            Self::Message(data) => ('4', *data),
            Self::Upgrade => ('5', ""),
            Self::Noop => ('6', ""),
            Self::Binary(bytes) => {
                out.push(BINARY);
                return STANDARD.encode_string(bytes, out);
            }
        };
        out.push(kind);
        out.push_str(data);
    }

    /// The text frame of a packet.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        self.encode(&mut text);
        text
    }
}

/// Decodes the body of a polling request, one packet after the other.
pub fn decode_payload(body: &str) -> impl Iterator<Item = Result<Packet<'_>, Malformed>> {
    body.split(SEPARATOR).map(|packet| match packet.strip_prefix(BINARY) {
        Some(text) => {
            let bytes = STANDARD.decode(text).map_err(|_| Malformed::Base64)?;
            Ok(Packet::Binary(bytes.into()))
        }
        None => Packet::decode(packet),
    })
}

/// The body of a polling answer, in the making. A text message must not contain [`SEPARATOR`]; JSON escapes it.
#[derive(Debug, Default)]
pub struct Payload(String);

impl Payload {
    /// Adds a packet that is encoded already.
    pub fn push_text(&mut self, packet: &str) {
        self.separate();
        self.0.push_str(packet);
    }

    /// Adds a binary message.
    pub fn push_binary(&mut self, bytes: &[u8]) {
        self.separate();
        self.0.push(BINARY);
        STANDARD.encode_string(bytes, &mut self.0);
    }

    /// How many bytes the body has.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was added yet.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The body.
    pub fn into_string(self) -> String {
        self.0
    }

    fn separate(&mut self) {
        if !self.0.is_empty() {
            self.0.push(SEPARATOR);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_text_frame_is_one_packet() {
        assert_eq!(Packet::decode("4hello"), Ok(Packet::Message("hello")));
        assert_eq!(Packet::decode("4"), Ok(Packet::Message("")));
        assert_eq!(Packet::decode("2probe"), Ok(Packet::Ping(PROBE)));
        assert_eq!(Packet::decode("3"), Ok(Packet::Pong("")));
        assert_eq!(Packet::decode("5"), Ok(Packet::Upgrade));
        assert_eq!(Packet::decode(""), Err(Malformed::Empty));
        // Base64 is for polling alone.
        for unknown in ["abc", "7", "bAQID", "é"] {
            assert_eq!(Packet::decode(unknown), Err(Malformed::UnknownType), "{unknown}");
        }
    }

    #[test]
    fn a_body_holds_several_packets() {
        let packets: Result<Vec<_>, _> = decode_payload("4hello\u{1e}bAQIDBA==\u{1e}3").collect();
        let binary = Packet::Binary(Bytes::from_static(&[1, 2, 3, 4]));
        assert_eq!(packets, Ok(vec![Packet::Message("hello"), binary, Packet::Pong("")]));
        for (bad, error) in [
            ("", Malformed::Empty),
            ("4a\u{1e}", Malformed::Empty),
            ("4a\u{1e}x", Malformed::UnknownType),
            ("bAQ=", Malformed::Base64),
            ("b%%%%", Malformed::Base64),
        ] {
            assert_eq!(decode_payload(bad).collect::<Result<Vec<_>, _>>(), Err(error), "{bad}");
        }
    }

    #[test]
    fn a_handshake_has_the_five_keys_of_the_protocol() {
        let handshake = Handshake {
            sid: "s".to_owned(),
            upgrades: vec!["websocket".to_owned()],
            ping_interval: 25_000,
            ping_timeout: 20_000,
            max_payload: 1_000_000,
        };
        let json = serde_json::to_string(&handshake).unwrap();
        let expected = r#"{"sid":"s","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;
        assert_eq!(json, expected);
    }

    #[derive(Debug, Clone)]
    enum Item {
        Text(String),
        Binary(Vec<u8>),
    }

    fn items() -> impl Strategy<Value = Vec<Item>> {
        let text = "[^\u{1e}]{0,20}".prop_map(Item::Text);
        let binary = any::<Vec<u8>>().prop_map(Item::Binary);
        prop::collection::vec(prop_oneof![text, binary], 1..6)
    }

    proptest! {
        #[test]
        fn what_a_body_is_built_of_is_read_back(items in items()) {
            let mut payload = Payload::default();
            for item in &items {
                match item {
                    Item::Text(text) => payload.push_text(&Packet::Message(text).to_text()),
                    Item::Binary(bytes) => payload.push_binary(bytes),
                }
            }
            let body = payload.into_string();
            let packets: Vec<_> = decode_payload(&body).collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(packets.len(), items.len());
            for (packet, item) in packets.iter().zip(&items) {
                match item {
                    Item::Text(text) => prop_assert_eq!(packet, &Packet::Message(text)),
                    Item::Binary(bytes) => prop_assert_eq!(packet, &Packet::Binary(bytes.clone().into())),
                }
            }
        }
    }
}
