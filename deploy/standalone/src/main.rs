//! The whole product in one process: gateway, fanout and a broker in memory, or in a Redis if one is named.
//!
//! Without keys to check tokens by it is a development mode: it makes a secret of its own, prints a token, and serves a
//! page to try things on.

mod config;
mod development;
mod key;
mod reference;
mod token;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use broker::memory::{MemoryBroker, Store};
use broker::redis::RedisBroker;
use broker::{Broker, Outbox};
use chassis::auth::{API_KEYS, AUTH};
use chassis::options::CHANNELS;
use chassis::process::{self, Process, Program};
use fanout::{Callers, Fanout};
use gateway::{Gateway, broker_report};

use config::Config;
use development::Development;

const PROGRAM: Program = Program {
    name: "standalone",
    about: "Switchboard in one process: clients connect to it, backends publish through it.\n\n\
            `standalone token` makes a token to try things with, `standalone key` an API key for a backend, and `standalone \
            reference` prints what can be configured.",
    options: &[gateway::OPTIONS, gateway::ENDPOINTS, fanout::OPTIONS, AUTH, API_KEYS, CHANNELS],
};

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let name = args.next().into_iter();
    let rest: Vec<OsString> = args.collect();
    match rest.split_first() {
        Some((word, rest)) if word == token::WORD => token::mint(&PROGRAM, name.chain(rest.iter().cloned())),
        Some((word, rest)) if word == key::WORD => key::make(name.chain(rest.iter().cloned())),
        Some((word, [])) if word == reference::WORD => reference::print(&PROGRAM),
        _ => process::run(&PROGRAM, name.chain(rest), Config::from_options, serve),
    }
}

async fn serve(config: Config, process: Process) -> anyhow::Result<()> {
    let node = process.common.node.clone();
    let (broker, outbox): (Arc<dyn Broker>, Arc<dyn Outbox>) = match config.redis {
        Some(redis) => {
            let broker = RedisBroker::connect(redis, node.clone()).await;
            both(broker.context("cannot use Redis (option redis)")?)
        }
        None => both(MemoryBroker::new(&Store::new(), node.clone())),
    };
    process.keep_keys(&config.verifier);

    let has_root = config.gateway.endpoints.iter().any(|endpoint| endpoint.path == "/")
        || config.gateway.page.as_deref() == Some("/");
    let path = config.gateway.endpoints.first().map(|endpoint| endpoint.path.clone()).unwrap_or_default();
    let verifier = Arc::clone(&config.verifier);
    let channels = config.channels.clone();
    let gateway =
        Gateway::new(config.gateway, &node, Arc::clone(&broker), verifier, channels, &process.registry)?;
    let callers = Callers::new(config.verifier, config.keys);
    let receivers = config.fanout.outbox.clone();
    let fanout = Fanout::new(
        config.fanout,
        Arc::clone(&broker),
        Arc::clone(&outbox),
        callers,
        config.channels,
        &process.registry,
    )?;

    let seen = Arc::clone(&broker);
    let operations =
        gateway.tell(process.operations()?).check("broker", move || broker_report(seen.health()));
    let server = process.bind(operations)?;
    let mut router = Router::new().merge(gateway.router()).merge(fanout.router());
    if let Some(minter) = config.development {
        let development = Development::new(&minter, server.address(), &path)?;
        development.announce();
        // An application that connects there has no need of a page to try things on.
        if !has_root {
            router = router.merge(development.router());
        }
    }
    tracing::info!(address = %server.address(), node = node.as_str(), "standalone listens");
    let deliveries = receivers.start(outbox, &process.registry)?;
    gateway.advertise(server.address());
    // Of both: they share what checks tokens.
    gateway.know_revoked().await.context("cannot read which tokens are revoked")?;
    process.lifecycle.serve();

    let lifecycle = process.lifecycle.clone();
    let drained = async { gateway.drain(lifecycle.draining().await).await };
    server.serve(router, drained).await;
    deliveries.stop().await;
    broker.close().await;
    Ok(())
}

/// One broker in its two roles.
fn both<B: Broker + Outbox>(broker: B) -> (Arc<dyn Broker>, Arc<dyn Outbox>) {
    let broker = Arc::new(broker);
    (Arc::clone(&broker) as Arc<dyn Broker>, broker)
}
