//! Who came and who left a room, told to those who are there.

use broker::PresenceNews;
use proto::{Channel, Kind, Outgoing, Room};
use slab::Slab;

use super::{Frames, Hub, Subscriber};

impl Hub {
    /// Tells the sessions that are present in a room, except those of the user in question: whoever joins has `joined`
    /// for an answer, and who leaves knows. Like an ephemeral publication it is lost to whom it finds with a full queue.
    ///
    /// In a crowded room nothing is told: there is no frame for the number alone, which stands in each answer to `join`
    /// and `presence`.
    pub(super) fn tell_news(
        &self,
        channel: &Channel,
        subscribers: &mut Slab<Subscriber>,
        news: &PresenceNews,
    ) {
        if channel.kind() != Kind::Room {
            return;
        }
        let room = match Room::new(channel.name()) {
            Ok(room) => room,
            Err(error) => {
                tracing::error!(%channel, %error, "the channel of a room has no room's name");
                return;
            }
        };
        let (user, outgoing) = match news {
            PresenceNews::Joined { user, count } => {
                (user, Outgoing::MemberJoined { room: &room, user, user_count: *count })
            }
            PresenceNews::Left { user, count } => {
                (user, Outgoing::MemberLeft { room: &room, user, user_count: *count })
            }
            PresenceNews::Count(_) => return,
        };
        let mut frames = Frames::new(&self.endpoints);
        self.feed_all(subscribers, |subscriber| {
            if subscriber.member.as_ref().is_some_and(|member| *member != user.user)
                && let Some(frame) = frames.of(subscriber.peer.endpoint, &outgoing)
            {
                subscriber.peer.offer(frame);
            }
            true
        });
    }
}
