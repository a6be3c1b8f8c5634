//! Endpoints as tables of the file: an application's own clients keep their frames and their names of events.
//!
//! ```toml
//! [[endpoints]]
//! path = "/chat"
//! framing = "flat"
//! vocabulary = "community"
//!
//! [vocabularies.community]        # see proto/vocabularies.md
//! incoming.join_room = { action = "join", room = "$body.roomSlug" }
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chassis::options::{ByteSize, Kind, Loaded, Mistake, OptionSpec, OptionsError};
use proto::framing::{Framing, socketio};
use proto::vocabulary::Vocabulary;
use serde::Deserialize;
use serde_json::Value;

use crate::endpoint::offline::{First, Offline};
use crate::endpoint::policy::{Admission, ClaimsText};
use crate::endpoint::{Endpoint, Origins, Protocol, Refusal};
use crate::node::pulse::LOOK;

use super::written::{ENDPOINT, Table, WrittenOffline, WrittenProtocol, WrittenRefusal};

/// Where clients of Socket.IO look for it if nobody tells them otherwise.
const SOCKET_IO: &str = "/socket.io";

/// How long clients of Socket.IO may stay away, as in the reference implementation.
const RECOVERY: Duration = Duration::from_secs(120);

/// A session of so long ago is worth less than the memory for it.
const LONGEST_RECOVERY: Duration = Duration::from_secs(24 * 3600);

/// The rows of the endpoints' options.
pub(super) const ENDPOINTS: [OptionSpec; 2] = [
    OptionSpec {
        key: "endpoints",
        kind: Kind::Tables(ENDPOINT),
        default: "",
        help: "What clients may connect to, in place of the native endpoints.",
    },
    OptionSpec {
        key: "vocabularies",
        kind: Kind::Tables(&[]),
        default: "",
        help: "Applications' own names for commands and events, by the name that endpoints use; see \
               proto/vocabularies.md.",
    },
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    #[serde(default)]
    endpoints: Vec<Table>,
    #[serde(default)]
    vocabularies: BTreeMap<String, Value>,
}

/// Reads the tables; what they do not say is as in `default`. Empty if there is no table.
pub(super) fn endpoints(loaded: &Loaded, default: &Endpoint) -> Result<Vec<Endpoint>, OptionsError> {
    let Section { endpoints, vocabularies } = loaded.section(&ENDPOINTS)?;
    let mut mistakes = Vec::new();
    // Also those that no endpoint uses: a mistake is told when it is made.
    for (name, written) in &vocabularies {
        if let Err(error) = Vocabulary::compile(&format!("vocabularies.{name}"), written) {
            mistakes.push(loaded.mistake(error.key, error.problem));
        }
    }
    let mut paths = BTreeSet::new();
    let mut meant = Vec::new();
    for (index, table) in endpoints.into_iter().enumerate() {
        let mistake =
            |(field, message): (&str, String)| loaded.mistake(format!("endpoints[{index}].{field}"), message);
        if !paths.insert(table.route().to_owned()) {
            mistakes.push(mistake(("path", "is the path of another endpoint too".to_owned())));
        }
        match table.meaning(default, &vocabularies) {
            Ok(endpoint) => meant.push(endpoint),
            Err(wrong) => mistakes.extend(wrong.into_iter().map(mistake)),
        }
    }
    finish(meant, mistakes)
}

fn finish(meant: Vec<Endpoint>, mistakes: Vec<Mistake>) -> Result<Vec<Endpoint>, OptionsError> {
    if mistakes.is_empty() { Ok(meant) } else { Err(OptionsError::Invalid(mistakes)) }
}

