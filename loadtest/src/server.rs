//! The server under test: attached to, or started for the run.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use serde::Serialize;
use tempfile::NamedTempFile;
use tokio::time::{sleep, timeout};

use crate::connection::{Connection, Endpoint, SharedBuffer, dial};
use crate::framing::Framing;
use crate::payload::Mark;
use crate::process::{self, Guarded};
use crate::publisher::{Publisher, To, Via};
use crate::scenario::webhook;
use crate::socketio;
use crate::target::{Target, Watched};
use crate::token::Mint;

/// The environment variable that both sides read the secret from.
pub(crate) const SECRET: &str = "JWT_SECRET";
/// How long a process may take until it accepts a connection.
const START: Duration = Duration::from_secs(20);
/// How long a process that accepts may take until it is of use.
const READY: Duration = Duration::from_secs(20);

/// Which server to measure. Without any of them only the floor is.
#[derive(Debug, Clone, Args, Serialize)]
pub struct ServerOptions {
    /// Start this program, which serves everything on one port (standalone).
    #[arg(long, value_name = "PROGRAM", conflicts_with_all = ["cluster", "url"], global = true)]
    pub server: Option<PathBuf>,
    /// Start redis-server, and gateway and fanout from this directory.
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "url", global = true)]
    pub cluster: Option<PathBuf>,
    /// How many gateways to start then; clients are dealt out to them.
    #[arg(long, value_name = "COUNT", default_value = "1", requires = "cluster", global = true)]
    pub gateways: NonZero<usize>,
    /// One more argument for the started standalone or gateway.
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true, global = true)]
    pub server_arg: Vec<String>,
    /// Where the output of started programs goes; by default nowhere.
    #[arg(long, value_name = "FILE", global = true)]
    pub server_log: Option<PathBuf>,
    /// Attach to a server that runs: ws://host:port/ws. Several of them take
    /// connections in turn. JWT_SECRET must be the server's.
    #[arg(long, global = true)]
    pub url: Vec<String>,
    /// Where the attached server takes publications.
    #[arg(long, value_name = "URL", global = true)]
    pub publish_url: Option<String>,
    /// A process of the attached server: its time and memory are measured.
    #[arg(long, global = true)]
    pub pid: Vec<u32>,
    /// What clients speak; of several, separated by commas, each has its turn,
    /// and the first one is what the others are compared with. A server that
    /// is attached to speaks one of them, at its `--url`.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "native", global = true)]
    pub framing: Vec<Framing>,
    /// How messages go in. Over WebSocket the rooms must allow everyone to publish,
    /// and the native protocol is spoken.
    #[arg(long, value_enum, default_value = "http", global = true)]
    pub via: Via,
    /// The tenant that the tokens name; without it they name none.
    #[arg(long, global = true)]
    pub tenant: Option<String>,
    /// Processors for the floor and for started servers, such as 0.
    #[arg(long, value_name = "LIST", global = true)]
    pub server_cpus: Option<String>,
    /// Whether a started fanout takes the webhooks of the load run.
    #[arg(skip)]
    pub takes_webhooks: bool,
}

impl ServerOptions {
    /// Whether there is a server to measure beside the floor.
    #[must_use]
    pub fn is_named(&self) -> bool {
        self.server.is_some() || self.cluster.is_some() || !self.url.is_empty()
    }

    /// Attaches to the server, or starts it and waits until it is of use, for
    /// clients that speak this.
    ///
    /// # Errors
    /// It is not there, does not start, or refuses the token.
    pub async fn target(&self, framing: Framing) -> Result<Target> {
        let mut target = if let Some(program) = &self.server {
            self.start_standalone(program).await?
        } else if let Some(directory) = &self.cluster {
            self.start_cluster(directory).await?
        } else {
            self.attach()?
        };
        for socket in &mut target.sockets {
            socket.framing = framing;
            if !target.started.is_empty() && framing == Framing::SocketIo {
                socketio::PATH.clone_into(&mut socket.path);
            }
        }
        wait_until_ready(&target).await?;
        Ok(target)
    }

    fn attach(&self) -> Result<Target> {
        ensure!(self.framing.len() == 1, "a server that runs already is spoken to by one --framing");
        let via = self.via;
        let secret = std::env::var(SECRET).with_context(|| format!("{SECRET}: the server's secret"))?;
        let sockets: Vec<Endpoint> = self.url.iter().map(|url| url.parse()).collect::<Result<_>>()?;
        let first = sockets.first().context("no server to attach to")?;
        let publish = match (&self.publish_url, via) {
            (Some(url), _) => url.parse()?,
            (None, Via::Http) => Endpoint { path: "/v1/publish".to_owned(), ..first.clone() },
            (None, Via::Ws) if self.framing.contains(&Framing::SocketIo) => {
                bail!("--via ws needs the native endpoint as --publish-url");
            }
            (None, Via::Ws) => first.clone(),
        };
        let processes = self.pid.iter().map(|pid| Watched::running(*pid)).collect::<Result<_>>()?;
        let mint = Mint::new(&secret, self.tenant.clone());
        let started = Vec::new();
        Ok(Target { sockets, via, publish, mint, processes, redis: None, start: None, started })
    }

    async fn start_standalone(&self, program: &Path) -> Result<Target> {
        let secret = new_secret()?;
        let address = free_address()?;
        let mut arguments = vec!["--listen".to_owned(), address.to_string()];
        let configuration = self.configure(&mut arguments)?;
        let server = self.start(program, &arguments, &secret, address).await?;
        drop(configuration);
        self.started(&secret, &[address], address, vec![server])
    }

