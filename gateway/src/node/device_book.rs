//! Tells the broker how far devices have got: the last news of each, together, once a second and when a session ends.
//!
//! Who comes back after this node was killed is given again what its device answered for since the last time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, Reached, Unavailable};
use futures_util::stream::{self, StreamExt};
use parking_lot::Mutex;
use proto::{Channel, DeviceId};
use tokio::sync::Notify;
use tokio::time;

/// How often the broker is told.
const PACE: Duration = Duration::from_secs(1);

/// How many devices it is told of at a time.
const AT_ONCE: usize = 64;

/// See the module's documentation.
pub(crate) struct DeviceBook {
    broker: Arc<dyn Broker>,
    /// What the broker does not know yet. Bounded by the number of sessions: none begins without the broker.
    news: Mutex<HashMap<(Channel, DeviceId), Reached>>,
    /// Held while the broker is told.
    telling: tokio::sync::Mutex<()>,
    hurry: Notify,
}

impl DeviceBook {
    pub(crate) fn new(broker: Arc<dyn Broker>) -> Arc<Self> {
        Arc::new(Self {
            broker,
            news: Mutex::default(),
            telling: tokio::sync::Mutex::default(),
            hurry: Notify::new(),
        })
    }

    /// A device has got so far.
    pub(crate) fn note(&self, reached: Reached) {
        let mut news = self.news.lock();
        let key = (reached.user.clone(), reached.device.clone());
        let is_further = |known: &Reached| {
            let (known, told) = (known.position, reached.position);
            known.epoch == told.epoch && known.offset > told.offset
        };
        if !news.get(&key).is_some_and(is_further) {
            news.insert(key, reached);
        }
    }

    /// A session of a device ended that has got so far: the next one may begin at once.
    pub(crate) fn end(&self, reached: Reached) {
        self.note(reached);
        self.hurry.notify_one();
    }

    /// Tells the broker until the task is dropped.
    pub(crate) async fn run(&self) {
        loop {
            tokio::select! {
                () = time::sleep(PACE) => {}
                () = self.hurry.notified() => {}
            }
            if let Err(Unavailable(reason)) = self.tell().await {
                tracing::debug!(reason, "how far devices have got could not be noted");
                // Those that end meanwhile do not make it answer sooner.
                time::sleep(PACE).await;
            }
        }
    }

    /// Tells the broker all that it does not know yet.
    pub(crate) async fn tell(&self) -> Result<(), Unavailable> {
        let _telling = self.telling.lock().await;
        let news = std::mem::take(&mut *self.news.lock());
        let mut told = stream::iter(news.into_values().map(|reached| async move {
            let told = self.broker.reach(&reached).await;
            (reached, told)
        }))
        .buffer_unordered(AT_ONCE);
        let mut outcome = Ok(());
        while let Some((reached, told)) = told.next().await {
            if let Err(error) = told {
                self.note(reached);
                outcome = Err(error);
            }
        }
        outcome
    }
}
