//! One Redis server in a directory of its own.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::ports::Lease;
use crate::process::Process;
use crate::resp::{self, Reply};
use crate::tls;

/// How long a server may take to come up, with a loaded machine in mind.
const START: Duration = Duration::from_secs(30);

/// How much of the log an error shows.
const LOG_LINES: usize = 40;

/// Whom the testkit is to a server that wants a name, so that it gets in whatever the options allow to others.
const CONTROLLER: &str = "testkit";

/// How a server is to be.
#[derive(Debug, Clone)]
pub struct Options {
    /// The program, found along the `PATH` unless it is absolute.
    pub program: PathBuf,
    /// Whether acknowledged writes survive a kill. Without it a server that starts again is empty.
    pub append_only: bool,
    /// Who gets in.
    pub access: Access,
    /// Whether clients must come by TLS; [`Server::ca_pem`] is the authority to trust.
    pub tls: bool,
    /// More lines for the configuration file, such as `maxmemory 10mb`.
    pub config: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            program: "redis-server".into(),
            append_only: true,
            access: Access::Open,
            tls: false,
            config: Vec::new(),
        }
    }
}

/// Who gets into a server. Names and passwords stand in the URL as they are, so they take letters and digits only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Open,
    /// Whoever knows the password (`requirepass`).
    Password(String),
    /// One user alone; the default user is off.
    User {
        /// The user's name.
        name: String,
        /// The user's password.
        password: String,
        /// What the user may do, such as `~* &* +@all -@dangerous`.
        rules: String,
    },
}

/// What a process of `redis-server` is started as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Data,
    Sentinel,
}

/// A Redis server: a child process on a loopback port, with its data in a temporary directory.
///
/// The port and the directory are kept while the value lives, also while the server is down.
#[derive(Debug)]
pub struct Server {
    // Dropped in this order: the process must be gone before its directory and its port are.
    process: Option<Process>,
    home: TempDir,
    lease: Lease,
    mode: Mode,
    options: Options,
    ca_pem: Option<String>,
}

impl Server {
    /// Starts a server and waits until it answers. The error shows the server's log.
    pub async fn start(options: Options) -> Result<Self> {
        Self::start_as(Mode::Data, options).await
    }

    pub(crate) async fn start_as(mode: Mode, options: Options) -> Result<Self> {
        let home = TempDir::with_prefix("redis-")?;
        let lease = Lease::take()?;
        let ca_pem = options.tls.then(|| tls::write_certificate(home.path())).transpose()?;
        let config = configuration(mode, lease.port(), &options)?;
        fs::write(home.path().join("redis.conf"), config)?;
        let mut server = Self { process: None, home, lease, mode, options, ca_pem };
        server.launch().await?;
        Ok(server)
    }

