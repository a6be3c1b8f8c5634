//! Keeps sessions for clients that may come back to them, on any node, also when this one is gone without a word.
//!
//! A session is kept from its beginning and whenever its channels change, for somewhat longer than its client may stay
//! away; while the client is connected here, that time begins anew every few seconds.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};
use std::time::Duration;

use broker::{Broker, KeptKey, Unavailable};
use parking_lot::Mutex;
use proto::{Channel, Close, Position, Retry, SessionId};
use tokio::time;

use crate::peer::Peer;
use crate::peer::standing::{Record, Standing};

/// How often sessions of connected clients are prolonged.
const RENEWAL: Duration = Duration::from_secs(15);

/// For how much longer than its window a session is kept while its client is connected: one renewal may fail.
const SLACK: Duration = RENEWAL.saturating_mul(2);

/// How long to wait before a session is stored again that could not be.
const RETRY: Duration = Duration::from_millis(500);

/// See the module's documentation.
pub(crate) struct Keeper {
    broker: Arc<dyn Broker>,
    /// Those whose clients are connected here, by their keys.
    live: Mutex<HashMap<SessionId, Weak<Peer>>>,
}

impl Keeper {
    pub(crate) fn new(broker: Arc<dyn Broker>) -> Arc<Self> {
        Arc::new(Self { broker, live: Mutex::default() })
    }

    /// The session that a client wants to go on with.
    pub(crate) async fn recall(&self, key: &SessionId) -> Result<Option<Record>, Unavailable> {
        let kept = self.broker.kept(&KeptKey::Session(key.clone())).await?;
        Ok(kept.and_then(|kept| Record::decode(&kept)))
    }

    /// Keeps a session from here on. `resumed` is its name if it does not begin.
    pub(crate) async fn begin(
        &self,
        peer: &Arc<Peer>,
        standing: Standing,
        resumed: Option<SessionId>,
    ) -> Result<(), Unavailable> {
        let key = standing.key.clone();
        peer.stand(standing, resumed);
        self.live.lock().insert(key, Arc::downgrade(peer));
        self.store(peer).await
    }

    /// The session follows more channels from here on, its client being told of it only when that is kept.
    pub(crate) async fn enter(
        &self,
        peer: &Arc<Peer>,
        channels: impl Iterator<Item = (&Channel, Position)>,
    ) -> Result<(), Unavailable> {
        let entered =
            peer.standing(|standing| channels.for_each(|(channel, at)| standing.enter(channel, at)));
        if entered.is_some() { self.store(peer).await } else { Ok(()) }
    }

    /// The session follows a channel no more.
    pub(crate) fn leave(self: &Arc<Self>, peer: &Arc<Peer>, channel: &Channel) {
        if peer.standing(|standing| standing.leave(channel)).is_some() {
            let (keeper, peer) = (Arc::clone(self), Arc::downgrade(peer));
            tokio::spawn(async move {
                while let Some(peer) = peer.upgrade()
                    && keeper.store(&peer).await.is_err()
                {
                    drop(peer);
                    time::sleep(RETRY).await;
                }
            });
        }
    }

    /// The connection is over, with a close from here or without. Its client may come back, unless it left or is to stay
    /// away.
    pub(crate) fn end(self: &Arc<Self>, peer: &Arc<Peer>, close: Option<Close>) {
        let Some((key, window, is_given_up)) =
            peer.standing(|standing| (standing.key.clone(), standing.window, standing.is_given_up))
        else {
            return;
        };
        let is_mine = |live: &mut Weak<Peer>| std::ptr::eq(live.as_ptr(), Arc::as_ptr(peer));
        {
            let mut live = self.live.lock();
            if live.get_mut(&key).is_some_and(is_mine) {
                live.remove(&key);
            } else {
                // The client is back already.
                return;
            }
        }
        let stays_away = is_given_up || close.is_some_and(|close| close.retry() == Retry::Never);
        let (keeper, by) = (Arc::clone(self), peer.connection().clone());
        tokio::spawn(async move {
            // If this fails, it is kept for a little longer.
            if !stays_away {
                drop(keeper.broker.prolong(&[KeptKey::Session(key)], window).await);
            } else if let Ok(Some(record)) = keeper.recall(&key).await
                && record.by == by
            {
                drop(keeper.broker.discard(&KeptKey::Session(key)).await);
            }
        });
    }

    /// Prolongs the sessions of connected clients until the task is dropped.
    pub(crate) async fn run(&self) {
        loop {
            time::sleep(RENEWAL).await;
            let live: Vec<Arc<Peer>> = self.live.lock().values().filter_map(Weak::upgrade).collect();
            let mut windows: BTreeMap<Duration, Vec<(KeptKey, Arc<Peer>)>> = BTreeMap::new();
            for peer in live {
                if let Some((key, window)) = peer.standing(|standing| (standing.key.clone(), standing.window))
                {
                    windows.entry(window).or_default().push((KeptKey::Session(key), peer));
                }
            }
            for (window, sessions) in windows {
                let keys: Vec<KeptKey> = sessions.iter().map(|(key, _)| key.clone()).collect();
                let Ok(there) = self.broker.prolong(&keys, window + SLACK).await else { continue };
                // A store that forgot is told again.
                for ((_, peer), _) in sessions.iter().zip(there).filter(|(_, there)| !there) {
                    drop(self.store(peer).await);
                }
            }
        }
    }

    async fn store(&self, peer: &Arc<Peer>) -> Result<(), Unavailable> {
        let Some(storing) = peer.standing(|standing| Arc::clone(&standing.storing)) else { return Ok(()) };
        let _storing = storing.lock().await;
        let state = peer.standing(|standing| (standing.key.clone(), standing.window, standing.record()));
        let Some((key, window, record)) = state else { return Ok(()) };
        self.broker.keep(&KeptKey::Session(key), record, window + SLACK).await
    }
}
