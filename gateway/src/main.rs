//! The gateway as a process of its own: a node of a cluster whose nodes share a Redis.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use broker::Broker;
use broker::redis::{RedisBroker, RedisConfig};
use chassis::auth::{AUTH, AuthConfig, Verifier};
use chassis::options::{CHANNELS, Loaded, OF_FANOUT, OptionsError, channels};
use chassis::process::{self, CommonConfig, Process, Program};
use proto::ChannelRules;
use switchboard_gateway::{ENDPOINTS, Gateway, GatewayConfig, OPTIONS, broker_report};

const PROGRAM: Program = Program {
    name: "gateway",
    about: "Holds the connections of clients, and gives each what is published in its channels.",
    options: &[OPTIONS, ENDPOINTS, AUTH, CHANNELS, OF_FANOUT],
};

struct Config {
    gateway: GatewayConfig,
    redis: RedisConfig,
    verifier: Arc<Verifier>,
    channels: ChannelRules,
}

fn main() -> ExitCode {
    process::run(&PROGRAM, std::env::args_os(), Config::from_options, serve)
}

impl Config {
    fn from_options(loaded: &Loaded) -> Result<Self, OptionsError> {
        let redis = CommonConfig::from_options(loaded)?.redis;
        let wrong = |message: String| loaded.wrong("redis", message);
        let redis = redis.ok_or_else(|| {
            wrong("is missing: the nodes of a cluster meet there; `standalone` needs none".to_owned())
        })?;
        Ok(Self {
            gateway: GatewayConfig::from_options(loaded)?,
            redis: RedisConfig::parse(redis.expose()).map_err(|error| wrong(error.to_string()))?,
            verifier: Arc::new(AuthConfig::from_options(loaded)?.verifier()?),
            channels: channels(loaded)?,
        })
    }
}

async fn serve(config: Config, process: Process) -> anyhow::Result<()> {
    let Config { gateway, redis, verifier, channels } = config;
    let node = process.common.node.clone();
    let broker: Arc<dyn Broker> =
        Arc::new(RedisBroker::connect(redis, node.clone()).await.context("cannot use Redis (option redis)")?);
    process.keep_keys(&verifier);
    let gateway = Gateway::new(gateway, &node, Arc::clone(&broker), verifier, channels, &process.registry)?;

    let seen = Arc::clone(&broker);
    let operations = gateway.tell(process.operations()?).check("redis", move || broker_report(seen.health()));
    let server = process.bind(operations)?;
    tracing::info!(address = %server.address(), node = node.as_str(), "gateway listens");
    gateway.advertise(server.address());
    gateway.know_revoked().await.context("cannot read which tokens are revoked")?;
    process.lifecycle.serve();

    let lifecycle = process.lifecycle.clone();
    let drained = async { gateway.drain(lifecycle.draining().await).await };
    server.serve(gateway.router(), drained).await;
    broker.close().await;
    Ok(())
}
