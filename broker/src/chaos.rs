//! Detectors that a test build can switch off, to see that whoever checks the promises notices.
//!
//! A release has no switches: every question here is answered at compile time, all detectors are on and nothing is lost. A build
//! with debug assertions reads them from the environment: `CHAOS_DISABLE` names detectors, `CHAOS_LOSE` says how many of
//! a hundred frames to lose without a word, `CHAOS_AUDIT` how often to audit, in milliseconds.

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
    /// The question to a server that has been silent, on a connection that looks well.
    Probe,
    /// The look whether another server is the primary now, while nothing says so.
    Primary,
    /// A queue to a client that is full.
    Overflow,
}

/// Whether these are the same place. Without nonces, any publication at the offset is.
pub fn same(one: Position, other: Position) -> bool {
    one == other || (is_off(Detector::Chain) && one.epoch == other.epoch && one.offset == other.offset)
}

/// Whether the step leads on from this place.
pub fn precedes(at: Position, step: &Step) -> bool {
    at.precedes(step) || (is_off(Detector::Chain) && same(at, step.before()))
}

#[cfg(not(debug_assertions))]
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

#[cfg(debug_assertions)]
mod switches {
    use std::sync::LazyLock;
    use std::time::Duration;

    use super::Detector;

    /// What a test wants.
    struct Switches {
        off: Vec<Detector>,
        lost: u32,
        audit: Option<Duration>,
    }

    static SWITCHES: LazyLock<Switches> = LazyLock::new(|| {
        let said = |name| std::env::var(name).unwrap_or_default();
        Switches {
            off: said("CHAOS_DISABLE").split(',').filter_map(named).collect(),
            lost: said("CHAOS_LOSE").parse().unwrap_or_default(),
            audit: said("CHAOS_AUDIT").parse().ok().map(Duration::from_millis),
        }
    });

    fn named(name: &str) -> Option<Detector> {
        Some(match name {
            "hole" => Detector::Hole,
            "chain" => Detector::Chain,
            "interruption" => Detector::Interruption,
            "audit" => Detector::Audit,
            "probe" => Detector::Probe,
            "primary" => Detector::Primary,
            "overflow" => Detector::Overflow,
            _ => return None,
        })
    }

    /// Whether a test has switched this off.
    pub fn is_off(detector: Detector) -> bool {
        SWITCHES.off.contains(&detector)
    }

    /// Whether a frame is to be lost on its way, without a word.
    pub fn loses_one() -> bool {
        SWITCHES.lost > 0 && rand::random_range(0..100) < SWITCHES.lost
    }

    /// How often to audit.
    pub fn audit(usual: Duration) -> Duration {
        SWITCHES.audit.unwrap_or(usual)
    }
}

pub use switches::*;
