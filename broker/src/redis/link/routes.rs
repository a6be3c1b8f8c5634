//! Which connection is to carry which channel.
//!
//! A channel never has two: when it moves, it is asked for at its new place only after the old one said that it is over
//! there. So whoever listens hears about one channel from one connection at a time, in order.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use proto::Channel;

use super::interest::Naming;
use super::lane::Lane;
use super::owners::Owners;
use super::slot::slot;
use crate::redis::Address;

/// Where everything that is wanted is, or is about to go.
pub(super) struct Routes {
    naming: Naming,
    /// How many connections to one server share its channels.
    shards: u16,
    owners: Owners,
    /// Those to each server, one for each shard.
    lanes: HashMap<Address, Vec<Arc<Lane>>>,
    /// What is wanted, with its slot.
    wanted: HashMap<Channel, u16>,
    /// What another lane is still busy with.
    waiting: HashSet<Channel>,
}

impl Routes {
    /// Nothing is wanted, and nobody has anything.
    pub(super) fn new(naming: Naming, shards: u16) -> Self {
        Self {
            naming,
            shards: shards.max(1),
            owners: Owners::none(),
            lanes: HashMap::new(),
            wanted: HashMap::new(),
            waiting: HashSet::new(),
        }
    }

    /// Each of these is wanted.
    pub(super) fn want(&mut self, channels: &[Channel]) {
        for channel in channels {
            if !self.wanted.contains_key(channel) {
                self.wanted.insert(channel.clone(), slot((self.naming)(channel).as_bytes()));
                self.place(channel);
            }
        }
    }

    /// None of these is wanted any more.
    pub(super) fn forget(&mut self, channels: &[Channel]) {
        for channel in channels {
            let Some(slot) = self.wanted.remove(channel) else { continue };
            if !self.waiting.remove(channel)
                && let Some(lane) = self.lane(slot)
            {
                lane.wishes.forget(channel);
            }
        }
    }

    /// Takes note of who has the slots now, and returns the lanes that this calls for and that are not running yet.
    pub(super) fn follow(&mut self, owners: Owners) -> Vec<Arc<Lane>> {
        if owners.agrees_with(&self.owners) {
            return Vec::new();
        }
        for (channel, slot) in &self.wanted {
            let (from, to) = (self.owners.of(*slot), owners.of(*slot));
            if from != to
                && self.waiting.insert(channel.clone())
                && let Some(lane) = self.lane(*slot)
            {
                lane.wishes.hand_over(channel);
            }
        }
        self.owners = owners;
        let mut started = Vec::new();
        for server in self.owners.servers() {
            if !self.lanes.contains_key(server) {
                let lanes: Vec<_> = (0..self.shards).map(|_| Arc::new(Lane::new(server.clone()))).collect();
                started.extend(lanes.iter().cloned());
                self.lanes.insert(server.clone(), lanes);
            }
        }
        self.settle();
        started
    }

    /// A lane carried out what it was told to end: places what waited for that, and ends lanes of no more use.
    pub(super) fn settle(&mut self) {
        for channel in std::mem::take(&mut self.waiting) {
            self.place(&channel);
        }
        let servers: HashSet<&Address> = self.owners.servers().collect();
        self.lanes.retain(|server, lanes| {
            let used = servers.contains(server) || lanes.iter().any(|lane| !lane.wishes.is_empty());
            if !used {
                lanes.iter().for_each(|lane| lane.over.cancel());
            }
            used
        });
    }

    /// Whether every lane that is needed stands.
    pub(super) fn is_connected(&self) -> bool {
        let mut needed = self.owners.servers().peekable();
        let stands = |lane: &Arc<Lane>| lane.connected.load(Ordering::Relaxed);
        needed.peek().is_some()
            && needed.all(|server| self.lanes.get(server).is_some_and(|lanes| lanes.iter().all(stands)))
    }

    /// How many channels are in force.
    pub(super) fn confirmed(&self) -> u64 {
        self.lanes.values().flatten().map(|lane| lane.confirmed.load(Ordering::Relaxed)).sum()
    }

    /// Asks for a channel where it is at home, as soon as no other lane acts for it.
    fn place(&mut self, channel: &Channel) {
        let Some(slot) = self.wanted.get(channel) else { return };
        let home = self.lane(*slot);
        let elsewhere = |lane: &&Arc<Lane>| home.is_none_or(|home| !Arc::ptr_eq(lane, home));
        if self.lanes.values().flatten().filter(elsewhere).any(|lane| lane.wishes.concern(channel)) {
            self.waiting.insert(channel.clone());
        } else if let Some(home) = home {
            home.wishes.want(channel);
        }
    }

    /// The lane of a slot, where its owner is known.
    fn lane(&self, slot: u16) -> Option<&Arc<Lane>> {
        self.lanes.get(self.owners.of(slot)?)?.get(usize::from(slot % self.shards))
    }
}

#[cfg(test)]
mod tests {
    use super::super::wishes::Wish;
    use super::*;
    use proptest::prelude::*;
    use std::sync::OnceLock;

    fn address(port: u16) -> Address {
        Address { host: "h".to_owned(), port }
    }

    fn channel(at: usize) -> Channel {
        Channel::parse(&format!("t/r/{at}")).unwrap()
    }

    fn routes() -> Routes {
        Routes::new(Arc::new(|channel: &Channel| channel.as_str().to_owned()), 1)
    }

    /// A cluster of two nodes; the second has the slots from `first` on.
    fn split(first: u16) -> Owners {
        let mut owners = Owners::none();
        let mut lines = String::new();
        if first > 0 {
            lines += &format!("a h:1@1 master - 0 0 1 connected 0-{}\n", first - 1);
        }
        if first < 16384 {
            lines += &format!("b h:2@2 master - 0 0 1 connected {first}-16383\n");
        }
        owners.add(&lines, &address(1), false);
        owners
    }

