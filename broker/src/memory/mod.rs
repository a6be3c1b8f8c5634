//! The broker within one process: the nodes share a [`Store`] instead of a Redis.
//!
//! It keeps every promise of [`Broker`], so that what works here works on a cluster. What is known of a channel is a
//! value (`Topic`) behind the lock of its shard. Frames go to each node through its mailbox, filled under that lock,
//! which gives them the order of the stream; sinks are called without any lock.

mod answers;
mod devices;
mod directory;
mod kept;
mod mailbox;
mod memberships;
mod outbox;
mod places;
mod store;
mod topic;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use proto::{Channel, DeviceId, Durability, NodeId, Position, PresenceEntry, Room, Tenant, UserId};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::{
    Broker, Control, Frame, Health, History, HistoryQuery, KeptKey, Letter, Members, MembershipChange,
    MembershipError, Place, Presence, PresenceNews, Publish, PublishError, Published, Question, Reached,
    Sink, Unavailable,
};
use mailbox::{Event, Mailbox};
use topic::{Accepted, Message, Told, Topic};

pub use store::Store;

/// How long the number of users of a crowded channel may be out of date, and how often it is told at most.
const COUNT_TOLD: Duration = Duration::from_secs(1);

/// One node's handle on a [`Store`]. Dropping it closes it.
pub struct MemoryBroker {
    store: Store,
    name: NodeId,
    mailbox: Arc<Mailbox>,
    reader: Mutex<Option<JoinHandle<()>>>,
}

impl MemoryBroker {
    /// A node on the store. Handles are told apart even where they bear the same name.
    pub fn new(store: &Store, name: NodeId) -> Self {
        Self {
            store: store.clone(),
            name,
            mailbox: Arc::new(Mailbox::new(store.next_node())),
            reader: Mutex::new(None),
        }
    }

    /// Refuses the use of a closed handle. Asked under the lock of the channel's shard, so that [`leave`](Self::leave)
    /// finds whatever was done before.
    fn check(&self) -> Result<(), Unavailable> {
        if self.mailbox.is_closed() {
            return Err(Unavailable(format!("node {} is closed", self.name)));
        }
        Ok(())
    }

    /// Takes the node out of every channel.
    fn leave(&self) {
        self.mailbox.close();
        self.store.places().waive_all(self.mailbox.node());
        self.store.census().leave(self.mailbox.node());
        self.store.each(|channel, topic| {
            topic.unsubscribe(self.mailbox.node());
            for user in topic.held_by(self.mailbox.node()) {
                if let Some(news) = topic.release(self.mailbox.node(), &user) {
                    // Nobody waits for a node that is behind: whoever leaves does not publish any more.
                    self.tell(topic, channel, news);
                }
            }
        });
    }

    /// Tells the listeners some news, and the backend where it is told; gives those that are behind.
    fn tell(&self, topic: &mut Topic, channel: &Channel, news: PresenceNews) -> Vec<Arc<Mailbox>> {
        if let Some(most) = topic.reported {
            self.store.outboxes().report(channel, most, &news);
        }
        match topic.tell(news, self.store.presence_limit()) {
            Told::Now(news) => topic.deliver(|| Event::Presence(channel.clone(), news.clone())),
            Told::Later => Vec::new(),
            Told::NewlyLater => {
                let Ok(runtime) = Handle::try_current() else {
                    // Dropped outside of a runtime.
                    tell_count(topic, channel);
                    return Vec::new();
                };
                let (store, channel) = (self.store.clone(), channel.clone());
                runtime.spawn(async move {
                    tokio::time::sleep(COUNT_TOLD).await;
                    store.with(&channel, |topic, _| tell_count(topic, &channel));
                });
                Vec::new()
            }
        }
    }
}

impl Drop for MemoryBroker {
    fn drop(&mut self) {
        self.leave();
    }
}

#[async_trait]
impl Broker for MemoryBroker {
    /// Starts the task that calls the sink, on the runtime that this is called in.
    fn attach(&self, sink: Arc<dyn Sink>) {
        let reader = tokio::spawn(mailbox::read(Arc::clone(&self.mailbox), sink));
        self.reader.lock().replace(reader);
    }

