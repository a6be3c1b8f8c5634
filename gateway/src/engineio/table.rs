//! The sessions of a server that are open, and what they have in common.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::agenda::Agenda;
use super::config::Config;
use super::link::Link;
use super::refusal::Refusal;

/// When a client that finds no place should come back, in seconds; spread, so that not all come together.
const COME_BACK: std::ops::RangeInclusive<u64> = 2..=10;

/// See the module's documentation.
pub(super) struct Table {
    config: Config,
    /// All sessions by their secret id, which is random: nobody can name one that they were not told.
    links: Mutex<HashMap<u128, Arc<Link>>>,
    agenda: Arc<Agenda>,
}

impl Table {
    pub(super) fn new(config: Config) -> Self {
        Self { config, links: Mutex::default(), agenda: Arc::default() }
    }

    pub(super) const fn config(&self) -> &Config {
        &self.config
    }

    pub(super) const fn agenda(&self) -> &Arc<Agenda> {
        &self.agenda
    }

    /// How many sessions there are.
    pub(super) fn len(&self) -> usize {
        self.links.lock().len()
    }

    /// The session of this id.
    pub(super) fn find(&self, id: u128) -> Option<Arc<Link>> {
        self.links.lock().get(&id).cloned()
    }

    /// A place for one more session.
    ///
    /// # Errors
    /// When there are as many as there may be.
    pub(super) fn add(&self) -> Result<Arc<Link>, Refusal> {
        let mut links = self.links.lock();
        if links.len() >= self.config.max_sessions {
            return Err(Refusal::Unavailable(Duration::from_secs(rand::random_range(COME_BACK))));
        }
        loop {
            let id = rand::random();
            if let Entry::Vacant(place) = links.entry(id) {
                let link = Arc::new(Link::new(id, self.config.queue_bytes, self.config.max_payload));
                return Ok(Arc::clone(place.insert(link)));
            }
        }
    }

    /// A session is over.
    pub(super) fn forget(&self, id: u128) {
        self.links.lock().remove(&id);
    }
}
