//! The floor: the least that any server must do to deliver.
//!
//! One thread, one epoll, one frame built per publication, one `write` per
//! socket. No tokens are verified, no JSON is parsed, no queue is kept while
//! sockets take what they are given. It shows what the kernel asks for, and
//! what a server costs is told as a multiple of that. It answers only to the
//! client beside it.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;

use anyhow::{Result, bail};
use clap::ValueEnum;
use mio::net::{TcpListener, TcpStream};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::frame::{self, Opcode};
use crate::handshake::ACCEPTED;
use crate::native;

const LISTENER: Token = Token(usize::MAX - 1);
const PARENT: Token = Token(usize::MAX - 2);
/// Bytes that may wait for one socket before its peer is dropped.
const BACKLOG: usize = 4 << 20;

/// How frames reach a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Writes {
    /// One write per frame.
    Each,
    /// One write for all frames that were published together.
    Joined,
}

struct Peer {
    stream: TcpStream,
    upgraded: bool,
    room: Option<usize>,
    /// The beginning of a request or frame whose end has not arrived.
    partial: Vec<u8>,
    /// What the socket did not take.
    backlog: Vec<u8>,
}

/// The server's whole state.
pub struct Floor {
    poll: Poll,
    listener: TcpListener,
    writes: Writes,
    peers: Vec<Option<Peer>>,
    free: Vec<usize>,
    rooms: HashMap<String, usize>,
    members: Vec<Vec<usize>>,
    /// Built frames that are still to be written, each with its room.
    outgoing: Vec<(usize, Vec<u8>)>,
    greeting: Vec<u8>,
}

