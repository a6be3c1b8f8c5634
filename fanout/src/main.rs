//! The fanout service as a process of its own.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use broker::Broker;
use broker::redis::{RedisBroker, RedisConfig};
use chassis::auth::{API_KEYS, AUTH, ApiKeys, AuthConfig, Verifier};
use chassis::ops::Report;
use chassis::options::{CHANNELS, Loaded, OptionsError, channels};
use chassis::process::{self, CommonConfig, Process, Program};
use proto::ChannelRules;
use switchboard_fanout::{Callers, Fanout, FanoutConfig, OPTIONS};

const PROGRAM: Program = Program {
    name: "fanout",
    about: "Takes messages from backends over HTTP, and publishes them to the clients of all gateways.",
    options: &[OPTIONS, AUTH, API_KEYS, CHANNELS],
};

struct Config {
    fanout: FanoutConfig,
    redis: RedisConfig,
    verifier: Arc<Verifier>,
    keys: Arc<ApiKeys>,
    channels: ChannelRules,
}

fn main() -> ExitCode {
    process::run(&PROGRAM, std::env::args_os(), Config::from_options, serve)
}

impl Config {
    fn from_options(loaded: &Loaded) -> Result<Self, OptionsError> {
        let redis = CommonConfig::from_options(loaded)?.redis;
        let mistake = |message: String| OptionsError::Invalid(vec![loaded.mistake("redis", message)]);
        let url = redis.ok_or_else(|| mistake("is missing: it is the way to the gateways".to_owned()))?;
        Ok(Self {
            fanout: FanoutConfig::from_options(loaded)?,
            redis: RedisConfig::parse(url.expose()).map_err(|error| mistake(error.to_string()))?,
            verifier: Arc::new(AuthConfig::from_options(loaded)?.verifier()?),
            keys: Arc::new(ApiKeys::from_options(loaded)?),
            channels: channels(loaded)?,
        })
    }
}

async fn serve(config: Config, process: Process) -> anyhow::Result<()> {
    let Config { fanout, redis, verifier, keys, channels } = config;
    let node = process.common.node.clone();
    let broker: Arc<dyn Broker> =
        Arc::new(RedisBroker::connect(redis, node.clone()).await.context("cannot use Redis (option redis)")?);
    let fetched = Arc::clone(&verifier);
    let ended = process.lifecycle.ended();
    tokio::spawn(async move { fetched.run(ended).await });
    let callers = Callers::new(verifier, keys);
    let fanout = Fanout::new(fanout, Arc::clone(&broker), callers, channels, &process.registry)?;

    let seen = Arc::clone(&broker);
    let operations = process.operations()?.check("redis", move || match seen.health().commands {
        true => Report::ok(),
        false => Report::down("Redis does not answer; messages are refused until it does"),
    });
    let server = process.bind(operations)?;
    tracing::info!(address = %server.address(), node = node.as_str(), "fanout listens");
    process.lifecycle.serve();

    server.serve(fanout.router(), std::future::ready(())).await;
    broker.close().await;
    Ok(())
}
