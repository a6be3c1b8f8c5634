//! Breaks things and mends them, one at a time.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use testkit::{Proxy, Reply, Sentinel, Server, until};
use tokio::time::sleep;

use super::control::{Control, Load};
use super::fault::{Fault, Step};
use super::node::Node;
use super::world::{Redis, World};

/// How long Redis may take to be whole again, with a loaded machine in mind.
const WHOLE: Duration = Duration::from_secs(40);

/// Where Redis keeps its log of writes, within its directory.
const LOG: &str = "appendonlydir";

/// How much of the log is lost when an old one is brought back: what was written in this time.
const LOST: Duration = Duration::from_millis(600);

/// Within what time everybody is to notice that Sentinels name another primary, with a loaded machine in mind.
const NOTICED: Duration = Duration::from_secs(6);

/// How many slots move in one step.
const MOVES: usize = 4;

/// Breaks something, waits for `hold`, and mends it.
///
/// # Errors
/// It could not be broken or mended, which says nothing about the cluster.
pub(super) async fn strike(
    world: &mut World,
    step: &Step,
    control: &Control,
    hold: impl Future<Output = ()>,
) -> Result<()> {
    let World { gateways, fanouts, redis, .. } = world;
    match step.fault {
        Fault::KillGateway => die(pick(gateways, step)?, hold).await,
        Fault::KillFanout => die(pick(fanouts, step)?, hold).await,
        Fault::StopGateway => leave(pick(gateways, step)?, hold).await,
        Fault::StopFanout => leave(pick(fanouts, step)?, hold).await,
        Fault::FreezeGateway => freeze(pick(gateways, step)?, hold).await,
        Fault::CutGateway => {
            let wire = wire(pick(gateways, step)?)?;
            wire.cut();
            hold.await;
            wire.restore();
            Ok(())
        }
        Fault::ForsakeGateway => {
            wire(pick(gateways, step)?)?.forsake();
            hold.await;
            Ok(())
        }
        Fault::StallGateway => stall(pick(gateways, step)?, hold).await,
        Fault::StallFanout => stall(pick(fanouts, step)?, hold).await,
        Fault::KillRedis => kill_redis(redis, step, hold).await,
        Fault::FreezeRedis => freeze_redis(redis, step, hold).await,
        Fault::DropSubscribers => {
            for server in redis.servers() {
                server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await?;
            }
            hold.await;
            Ok(())
        }
        Fault::TinyBuffers => tiny_buffers(pick(gateways, step)?, redis, control, hold).await,
        Fault::SlowReaders => {
            control.order(|orders| orders.paused = Some(step.target % 3));
            burst(control, hold).await;
            control.order(|orders| orders.paused = None);
            Ok(())
        }
        Fault::MoveSlot => move_slots(redis, step, hold).await,
        Fault::OldFile => old_file(gateways, redis, hold).await,
        Fault::EmptyRedis => {
            let server = alone(redis)?;
            server.kill().await?;
            fs::remove_dir_all(server.home().join(LOG))?;
            server.restart().await?;
            hold.await;
            Ok(())
        }
        Fault::Failover => failover(redis, false, hold).await,
        Fault::StalledFailover => failover(redis, true, hold).await,
        Fault::DeposePrimary => {
            let sentinel = sentinels(redis)?;
            sentinel.reunite().await?;
            sentinel.depose().await?;
            sleep(NOTICED).await;
            hold.await;
            // The old primary stays as it is: whoever still listens to it must find that out alone.
            Ok(())
        }
    }
}

fn pick<'a>(nodes: &'a mut [Node], step: &Step) -> Result<&'a mut Node> {
    let index = step.target.checked_rem(nodes.len()).context("no such process in this run")?;
    nodes.get_mut(index).context("no such process in this run")
}

fn wire(node: &Node) -> Result<&Proxy> {
    node.wire.as_ref().context("there is no wire of its own to this Redis")
}

async fn die(node: &mut Node, hold: impl Future<Output = ()>) -> Result<()> {
    node.kill();
    hold.await;
    node.restart().await
}

async fn leave(node: &mut Node, hold: impl Future<Output = ()>) -> Result<()> {
    node.stop().await?;
    hold.await;
    node.restart().await
}

async fn freeze(node: &Node, hold: impl Future<Output = ()>) -> Result<()> {
    node.freeze()?;
    hold.await;
    node.thaw()
}

async fn stall(node: &Node, hold: impl Future<Output = ()>) -> Result<()> {
    let wire = wire(node)?;
    wire.stall(true);
    hold.await;
    wire.restore();
    Ok(())
}

/// Much is published meanwhile, unless nothing is any more.
async fn burst(control: &Control, hold: impl Future<Output = ()>) {
    control.order(|orders| orders.load = orders.load.map(|_| Load::BURST));
    hold.await;
    control.order(|orders| orders.load = orders.load.map(|_| Load::CALM));
}

fn alone(redis: &mut Redis) -> Result<&mut Server> {
    match redis {
        Redis::Standalone(server) => Some(&mut **server),
        Redis::Sentinel(_) | Redis::Cluster(_) => None,
    }
    .context("only a server on its own is broken like this")
}

