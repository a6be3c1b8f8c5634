//! What a client is told, as outgoing rules know it: the kinds, and the values that each of them has.

use std::borrow::Cow;

use crate::message::{HistoryItem, Outgoing, PresenceEntry, RequestId};
use crate::name::{Room, UserId};
use crate::position::Position;
use crate::profile::Profile;
use crate::publication::{Publication, Timestamp};
use crate::template::{Holds, Step, Values, Variable, quote, reach};

macro_rules! kinds {
    ($($name:ident = $word:literal: $($value:ident)*;)+) => {
        /// The kinds of what a client is told.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub(super) enum Kind {
            $($name,)+
        }

        impl Kind {
            pub(super) const ALL: &[(&'static str, Self)] = &[$(($word, Self::$name),)+];

            pub(super) const fn of(outgoing: &Outgoing<'_>) -> Self {
                match outgoing { $(Outgoing::$name { .. } => Self::$name,)+ }
            }

            /// Whether a value can be there in this kind.
            pub(super) fn has(self, value: Said) -> bool {
                let own: &[Said] = match self { $(Self::$name => &[$(Said::$value,)*],)+ };
                matches!(value, Said::Id | Said::Timestamp) || own.contains(&value)
            }
        }
    };
}

kinds! {
    Welcome = "welcome": Node Heartbeat Authenticated;
    AuthSuccess = "auth_success": User Session ExpiresAt Positions;
    Joined = "joined": Room Channel Position Offset Recovered UserCount;
    Left = "left": Room Channel;
    Added = "added": Room Channel Position Offset UserCount;
    Removed = "removed": Room Channel;
    Published = "published": Room Channel MessageId Position Offset Duplicate;
    Message = "message": Event Data Channel Room User MessageId Position Offset;
    MemberJoined = "member_joined": Room Channel User UserCount;
    MemberLeft = "member_left": Room Channel User UserCount;
    UserOnline = "user_online": User UserCount;
    UserOffline = "user_offline": User UserCount;
    UserCount = "user_count": Channel Room UserCount;
    Online = "online": Users UserCount;
    Presence = "presence": Room Channel Users UserCount;
    History = "history": Room Channel Messages Position Offset More;
    Gap = "gap": Channel Room Reason Position Offset;
    Draining = "draining": ReconnectAfter;
    Error = "error": Code Message Retryable Room Channel MessageId;
    Ping = "ping":;
    Pong = "pong":;
}

macro_rules! said {
    ($($name:ident = $word:literal, $holds:ident;)+) => {
        /// What the placeholders of outgoing rules name.
        #[derive(Debug, Clone, Copy, PartialEq)]
        pub(super) enum Said {
            $($name,)+
        }

        impl Variable for Said {
            const ALL: &'static [(&'static str, Self, Holds)] = &[$(($word, Self::$name, Holds::$holds),)+];
        }
    };
}

said! {
    Id = "id", Scalar;
    Timestamp = "timestamp", Scalar;
    Event = "event", Scalar;
    Data = "data", Json;
    Channel = "channel", Scalar;
    Room = "room", Scalar;
    User = "user", Json;
    UserCount = "userCount", Scalar;
    Users = "users", Json;
    Messages = "messages", Json;
    MessageId = "messageId", Scalar;
    Position = "position", Scalar;
    Offset = "offset", Scalar;
    Session = "session", Scalar;
    ExpiresAt = "expiresAt", Scalar;
    Positions = "positions", Json;
    Node = "node", Scalar;
    Heartbeat = "heartbeat", Scalar;
    Authenticated = "authenticated", Scalar;
    Recovered = "recovered", Scalar;
    Duplicate = "duplicate", Scalar;
    More = "more", Scalar;
    Reason = "reason", Scalar;
    ReconnectAfter = "reconnectAfter", Scalar;
    Code = "code", Scalar;
    Message = "message", Scalar;
    Retryable = "retryable", Scalar;
}

/// What a client is told, with what every frame may carry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Telling<'a> {
    pub(super) outgoing: &'a Outgoing<'a>,
    pub(super) id: Option<&'a RequestId>,
    pub(super) now: Timestamp,
}

impl Values<Said> for Telling<'_> {
    fn get(&self, said: Said, path: &[Step]) -> Option<Cow<'_, str>> {
        let whole = match said {
            // The one value that is large: borrowed, however deep.
            Said::Data => return reach(self.publication()?.data.get(), path).map(Cow::Borrowed),
            Said::User => return self.user()?.get(path),
            Said::Users | Said::Messages | Said::Positions => {
                let list = self.list(said)?;
                return reach(&list, path).map(|found| Cow::Owned(found.to_owned()));
            }
            Said::Id => return self.id.map(|id| Cow::Borrowed(id.as_json())),
            _ => self.scalar(said)?,
        };
        path.is_empty().then_some(Cow::Owned(whole))
    }
}