/// A field, and what is wrong with it.
type Wrong = (&'static str, String);

impl Table {
    /// The path, as it is told apart from others: that of Socket.IO may end with a slash or not.
    fn route(&self) -> &str {
        match (&self.path, self.protocol) {
            (Some(path), WrittenProtocol::SocketIo) => path.trim_end_matches('/'),
            (Some(path), _) => path,
            (None, WrittenProtocol::SocketIo) => SOCKET_IO,
            (None, _) => "",
        }
    }

    fn meaning(
        self,
        default: &Endpoint,
        vocabularies: &BTreeMap<String, Value>,
    ) -> Result<Endpoint, Vec<Wrong>> {
        let mut wrong = Vec::new();
        let path = self.route().to_owned();
        if !is_path(&path) {
            wrong.push(("path", "must be a path such as /chat, of letters, digits and / - _ .".to_owned()));
        }
        let framing = self.framing(vocabularies).map_err(|error| wrong.push(error)).unwrap_or_default();
        let origins = match self.origins.as_deref().map(Origins::new) {
            None => default.origins.clone(),
            Some(Ok(origins)) => origins,
            Some(Err(bad)) => {
                wrong.push(("origins", format!("{bad:?} is not an origin such as https://app.example")));
                Origins::default()
            }
        };
        let recovery = self.recovery(&mut wrong);
        let offline = self.offline(&mut wrong);
        let rooms = self.rooms.iter().map(|name| ClaimsText::compile("rooms", name));
        let rooms = rooms.collect::<Result<_, _>>().unwrap_or_else(|error| {
            wrong.push(("rooms", error.problem.to_string()));
            Vec::new()
        });
        let endpoint = Endpoint {
            path,
            origins,
            protocol: match self.protocol {
                WrittenProtocol::WebSocket => Protocol::WebSocket,
                WrittenProtocol::Events => Protocol::ServerSentEvents,
                WrittenProtocol::SocketIo => Protocol::SocketIo,
            },
            framing,
            in_band: self.in_band.unwrap_or(default.in_band),
            auth_timeout: self.auth_timeout.map_or(default.auth_timeout, |written| written.0),
            admission: Admission { claims: self.claims, rooms },
            max_sessions: self.max_sessions,
            recovery,
            offline,
            refusal: match self.refusal {
                WrittenRefusal::ByReason => Refusal::ByReason,
                WrittenRefusal::PolicyViolation => Refusal::PolicyViolation,
            },
            heartbeat: self.heartbeat.map_or(default.heartbeat, |written| written.0),
            pong_timeout: self.pong_timeout.map_or(default.pong_timeout, |written| written.0),
            text_ping: self.text_ping,
            rate: self.rate.unwrap_or(default.rate),
            user_rate: self.user_rate.unwrap_or(default.user_rate),
            max_rooms: self.max_rooms.unwrap_or(default.max_rooms),
            max_message: self.max_frame.map_or(default.max_message, ByteSize::as_usize),
            queue_bytes: self.queue_size.map_or(default.queue_bytes, ByteSize::as_usize),
            max_lag: self.max_lag.map_or(default.max_lag, |written| written.0),
        };
        if endpoint.offline.is_some() && !endpoint.can_tell_gaps() {
            let message =
                "needs words for `gap` in the vocabulary: what is told to who was away for too long";
            wrong.push(("offline", message.to_owned()));
        }
        wrong.extend(limits(&endpoint));
        if wrong.is_empty() { Ok(endpoint) } else { Err(wrong) }
    }

    fn recovery(&self, wrong: &mut Vec<Wrong>) -> Option<Duration> {
        if self.protocol != WrittenProtocol::SocketIo {
            if self.recovery.is_some() {
                wrong.push(("recovery", "means something only to the protocol socketio".to_owned()));
            }
            return None;
        }
        let window = self.recovery.map_or(RECOVERY, |written| written.0);
        if window > LONGEST_RECOVERY {
            wrong.push(("recovery", "must be at most a day".to_owned()));
        }
        (!window.is_zero()).then_some(window)
    }

    fn offline(&self, wrong: &mut Vec<Wrong>) -> Option<Offline> {
        let first = match self.offline {
            WrittenOffline::Kept => First::Kept,
            WrittenOffline::New => First::New,
            WrittenOffline::Off => {
                if self.device.is_some() {
                    wrong.push(("device", "means something only with `offline`".to_owned()));
                }
                return None;
            }
        };
        if self.protocol == WrittenProtocol::Events {
            let message =
                "means nothing to the protocol events: its clients answer nothing, and say where they were";
            wrong.push(("offline", message.to_owned()));
        }
        let device = self.device.as_ref().map(|text| ClaimsText::compile("device", text)).transpose();
        let device = device.unwrap_or_else(|error| {
            wrong.push(("device", error.problem.to_string()));
            None
        });
        Some(Offline { first, device })
    }

    fn socketio(&self, vocabulary: Option<Vocabulary>) -> Result<Framing, Wrong> {
        if self.framing.is_some() {
            return Err(("framing", "must be left out: Socket.IO has its own".to_owned()));
        }
        let namespace = self.namespace.as_deref().unwrap_or(socketio::MAIN);
        let is_printable = namespace.chars().all(|c| c.is_ascii_graphic() && c != ',' && c != '?');
        if !namespace.starts_with('/') || !is_printable || namespace.len() > socketio::LONGEST_NAMESPACE {
            return Err(("namespace", "must be a name such as /chat".to_owned()));
        }
        let vocabulary = vocabulary
            .ok_or_else(|| ("vocabulary", "is missing: the protocol socketio needs one".to_owned()))?;
        Ok(Framing::socketio(vocabulary, namespace))
    }

    fn framing(&self, vocabularies: &BTreeMap<String, Value>) -> Result<Framing, Wrong> {
        let vocabulary = match &self.vocabulary {
            None => None,
            Some(name) => {
                let written = vocabularies
                    .get(name)
                    .ok_or_else(|| ("vocabulary", format!("there is no table vocabularies.{name}")))?;
                let key = format!("vocabularies.{name}");
                Some(Vocabulary::compile(&key, written).map_err(|error| ("vocabulary", error.to_string()))?)
            }
        };
        if self.protocol == WrittenProtocol::SocketIo {
            return self.socketio(vocabulary);
        }
        if self.namespace.is_some() {
            return Err(("namespace", "means something only to the protocol socketio".to_owned()));
        }
        let name = self.framing.as_deref().unwrap_or("native");
        Framing::new(name, vocabulary).map_err(|error| {
            let field = if error.key == "framing" { "framing" } else { "vocabulary" };
            (field, error.to_string())
        })
    }
}

/// What is wrong with the limits of an endpoint.
pub(super) fn limits(endpoint: &Endpoint) -> impl Iterator<Item = Wrong> {
    let nothing = "must be more than nothing";
    [
        (endpoint.auth_timeout.is_zero(), "auth_timeout", nothing),
        (endpoint.heartbeat.as_secs() < u64::from(LOOK), "heartbeat", "must be at least 5s"),
        (endpoint.pong_timeout <= endpoint.heartbeat, "pong_timeout", "must be longer than the heartbeat"),
        (endpoint.max_sessions > 1000, "max_sessions", "must be at most 1000"),
        (endpoint.max_rooms == 0, "max_rooms", "must be at least 1"),
        (endpoint.max_message < 1024, "max_frame", "must be at least 1KiB"),
        (endpoint.queue_bytes < 1024, "queue_size", "must be at least 1KiB"),
        (endpoint.max_lag.is_zero(), "max_lag", nothing),
        (endpoint.rate == 0, "rate", "must be at least 1"),
    ]
    .into_iter()
    .filter(|(wrong, ..)| *wrong)
    .map(|(_, field, message)| (field, message.to_owned()))
}

/// Whether a text can be routed to.
pub(super) fn is_path(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.".contains(c);
    text.starts_with('/') && text.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(text: &str) -> Result<Vec<Endpoint>, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let args = ["gateway", "--config", file.path().to_str().unwrap()];
        let loaded =
            chassis::options::load("gateway", "", &[&ENDPOINTS], args).map_err(|error| error.to_string())?;
        endpoints(&loaded, &Endpoint::default()).map_err(|error| error.to_string())
    }

    const COMMUNITY: &str = "[vocabularies.community]\nincoming.hello = { action = \"ping\" }\n";

    #[test]
    fn tables_say_what_differs_from_the_defaults() {
        let text = format!(
            "[[endpoints]]\npath = \"/\"\nframing = \"flat\"\nvocabulary = \"community\"\nrefusal = \"1008\"\n\
             in_band = false\nmax_rooms = 3\n[[endpoints]]\npath = \"/events\"\nprotocol = \"events\"\n{COMMUNITY}"
        );
        let endpoints = read(&text).unwrap();
        let [first, second] = &endpoints[..] else { panic!("two endpoints") };
        assert!(matches!(first.framing, Framing::Flat(_)));
        assert_eq!((first.refusal, first.in_band, first.max_rooms), (Refusal::PolicyViolation, false, 3));
        assert_eq!(first.max_lag, Endpoint::default().max_lag);
        assert_eq!(
            *second,
            Endpoint {
                path: "/events".to_owned(),
                protocol: Protocol::ServerSentEvents,
                ..Endpoint::default()
            }
        );
        assert_eq!(read("").unwrap(), []);
    }

    #[test]
    fn socket_io_is_where_its_clients_look_for_it() {
        let text = format!("[[endpoints]]\nprotocol = \"socketio\"\nvocabulary = \"community\"\n{COMMUNITY}");
        let endpoints = read(&text).unwrap();
        assert_eq!((&*endpoints[0].path, endpoints[0].protocol), ("/socket.io", Protocol::SocketIo));
        assert!(matches!(&endpoints[0].framing, Framing::SocketIo(events) if events.namespace() == "/"));
    }

    #[test]
    fn an_offline_queue_is_for_those_who_can_be_told_of_a_gap() {
        let table = "[[endpoints]]\nprotocol = \"socketio\"\nvocabulary = \"community\"\noffline = \"new\"\n";
        let message = read(&format!("{table}{COMMUNITY}")).unwrap_err();
        assert!(message.contains("endpoints[0].offline") && message.contains("gap"), "{message}");
        let words = "outgoing.gap = { event = \"missed\", body = {} }\n";
        let endpoints = read(&format!("{table}device = \"any\"\n{COMMUNITY}{words}")).unwrap();
        let offline = endpoints[0].offline.as_ref().unwrap();
        assert!(offline.first == First::New && offline.device.is_some());
        let native = read("[[endpoints]]\npath = \"/a\"\noffline = \"kept\"\n").unwrap();
        assert_eq!(native[0].offline, Some(Offline { first: First::Kept, device: None }));
    }

    #[test]
    fn a_mistake_is_told_by_its_key() {
        for (text, key) in [
            ("[[endpoints]]\npath = \"chat\"\n", "endpoints[0].path"),
            ("[[endpoints]]\npath = \"/a\"\n[[endpoints]]\npath = \"/a\"\n", "endpoints[1].path"),
            ("[[endpoints]]\npath = \"/a\"\nframing = \"xml\"\n", "endpoints[0].framing"),
            ("[[endpoints]]\npath = \"/a\"\nframing = \"flat\"\n", "endpoints[0].vocabulary"),
            (
                "[[endpoints]]\npath = \"/a\"\nframing = \"flat\"\nvocabulary = \"x\"\n",
                "endpoints[0].vocabulary",
            ),
            ("[[endpoints]]\n", "endpoints[0].path"),
            ("[[endpoints]]\nprotocol = \"socketio\"\n", "endpoints[0].vocabulary"),
            ("[[endpoints]]\nprotocol = \"socketio\"\nframing = \"flat\"\n", "endpoints[0].framing"),
            ("[[endpoints]]\nprotocol = \"socketio\"\nnamespace = \"a\"\n", "endpoints[0].namespace"),
            ("[[endpoints]]\npath = \"/a\"\nrecovery = \"1m\"\n", "endpoints[0].recovery"),
            ("[[endpoints]]\nprotocol = \"socketio\"\nrecovery = \"2d\"\n", "endpoints[0].recovery"),
            ("[[endpoints]]\npath = \"/a\"\nnamespace = \"/a\"\n", "endpoints[0].namespace"),
            (
                "[[endpoints]]\nprotocol = \"socketio\"\n[[endpoints]]\npath = \"/socket.io/\"\nprotocol = \"socketio\"",
                "endpoints[1].path",
            ),
            ("[[endpoints]]\npath = \"/a\"\nrate = 0\n", "endpoints[0].rate"),
            ("[[endpoints]]\npath = \"/a\"\nheartbeat = \"1m\"\n", "endpoints[0].pong_timeout"),
            ("[[endpoints]]\npath = \"/a\"\nspeed = 1\n", "speed"),
            ("[[endpoints]]\npath = \"/a\"\ndevice = \"any\"\n", "endpoints[0].device"),
            ("[[endpoints]]\npath = \"/a\"\noffline = \"kept\"\ndevice = \"$body\"\n", "endpoints[0].device"),
            (
                "[[endpoints]]\npath = \"/a\"\nprotocol = \"events\"\noffline = \"kept\"\n",
                "endpoints[0].offline",
            ),
            ("[[endpoints]]\npath = \"/a\"\nrooms = [\"$user.id\"]\n", "endpoints[0].rooms"),
            ("[[endpoints]]\npath = \"/a\"\nclaims = [{ format = \"uuid\" }]\n", "claim"),
            ("[vocabularies.v.incoming.a]\naction = \"dance\"\n", "vocabularies.v.incoming.a"),
        ] {
            let message = read(text).unwrap_err();
            assert!(message.contains(key), "{key}: {message}");
        }
    }
}
