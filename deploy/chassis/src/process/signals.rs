//! What signals do to the life of a process.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

use super::DrainConfig;
use crate::lifecycle::Lifecycle;

/// A person at a terminal does not wait for load balancers, nor long for clients.
const AT_A_TERMINAL: Duration = Duration::from_secs(3);

/// What the last connections get after the drain time, so that a goodbye that was sent in its last moment arrives.
const FLUSH: Duration = Duration::from_secs(2);

/// How a stop was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    /// SIGTERM: in good order.
    Terminate,
    /// SIGINT: soon.
    Interrupt,
}

/// The signals that ask for a stop.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes the signals over from the system.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Moves a life from phase to phase as signals come in.
    pub(super) async fn govern(mut self, lifecycle: Lifecycle, drain: DrainConfig) {
        let wish = self.next().await;
        let second = async { _ = self.next().await };
        stop(wish, second, &lifecycle, drain).await;
    }

    async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.terminate.recv() => Wish::Terminate,
            _ = self.interrupt.recv() => Wish::Interrupt,
        }
    }
}

/// Leaves, drains and ends; at once if a second signal comes.
async fn stop(wish: Wish, second: impl Future<Output = ()>, lifecycle: &Lifecycle, drain: DrainConfig) {
    let (delay, time) = match wish {
        Wish::Terminate => (drain.delay, drain.time),
        Wish::Interrupt => (Duration::ZERO, drain.time.min(AT_A_TERMINAL)),
    };
    tracing::info!(delay = ?delay, drain = ?time, "stopping");
    let in_order = async {
        lifecycle.leave();
        if !delay.is_zero() {
            sleep(delay).await;
        }
        lifecycle.drain(time);
        sleep(time + FLUSH).await;
    };
    tokio::select! {
        () = in_order => {}
        () = second => tracing::info!("a second signal: ending at once"),
    }
    lifecycle.end();
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::time::Instant;

    use super::*;
    use crate::lifecycle::Phase;

    const DRAIN: DrainConfig = DrainConfig { delay: Duration::from_secs(5), time: Duration::from_secs(120) };

    /// When each phase was reached, in seconds, and the drain time that was told.
    async fn course(wish: Wish, second: impl Future<Output = ()>) -> ([u64; 3], Duration) {
        let life = Lifecycle::new();
        let start = Instant::now();
        let at = async |phase| {
            life.reached(phase).await;
            start.elapsed().as_secs()
        };
        let (leaving, draining, ending, told, ()) = tokio::join!(
            at(Phase::Leaving),
            at(Phase::Draining),
            at(Phase::Ending),
            life.draining(),
            stop(wish, second, &life, DRAIN),
        );
        ([leaving, draining, ending], told)
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_is_told_to_terminate_leaves_in_good_order() {
        let course = course(Wish::Terminate, pending()).await;
        assert_eq!(course, ([0, 5, 127], Duration::from_secs(120)));
    }

    #[tokio::test(start_paused = true)]
    async fn at_a_terminal_it_is_over_in_seconds() {
        assert_eq!(course(Wish::Interrupt, pending()).await, ([0, 0, 5], Duration::from_secs(3)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_signal_ends_it() {
        assert_eq!(course(Wish::Terminate, sleep(Duration::from_secs(7))).await.0, [0, 5, 7]);
        assert_eq!(course(Wish::Terminate, ready(())).await, ([0, 0, 0], Duration::ZERO));
    }
}
