//! Measures a server, and beside it what the kernel asks for; and breaks a cluster to see what it promised.

#![forbid(unsafe_code)]

use std::env;
use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::num::NonZero;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, Parser, Subcommand};
use switchboard_loadtest::chaos::{self, ChaosOptions};
use switchboard_loadtest::floor::{Floor, Writes};
use switchboard_loadtest::framing::Framing;
use switchboard_loadtest::process::{check_descriptors, pin};
use switchboard_loadtest::recovery::{self, RecoveryOptions};
use switchboard_loadtest::run::run;
use switchboard_loadtest::scenario::Scenario;
use switchboard_loadtest::server::ServerOptions;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

/// Measures a server, and beside it what the kernel asks for.
#[derive(Debug, Parser)]
#[command(name = "loadtest", version)]
struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    server: ServerOptions,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Options {
    /// Times that everything is measured; the report has the medians.
    #[arg(long, default_value = "3", global = true)]
    rounds: NonZero<usize>,
    /// Processors for this client, such as 1.
    #[arg(long, value_name = "LIST", global = true)]
    client_cpus: Option<String>,
    /// Print JSON instead of a table.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Run(Scenario),
    /// Break a cluster while it works, and prove that nothing is missed without a word.
    Chaos(Box<ChaosOptions>),
    /// Break a cluster, and measure how soon it is itself again.
    Recovery(RecoveryOptions),
    /// Serve the floor alone, until standard input ends.
    Floor {
        /// How frames that are published together reach a socket.
        #[arg(long, value_enum, default_value = "each")]
        writes: Writes,
        /// Where to listen.
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
    },
}

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    match cli.command {
        Command::Run(scenario) => {
            let mut server = cli.server;
            if scenario.floors().is_empty() {
                ensure!(server.is_named(), "this scenario needs a server: there is no floor for it");
            }
            server.takes_webhooks = matches!(scenario, Scenario::Webhook(_));
            if scenario.is_of_returning() {
                server.framing = vec![Framing::SocketIo];
            }
            measure(&scenario, &server, &cli.options)
        }
        Command::Recovery(options) => recover(&options, cli.options.json),
        Command::Chaos(options) => break_a_cluster(&options, cli.options.json),
        Command::Floor { writes, listen } => {
            let floor = Floor::bind(listen, writes)?;
            writeln!(io::stdout(), "{}", floor.address()?)?;
            floor.serve()?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Ends with 1 when a promise was broken.
fn break_a_cluster(options: &ChaosOptions, json: bool) -> Result<ExitCode> {
    let seed = options.seed.unwrap_or_else(rand::random);
    writeln!(io::stderr(), "seed {seed}")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = LocalSet::new().block_on(&runtime, async {
        tokio::select! {
            outcome = chaos::run(options, seed) => outcome,
            // What was started ends with the run's values.
            stopped = stopped() => stopped,
        }
    })?;
    if let Some(path) = &options.timeline {
        fs::write(path, chaos::timeline::page(&outcome)).context("writing the timeline")?;
    }
    if let Some(path) = &options.history {
        fs::write(path, serde_json::to_vec(&outcome.history)?).context("writing the history")?;
    }
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, &outcome)?;
        writeln!(out)?;
    } else {
        writeln!(out, "{outcome}")?;
    }
    Ok(if outcome.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Ends with 1 when something is wrong, whatever the figures are.
fn recover(options: &RecoveryOptions, json: bool) -> Result<ExitCode> {
    check_descriptors(options.sockets())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let found = LocalSet::new().block_on(&runtime, async {
        tokio::select! {
            found = recovery::run(options) => found,
            // What was started ends with the run's values.
            stopped = stopped() => stopped,
        }
    })?;
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, &found)?;
        writeln!(out)?;
    } else {
        write!(out, "{found}")?;
    }
    Ok(if found.wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Ends with an error when somebody wants this process to.
async fn stopped<T>() -> Result<T> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        _ = terminate.recv() => bail!("terminated"),
    }
}

/// Ends with 1 when a message went astray.
fn measure(scenario: &Scenario, server: &ServerOptions, options: &Options) -> Result<ExitCode> {
    check_descriptors(scenario.sockets())?;
    if let Some(processors) = &options.client_cpus {
        pin(std::process::id(), processors)?;
    }
    let loadtest = env::current_exe().context("finding this program")?;
    // One thread: the client leaves the other processor to the server.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = LocalSet::new().block_on(&runtime, async {
        tokio::select! {
            report = run(scenario, server, options.rounds.get(), &loadtest) => report,
            // What was started ends with the run's values.
            stopped = stopped() => stopped,
        }
    })?;
    let mut out = io::stdout().lock();
    if options.json {
        serde_json::to_writer_pretty(&mut out, &report)?;
        writeln!(out)?;
    } else {
        writeln!(out, "{report}")?;
    }
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