    async fn publish(&self, channel: &Channel, publish: Publish) -> Result<Published, PublishError> {
        if publish.retention.is_some_and(|kept| kept.durability != Durability::Memory) {
            return Err(PublishError::Unsupported("the broker in memory has neither replicas nor a disk"));
        }
        let payload = publish.publication.encode().map_err(|error| Unavailable(error.to_string()))?;
        let outbox = publish.outbox;
        let message = Message {
            payload: payload.clone(),
            retention: publish.retention,
            idempotency: publish.idempotency.map(|key| (key, publish.fingerprint())),
        };
        let (published, full) = self.store.with(channel, |topic, now| {
            self.check()?;
            let outboxes = self.store.outboxes();
            let full = outbox.is_some_and(|most| outboxes.is_full(channel, most));
            match topic.publish(message, full, now)? {
                Accepted::Before(published) => Ok::<_, PublishError>((published, Vec::new())),
                Accepted::Now(step) => {
                    let frame = Frame { step, payload };
                    let full = topic.deliver(|| Event::Frame(channel.clone(), frame.clone()));
                    let position = step.map(|step| step.position);
                    if let (Some(position), true) = (position, outbox.is_some()) {
                        outboxes.push(channel, Letter::Message { position, payload: frame.payload });
                    }
                    Ok((Published { position, duplicate: false }, full))
                }
            }
        })?;
        // The message is in; what waits here is only the publisher, until the slowest node has caught up.
        for mailbox in full {
            mailbox.room().await;
        }
        Ok(published)
    }

    fn subscribe(&self, channels: &[Channel]) {
        if self.reader.lock().is_none() {
            tracing::error!(node = %self.name, "subscribe on a node without a sink has no effect");
            return;
        }
        for channel in channels {
            self.store.with(channel, |topic, _| {
                if self.check().is_ok() {
                    topic.subscribe(&self.mailbox, || Event::Subscribed(channel.clone()));
                }
            });
        }
    }

    fn unsubscribe(&self, channels: &[Channel]) {
        for channel in channels {
            self.store.with(channel, |topic, _| topic.unsubscribe(self.mailbox.node()));
        }
    }

    async fn history(&self, channel: &Channel, query: HistoryQuery) -> Result<History, Unavailable> {
        self.store.with(channel, |topic, now| {
            self.check()?;
            Ok(topic.history(query, now))
        })
    }

    async fn tops(&self, channels: &[Channel]) -> Result<Vec<Position>, Unavailable> {
        let top = |channel| {
            self.store.with(channel, |topic, now| {
                self.check()?;
                Ok(topic.top(now))
            })
        };
        channels.iter().map(top).collect()
    }

    async fn hold(
        &self,
        channel: &Channel,
        user: &PresenceEntry,
        outbox: Option<u32>,
    ) -> Result<u64, Unavailable> {
        let (count, full) = self.store.with(channel, |topic, _| {
            self.check()?;
            topic.reported = outbox;
            let (count, news) = topic.hold(self.mailbox.node(), user);
            let full = news.map(|news| self.tell(topic, channel, news)).unwrap_or_default();
            Ok((count, full))
        })?;
        for mailbox in full {
            mailbox.room().await;
        }
        Ok(count)
    }

    async fn release(&self, channel: &Channel, user: &UserId) -> Result<(), Unavailable> {
        let full = self.store.with(channel, |topic, _| {
            self.check()?;
            let news = topic.release(self.mailbox.node(), user);
            Ok(news.map(|news| self.tell(topic, channel, news)).unwrap_or_default())
        })?;
        for mailbox in full {
            mailbox.room().await;
        }
        Ok(())
    }

    async fn present(&self, channel: &Channel, limit: usize) -> Result<Presence, Unavailable> {
        self.store.with(channel, |topic, _| {
            self.check()?;
            Ok(topic.present(limit))
        })
    }

