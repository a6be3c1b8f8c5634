//! One gateway or fanout, as a process that dies and starts again where it was.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use testkit::{Lease, Proxy, until};

use crate::connection::dial;
use crate::process::{self, Guarded};
use crate::server::SECRET;

/// How long a process may take to accept connections, with a loaded machine in mind.
const START: Duration = Duration::from_secs(30);

/// How long a process may take to shut down.
const STOP: Duration = Duration::from_secs(15);

/// How a process is started.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// The program.
    pub(crate) path: PathBuf,
    /// Its arguments, besides those that every node has of its own.
    pub(crate) arguments: Vec<String>,
    /// The secret of the tokens.
    pub(crate) secret: String,
    /// Where its output goes.
    pub(crate) log: PathBuf,
}

/// See the module's documentation. The process ends with its value.
#[derive(Debug)]
pub(crate) struct Node {
    /// What it is called.
    pub(crate) name: String,
    /// Its way to Redis, where that leads over a wire of its own.
    pub(crate) wire: Option<Proxy>,
    program: Program,
    lease: Lease,
    process: Option<Guarded>,
    /// How often it was started: each time it is another node of the cluster.
    lives: u32,
}

impl Node {
    /// Starts a process and waits until it accepts connections.
    ///
    /// # Errors
    /// It does not come up.
    pub(crate) async fn start(name: String, program: Program, wire: Option<Proxy>) -> Result<Self> {
        let mut node = Self { name, wire, program, lease: Lease::take()?, process: None, lives: 0 };
        node.restart().await?;
        Ok(node)
    }

    /// Where it listens, also while it is down.
    #[must_use]
    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.lease.port()).into()
    }

    /// Its process, if it runs.
    #[must_use]
    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Guarded::pid)
    }

    /// Starts it again at the same address, under another name.
    ///
    /// # Errors
    /// It does not come up.
    pub(crate) async fn restart(&mut self) -> Result<()> {
        self.kill();
        self.lives += 1;
        let mut command = Command::new(&self.program.path);
        command.args(["--listen", &self.address().to_string()]);
        command.args(["--node", &format!("{}-{}", self.name, self.lives)]);
        command.args(&self.program.arguments).env(SECRET, &self.program.secret).stdin(Stdio::null());
        command.stdout(process::output_to(Some(&self.program.log))?);
        command.stderr(process::output_to(Some(&self.program.log))?);
        self.process = Some(Guarded::start(&mut command)?);
        let address = self.address();
        let what = format!("{} accepts connections, see {}", self.name, self.program.log.display());
        until(&what, START, || async { Ok(dial(address, None).await.is_ok()) }).await?;
        if let Some(status) = self.ended()? {
            bail!("{} ended at once ({status}), see {}", self.name, self.program.log.display());
        }
        Ok(())
    }

    /// Ends it as a crash does.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// Ends it as an operator does, and waits.
    ///
    /// # Errors
    /// It does not end.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        self.signal(Signal::TERM)?;
        let what = format!("{} shuts down", self.name);
        let running = self.process.as_mut().context("not running")?;
        let deadline = tokio::time::Instant::now() + STOP;
        while running.child().try_wait()?.is_none() {
            if tokio::time::Instant::now() > deadline {
                bail!("not within {STOP:?}: {what}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.process = None;
        Ok(())
    }

    /// Makes it stand still.
    ///
    /// # Errors
    /// It is not running.
    pub(crate) fn freeze(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// It is not running.
    pub(crate) fn thaw(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn ended(&mut self) -> Result<Option<std::process::ExitStatus>> {
        self.process.as_mut().map_or(Ok(None), |process| Ok(process.child().try_wait()?))
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.pid().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        kill_process(pid.with_context(|| format!("{} is not running", self.name))?, signal)?;
        Ok(())
    }
}
