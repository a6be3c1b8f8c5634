//! The deadlines of a connection, one for each [`Timer`], in seconds on the node's own count.

use crate::peer::NEVER;
use crate::session::Timer;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Timers([u32; Timer::COUNT]);

impl Timers {
    pub(crate) const fn new() -> Self {
        Self([NEVER; Timer::COUNT])
    }

    /// Sets a timer, or clears it with [`NEVER`].
    pub(crate) fn set(&mut self, timer: Timer, second: u32) {
        if let Some(at) = self.0.get_mut(timer as usize) {
            *at = second;
        }
    }

    pub(crate) fn is_set(&self, timer: Timer) -> bool {
        self.0.get(timer as usize).is_some_and(|at| *at != NEVER)
    }

    /// The next deadline.
    pub(crate) fn next(&self) -> u32 {
        self.0.iter().copied().min().unwrap_or(NEVER)
    }

    /// Takes one that has run out.
    pub(crate) fn expire(&mut self, now: u32) -> Option<Timer> {
        let timer =
            Timer::ALL.into_iter().find(|timer| self.0.get(*timer as usize).is_some_and(|at| *at <= now))?;
        self.set(timer, NEVER);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_timer_runs_out_once_and_in_its_time() {
        let mut timers = Timers::new();
        assert_eq!((timers.next(), timers.expire(u32::MAX - 1)), (NEVER, None));
        timers.set(Timer::Token, 10);
        timers.set(Timer::Lag, 7);
        assert_eq!(timers.next(), 7);
        assert_eq!(timers.expire(6), None);
        assert_eq!((timers.expire(7), timers.expire(7)), (Some(Timer::Lag), None));
        timers.set(Timer::Token, NEVER);
        assert!(!timers.is_set(Timer::Token));
        assert_eq!(timers.next(), NEVER);
    }
}
