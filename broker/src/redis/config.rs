//! Where Redis is and how it is talked to, from one URL.

use std::fmt;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use url::Url;

use crate::PRESENCE_LIMIT;

/// How the servers are organised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topology {
    /// One server; the seed is its address.
    Standalone,
    /// A Redis Cluster; the seeds are some of its nodes.
    Cluster,
    /// A primary that Sentinels name; the seeds are the Sentinels.
    Sentinel {
        /// The name of the primary, as the Sentinels know it.
        service: String,
        /// How to log in at the Sentinels themselves, where they ask for it.
        credentials: Credentials,
    },
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// A name or an IP address, IPv6 without brackets. What a TLS certificate must be for.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

/// How to log in. Never shows its password.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Credentials {
    /// The ACL user; the server's `default` when absent.
    pub username: Option<String>,
    /// The password; no login at all when absent.
    pub password: Option<String>,
}

/// Everything that the broker must know about Redis.
#[derive(Clone)]
pub struct RedisConfig {
    topology: Topology,
    seeds: Vec<Address>,
    credentials: Credentials,
    tls: Option<Arc<ClientConfig>>,
    prefix: String,
    presence_limit: u64,
}

/// Why a URL says nothing about a Redis. The text never repeats the URL, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// It is not a URL.
    #[error("is not a URL: {0}")]
    Url(String),
    /// The scheme is not one of ours.
    #[error(
        "has the scheme `{0}`; use redis, redis-cluster or redis-sentinel, or with TLS rediss, rediss-cluster or rediss-sentinel"
    )]
    Scheme(String),
    /// No host stands in it.
    #[error("names no host")]
    Host,
    /// A number of a database: PUB/SUB is shared by all databases of a server, so separate by prefix.
    #[error("names a database, but PUB/SUB knows none; separate deployments by `?prefix=`")]
    Database,
    /// A parameter is missing or its value is wrong.
    #[error("has a wrong value for `{0}`: {1}")]
    Parameter(&'static str, &'static str),
    /// A parameter that is not known, so probably a typing error.
    #[error("has an unknown parameter `{0}`")]
    Unknown(String),
    /// TLS was asked for and cannot be set up.
    #[error("asks for TLS, which cannot be set up: {0}")]
    Tls(String),
}

impl RedisConfig {
    /// What an ACL user of Redis must be allowed, as rules of `ACL SETUSER`; `PREFIX` stands for the
    /// [`prefix`](Self::prefix). Sentinels have users of their own.
    pub const ACL: &str = "~PREFIX:* &PREFIX:* +hello +auth +ping +quit +info +role +eval +evalsha +wait +asking \
                           +cluster|info +cluster|slots +cluster|nodes \
                           +subscribe +unsubscribe +ssubscribe +sunsubscribe +publish +spublish \
                           +get +set +del +exists +pexpire +pttl +xadd +xrange +xrevrange +xlen +xdel \
                           +hget +hset +hdel +hexists +hmget +hkeys +hvals +hgetall +hlen +hincrby +hrandfield +hscan \
                           +sadd +srem +srandmember +smembers +sismember +smismember +scard \
                           +zadd +zrem +zrange +zrangebylex +zscan +zscore +zcard +time";

