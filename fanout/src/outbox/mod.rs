//! Deliveries: what clients published where a channel has `outbox = true` goes to the backend, at least once and in the order
//! of each channel.
//!
//! ```toml
//! [[outbox]]
//! match = "room:*"
//! url = "https://app.example/switchboard"
//! secret = { env = "OUTBOX_SECRET" }
//! ```
//!
//! Each letter is a webhook as Standard Webhooks says, under an id that stays the same however often it is sent. Instead of
//! a `url` a table may name a `stream`, a stream of Redis that the backend reads with a consumer group.

mod body;
mod compile;
mod course;
mod metrics;
mod receiver;
mod signer;
mod worker;

use std::sync::Arc;

use broker::Outbox;
use chassis::options::{Kind, Loaded, OptionSpec, OptionsError};
use prometheus::Registry;

pub(crate) use body::{Body, time, write};
use metrics::Metrics;
use receiver::{Receiver, Target};
pub use worker::Deliveries;

/// The row of the deliveries' options.
pub(crate) const OUTBOX: OptionSpec = OptionSpec {
    key: "outbox",
    kind: Kind::Tables(compile::RECEIVER),
    default: "",
    help: "Where what clients publish in channels that have `outbox` is delivered: to an address as signed webhooks, or to \
           a stream of Redis. The first table that fits a channel counts.",
};

/// To whom what waits for the backend is delivered.
#[derive(Debug, Clone, Default)]
pub struct Receivers(Vec<Arc<Receiver>>);

impl Receivers {
    /// Reads and compiles the tables.
    pub(crate) fn from_options(loaded: &Loaded) -> Result<Self, OptionsError> {
        Ok(Self(compile::receivers(loaded)?.into_iter().map(Arc::new).collect()))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The streams of Redis that are delivered to: a broker in memory has none.
    pub fn streams(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|receiver| match &receiver.target {
            Target::Stream(name, _) => Some(name.as_str()),
            Target::Url(_) => None,
        })
    }

    /// Starts to deliver, on the runtime that this is called in, counted in `registry`.
    ///
    /// # Errors
    /// When metrics of the same names are registered already.
    pub fn start(
        &self,
        outbox: Arc<dyn Outbox>,
        registry: &Registry,
    ) -> Result<Deliveries, prometheus::Error> {
        Ok(Deliveries::start(outbox, self.0.clone(), Metrics::register(registry)?))
    }
}
