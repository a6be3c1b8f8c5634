//! Carries out what sessions want done: the part of a session that waits for others.

use std::sync::Arc;
use std::time::Duration;

use broker::{Control, History, HistoryQuery, Place, PublishError, Reached, Unavailable};
use futures_util::stream::{self, StreamExt};
use proto::{Channel, ChannelRules, Cursor, Position, PresenceEntry, Room, SessionId, Tenant, UserId};
use tokio::time::timeout;

use super::continuation::{self, items, judge};
use super::following::{Arrival, Following, PAGE};
use crate::endpoint::offline::{self, Device, First};
use crate::node::Node;
use crate::peer::progress::Progress;
use crate::peer::standing::Standing;
use crate::peer::{Peer, new_session_id};
use crate::session::{Arrived, Failure, Keep, LISTED_USERS, Operation, Outcome, Resumed, Terms};

/// How long a client waits before it is told that the broker is away.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many rooms that a session is put into are joined at a time.
const SEATS_AT_ONCE: usize = 64;

/// What came of an operation.
pub(crate) struct Done {
    /// What the session is told, first.
    pub(crate) outcome: Outcome,
    /// The channels that the connection follows from now on.
    pub(crate) arrivals: Vec<Arrival>,
}

/// Carries out an operation. `previous` is the place that a room had if it is joined again: it is given up only
/// when the new one is there, so that nobody sees the user leave.
pub(crate) async fn run(
    node: Arc<Node>,
    terms: Arc<Terms>,
    peer: Arc<Peer>,
    operation: Operation,
    previous: Option<Following>,
) -> Done {
    let outcome = match operation {
        Operation::Verify { token, purpose } => {
            Outcome::Verified(purpose, node.identify(&token).await.map(Box::new))
        }
        Operation::Admit { tenant, user, rooms, since, device, place, keep } => {
            let seats = Seats { node: &node, terms: &terms, peer: &peer, tenant, user, since, device };
            return seats.admit_kept(rooms, place, keep).await;
        }
        Operation::Recall { key } => match node.keeper.recall(&key).await {
            Ok(record) => Outcome::Recalled(record.map(Box::new)),
            Err(Unavailable(_)) => Outcome::Failed(Failure::NotAdmitted),
        },
        Operation::Follow { tenant, user, rooms } => {
            let since = Cursor::default();
            let seats = Seats { node: &node, terms: &terms, peer: &peer, tenant, user, since, device: None };
            return seats.follow(rooms).await;
        }
        Operation::Review { tenant, user, place } => {
            review(&node, &tenant, &user, place).await.unwrap_or(Outcome::Failed(Failure::NotReviewed))
        }
        Operation::Join { room, channel, since, presence } => {
            let seen = presence.map(|user| Seen::by(&terms.channels, &channel, user));
            return join(&node, &peer, room, channel, since, seen, previous).await;
        }
        Operation::Publish { room, channel, publish } => {
            let id = publish.publication.id.clone();
            match node.broker.publish(&channel, *publish).await {
                Ok(published) => Outcome::Published { room, id, published },
                Err(PublishError::Conflict) => Outcome::Failed(Failure::Conflict),
                Err(PublishError::OutboxFull) => Outcome::Failed(Failure::OutboxFull),
                Err(PublishError::Unconfirmed) => Outcome::Failed(Failure::Unconfirmed),
                Err(PublishError::Unsupported(reason)) => Outcome::Failed(Failure::Unsupported(reason)),
                Err(PublishError::Unavailable(_)) => Outcome::Failed(Failure::Unavailable),
            }
        }
        Operation::Presence { room, channel } => match node.broker.present(&channel, LISTED_USERS).await {
            Ok(present) => Outcome::Presence { room, users: present.users, user_count: present.count },
            Err(Unavailable(_)) => Outcome::Failed(Failure::Unavailable),
        },
        Operation::Online { channel } => match node.broker.present(&channel, LISTED_USERS).await {
            Ok(present) => Outcome::Online { users: present.users, user_count: present.count },
            Err(Unavailable(_)) => Outcome::Failed(Failure::Unavailable),
        },
        Operation::History { room, channel, since, limit } => {
            match node.broker.history(&channel, HistoryQuery { after: since, limit }).await {
                Ok(history) => tell_history(room, channel, since, &history),
                Err(Unavailable(_)) => Outcome::Failed(Failure::Unavailable),
            }
        }
    };
    Done { outcome, arrivals: Vec::new() }
}

