//! The fanout process: backends publish here, over HTTP, and Redis carries it to the gateways.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use broker::redis::{RedisBroker, RedisConfig};
use broker::{Broker, Outbox};
use chassis::auth::{API_KEYS, AUTH, ApiKeys, AuthConfig, Keys, Rules, Verifier};
use chassis::ops::Report;
use chassis::options::{CHANNELS, Loaded, OF_GATEWAY, OptionsError, channels};
use chassis::problem::with_problems;
use chassis::process::{self, CommonConfig, Process, Program};
use mimalloc::MiMalloc;
use proto::ChannelRules;
use switchboard_fanout::{Callers, Fanout, FanoutConfig, OPTIONS};

/// A publish allocates some sixty times, mostly small and for as long as the call takes. The system's allocator spends a
/// fifth of the process's time on that, this one a few percent.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const PROGRAM: Program = Program {
    name: "fanout",
    about: "Takes publications from backends over HTTP, and passes them through Redis to the clients of every gateway.",
    options: &[OPTIONS, AUTH, API_KEYS, CHANNELS, OF_GATEWAY],
};

fn main() -> ExitCode {
    process::run(&PROGRAM, std::env::args_os(), Config::from_options, serve)
}

/// What the options mean.
struct Config {
    redis: RedisConfig,
    fanout: FanoutConfig,
    rules: ChannelRules,
    verifier: Arc<Verifier>,
    keys: Arc<ApiKeys>,
}

impl Config {
    fn from_options(loaded: &Loaded) -> Result<Self, OptionsError> {
        let redis = CommonConfig::from_options(loaded)?.redis;
        let wrong = |message: String| loaded.wrong("redis", message);
        let redis = redis
            .ok_or_else(|| wrong("must be given: through Redis the gateways get what is published".into()))?;
        let redis = RedisConfig::parse(redis.expose()).map_err(|error| wrong(error.to_string()))?;
        let keys = ApiKeys::from_options(loaded)?;
        let auth = AuthConfig::from_options(loaded)?;
        let verifier = if auth.has_keys() || keys.is_empty() {
            auth.verifier()?
        } else {
            // Backends with API keys alone: no token is good.
            Verifier::new(Rules::default(), Keys::default())
        };
        let fanout = FanoutConfig::from_options(loaded)?;
        Ok(Self {
            redis,
            fanout,
            rules: channels(loaded)?,
            verifier: Arc::new(verifier),
            keys: Arc::new(keys),
        })
    }
}

async fn serve(config: Config, process: Process) -> anyhow::Result<()> {
    let broker = RedisBroker::connect(config.redis, process.common.node.clone());
    let broker = Arc::new(broker.await.context("cannot use Redis (option redis)")?);
    let outbox: Arc<dyn Outbox> = Arc::clone(&broker) as Arc<dyn Outbox>;
    let broker: Arc<dyn Broker> = broker;
    process.keep_keys(&config.verifier);
    let callers = Callers::new(config.verifier, config.keys);
    let receivers = config.fanout.outbox.clone();
    let fanout = Fanout::new(
        config.fanout,
        Arc::clone(&broker),
        Arc::clone(&outbox),
        callers,
        config.rules,
        &process.registry,
    )?;

    let health = Arc::clone(&broker);
    let operations = process.operations()?.check("redis", move || redis(health.health().commands));
    let server = process.bind(operations)?;
    let deliveries = receivers.start(outbox, &process.registry)?;
    fanout.know_revoked().await.context("cannot read which tokens are revoked")?;
    let following = fanout.clone();
    tokio::spawn(async move { following.follow_revocations().await });
    process.lifecycle.serve();
    server.serve(with_problems(fanout.router()), std::future::ready(())).await;
    deliveries.stop().await;
    broker.close().await;
    Ok(())
}

fn redis(answers: bool) -> Report {
    if answers { Report::ok() } else { Report::down("Redis does not answer; publishing fails") }
}