    /// Reads a URL.
    ///
    /// ```text
    /// redis://[[user]:password@]host[:6379]
    /// redis-cluster://[[user]:password@]host[:6379][?node=host:port…]
    /// redis-sentinel://[[user]:password@]host[:26379]?sentinelServiceName=name[&node=host:port…]
    ///                  [&sentinelUsername=…][&sentinelPassword=…]
    /// ```
    ///
    /// With `rediss` instead of `redis` every connection is TLS, trusting the system's certificates, or those alone that the
    /// PEM file `ca=/path` holds. `prefix=sb` sets what all keys begin with, `presenceLimit=200` the
    /// [`presence_limit`](Self::presence_limit). Special characters are percent-encoded.
    pub fn parse(url: &str) -> Result<Self, ConfigError> {
        let url = Url::parse(url).map_err(|error| ConfigError::Url(error.to_string()))?;
        let (kind, tls) = match url.scheme() {
            "redis" => (Kind::Standalone, false),
            "rediss" => (Kind::Standalone, true),
            "redis-cluster" => (Kind::Cluster, false),
            "rediss-cluster" => (Kind::Cluster, true),
            "redis-sentinel" => (Kind::Sentinel, false),
            "rediss-sentinel" => (Kind::Sentinel, true),
            other => return Err(ConfigError::Scheme(other.to_owned())),
        };
        if !matches!(url.path(), "" | "/" | "/0") {
            return Err(ConfigError::Database);
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(ConfigError::Host)?;
        let port = url.port().unwrap_or(if kind == Kind::Sentinel { 26379 } else { 6379 });
        let mut seeds = vec![Address { host: unbracketed(host).to_owned(), port }];
        let parameters = Parameters::read(&url, kind)?;
        seeds.extend(parameters.nodes);
        let topology = match (kind, parameters.service) {
            (Kind::Standalone, _) => Topology::Standalone,
            (Kind::Cluster, _) => Topology::Cluster,
            (Kind::Sentinel, Some(service)) => {
                Topology::Sentinel { service, credentials: parameters.sentinel }
            }
            (Kind::Sentinel, None) => {
                return Err(ConfigError::Parameter("sentinelServiceName", "is missing"));
            }
        };
        let credentials = Credentials {
            username: decoded(url.username(), "user name")?,
            password: decoded(url.password().unwrap_or_default(), "password")?,
        };
        if credentials.username.is_some() && credentials.password.is_none() {
            return Err(ConfigError::Parameter("password", "is missing, but a user name is given"));
        }
        let tls = match (tls, parameters.ca) {
            (true, ca) => Some(Arc::new(client_tls(ca.as_deref())?)),
            (false, None) => None,
            (false, Some(_)) => {
                return Err(ConfigError::Parameter("ca", "is for TLS, with the scheme `rediss`"));
            }
        };
        let Parameters { prefix, presence_limit, .. } = parameters;
        Ok(Self { topology, seeds, credentials, tls, prefix, presence_limit })
    }

    /// How the servers are organised.
    pub const fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Whether this is a Redis Cluster, where PUB/SUB is sharded.
    pub fn is_cluster(&self) -> bool {
        self.topology == Topology::Cluster
    }

    /// The addresses to begin with, at least one.
    pub fn seeds(&self) -> &[Address] {
        &self.seeds
    }

    /// How to log in at the servers.
    pub const fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// What every connection is secured with; absent without TLS. Also holds for Sentinels. The name to check is
    /// [`Address::host`], be it of a seed or announced by the servers.
    pub const fn tls(&self) -> Option<&Arc<ClientConfig>> {
        self.tls.as_ref()
    }

    /// What all keys and channels begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// How many users a channel may have for each that comes or goes to be told by name; the same on all nodes.
    pub const fn presence_limit(&self) -> u64 {
        self.presence_limit
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Standalone,
    Cluster,
    Sentinel,
}

/// What stands behind the question mark.
struct Parameters {
    nodes: Vec<Address>,
    service: Option<String>,
    sentinel: Credentials,
    prefix: String,
    presence_limit: u64,
    ca: Option<String>,
}

impl Parameters {
    fn read(url: &Url, kind: Kind) -> Result<Self, ConfigError> {
        let mut read = Self {
            nodes: Vec::new(),
            service: None,
            sentinel: Credentials::default(),
            prefix: "sb".to_owned(),
            presence_limit: PRESENCE_LIMIT,
            ca: None,
        };
        for pair in url.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            match (key, kind) {
                ("prefix", _) => read.prefix = prefix(value)?,
                ("presenceLimit", _) => {
                    let wrong = |_| ConfigError::Parameter("presenceLimit", "takes a number");
                    read.presence_limit = value.parse().map_err(wrong)?;
                }
                ("ca", _) => read.ca = decoded(value, "ca")?,
                ("node", Kind::Cluster | Kind::Sentinel) => read.nodes.push(node(value)?),
                ("sentinelServiceName", Kind::Sentinel) => {
                    read.service = decoded(value, "sentinelServiceName")?;
                }
                ("sentinelUsername", Kind::Sentinel) => {
                    read.sentinel.username = decoded(value, "sentinelUsername")?;
                }
                ("sentinelPassword", Kind::Sentinel) => {
                    read.sentinel.password = decoded(value, "sentinelPassword")?;
                }
                _ => return Err(ConfigError::Unknown(key.to_owned())),
            }
        }
        Ok(read)
    }
}

fn prefix(value: &str) -> Result<String, ConfigError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b':');
    if value.is_empty() || value.len() > 32 || !value.bytes().all(allowed) {
        return Err(ConfigError::Parameter("prefix", "takes 1 to 32 letters, digits and _ - . :"));
    }
    Ok(value.to_owned())
}

fn node(value: &str) -> Result<Address, ConfigError> {
    let wrong = ConfigError::Parameter("node", "takes host:port");
    let Some((host, port)) = value.rsplit_once(':') else { return Err(wrong) };
    match port.parse() {
        Ok(port) if !host.is_empty() => Ok(Address { host: unbracketed(host).to_owned(), port }),
        _ => Err(wrong),
    }
}