impl<'a> Telling<'a> {
    const fn publication(&self) -> Option<&'a Publication> {
        match self.outgoing {
            Outgoing::Message { publication, .. } => Some(publication),
            _ => None,
        }
    }

    fn user(&self) -> Option<Person<'a>> {
        match self.outgoing {
            Outgoing::AuthSuccess { session, .. } => Some(Person {
                user: &session.user,
                name: session.name.as_deref(),
                profile: session.profile.as_ref(),
            }),
            Outgoing::Message { publication, .. } => Person::sender(publication),
            Outgoing::MemberJoined { user, .. }
            | Outgoing::MemberLeft { user, .. }
            | Outgoing::UserOnline { user, .. }
            | Outgoing::UserOffline { user, .. } => Some(Person::entry(user)),
            _ => None,
        }
    }

    fn list(&self, said: Said) -> Option<String> {
        match (said, self.outgoing) {
            (Said::Users, Outgoing::Presence { users, .. } | Outgoing::Online { users, .. }) => {
                Some(list(users.iter().map(|user| Person::entry(user).whole())))
            }
            (Said::Messages, Outgoing::History { items, .. }) => Some(list(items.iter().map(item))),
            (Said::Positions, Outgoing::AuthSuccess { positions, .. }) => {
                let field = |(channel, at): &(String, Position)| format!("{}:\"{at}\"", quote(channel));
                Some(format!("{{{}}}", positions.iter().map(field).collect::<Vec<_>>().join(",")))
            }
            _ => None,
        }
    }

    fn position(&self) -> Option<Position> {
        match self.outgoing {
            Outgoing::Joined { position, .. }
            | Outgoing::Added { position, .. }
            | Outgoing::Published { position, .. }
            | Outgoing::Message { position, .. } => *position,
            Outgoing::History { position, .. } | Outgoing::Gap { position, .. } => Some(*position),
            _ => None,
        }
    }

    fn room(&self) -> Option<&'a str> {
        match self.outgoing {
            Outgoing::Joined { room, .. }
            | Outgoing::Left { room }
            | Outgoing::Added { room, .. }
            | Outgoing::Removed { room }
            | Outgoing::Published { room, .. }
            | Outgoing::MemberJoined { room, .. }
            | Outgoing::MemberLeft { room, .. }
            | Outgoing::Presence { room, .. }
            | Outgoing::History { room, .. } => Some(room.as_str()),
            Outgoing::Message { channel, .. }
            | Outgoing::Gap { channel, .. }
            | Outgoing::UserCount { channel, .. } => channel.strip_prefix("room:"),
            Outgoing::Error { about, .. } => about.and_then(|about| about.room.as_ref()).map(Room::as_str),
            _ => None,
        }
    }

    /// The JSON text of a value that has nothing inside.
    fn scalar(&self, said: Said) -> Option<String> {
        Some(match (said, self.outgoing) {
            (Said::Room, _) => quote(self.room()?),
            (
                Said::Channel,
                Outgoing::Message { channel, .. }
                | Outgoing::Gap { channel, .. }
                | Outgoing::UserCount { channel, .. },
            ) => quote(channel),
            (Said::Channel, _) => quote(&format!("room:{}", self.room()?)),
            (Said::Position, _) => quote(&self.position()?.to_string()),
            (Said::Offset, _) => self.position()?.offset.to_string(),
            (Said::Timestamp, Outgoing::Message { publication, .. }) => publication.timestamp.0.to_string(),
            (
                Said::Timestamp,
                Outgoing::Welcome { timestamp, .. }
                | Outgoing::Ping { timestamp }
                | Outgoing::Pong { timestamp },
            ) => timestamp.0.to_string(),
            (Said::Timestamp, _) => self.now.0.to_string(),
            (Said::Event, Outgoing::Message { publication, .. }) => quote(publication.event.as_str()),
            (Said::MessageId, Outgoing::Message { publication, .. }) => {
                quote(publication.id.as_ref()?.as_str())
            }
            (Said::MessageId, Outgoing::Published { message_id, .. }) => quote((*message_id)?.as_str()),
            (Said::MessageId, Outgoing::Error { about, .. }) => {
                quote((*about)?.message_id.as_ref()?.as_str())
            }
            (Said::UserCount, Outgoing::Joined { user_count, .. } | Outgoing::Added { user_count, .. }) => {
                (*user_count)?.to_string()
            }
            (
                Said::UserCount,
                Outgoing::MemberJoined { user_count, .. }
                | Outgoing::MemberLeft { user_count, .. }
                | Outgoing::UserOnline { user_count, .. }
                | Outgoing::UserOffline { user_count, .. }
                | Outgoing::UserCount { user_count, .. }
                | Outgoing::Online { user_count, .. }
                | Outgoing::Presence { user_count, .. },
            ) => user_count.to_string(),
            (Said::Session, Outgoing::AuthSuccess { session, .. }) => quote(session.session.as_str()),
            (Said::ExpiresAt, Outgoing::AuthSuccess { session, .. }) => session.expires_at.to_string(),
            (Said::Node, Outgoing::Welcome { node, .. }) => quote(node),
            (Said::Heartbeat, Outgoing::Welcome { heartbeat, .. }) => heartbeat.to_string(),
            (Said::Authenticated, Outgoing::Welcome { authenticated, .. }) => authenticated.to_string(),
            (Said::Recovered, Outgoing::Joined { recovered, .. }) => recovered.to_string(),
            (Said::Duplicate, Outgoing::Published { duplicate, .. }) => duplicate.to_string(),
            (Said::More, Outgoing::History { more, .. }) => more.to_string(),
            (Said::Reason, Outgoing::Gap { reason, .. }) => quote(reason.as_str()),
            (Said::ReconnectAfter, Outgoing::Draining { reconnect_after }) => reconnect_after.to_string(),
            (Said::Code, Outgoing::Error { code, .. }) => quote(code.as_str()),
            (Said::Message, Outgoing::Error { message, .. }) => quote(message),
            (Said::Retryable, Outgoing::Error { code, .. }) => code.retryable().to_string(),
            _ => return None,
        })
    }
}

