//! What can be asked of a server.

mod avalanche;
mod churn;
mod fanout;
mod idle;
mod jitter;
mod publish;
mod users;
pub(crate) mod webhook;

pub use avalanche::Avalanche;
pub use churn::Churn;
pub use fanout::Fanout;
pub use idle::Idle;
pub use jitter::Jitter;
pub use publish::Publish;
pub use users::Users;
pub use webhook::Webhook;

use anyhow::Result;
use clap::Subcommand;
use serde::Serialize;

use crate::floor::Writes;
use crate::measurement::Measurement;
use crate::target::Target;

/// One of the scenarios, with its options.
#[derive(Debug, Clone, Subcommand, Serialize)]
#[serde(rename_all = "lowercase", tag = "scenario")]
pub enum Scenario {
    /// Connections that wait: memory each, and how fast they come.
    Idle(Idle),
    /// One room, many receivers: what a delivery costs.
    Fanout(Fanout),
    /// Many users, each with a channel of its own: what a message costs.
    Users(Users),
    /// Publishing over HTTP as fast as it goes, beside what Redis alone does.
    Publish(Publish),
    /// Signed webhooks at a steady pace: how long until clients have them.
    Webhook(Webhook),
    /// Clients that come, join, leave and go: what a visit costs.
    Churn(Churn),
    /// Everybody is cut at once: who comes back, and how fast.
    Avalanche(Avalanche),
    /// Connections are cut at random: what arrives all the same.
    Jitter(Jitter),
}

impl Scenario {
    /// The floors that it is compared with. Joining differs only where
    /// several messages are published to one room.
    #[must_use]
    pub fn floors(&self) -> &'static [Writes] {
        match self {
            Self::Fanout(_) => &[Writes::Each, Writes::Joined],
            Self::Idle(_) | Self::Users(_) | Self::Churn(_) => &[Writes::Each],
            // A floor keeps nothing for those who are away, and knows no HTTP.
            Self::Avalanche(_) | Self::Jitter(_) | Self::Publish(_) | Self::Webhook(_) => &[],
        }
    }

    /// Whether its clients come back to their sessions, which is told of
    /// Socket.IO alone.
    #[must_use]
    pub fn is_of_returning(&self) -> bool {
        matches!(self, Self::Avalanche(_) | Self::Jitter(_))
    }

    /// How many sockets this process will have open at once.
    #[must_use]
    pub fn sockets(&self) -> usize {
        match self {
            Self::Idle(idle) => idle.connections + 1,
            Self::Fanout(fanout) => fanout.receivers + fanout.in_flight.max(1),
            Self::Users(users) => users.users + users.publishers,
            Self::Churn(churn) => churn.at_once,
            Self::Publish(publish) => publish.connections + publish.receivers + 3,
            Self::Webhook(webhook) => webhook.senders + webhook.receivers,
            Self::Avalanche(avalanche) => avalanche.connections + 1,
            // Some have an old connection beside the new one.
            Self::Jitter(jitter) => 2 * jitter.receivers + 1,
        }
    }

    /// Runs one round.
    ///
    /// # Errors
    /// The target refuses something, hangs up, or a process of it ends.
    pub async fn measure(&self, target: &Target) -> Result<Measurement> {
        match self {
            Self::Idle(idle) => idle.measure(target).await,
            Self::Fanout(fanout) => fanout.measure(target).await,
            Self::Users(users) => users.measure(target).await,
            Self::Churn(churn) => churn.measure(target).await,
            Self::Publish(publish) => publish.measure(target).await,
            Self::Webhook(webhook) => webhook.measure(target).await,
            Self::Avalanche(avalanche) => avalanche.measure(target).await,
            Self::Jitter(jitter) => jitter.measure(target).await,
        }
    }
}

/// Reads a number of at least 1.
fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(_) => Err("must be a whole number".to_owned()),
    }
}

/// Reads a number of seconds, or of messages a second, above 0.
fn above_zero(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 => Ok(number),
        _ => Err("must be a number above 0".to_owned()),
    }
}
