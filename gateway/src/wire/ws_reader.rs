//! How every WebSocket of the gateway is read and written: frames are read through tungstenite, with all of its limits
//! set; what it writes goes to the outbound queue, where it keeps its place among what other threads send.
//!
//! Most connections wait most of the time. So what tungstenite needs to read a message, its state and its buffers, is there
//! only while one comes; between messages a connection holds none of it, however much it has read before.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use proto::Close;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::outbound::Outbound;
use super::ws_place::Place;

/// How much is read from a socket at once. What clients send is small.
pub(crate) const READ_BUFFER: usize = 512;

/// The frames of a socket, as they come.
pub(crate) struct Reader<Q: ?Sized> {
    stream: Arc<TcpStream>,
    /// Holds the outbound queue.
    queue: Arc<Q>,
    max_message: usize,
    state: State,
}

enum State {
    /// Nothing of the next message is there yet.
    Between,
    /// A message comes, or the connection is closing.
    Within(Box<Within>),
    /// A frame could not be read, so no more are looked for.
    Broken,
}

struct Within {
    context: WebSocketContext,
    place: Place,
}

impl<Q: AsRef<Outbound> + ?Sized> Reader<Q> {
    /// Reads a socket whose handshake is done; `early` was read after it already. `queue` holds the outbound queue.
    pub(crate) fn new(stream: Arc<TcpStream>, queue: Arc<Q>, early: &[u8], max_message: usize) -> Self {
        let state =
            if early.is_empty() { State::Between } else { State::Within(Within::new(early, max_message)) };
        Self { stream, queue, max_message, state }
    }

    /// What is written goes into another queue from here on.
    pub(crate) fn write_to(&mut self, queue: Arc<Q>) {
        self.queue = queue;
    }

    /// The next message of the client. After one that could not be read there is none, and `None` comes when the client has
    /// ended its side.
    pub(crate) fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message, Error>>> {
        if let State::Between = self.state {
            // An error shows in the read that follows.
            _ = ready!(self.stream.poll_read_ready(cx));
            self.state = State::Within(Within::new(&[], self.max_message));
        }
        let State::Within(within) = &mut self.state else {
            return self.poll_discard(cx).map(|()| None);
        };
        let Within { context, place } = &mut **within;
        let queue = (*self.queue).as_ref();
        let message = context.read(&mut Wire { stream: &self.stream, queue, place, cx });
        match message {
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                if within.place.is_between_messages() {
                    self.state = State::Between;
                }
                Poll::Pending
            }
            Err(Error::ConnectionClosed | Error::AlreadyClosed) => Poll::Ready(None),
            Err(error) => {
                self.state = State::Broken;
                Poll::Ready(Some(Err(error)))
            }
            Ok(message) => Poll::Ready(Some(Ok(message))),
        }
    }

    /// Reads the rest to its end. A socket that is closed with something unread takes the goodbye back.
    fn poll_discard(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut rest = [0; READ_BUFFER];
        loop {
            if ready!(self.stream.poll_read_ready(cx)).is_err() {
                return Poll::Ready(());
            }
            match self.stream.try_read(&mut rest) {
                Ok(1..) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => return Poll::Ready(()),
            }
        }
    }
}

impl Within {
    fn new(early: &[u8], max_message: usize) -> Box<Self> {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            // Control frames go to the outbound queue at once; nothing else is written through tungstenite.
            .write_buffer_size(0)
            .max_write_buffer_size(READ_BUFFER)
            .max_message_size(Some(max_message))
            .max_frame_size(Some(max_message));
        let context = WebSocketContext::from_partially_read(early.to_vec(), Role::Server, Some(config));
        let mut place = Place::default();
        place.pass(early);
        Box::new(Self { context, place })
    }
}

/// The code for a frame that could not be read; `None` when the peer is gone.
pub(crate) const fn fault(error: &Error) -> Option<Close> {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => Some(Close::TooBig),
        Error::Utf8(_) => Some(Close::InvalidPayload),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
        Error::Protocol(_) | Error::Capacity(_) => Some(Close::ProtocolError),
        _ => None,
    }
}

/// The socket as tungstenite sees it.
struct Wire<'a, 'b> {
    stream: &'a TcpStream,
    queue: &'a Outbound,
    place: &'a mut Place,
    /// Woken when more can be read, once nothing could.
    cx: &'a mut Context<'b>,
}

impl Read for Wire<'_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.stream.poll_read_ready(self.cx) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => return Err(io::ErrorKind::WouldBlock.into()),
            }
            match self.stream.try_read(buf) {
                Ok(count) => {
                    self.place.pass(buf.get(..count).unwrap_or_default());
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Write for Wire<'_, '_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        // What tungstenite writes is whole control frames: pongs and the answer to a close.
        self.queue.push_control(Bytes::copy_from_slice(buf));
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        // The task that reads is polling this: a full socket is its next concern anyway.
        self.queue.flush();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    /// A text of a client, in a frame whose mask is zero.
    fn text(length: u16) -> Vec<u8> {
        let mut frame = vec![0x81, 0x80 | 126];
        frame.extend(length.to_be_bytes());
        frame.extend([0; 4]);
        frame.resize(frame.len() + usize::from(length), b'x');
        frame
    }

    async fn next(reader: &mut Reader<Outbound>) -> usize {
        let message = std::future::poll_fn(|cx| reader.poll_message(cx)).await;
        message.unwrap().unwrap().len()
    }

    /// Lets it find that there is nothing to read, and looks whether it keeps anything.
    async fn holds_nothing(reader: &mut Reader<Outbound>) -> bool {
        std::future::poll_fn(|cx| {
            assert!(reader.poll_message(cx).is_pending());
            Poll::Ready(matches!(reader.state, State::Between))
        })
        .await
    }

    #[tokio::test]
    async fn between_messages_it_holds_nothing_of_them() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let stream = Arc::new(listener.accept().await.unwrap().0);
        let queue = Arc::new(Outbound::new(Arc::clone(&stream), 1024));
        // The first one came with the handshake.
        let first = text(200);
        let (early, late) = first.split_at(100);
        let mut reader = Reader::new(stream, queue, early, 65_535);
        assert!(!holds_nothing(&mut reader).await);
        client.write_all(late).await.unwrap();
        assert_eq!(next(&mut reader).await, 200);
        assert!(holds_nothing(&mut reader).await);
        client.write_all(&[text(60_000), text(300)].concat()).await.unwrap();
        assert_eq!((next(&mut reader).await, next(&mut reader).await), (60_000, 300));
        assert!(holds_nothing(&mut reader).await);
    }
}