    fn lane(routes: &Routes, port: u16) -> Arc<Lane> {
        routes.lanes[&address(port)][0].clone()
    }

    #[test]
    fn what_is_wanted_before_anybody_has_it_is_placed_later() {
        let mut routes = routes();
        routes.want(&[channel(1), channel(2)]);
        routes.forget(&[channel(2)]);
        assert_eq!(routes.follow(Owners::all(address(1))).len(), 1);
        assert_eq!(lane(&routes, 1).wishes.take(), [(channel(1), Wish::Want)]);
    }

    #[test]
    fn a_channel_is_asked_for_at_its_new_place_only_when_the_old_one_is_done() {
        let mut routes = routes();
        routes.follow(Owners::all(address(1)));
        routes.want(&[channel(1)]);
        let old = lane(&routes, 1);
        assert_eq!(old.wishes.take().len(), 1);
        assert_eq!(routes.follow(Owners::all(address(2))).len(), 1);
        let new = lane(&routes, 2);
        assert_eq!(old.wishes.take(), [(channel(1), Wish::HandOver)]);
        routes.settle();
        assert_eq!(new.wishes.take(), [], "not while the old one carries it out");
        assert!(!old.over.is_cancelled());
        assert!(old.wishes.settle());
        routes.settle();
        assert_eq!(new.wishes.take(), [(channel(1), Wish::Want)]);
        assert!(old.over.is_cancelled(), "nothing is left to do there");
        assert_eq!(routes.lanes.len(), 1);
    }

    #[test]
    fn what_comes_back_before_it_has_left_stays() {
        let mut routes = routes();
        routes.follow(Owners::all(address(1)));
        routes.want(&[channel(1)]);
        let old = lane(&routes, 1);
        old.wishes.take();
        routes.follow(Owners::all(address(2)));
        assert!(routes.follow(Owners::all(address(1))).is_empty(), "its lane still runs");
        assert_eq!(old.wishes.take(), [(channel(1), Wish::Want)], "told anew");
    }

    static SPLITS: OnceLock<[Owners; 5]> = OnceLock::new();

    #[derive(Debug, Clone)]
    enum Step {
        Want(usize),
        Forget(usize),
        Follow(usize),
        Take(u16),
        Done(u16),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0usize..8).prop_map(Step::Want),
            (0usize..8).prop_map(Step::Forget),
            (0usize..5).prop_map(Step::Follow),
            (1u16..3).prop_map(Step::Take),
            (1u16..3).prop_map(Step::Done),
        ]
    }

    /// What a lane's task knows: what it is subscribed to, and what it took and has not carried out.
    #[derive(Default)]
    struct Task {
        on: HashSet<Channel>,
        taken: Vec<(Channel, Wish)>,
    }

    impl Task {
        fn take(&mut self, lane: &Lane) {
            // As in a lane's task, what was taken is carried out before more is.
            if self.taken.is_empty() {
                self.taken = lane.wishes.take();
            }
        }

        fn done(&mut self, lane: &Lane) {
            for (channel, wish) in std::mem::take(&mut self.taken) {
                match wish {
                    Wish::Want => self.on.insert(channel),
                    Wish::Forget | Wish::HandOver => self.on.remove(&channel),
                };
            }
            lane.wishes.settle();
        }
    }

    proptest! {
        #[test]
        fn a_channel_is_at_one_place_and_in_the_end_at_its_own(steps in prop::collection::vec(step(), 0..150)) {
            let splits = SPLITS.get_or_init(|| [0, 4000, 8000, 12000, 16384].map(split));
            let mut routes = routes();
            let mut tasks: HashMap<u16, (Arc<Lane>, Task)> = HashMap::new();
            let (mut wanted, mut owners) = (HashSet::new(), Owners::none());
            let finish = [Step::Take(1), Step::Done(1), Step::Take(2), Step::Done(2)];
            for step in steps.into_iter().chain(finish.into_iter().cycle().take(24)) {
                match step {
                    Step::Want(at) => {
                        wanted.insert(channel(at));
                        routes.want(&[channel(at)]);
                    }
                    Step::Forget(at) => {
                        wanted.remove(&channel(at));
                        routes.forget(&[channel(at)]);
                    }
                    Step::Follow(at) => {
                        owners = splits[at].clone();
                        for lane in routes.follow(owners.clone()) {
                            tasks.insert(lane.address.port, (lane, Task::default()));
                        }
                    }
                    Step::Take(port) => if let Some((lane, task)) = tasks.get_mut(&port) {
                        task.take(lane);
                    },
                    Step::Done(port) => if let Some((lane, task)) = tasks.get_mut(&port) {
                        task.done(lane);
                        routes.settle();
                    },
                }
                tasks.retain(|_, (lane, _)| !lane.over.is_cancelled());
                for at in 0..8 {
                    let places = tasks.values().filter(|(_, task)| task.on.contains(&channel(at))).count();
                    prop_assert!(places <= 1, "channel {} is at {} places", at, places);
                }
            }
            for at in 0..8 {
                let home = owners.of(slot(channel(at).as_str().as_bytes())).map(|address| address.port);
                for (port, (_, task)) in &tasks {
                    let here = wanted.contains(&channel(at)) && home == Some(*port);
                    prop_assert_eq!(task.on.contains(&channel(at)), here, "channel {} at {}", at, port);
                }
            }
            prop_assert!(routes.waiting.is_empty());
        }
    }
}