async fn review(
    node: &Node,
    tenant: &Tenant,
    user: &UserId,
    place: Option<Place>,
) -> Result<Outcome, Unavailable> {
    if let Some(place) = place
        && !node.broker.claim(&place, true).await?
    {
        return Ok(Outcome::Replaced);
    }
    Ok(Outcome::Reviewed(node.broker.memberships(tenant, user).await?))
}

/// Places for a session in channels that its client did not ask for.
struct Seats<'a> {
    node: &'a Arc<Node>,
    terms: &'a Terms,
    peer: &'a Arc<Peer>,
    tenant: Tenant,
    /// As whom the session is seen in rooms.
    user: PresenceEntry,
    /// From where it goes on.
    since: Cursor,
    /// Which of the user's devices it is, where it goes on from where that was.
    device: Option<Device>,
}

/// What came of a seat in a room: with how many users are there.
type Seat = (Room, Result<(Arrival, Option<u64>), Unavailable>);

impl Seats<'_> {
    /// Admits a session that goes on if nothing is missing, and else begins.
    async fn admit_kept(mut self, rooms: Vec<Room>, place: Option<Place>, keep: Keep) -> Done {
        let Some(window) = self.terms.endpoint.recovery else { return self.admit(rooms, place).await };
        if let Keep::No = keep {
            return self.admit(rooms, place).await;
        }
        if let Keep::Resumed(resumed) = keep {
            let Resumed { key, record, rooms: kept, since } = *resumed;
            let fresh = std::mem::replace(&mut self.since, since);
            let done = self.admit(rooms.iter().cloned().chain(kept).collect(), place.clone()).await;
            let is_whole = !matches!(done.outcome, Outcome::Failed(_))
                && done.arrivals.iter().all(|arrival| arrival.gap.is_none());
            if is_whole {
                let session = record.session.clone();
                return self
                    .keep(
                        Standing::resumed(key, window, record, self.peer.connection().clone()),
                        Some(session),
                        done,
                    )
                    .await;
            }
            self.since = fresh;
        }
        let session = self.peer.session().clone();
        let user = (self.tenant.clone(), self.user.user.clone());
        let done = self.admit(rooms, place).await;
        self.keep(Standing::new(new_session_id(), window, session, user), None, done).await
    }

    /// Keeps a session that was admitted, before its client knows.
    async fn keep(&self, mut standing: Standing, resumed: Option<SessionId>, mut done: Done) -> Done {
        if let Outcome::Failed(_) = done.outcome {
            return done;
        }
        for arrival in &done.arrivals {
            standing.enter(arrival.following.channel(), arrival.following.at());
        }
        standing.settle();
        if self.node.keeper.begin(self.peer, standing, resumed.clone()).await.is_err() {
            return failed(Failure::NotAdmitted);
        }
        if let (Outcome::Admitted { resumed: told, .. }, Some(session)) = (&mut done.outcome, resumed) {
            self.take_over(&session).await;
            *told = Some(session);
        }
        done
    }

    /// The client may have left a connection behind that does not know yet that it is broken.
    async fn take_over(&self, session: &SessionId) {
        let resumed = Control::Resumed { session: session.clone(), by: self.peer.connection().clone() };
        let channel = Channel::user(&self.tenant, &self.user.user);
        // If this is lost, the old connection finds out by its heartbeat.
        drop(self.node.broker.control(&channel, resumed.encode()).await);
    }

    async fn admit(&self, mut rooms: Vec<Room>, place: Option<Place>) -> Done {
        let everyone = Channel::everyone(&self.tenant);
        let since = self.since.get(&everyone.public_name());
        let both = async { tokio::join!(self.own(), arrive(self.node, everyone, since.into())) };
        let Ok((Ok(mut own), Ok(mut everyone))) = timeout(PATIENCE, both).await else {
            return failed(Failure::NotAdmitted);
        };
        // From here on the session is told of changes of what is looked up next.
        own.following.enlist(self.peer);
        if let Some(place) = place
            && !matches!(self.node.broker.claim(&place, false).await, Ok(true))
        {
            return failed(Failure::NotAdmitted);
        }
        let Ok(memberships) = self.node.broker.memberships(&self.tenant, &self.user.user).await else {
            return failed(Failure::NotAdmitted);
        };
        // Present in everyone's channel, the user is seen by all to be online; present in their own, by the backend.
        for following in [&mut everyone.following, &mut own.following] {
            if self.be_seen(following).await.is_err() {
                return failed(Failure::NotAdmitted);
            }
        }
        rooms.extend(memberships.iter().cloned());
        rooms.sort();
        rooms.dedup();
        let mut arrivals = vec![own, everyone];
        for (_, seat) in self.take(rooms.clone()).await {
            let Ok((arrival, _)) = seat else { return failed(Failure::NotAdmitted) };
            arrivals.push(arrival);
        }
        let place = |arrival: &Arrival| (arrival.following.channel().clone(), arrival.following.at());
        let places = arrivals.iter().map(place).collect();
        Done { outcome: Outcome::Admitted { places, rooms, memberships, resumed: None }, arrivals }
    }

    /// Arrives in the user's own channel: where the client says, or else where its device was before.
    async fn own(&self) -> Result<Arrival, Unavailable> {
        let (node, channel) = (self.node, Channel::user(&self.tenant, &self.user.user));
        let since = self.since.get(&channel.public_name());
        let Some(Device { id, first }) = &self.device else {
            return arrive(node, channel, since.into()).await;
        };
        let mut known = node.broker.reached(&channel, id).await?;
        let from = match since.or(known) {
            Some(since) => From::After(since),
            None if *first == First::Kept => From::Oldest,
            None => From::Here,
        };
        let mut arrival = arrive(node, channel.clone(), from).await?;
        let (at, life) =
            (arrival.following.at(), offline::life(self.terms.channels.of(&channel).history_age));
        if from == From::Here {
            // From now on it misses nothing, also if it is cut off before it has anything.
            let (user, device) = (channel.clone(), id.clone());
            node.broker.reach(&Reached { user, device, position: at, life }).await?;
            known = Some(at);
        }
        arrival.progress = Some(Box::new(Progress::new(channel, id.clone(), life, known, at)));
        Ok(arrival)
    }

    /// Makes the user present in a channel, where that is tracked.
    async fn be_seen(&self, following: &mut Following) -> Result<(), Unavailable> {
        let channel = following.channel().clone();
        if self.terms.channels.of(&channel).presence {
            let Seen { user, outbox } = Seen::by(&self.terms.channels, &channel, self.user.clone());
            let (stay, _) = self.node.presence.enter(&channel, &user, outbox).await?;
            following.stays(stay);
        }
        Ok(())
    }

    /// Rooms that cannot be had are left out.
    async fn follow(&self, rooms: Vec<Room>) -> Done {
        let (mut arrived, mut arrivals, mut all) = (Vec::new(), Vec::new(), true);
        for (room, seat) in self.take(rooms).await {
            match seat {
                Ok((arrival, user_count)) => {
                    arrived.push(Arrived { room, position: arrival.following.at(), user_count });
                    arrivals.push(arrival);
                }
                Err(Unavailable(_)) => all = false,
            }
        }
        let entered = arrivals.iter().map(|arrival| (arrival.following.channel(), arrival.following.at()));
        // A session that is kept is stored whole the next time.
        drop(self.node.keeper.enter(self.peer, entered).await);
        Done { outcome: Outcome::Followed { arrived, all }, arrivals }
    }

    /// Takes seats in rooms, some at a time.
    async fn take(&self, rooms: Vec<Room>) -> Vec<Seat> {
        let seats = rooms.into_iter().map(|room| async move {
            let channel = Channel::room(&self.tenant, &room);
            let presence = self.terms.channels.of(&channel).presence;
            let seen = presence.then(|| Seen::by(&self.terms.channels, &channel, self.user.clone()));
            let since = self.since.get(&channel.public_name());
            (room, take_seat(self.node, channel, since, seen).await)
        });
        stream::iter(seats).buffer_unordered(SEATS_AT_ONCE).collect().await
    }
}

