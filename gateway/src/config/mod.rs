//! What can be configured, with defaults that suit most.

mod endpoints;
mod written;

use std::time::Duration;

use chassis::options::{ByteSize, HumanDuration, Kind, Loaded, OptionSpec, OptionsError};
use serde::Deserialize;

use crate::endpoint::{Endpoint, Origins, Protocol};
use endpoints::is_path;

/// The rows of the gateway's options.
pub const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        key: "gateway.path",
        kind: Kind::Text,
        default: "/ws",
        help: "Where WebSockets of the native protocol are served.",
    },
    OptionSpec {
        key: "gateway.events_path",
        kind: Kind::Text,
        default: "/events",
        help: "Where server-sent events are served, for clients that only listen.",
    },
    OptionSpec {
        key: "gateway.page",
        kind: Kind::Text,
        default: "",
        help: "Where a page is served to try the WebSocket endpoints on, such as `/`. Empty: nowhere.",
    },
    OptionSpec {
        key: "gateway.origins",
        kind: Kind::List,
        default: "",
        help: "The origins whose pages may connect, such as `https://app.example`. Empty: all. Clients that are no \
               browsers send no origin and are not held to this.",
    },
    OptionSpec {
        key: "gateway.auth_timeout",
        kind: Kind::Duration,
        default: "10s",
        help: "How long a client may take to present a token.",
    },
    OptionSpec {
        key: "gateway.heartbeat",
        kind: Kind::Duration,
        default: "25s",
        help: "How often a client is pinged, to within five seconds.",
    },
    OptionSpec {
        key: "gateway.pong_timeout",
        kind: Kind::Duration,
        default: "45s",
        help: "After how long without a sign of life, a pong or anything else, a client is taken for dead.",
    },
    OptionSpec {
        key: "gateway.rate",
        kind: Kind::Integer,
        default: "100",
        help: "How many requests a second a client may send; twice as many at once.",
    },
    OptionSpec {
        key: "gateway.user_rate",
        kind: Kind::Integer,
        default: "0",
        help: "How many requests a second all clients of a user may send that are connected to one node; twice as many at once. \
               0: any number.",
    },
    OptionSpec {
        key: "gateway.max_rooms",
        kind: Kind::Integer,
        default: "128",
        help: "How many rooms a session may be in.",
    },
    OptionSpec {
        key: "gateway.max_frame",
        kind: Kind::Size,
        default: "64KiB",
        help: "The largest message that a client may send, as a whole.",
    },
    OptionSpec {
        key: "gateway.queue_size",
        kind: Kind::Size,
        default: "256KiB",
        help: "How many bytes may wait for one client. One that is behind by more is fed from history, at its own pace.",
    },
    OptionSpec {
        key: "gateway.max_lag",
        kind: Kind::Duration,
        default: "30s",
        help: "How long a client that is behind may take to make room in its queue before it is closed as too slow. It can \
               resume from where it was.",
    },
    OptionSpec {
        key: "gateway.advertise",
        kind: Kind::Text,
        default: "",
        help: "Where other gateways reach this one, as `host:port`: they hand it the requests of its Socket.IO clients that come \
               to them, so that no load balancer has to be sticky. Empty: where it listens, unless that is every address.",
    },
    OptionSpec {
        key: "gateway.reconnect_window",
        kind: Kind::Duration,
        default: "5s",
        help: "Over how long the clients of a draining node are advised to spread their return.",
    },
];

/// The rows of the tables of endpoints and vocabularies.
pub const ENDPOINTS: &[OptionSpec] = &endpoints::ENDPOINTS;

/// The limits of a gateway.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// What is served, and how.
    pub endpoints: Vec<Endpoint>,
    /// Where other gateways reach this one; empty for where it listens.
    pub advertise: String,
    /// Over how long the clients of a draining node are advised to spread their return.
    pub reconnect_window: Duration,
    /// Where a page is served to try the endpoints on.
    pub page: Option<String>,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            endpoints: both(Endpoint::default(), "/events".to_owned()),
            advertise: String::new(),
            reconnect_window: Duration::from_secs(5),
            page: None,
        }
    }
}

/// The options as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    gateway: Written,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    path: String,
    events_path: String,
    page: Option<String>,
    origins: Vec<String>,
    auth_timeout: HumanDuration,
    heartbeat: HumanDuration,
    pong_timeout: HumanDuration,
    rate: u32,
    user_rate: u32,
    max_rooms: usize,
    max_frame: ByteSize,
    queue_size: ByteSize,
    max_lag: HumanDuration,
    advertise: Option<String>,
    reconnect_window: HumanDuration,
}

