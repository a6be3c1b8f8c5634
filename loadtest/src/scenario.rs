//! What can be asked of a server.

mod churn;
mod fanout;
mod idle;
mod users;

pub use churn::Churn;
pub use fanout::Fanout;
pub use idle::Idle;
pub use users::Users;

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
    /// Clients that come, join, leave and go: what a visit costs.
    Churn(Churn),
}

impl Scenario {
    /// The floors that it is compared with. Joining differs only where
    /// several messages are published to one room.
    #[must_use]
    pub fn floors(&self) -> &'static [Writes] {
        match self {
            Self::Fanout(_) => &[Writes::Each, Writes::Joined],
            Self::Idle(_) | Self::Users(_) | Self::Churn(_) => &[Writes::Each],
        }
    }

    /// How many sockets this process will have open at once.
    #[must_use]
    pub fn sockets(&self) -> usize {
        match self {
            Self::Idle(idle) => idle.connections + 1,
            Self::Fanout(fanout) => fanout.receivers + fanout.in_flight.max(1),
            Self::Users(users) => users.users + users.publishers,
            Self::Churn(churn) => churn.at_once,
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
