//! Endpoints as the configuration writes them.

use chassis::auth::ClaimRule;
use chassis::options::{ByteSize, Field, HumanDuration};
use serde::Deserialize;

/// What stands in a table of `[[endpoints]]`.
pub(super) const ENDPOINT: &[Field] = &[
    Field::new(
        "path",
        "path",
        "",
        "Where clients connect. `/socket.io` for the protocol `socketio`, if absent.",
    ),
    Field::new(
        "protocol",
        "protocol",
        "websocket",
        "`websocket`, `events` (server-sent events) or `socketio`.",
    ),
    Field::new("framing", "framing", "native", "`native`, `flat` or `event`. Socket.IO has its own."),
    Field::new("namespace", "text", "/", "The namespace of Socket.IO."),
    Field::new(
        "recovery",
        "duration",
        "2m",
        "How long a client of Socket.IO may stay away and miss nothing; `0s` for not at all, at most `1d`.",
    ),
    Field::new(
        "offline",
        "offline",
        "off",
        "Whether what is sent to a user who is away waits for the next connection here, once for each device and for as long \
         as the user's channel keeps it: `off`; `kept`, where a device of which nothing is known gets all that is kept; or \
         `new`, where it gets what is sent from then on.",
    ),
    Field::new(
        "device",
        "text",
        "",
        "The name of the device of a client that says none: a text, perhaps with placeholders such as `${claims.device}`.",
    ),
    Field::new("vocabulary", "text", "", "The name of the application's words, as in `vocabularies`."),
    Field::new("in_band", "boolean", "true", "Whether a token may come in a frame."),
    Field::new(
        "refusal",
        "`by_reason`, `1008`",
        "by_reason",
        "With what code a client without a good token is closed: one that tells why, or always the same.",
    ),
    Field::new("claims", "tables", "", "What a token must say here, as in `auth.claims.rules`."),
    Field::new(
        "rooms",
        "list of texts",
        "",
        "The rooms that a session is in by itself: names with placeholders such as `org:${claims.organizationId}`.",
    ),
    Field::new(
        "origins",
        "list of texts",
        "",
        "The origins whose pages may connect. As `gateway.origins`, if absent.",
    ),
    Field::new(
        "auth_timeout",
        "duration",
        "",
        "As `gateway.auth_timeout`, if absent. So is each that follows with its name.",
    ),
    Field::new("heartbeat", "duration", "", "How often a client is pinged."),
    Field::new(
        "pong_timeout",
        "duration",
        "",
        "After how long without a sign of life a client is taken for dead.",
    ),
    Field::new(
        "max_sessions",
        "number",
        "0",
        "How many sessions a user may have at this path, in the whole cluster: with one more the oldest is closed with 4501. \
         0: any number.",
    ),
    Field::new(
        "text_ping",
        "boolean",
        "false",
        "Whether clients are also asked for a sign of life by a frame.",
    ),
    Field::new("max_rooms", "number", "", "How many rooms a session may be in."),
    Field::new("max_frame", "size", "", "The largest message that a client may send."),
    Field::new("queue_size", "size", "", "How many bytes may wait for one client."),
    Field::new(
        "max_lag",
        "duration",
        "",
        "How long a client that is behind may take to make room in its queue.",
    ),
    Field::new("rate", "number", "", "How many requests a second a client may send."),
    Field::new(
        "user_rate",
        "number",
        "",
        "How many requests a second all clients of a user may send to one node.",
    ),
];

/// One endpoint, as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    pub(super) path: Option<String>,
    #[serde(default)]
    pub(super) protocol: WrittenProtocol,
    pub(super) framing: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) recovery: Option<HumanDuration>,
    #[serde(default)]
    pub(super) offline: WrittenOffline,
    pub(super) device: Option<String>,
    pub(super) vocabulary: Option<String>,
    pub(super) in_band: Option<bool>,
    #[serde(default)]
    pub(super) refusal: WrittenRefusal,
    #[serde(default)]
    pub(super) claims: Vec<ClaimRule>,
    #[serde(default)]
    pub(super) rooms: Vec<String>,
    pub(super) origins: Option<Vec<String>>,
    pub(super) auth_timeout: Option<HumanDuration>,
    pub(super) heartbeat: Option<HumanDuration>,
    pub(super) pong_timeout: Option<HumanDuration>,
    #[serde(default)]
    pub(super) max_sessions: u32,
    #[serde(default)]
    pub(super) text_ping: bool,
    pub(super) max_rooms: Option<usize>,
    pub(super) max_frame: Option<ByteSize>,
    pub(super) queue_size: Option<ByteSize>,
    pub(super) max_lag: Option<HumanDuration>,
    pub(super) rate: Option<u32>,
    pub(super) user_rate: Option<u32>,
}

#[derive(Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum WrittenProtocol {
    #[default]
    WebSocket,
    Events,
    SocketIo,
}

#[derive(Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum WrittenOffline {
    #[default]
    Off,
    Kept,
    New,
}

#[derive(Default, Clone, Copy, Deserialize)]
pub(super) enum WrittenRefusal {
    #[default]
    #[serde(rename = "by_reason")]
    ByReason,
    #[serde(rename = "1008")]
    PolicyViolation,
}

#[cfg(test)]
mod tests {
    use serde_aux::serde_introspection::serde_introspect;

    use super::*;

    #[test]
    fn the_reference_names_every_key() {
        assert_eq!(Field::keys(ENDPOINT, None), serde_introspect::<Table>());
    }
}