    /// The server's address for a client, `redis://127.0.0.1:port`, with `rediss` for TLS and with the name and the
    /// password in it that the server wants.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.options.tls { "rediss" } else { "redis" };
        let credentials = match &self.options.access {
            Access::Open => String::new(),
            Access::Password(password) => format!(":{password}@"),
            Access::User { name, password, .. } => format!("{name}:{password}@"),
        };
        format!("{scheme}://{credentials}{}", self.address())
    }

    /// Where the server listens, also while it is down.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port()).into()
    }

    /// The port where the server listens, also while it is down.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.lease.port()
    }

    /// The certificate of the authority that signed the server's, when it speaks TLS.
    #[must_use]
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// The directory of the server's data.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// What the server has written to its log.
    pub fn log(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(self.log_file())?).into_owned())
    }

    /// Runs a command with all rights, over a Unix socket, on a connection of its own. A refusal is an error.
    pub async fn command(&self, words: &[&str]) -> Result<Reply> {
        let socket = self.home.path().join("control.sock");
        match self.options.access {
            Access::Open => resp::command(&socket, &[words]).await,
            Access::Password(_) | Access::User { .. } => {
                resp::command(&socket, &[&["AUTH", CONTROLLER, CONTROLLER], words]).await
            }
        }
    }

    /// The value of one line of `INFO`.
    pub async fn info(&self, field: &str) -> Result<String> {
        let info = self.command(&["INFO", "everything"]).await?.text();
        let value = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        Ok(value.with_context(|| format!("INFO has no {field}"))?.to_owned())
    }

    /// Whether the process is there, paused or not.
    pub fn is_running(&mut self) -> Result<bool> {
        match &mut self.process {
            Some(process) => Ok(process.ended()?.is_none()),
            None => Ok(false),
        }
    }

    /// Ends the server as a crash does (SIGKILL). No word to clients or peers, no last write.
    pub async fn kill(&mut self) -> Result<()> {
        self.end("KILL").await
    }

    /// Ends the server as an operator does (SIGTERM).
    pub async fn stop(&mut self) -> Result<()> {
        self.end("TERM").await
    }

    /// Starts the server on the same port with the same directory, after stopping it if it runs, and waits until it
    /// answers.
    pub async fn restart(&mut self) -> Result<()> {
        if self.is_running()? {
            self.stop().await?;
        }
        self.launch().await
    }

    /// Freezes the server (SIGSTOP): connections stay, nothing answers.
    pub fn pause(&self) -> Result<()> {
        self.process()?.signal("STOP")
    }

    /// Lets a frozen server go on (SIGCONT).
    pub fn resume(&self) -> Result<()> {
        self.process()?.signal("CONT")
    }

    fn process(&self) -> Result<&Process> {
        self.process.as_ref().context("the server is not running")
    }

    async fn end(&mut self, signal: &str) -> Result<()> {
        let mut process = self.process.take().context("the server is not running")?;
        process.signal(signal)?;
        // A frozen process takes no other signal than SIGKILL.
        process.signal("CONT")?;
        process.wait().await
    }

    async fn launch(&mut self) -> Result<()> {
        let arguments: &[&OsStr] = match self.mode {
            Mode::Data => &[OsStr::new("redis.conf")],
            Mode::Sentinel => &[OsStr::new("redis.conf"), OsStr::new("--sentinel")],
        };
        let process = Process::start(&self.options.program, arguments, self.home.path(), &self.log_file())?;
        self.process = Some(process);
        let ready = self.answers().await;
        ready.with_context(|| {
            format!("{} does not start\n{}", self.options.program.display(), self.log_tail())
        })
    }

    async fn answers(&mut self) -> Result<()> {
        let deadline = Instant::now() + START;
        loop {
            ensure!(self.is_running()?, "the process has ended");
            match self.command(&["PING"]).await {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() >= deadline => bail!("no answer within {START:?}: {error:#}"),
                Err(_) => sleep(Duration::from_millis(10)).await,
            }
        }
    }

    fn log_file(&self) -> PathBuf {
        self.home.path().join("redis.log")
    }

    fn log_tail(&self) -> String {
        let log = self.log().unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default().join("\n")
    }
}

fn configuration(mode: Mode, port: u16, options: &Options) -> Result<String> {
    // Paths are relative to the directory where the process runs.
    let mut config = String::from("bind 127.0.0.1\nprotected-mode no\nunixsocket control.sock\n");
    if options.tls {
        write!(config, "port 0\ntls-port {port}\ntls-auth-clients no\n")?;
        config.push_str("tls-cert-file cert.pem\ntls-key-file key.pem\n");
    } else {
        writeln!(config, "port {port}")?;
    }
    if mode == Mode::Data {
        let append_only = if options.append_only { "yes" } else { "no" };
        // Left to the kernel, which outlives the server: while Redis syncs by itself, it holds back what was acknowledged.
        write!(config, "save \"\"\nappendonly {append_only}\nappendfsync no\n")?;
    }
    match &options.access {
        Access::Open => {}
        Access::Password(password) => writeln!(config, "requirepass {password}")?,
        Access::User { name, password, rules } => {
            writeln!(config, "user default off\nuser {name} on >{password} {rules}")?;
        }
    }
    if options.access != Access::Open {
        writeln!(config, "user {CONTROLLER} on nopass ~* &* +@all")?;
    }
    for line in &options.config {
        writeln!(config, "{line}")?;
    }
    Ok(config)
}
