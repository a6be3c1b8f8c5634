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
pub(in crate::redis) struct Finder {
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
    pub(in crate::redis) fn new(config: &RedisConfig) -> Self {
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
    pub(in crate::redis) async fn find(&mut self) -> Result<Owners, LinkError> {
        let owners = match &self.kind {
            Kind::Standalone => self.seeds.first().cloned().map(Owners::all).ok_or(LinkError::Nowhere)?,
            Kind::Sentinel { service } => self.ask_sentinels(service).await?,
            Kind::Cluster => self.ask_nodes().await?,
        };
        self.found = owners.servers().cloned().collect();
        if self.found.is_empty() { Err(LinkError::Nowhere) } else { Ok(owners) }
    }

    /// The primary that the Sentinel with the newest configuration names.
    async fn ask_sentinels(&self, service: &str) -> Result<Owners, LinkError> {
        let answers = join_all(self.seeds.iter().map(|sentinel| self.ask_sentinel(sentinel, service))).await;
        let (mut newest, mut failed) = (None, LinkError::Nowhere);
        for answer in answers {
            match answer {
                Ok(answer) => newest = newest.max(Some(answer)),
                Err(error) => failed = error,
            }
        }
        newest.map(|(_, primary)| Owners::all(primary)).ok_or(failed)
    }

    async fn ask_sentinel(&self, sentinel: &Address, service: &str) -> Result<(i64, Address), LinkError> {
        let mut connection = self.dialer.dial(sentinel).await?;
        let status: [&[u8]; 3] = [b"SENTINEL", b"MASTER", service.as_bytes()];
        let epoch = connection.ask(&status, |reply| reply.field(b"config-epoch")?.integer()).await?;
        let primary: [&[u8]; 3] = [b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", service.as_bytes()];
        let primary = connection.ask(&primary, named_primary).await?;
        epoch.zip(primary).ok_or(LinkError::Nowhere)
    }

    /// What some of the nodes say, taken together.
    async fn ask_nodes(&self) -> Result<Owners, LinkError> {
        let mut nodes: Vec<&Address> = self.found.iter().chain(&self.seeds).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes.shuffle(&mut rand::rng());
        let (mut owners, mut failed) = (Owners::none(), LinkError::Nowhere);
        // The others only if none of those who were asked first answers.
        for witnesses in nodes.chunks(WITNESSES) {
            let answers = join_all(witnesses.iter().map(|node| self.ask_node(node))).await;
            let mut answered = false;
            for (node, answer) in witnesses.iter().zip(answers) {
                match answer {
                    Ok(answer) => {
                        owners.add(&answer, node, self.dialer.tls.is_some());
                        answered = true;
                    }
                    Err(error) => failed = error,
                }
            }
            if answered {
                return Ok(owners);
            }
        }
        Err(failed)
    }

    async fn ask_node(&self, node: &Address) -> Result<String, LinkError> {
        let mut connection = self.dialer.dial(node).await?;
        let text = |reply: &Value<'_>| Some(String::from_utf8_lossy(reply.text()?).into_owned());
        connection.ask(&[b"CLUSTER", b"NODES"], text).await?.ok_or(LinkError::Nowhere)
    }
}
