//! A position to which an event brings its clients, with what follows from it, found out once for all of them.

use std::cell::{OnceCell, RefCell};
use std::sync::Arc;

use bytes::Bytes;
use proto::{Channel, Position};
use smallvec::SmallVec;

use crate::wire::ws_frame;

/// See the module's documentation.
pub(crate) struct Milestone<'a> {
    pub(crate) channel: &'a Channel,
    pub(crate) position: Position,
    text: OnceCell<Arc<str>>,
    /// Events that end with nothing but this: the beginning, the number of the channel, and the whole.
    whole: RefCell<SmallVec<[(Bytes, u32, Bytes); 2]>>,
}

impl<'a> Milestone<'a> {
    pub(crate) const fn new(channel: &'a Channel, position: Position) -> Self {
        Self { channel, position, text: OnceCell::new(), whole: RefCell::new(SmallVec::new_const()) }
    }

    /// The text of the position, shared by those who have come there.
    pub(crate) fn text(&self) -> &Arc<str> {
        self.text.get_or_init(|| self.position.to_string().into())
    }

    /// An event for clients that have come further in this channel alone, which has the same number for most of them.
    pub(crate) fn whole(&self, begin: &Bytes, number: u32, end: impl FnOnce() -> String) -> Bytes {
        let mut whole = self.whole.borrow_mut();
        let is_same = |known: &Bytes| known.as_ptr() == begin.as_ptr() && known.len() == begin.len();
        if let Some((_, _, frame)) = whole.iter().find(|(known, of, _)| *of == number && is_same(known)) {
            return frame.clone();
        }
        let frame = ws_frame::whole_text(begin, &end());
        // Clients of many numbers share little.
        if whole.len() < SHARED {
            whole.push((begin.clone(), number, frame.clone()));
        }
        frame
    }
}

/// How many wholes are kept for others: a look through them has to be cheaper than building one.
const SHARED: usize = 8;
