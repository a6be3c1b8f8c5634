//! What waits to be written to one client, and the writing of it.
//!
//! Any thread may push and flush: while the socket takes bytes they go out right there, joined into one vectored
//! write, and no task is woken. Only when the socket is full does the connection's own task wait for it to drain.
//! A transport without a socket of its own, such as the body of an HTTP response, takes frames out instead; it may
//! change to a socket later, and nothing that waits is lost or changes places.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::net::TcpStream;

/// How many frames one write joins at most.
const JOINED: usize = 64;

/// What became of a pushed frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Push {
    /// It waits to be written.
    Queued,
    /// The queue is full; the frame was not taken.
    Full,
    /// The connection is over; nothing is written any more.
    Closed,
}

/// What a flush left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flush {
    /// Everything is written.
    Done,
    /// The socket is full; the connection's task has to wait for it.
    Blocked,
    /// The peer is gone.
    Broken,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Outbound {
    limit: usize,
    /// The task that takes frames, while there is no socket.
    taker: AtomicWaker,
    way: Mutex<Way>,
}

/// What waits for a client, held by whoever gives it something, as part of what that knows of the client.
pub(crate) type SharedOutbound = Arc<dyn AsRef<Outbound> + Send + Sync>;

/// What waits, and where it goes.
#[derive(Debug)]
struct Way {
    /// Written to by whoever flushes; without it frames are taken.
    socket: Option<Arc<TcpStream>>,
    queue: Queue,
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Bytes>,
    bytes: usize,
    taking: Taking,
    /// The socket is full: until the connection's task saw it drain, nobody else tries.
    blocked: bool,
    written: u64,
}

/// Whether frames are taken.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Taking {
    #[default]
    All,
    /// None: the last one is in the queue or written.
    Finished,
    /// None: the socket failed or was given up.
    Broken,
}

impl AsRef<Self> for Outbound {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl Outbound {
    /// A queue of at most `limit` bytes before a socket.
    pub(crate) fn new(socket: Arc<TcpStream>, limit: usize) -> Self {
        Self::before(Some(socket), limit)
    }

    /// A queue of at most `limit` bytes from which a task takes.
    pub(crate) fn to_taker(limit: usize) -> Self {
        Self::before(None, limit)
    }

    fn before(socket: Option<Arc<TcpStream>>, limit: usize) -> Self {
        let way = Mutex::new(Way { socket, queue: Queue::default() });
        Self { limit, taker: AtomicWaker::new(), way }
    }

    /// From here on frames go into this socket: what was left on it, then what waits, then what comes.
    pub(crate) fn use_socket(&self, socket: Arc<TcpStream>, left: VecDeque<Bytes>) {
        let mut way = self.way.lock();
        way.socket = Some(socket);
        for frame in left.into_iter().rev() {
            way.queue.bytes += frame.len();
            way.queue.frames.push_front(frame);
        }
    }

    /// Queues a frame of a publication, if there is room for it.
    pub(crate) fn push(&self, frame: Bytes) -> Push {
        self.push_all([frame])
    }

    /// Queues frames that stay together, all of them or none.
    pub(crate) fn push_all<const COUNT: usize>(&self, frames: [Bytes; COUNT]) -> Push {
        let queue = &mut self.way.lock().queue;
        if queue.taking != Taking::All {
            return Push::Closed;
        }
        // A frame larger than the limit goes out alone.
        if queue.bytes > 0 && queue.bytes + frames.iter().map(Bytes::len).sum::<usize>() > self.limit {
            return Push::Full;
        }
        frames.into_iter().for_each(|frame| queue.push(frame));
        Push::Queued
    }

    /// Queues a frame that is not a publication: a reply, a ping. Replies are bounded by one a request, so they
    /// pass the limit.
    pub(crate) fn push_control(&self, frame: Bytes) {
        self.push_control_all([frame]);
    }

    /// The same for frames that stay together.
    pub(crate) fn push_control_all<const COUNT: usize>(&self, frames: [Bytes; COUNT]) {
        let queue = &mut self.way.lock().queue;
        if queue.taking == Taking::All {
            frames.into_iter().for_each(|frame| queue.push(frame));
        }
    }

    /// Queues the last frame.
    pub(crate) fn push_last(&self, frame: Bytes) {
        let queue = &mut self.way.lock().queue;
        if queue.taking == Taking::All {
            queue.push(frame);
            queue.taking = Taking::Finished;
        }
    }

    /// Drops everything and takes nothing more.
    pub(crate) fn abandon(&self) {
        let mut way = self.way.lock();
        way.queue.fail();
        if way.socket.is_none() {
            drop(way);
            self.taker.wake();
        }
    }

    /// Bytes that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.way.lock().queue.bytes
    }

