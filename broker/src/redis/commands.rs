//! The connections for commands: a few clients, each kept connected, and one way to ask them.

use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fred::clients::{Client, Pool, WithOptions};
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike, LuaInterface};
use fred::types::config as fred_config;
use fred::types::scripts::Script;
use fred::types::{Builder, FromValue, RespVersion, Value};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::config::{Address, RedisConfig, Topology};
use super::doubter::Doubter;
use super::link::owners::Owners;
use super::retry::{Repeat, backoff};
use crate::Unavailable;

/// What a command may take, from the call to the last answer, with all its tries.
pub(super) const BUDGET: Duration = Duration::from_millis(900);

/// Two connections per server keep it busy, and one that hangs does not hold up everything.
const CLIENTS: usize = 2;

/// How long the start waits for the first connection before the process goes on without.
const FIRST_CONNECTION: Duration = Duration::from_secs(2);

/// Between two attempts to bring a client up that never was connected, or gave up.
const RESTART: Duration = Duration::from_millis(500);

/// How Redis begins to say that a user may not do something.
const FORBIDDEN: &str = "NOPERM";

/// Asks Redis. Cheap to clone; all clones are the same connections.
#[derive(Clone)]
pub(super) struct Commands {
    pool: Pool,
    state: Arc<State>,
    is_cluster: bool,
}

/// What is known about Redis from how commands end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    /// It carried out the last command.
    Up,
    /// No connection stands.
    Down,
    /// Neither is known of the place that is meant.
    Unknown,
}

#[derive(Default)]
struct State {
    answered: AtomicBool,
    reconnecting: AtomicBool,
    /// A command was not answered in time: the connections have to prove that they are alive.
    doubts: Notify,
    closed: CancellationToken,
}

impl Commands {
    /// Connects. Redis being away is no error: the clients go on trying, and commands fail until then. A refused login or
    /// an impossible configuration is one.
    pub(super) async fn connect(config: &RedisConfig) -> Result<Self, Unavailable> {
        let pool = settings(config)?.build_pool(CLIENTS).map_err(|error| unavailable(&error))?;
        let commands = Self { pool, state: Arc::default(), is_cluster: config.is_cluster() };
        let mut first = Vec::new();
        for client in commands.pool.clients() {
            let (tell, told) = oneshot::channel();
            first.push(told);
            tokio::spawn(keep_connected(client.clone(), Doubter::new(config), commands.state.clone(), tell));
        }
        let deadline = Instant::now() + FIRST_CONNECTION;
        for told in first {
            match tokio::time::timeout_at(deadline, told).await {
                Ok(Ok(Err(error))) if is_refusal(&error) => {
                    commands.close().await;
                    return Err(unavailable(&error));
                }
                Ok(Ok(Err(error))) => tracing::warn!(%error, "redis cannot be reached yet"),
                Ok(Ok(Ok(()))) => commands.state.answered.store(true, Ordering::Relaxed),
                Ok(Err(_)) | Err(_) => tracing::warn!("redis did not answer yet"),
            }
        }
        Ok(commands)
    }

    /// Runs a script, sending its text where the server does not know it yet.
    pub(super) async fn script<R: FromValue + Send>(
        &self,
        repeat: Repeat,
        script: &Script,
        keys: &[String],
        arguments: impl Fn(u32) -> Vec<Value> + Sync,
    ) -> Result<R, Unavailable> {
        self.run(repeat, |client, attempt| {
            let arguments = arguments(attempt);
            async move {
                match client.evalsha(script.sha1().clone(), keys.to_vec(), arguments.clone()).await {
                    Err(error) if error.details().starts_with("NOSCRIPT") => {
                        let text = script.lua().cloned().unwrap_or_default();
                        // Seldom needed, so it takes no room in every call's future.
                        Box::pin(client.eval(text, keys.to_vec(), arguments)).await
                    }
                    answer => answer,
                }
            }
        })
        .await
    }

