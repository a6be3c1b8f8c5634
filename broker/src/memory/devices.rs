//! How far the devices of one user have got.

use proto::{DeviceId, Position};
use tokio::time::Instant;

use crate::{DEVICES_MAX, Reached};

/// See the module's documentation. In the order in which they were last heard of.
#[derive(Default)]
pub(super) struct Devices {
    all: Vec<(DeviceId, Position)>,
    /// Until when this is remembered.
    until: Option<Instant>,
}

impl Devices {
    /// Notes how far one has got; `top` is the end of the stream.
    pub(super) fn reach(&mut self, reached: &Reached, top: Option<Position>, now: Instant) {
        let known = self.all.iter().position(|(device, _)| *device == reached.device);
        let known = known.map(|at| self.all.remove(at).1);
        let furthest = known.filter(|known| is_further(*known, reached.position, top));
        self.all.push((reached.device.clone(), furthest.unwrap_or(reached.position)));
        let surplus = self.all.len().saturating_sub(DEVICES_MAX);
        self.all.drain(..surplus);
        self.until = self.until.max(now.checked_add(reached.life));
    }

    pub(super) fn reached(&self, device: &DeviceId) -> Option<Position> {
        self.all.iter().find(|(known, _)| known == device).map(|(_, position)| *position)
    }

    pub(super) fn expire(&mut self, now: Instant) {
        if self.until.is_some_and(|until| until <= now) {
            *self = Self::default();
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

/// Whether a place that is known stands, and beyond the one that is told.
fn is_further(known: Position, told: Position, top: Option<Position>) -> bool {
    let current = top.filter(|top| top.epoch == known.epoch);
    if known.epoch != told.epoch {
        return current.is_some();
    }
    // What lies beyond the stream was lost, and is no place to hold on to.
    known.offset > told.offset && current.is_none_or(|top| known.offset <= top.offset)
}