/// As whom a session is seen in a channel.
struct Seen {
    user: PresenceEntry,
    /// How much may wait in the outbox, where the backend is told of it.
    outbox: Option<u32>,
}

impl Seen {
    fn by(channels: &ChannelRules, channel: &Channel, user: PresenceEntry) -> Self {
        Self { user, outbox: channels.of(channel).reports_presence() }
    }
}

/// Attaches to a room, and makes the user present there if they are to be seen. Tells how many users are there.
async fn take_seat(
    node: &Node,
    channel: Channel,
    since: Option<Position>,
    seen: Option<Seen>,
) -> Result<(Arrival, Option<u64>), Unavailable> {
    let late = |_| Unavailable("the channel's place is not known in time".to_owned());
    let mut arrival =
        timeout(PATIENCE, arrive(node, channel.clone(), since.into())).await.map_err(late)??;
    let Some(Seen { user, outbox }) = seen else { return Ok((arrival, None)) };
    let (stay, count) = node.presence.enter(&channel, &user, outbox).await?;
    arrival.following.stays(stay);
    Ok((arrival, Some(count)))
}

/// From where a channel is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    /// From where it ends now.
    Here,
    /// From the oldest publication that is kept.
    Oldest,
    /// From behind this place.
    After(Position),
}

impl std::convert::From<Option<Position>> for From {
    fn from(since: Option<Position>) -> Self {
        since.map_or(Self::Here, Self::After)
    }
}

