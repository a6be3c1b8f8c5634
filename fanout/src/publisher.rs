//! Carries orders out: bounded work at a time, the order within a channel kept, everything before a deadline.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, IdempotencyKey, Publish, PublishError, Published, Retention};
use futures_util::{StreamExt, stream};
use proto::{Channel, ChannelRules, Publication, Timestamp};
use tokio::time::{Instant, timeout_at};

use crate::refusal::Refusal;
use crate::request::Order;

/// How many channels of one call are published to at a time. Enough to hide a round trip to Redis, few enough that one
/// large batch leaves room for other calls.
const WIDTH: usize = 32;

/// What became of one order: for each of its channels the outcome, in the order's own order.
pub(crate) type Outcome<'a> = Vec<(&'a Channel, Result<Published, Refusal>)>;

/// Publishes orders through the broker.
pub(crate) struct Publisher {
    broker: Arc<dyn Broker>,
    rules: ChannelRules,
}

/// One message for one channel, and which place its outcome has.
struct Step<'a> {
    place: (usize, usize),
    channel: &'a Channel,
    order: &'a Order,
}

impl Publisher {
    pub(crate) fn new(broker: Arc<dyn Broker>, rules: ChannelRules) -> Self {
        Self { broker, rules }
    }

    pub(crate) const fn broker(&self) -> &Arc<dyn Broker> {
        &self.broker
    }

    pub(crate) const fn rules(&self) -> &ChannelRules {
        &self.rules
    }

    /// Publishes every order to every one of its channels.
    ///
    /// Orders to the same channel are published one after the other, as they stand; where one could not be stored, those
    /// after it are not tried, so that repeating them keeps their order. `publisher` separates callers that may choose
    /// the same ids. What is not done by the deadline, later by what a durable message may take, is [`Refusal::Unavailable`].
    pub(crate) async fn publish<'a>(
        &self,
        publisher: &str,
        orders: &'a [Order],
        now: Timestamp,
        deadline: Instant,
    ) -> Vec<Outcome<'a>> {
        // Most calls have one message for one channel, and nothing to sort.
        if let [order] = orders
            && let [channel] = order.channels.as_slice()
        {
            let step = Step { place: (0, 0), channel, order };
            return vec![vec![(channel, self.store(publisher, &step, now, deadline).await)]];
        }
        let mut lanes = Vec::new();
        for lane in into_lanes(orders) {
            lanes.push(self.follow(publisher, lane, now, deadline));
        }
        let mut done = stream::iter(lanes).buffer_unordered(WIDTH).concat().await;
        done.sort_unstable_by_key(|(place, ..)| *place);
        let mut done = done.into_iter();
        orders
            .iter()
            .map(|order| {
                done.by_ref()
                    .take(order.channels.len())
                    .map(|(_, channel, result)| (channel, result))
                    .collect()
            })
            .collect()
    }

    async fn follow<'a>(
        &self,
        publisher: &str,
        lane: Vec<Step<'a>>,
        now: Timestamp,
        deadline: Instant,
    ) -> Vec<((usize, usize), &'a Channel, Result<Published, Refusal>)> {
        let mut done = Vec::with_capacity(lane.len());
        let mut away = false;
        for step in lane {
            let result = if away {
                Err(Refusal::Unavailable)
            } else {
                self.store(publisher, &step, now, deadline).await
            };
            away |= result.as_ref().is_err_and(Refusal::holds_up);
            done.push((step.place, step.channel, result));
        }
        done
    }

    async fn store(
        &self,
        publisher: &str,
        Step { channel, order, .. }: &Step<'_>,
        now: Timestamp,
        deadline: Instant,
    ) -> Result<Published, Refusal> {
        let options = self.rules.of(channel);
        let mut retention = if order.ephemeral { None } else { Retention::of(options) };
        if let (Some(retention), Some(asked)) = (&mut retention, order.durability) {
            retention.durability = asked;
        }
        let patience = retention.map_or(Duration::ZERO, |kept| broker::patience(kept.durability));
        let publish = Publish {
            publication: Publication {
                event: order.event.clone(),
                data: order.data.clone(),
                binary: order.binary.clone(),
                id: order.id.clone(),
                from: None,
                timestamp: now,
            },
            retention,
            idempotency: order.idempotency.as_ref().map(|id| {
                let key = IdempotencyKey::new(publisher, id);
                order.remembered.map_or(key, |window| key.kept_for(window))
            }),
            // The backend knows what it says itself.
            outbox: None,
        };
        match timeout_at(deadline + patience, self.broker.publish(channel, publish)).await {
            Ok(Ok(published)) => Ok(published),
            Ok(Err(PublishError::Conflict)) => Err(Refusal::Conflict),
            Ok(Err(PublishError::OutboxFull)) => Err(Refusal::Unavailable),
            Ok(Err(PublishError::Unconfirmed)) => Err(Refusal::Unconfirmed),
            Ok(Err(PublishError::Unsupported(reason))) => Err(Refusal::Unsupported(reason)),
            Ok(Err(PublishError::Unavailable(reason))) => {
                tracing::debug!(%reason, "publish failed");
                Err(Refusal::Unavailable)
            }
            Err(_) => Err(Refusal::Unavailable),
        }
    }
}

/// Sorts what is to be done by channel, keeping the order within each.
fn into_lanes(orders: &[Order]) -> Vec<Vec<Step<'_>>> {
    let mut lanes: Vec<Vec<Step<'_>>> = Vec::new();
    let mut of_channel: HashMap<&Channel, usize> = HashMap::new();
    for (item, order) in orders.iter().enumerate() {
        for (slot, channel) in order.channels.iter().enumerate() {
            let step = Step { place: (item, slot), channel, order };
            let lane = *of_channel.entry(channel).or_insert(lanes.len());
            match lanes.get_mut(lane) {
                Some(lane) => lane.push(step),
                None => lanes.push(vec![step]),
            }
        }
    }
    lanes
}
