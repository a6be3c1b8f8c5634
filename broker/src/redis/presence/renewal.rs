//! Keeps what this node noted from running out, a part of it with each renewal of the lease, and makes up for what failed.

use fred::interfaces::SetsInterface;
use futures_util::{StreamExt, stream};
use proto::{Channel, UserId};

use super::{IN_FLIGHT, NOTES_AT_ONCE, Present, new_life};
use crate::Unavailable;
use crate::redis::retry::Repeat;
use crate::redis::roll::Wish;

/// Each note is renewed once in this many renewals of the lease, so well within [`NOTES`](super::NOTES).
const ROUNDS: usize = 100;

impl Present {
    /// Renews the lease and a part of the notes. With the lease the notes are lost, and a new life notes all of them.
    pub(in crate::redis) async fn renew(&self) -> Result<(), Unavailable> {
        let outcome = self.renew_all().await;
        if outcome.is_err() {
            self.leases.distrust();
        }
        outcome
    }

    async fn renew_all(&self) -> Result<(), Unavailable> {
        let life = self.life();
        let lived = self.leases.renew(&life).await?;
        let due = if lived {
            self.roll.lock().take_due(ROUNDS)
        } else {
            self.leases.distrust();
            let life = new_life(&self.node);
            self.leases.begin(&life).await?;
            *self.life.lock() = life;
            let mut roll = self.roll.lock();
            roll.begin_anew();
            roll.take_due(1)
        };
        let past = (!lived).then_some(&*life);
        let mut noted = stream::iter(due)
            .map(|(channel, wishes)| async move { self.settle(&channel, wishes, past).await })
            .buffer_unordered(IN_FLIGHT);
        let mut outcome = Ok(());
        while let Some(one) = noted.next().await {
            outcome = outcome.and(one);
        }
        drop(noted);
        if outcome.is_err() {
            self.roll.lock().all_due();
        }
        outcome.and(self.unindex().await)
    }

    /// Makes true what is wished about a channel.
    /// `past` is the life before this one, if that has just ended.
    async fn settle(
        &self,
        channel: &Channel,
        wishes: Vec<(UserId, Wish)>,
        past: Option<&str>,
    ) -> Result<(), Unavailable> {
        let (mut present, mut absent) = (Vec::new(), Vec::new());
        for (user, wish) in wishes {
            match wish {
                Wish::Present(entry) => present.push((user, entry)),
                Wish::Absent => absent.push(user),
            }
        }
        if !present.is_empty() {
            self.index(channel).await?;
        }
        for present in present.chunks(NOTES_AT_ONCE) {
            self.note(channel, present).await?;
        }
        if !absent.is_empty() {
            self.remove_all(channel, &self.life(), absent.iter().collect()).await?;
        }
        match past {
            // After the new notes, so that nobody is seen to leave.
            Some(past) => self.bury_in(channel, past).await,
            None => Ok(()),
        }
    }

    /// Takes the channels out of the index that this node has nobody in any more.
    async fn unindex(&self) -> Result<(), Unavailable> {
        let emptied = self.roll.lock().take_emptied();
        let key = self.keys.index(&self.life());
        for channels in emptied.chunks(NOTES_AT_ONCE) {
            let names = channels.iter().map(|channel| channel.as_str().to_owned()).collect::<Vec<_>>();
            self.commands
                .run(Repeat::Harmless, |client, _| {
                    let (key, names) = (key.clone(), names.clone());
                    async move { client.srem::<(), _, _>(key, names).await }
                })
                .await?;
            // Somebody may have come meanwhile, and the two commands may have overtaken each other.
            for channel in channels {
                if self.roll.lock().knows(channel) {
                    self.index(channel).await?;
                }
            }
        }
        Ok(())
    }
}
