//! One client connection, as thin as it can be made.
//!
//! A connection owns its socket and nothing else: reads go through one buffer
//! that all connections of the process share, no connection has a timer, and
//! what is sent was framed beforehand.

use std::cell::RefCell;
use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::rc::Rc;
use std::str::FromStr;
use std::task::{Poll, ready};

use anyhow::{Context as _, Error, Result, bail, ensure};
use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};

use crate::frame::{self, Opcode};
use crate::framing::{Framing, Kind};
use crate::handshake;

/// Masks every frame. A key that no server can guess protects proxies, not
/// servers; here a constant saves building each frame anew.
const MASK: [u8; 4] = [0x5a, 0xc3, 0x19, 0x7e];

/// A place to connect to: `ws://host:port/path` or `http://host:port/path`.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Where the name led to when it was read.
    pub address: SocketAddr,
    /// `host:port` as it was written.
    pub host: String,
    /// The path, from its slash on.
    pub path: String,
    /// What is spoken there over WebSocket.
    pub framing: Framing,
}

impl FromStr for Endpoint {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self> {
        let rest = url.strip_prefix("ws://").or_else(|| url.strip_prefix("http://"));
        let rest = rest.context("expected ws://host:port/path or http://host:port/path")?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let mut found = host.to_socket_addrs().with_context(|| format!("resolving {host}"))?;
        let address = found.next().with_context(|| format!("{host} has no address"))?;
        Ok(Self { address, host: host.to_owned(), path: format!("/{path}"), framing: Framing::Native })
    }
}

/// Opens a TCP connection, from an address of its own if one is given.
///
/// # Errors
/// The server refuses, or this machine has no ports or files left.
pub async fn dial(to: SocketAddr, from: Option<Ipv4Addr>) -> Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) = from.filter(|_| to.is_ipv4()) {
        // Ports of this address that wait out their last connection are free.
        socket.set_reuseaddr(true)?;
        socket.bind((source, 0).into()).with_context(|| format!("binding {source}"))?;
    }
    let stream = socket.connect(to).await.with_context(|| format!("connecting to {to}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The source address of the `index`th connection: loopback offers 28,000
/// ports or so an address, so every 20,000 connections get one of their own.
#[must_use]
pub fn source_of(index: usize, to: SocketAddr) -> Option<Ipv4Addr> {
    const PER_ADDRESS: usize = 20_000;
    let block = u8::try_from(index / PER_ADDRESS).ok().filter(|block| *block > 0)?;
    to.ip().is_loopback().then(|| Ipv4Addr::new(127, 0, 0, block.saturating_add(1)))
}

/// The buffer that all connections of a process read through.
#[derive(Debug, Clone)]
pub struct SharedBuffer(Rc<RefCell<Vec<u8>>>);

impl SharedBuffer {
    /// Largest message that fits, bytes.
    pub const SIZE: usize = 256 << 10;
}

impl Default for SharedBuffer {
    fn default() -> Self {
        Self(Rc::new(RefCell::new(vec![0; Self::SIZE])))
    }
}

/// A text message, framed and masked, ready to be written any number of times.
#[must_use]
pub fn prebuilt(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() + 14);
    frame::encode_masked(Opcode::Text, text.as_bytes(), MASK, &mut bytes);
    bytes
}

/// Appends a text message, framed and masked.
pub fn build(text: &[u8], out: &mut Vec<u8>) {
    frame::encode_masked(Opcode::Text, text, MASK, out);
}

/// A connection that has been upgraded.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    framing: Framing,
    /// Bytes that were read and not yet understood.
    partial: Vec<u8>,
    /// The code of the server's goodbye.
    goodbye: Option<u16>,
}

impl Connection {
    /// Connects, upgrades, authenticates, and waits until the server has
    /// accepted the token.
    ///
    /// # Errors
    /// Any step is refused, or the server hangs up.
    pub async fn open(to: &Endpoint, from: Option<Ipv4Addr>, token: &str) -> Result<Self> {
        let mut connection = Self::upgrade(to, from, token).await?;
        if let Some(login) = to.framing.login(token) {
            connection.send(&prebuilt(&login)).await?;
        }
        connection.expect(Kind::AuthSuccess).await?;
        Ok(connection)
    }

    /// Connects and upgrades; the token goes along where the handshake has a
    /// place for it.
    ///
    /// # Errors
    /// The server refuses or hangs up.
    pub async fn upgrade(to: &Endpoint, from: Option<Ipv4Addr>, token: &str) -> Result<Self> {
        let mut stream = dial(to.address, from).await?;
        let target = to.framing.target(&to.path, token);
        stream.write_all(handshake::request(&to.host, &target).as_bytes()).await?;
        let mut partial = Vec::with_capacity(1024);
        let head = loop {
            let read = stream.read_buf(&mut partial).await?;
            ensure!(read > 0, "the server hung up during the upgrade");
            if let Some(head) = handshake::accepted(&partial)? {
                break head;
            }
        };
        partial.drain(..head);
        Ok(Self { stream, framing: to.framing, partial, goodbye: None })
    }