/// Attaches to a channel and reads what came before.
async fn arrive(node: &Node, channel: Channel, from: From) -> Result<Arrival, Unavailable> {
    let (attachment, top) = node.hub.attach(channel).await;
    let mut arrival = Arrival::from_here(attachment, top);
    match from {
        From::Here => {}
        From::Oldest => {
            let query = HistoryQuery { after: None, limit: PAGE };
            let history = node.broker.history(arrival.following.channel(), query).await?;
            arrival.begin(history);
        }
        // When a node dies, most of its clients come back before anything was published that they could have missed.
        From::After(since) if since == top => node.metrics.count_resume(true),
        From::After(since) => {
            let (channel, latest) = (arrival.following.channel(), arrival.following.is_latest());
            let next = continuation::read(&*node.broker, channel, since, PAGE, latest).await?;
            arrival.resume(next);
            node.metrics.count_resume(arrival.gap.is_none());
        }
    }
    Ok(arrival)
}

async fn join(
    node: &Node,
    peer: &Arc<Peer>,
    room: Room,
    channel: Channel,
    since: Option<Position>,
    seen: Option<Seen>,
    previous: Option<Following>,
) -> Done {
    let Ok((arrival, user_count)) = take_seat(node, channel, since, seen).await else {
        return failed(Failure::Unavailable);
    };
    let following = &arrival.following;
    let entered = std::iter::once((following.channel(), following.at()));
    if node.keeper.enter(peer, entered).await.is_err() {
        return failed(Failure::Unavailable);
    }
    drop(previous);
    let recovered = since.is_some() && arrival.gap.is_none();
    let position = arrival.following.at();
    Done { outcome: Outcome::Joined { room, position, recovered, user_count }, arrivals: vec![arrival] }
}

fn tell_history(room: Room, channel: Channel, since: Option<Position>, history: &History) -> Outcome {
    let (at, gap) = since.map_or((history.top, None), |since| judge(since, history));
    let (items, position) = items(&channel, &history.entries, at);
    let more = position.offset < history.top.offset;
    Outcome::History { channel, room, items, position, gap, more }
}

fn failed(failure: Failure) -> Done {
    Done { outcome: Outcome::Failed(failure), arrivals: Vec::new() }
}
