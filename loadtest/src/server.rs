//! The server under test: attached to, or started for the run.

use std::fs::File;
use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use serde::Serialize;
use tokio::time::{sleep, timeout};

use crate::connection::{Connection, Endpoint, SharedBuffer, dial};
use crate::payload::Mark;
use crate::process::{self, Guarded};
use crate::publisher::{Publisher, To, Via};
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
    /// Where the attached server takes publications over HTTP.
    #[arg(long, value_name = "URL", global = true)]
    pub publish_url: Option<String>,
    /// A process of the attached server: its time and memory are measured.
    #[arg(long, global = true)]
    pub pid: Vec<u32>,
    /// How messages go in. Over WebSocket the rooms must allow everyone to publish.
    #[arg(long, value_enum, default_value = "http", global = true)]
    pub via: Via,
    /// The tenant that the tokens name; without it they name none.
    #[arg(long, global = true)]
    pub tenant: Option<String>,
    /// Processors for the floor and for started servers, such as 0.
    #[arg(long, value_name = "LIST", global = true)]
    pub server_cpus: Option<String>,
}

impl ServerOptions {
    /// Whether there is a server to measure beside the floor.
    #[must_use]
    pub fn is_named(&self) -> bool {
        self.server.is_some() || self.cluster.is_some() || !self.url.is_empty()
    }

    /// Attaches to the server, or starts it and waits until it is of use.
    ///
    /// # Errors
    /// It is not there, does not start, or refuses the token.
    pub async fn target(&self, via: Via) -> Result<Target> {
        let target = if let Some(program) = &self.server {
            self.start_standalone(program, via).await?
        } else if let Some(directory) = &self.cluster {
            self.start_cluster(directory, via).await?
        } else {
            self.attach(via)?
        };
        wait_until_ready(&target).await?;
        Ok(target)
    }

    fn attach(&self, via: Via) -> Result<Target> {
        let secret = std::env::var(SECRET).with_context(|| format!("{SECRET}: the server's secret"))?;
        let sockets: Vec<Endpoint> = self.url.iter().map(|url| url.parse()).collect::<Result<_>>()?;
        let first = sockets.first().context("no server to attach to")?;
        let publish = match (&self.publish_url, via) {
            (Some(url), Via::Http) => url.parse()?,
            (None, Via::Http) => Endpoint { path: "/v1/publish".to_owned(), ..first.clone() },
            (_, Via::Ws) => first.clone(),
        };
        let processes = self.pid.iter().map(|pid| Watched::running(*pid)).collect::<Result<_>>()?;
        let mint = Mint::new(&secret, self.tenant.clone());
        Ok(Target { sockets, via, publish, mint, processes, start: None, started: Vec::new() })
    }

    async fn start_standalone(&self, program: &Path, via: Via) -> Result<Target> {
        let secret = new_secret()?;
        let address = free_address()?;
        let mut arguments = vec!["--listen".to_owned(), address.to_string()];
        arguments.extend_from_slice(&self.server_arg);
        let server = self.start(program, &arguments, &secret, address).await?;
        self.started(via, &secret, address, address, vec![server])
    }

    async fn start_cluster(&self, directory: &Path, via: Via) -> Result<Target> {
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
        let (gateway_at, fanout_at) = (free_address()?, free_address()?);
        let fanout =
            self.start(&directory.join("fanout"), &with_redis(fanout_at), &secret, fanout_at).await?;
        let mut arguments = with_redis(gateway_at);
        arguments.extend_from_slice(&self.server_arg);
        let gateway = self.start(&directory.join("gateway"), &arguments, &secret, gateway_at).await?;
        self.started(via, &secret, gateway_at, fanout_at, vec![gateway, fanout, redis])
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
        command.args(arguments).env(SECRET, secret).stdin(Stdio::null());
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
        via: Via,
        secret: &str,
        sockets: SocketAddr,
        http: SocketAddr,
        running: Vec<Running>,
    ) -> Result<Target> {
        let socket: Endpoint = format!("ws://{sockets}/ws").parse()?;
        let publish = match via {
            Via::Ws => socket.clone(),
            Via::Http => format!("http://{http}/v1/publish").parse()?,
        };
        let watched = |one: &Running| Watched { name: one.name.clone(), pid: one.child.pid() };
        Ok(Target {
            sockets: vec![socket],
            via,
            publish,
            mint: Mint::new(secret, self.tenant.clone()),
            processes: running.iter().map(watched).collect(),
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
