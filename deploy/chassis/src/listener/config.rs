//! The options of a listener, and the socket that they make.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::net::TcpListener;

use crate::options::{ByteSize, HumanDuration, Kind, Loaded, OptionSpec, OptionsError};

/// The options of the listener for clients and callers.
pub const LISTENER: &[OptionSpec] = &[
    OptionSpec {
        key: "listener.max_connections",
        kind: Kind::Integer,
        default: "50000",
        help: "How many connections the process holds at once. Whoever comes when all places are taken gets a 503 \
               with Retry-After. Never more than the limit of open files allows.",
    },
    OptionSpec {
        key: "listener.backlog",
        kind: Kind::Integer,
        default: "4096",
        help: "How many connections may wait in the kernel to be accepted. The system's own limit \
               (net.core.somaxconn) holds as well.",
    },
    OptionSpec {
        key: "listener.silence_timeout",
        kind: Kind::Duration,
        default: "5s",
        help: "How long a new connection may say nothing at all.",
    },
    OptionSpec {
        key: "listener.header_timeout",
        kind: Kind::Duration,
        default: "10s",
        help: "How long a connection may take, from its first byte, to send the head of its first request.",
    },
    OptionSpec {
        key: "listener.idle_timeout",
        kind: Kind::Duration,
        default: "75s",
        help: "How long a connection may stay without a request after its first one. Longer than the load balancer \
               keeps its idle connections, so that it never sends a request into one that is being closed.",
    },
    OptionSpec {
        key: "listener.header_size",
        kind: Kind::Size,
        default: "16KiB",
        help: "The largest head of a request, at least 8KiB. This much memory may be used for each connection \
               until it has become a WebSocket.",
    },
    OptionSpec {
        key: "listener.tcp_keepalive",
        kind: Kind::Duration,
        default: "60s",
        help: "After how long without traffic the kernel begins to ask whether the other side is still there.",
    },
];

/// The smallest head that hyper can be limited to.
const SMALLEST_HEADER_SIZE: usize = 8 * 1024;

/// How a listener treats its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerConfig {
    /// How many connections at once.
    pub max_connections: usize,
    /// How many connections may wait to be accepted.
    pub backlog: i32,
    /// How long a new connection may say nothing.
    pub silence_timeout: Duration,
    /// How long, from the first byte, the head of the first request may take.
    pub header_timeout: Duration,
    /// How long the head of a later request may take, waiting included.
    pub idle_timeout: Duration,
    /// The largest head of a request, in bytes; less than 8 KiB is taken as 8 KiB.
    pub header_size: usize,
    /// After how long without traffic the kernel probes the peer.
    pub tcp_keepalive: Duration,
    /// Whether other listeners may bind the same address (`SO_REUSEPORT`); for one listener per core.
    pub share_port: bool,
}

impl Default for ListenerConfig {
    /// The defaults of [`LISTENER`].
    fn default() -> Self {
        Self {
            max_connections: 50_000,
            backlog: 4096,
            silence_timeout: Duration::from_secs(5),
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            header_size: 16 * 1024,
            tcp_keepalive: Duration::from_secs(60),
            share_port: false,
        }
    }
}

impl ListenerConfig {
    /// Reads the options of [`LISTENER`].
    pub fn from_options(options: &Loaded) -> Result<Self, OptionsError> {
        let written = options.section::<Section>(LISTENER)?.listener;
        let mut mistakes = Vec::new();
        let mut require = |holds: bool, key: &str, message: &str| {
            if !holds {
                mistakes.push(options.mistake(format!("listener.{key}"), message));
            }
        };
        require(written.max_connections > 0, "max_connections", "must be at least 1");
        require(written.backlog > 0, "backlog", "must be at least 1");
        require(!written.silence_timeout.0.is_zero(), "silence_timeout", "must be longer than nothing");
        require(!written.header_timeout.0.is_zero(), "header_timeout", "must be longer than nothing");
        require(!written.idle_timeout.0.is_zero(), "idle_timeout", "must be longer than nothing");
        require(written.tcp_keepalive.0 >= Duration::from_secs(1), "tcp_keepalive", "must be at least 1s");
        let header_size = written.header_size.as_usize();
        require(header_size >= SMALLEST_HEADER_SIZE, "header_size", "must be at least 8KiB");
        if !mistakes.is_empty() {
            return Err(OptionsError::Invalid(mistakes));
        }
        Ok(Self {
            max_connections: written.max_connections,
            backlog: written.backlog,
            silence_timeout: written.silence_timeout.0,
            header_timeout: written.header_timeout.0,
            idle_timeout: written.idle_timeout.0,
            header_size,
            tcp_keepalive: written.tcp_keepalive.0,
            share_port: false,
        })
    }

    /// The largest head, never below what hyper takes.
    pub(super) const fn buffer_size(&self) -> usize {
        if self.header_size < SMALLEST_HEADER_SIZE { SMALLEST_HEADER_SIZE } else { self.header_size }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    listener: Written,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    max_connections: usize,
    backlog: i32,
    silence_timeout: HumanDuration,
    header_timeout: HumanDuration,
    idle_timeout: HumanDuration,
    header_size: ByteSize,
    tcp_keepalive: HumanDuration,
}

/// Makes the socket. What is set on it holds for every connection that it accepts: the kernel hands it down, which
/// saves a few system calls per connection.
pub(super) fn bind(address: SocketAddr, config: &ListenerConfig) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A process that is started again need not wait for the old connections of its port to be forgotten.
    socket.set_reuse_address(true)?;
    if config.share_port {
        socket.set_reuse_port(true)?;
    }
    // Frames are put together before they are written; nothing is won by waiting for more (RFC 896).
    socket.set_tcp_nodelay(true)?;
    let interval = (config.tcp_keepalive / 6).max(Duration::from_secs(1));
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(config.tcp_keepalive).with_interval(interval))?;
    socket.bind(&address.into())?;
    socket.listen(config.backlog)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::load;

    fn read(flags: &[&str]) -> Result<ListenerConfig, OptionsError> {
        let args = std::iter::once("gateway").chain(flags.iter().copied());
        ListenerConfig::from_options(&load("gateway", "", &[LISTENER], args).unwrap())
    }

    #[test]
    fn the_defaults_are_those_of_the_table() {
        assert_eq!(read(&[]).unwrap(), ListenerConfig::default());
    }

    #[test]
    fn values_that_cannot_work_are_refused_by_their_names() {
        let flags =
            ["--listener-max-connections=0", "--listener-header-size=4KiB", "--listener-idle-timeout=0s"];
        let message = read(&flags).unwrap_err().to_string();
        for key in ["listener.max_connections", "listener.header_size", "listener.idle_timeout"] {
            assert!(message.contains(key), "{message}");
        }
        assert!(message.contains("at least 8KiB (in the flag --listener-header-size)"), "{message}");
    }
}
