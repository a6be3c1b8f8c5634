//! Who came and who left a room or the tenant, told to those who are there.

use broker::PresenceNews;
use proto::{Channel, Kind, Outgoing, PresenceEntry, Room};
use slab::Slab;

use super::{After, Frames, Hub, Subscriber};

impl Hub {
    /// Tells the sessions that are present in a room, or online, except those of the user in question: whoever comes has
    /// an answer, and who leaves knows. Like an ephemeral publication it is lost to whom it finds with a full queue.
    ///
    /// Where there is a crowd, its number is told instead of names.
    pub(super) fn tell_news(
        &self,
        channel: &Channel,
        subscribers: &mut Slab<Subscriber>,
        news: &PresenceNews,
    ) {
        if let PresenceNews::Count(user_count) = *news {
            let count = Outgoing::UserCount { channel: &channel.public_name(), user_count };
            return self.tell_present(subscribers, &count, None);
        }
        if channel.kind() == Kind::Everyone {
            return match news {
                PresenceNews::Joined { user, count } => {
                    let online = Outgoing::UserOnline { user, user_count: *count };
                    self.tell_present(subscribers, &online, Some(user));
                }
                PresenceNews::Left { user, count } => {
                    let offline = Outgoing::UserOffline { user, user_count: *count };
                    self.tell_present(subscribers, &offline, Some(user));
                }
                PresenceNews::Count(_) => {}
            };
        }
        let Ok(room) = Room::new(channel.name()) else {
            tracing::error!(%channel, "news of a channel that is no room");
            return;
        };
        match news {
            PresenceNews::Joined { user, count } => {
                let joined = Outgoing::MemberJoined { room: &room, user, user_count: *count };
                self.tell_present(subscribers, &joined, Some(user));
            }
            PresenceNews::Left { user, count } => {
                let left = Outgoing::MemberLeft { room: &room, user, user_count: *count };
                self.tell_present(subscribers, &left, Some(user));
            }
            PresenceNews::Count(_) => {}
        }
    }

    /// Tells those that are present, but for the sessions of one user.
    fn tell_present(
        &self,
        subscribers: &mut Slab<Subscriber>,
        outgoing: &Outgoing<'_>,
        but: Option<&PresenceEntry>,
    ) {
        let (mut frames, mut after) = (Frames::new(&self.endpoints), After::new(&self.endpoints));
        self.feed_all(subscribers, |subscriber| {
            let is_told =
                subscriber.member.as_ref().is_some_and(|member| but.is_none_or(|but| *member != but.user));
            if is_told {
                let endpoint = subscriber.peer.endpoint;
                let both = [frames.of(endpoint, outgoing), after.of(endpoint, outgoing)];
                for frame in both.into_iter().flatten() {
                    subscriber.peer.offer(frame);
                }
            }
            true
        });
    }
}
