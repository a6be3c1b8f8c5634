//! What waits to be written to one client, and the writing of it.
//!
//! Any thread may push and flush: while the socket takes bytes they go out right there, joined into one vectored
//! write, and no task is woken. Only when the socket is full does the connection's own task wait for it to drain.
//! A transport without a socket of its own, such as the body of an HTTP response, takes frames out instead.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll};

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
    way: Way,
    limit: usize,
    queue: Mutex<Queue>,
}

/// Where frames go.
#[derive(Debug)]
enum Way {
    /// Into this socket, by whoever flushes.
    Socket(Arc<TcpStream>),
    /// To this task, which takes them.
    Taker(AtomicWaker),
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
        Self { way: Way::Socket(socket), limit, queue: Mutex::default() }
    }

    /// A queue of at most `limit` bytes from which a task takes.
    pub(crate) fn to_taker(limit: usize) -> Self {
        Self { way: Way::Taker(AtomicWaker::new()), limit, queue: Mutex::default() }
    }

    /// Queues a frame of a publication, if there is room for it.
    pub(crate) fn push(&self, frame: Bytes) -> Push {
        let mut queue = self.queue.lock();
        if queue.taking != Taking::All {
            return Push::Closed;
        }
        // A frame larger than the limit goes out alone.
        if queue.bytes > 0 && queue.bytes + frame.len() > self.limit {
            return Push::Full;
        }
        queue.push(frame);
        Push::Queued
    }

    /// Queues a frame that is not a publication: a reply, a ping. Replies are bounded by one a request, so they
    /// pass the limit.
    pub(crate) fn push_control(&self, frame: Bytes) {
        let mut queue = self.queue.lock();
        if queue.taking == Taking::All {
            queue.push(frame);
        }
    }

    /// Queues the last frame.
    pub(crate) fn push_last(&self, frame: Bytes) {
        let mut queue = self.queue.lock();
        if queue.taking == Taking::All {
            queue.push(frame);
            queue.taking = Taking::Finished;
        }
    }

    /// Drops everything and takes nothing more.
    pub(crate) fn abandon(&self) {
        self.queue.lock().fail();
        if let Way::Taker(waker) = &self.way {
            waker.wake();
        }
    }

    /// Bytes that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.lock().bytes
    }

    /// Whether more may be taken from the client: it takes what it is sent.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting() < self.limit
    }

    /// Whether the socket was full when it was last written to.
    pub(crate) fn is_blocked(&self) -> bool {
        self.queue.lock().blocked
    }

    /// Whether the socket failed.
    pub(crate) fn is_broken(&self) -> bool {
        self.queue.lock().taking == Taking::Broken
    }

    /// Bytes written so far.
    pub(crate) fn written(&self) -> u64 {
        self.queue.lock().written
    }

    /// Whether the queue is short enough to be fed again after it was full.
    pub(crate) fn has_drained(&self) -> bool {
        self.waiting() <= self.limit / 4
    }

    /// Writes what waits, from any thread. Does nothing while the connection's task waits for the socket.
    pub(crate) fn flush(&self) -> Flush {
        match &self.way {
            Way::Socket(socket) => {
                let mut queue = self.queue.lock();
                if queue.blocked { Flush::Blocked } else { queue.write(socket) }
            }
            Way::Taker(waker) => {
                waker.wake();
                Flush::Done
            }
        }
    }

    /// Writes what waits, after the socket was found writable.
    pub(crate) fn resume(&self) -> Flush {
        self.queue.lock().blocked = false;
        self.flush()
    }

    /// Takes what waits; `None` once nothing comes any more.
    pub(crate) fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Option<VecDeque<Bytes>>> {
        if let Way::Taker(waker) = &self.way {
            waker.register(cx.waker());
        }
        let mut queue = self.queue.lock();
        if !queue.frames.is_empty() {
            queue.written += queue.bytes as u64;
            queue.bytes = 0;
            return Poll::Ready(Some(std::mem::take(&mut queue.frames)));
        }
        if queue.taking == Taking::All { Poll::Pending } else { Poll::Ready(None) }
    }
}

impl Queue {
    fn push(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        self.frames.push_back(frame);
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
