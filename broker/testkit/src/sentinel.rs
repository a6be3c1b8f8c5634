//! A primary and its replica behind three sentinels.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::poll::until;
use crate::resp::Reply;
use crate::server::{Mode, Options, Server};

/// What the sentinels call the primary and its replica.
const SERVICE: &str = "mymaster";

/// Who the sentinels are to the servers; also the password.
const WATCHER: &str = "watcher";

/// How long everybody may take to agree, with a loaded machine in mind. Sentinels look at each other every 2 seconds
/// and at the servers every 10; a failover that finds no replica fit is not tried again before twice its timeout of
/// 5 seconds.
const AGREEMENT: Duration = Duration::from_secs(60);

/// A primary and a replica, watched by three sentinels of whom two must agree. A primary that says nothing for a
/// second is given up.
#[derive(Debug)]
pub struct Sentinel {
    /// The servers with the data. The first is the primary until a failover.
    pub servers: [Server; 2],
    /// The sentinels.
    pub sentinels: [Server; 3],
}

impl Sentinel {
    /// Starts all five, and waits until the replica is in step and each sentinel knows all the others.
    pub async fn start() -> Result<Self> {
        // A replica that asks for the data gets it at once, and not after waiting for others to ask too.
        let primary = data(vec!["repl-diskless-sync-delay 0".to_owned()]).await?;
        let replica = data(vec![format!("replicaof 127.0.0.1 {}", primary.port())]).await?;
        // In this order, because a sentinel that meets a replica out of step looks again only after 10 seconds.
        until("the replica is in step", AGREEMENT, || async {
            Ok(replica.info("master_link_status").await? == "up")
        })
        .await?;
        let port = primary.port();
        let sentinels = [watcher(port).await?, watcher(port).await?, watcher(port).await?];
        let started = Self { servers: [primary, replica], sentinels };
        for sentinel in &started.sentinels {
            until("each sentinel knows the others", AGREEMENT, || knows_all(sentinel)).await?;
        }
        Ok(started)
    }

    /// The service's address for a client:
    /// `redis-sentinel://127.0.0.1:port?node=127.0.0.1:port&…&sentinelServiceName=mymaster`.
    #[must_use]
    pub fn url(&self) -> String {
        let [first, second, third] = self.sentinels.each_ref().map(Server::address);
        format!("redis-sentinel://{first}?node={second}&node={third}&sentinelServiceName={SERVICE}")
    }

    /// Which of the servers is the primary, by the first sentinel.
    pub async fn primary(&self) -> Result<usize> {
        let [sentinel, ..] = &self.sentinels;
        let port = primary_port(sentinel).await?;
        let primary = self.servers.iter().position(|server| server.port() == port);
        primary.with_context(|| format!("there is no server at port {port}"))
    }

    /// Makes the replica the primary and returns its index, once all sentinels name it.
    ///
    /// The old primary goes on taking writes until the sentinels have told it, some 8 to 10 seconds later, and then
    /// forgets them: the loss that a failover means. Called a second time, this waits for that as well.
    pub async fn failover(&self) -> Result<usize> {
        let [sentinel, ..] = &self.sentinels;
        let next = usize::from(self.primary().await? == 0);
        until("a sentinel starts a failover", AGREEMENT, || async {
            sentinel.command(&["SENTINEL", "FAILOVER", SERVICE]).await.map(|_| true)
        })
        .await?;
        self.failed_over(next).await?;
        Ok(next)
    }

    /// Cuts the sentinels off from the primary, and nobody else, and returns the index of the one that they make the primary
    /// instead. The old one goes on for everybody who does not ask.
    pub async fn depose(&self) -> Result<usize> {
        let old = self.primary().await?;
        self.let_in(old, "-@all").await?;
        let next = usize::from(old == 0);
        self.failed_over(next).await?;
        Ok(next)
    }

    /// Lets the sentinels reach both servers again, and waits until one follows the other.
    pub async fn reunite(&self) -> Result<()> {
        for server in 0..self.servers.len() {
            self.let_in(server, "+@all").await?;
        }
        let replica = usize::from(self.primary().await? == 0);
        let replica = self.servers.get(replica).context("there is no replica")?;
        until("the old primary follows the new one", AGREEMENT, || async {
            Ok(replica.info("role").await? == "slave" && replica.info("master_link_status").await? == "up")
        })
        .await
    }

    async fn let_in(&self, server: usize, rights: &str) -> Result<()> {
        let server = self.servers.get(server).context("there is no such server")?;
        server.command(&["ACL", "SETUSER", WATCHER, rights]).await.map(drop)
    }

    /// Waits until all sentinels name this server and it is a primary, as after a kill of the other one. All sentinels
    /// must be running.
    pub async fn failed_over(&self, to: usize) -> Result<()> {
        let server = self.servers.get(to).with_context(|| format!("there is no server {to}"))?;
        until("the server is a primary", AGREEMENT, || async { Ok(server.info("role").await? == "master") })
            .await?;
        for sentinel in &self.sentinels {
            until("all sentinels name the new primary", AGREEMENT, || async {
                Ok(primary_port(sentinel).await? == server.port())
            })
            .await?;
        }
        Ok(())
    }
}

async fn data(mut config: Vec<String>) -> Result<Server> {
    config.push(format!("user {WATCHER} on >{WATCHER} ~* &* +@all"));
    Server::start(Options { config, ..Options::default() }).await
}

async fn watcher(primary: u16) -> Result<Server> {
    let config = vec![
        format!("sentinel monitor {SERVICE} 127.0.0.1 {primary} 2"),
        format!("sentinel down-after-milliseconds {SERVICE} 1000"),
        format!("sentinel failover-timeout {SERVICE} 5000"),
        format!("sentinel auth-user {SERVICE} {WATCHER}"),
        format!("sentinel auth-pass {SERVICE} {WATCHER}"),
    ];
    Server::start_as(Mode::Sentinel, Options { config, ..Options::default() }).await
}

async fn primary_port(sentinel: &Server) -> Result<u16> {
    let address = sentinel.command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE]).await?;
    let port = address.list().get(1).context("the sentinel names no primary")?;
    Ok(port.text().parse()?)
}

async fn knows_all(sentinel: &Server) -> Result<bool> {
    let primary = sentinel.command(&["SENTINEL", "MASTER", SERVICE]).await?;
    let replicas = sentinel.command(&["SENTINEL", "REPLICAS", SERVICE]).await?;
    let is = |reply: &Reply, name: &str, value: &str| reply.field(name).is_some_and(|it| it.text() == value);
    Ok(is(&primary, "num-other-sentinels", "2")
        && is(&primary, "flags", "master")
        && matches!(replicas.list(), [replica] if is(replica, "flags", "slave") && is(replica, "master-link-status", "ok")))
}
