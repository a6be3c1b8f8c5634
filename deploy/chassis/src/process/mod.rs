//! What every `main` does: options, log, limits, signals, listeners; so that each `main` only tells what is its own.
//!
//! ```text
//! fn main() -> ExitCode {
//!     process::run(&PROGRAM, std::env::args_os(), Config::from_options, serve)
//! }
//!
//! async fn serve(config: Config, process: Process) -> anyhow::Result<()> {
//!     let node = Node::start(config, &process).await?;
//!     let server = process.bind(process.operations()?.check("redis", …))?;
//!     process.lifecycle.serve();
//!     server.serve(node.router(), node.drained(process.lifecycle.clone())).await;
//!     Ok(())
//! }
//! ```
//!
//! Exit codes: 0 after a stop that was asked for, 1 when the process could not start or go on, 2 when its options
//! are wrong.

mod config;
mod limits;
mod server;
mod signals;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;

pub use config::{CommonConfig, DrainConfig, PROCESS};
pub use server::{BindError, Server};

use crate::auth::Verifier;
use crate::lifecycle::Lifecycle;
use crate::listener::{LISTENER, TLS};
use crate::log::{LOG, LogConfig};
use crate::ops::Operations;
use crate::options::{self, Loaded, OptionSpec, OptionsError, Origin};

/// The tables of options that every process has.
pub const COMMON: [&[OptionSpec]; 4] = [PROCESS, LISTENER, TLS, LOG];

/// How long a program may take to return after everything was cut off.
const LAST_MOMENT: Duration = Duration::from_secs(5);

/// What a program is.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// The name of the binary, which is also its role in `/status` and metrics.
    pub name: &'static str,
    /// One sentence for the help text.
    pub about: &'static str,
    /// The tables of its options besides [`COMMON`].
    pub options: &'static [&'static [OptionSpec]],
}

/// What a running program is given.
#[derive(Debug)]
pub struct Process {
    /// Which program this is.
    pub program: Program,
    /// The options that all programs have.
    pub common: CommonConfig,
    /// In which phase it is; moved by signals.
    pub lifecycle: Lifecycle,
    /// Where metrics are registered.
    pub registry: Registry,
}

impl Process {
    /// The endpoints of operations, with what is the same for all programs.
    pub fn operations(&self) -> Result<Operations, prometheus::Error> {
        let node = self.common.node.clone();
        Operations::new(self.program.name, node, self.lifecycle.clone(), self.registry.clone())
    }

    /// Keeps the keys that tokens are checked by up to date for as long as the process runs.
    pub fn keep_keys(&self, verifier: &Arc<Verifier>) {
        let (verifier, ended) = (Arc::clone(verifier), self.lifecycle.ended());
        tokio::spawn(async move { verifier.run(ended).await });
    }

    /// Binds the listeners. With `--ops-listen`, the operations endpoints have one of their own; otherwise they
    /// stand beside the program's routes, and are answered even when all places are taken. The process is not
    /// ready while they are.
    pub fn bind(&self, operations: Operations) -> Result<Server, BindError> {
        Server::bind(&self.common, operations, &self.registry, &self.lifecycle)
    }
}

/// Runs a program from its first line to its last.
///
/// `args` begins with the name of the program. `configure` says what the options mean; with `--check` that is all.
/// `serve` returns when the program has stopped, which [`Process::lifecycle`] asks for, or cannot go on. Once the
/// time for stopping is over it is dropped.
pub fn run<C>(
    program: &Program,
    args: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    configure: impl FnOnce(&Loaded) -> Result<C, OptionsError>,
    serve: impl AsyncFnOnce(C, Process) -> anyhow::Result<()>,
) -> ExitCode {
    let (options, mut common, log, config) = match prepare(program, args, configure) {
        Ok(prepared) => prepared,
        Err(error) => return error.report(),
    };
    if options.is_check() {
        // Whoever does not read it sees the exit code.
        _ = writeln!(std::io::stdout(), "the configuration is right");
        return ExitCode::SUCCESS;
    }
    let labels = vec![("node", common.node.to_string())];
    if let Err(error) = log.install(labels) {
        _ = writeln!(std::io::stderr(), "error: {error}");
        return ExitCode::FAILURE;
    }
    for warning in options.warnings() {
        tracing::warn!("{warning}");
    }
    let wanted = common.listener.max_connections;
    let places = limits::fit_connections(wanted);
    common.listener.max_connections = places;
    if places < wanted && options.origin("listener.max_connections") != Origin::Default {
        tracing::warn!(
            places,
            wanted,
            "the limit of open files allows fewer connections (ulimit -n, LimitNOFILE)"
        );
    }

    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| {
            let outcome = runtime.block_on(live(*program, common, config, serve));
            // Work on the blocking pool, such as name resolution, is nothing to wait for.
            runtime.shutdown_background();
            outcome
        });
    match outcome {
        Ok(()) => {
            tracing::info!("stopped");
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "cannot go on");
            ExitCode::FAILURE
        }
    }
}

type Prepared<C> = (Loaded, CommonConfig, LogConfig, C);

fn prepare<C>(
    program: &Program,
    args: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    configure: impl FnOnce(&Loaded) -> Result<C, OptionsError>,
) -> Result<Prepared<C>, OptionsError> {
    let tables: Vec<&[OptionSpec]> = COMMON.into_iter().chain(program.options.iter().copied()).collect();
    let options = options::load(program.name, program.about, &tables, args)?;
    let common = CommonConfig::from_options(&options)?;
    let log = LogConfig::from_options(&options)?;
    let config = configure(&options)?;
    Ok((options, common, log, config))
}

async fn live<C>(
    program: Program,
    common: CommonConfig,
    config: C,
    serve: impl AsyncFnOnce(C, Process) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let lifecycle = Lifecycle::new();
    // From here on a signal is a wish to stop; before, it ends the process as it always does.
    let signals = signals::Signals::listen()?;
    tokio::spawn(signals.govern(lifecycle.clone(), common.drain));
    let process = Process { program, common, lifecycle: lifecycle.clone(), registry: Registry::new() };
    let out_of_time = async {
        lifecycle.reached(crate::lifecycle::Phase::Ending).await;
        tokio::time::sleep(LAST_MOMENT).await;
    };
    tokio::select! {
        // Boxed: the future of a whole program does not belong on this stack.
        outcome = Box::pin(serve(config, process)) => outcome,
        () = out_of_time => {
            tracing::warn!("not everything ended in time");
            Ok(())
        }
    }
}