fn unbracketed(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

fn decoded(text: &str, name: &'static str) -> Result<Option<String>, ConfigError> {
    let text = percent_decode_str(text)
        .decode_utf8()
        .map_err(|_| ConfigError::Parameter(name, "is not percent-encoded UTF-8"))?;
    Ok(Some(text.into_owned()).filter(|text| !text.is_empty()))
}

fn client_tls(ca: Option<&str>) -> Result<ClientConfig, ConfigError> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(file) => {
            let found = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            let found = found.map_err(|error| ConfigError::Tls(format!("{file}: {error}")))?;
            roots.add_parsable_certificates(found);
        }
        // One certificate in the system's store that cannot be read does not make the others worthless.
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    if roots.is_empty() {
        return Err(ConfigError::Tls(format!("{} holds no certificate", ca.unwrap_or("the system's store"))));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ConfigError::Tls(error.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let password = self.password.as_ref().map(|_| "…");
        f.debug_struct("Credentials").field("username", &self.username).field("password", &password).finish()
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("topology", &self.topology)
            .field("seeds", &self.seeds)
            .field("credentials", &self.credentials)
            .field("tls", &self.tls.is_some())
            .field("prefix", &self.prefix)
            .field("presence_limit", &self.presence_limit)
            .finish()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(host: &str, port: u16) -> Address {
        Address { host: host.to_owned(), port }
    }

    #[test]
    fn a_plain_url_is_one_server() {
        let config = RedisConfig::parse("redis://cache").unwrap();
        assert_eq!(config.topology(), &Topology::Standalone);
        assert_eq!(config.seeds(), [address("cache", 6379)]);
        assert_eq!(config.credentials(), &Credentials::default());
        assert_eq!((config.prefix(), config.presence_limit()), ("sb", PRESENCE_LIMIT));
        assert_eq!(RedisConfig::parse("redis://a?presenceLimit=3").unwrap().presence_limit(), 3);
        assert!(config.tls().is_none());
        assert_eq!(RedisConfig::parse("redis://[::1]:7000/0").unwrap().seeds(), [address("::1", 7000)]);
    }

    #[test]
    fn a_cluster_and_sentinels_take_more_nodes() {
        let config = RedisConfig::parse("redis-cluster://a:1?node=b:2&node=[::1]:3&prefix=x:y").unwrap();
        assert!(config.is_cluster());
        assert_eq!(config.seeds(), [address("a", 1), address("b", 2), address("::1", 3)]);
        assert_eq!(config.prefix(), "x:y");
        let url = "redis-sentinel://u:p@a?sentinelServiceName=main&node=b:2&sentinelPassword=s%26";
        let config = RedisConfig::parse(url).unwrap();
        let credentials = Credentials { username: None, password: Some("s&".to_owned()) };
        assert_eq!(config.topology(), &Topology::Sentinel { service: "main".to_owned(), credentials });
        assert_eq!(config.seeds(), [address("a", 26379), address("b", 2)]);
    }

    #[test]
    fn credentials_are_decoded_and_never_shown() {
        let config = RedisConfig::parse("redis://app:s%40cret%2F%3A@h").unwrap();
        assert_eq!(config.credentials().username.as_deref(), Some("app"));
        assert_eq!(config.credentials().password.as_deref(), Some("s@cret/:"));
        assert!(!format!("{config:?}").contains("cret"), "{config:?}");
        assert_eq!(RedisConfig::parse("redis://:pw@h").unwrap().credentials().username, None);
    }

    #[test]
    fn each_refusal_names_the_key_and_no_secret() {
        for (url, named) in [
            ("redis", "URL"),
            ("http://:secret@h", "http"),
            ("redis://:secret@h/3", "prefix"),
            ("redis://:secret@h?prefx=a", "prefx"),
            ("redis://:secret@h?node=a:1", "node"),
            ("redis://:secret@h?presenceLimit=-1", "presenceLimit"),
            ("redis://:secret@h?prefix={a}", "prefix"),
            ("redis-cluster://:secret@h?node=a", "node"),
            ("redis-sentinel://:secret@h", "sentinelServiceName"),
            ("redis://:secret@h?ca=/ca.pem", "ca"),
            ("rediss://:secret@h?ca=/no/such/file", "/no/such/file"),
            ("redis://user@h", "password"),
            ("redis://:%ffsecret@h", "password"),
        ] {
            let error = RedisConfig::parse(url).unwrap_err().to_string();
            assert!(error.contains(named), "{url}: {error}");
            assert!(!error.contains("secret"), "{url}: {error}");
        }
    }
}