    /// Runs a command within [`BUDGET`], trying again as `repeat` allows. `command` gets the number of the try, from 0.
    pub(super) async fn run<R, F, Answer>(&self, repeat: Repeat, command: F) -> Result<R, Unavailable>
    where
        F: Fn(WithOptions<Client>, u32) -> Answer,
        Answer: Future<Output = Result<R, Error>>,
    {
        if self.state.closed.is_cancelled() {
            return Err(Unavailable("the broker is closed".to_owned()));
        }
        let deadline = Instant::now() + BUDGET;
        let mut attempt = 0;
        loop {
            let client = self.pool.next_connected();
            let options = fred_config::Options {
                max_attempts: Some(repeat.writes(attempt)),
                timeout: Some(
                    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1)),
                ),
                fail_fast: true,
                ..fred_config::Options::default()
            };
            let error = if client.is_connected() {
                // The client's futures are kilobytes, which would add up in each caller's own.
                let answer = Box::pin(command(client.with_options(&options), attempt));
                // The client's own timeout counts from each command anew, and `command` may be two.
                match tokio::time::timeout_at(deadline, answer).await {
                    Ok(Ok(answer)) => {
                        self.note(None::<&Error>);
                        return Ok(answer);
                    }
                    Ok(Err(error)) => error,
                    Err(_) => Error::new(ErrorKind::Timeout, "no answer in time"),
                }
            } else {
                // Not sent at all, so that any command may wait for a connection.
                Error::new(ErrorKind::Routing, "not connected")
            };
            if error.details().starts_with("READONLY") {
                self.leave_replica(client);
            } else if matches!(error.kind(), ErrorKind::Timeout) {
                self.state.doubts.notify_waiters();
            }
            attempt += 1;
            let wait = backoff(attempt, rand::random());
            if !repeat.after(&error) || Instant::now() + wait >= deadline {
                self.note(Some(&error));
                return Err(unavailable(&error));
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Whether the last command was answered and a connection stands.
    pub(super) fn answered(&self) -> bool {
        self.state.answered.load(Ordering::Relaxed)
            && !self.state.closed.is_cancelled()
            && self.pool.clients().iter().any(ClientLike::is_connected)
    }

    /// How Redis as a whole is. Of a cluster each node is its own matter.
    pub(super) fn view(&self) -> View {
        let connected = || self.pool.clients().iter().any(ClientLike::is_connected);
        if self.is_cluster {
            View::Unknown
        } else if self.answered() {
            View::Up
        } else if connected() {
            View::Unknown
        } else {
            View::Down
        }
    }

    /// Has those connect anew that are at none of these servers.
    pub(super) async fn leave_all_but(&self, owners: &Owners) {
        for client in self.pool.clients() {
            let strays = client.active_connections().into_iter().any(|server| {
                let at = Address { host: server.host.to_string(), port: server.port };
                !owners.servers().any(|owner| *owner == at)
            });
            if !strays {
                continue;
            }
            tracing::warn!("another redis server is the primary now; connecting to it");
            if let Err(error) = client.force_reconnection().await {
                tracing::debug!(%error, "connecting to the new primary failed");
            }
        }
    }

    /// Ends the connections.
    pub(super) async fn close(&self) {
        self.state.closed.cancel();
        for client in self.pool.clients() {
            // It may be down already, or hang; either way this was the goodbye.
            drop(tokio::time::timeout(BUDGET, client.quit()).await);
        }
    }

    /// Ends the connections without a goodbye.
    pub(super) fn abandon(&self) {
        self.state.closed.cancel();
    }

    /// Notes how a command ended, also one that went over other connections.
    pub(super) fn note(&self, failure: Option<&impl Display>) {
        let answered = failure.is_none();
        // A store to a line that all cores read is not free. Of several who see a change one stores it, and says so.
        if self.state.answered.load(Ordering::Relaxed) == answered
            || self.state.answered.swap(answered, Ordering::Relaxed) == answered
        {
            return;
        }
        match failure {
            None => tracing::info!("redis carries out commands again"),
            Some(error) => tracing::warn!(%error, "redis does not carry out commands"),
        }
    }

    /// The primary that we were connected to is none any more: connect anew, which finds out who is.
    fn leave_replica(&self, client: &Client) {
        if self.state.reconnecting.swap(true, Ordering::AcqRel) {
            return;
        }
        let (client, state) = (client.clone(), self.state.clone());
        tokio::spawn(async move {
            if let Err(error) = client.force_reconnection().await {
                tracing::debug!(%error, "reconnecting to the primary failed");
            }
            state.reconnecting.store(false, Ordering::Release);
        });
    }
}

/// Starts a client and starts it again whenever it gave up. Tells how the first start went.
async fn keep_connected(
    client: Client,
    doubter: Doubter,
    state: Arc<State>,
    tell: oneshot::Sender<Result<(), Error>>,
) {
    let mut tell = Some(tell);
    let mut told = |outcome| {
        if let Some(tell) = tell.take() {
            // Nobody listens any more once the start has timed out.
            drop(tell.send(outcome));
        }
    };
    while !state.closed.is_cancelled() {
        match client.init().await {
            Ok(mut running) => {
                told(Ok(()));
                loop {
                    tokio::select! {
                        () = state.closed.cancelled() => {
                            // Time for the goodbye, if there is one.
                            tokio::time::sleep(BUDGET).await;
                            running.abort();
                            break;
                        }
                        _ = &mut running => break,
                        () = state.doubts.notified() => doubter.examine(&client).await,
                    }
                }
            }
            Err(error) => told(Err(error)),
        }
        tokio::select! {
            () = state.closed.cancelled() => return,
            () = tokio::time::sleep(RESTART) => {}
        }
    }
}

/// Every setting of the command clients, chosen on purpose.
fn settings(config: &RedisConfig) -> Result<Builder, Unavailable> {
    let mut builder = Builder::from_config(fred_config::Config {
        // Tells at once how the first connection went; `keep_connected` goes on trying.
        fail_fast: true,
        username: config.credentials().username.clone(),
        password: config.credentials().password.clone(),
        server: server(config)?,
        version: RespVersion::RESP2,
        tls: config.tls().map(|tls| {
            fred_config::TlsConnector::Rustls(tokio_rustls::TlsConnector::from(tls.clone())).into()
        }),
        ..fred_config::Config::default()
    });
    builder.with_performance_config(|performance| performance.default_command_timeout = BUDGET);
    builder.with_connection_config(|connection| {
        connection.connection_timeout = Duration::from_secs(3);
        connection.internal_command_timeout = Duration::from_secs(3);
        // A command that was written may have taken effect. Whoever may repeat it says so by option.
        connection.max_command_attempts = 1;
        connection.max_redirections = 5;
        // What a `Doubter` does not see: nobody asks for anything.
        connection.unresponsive.max_timeout = Some(Duration::from_secs(5));
        connection.unresponsive.interval = Duration::from_secs(1);
        connection.max_command_buffer_len = 10_000;
        // No TCP keepalive: the lease is renewed every few seconds, and what is not answered ends the connection.
        connection.tcp.nodelay = Some(true);
    });
    let mut policy = fred_config::ReconnectPolicy::new_exponential(0, 50, 1_000, 2);
    policy.set_jitter(50);
    builder.set_policy(policy);
    Ok(builder)
}

/// Whether the servers are there and will never let us in as we are.
fn is_refusal(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Auth | ErrorKind::Config) || error.details().starts_with(FORBIDDEN)
}

/// Whether a command failed because the user may not give it.
pub(super) fn forbids(error: &Unavailable) -> bool {
    error.0.starts_with(FORBIDDEN)
}

fn server(config: &RedisConfig) -> Result<fred_config::ServerConfig, Unavailable> {
    let mut hosts = config.seeds().iter().map(address);
    Ok(match config.topology() {
        Topology::Standalone => fred_config::ServerConfig::Centralized {
            server: hosts.next().ok_or_else(|| Unavailable("no address is configured".to_owned()))?,
        },
        Topology::Cluster => fred_config::ServerConfig::Clustered {
            hosts: hosts.collect(),
            policy: fred_config::ClusterDiscoveryPolicy::UseCache,
        },
        Topology::Sentinel { service, credentials } => fred_config::ServerConfig::Sentinel {
            hosts: hosts.collect(),
            service_name: service.clone(),
            username: credentials.username.clone(),
            password: credentials.password.clone(),
        },
    })
}

fn address(address: &Address) -> fred_config::Server {
    fred_config::Server::new(address.host.as_str(), address.port)
}

fn unavailable(error: &Error) -> Unavailable {
    Unavailable(error.details().to_owned())
}
