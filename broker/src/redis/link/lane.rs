//! One connection to one server, kept up: it dials, moves bytes between the socket and the [`Interest`], tells the sink,
//! and dials again.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use proto::Channel;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::select;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::connection::{Connection, Dialer, LinkError, Unread};
use super::interest::{Effect, Interest, Naming, Style};
use super::resp::Item;
use super::wishes::{Wish, Wishes};
use crate::Sink;
use crate::redis::Address;
use crate::redis::wire::{self, Message};

/// How long refused subscriptions are not worth another warning.
const COMPLAIN_AGAIN: Duration = Duration::from_secs(60);

/// What all lanes share.
pub(super) struct Shared {
    pub(super) sink: Arc<dyn Sink>,
    pub(super) style: Style,
    pub(super) naming: Naming,
    pub(super) dialer: Dialer,
    /// A connection was lost, or a server sent us elsewhere: look again who has which slots.
    pub(super) stale: Notify,
    /// A lane carried out the end of some wishes.
    pub(super) settled: Notify,
    /// How often a connection that had stood was made again.
    pub(super) reconnects: Arc<AtomicU64>,
}

/// A lane as others see it.
pub(super) struct Lane {
    pub(super) address: Address,
    pub(super) wishes: Wishes,
    /// Whether the connection stands.
    pub(super) connected: AtomicBool,
    /// How many channels are in force.
    pub(super) confirmed: AtomicU64,
    /// The lane is of no more use.
    pub(super) over: CancellationToken,
}

impl Lane {
    pub(super) fn new(address: Address) -> Self {
        Self {
            address,
            wishes: Wishes::default(),
            connected: AtomicBool::new(false),
            confirmed: AtomicU64::new(0),
            over: CancellationToken::new(),
        }
    }
}

/// Waits between attempts: doubling from 50 ms to a second, each shortened by up to a half so that nodes spread.
#[derive(Debug, Clone, Copy)]
struct Backoff(Duration);

impl Backoff {
    const FIRST: Duration = Duration::from_millis(50);
    /// Delivery is to go on within two seconds after a server is back.
    const LAST: Duration = Duration::from_secs(1);
    /// A connection that stood this long was a good one.
    const PROVEN: Duration = Duration::from_secs(5);

    const fn new() -> Self {
        Self(Self::FIRST)
    }

    /// The next wait; `random` is from 0 to 1.
    fn next(&mut self, random: f64) -> Duration {
        let wait = self.0.mul_f64(0.5 + random / 2.0);
        self.0 = (self.0 * 2).min(Self::LAST);
        wait
    }
}

/// Keeps a lane up until it is over.
pub(super) async fn run(lane: Arc<Lane>, shared: Arc<Shared>) {
    let over = lane.over.clone();
    over.run_until_cancelled(Box::pin(keep_up(lane, shared))).await;
}

async fn keep_up(lane: Arc<Lane>, shared: Arc<Shared>) {
    let interest = Interest::new(shared.style, shared.naming.clone());
    let mut driver = Driver { lane, shared, interest, complained: None };
    let (mut backoff, mut stood_before, mut told) = (Backoff::new(), false, false);
    loop {
        let (dialer, address) = (driver.shared.dialer.clone(), driver.lane.address.clone());
        match driver.meanwhile(dialer.dial(&address)).await {
            Ok(connection) => {
                info!(server = %address, "subscription connection stands");
                if std::mem::replace(&mut stood_before, true) {
                    driver.shared.reconnects.fetch_add(1, Ordering::Relaxed);
                }
                let start = Instant::now();
                let Err(error) = driver.drive(connection).await;
                driver.lost();
                warn!(server = %address, %error, "subscription connection lost");
                told = true;
                if start.elapsed() >= Backoff::PROVEN {
                    backoff = Backoff::new();
                }
            }
            Err(error) if told => debug!(server = %address, %error, "still no subscription connection"),
            Err(error) => {
                warn!(server = %address, %error, "no subscription connection");
                told = true;
            }
        }
        driver.shared.stale.notify_one();
        driver.meanwhile(tokio::time::sleep(backoff.next(rand::random()))).await;
    }
}

struct Driver {
    lane: Arc<Lane>,
    shared: Arc<Shared>,
    interest: Interest,
    /// When a refusal was last logged at a level that somebody reads.
    complained: Option<Instant>,
}

impl Driver {
    /// Waits for something while there is no connection, and takes note of wishes.
    async fn meanwhile<T>(&mut self, what: impl Future<Output = T>) -> T {
        let mut what = pin!(what);
        loop {
            self.heed();
            let lane = self.lane.clone();
            select! {
                done = &mut what => return done,
                () = lane.wishes.changed() => {}
            }
        }
    }

