//! Finds out that Sentinels name another primary while the old one still carries out commands, as where they are cut off from
//! it and this process is not.
//!
//! The client library asks them only when a connection breaks. What the old primary takes until then is lost when they
//! reach it again, although it was acknowledged.

use std::time::Duration;

use fred::clients::Pool;
use fred::interfaces::ClientLike;
use tokio::time::sleep;

use super::config::Address;
use super::link::finder::Finder;

/// How often to ask.
const LOOK: Duration = Duration::from_secs(3);

/// Has clients connect anew that are not where the Sentinels say.
pub(super) async fn follow(pool: Pool, mut finder: Finder) {
    loop {
        sleep(LOOK.mul_f64(0.5 + rand::random::<f64>())).await;
        // Where nobody answers there is nothing to follow.
        let Ok(owners) = finder.find().await else { continue };
        for client in pool.clients() {
            let strays = client.active_connections().into_iter().any(|server| {
                let at = Address { host: server.host.to_string(), port: server.port };
                !owners.servers().any(|owner| *owner == at)
            });
            if !strays {
                continue;
            }
            tracing::warn!("another redis server is the primary now; connecting to it");
            if let Err(error) = client.force_reconnection().await {
                tracing::debug!(%error, "connecting to the new primary failed");
            }
        }
    }
}
