//! What can be configured, with defaults that suit most.

use std::time::Duration;

use chassis::options::{ByteSize, HumanDuration, Kind, Loaded, OptionSpec, OptionsError, channels};
use proto::Tenant;
use serde::Deserialize;
use serde::de::IgnoredAny;
use url::Url;

use crate::call::{CALLS, Calls};
use crate::hook::{Hooks, WEBHOOKS};
use crate::outbox::{OUTBOX, Receivers};

/// The rows of fanout's options.
pub const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        key: "publish.max_in_flight",
        kind: Kind::Integer,
        default: "256",
        help: "The most publish calls worked on at a time, three quarters of them for one caller; more are answered 503 at \
               once.",
    },
    OptionSpec {
        key: "publish.rate",
        kind: Kind::Integer,
        default: "0",
        help: "How many messages a second one caller, by its API key or the user of its token, may publish through this \
               process; 0 for no limit. After a pause it may be two seconds' worth at once, and always a batch. More is \
               answered 429 with `Retry-After`; a stream is read no faster.",
    },
    OptionSpec {
        key: "publish.max_body",
        kind: Kind::Size,
        default: "1MiB",
        help: "The largest body of a publish call. Together with `publish.max_in_flight` it bounds the memory that \
               bodies take.",
    },
    OptionSpec {
        key: "publish.timeout",
        kind: Kind::Duration,
        default: "900ms",
        help: "How long the broker may take for one publish call. Below a second, so that callers learn soon when \
               Redis is away.",
    },
    OptionSpec {
        key: "publish.scope",
        kind: Kind::Text,
        default: "publish",
        help: "The scope without which a token or an API key may not publish.",
    },
    OptionSpec {
        key: "publish.any_tenant_scope",
        kind: Kind::Text,
        default: "publish:any-tenant",
        help: "The scope with which a token or an API key may publish to every tenant.",
    },
    OptionSpec {
        key: "fanout.public_url",
        kind: Kind::Text,
        default: "",
        help: "Where providers of webhooks reach this service, such as https://hooks.example.com: some signatures cover \
               the address. Without it `listen` is taken, which is right only where nothing stands in front.",
    },
    OptionSpec {
        key: "fanout.admin_scope",
        kind: Kind::Text,
        default: "admin",
        help: "The scope without which a token or an API key may not administer: users, rooms, memberships, statistics.",
    },
    OptionSpec {
        key: "fanout.admin_rate",
        kind: Kind::Integer,
        default: "100",
        help: "How many calls of administration a second one caller may make to this process; 0 for no limit. More is \
               answered 429 with `Retry-After`.",
    },
    OptionSpec {
        key: "fanout.admin_timeout",
        kind: Kind::Duration,
        default: "5s",
        help: "How long Redis and the gateways may take for one call of administration.",
    },
    OptionSpec {
        key: "fanout.revocation_time",
        kind: Kind::Duration,
        default: "30d",
        help: "How long it is remembered that a token or a user is revoked. At least as long as any token lives.",
    },
    WEBHOOKS,
    CALLS,
    OUTBOX,
];

/// What other components' options say that matters here; absent where they are not loaded.
const SURROUNDINGS: &[OptionSpec] = &[
    OptionSpec { key: "listen", kind: Kind::Text, default: "", help: "" },
    OptionSpec { key: "auth.claims.default_tenant", kind: Kind::Text, default: "", help: "" },
];

/// The limits of one fanout.
#[derive(Debug, Clone)]
pub struct FanoutConfig {
    /// The most calls worked on at a time; more are answered 503 at once.
    pub max_in_flight: usize,
    /// How many messages a second one caller may publish; 0 for no limit.
    pub publish_rate: u32,
    /// How many calls of administration a second one caller may make; 0 for no limit.
    pub admin_rate: u32,
    /// The largest body of a call in bytes.
    pub max_body: usize,
    /// How long the broker may take for one call.
    pub publish_timeout: Duration,
    /// The scope without which a caller may not publish.
    pub publish_scope: String,
    /// The scope with which a caller may publish to any tenant.
    pub any_tenant_scope: String,
    /// The scope without which a caller may not administer.
    pub admin_scope: String,
    /// How long a call of administration may take.
    pub admin_timeout: Duration,
    /// How long it is remembered what is revoked.
    pub revocation_time: Duration,
    /// What providers post.
    pub webhooks: Hooks,
    /// What an application's own API offers.
    pub calls: Calls,
    /// Who gets what clients publish.
    pub outbox: Receivers,
}

impl Default for FanoutConfig {
    fn default() -> Self {
        Self {
            max_in_flight: 256,
            publish_rate: 0,
            admin_rate: 100,
            max_body: 1024 * 1024,
            publish_timeout: Duration::from_millis(900),
            publish_scope: "publish".into(),
            any_tenant_scope: "publish:any-tenant".into(),
            admin_scope: "admin".into(),
            admin_timeout: Duration::from_secs(5),
            revocation_time: Duration::from_secs(30 * 24 * 3600),
            webhooks: Hooks::default(),
            calls: Calls::default(),
            outbox: Receivers::default(),
        }
    }
}

/// The options as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    publish: Publish,
    fanout: Itself,
    #[serde(rename = "webhooks")]
    _webhooks: Option<IgnoredAny>,
    #[serde(rename = "calls")]
    _calls: Option<IgnoredAny>,
    #[serde(rename = "outbox")]
    _outbox: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Itself {
    public_url: Option<String>,
    admin_scope: String,
    admin_rate: u32,
    admin_timeout: HumanDuration,
    revocation_time: HumanDuration,
}

