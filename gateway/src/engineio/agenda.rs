//! When which session wants to be called: one task for all of them.
//!
//! A session has one deadline. It stands in the agenda at most once for the moment that counts; an entry that a later
//! deadline has overtaken is put back when its moment comes, so that moving a deadline forth costs nothing.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::sync::{Arc, Weak};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::sleep_until;

use super::link::Link;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    entries: Mutex<BinaryHeap<Reverse<Entry>>>,
    /// The first entry is earlier than it was.
    sooner: Notify,
}

#[derive(Debug)]
struct Entry {
    at: Instant,
    link: Weak<Link>,
}

impl Agenda {
    /// Calls a session at that moment, instead of any that it asked for before.
    pub(super) fn note(&self, link: &Arc<Link>, at: Instant) {
        let mut entries = self.entries.lock();
        let mut appointment = link.appointment().lock();
        if appointment.want(at) {
            let is_first = entries.peek().is_none_or(|Reverse(first)| at < first.at);
            entries.push(Reverse(Entry { at, link: Arc::downgrade(link) }));
            if is_first {
                self.sooner.notify_one();
            }
        }
    }

    /// Calls sessions until the task is dropped.
    pub(super) async fn run(&self) {
        loop {
            let next = self.call_due(Instant::now());
            match next {
                Some(at) => tokio::select! {
                    () = sleep_until(at.into()) => {}
                    () = self.sooner.notified() => {}
                },
                None => self.sooner.notified().await,
            }
        }
    }

    /// Calls those whose moment has come, and answers when the next one's comes.
    fn call_due(&self, now: Instant) -> Option<Instant> {
        let mut entries = self.entries.lock();
        loop {
            let mut first = entries.peek_mut()?;
            if first.0.at > now {
                return Some(first.0.at);
            }
            let later = first.0.link.upgrade().and_then(|link| link.keep_appointment(first.0.at, now));
            match later {
                Some(at) => first.0.at = at,
                None => drop(PeekMut::pop(first)),
            }
        }
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.at.cmp(&other.at)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;
    use std::time::Duration;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn links<const COUNT: usize>() -> [Arc<Link>; COUNT] {
        std::array::from_fn(|_| Arc::new(Link::new(0, 0, 0)))
    }

    fn was_called(link: &Link) -> bool {
        link.was_called(Waker::noop())
    }

    #[test]
    fn each_is_called_when_its_moment_has_come_and_once() {
        let (agenda, now) = (Agenda::default(), Instant::now());
        let [early, late] = links();
        agenda.note(&late, now + 20 * MS);
        agenda.note(&early, now + 10 * MS);
        assert_eq!(agenda.call_due(now), Some(now + 10 * MS));
        assert!(!was_called(&early) && !was_called(&late));
        assert_eq!(agenda.call_due(now + 10 * MS), Some(now + 20 * MS));
        assert!(was_called(&early) && !was_called(&late));
        assert_eq!(agenda.call_due(now + 30 * MS), None);
        assert!(!was_called(&early) && was_called(&late));
    }

    #[test]
    fn a_deadline_may_move_either_way() {
        let (agenda, now) = (Agenda::default(), Instant::now());
        let [later, sooner] = links();
        agenda.note(&later, now + 10 * MS);
        agenda.note(&later, now + 30 * MS);
        agenda.note(&sooner, now + 30 * MS);
        agenda.note(&sooner, now + 20 * MS);
        agenda.call_due(now + 20 * MS);
        assert!(!was_called(&later) && was_called(&sooner));
        assert_eq!(agenda.call_due(now + 30 * MS), None, "nothing is left over");
        assert!(was_called(&later) && !was_called(&sooner));
    }

    #[test]
    fn who_is_gone_is_forgotten() {
        let (agenda, now) = (Agenda::default(), Instant::now());
        let [link] = links();
        agenda.note(&link, now + MS);
        drop(link);
        assert_eq!(agenda.call_due(now + MS), None);
    }
}