impl GatewayConfig {
    /// Reads the options. All mistakes are told at once.
    pub fn from_options(loaded: &Loaded) -> Result<Self, OptionsError> {
        let Section { gateway: written } = loaded.section(OPTIONS)?;
        let mut mistakes = Vec::new();
        let mut tell = |(field, message): (&str, String)| {
            mistakes.push(loaded.mistake(format!("gateway.{field}"), message));
        };
        const PATH: &str = "must be a path such as /ws, of letters, digits and / - _ .";
        if !is_path(&written.path) {
            tell(("path", PATH.to_owned()));
        }
        if !is_path(&written.events_path) {
            tell(("events_path", PATH.to_owned()));
        }
        let page = written.page.filter(|page| !page.is_empty());
        if page.as_ref().is_some_and(|page| !is_path(page)) {
            tell(("page", PATH.to_owned()));
        }
        if written.path == written.events_path {
            tell(("events_path", "must not be the same as path".to_owned()));
        }
        let advertise = written.advertise.unwrap_or_default();
        let is_address = |text: &str| {
            text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        };
        if !advertise.is_empty() && !is_address(&advertise) {
            tell(("advertise", "must be an address such as 10.0.0.7:8080".to_owned()));
        }
        let origins = Origins::new(&written.origins).unwrap_or_else(|bad| {
            tell(("origins", format!("{bad:?} is not an origin such as https://app.example")));
            Origins::default()
        });
        let default = Endpoint {
            path: written.path,
            origins,
            auth_timeout: written.auth_timeout.0,
            heartbeat: written.heartbeat.0,
            pong_timeout: written.pong_timeout.0,
            rate: written.rate,
            user_rate: written.user_rate,
            max_rooms: written.max_rooms,
            max_message: written.max_frame.as_usize(),
            queue_bytes: written.queue_size.as_usize(),
            max_lag: written.max_lag.0,
            ..Endpoint::default()
        };
        endpoints::limits(&default).for_each(&mut tell);
        if !mistakes.is_empty() {
            return Err(OptionsError::Invalid(mistakes));
        }
        let mut endpoints = endpoints::endpoints(loaded, &default)?;
        if endpoints.is_empty() {
            endpoints = both(default, written.events_path);
        }
        if let Some(page) = &page
            && endpoints.iter().any(|endpoint| endpoint.path == *page)
        {
            return Err(loaded.wrong("gateway.page", "must not be the path of an endpoint"));
        }
        Ok(Self { endpoints, advertise, page, reconnect_window: written.reconnect_window.0 })
    }
}

/// The same endpoint by both protocols.
fn both(endpoint: Endpoint, events_path: String) -> Vec<Endpoint> {
    let events = Endpoint { path: events_path, protocol: Protocol::ServerSentEvents, ..endpoint.clone() };
    vec![endpoint, events]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str]) -> Result<GatewayConfig, String> {
        let args = std::iter::once("gateway").chain(args.iter().copied());
        let loaded = chassis::options::load("gateway", "", &[OPTIONS, ENDPOINTS], args).unwrap();
        GatewayConfig::from_options(&loaded).map_err(|error| error.to_string())
    }

    #[test]
    fn the_table_and_the_struct_have_the_same_defaults() {
        let (read, default) = (read(&[]).unwrap(), GatewayConfig::default());
        assert_eq!(read.endpoints, default.endpoints);
        assert_eq!(read.reconnect_window, default.reconnect_window);
    }

    #[test]
    fn a_wrong_value_is_refused_by_its_key() {
        for (flag, value) in [
            ("--gateway-path", "ws"),
            ("--gateway-path", "/{a}"),
            ("--gateway-events-path", "/ws"),
            ("--gateway-page", "/ws"),
            ("--gateway-page", "page"),
            ("--gateway-origins", "app.example"),
            ("--gateway-auth-timeout", "0s"),
            ("--gateway-heartbeat", "4s"),
            ("--gateway-pong-timeout", "25s"),
            ("--gateway-rate", "0"),
            ("--gateway-max-rooms", "0"),
            ("--gateway-max-frame", "10"),
            ("--gateway-queue-size", "10"),
            ("--gateway-max-lag", "0s"),
            ("--gateway-advertise", "10.0.0.7"),
        ] {
            let message = read(&[flag, value]).unwrap_err();
            let key = flag.replacen("--gateway-", "gateway.", 1).replace('-', "_");
            assert!(message.contains(&key), "{message}");
        }
    }
}