    /// Moves bytes until the connection fails.
    async fn drive(&mut self, connection: Connection) -> Result<Infallible, LinkError> {
        let Connection { stream, mut unread } = connection;
        let (mut reader, mut writer) = tokio::io::split(stream);
        let (mut out, mut unsent) = (BytesMut::new(), false);
        let lane = self.lane.clone();
        self.interest.handle_connected(Instant::now());
        lane.connected.store(true, Ordering::Relaxed);
        loop {
            self.heed();
            self.interest.poll_write(Instant::now(), &mut out)?;
            unsent |= out.has_remaining();
            lane.confirmed.store(self.interest.confirmed() as u64, Ordering::Relaxed);
            let deadline = self.interest.deadline();
            select! {
                biased;
                sent = send(&mut writer, &mut out), if unsent => {
                    sent?;
                    unsent = false;
                }
                // Before the deadline: after a pause of this process an answer may lie here, unread.
                filled = unread.fill(&mut reader) => {
                    filled?;
                    self.interest.handle_heard(Instant::now());
                    self.pass_all_on(&mut unread)?;
                }
                () = lane.wishes.changed() => {}
                () = until(deadline) => {}
            }
        }
    }

    /// A sink that panics must not end the lane, whose other channels would go silent without a word: it costs the
    /// connection, which tells them.
    fn pass_all_on(&mut self, unread: &mut Unread) -> Result<(), LinkError> {
        let passed_on = catch_unwind(AssertUnwindSafe(|| {
            let passed_on = unread.drain(|item| self.handle(item));
            self.tell();
            self.shared.sink.flush();
            passed_on
        }));
        passed_on.unwrap_or(Err(LinkError::Panicked))
    }

    fn handle(&mut self, item: Item<'_>) -> Result<(), LinkError> {
        match item {
            Item::Message { channel, payload } => {
                // What became of the subscriptions before this message is told before it.
                self.tell();
                self.pass_on(channel, payload);
            }
            Item::Push(push) => self.interest.handle_push(&push, Instant::now())?,
            Item::Reply(reply) => self.interest.handle_reply(&reply, Instant::now())?,
        }
        Ok(())
    }

    fn pass_on(&self, name: &[u8], payload: &[u8]) {
        let Some(channel) = self.interest.recipient(name) else { return };
        // A copy: a slice would keep the whole read buffer alive for as long as somebody holds the message.
        match wire::decode(&Bytes::copy_from_slice(payload)) {
            Some(Message::Frame(frame)) => self.shared.sink.frame(channel.as_str(), frame),
            Some(Message::Presence(news)) => self.shared.sink.presence(channel.as_str(), news),
            Some(Message::Control(payload)) => self.shared.sink.control(channel.as_str(), payload),
            None => {
                warn!(%channel, "a message that no node wrote");
                let channel = std::slice::from_ref(channel);
                self.shared.sink.interrupted(channel);
                self.shared.sink.subscribed(channel);
            }
        }
    }

    /// Takes note of what is wished.
    fn heed(&mut self) {
        for (channel, wish) in self.lane.wishes.take() {
            match wish {
                Wish::Want => self.interest.want(&channel),
                Wish::Forget => self.interest.forget(&channel),
                Wish::HandOver => self.interest.hand_over(&channel),
            }
        }
        self.tell();
        if self.lane.wishes.settle() {
            self.shared.settled.notify_one();
        }
    }

    fn lost(&mut self) {
        self.lane.connected.store(false, Ordering::Relaxed);
        self.lane.confirmed.store(0, Ordering::Relaxed);
        self.interest.handle_lost();
        self.tell();
    }

    fn tell(&mut self) {
        while let Some(effect) = self.interest.poll_effect() {
            match effect {
                Effect::Subscribed(channels) => self.shared.sink.subscribed(&channels),
                Effect::Interrupted(channels) => self.shared.sink.interrupted(&channels),
                Effect::Moved => self.shared.stale.notify_one(),
                Effect::Refused { channel, count, error } => self.complain(&channel, count, &error),
            }
        }
    }

    /// A server can refuse thousands of channels at once, and again each time.
    fn complain(&mut self, channel: &Channel, count: usize, error: &str) {
        let server = &self.lane.address;
        if self.complained.is_none_or(|last| last.elapsed() >= COMPLAIN_AGAIN) {
            self.complained = Some(Instant::now());
            warn!(%server, %channel, count, error, "subscription refused");
        } else {
            debug!(%server, %channel, count, error, "subscription refused");
        }
    }
}

/// Writes all of it. Safe to drop and call again.
async fn send(writer: &mut (impl AsyncWrite + Unpin), out: &mut BytesMut) -> Result<(), LinkError> {
    while out.has_remaining() {
        writer.write_buf(out).await?;
    }
    Ok(writer.flush().await?)
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_second_and_differ() {
        let mut backoff = Backoff::new();
        assert_eq!(backoff.next(1.0), Duration::from_millis(50));
        assert_eq!(backoff.next(0.0), Duration::from_millis(50));
        assert_eq!(backoff.next(1.0), Duration::from_millis(200));
        let waits: Vec<_> = (0..10).map(|_| backoff.next(1.0)).collect();
        assert_eq!(waits.last(), Some(&Duration::from_secs(1)));
    }
}
