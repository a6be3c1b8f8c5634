//! Claims channels and follows the course of each: the part of deliveries that waits for others.

use std::sync::Arc;
use std::time::Duration;

use broker::{Claim, Outbox, Unavailable};
use proto::Timestamp;
use tokio::select;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::course::{BATCH, Course, Step};
use super::metrics::Metrics;
use super::receiver::Receiver;
use crate::api::now;

/// How long a claim stands without being renewed: so long the channels of a process that died wait for another.
const LEASE: Duration = Duration::from_secs(6);

/// A claim is renewed this often, and may fail to be twice.
const RENEWAL: Duration = Duration::from_secs(2);

/// How often to look for channels whose turn it is.
const LOOK: Duration = Duration::from_millis(150);

/// How many channels are worked on at a time, whoever receives what waits there.
const MOST: usize = 512;

/// How many are claimed with one look.
const CLAIMS: usize = 64;

/// How long a channel waits whose receiver has no place free.
const CROWDED: Duration = Duration::from_millis(500);

/// How long a channel waits for which there is no receiver. The configuration may change.
const UNWANTED: Duration = Duration::from_secs(30);

/// What a stop waits for letters under way.
const GOODBYE: Duration = Duration::from_secs(5);

/// The deliveries of one process.
pub struct Deliveries {
    shared: Arc<Shared>,
    tracker: TaskTracker,
}

struct Shared {
    outbox: Arc<dyn Outbox>,
    receivers: Vec<Arc<Receiver>>,
    metrics: Metrics,
    stopping: CancellationToken,
}

/// Until when a claim surely stands.
struct Lease {
    renew: Instant,
    until: Instant,
}

impl Deliveries {
    /// Starts to deliver, on the runtime that this is called in. Without receivers nothing is claimed.
    pub(super) fn start(outbox: Arc<dyn Outbox>, receivers: Vec<Arc<Receiver>>, metrics: Metrics) -> Self {
        let shared = Arc::new(Shared { outbox, receivers, metrics, stopping: CancellationToken::new() });
        let tracker = TaskTracker::new();
        if !shared.receivers.is_empty() {
            tracker.spawn(Arc::clone(&shared).look(tracker.clone()));
        }
        Self { shared, tracker }
    }

    /// Ends when the letters under way are settled, or soon. What is not acknowledged by then is delivered again, by
    /// whoever claims its channel next.
    pub async fn stop(&self) {
        self.shared.stopping.cancel();
        self.tracker.close();
        if timeout(GOODBYE, self.tracker.wait()).await.is_err() {
            tracing::warn!("stopped with deliveries to the backend under way; they are repeated");
        }
    }
}

impl Drop for Deliveries {
    fn drop(&mut self) {
        self.shared.stopping.cancel();
    }
}

impl Shared {
    /// Claims what can be claimed, until the stop.
    async fn look(self: Arc<Self>, tracker: TaskTracker) {
        while !self.stopping.is_cancelled() {
            // This task is one of them.
            let free = MOST.saturating_sub(tracker.len() - 1).min(CLAIMS);
            let begun = Instant::now();
            let mut found = 0;
            if free > 0 {
                match self.outbox.claim(free, LEASE).await {
                    Ok(claimed) => {
                        self.metrics.waits(&claimed, now());
                        found = claimed.claims.len();
                        for claim in claimed.claims {
                            tracker.spawn(Arc::clone(&self).take(claim, begun));
                        }
                    }
                    Err(Unavailable(reason)) => tracing::debug!(%reason, "looking for letters failed"),
                }
            }
            if found < free {
                self.stopping.run_until_cancelled(sleep(LOOK)).await;
            }
        }
    }

    /// Works on a channel that was claimed at `begun`.
    async fn take(self: Arc<Self>, claim: Claim, begun: Instant) {
        let name = claim.channel.public_name();
        let receiver = self.receivers.iter().find(|receiver| receiver.channels.matches(&name));
        let worked = match receiver.map(|receiver| (receiver, receiver.places.try_acquire())) {
            Some((receiver, Ok(_place))) => self.work(receiver, &claim, Lease::from(begun)).await,
            Some((_, Err(_))) => self.outbox.rest(&claim, CROWDED, claim.failures).await,
            None => self.outbox.rest(&claim, UNWANTED, claim.failures).await,
        };
        if let Err(Unavailable(reason)) = worked {
            // The claim runs out by itself.
            tracing::debug!(%reason, channel = %claim.channel, "the work on an outbox broke off");
        }
    }

    /// Follows the course of a channel's deliveries to its end, or until the claim is lost.
    async fn work(&self, receiver: &Receiver, claim: &Claim, mut lease: Lease) -> Result<(), Unavailable> {
        let mut course = Course::new(receiver.policy, claim.failures);
        loop {
            if self.stopping.is_cancelled() {
                course.stop();
            }
            match course.next() {
                Step::Advance(done) => course.found(self.outbox.advance(claim, &done, BATCH).await?),
                Step::Deliver(entry) => {
                    let begun = Instant::now();
                    let delivery = receiver.deliver(&*self.outbox, &claim.channel, &entry, now());
                    let Some(answer) = self.holding(claim, &mut lease, entry.since, delivery).await else {
                        return Err(Unavailable("the claim is lost".to_owned()));
                    };
                    self.metrics.attempt(&receiver.name, &answer, begun.elapsed());
                    course.answered(answer, rand::random());
                }
                Step::Bury(entry, reason) => {
                    let buried = self.outbox.bury(claim, &entry, &reason).await?;
                    if buried {
                        self.metrics.died(&receiver.name);
                        let id = entry.letter.id();
                        tracing::warn!(outbox = receiver.name, %id, reason, "a letter was given up");
                    }
                    course.buried(buried);
                }
                Step::Rest { done, rest, failures } => {
                    if !done.is_empty() {
                        self.outbox.advance(claim, &done, 1).await?;
                    }
                    return self.outbox.rest(claim, rest, failures).await;
                }
                Step::Finish => return self.outbox.finish(claim).await,
            }
        }
    }

    /// Does something under the claim, which is renewed meanwhile. `None` if it is lost: then it is not done to its end,
    /// since another worker may be at it.
    async fn holding<T>(
        &self,
        claim: &Claim,
        lease: &mut Lease,
        oldest: Timestamp,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        tokio::pin!(work);
        loop {
            select! {
                biased;
                () = sleep_until(lease.renew) => {
                    let begun = Instant::now();
                    match timeout_at(lease.until, self.outbox.renew(claim, LEASE, oldest)).await {
                        Ok(Ok(true)) => *lease = Lease::from(begun),
                        Ok(Err(_)) if Instant::now() < lease.until => lease.renew = Instant::now() + RENEWAL / 4,
                        Ok(Ok(false) | Err(_)) | Err(_) => return None,
                    }
                }
                done = &mut work => return Some(done),
            }
        }
    }
}

impl From<Instant> for Lease {
    /// That of a claim that was asked for then.
    fn from(begun: Instant) -> Self {
        Self { renew: begun + RENEWAL, until: begun + LEASE }
    }
}
