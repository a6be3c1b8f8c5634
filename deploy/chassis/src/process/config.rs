//! The options that every process has.

use std::net::SocketAddr;
use std::time::Duration;

use proto::NodeId;
use serde::Deserialize;

use crate::listener::{ListenerConfig, Tls};
use crate::options::{HumanDuration, Kind, Loaded, OptionSpec, OptionsError, Secret};

/// The options of the process itself.
pub const PROCESS: &[OptionSpec] = &[
    OptionSpec {
        key: "listen",
        kind: Kind::Text,
        default: "127.0.0.1:8080",
        help: "The address and port to serve, such as 0.0.0.0:8080 or [::]:8080. Port 0 takes any that is free.",
    },
    OptionSpec {
        key: "ops_listen",
        kind: Kind::Text,
        default: "",
        help: "An address and port of their own for /livez, /readyz, /health, /status and /metrics. Without it \
               they are served with everything else.",
    },
    OptionSpec {
        key: "redis",
        kind: Kind::Text,
        default: "",
        help: "Where Redis is, such as redis://host:6379, rediss-cluster://user:password@host:6379 or \
               redis-sentinel://host:26379?sentinelServiceName=main. With a password, the environment or the \
               file is the better place: others can read flags.",
    },
    OptionSpec {
        key: "node",
        kind: Kind::Text,
        default: "",
        help: "The name of this process in the cluster, which no other may have at the same time. Made from the \
               name of the machine and chance if absent.",
    },
    OptionSpec {
        key: "drain.delay",
        kind: Kind::Duration,
        default: "5s",
        help: "How long after SIGTERM new connections are still taken, while /readyz already says no: the time \
               that load balancers need to notice.",
    },
    OptionSpec {
        key: "drain.time",
        kind: Kind::Duration,
        default: "2m",
        help: "Over how long the connections are then closed. The orchestrator must allow for more than both \
               together. A second signal ends it at once; SIGINT skips the delay and takes 3s at most.",
    },
];

/// What [`PROCESS`] and the listener's options mean.
#[derive(Debug, Clone)]
pub struct CommonConfig {
    /// Where to serve.
    pub listen: SocketAddr,
    /// Where the operations endpoints are served, if not there.
    pub ops_listen: Option<SocketAddr>,
    /// The URL of Redis. A secret, because it may hold a password.
    pub redis: Option<Secret>,
    /// The name of this process.
    pub node: NodeId,
    /// How to stop.
    pub drain: DrainConfig,
    /// How connections are treated.
    pub listener: ListenerConfig,
    /// By what certificate the process is known, if it speaks TLS itself.
    pub tls: Option<Tls>,
}

/// How a process stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainConfig {
    /// How long whoever comes is still served after the process said that it is leaving.
    pub delay: Duration,
    /// Over how long connections are closed after that.
    pub time: Duration,
}

impl CommonConfig {
    /// Reads the options of [`PROCESS`] and [`LISTENER`](crate::listener::LISTENER).
    pub fn from_options(options: &Loaded) -> Result<Self, OptionsError> {
        let written = options.section::<Written>(PROCESS)?;
        let listener = ListenerConfig::from_options(options)?;
        if written.ops_listen == Some(written.listen) && written.listen.port() != 0 {
            return Err(options.wrong("ops_listen", "is the same as listen; leave it out to share one port"));
        }
        let node = match written.node {
            Some(node) => node,
            None => {
                chosen_name().map_err(|message| options.wrong("node", format!("must be given: {message}")))?
            }
        };
        Ok(Self {
            listen: written.listen,
            ops_listen: written.ops_listen,
            redis: written.redis.map(Secret::new),
            node,
            drain: DrainConfig { delay: written.drain.delay.0, time: written.drain.time.0 },
            listener,
            tls: Tls::from_options(options)?,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    listen: SocketAddr,
    ops_listen: Option<SocketAddr>,
    redis: Option<String>,
    node: Option<NodeId>,
    drain: Drain,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Drain {
    delay: HumanDuration,
    time: HumanDuration,
}

/// The machine's name, which people know, and chance: a process that is started again at once is another node.
fn chosen_name() -> Result<NodeId, proto::NameError> {
    let system = rustix::system::uname();
    let machine = system.nodename().to_string_lossy();
    let machine = machine.split('.').next().unwrap_or_default();
    let letters: String =
        machine.chars().filter(|letter| letter.is_ascii_alphanumeric() || *letter == '-').take(40).collect();
    let machine = if letters.is_empty() { "node" } else { &letters };
    NodeId::new(format!("{machine}-{:08x}", rand::random::<u32>()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::{LISTENER, TLS};
    use crate::options::load;

    fn read(flags: &[&str]) -> Result<CommonConfig, OptionsError> {
        let args = std::iter::once("gateway").chain(flags.iter().copied());
        CommonConfig::from_options(&load("gateway", "", &[PROCESS, LISTENER, TLS], args).unwrap())
    }

    #[test]
    fn without_any_option_it_listens_to_this_machine_alone() {
        let config = read(&[]).unwrap();
        assert_eq!(config.listen, "127.0.0.1:8080".parse().unwrap());
        assert_eq!((config.ops_listen, config.redis.is_none()), (None, true));
        assert_eq!(
            config.drain,
            DrainConfig { delay: Duration::from_secs(5), time: Duration::from_secs(120) }
        );
    }

    #[test]
    fn names_of_nodes_differ_unless_they_are_given() {
        assert_ne!(read(&[]).unwrap().node, read(&[]).unwrap().node);
        assert_eq!(read(&["--node=a-1"]).unwrap().node.as_str(), "a-1");
        let message = read(&["--node=a b"]).unwrap_err().to_string();
        assert!(message.starts_with("node: ") && message.contains("--node"), "{message}");
    }

    #[test]
    fn wrong_addresses_are_named() {
        for (flag, key) in [("--listen=8080", "listen: "), ("--ops-listen=x", "ops_listen: ")] {
            let message = read(&[flag]).unwrap_err().to_string();
            assert!(message.starts_with(key), "{message}");
        }
        let message = read(&["--listen=0.0.0.0:1", "--ops-listen=0.0.0.0:1"]).unwrap_err().to_string();
        assert!(message.contains("the same as listen"), "{message}");
    }

    #[test]
    fn the_password_of_redis_does_not_show() {
        let config = read(&["--redis=redis://:canary@host:6379"]).unwrap();
        assert!(!format!("{config:?}").contains("canary"));
        assert_eq!(config.redis.unwrap().expose(), "redis://:canary@host:6379");
    }
}