    /// Whether more may be taken from the client: it takes what it is sent.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting() < self.limit
    }

    /// Whether the socket was full when it was last written to.
    pub(crate) fn is_blocked(&self) -> bool {
        self.way.lock().queue.blocked
    }

    /// Whether the socket failed.
    pub(crate) fn is_broken(&self) -> bool {
        self.way.lock().queue.taking == Taking::Broken
    }

    /// Bytes written so far.
    pub(crate) fn written(&self) -> u64 {
        self.way.lock().queue.written
    }

    /// Whether the queue is short enough to be fed again after it was full.
    pub(crate) fn has_drained(&self) -> bool {
        self.waiting() <= self.limit / 4
    }

    /// Writes what waits, from any thread. Does nothing while the connection's task waits for the socket.
    pub(crate) fn flush(&self) -> Flush {
        let mut way = self.way.lock();
        let Way { socket, queue } = &mut *way;
        match socket {
            Some(_) if queue.blocked => Flush::Blocked,
            Some(socket) => queue.write(socket),
            None => {
                drop(way);
                self.taker.wake();
                Flush::Done
            }
        }
    }

    /// Gives back what the queue grew to, if nothing waits: a client that does nothing may do so for long.
    pub(crate) fn rest(&self) {
        let queue = &mut self.way.lock().queue;
        if queue.frames.is_empty() {
            queue.frames = VecDeque::new();
        }
    }

    /// Writes what waits, after the socket was found writable.
    pub(crate) fn resume(&self) -> Flush {
        self.way.lock().queue.blocked = false;
        self.flush()
    }

    /// Wakes this task when there is something to take.
    pub(crate) fn wake_taker(&self, waker: &Waker) {
        self.taker.register(waker);
    }

    /// Takes what waits; `None` once nothing comes any more.
    pub(crate) fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Option<VecDeque<Bytes>>> {
        self.wake_taker(cx.waker());
        let queue = &mut self.way.lock().queue;
        if !queue.frames.is_empty() {
            return Poll::Ready(Some(queue.take()));
        }
        if queue.taking == Taking::All { Poll::Pending } else { Poll::Ready(None) }
    }

    /// Takes all that waits.
    pub(crate) fn take(&self) -> VecDeque<Bytes> {
        self.way.lock().queue.take()
    }

    /// Takes frames as long as `is_wanted`, which is shown the next one each time.
    pub(crate) fn take_while(&self, mut is_wanted: impl FnMut(&Bytes) -> bool) -> VecDeque<Bytes> {
        let queue = &mut self.way.lock().queue;
        let count = queue.frames.iter().take_while(|frame| is_wanted(frame)).count();
        let taken: VecDeque<Bytes> = queue.frames.drain(..count).collect();
        let bytes = taken.iter().map(Bytes::len).sum::<usize>();
        queue.bytes -= bytes;
        queue.written += bytes as u64;
        taken
    }
}

impl Queue {
    fn push(&mut self, frame: Bytes) {
        // Nothing to write would look like a socket that takes nothing.
        if !frame.is_empty() {
            self.bytes += frame.len();
            self.frames.push_back(frame);
        }
    }

    fn take(&mut self) -> VecDeque<Bytes> {
        self.written += self.bytes as u64;
        self.bytes = 0;
        std::mem::take(&mut self.frames)
    }

    fn write(&mut self, socket: &TcpStream) -> Flush {
        while !self.frames.is_empty() {
            let written = match self.frames.len() {
                1 => socket.try_write(self.frames.front().map_or(&[][..], |frame| frame)),
                _ => {
                    let mut slices = [IoSlice::new(&[]); JOINED];
                    let waiting = slices.iter_mut().zip(&self.frames);
                    let count = waiting.map(|(slice, frame)| *slice = IoSlice::new(frame)).count();
                    socket.try_write_vectored(slices.get(..count).unwrap_or(&[]))
                }
            };
            match written {
                Ok(0) => return self.fail(),
                Ok(count) => self.advance(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked = true;
                    return Flush::Blocked;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.fail(),
            }
        }
        if self.frames.capacity() > JOINED {
            // A burst is over: do not keep its memory in every connection.
            self.frames = VecDeque::new();
        }
        Flush::Done
    }

    fn advance(&mut self, mut count: usize) {
        self.bytes -= count;
        self.written += count as u64;
        while let Some(frame) = self.frames.front_mut() {
            if count < frame.len() {
                frame.advance(count);
                return;
            }
            count -= frame.len();
            self.frames.pop_front();
        }
    }

    fn fail(&mut self) -> Flush {
        self.frames = VecDeque::new();
        self.bytes = 0;
        self.blocked = false;
        self.taking = Taking::Broken;
        Flush::Broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_in_which_nothing_waits_gives_back_what_it_grew_to() {
        let outbound = Outbound::to_taker(1024);
        for _ in 0..10 {
            outbound.push_control(Bytes::from_static(b"frame"));
        }
        outbound.rest();
        assert_eq!(outbound.take_while(|_| true).len(), 10);
        assert!(outbound.way.lock().queue.frames.capacity() > 0);
        outbound.rest();
        assert_eq!(outbound.way.lock().queue.frames.capacity(), 0);
    }
}
