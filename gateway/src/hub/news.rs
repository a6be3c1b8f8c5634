//! Who came and who left a room or the tenant, told to those who are there.

use broker::PresenceNews;
use proto::{Channel, Kind, Outgoing, PresenceEntry, Room};
use slab::Slab;

use super::{Hub, Subscriber};
use crate::endpoint::PerEndpoint;

impl Hub {
    /// Tells the sessions that are present in a room, or online, except those of the user in question: whoever comes has
    /// an answer, and who leaves knows. Like an ephemeral publication it is lost to whom it finds with a full queue.
    ///
    /// Where there is a crowd, its number is told instead of names.
    pub(super) fn tell_news(&self, channel: &Channel, subscribers: &Slab<Subscriber>, news: &PresenceNews) {
        let (name, room) = (channel.public_name(), Room::new(channel.name()).ok());
        let room = room.as_ref().filter(|_| channel.kind() != Kind::Everyone);
        let (outgoing, but) = match (news, room) {
            (PresenceNews::Count(count), _) => {
                (Outgoing::UserCount { channel: &name, user_count: *count }, None)
            }
            (PresenceNews::Joined { user, count }, Some(room)) => {
                (Outgoing::MemberJoined { room, user, user_count: *count }, Some(user))
            }
            (PresenceNews::Left { user, count }, Some(room)) => {
                (Outgoing::MemberLeft { room, user, user_count: *count }, Some(user))
            }
            (PresenceNews::Joined { user, count }, None) => {
                (Outgoing::UserOnline { user, user_count: *count }, Some(user))
            }
            (PresenceNews::Left { user, count }, None) => {
                (Outgoing::UserOffline { user, user_count: *count }, Some(user))
            }
        };
        self.tell_present(subscribers, &outgoing, but);
    }

    /// Tells those that are present, but for the sessions of one user.
    fn tell_present(
        &self,
        subscribers: &Slab<Subscriber>,
        outgoing: &Outgoing<'_>,
        but: Option<&PresenceEntry>,
    ) {
        let (mut frames, mut after) = (PerEndpoint::new(&self.endpoints), PerEndpoint::new(&self.endpoints));
        let is_told = |subscriber: &Subscriber| {
            let is_other = but.is_none_or(|but| subscriber.peer.user() != Some(&but.user));
            subscriber.fed && subscriber.is_present && is_other
        };
        for (_, Subscriber { peer, .. }) in subscribers.iter().filter(|(_, subscriber)| is_told(subscriber)) {
            let both = [
                frames.of(peer.endpoint, |endpoint| endpoint.frame(outgoing, None)).flatten(),
                after.of(peer.endpoint, |endpoint| endpoint.frame_also(outgoing)).flatten(),
            ];
            for frame in both.into_iter().flatten() {
                peer.offer(frame);
            }
            self.flusher.add_later(peer);
            self.metrics.messages_sent.inc();
        }
    }
}