#[derive(Deserialize)]
struct Surroundings {
    listen: Option<String>,
    auth: Auth,
}

#[derive(Deserialize)]
struct Auth {
    claims: Claims,
}

#[derive(Deserialize)]
struct Claims {
    default_tenant: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Publish {
    max_in_flight: usize,
    rate: u32,
    max_body: ByteSize,
    timeout: HumanDuration,
    scope: String,
    any_tenant_scope: String,
}

impl FanoutConfig {
    /// Reads the options. All mistakes are told at once.
    pub fn from_options(loaded: &Loaded) -> Result<Self, OptionsError> {
        let Section {
            publish,
            fanout: Itself { public_url, admin_scope, admin_rate, admin_timeout, revocation_time },
            ..
        } = loaded.section(OPTIONS)?;
        let largest = tokio::sync::Semaphore::MAX_PERMITS;
        let wrong = [
            (!(1..=largest).contains(&publish.max_in_flight), "publish.max_in_flight", "must be at least 1"),
            (publish.max_body.0 == 0, "publish.max_body", "must be more than nothing"),
            (publish.timeout.0.is_zero(), "publish.timeout", "must be more than nothing"),
            (publish.timeout.0 > Duration::from_secs(60), "publish.timeout", "must be at most 1m"),
            (publish.scope.is_empty(), "publish.scope", "must not be empty"),
            (publish.any_tenant_scope.is_empty(), "publish.any_tenant_scope", "must not be empty"),
            (admin_scope.is_empty(), "fanout.admin_scope", "must not be empty"),
            (revocation_time.0.is_zero(), "fanout.revocation_time", "must be more than nothing"),
            (admin_timeout.0.is_zero(), "fanout.admin_timeout", "must be more than nothing"),
            (admin_timeout.0 > Duration::from_secs(60), "fanout.admin_timeout", "must be at most 1m"),
        ];
        let mistakes: Vec<_> = wrong
            .into_iter()
            .filter(|(is_wrong, ..)| *is_wrong)
            .map(|(_, key, message)| loaded.mistake(key, message))
            .collect();
        if !mistakes.is_empty() {
            return Err(OptionsError::Invalid(mistakes));
        }
        let around: Surroundings = loaded.section(SURROUNDINGS)?;
        let tenant = around.auth.claims.default_tenant.filter(|tenant| !tenant.is_empty());
        let tenant = Tenant::new(tenant.as_deref().unwrap_or("default"))
            .map_err(|error| loaded.wrong("auth.claims.default_tenant", error.to_string()))?;
        let url = match &public_url {
            Some(url) => address(url).map_err(|message| loaded.wrong("fanout.public_url", message))?,
            None => format!("http://{}", around.listen.as_deref().unwrap_or("localhost")),
        };
        let webhooks = Hooks::from_options(loaded, &url, &tenant)?;
        if let Some(path) = webhooks.signing_their_address().next().filter(|_| public_url.is_none()) {
            loaded.warn(format!(
                "fanout.public_url is not given; the signatures of {path} are checked as if providers called {url}{path}"
            ));
        }
        let outbox = Receivers::from_options(loaded)?;
        if outbox.is_empty() && channels(loaded)?.fill_outboxes() {
            loaded.warn("channels have outbox, and no table [[outbox]] says who empties it here");
        }
        Ok(Self {
            outbox,
            calls: Calls::from_options(loaded, &webhooks.paths().collect())?,
            webhooks,
            admin_scope,
            admin_timeout: admin_timeout.0,
            revocation_time: revocation_time.0,
            max_in_flight: publish.max_in_flight,
            publish_rate: publish.rate,
            admin_rate,
            max_body: publish.max_body.as_usize(),
            publish_timeout: publish.timeout.0,
            publish_scope: publish.scope,
            any_tenant_scope: publish.any_tenant_scope,
        })
    }
}

/// An address with a scheme and a host, and perhaps a path in front of ours.
fn address(text: &str) -> Result<String, &'static str> {
    const EXPECTED: &str = "must be an address such as https://hooks.example.com";
    let url = Url::parse(text).map_err(|_| EXPECTED)?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty();
    if plain { Ok(text.trim_end_matches('/').to_owned()) } else { Err(EXPECTED) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str]) -> Result<FanoutConfig, String> {
        let args = std::iter::once("fanout").chain(args.iter().copied());
        let loaded =
            chassis::options::load("fanout", "", &[OPTIONS, chassis::options::CHANNELS], args).unwrap();
        FanoutConfig::from_options(&loaded).map_err(|error| error.to_string())
    }

    #[test]
    fn the_table_and_the_struct_have_the_same_defaults() {
        assert_eq!(format!("{:?}", read(&[]).unwrap()), format!("{:?}", FanoutConfig::default()));
    }

    #[test]
    fn a_limit_that_lets_nothing_through_is_refused_by_its_key() {
        for (flag, value) in [
            ("--publish-max-in-flight", "0"),
            ("--publish-max-body", "0"),
            ("--publish-timeout", "0s"),
            ("--publish-timeout", "2m"),
            ("--publish-scope", ""),
            ("--fanout-admin-scope", ""),
            ("--fanout-admin-timeout", "0s"),
        ] {
            let message = read(&[flag, value]).unwrap_err();
            let key = flag.trim_start_matches("--").replacen('-', ".", 1).replace('-', "_");
            assert!(message.contains(&key), "{message}");
        }
    }
}