/// A user as templates see one: the fields of the profile, and `id` and `name` where the profile has none.
#[derive(Clone, Copy)]
struct Person<'a> {
    user: &'a UserId,
    name: Option<&'a str>,
    profile: Option<&'a Profile>,
}

impl<'a> Person<'a> {
    fn entry(entry: &'a PresenceEntry) -> Self {
        Self { user: &entry.user, name: entry.name.as_deref(), profile: entry.profile.as_ref() }
    }

    fn sender(publication: &'a Publication) -> Option<Self> {
        let sender = publication.from.as_ref()?;
        Some(Self { user: &sender.user, name: sender.name.as_deref(), profile: sender.profile.as_ref() })
    }

    fn get(self, path: &[Step]) -> Option<Cow<'a, str>> {
        if path.is_empty() {
            return Some(Cow::Owned(self.whole()));
        }
        let shown = self.profile.and_then(|profile| reach(profile.as_json(), path));
        if let Some(shown) = shown {
            return Some(Cow::Borrowed(shown));
        }
        match path {
            [step] if step == "id" => Some(Cow::Owned(quote(self.user.as_str()))),
            [step] if step == "name" => self.name.map(|name| Cow::Owned(quote(name))),
            _ => None,
        }
    }

    fn whole(self) -> String {
        let profile = self.profile.map_or("{}", Profile::as_json);
        let mut fields = Vec::with_capacity(3);
        for key in ["id", "name"] {
            let step = [key.to_owned()];
            if reach(profile, &step).is_none()
                && let Some(value) = self.get(&step)
            {
                fields.push(format!("\"{key}\":{value}"));
            }
        }
        let own = profile.trim();
        let own = own.strip_prefix('{').and_then(|own| own.strip_suffix('}')).unwrap_or("").trim();
        if !own.is_empty() {
            fields.push(own.to_owned());
        }
        format!("{{{}}}", fields.join(","))
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

/// A publication of the history, with the names that the placeholders of a live one have.
fn item(item: &HistoryItem) -> String {
    let HistoryItem { position, publication } = item;
    let mut fields = vec![
        format!("\"event\":{}", quote(publication.event.as_str())),
        format!("\"data\":{}", publication.data.get()),
        format!("\"position\":\"{position}\",\"offset\":{}", position.offset),
        format!("\"timestamp\":{}", publication.timestamp.0),
    ];
    if let Some(id) = &publication.id {
        fields.push(format!("\"messageId\":{}", quote(id.as_str())));
    }
    if let Some(sender) = Person::sender(publication) {
        fields.push(format!("\"user\":{}", sender.whole()));
    }
    format!("{{{}}}", fields.join(","))
}
