//! Finds out which servers have the channels: the one of the URL, the one that Sentinels name, or the nodes of a cluster.

use futures_util::future::join_all;
use rand::seq::SliceRandom;

use super::connection::{Dialer, LinkError};
use super::owners::{Owners, named_primary};
use super::resp::Value;
use crate::redis::{Address, RedisConfig, Topology};

/// How many nodes of a cluster are asked at once, so that one which lags behind or was cut off is outvoted.
const WITNESSES: usize = 3;

/// Whom to ask, and how.
pub(super) struct Finder {
    kind: Kind,
    seeds: Vec<Address>,
    /// The servers that were found last, which can be asked as well.
    found: Vec<Address>,
    dialer: Dialer,
}

enum Kind {
    Standalone,
    Sentinel { service: String },
    Cluster,
}

impl Finder {
    /// Knows where to begin; asks nobody yet.
    pub(super) fn new(config: &RedisConfig) -> Self {
        let (kind, credentials) = match config.topology() {
            Topology::Standalone => (Kind::Standalone, config.credentials()),
            Topology::Cluster => (Kind::Cluster, config.credentials()),
            Topology::Sentinel { service, credentials } => {
                (Kind::Sentinel { service: service.clone() }, credentials)
            }
        };
        let dialer =
            Dialer { credentials: credentials.clone(), tls: config.tls().cloned(), primary_only: false };
        Self { kind, seeds: config.seeds().to_vec(), found: Vec::new(), dialer }
    }

    /// Who has the channels now. The connections to ask by are closed again: it is not asked often.
    pub(super) async fn find(&mut self) -> Result<Owners, LinkError> {
        let owners = match &self.kind {
            Kind::Standalone => self.seeds.first().cloned().map(Owners::all),
            Kind::Sentinel { service } => self.ask_sentinels(service).await,
            Kind::Cluster => self.ask_nodes().await,
        };
        let owners = owners.ok_or(LinkError::Nowhere)?;
        self.found = owners.servers().cloned().collect();
        if self.found.is_empty() { Err(LinkError::Nowhere) } else { Ok(owners) }
    }

    /// The primary that the Sentinel with the newest configuration names.
    async fn ask_sentinels(&self, service: &str) -> Option<Owners> {
        let answers = join_all(self.seeds.iter().map(|sentinel| self.ask_sentinel(sentinel, service))).await;
        let newest = answers.into_iter().flatten().max_by_key(|(epoch, _)| *epoch)?;
        Some(Owners::all(newest.1))
    }

    async fn ask_sentinel(&self, sentinel: &Address, service: &str) -> Option<(i64, Address)> {
        let mut connection = self.dialer.dial(sentinel).await.ok()?;
        let status: [&[u8]; 3] = [b"SENTINEL", b"MASTER", service.as_bytes()];
        let epoch = |reply: &Value<'_>| reply.field(b"config-epoch")?.integer();
        let epoch = connection.ask(&status, epoch).await.ok()??;
        let primary: [&[u8]; 3] = [b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", service.as_bytes()];
        Some((epoch, connection.ask(&primary, named_primary).await.ok()??))
    }

    /// What some of the nodes say, taken together.
    async fn ask_nodes(&self) -> Option<Owners> {
        let mut nodes: Vec<&Address> = self.found.iter().chain(&self.seeds).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes.shuffle(&mut rand::rng());
        let mut owners = Owners::none();
        // The others only if those who were asked first do not answer.
        for witnesses in nodes.chunks(WITNESSES) {
            let answers = join_all(witnesses.iter().map(|node| self.ask_node(node))).await;
            for (node, answer) in witnesses.iter().zip(&answers) {
                if let Some(answer) = answer {
                    owners.add(answer, node, self.dialer.tls.is_some());
                }
            }
            if answers.iter().any(Option::is_some) {
                return Some(owners);
            }
        }
        None
    }

    async fn ask_node(&self, node: &Address) -> Option<String> {
        let mut connection = self.dialer.dial(node).await.ok()?;
        let text = |reply: &Value<'_>| Some(String::from_utf8_lossy(reply.text()?).into_owned());
        connection.ask(&[b"CLUSTER", b"NODES"], text).await.ok()?
    }
}