impl Floor {
    /// Listens on `address`.
    ///
    /// # Errors
    /// The address is taken, or epoll is not to be had.
    pub fn bind(address: SocketAddr, writes: Writes) -> Result<Self> {
        let poll = Poll::new()?;
        let mut listener = TcpListener::bind(address)?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let mut greeting = ACCEPTED.as_bytes().to_vec();
        frame::encode_unmasked(Opcode::Text, br#"{"type":"welcome"}"#, &mut greeting);
        frame::encode_unmasked(Opcode::Text, br#"{"type":"auth_success"}"#, &mut greeting);
        Ok(Self {
            poll,
            listener,
            writes,
            peers: Vec::new(),
            free: Vec::new(),
            rooms: HashMap::new(),
            members: Vec::new(),
            outgoing: Vec::new(),
            greeting,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The socket does not say.
    pub fn address(&self) -> Result<SocketAddr> {
        Ok(self.listener.local_addr()?)
    }

    /// Serves until its standard input ends: the parent holds the other end,
    /// so that no floor outlives its run.
    ///
    /// # Errors
    /// Epoll fails.
    pub fn serve(mut self) -> Result<()> {
        // An input that cannot be polled (a file, /dev/null) never ends.
        let _ = self.poll.registry().register(&mut SourceFd(&0), PARENT, Interest::READABLE);
        let mut events = Events::with_capacity(1024);
        let mut scratch = vec![0; 256 << 10];
        loop {
            if let Err(error) = self.poll.poll(&mut events, None) {
                if error.kind() == io::ErrorKind::Interrupted {
                    continue;
                }
                bail!(error);
            }
            for event in &events {
                match event.token() {
                    PARENT => return Ok(()),
                    LISTENER => self.accept(),
                    Token(index) => {
                        if event.is_writable() {
                            self.flush(index);
                        }
                        if event.is_readable() {
                            self.read(index, event.is_read_closed(), &mut scratch);
                        }
                        self.deliver();
                    }
                }
            }
        }
    }

    fn accept(&mut self) {
        // Ends when nobody waits, or with an error of one peer, which is not ours.
        while let Ok((mut stream, _)) = self.listener.accept() {
            let index = self.free.pop().unwrap_or(self.peers.len());
            let interest = Interest::READABLE;
            let registered = self.poll.registry().register(&mut stream, Token(index), interest);
            if registered.is_err() || stream.set_nodelay(true).is_err() {
                self.free.push(index);
                continue;
            }
            let (partial, backlog) = (Vec::new(), Vec::new());
            let peer = Peer { stream, upgraded: false, room: None, partial, backlog };
            if let Some(seat) = self.peers.get_mut(index) {
                *seat = Some(peer);
            } else {
                self.peers.push(Some(peer));
            }
        }
    }

    fn read(&mut self, index: usize, closing: bool, scratch: &mut [u8]) {
        while let Some(peer) = self.peers.get_mut(index).and_then(Option::as_mut) {
            match peer.stream.read(scratch) {
                Ok(0) => return self.remove(index),
                Ok(read) => {
                    let bytes = scratch.get(..read).unwrap_or_default();
                    if self.take(index, bytes).is_err() {
                        return self.remove(index);
                    }
                    // A short read has emptied the socket; the next bytes
                    // make an event of their own.
                    if read < scratch.len() && !closing {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.remove(index),
            }
        }
    }

    /// Acts on everything complete in `fresh`, and keeps the rest.
    fn take(&mut self, index: usize, fresh: &[u8]) -> Result<()> {
        let Some(peer) = self.peers.get_mut(index).and_then(Option::as_mut) else {
            return Ok(());
        };
        let mut joined = std::mem::take(&mut peer.partial);
        let mut bytes = fresh;
        if !joined.is_empty() {
            joined.extend_from_slice(fresh);
            bytes = &joined;
        }
        if !peer.upgraded {
            let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
                peer.partial = bytes.to_vec();
                return Ok(());
            };
            peer.upgraded = true;
            bytes = bytes.get(end + 4..).unwrap_or_default();
            let greeting = std::mem::take(&mut self.greeting);
            self.write(index, &greeting);
            self.greeting = greeting;
        }
        let mut text = Vec::new();
        while let Some(frame) = frame::decode(bytes)? {
            text.clear();
            frame::unmask(frame.payload_of(bytes), frame.mask.unwrap_or_default(), &mut text);
            bytes = bytes.get(frame.size()..).unwrap_or_default();
            match frame.opcode {
                Opcode::Text => self.obey(index, &text),
                Opcode::Ping => self.reply(index, Opcode::Pong, &text),
                Opcode::Pong => {}
                Opcode::Beginning | Opcode::Rest => bail!("the client's messages come whole"),
                Opcode::Close => {
                    self.reply(index, Opcode::Close, &text);
                    bail!("the peer says goodbye");
                }
            }
        }
        if let Some(peer) = self.peers.get_mut(index).and_then(Option::as_mut) {
            peer.partial = bytes.to_vec();
        }
        Ok(())
    }

    fn obey(&mut self, index: usize, command: &[u8]) {
        let Some(name) = native::room_of(command) else {
            return;
        };
        if command.starts_with(br#"{"type":"publish""#) {
            if let (Some(data), Some(room)) = (native::data_of(command), self.rooms.get(name)) {
                let mut text = Vec::with_capacity(data.len() + 256);
                native::message(name, data, &mut text);
                let last = self.outgoing.last_mut().filter(|(of, _)| of == room);
                if let (Writes::Joined, Some((_, frames))) = (self.writes, last) {
                    frame::encode_unmasked(Opcode::Text, &text, frames);
                } else {
                    let mut frames = Vec::with_capacity(text.len() + 10);
                    frame::encode_unmasked(Opcode::Text, &text, &mut frames);
                    self.outgoing.push((*room, frames));
                }
            }
        } else if command.starts_with(br#"{"type":"join""#) {
            let room = if let Some(room) = self.rooms.get(name) {
                *room
            } else {
                self.rooms.insert(name.to_owned(), self.members.len());
                self.members.push(Vec::new());
                self.members.len() - 1
            };
            self.part(index);
            if let Some(members) = self.members.get_mut(room) {
                members.push(index);
            }
            if let Some(peer) = self.peers.get_mut(index).and_then(Option::as_mut) {
                peer.room = Some(room);
            }
            self.reply(index, Opcode::Text, br#"{"type":"joined"}"#);
        } else if command.starts_with(br#"{"type":"leave""#) {
            self.part(index);
            self.reply(index, Opcode::Text, br#"{"type":"left"}"#);
        }
    }

    fn deliver(&mut self) {
        for (room, frames) in std::mem::take(&mut self.outgoing) {
            let members = self.members.get_mut(room).map(std::mem::take).unwrap_or_default();
            for member in &members {
                self.write(*member, &frames);
            }
            if let Some(seat) = self.members.get_mut(room) {
                *seat = members;
            }
        }
    }

    fn reply(&mut self, index: usize, opcode: Opcode, payload: &[u8]) {
        let mut bytes = Vec::with_capacity(payload.len() + 10);
        frame::encode_unmasked(opcode, payload, &mut bytes);
        self.write(index, &bytes);
    }

    fn write(&mut self, index: usize, bytes: &[u8]) {
        let Some(peer) = self.peers.get_mut(index).and_then(Option::as_mut) else {
            return;
        };
        let mut written = 0;
        if peer.backlog.is_empty() {
            // An error shows again when the socket is read.
            written = peer.stream.write(bytes).unwrap_or(0);
            if written == bytes.len() {
                return;
            }
            let interest = Interest::READABLE | Interest::WRITABLE;
            let _ = self.poll.registry().reregister(&mut peer.stream, Token(index), interest);
        }
        if peer.backlog.len() < BACKLOG {
            peer.backlog.extend_from_slice(bytes.get(written..).unwrap_or_default());
        } else {
            let _ = peer.stream.shutdown(std::net::Shutdown::Both);
        }
    }

    fn flush(&mut self, index: usize) {
        let Some(peer) = self.peers.get_mut(index).and_then(Option::as_mut) else {
            return;
        };
        while !peer.backlog.is_empty() {
            match peer.stream.write(&peer.backlog) {
                Ok(written) => drop(peer.backlog.drain(..written)),
                Err(_) => return,
            }
        }
        let _ = self.poll.registry().reregister(&mut peer.stream, Token(index), Interest::READABLE);
    }

    fn part(&mut self, index: usize) {
        let peer = self.peers.get_mut(index).and_then(Option::as_mut);
        let room = peer.and_then(|peer| peer.room.take());
        let Some(members) = room.and_then(|room| self.members.get_mut(room)) else {
            return;
        };
        if let Some(seat) = members.iter().position(|member| *member == index) {
            members.swap_remove(seat);
        }
    }

    fn remove(&mut self, index: usize) {
        self.part(index);
        if let Some(seat) = self.peers.get_mut(index).filter(|seat| seat.is_some()) {
            *seat = None; // closing the socket takes it out of epoll
            self.free.push(index);
        }
    }
}