async fn kill_redis(redis: &mut Redis, step: &Step, hold: impl Future<Output = ()>) -> Result<()> {
    let Redis::Cluster(cluster) = redis else {
        let server = alone(redis)?;
        server.kill().await?;
        hold.await;
        return server.restart().await;
    };
    let index = step.target % cluster.nodes.len();
    let node = cluster.nodes.get_mut(index).context("no such node")?;
    node.kill().await?;
    hold.await;
    node.restart().await?;
    cluster.complete().await
}

async fn freeze_redis(redis: &mut Redis, step: &Step, hold: impl Future<Output = ()>) -> Result<()> {
    let servers = redis.servers();
    let server = servers.get(step.target % servers.len().max(1)).context("no such node")?;
    server.pause()?;
    hold.await;
    server.resume()?;
    if let Redis::Cluster(cluster) = redis {
        cluster.complete().await?;
    }
    Ok(())
}

async fn tiny_buffers(
    node: &Node,
    redis: &Redis,
    control: &Control,
    hold: impl Future<Output = ()>,
) -> Result<()> {
    let limit = async |limit: &str| -> Result<()> {
        for server in redis.servers() {
            let limit = format!("pubsub {limit}");
            server.command(&["CONFIG", "SET", "client-output-buffer-limit", &limit]).await?;
        }
        Ok(())
    };
    limit("65536 0 0").await?;
    node.freeze()?;
    burst(control, hold).await;
    node.thaw()?;
    limit("33554432 8388608 60").await
}

/// Redis forgets its last writes, and others are in their place before a gateway looks.
async fn old_file(gateways: &[Node], redis: &mut Redis, hold: impl Future<Output = ()>) -> Result<()> {
    let server = alone(redis)?;
    let log = server.home().join(LOG);
    let old = server.home().join("old");
    copy(&log, &old)?;
    sleep(LOST).await;
    for gateway in gateways {
        wire(gateway)?.cut();
    }
    server.kill().await?;
    fs::remove_dir_all(&log)?;
    fs::rename(&old, &log)?;
    server.restart().await?;
    // As long again as was lost and a bit, so that in most rooms the lost places are taken.
    sleep(LOST * 2).await;
    hold.await;
    for gateway in gateways {
        wire(gateway)?.restore();
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for file in fs::read_dir(from)? {
        let file = file?;
        fs::copy(file.path(), to.join(file.file_name()))?;
    }
    Ok(())
}

async fn move_slots(redis: &Redis, step: &Step, hold: impl Future<Output = ()>) -> Result<()> {
    let Redis::Cluster(cluster) = redis else {
        anyhow::bail!("only a cluster has slots that move");
    };
    let count = cluster.nodes.len();
    for turn in step.target..step.target + MOVES {
        let from = turn % count;
        let node = cluster.nodes.get(from).context("no such node")?;
        let Reply::Bytes(key) = node.command(&["RANDOMKEY"]).await? else { continue };
        let slot = cluster.slot_of(&String::from_utf8_lossy(&key)).await?;
        let to = (from + 1 + turn / count % (count - 1)) % count;
        cluster.begin_move(slot, to).await?;
        sleep(Duration::from_millis(100)).await;
        cluster.finish_move(slot, to).await?;
    }
    hold.await;
    Ok(())
}

fn sentinels(redis: &mut Redis) -> Result<&mut Sentinel> {
    match redis {
        Redis::Sentinel(sentinel) => Some(&mut **sentinel),
        Redis::Standalone(_) | Redis::Cluster(_) => None,
    }
    .context("only sentinels make a replica the primary")
}

async fn failover(redis: &mut Redis, stalled: bool, hold: impl Future<Output = ()>) -> Result<()> {
    let sentinel = sentinels(redis)?;
    sentinel.reunite().await?;
    let old = sentinel.primary().await?;
    let new = usize::from(old == 0);
    // Holds the replica's link back, for as long as it lives.
    let link = if stalled { Some(stalled_link(sentinel, old, new).await?) } else { None };
    sentinel.servers.get_mut(old).context("no such server")?.kill().await?;
    sentinel.failed_over(new).await?;
    drop(link);
    hold.await;
    sentinel.servers.get_mut(old).context("no such server")?.restart().await?;
    sentinel.reunite().await
}

/// Leads the replica's link over a wire, and lets nothing through while more is published.
async fn stalled_link(sentinel: &Sentinel, primary: usize, replica: usize) -> Result<Proxy> {
    let primary = sentinel.servers.get(primary).context("no such server")?;
    let replica = sentinel.servers.get(replica).context("no such server")?;
    let link = Proxy::start(primary.address()).await?;
    let port = link.address().port().to_string();
    replica.command(&["REPLICAOF", "127.0.0.1", &port]).await?;
    until("the replica follows over the wire", WHOLE, || async {
        Ok(replica.info("master_link_status").await? == "up")
    })
    .await?;
    link.stall(true);
    sleep(LOST).await;
    Ok(link)
}