    /// What is spoken on it.
    #[must_use]
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// Writes prebuilt frames.
    ///
    /// # Errors
    /// The server hung up.
    pub async fn send(&mut self, frames: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(frames).await?)
    }

    /// Waits for a message of this kind; others before it are passed over.
    /// For the time before anything is delivered.
    ///
    /// # Errors
    /// The server says `error`, or closes.
    pub async fn expect(&mut self, kind: Kind) -> Result<()> {
        loop {
            while let Some(message) = frame::decode_message(&self.partial)? {
                let payload = message.payload_of(&mut self.partial);
                let said = (message.opcode == Opcode::Text).then(|| self.framing.kind_of(payload));
                match (message.opcode, said) {
                    (Opcode::Close, _) => bail!("the server closed: {}", reason(payload)),
                    (_, Some(Kind::Error)) => bail!("refused: {}", String::from_utf8_lossy(payload)),
                    _ => {}
                }
                self.partial.drain(..message.size());
                if said == Some(Kind::Ping) {
                    self.send(&prebuilt(self.framing.pong())).await?;
                }
                if said == Some(kind) {
                    if self.partial.is_empty() {
                        self.partial = Vec::new(); // an idle connection keeps no buffer
                    }
                    return Ok(());
                }
            }
            let read = self.stream.read_buf(&mut self.partial).await?;
            ensure!(read > 0, "the server hung up before it sent {kind:?}");
        }
    }

    /// Waits for what comes next and gives each text message to `on_text`;
    /// pings are answered. `false` means that the server is done with us.
    ///
    /// # Errors
    /// What the server sent is no WebSocket, or what `on_text` says.
    pub async fn receive<F>(&mut self, buffer: &SharedBuffer, mut on_text: F) -> Result<bool>
    where
        F: FnMut(&[u8]) -> Result<()>,
    {
        poll_fn(|cx| {
            let mut buffer = buffer.0.borrow_mut();
            let kept = self.partial.len();
            let Some((head, tail)) = buffer.split_at_mut_checked(kept) else {
                return Poll::Ready(Err(Error::msg("a message larger than the buffer")));
            };
            let mut read = ReadBuf::new(tail);
            // Frames that came together with the last reply wait in `partial`.
            if frame::decode_message(&self.partial)?.is_none() {
                ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read))?;
                if read.filled().is_empty() {
                    return Poll::Ready(Ok(false));
                }
            }
            let filled = kept + read.filled().len();
            head.copy_from_slice(&self.partial);
            let mut bytes = buffer.get_mut(..filled).unwrap_or_default();
            while let Some(message) = frame::decode_message(bytes)? {
                let payload = message.payload_of(bytes);
                match message.opcode {
                    Opcode::Text if self.is_ping(payload) => {
                        let _ = self.stream.try_write(&prebuilt(self.framing.pong()));
                    }
                    Opcode::Text => on_text(payload)?,
                    Opcode::Ping => {
                        let mut pong = Vec::new();
                        frame::encode_masked(Opcode::Pong, payload, MASK, &mut pong);
                        // A socket too full for a pong belongs to a server that
                        // reads nothing, and fails for that.
                        let _ = self.stream.try_write(&pong);
                    }
                    Opcode::Pong | Opcode::Beginning | Opcode::Rest => {}
                    Opcode::Close => {
                        self.goodbye = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                        return Poll::Ready(Ok(false));
                    }
                }
                bytes = bytes.get_mut(message.size()..).unwrap_or_default();
            }
            if !bytes.is_empty() || kept > 0 {
                self.partial = bytes.to_vec();
            }
            Poll::Ready(Ok(true))
        })
        .await
    }

    /// Whether a text is the server's wish for a sign of life. Deliveries are
    /// longer, and are not looked at.
    fn is_ping(&self, text: &[u8]) -> bool {
        text.len() < 64 && self.framing.kind_of(text) == Kind::Ping
    }

    /// The code with which the server closed, if it said one.
    #[must_use]
    pub fn goodbye(&self) -> Option<u16> {
        self.goodbye
    }

    /// Says goodbye and waits until the server has, too.
    ///
    /// # Errors
    /// The connection broke before.
    pub async fn close(mut self) -> Result<()> {
        let mut goodbye = Vec::with_capacity(8);
        frame::encode_masked(Opcode::Close, &1000_u16.to_be_bytes(), MASK, &mut goodbye);
        self.send(&goodbye).await?;
        // What is still under way does not matter; that the server ends does.
        loop {
            self.partial.clear();
            if self.stream.read_buf(&mut self.partial).await? == 0 {
                return Ok(());
            }
        }
    }
}

/// The code and text of a close frame.
fn reason(payload: &[u8]) -> String {
    let Some((code, text)) = payload.split_first_chunk::<2>() else {
        return "no reason given".to_owned();
    };
    format!("{} {}", u16::from_be_bytes(*code), String::from_utf8_lossy(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_read_from_a_url() {
        let endpoint: Endpoint = "ws://127.0.0.1:8080/ws".parse().unwrap();
        assert_eq!(endpoint.address, "127.0.0.1:8080".parse().unwrap());
        assert_eq!((endpoint.host.as_str(), endpoint.path.as_str()), ("127.0.0.1:8080", "/ws"));
        assert!("127.0.0.1:8080".parse::<Endpoint>().is_err());
    }

    #[test]
    fn many_connections_spread_over_loopback_addresses() {
        let loopback = "127.0.0.1:1".parse().unwrap();
        assert_eq!(source_of(19_999, loopback), None);
        assert_eq!(source_of(20_000, loopback), Some(Ipv4Addr::new(127, 0, 0, 2)));
        assert_eq!(source_of(65_000, loopback), Some(Ipv4Addr::new(127, 0, 0, 4)));
        assert_eq!(source_of(65_000, "192.0.2.1:1".parse().unwrap()), None);
    }

    #[tokio::test]
    async fn a_connection_comes_from_the_address_it_was_given() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap();
        for source in [None, Some(Ipv4Addr::new(127, 0, 0, 3))] {
            let dialled = dial(to, source).await.unwrap();
            let (_accepted, peer) = listener.accept().await.unwrap();
            assert_eq!(peer.ip(), source.unwrap_or(Ipv4Addr::LOCALHOST));
            assert_eq!(peer, dialled.local_addr().unwrap());
        }
    }
}
