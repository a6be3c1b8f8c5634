//! Detectors that a test build can switch off, to see that whoever checks the promises notices.
//!
//! Without the feature `chaos`, which no release has, every question here is answered at compile time: all detectors
//! are on and nothing is lost.

use proto::{Position, Step};

/// What finds that something was missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detector {
    /// A publication whose offset is not the next one.
    Hole,
    /// Nonces: the same offset with another publication, or one that does not name the one before.
    Chain,
    /// A subscription that was interrupted, after which the stream is read.
    Interruption,
    /// The comparison with the streams' tops now and then.
    Audit,
}

/// Whether these are the same place. Without nonces, any publication at the offset is.
pub fn same(one: Position, other: Position) -> bool {
    one == other || (is_off(Detector::Chain) && one.epoch == other.epoch && one.offset == other.offset)
}

/// Whether the step leads on from this place.
pub fn precedes(at: Position, step: &Step) -> bool {
    at.precedes(step) || (is_off(Detector::Chain) && same(at, step.before()))
}

#[cfg(not(feature = "chaos"))]
mod switches {
    use std::time::Duration;

    use super::Detector;

    /// Whether a test has switched this off.
    pub const fn is_off(_: Detector) -> bool {
        false
    }

    /// Whether a frame is to be lost on its way, without a word.
    pub const fn loses_one() -> bool {
        false
    }

    /// How often to audit; here what is usual.
    pub const fn audit(usual: Duration) -> Duration {
        usual
    }
}

#[cfg(feature = "chaos")]
mod switches {
    use std::sync::OnceLock;
    use std::time::Duration;

    use super::Detector;

    /// What a test wants.
    #[derive(Debug)]
    pub struct Switches {
        /// What is off.
        pub off: Vec<Detector>,
        /// How many of a hundred frames are lost on their way, without a word.
        pub lost: u32,
        /// How often to audit.
        pub audit: Option<Duration>,
    }

    static SWITCHES: OnceLock<Switches> = OnceLock::new();

    /// Sets the switches of this process, before anything uses them.
    pub fn set(switches: Switches) {
        // A process sets them once, at its start.
        let _ = SWITCHES.set(switches);
    }

    /// Whether a test has switched this off.
    pub fn is_off(detector: Detector) -> bool {
        SWITCHES.get().is_some_and(|switches| switches.off.contains(&detector))
    }

    /// Whether a frame is to be lost on its way, without a word.
    pub fn loses_one() -> bool {
        SWITCHES.get().is_some_and(|switches| rand::random_range(0..100) < switches.lost)
    }

    /// How often to audit.
    pub fn audit(usual: Duration) -> Duration {
        SWITCHES.get().and_then(|switches| switches.audit).unwrap_or(usual)
    }
}

pub use switches::*;
