//! A cluster to break: Redis, gateways and fanouts, each a process of its own.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use testkit::{Cluster, Options, Proxy, Sentinel, Server};

use super::fault::Topology;
use super::node::{Node, Program};

/// The gateways' and fanouts' configuration: a history that no run outgrows, so that whatever is trimmed is a fault.
const CONFIG: &str = "[[channels]]\nmatch = \"room:*\"\nhistory_size = 20000\n";

/// Redis in one of its topologies.
pub(crate) enum Redis {
    /// One server.
    Standalone(Box<Server>),
    /// Behind sentinels.
    Sentinel(Box<Sentinel>),
    /// Several masters.
    Cluster(Box<Cluster>),
}

impl Redis {
    async fn start(topology: Topology) -> Result<Self> {
        Ok(match topology {
            Topology::Standalone => Self::Standalone(Box::new(Server::start(Options::default()).await?)),
            Topology::Sentinel => Self::Sentinel(Box::new(Sentinel::start().await?)),
            Topology::Cluster => Self::Cluster(Box::new(Cluster::start().await?)),
        })
    }

    /// All servers that hold data.
    #[must_use]
    pub(crate) fn servers(&self) -> Vec<&Server> {
        match self {
            Self::Standalone(server) => vec![server],
            Self::Sentinel(sentinel) => sentinel.servers.iter().collect(),
            Self::Cluster(cluster) => cluster.nodes.iter().collect(),
        }
    }

    /// The way to it, over a wire of one's own where that is possible.
    async fn way(&self, wires: bool) -> Result<(String, Option<Proxy>)> {
        Ok(match self {
            Self::Standalone(server) if !wires => (server.url(), None),
            Self::Standalone(server) => {
                let wire = Proxy::start(server.address()).await?;
                (wire.url(), Some(wire))
            }
            Self::Sentinel(sentinel) => (sentinel.url(), None),
            Self::Cluster(cluster) => (cluster.url(), None),
        })
    }
}

/// How large a cluster is to be, and of what.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// How Redis is organised.
    pub(crate) topology: Topology,
    /// How many gateways.
    pub(crate) gateways: usize,
    /// How many fanouts.
    pub(crate) fanouts: usize,
    /// Where the programs are.
    pub(crate) programs: PathBuf,
    /// More arguments for the gateways.
    pub(crate) gateway_arguments: Vec<String>,
    /// The secret of the tokens.
    pub(crate) secret: String,
    /// Where logs are kept; a temporary directory otherwise.
    pub(crate) logs: Option<PathBuf>,
    /// Whether the way to a single Redis leads over wires that can break.
    pub(crate) wires: bool,
    /// More options of the rooms, as lines of the configuration.
    pub(crate) channels: String,
}

/// See the module's documentation. All of it ends with its value.
pub(crate) struct World {
    /// The gateways.
    pub(crate) gateways: Vec<Node>,
    /// The fanouts.
    pub(crate) fanouts: Vec<Node>,
    /// Redis.
    pub(crate) redis: Redis,
    /// Holds the configuration and, unless they are kept, the logs.
    _home: TempDir,
}

impl World {
    /// Starts everything.
    ///
    /// # Errors
    /// Something does not come up.
    pub(crate) async fn start(plan: &Plan) -> Result<Self> {
        let home = TempDir::with_prefix("chaos-")?;
        let config = home.path().join("switchboard.toml");
        fs::write(&config, format!("{CONFIG}{}", plan.channels))?;
        let logs = plan.logs.clone().unwrap_or_else(|| home.path().to_owned());
        fs::create_dir_all(&logs)?;
        let redis = Redis::start(plan.topology).await?;
        let mut world = Self { gateways: Vec::new(), fanouts: Vec::new(), redis, _home: home };
        for index in 0..plan.gateways {
            let node = world.node(plan, "gateway", index, &config, &logs, &plan.gateway_arguments).await?;
            world.gateways.push(node);
        }
        for index in 0..plan.fanouts {
            let node = world.node(plan, "fanout", index, &config, &logs, &[]).await?;
            world.fanouts.push(node);
        }
        Ok(world)
    }

    async fn node(
        &self,
        plan: &Plan,
        program: &str,
        index: usize,
        config: &Path,
        logs: &Path,
        more: &[String],
    ) -> Result<Node> {
        let path = plan.programs.join(program);
        ensure!(path.exists(), "{} is not there: cargo build -p switchboard-{program}", path.display());
        let name = format!("{program}-{index}");
        let (redis, wire) = self.redis.way(plan.wires).await?;
        let config = config.to_str().context("a path that is no text")?;
        // A drain as short as a test needs it.
        let own = ["--redis", &redis, "--config", config, "--drain-delay", "300ms", "--drain-time", "1s"];
        let arguments = own.iter().map(|word| (*word).to_owned()).chain(more.iter().cloned()).collect();
        let log = logs.join(format!("{name}.log"));
        Node::start(name, Program { path, arguments, secret: plan.secret.clone(), log }, wire).await
    }

    /// All processes but those of Redis, with their names.
    #[must_use]
    pub(crate) fn processes(&self) -> Vec<(String, u32)> {
        let nodes = self.gateways.iter().chain(&self.fanouts);
        nodes.filter_map(|node| Some((node.name.clone(), node.pid()?))).collect()
    }
}
