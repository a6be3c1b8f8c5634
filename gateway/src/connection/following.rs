//! The channels that one connection follows, and how it catches up with those that it is behind in.
//!
//! Joining, coming back with a position and draining a full queue are the same thing here: a place in the stream from
//! which pages are read and queued as the socket takes them, until the hub can feed the connection from there.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use broker::{Entry, History, Unavailable};
use proto::{Channel, GapReason, Kind, Outgoing, Position, Publication};
use tokio::time;

use super::continuation::{self, Continuation};
use crate::endpoint::Endpoint;
use crate::hub::{Attachment, Behind};
use crate::node::Node;
use crate::node::presence::Stay;
use crate::peer::Peer;
use crate::peer::milestone::Milestone;
use crate::peer::progress::Progress;
use crate::wire::outbound::Push;

/// How many publications are read at once, at most.
pub(crate) const PAGE: u32 = 128;

/// How long to wait before a stream is read again that could not be read, or that is ahead of this node.
const PAUSE: Duration = Duration::from_millis(100);

/// A channel that a connection follows.
pub(crate) struct Following {
    attachment: Attachment,
    /// Where the user is seen to be present.
    stay: Option<Box<Stay>>,
    /// Where it is to be fed from. `None` while the hub feeds it, as it does most of the time.
    behind: Option<Box<Place>>,
}

/// A place up to which everything is queued; what follows has to be read.
struct Place {
    at: Position,
    /// How many gaps the node had told when the stream was last seen to go on there.
    seen: Option<u64>,
}

impl Following {
    /// Follows a channel from this place on.
    pub(crate) fn new(attachment: Attachment, at: Position) -> Self {
        Self { attachment, stay: None, behind: Some(Box::new(Place { at, seen: None })) }
    }

    pub(crate) const fn channel(&self) -> &Channel {
        self.attachment.channel()
    }

    /// Whether only the newest publication of the channel matters.
    pub(crate) const fn is_latest(&self) -> bool {
        self.attachment.is_latest()
    }

    /// The user is present there for as long as the channel is followed, and is told who else comes and goes.
    pub(crate) fn stays(&mut self, stay: Stay) {
        self.stay = Some(Box::new(stay));
        self.attachment.introduce();
    }

    /// Makes the peer known to the channel before it is fed.
    pub(crate) fn enlist(&mut self, peer: &Arc<Peer>) {
        self.attachment.enlist(peer);
    }

    /// Follows from another place on.
    pub(crate) fn restart(&mut self, at: Position) {
        self.behind = Some(Box::new(Place { at, seen: None }));
    }

    /// The place from which it is to be fed; the start of everything while it is fed.
    pub(crate) fn at(&self) -> Position {
        self.behind.as_ref().map_or(Position::start(proto::Epoch(0)), |place| place.at)
    }
}

/// A channel to follow.
pub(crate) struct Arrival {
    pub(crate) following: Following,
    /// The gap to be told before anything is delivered.
    pub(crate) gap: Option<GapReason>,
    /// What was read already.
    pub(crate) entries: Vec<Entry>,
    /// How far the client's device has got there, where that is remembered.
    pub(crate) progress: Option<Box<Progress>>,
}

impl Arrival {
    /// Follows from this place, where the channel ends now.
    pub(crate) fn from_here(attachment: Attachment, at: Position) -> Self {
        Self { following: Following::new(attachment, at), gap: None, entries: Vec::new(), progress: None }
    }

    /// Follows from the oldest publication that is kept.
    pub(crate) fn begin(&mut self, history: History) {
        self.following.restart(history.entries.first().map_or(history.top, |entry| entry.step.before()));
        self.entries = history.entries;
    }

    /// Follows from an earlier place, or from where the stream can be followed.
    pub(crate) fn resume(&mut self, next: Continuation) {
        self.following.restart(next.at);
        self.gap = next.gap;
        self.entries = next.entries;
    }
}

type Reading = Pin<Box<dyn Future<Output = Page> + Send>>;

/// A page that was read.
pub(crate) struct Page {
    channel: Channel,
    after: Position,
    /// How many gaps the node had told before it was read.
    seen: u64,
    next: Result<Continuation, Unavailable>,
}

/// All channels that a connection follows.
pub(crate) struct Followings {
    all: Vec<Following>,
    reading: Option<Reading>,
    /// How many publications to read next: about as many as the queue takes, since the rest is read in vain.
    page: u32,
    /// The last page brought nothing new, or none: do not ask again at once.
    pause: bool,
}

impl Followings {
    pub(crate) const fn new() -> Self {
        Self { all: Vec::new(), reading: None, page: PAGE, pause: false }
    }

    /// Follows one more channel.
    pub(crate) fn add(&mut self, arrival: Arrival, endpoint: &Endpoint, peer: &Arc<Peer>) {
        let Arrival { mut following, gap, entries, progress } = arrival;
        if let Some(progress) = progress {
            peer.track(*progress);
        }
        let channel = following.attachment.channel().clone();
        if let Some(reason) = gap {
            tell_gap(&channel, reason, following.at(), endpoint, peer);
        }
        following.queue(&channel, entries, endpoint, peer);
        if self.all.capacity() == 0 {
            // The user's own channel, everyone's, and a room.
            self.all.reserve_exact(3);
        }
        self.all.push(following);
    }

