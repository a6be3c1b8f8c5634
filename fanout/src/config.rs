//! What can be configured, with defaults that suit most.

use std::time::Duration;

use chassis::options::{ByteSize, HumanDuration, Kind, Loaded, OptionSpec, OptionsError};
use serde::Deserialize;

/// The rows of fanout's options.
pub const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        key: "publish.max_in_flight",
        kind: Kind::Integer,
        default: "256",
        help: "The most publish calls worked on at a time; more are answered 503 at once.",
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
];

/// The limits of one fanout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FanoutConfig {
    /// The most calls worked on at a time; more are answered 503 at once.
    pub max_in_flight: usize,
    /// The largest body of a call in bytes.
    pub max_body: usize,
    /// How long the broker may take for one call.
    pub publish_timeout: Duration,
    /// The scope without which a caller may not publish.
    pub publish_scope: String,
    /// The scope with which a caller may publish to any tenant.
    pub any_tenant_scope: String,
}

impl Default for FanoutConfig {
    fn default() -> Self {
        Self {
            max_in_flight: 256,
            max_body: 1024 * 1024,
            publish_timeout: Duration::from_millis(900),
            publish_scope: "publish".into(),
            any_tenant_scope: "publish:any-tenant".into(),
        }
    }
}

/// The options as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    publish: Publish,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Publish {
    max_in_flight: usize,
    max_body: ByteSize,
    timeout: HumanDuration,
    scope: String,
    any_tenant_scope: String,
}

impl FanoutConfig {
    /// Reads the options. All mistakes are told at once.
    pub fn from_options(loaded: &Loaded) -> Result<Self, OptionsError> {
        let Section { publish } = loaded.section(OPTIONS)?;
        let largest = tokio::sync::Semaphore::MAX_PERMITS;
        let wrong = [
            (!(1..=largest).contains(&publish.max_in_flight), "max_in_flight", "must be at least 1"),
            (publish.max_body.0 == 0, "max_body", "must be more than nothing"),
            (publish.timeout.0.is_zero(), "timeout", "must be more than nothing"),
            (publish.timeout.0 > Duration::from_secs(60), "timeout", "must be at most 1m"),
            (publish.scope.is_empty(), "scope", "must not be empty"),
            (publish.any_tenant_scope.is_empty(), "any_tenant_scope", "must not be empty"),
        ];
        let mistakes: Vec<_> = wrong
            .into_iter()
            .filter(|(is_wrong, ..)| *is_wrong)
            .map(|(_, key, message)| loaded.mistake(format!("publish.{key}"), message))
            .collect();
        if !mistakes.is_empty() {
            return Err(OptionsError::Invalid(mistakes));
        }
        Ok(Self {
            max_in_flight: publish.max_in_flight,
            max_body: publish.max_body.as_usize(),
            publish_timeout: publish.timeout.0,
            publish_scope: publish.scope,
            any_tenant_scope: publish.any_tenant_scope,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str]) -> Result<FanoutConfig, String> {
        let args = std::iter::once("fanout").chain(args.iter().copied());
        let loaded = chassis::options::load("fanout", "", &[OPTIONS], args).unwrap();
        FanoutConfig::from_options(&loaded).map_err(|error| error.to_string())
    }

    #[test]
    fn the_table_and_the_struct_have_the_same_defaults() {
        assert_eq!(read(&[]), Ok(FanoutConfig::default()));
    }

    #[test]
    fn a_limit_that_lets_nothing_through_is_refused_by_its_key() {
        for (flag, value) in [
            ("--publish-max-in-flight", "0"),
            ("--publish-max-body", "0"),
            ("--publish-timeout", "0s"),
            ("--publish-timeout", "2m"),
            ("--publish-scope", ""),
        ] {
            let message = read(&[flag, value]).unwrap_err();
            assert!(
                message.contains(&flag.replacen("--publish-", "publish.", 1).replace('-', "_")),
                "{message}"
            );
        }
    }
}
