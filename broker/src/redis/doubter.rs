//! Finds out whether connections for commands are dead without knowing it, as after a firewall forgot them.
//!
//! The client library watches for that too, but it counts from the last command that was written, so its watch never
//! ends while commands come. A server that answers nobody is left alone: it may be frozen, and then go on with what it got.

use std::time::Duration;

use fred::clients::Client;
use fred::error::{Error, ErrorKind};
use fred::interfaces::ClientLike;
use fred::types::config::{Options, Server};
use futures_util::future::join_all;

use super::config::{Address, RedisConfig};
use super::link::connection::Dialer;

/// How long a server may take to answer a ping.
const PROOF: Duration = Duration::from_secs(2);

/// See the module's documentation.
pub(super) struct Doubter {
    dialer: Dialer,
    is_cluster: bool,
}

impl Doubter {
    pub(super) fn new(config: &RedisConfig) -> Self {
        let dialer = Dialer {
            credentials: config.credentials().clone(),
            tls: config.tls().cloned(),
            primary_only: false,
        };
        Self { dialer, is_cluster: config.is_cluster() }
    }

    /// Has the client connect anew, if a server answers others but not this client.
    pub(super) async fn examine(&self, client: &Client) {
        let servers = client.active_connections();
        let dead = join_all(servers.iter().map(|server| self.is_dead(client, server))).await;
        if !dead.contains(&true) {
            return;
        }
        tracing::warn!("a connection to redis is dead; connecting anew");
        if let Err(error) = client.force_reconnection().await {
            tracing::debug!(%error, "connecting anew failed");
        }
    }

    async fn is_dead(&self, client: &Client, server: &Server) -> bool {
        let options = Options {
            max_attempts: Some(1),
            timeout: Some(PROOF),
            fail_fast: true,
            cluster_node: self.is_cluster.then(|| server.clone()),
            ..Options::default()
        };
        let answer: Result<(), Error> = client.with_options(&options).ping(None).await;
        let is_silent = answer.is_err_and(|error| *error.kind() == ErrorKind::Timeout);
        let address = Address { host: server.host.to_string(), port: server.port };
        is_silent && self.dialer.dial(&address).await.is_ok()
    }
}