    async fn control(&self, channel: &Channel, payload: Bytes) -> Result<u64, Unavailable> {
        let (count, full) = self.store.with(channel, |topic, _| {
            self.check()?;
            Ok((topic.listening(), topic.deliver(|| Event::Control(channel.clone(), payload.clone()))))
        })?;
        for mailbox in full {
            mailbox.room().await;
        }
        Ok(count)
    }

    async fn answer(&self, question: &Question, answer: Bytes) -> Result<(), Unavailable> {
        self.check()?;
        self.store.answers().leave(question, answer);
        Ok(())
    }

    async fn answers(
        &self,
        question: &Question,
        count: u64,
        patience: Duration,
    ) -> Result<Vec<Bytes>, Unavailable> {
        self.check()?;
        Ok(self.store.answers().gather(question, count, patience).await)
    }

    async fn set_memberships(
        &self,
        tenant: &Tenant,
        user: &UserId,
        join: &[Room],
        leave: &[Room],
    ) -> Result<(), MembershipError> {
        self.check()?;
        let change = MembershipChange::new(join, leave);
        self.store.memberships().set(tenant, user, &change)?;
        self.control(&Channel::user(tenant, user), Control::Memberships(change).encode()).await?;
        Ok(())
    }

    async fn memberships(&self, tenant: &Tenant, user: &UserId) -> Result<Vec<Room>, Unavailable> {
        self.check()?;
        Ok(self.store.memberships().of(tenant, user))
    }

    async fn members(
        &self,
        tenant: &Tenant,
        room: &Room,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Members, Unavailable> {
        self.check()?;
        Ok(self.store.memberships().members(tenant, room, after, limit))
    }

    async fn claim(&self, place: &Place, again: bool) -> Result<bool, Unavailable> {
        self.check()?;
        let Some(sessions) = self.store.places().claim(place, again, self.mailbox.node()) else {
            return Ok(false);
        };
        if !sessions.is_empty() {
            self.control(&place.user, Control::Replaced(sessions).encode()).await?;
        }
        Ok(true)
    }

    async fn waive(&self, place: &Place) -> Result<(), Unavailable> {
        self.store.places().waive(place);
        Ok(())
    }

    async fn keep(&self, key: &KeptKey, value: Bytes, life: Duration) -> Result<(), Unavailable> {
        self.check()?;
        self.store.kept().keep(key, value, life);
        Ok(())
    }

    async fn kept(&self, key: &KeptKey) -> Result<Option<Bytes>, Unavailable> {
        self.check()?;
        Ok(self.store.kept().get(key))
    }

    async fn prolong(&self, keys: &[KeptKey], life: Duration) -> Result<Vec<bool>, Unavailable> {
        self.check()?;
        Ok(keys.iter().map(|key| self.store.kept().prolong(key, life)).collect())
    }

    async fn discard(&self, key: &KeptKey) -> Result<(), Unavailable> {
        self.check()?;
        self.store.kept().discard(key);
        Ok(())
    }

    async fn reach(&self, reached: &Reached) -> Result<(), Unavailable> {
        self.store.with(&reached.user, |topic, now| {
            self.check()?;
            topic.reach(reached, now);
            Ok(())
        })
    }

    async fn reached(&self, user: &Channel, device: &DeviceId) -> Result<Option<Position>, Unavailable> {
        self.store.with(user, |topic, _| {
            self.check()?;
            Ok(topic.devices.reached(device))
        })
    }

    fn health(&self) -> Health {
        let open = !self.mailbox.is_closed();
        Health { commands: open, subscriptions: open, reconnects: 0, channels: self.mailbox.subscriptions() }
    }

    /// Also waits until the sink's last call has returned.
    async fn close(&self) {
        self.leave();
        let reader = self.reader.lock().take();
        if let Some(reader) = reader {
            // The only error is a panic in the sink, which was reported when it happened.
            let _ = reader.await;
        }
    }
}

/// Tells the listeners of a crowded channel how many users are there.
fn tell_count(topic: &mut Topic, channel: &Channel) {
    if let Some(news) = topic.take_count() {
        topic.deliver(|| Event::Presence(channel.clone(), news.clone()));
    }
}
