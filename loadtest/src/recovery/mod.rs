//! How soon a cluster is itself again after something broke: figures, where chaos gives verdicts.
//!
//! Redis, gateways and fanouts are started as processes, as for chaos, but reached without a wire that could break.

mod comeback;
mod crowd;
mod restart;
mod resync;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::chaos::fault::Topology;
use crate::chaos::world::{Plan, World};
use crate::server::new_secret;
use comeback::Comeback;
use crowd::Shared;
use restart::Restart;
use resync::Resync;

/// What breaks.
#[derive(Debug, Clone, Subcommand)]
pub enum Break {
    /// Kill the gateway that all clients are connected to, and wait until they are back on another.
    Comeback(Comeback),
    /// Kill Redis and start it again, several times, and wait until something is delivered to everybody.
    Restart(Restart),
    /// Throw the subscriptions of a gateway with many channels out, and see when it is in step with all of them again.
    Resync(Resync),
}

/// What to break, and with which programs.
#[derive(Debug, Clone, Args)]
pub struct RecoveryOptions {
    #[command(subcommand)]
    what: Break,
    /// Where gateway and fanout are; by default beside this program.
    #[arg(long, value_name = "DIRECTORY", global = true)]
    programs: Option<PathBuf>,
    /// Keep the logs of gateways and fanouts there.
    #[arg(long, value_name = "DIRECTORY", global = true)]
    logs: Option<PathBuf>,
}

impl RecoveryOptions {
    /// How many sockets the clients need.
    #[must_use]
    pub fn sockets(&self) -> usize {
        match &self.what {
            // Old ones may linger while new ones are made.
            Break::Comeback(comeback) => comeback.clients + comeback.clients / 4,
            Break::Restart(_) | Break::Resync(_) => 2_000,
        }
    }
}

/// What was found.
#[derive(Debug, Default, Serialize)]
pub struct Found {
    /// Each figure with its unit.
    pub figures: Vec<(String, String)>,
    /// What is wrong, whatever the figures are.
    pub wrong: Vec<String>,
}

impl Found {
    fn tell(&mut self, what: &str, figure: impl fmt::Display) {
        self.figures.push((what.to_owned(), figure.to_string()));
    }

    /// Tells the middle, the 99th percentile and the most of these.
    fn tell_spread(&mut self, what: &str, mut times: Vec<Duration>) {
        times.sort_unstable();
        let share = |share: usize| {
            let at = (times.len() * share / 100).min(times.len().saturating_sub(1));
            times.get(at).map_or_else(|| "-".to_owned(), |time| milliseconds(*time))
        };
        self.tell(
            &format!("{what}, p50 / p99 / most"),
            format!("{} / {} / {}", share(50), share(99), share(100)),
        );
    }

    /// Something is wrong unless this holds.
    fn expect(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.wrong.push(what());
        }
    }

    /// Every client has everything, in order, once.
    fn expect_all(&mut self, shared: &Shared) {
        self.expect(shared.holes.get() == 0, || format!("{} holes or repetitions", shared.holes.get()));
        self.expect(shared.gaps.get() == 0, || format!("{} gaps told", shared.gaps.get()));
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.figures.iter().try_for_each(|(what, figure)| writeln!(f, "{what}: {figure}"))?;
        self.wrong.iter().try_for_each(|what| writeln!(f, "WRONG: {what}"))
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.0} ms", time.as_secs_f64() * 1000.0)
}

/// Breaks it and measures.
///
/// # Errors
/// The run could not be carried out, which says nothing about the cluster.
pub async fn run(options: &RecoveryOptions) -> Result<Found> {
    match &options.what {
        Break::Comeback(comeback) => comeback.measure(options).await,
        Break::Restart(restart) => restart.measure(options).await,
        Break::Resync(resync) => resync.measure(options).await,
    }
}

/// A cluster of so many gateways and one fanout at a single Redis, and the secret of its tokens.
async fn cluster(options: &RecoveryOptions, gateways: usize, channels: &str) -> Result<(World, String)> {
    let beside = || Some(std::env::current_exe().ok()?.parent()?.to_owned());
    let programs = options.programs.clone().or_else(beside).context("finding gateway and fanout")?;
    let secret = new_secret()?;
    let plan = Plan {
        topology: Topology::Standalone,
        gateways,
        fanouts: 1,
        programs,
        gateway_arguments: Vec::new(),
        secret: secret.clone(),
        logs: options.logs.clone(),
        wires: false,
        channels: channels.to_owned(),
    };
    Ok((World::start(&plan).await?, secret))
}
