//! What the options of all parts mean together.

use std::sync::Arc;

use broker::redis::RedisConfig;
use chassis::auth::{ApiKeys, AuthConfig, Minter, Verifier};
use chassis::options::{Loaded, OptionsError, Secret, channels};
use chassis::process::CommonConfig;
use fanout::FanoutConfig;
use gateway::GatewayConfig;
use proto::ChannelRules;

/// See the module's documentation.
pub(crate) struct Config {
    pub(crate) gateway: GatewayConfig,
    pub(crate) fanout: FanoutConfig,
    /// Without it the broker is in memory.
    pub(crate) redis: Option<RedisConfig>,
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) keys: Arc<ApiKeys>,
    pub(crate) channels: ChannelRules,
    /// Makes tokens; only where no key was configured to check them by.
    pub(crate) development: Option<Minter>,
}

impl Config {
    /// Reads the options.
    pub(crate) fn from_options(loaded: &Loaded) -> Result<Self, OptionsError> {
        let redis = CommonConfig::from_options(loaded)?.redis;
        let redis = redis.map(|url| RedisConfig::parse(url.expose())).transpose();
        let redis = redis.map_err(|error| loaded.wrong("redis", error.to_string()))?;
        let fanout = FanoutConfig::from_options(loaded)?;
        if let (None, Some(stream)) = (&redis, fanout.outbox.streams().next()) {
            let message = format!("must be given: the outbox is delivered to the stream {stream} of Redis");
            return Err(loaded.wrong("redis", message));
        }
        let mut auth = AuthConfig::from_options(loaded)?;
        let mut development = None;
        if !auth.has_keys() {
            let secret = format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>());
            auth = auth
                .with_secret(Secret::new(secret))
                .map_err(|error| loaded.wrong("auth.algorithm", error.to_string()))?;
            development = auth.minter();
        }
        Ok(Self {
            gateway: GatewayConfig::from_options(loaded)?,
            fanout,
            redis,
            verifier: Arc::new(auth.verifier()?),
            keys: Arc::new(ApiKeys::from_options(loaded)?),
            channels: channels(loaded)?,
            development,
        })
    }
}