    async fn start_cluster(&self, directory: &Path) -> Result<Target> {
        let secret = new_secret()?;
        let address = free_address()?;
        let port = address.port().to_string();
        // Nothing is written to disk: a run measures the way of a message.
        let bare = ["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
        let arguments = bare.map(str::to_owned);
        let redis = self.start(Path::new("redis-server"), &arguments, &secret, address).await?;

        let redis_url = format!("redis://{address}");
        let with_redis = |listen: SocketAddr| {
            ["--listen", &listen.to_string(), "--redis", &redis_url].map(str::to_owned).to_vec()
        };
        let fanout_at = free_address()?;
        let mut arguments = with_redis(fanout_at);
        // Read when it starts.
        let mut configuration = NamedTempFile::with_suffix(".toml")?;
        if self.takes_webhooks {
            configuration.write_all(webhook::CONFIGURATION.as_bytes())?;
            arguments.extend(["--config".to_owned(), configuration.path().display().to_string()]);
        }
        let fanout = self.start(&directory.join("fanout"), &arguments, &secret, fanout_at).await?;
        drop(configuration);
        let (mut sockets, mut running) = (Vec::new(), Vec::new());
        for _ in 0..self.gateways.get() {
            let gateway_at = free_address()?;
            let mut arguments = with_redis(gateway_at);
            let configuration = self.configure(&mut arguments)?;
            let gateway = self.start(&directory.join("gateway"), &arguments, &secret, gateway_at).await?;
            drop(configuration);
            sockets.push(gateway_at);
            running.push(gateway);
        }
        running.extend([fanout, redis]);
        let target = self.started(&secret, &sockets, fanout_at, running)?;
        Ok(Target { redis: Some(address), ..target })
    }

    /// Adds the arguments for whoever serves the clients. The file among them
    /// is read when the server starts.
    fn configure(&self, arguments: &mut Vec<String>) -> Result<Option<NamedTempFile>> {
        let mut configuration = None;
        if self.framing.contains(&Framing::SocketIo) {
            let file = configuration.insert(NamedTempFile::with_suffix(".toml")?);
            file.write_all(socketio::CONFIGURATION.as_bytes())?;
            arguments.extend(["--config".to_owned(), file.path().display().to_string()]);
        }
        arguments.extend_from_slice(&self.server_arg);
        Ok(configuration)
    }

    async fn start(
        &self,
        program: &Path,
        arguments: &[String],
        secret: &str,
        address: SocketAddr,
    ) -> Result<Running> {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut command = process::command(program, self.server_cpus.as_deref());
        command
            .args(arguments)
            .env(SECRET, secret)
            .env(webhook::VARIABLE, webhook::SECRET)
            .stdin(Stdio::null());
        command.stdout(process::output_to(self.server_log.as_deref())?);
        command.stderr(process::output_to(self.server_log.as_deref())?);
        let began = Instant::now();
        let mut child = Guarded::start(&mut command)?;
        while dial(address, None).await.is_err() {
            if let Some(status) = child.child().try_wait()? {
                bail!("{name} ended at once ({status}); --server-log FILE keeps what it says");
            }
            ensure!(began.elapsed() < START, "{name} accepts no connection at {address}");
            sleep(Duration::from_millis(1)).await;
        }
        Ok(Running { name, child, start: began.elapsed() })
    }

    /// A target of started processes, the one that clients connect to first.
    fn started(
        &self,
        secret: &str,
        sockets: &[SocketAddr],
        http: SocketAddr,
        running: Vec<Running>,
    ) -> Result<Target> {
        let sockets = sockets.iter().map(|address| format!("ws://{address}/ws").parse());
        let sockets: Vec<Endpoint> = sockets.collect::<Result<_>>()?;
        let publish = match self.via {
            Via::Ws => sockets.first().context("nothing was started")?.clone(),
            Via::Http => format!("http://{http}/v1/publish").parse()?,
        };
        let watched = |one: &Running| Watched { name: one.name.clone(), pid: one.child.pid() };
        Ok(Target {
            sockets,
            via: self.via,
            publish,
            mint: Mint::new(secret, self.tenant.clone()),
            processes: running.iter().map(watched).collect(),
            redis: None,
            start: running.first().map(|one| one.start),
            started: running.into_iter().map(|one| one.child).collect(),
        })
    }
}

struct Running {
    name: String,
    child: Guarded,
    /// From its start to its first accepted connection.
    start: Duration,
}

/// Tries until a client gets in and, over HTTP, a message too. A server that
/// runs already has one try.
async fn wait_until_ready(target: &Target) -> Result<()> {
    let began = Instant::now();
    loop {
        let tried = timeout(READY, try_out(target)).await;
        let error = match tried.context("no answer").and_then(|tried| tried) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if target.started.is_empty() || began.elapsed() >= READY {
            return Err(error.context("the server is not ready"));
        }
        sleep(Duration::from_millis(20)).await;
    }
}

async fn try_out(target: &Target) -> Result<()> {
    let token = target.mint.token("probe")?;
    for socket in &target.sockets {
        Connection::open(socket, None, &token).await?.close().await?;
    }
    if target.via == Via::Http {
        let buffer = SharedBuffer::default();
        let mut publisher = Publisher::open(Via::Http, &target.publish, &token, &buffer).await?;
        let nothing = Mark { seq: 0, published: 0 };
        publisher.publish(&To::Room("probe".to_owned()), &[nothing], 0).await?;
    }
    Ok(())
}

/// An address that was free a moment ago.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// A secret for servers that live as long as the run.
pub(crate) fn new_secret() -> Result<String> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes).context("reading /dev/urandom")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
