//! Finds out that Sentinels name another primary while the old one still carries out commands, as where they are cut off from
//! it and this process is not.
//!
//! They are asked otherwise only when a connection breaks. What the old primary takes until then is lost when they
//! reach it again, although it was acknowledged.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::commands::Commands;
use super::link::finder::Finder;
use super::publishing::Publishing;

/// How often to ask.
const LOOK: Duration = Duration::from_secs(3);

/// Has those connections made anew that are not where the Sentinels say.
pub(super) async fn follow(mut finder: Finder, commands: Commands, publishing: Arc<Publishing>) {
    loop {
        sleep(LOOK.mul_f64(0.5 + rand::random::<f64>())).await;
        // Where nobody answers there is nothing to follow.
        if let Ok(owners) = finder.find().await {
            commands.leave_all_but(&owners).await;
            publishing.learn(owners);
        }
    }
}