    /// Follows a channel no more.
    pub(crate) fn remove(&mut self, channel: &Channel) -> Option<Following> {
        let at = self.all.iter().position(|following| following.attachment.channel() == channel)?;
        Some(self.all.swap_remove(at))
    }

    /// A channel of this sort that it follows.
    pub(crate) fn of_kind(&self, kind: Kind) -> Option<&Channel> {
        self.all.iter().map(Following::channel).find(|channel| channel.kind() == kind)
    }

    /// Follows nothing any more.
    pub(crate) fn clear(&mut self) {
        *self = Self::new();
    }

    /// The queue was full: these channels have to be caught up with.
    pub(crate) fn lag(&mut self, lagging: Vec<(Channel, Position)>) {
        for (channel, at) in lagging {
            if let Some(following) = self.all.iter_mut().find(|one| *one.attachment.channel() == channel) {
                following.restart(at);
            }
        }
    }

    /// Whether some channel is not fed by the hub.
    pub(crate) fn is_behind(&self) -> bool {
        self.all.iter().any(|following| following.behind.is_some())
    }

    /// Goes on with catching up as far as it goes without waiting.
    pub(crate) fn advance(&mut self, node: &Arc<Node>, peer: &Arc<Peer>) {
        if self.reading.is_some() || !peer.outbound.has_drained() {
            return;
        }
        for following in &mut self.all {
            let Some(Place { at, seen }) = following.behind.as_deref() else { continue };
            let at = *at;
            match following.attachment.feed(peer, at, *seen) {
                Ok(()) => following.behind = None,
                Err(Behind) => {
                    let (node, channel) = (Arc::clone(node), following.attachment.channel().clone());
                    let (limit, latest) = (self.page, following.is_latest());
                    let pause = std::mem::take(&mut self.pause);
                    let seen = following.attachment.gaps();
                    self.reading = Some(Box::pin(async move {
                        if pause {
                            time::sleep(PAUSE).await;
                        }
                        let next = continuation::read(&*node.broker, &channel, at, limit, latest).await;
                        Page { channel, after: at, seen, next }
                    }));
                    return;
                }
            }
        }
    }

    /// Waits for the page that is being read.
    pub(crate) fn poll_page(&mut self, cx: &mut Context<'_>) -> Poll<Page> {
        let Some(reading) = &mut self.reading else { return Poll::Pending };
        let page = std::task::ready!(reading.as_mut().poll(cx));
        self.reading = None;
        Poll::Ready(page)
    }

    /// Queues a page.
    pub(crate) fn take_page(&mut self, page: Page, endpoint: &Endpoint, peer: &Arc<Peer>) {
        let Page { channel, after, seen, next } = page;
        let Some(following) = self.all.iter_mut().find(|one| *one.attachment.channel() == channel) else {
            return;
        };
        // The channel may have been left and joined again meanwhile.
        if following.behind.as_ref().is_none_or(|place| place.at != after) {
            return;
        }
        let Ok(Continuation { at, gap, entries, .. }) = next else {
            self.pause = true;
            return;
        };
        if let Some(reason) = gap {
            tell_gap(&channel, reason, at, endpoint, peer);
            following.restart(at);
        }
        if !entries.is_empty() {
            let (count, queued) = (entries.len(), following.queue(&channel, entries, endpoint, peer));
            let queued = u32::try_from(queued).unwrap_or(PAGE);
            self.page =
                if (queued as usize) < count { queued + 1 } else { self.page.saturating_mul(2) }.min(PAGE);
        }
        if let Some(place) = &mut following.behind {
            place.seen = Some(seen);
            self.pause = place.at == after;
        }
    }
}

impl Following {
    /// Queues as many as there is room for, and tells how many.
    fn queue(
        &mut self,
        channel: &Channel,
        entries: Vec<Entry>,
        endpoint: &Endpoint,
        peer: &Arc<Peer>,
    ) -> usize {
        let name = channel.public_name();
        let mut queued = 0;
        for entry in entries {
            let position = entry.step.position;
            match Publication::decode(&entry.payload) {
                Ok(publication) => {
                    let message = Outgoing::Message {
                        channel: &name,
                        position: Some(position),
                        latest: self.is_latest(),
                        publication: &publication,
                    };
                    let is_for = peer.is_for(endpoint.framing.audience(&publication), &publication);
                    match is_for.then(|| endpoint.frame(&message, None)).flatten() {
                        None => peer.pass(channel, position),
                        Some(frame) => {
                            let to = Milestone::new(channel, position);
                            if peer.push(frame, Some(&to)) != Push::Queued {
                                break;
                            }
                        }
                    }
                }
                Err(error) => tracing::error!(%channel, %error, "a stored publication cannot be read"),
            }
            match &mut self.behind {
                Some(place) => place.at = position,
                None => self.restart(position),
            }
            queued += 1;
        }
        queued
    }
}

fn tell_gap(channel: &Channel, reason: GapReason, position: Position, endpoint: &Endpoint, peer: &Peer) {
    let name = channel.public_name();
    match endpoint.frame(&Outgoing::Gap { channel: &name, reason, position }, None) {
        Some(frame) => peer.tell(frame, Some(&Milestone::new(channel, position))),
        None => peer.lose(),
    }
}
