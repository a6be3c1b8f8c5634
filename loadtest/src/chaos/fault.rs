//! What can be broken, and in which order a seed breaks it.

use std::time::Duration;

use clap::ValueEnum;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use serde::Serialize;

/// How the servers of Redis are organised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Topology {
    /// One server.
    Standalone,
    /// A primary and a replica behind three sentinels.
    Sentinel,
    /// Three masters.
    Cluster,
}

/// Something that breaks and is mended again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// A gateway dies (SIGKILL), and another starts in its place.
    KillGateway,
    /// A gateway is shut down (SIGTERM), and another starts in its place.
    StopGateway,
    /// A gateway stands still (SIGSTOP).
    FreezeGateway,
    /// A fanout dies.
    KillFanout,
    /// A fanout is shut down.
    StopFanout,
    /// The connections of a gateway to Redis break, and so do new ones.
    CutGateway,
    /// Between a gateway and Redis nothing arrives any more.
    StallGateway,
    /// A gateway's connections to Redis are dead, and it alone does not see that.
    ForsakeGateway,
    /// The same silence between a fanout and Redis.
    StallFanout,
    /// Redis dies, and comes back with what it had written.
    KillRedis,
    /// Redis stands still.
    FreezeRedis,
    /// Redis throws all subscribers out.
    DropSubscribers,
    /// Redis throws subscribers out who fall behind a little, and one does.
    TinyBuffers,
    /// A third of the clients read nothing, while much is published.
    SlowReaders,
    /// A slot with its keys moves to another node, several times.
    MoveSlot,
    /// Redis dies and comes back as it was a while ago; the gateways see it only when others have published anew.
    OldFile,
    /// Redis dies and comes back empty.
    EmptyRedis,
    /// The primary dies and its replica takes over.
    Failover,
    /// The same, when the replica had heard nothing for a while.
    StalledFailover,
    /// Sentinels are cut off from the primary and make its replica the primary, while the old one goes on as before.
    DeposePrimary,
}

impl Fault {
    /// Whether Redis may forget what it acknowledged.
    #[must_use]
    pub const fn loses(self) -> bool {
        matches!(
            self,
            Self::OldFile | Self::EmptyRedis | Self::Failover | Self::StalledFailover | Self::DeposePrimary
        )
    }

    /// Whether there is such a thing where Redis is organised like this. Only a single server is reached through wires
    /// that can be cut: of the others clients learn the addresses.
    #[must_use]
    pub const fn applies_to(self, topology: Topology) -> bool {
        match self {
            Self::KillGateway | Self::StopGateway | Self::FreezeGateway => true,
            Self::KillFanout | Self::StopFanout | Self::DropSubscribers | Self::SlowReaders => true,
            Self::CutGateway
            | Self::StallGateway
            | Self::ForsakeGateway
            | Self::StallFanout
            | Self::OldFile
            | Self::EmptyRedis => {
                matches!(topology, Topology::Standalone)
            }
            Self::KillRedis | Self::FreezeRedis | Self::TinyBuffers => {
                !matches!(topology, Topology::Sentinel)
            }
            Self::MoveSlot => matches!(topology, Topology::Cluster),
            Self::Failover | Self::StalledFailover | Self::DeposePrimary => {
                matches!(topology, Topology::Sentinel)
            }
        }
    }

    /// All that lose nothing and are possible there; with Sentinel also those that lose, for which it is there.
    #[must_use]
    pub fn usual(topology: Topology) -> Vec<Self> {
        let usual =
            |fault: &&Self| fault.applies_to(topology) && (!fault.loses() || topology == Topology::Sentinel);
        Self::value_variants().iter().filter(usual).copied().collect()
    }

    /// Its name as it is written on the command line.
    #[must_use]
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// One thing to break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// What.
    pub fault: Fault,
    /// How long all is left alone before.
    pub pause: Duration,
    /// How long it stays broken.
    pub hold: Duration,
    /// Which of several is hit: any number, taken modulo how many there are.
    pub target: usize,
}

/// The steps that follow from a seed, without end: rounds of all faults, each round in an order of its own.
#[derive(Debug)]
pub struct Plan {
    random: StdRng,
    faults: Vec<Fault>,
    round: Vec<Fault>,
}

impl Plan {
    /// A plan of these faults; without any it is empty.
    #[must_use]
    pub fn new(seed: u64, faults: Vec<Fault>) -> Self {
        Self { random: StdRng::seed_from_u64(seed), faults, round: Vec::new() }
    }
}

impl Iterator for Plan {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        if self.round.is_empty() {
            self.round.clone_from(&self.faults);
            self.round.shuffle(&mut self.random);
        }
        let fault = self.round.pop()?;
        // Now and then longer than anybody's patience: a probe's, a client's, a publisher's.
        let long = self.random.random_ratio(1, 4);
        let mut millis = |range| Duration::from_millis(self.random.random_range(range));
        Some(Step {
            fault,
            pause: millis(200..800),
            hold: millis(if long { 4000..7000 } else { 600..2000 }),
            target: self.random.random_range(0..usize::from(u16::MAX)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_steps_again_and_another_seed_others() {
        let steps = |seed| Plan::new(seed, Fault::usual(Topology::Standalone)).take(30).collect::<Vec<_>>();
        assert_eq!(steps(1), steps(1));
        assert_ne!(steps(1), steps(2));
    }

    #[test]
    fn every_fault_has_its_turn_in_each_round() {
        let faults = Fault::usual(Topology::Cluster);
        let mut round: Vec<_> =
            Plan::new(3, faults.clone()).take(faults.len()).map(|step| step.fault).collect();
        round.sort_unstable();
        assert_eq!(round, faults);
        assert_eq!(Plan::new(3, Vec::new()).next(), None);
    }

    #[test]
    fn usual_faults_lose_nothing_where_that_is_possible() {
        assert!(!Fault::usual(Topology::Standalone).iter().any(|fault| fault.loses()));
        assert!(Fault::usual(Topology::Sentinel).contains(&Fault::StalledFailover));
        assert!(Fault::usual(Topology::Cluster).contains(&Fault::MoveSlot));
    }
}
