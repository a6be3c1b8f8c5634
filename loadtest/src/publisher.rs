//! Connections that publish, over WebSocket or HTTP.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::ValueEnum;
use serde::Serialize;
use tokio::time::{sleep, timeout};

use crate::connection::{Connection, Endpoint, SharedBuffer, build};
use crate::framing::Kind;
use crate::http;
use crate::native;
use crate::payload::{self, Mark};

/// For how long a publish that is not confirmed is repeated, and how often.
const REPEATING: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(100);

/// The way a message goes into the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// `publish` on a WebSocket connection, by the native protocol.
    Ws,
    /// `POST /v1/publish`.
    Http,
}

/// Whom a message is for.
#[derive(Debug, Clone)]
pub enum To {
    /// Everyone in a room.
    Room(String),
    /// One user's own channel, which only HTTP reaches.
    User(String),
}

/// One publishing connection. What it publishes keeps its order.
pub enum Publisher {
    /// Over WebSocket: what is published together leaves in one write.
    Ws {
        /// The connection, which joined nothing and speaks the native protocol.
        connection: Box<Connection>,
        /// The process's read buffer, for the replies.
        buffer: SharedBuffer,
    },
    /// Over HTTP: one request after the other.
    Http(Box<http::Client>),
}

impl Publisher {
    /// Connects with a token that may publish.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn open(via: Via, to: &Endpoint, token: &str, buffer: &SharedBuffer) -> Result<Self> {
        Ok(match via {
            Via::Ws => Self::Ws {
                connection: Box::new(Connection::open(to, None, token).await?),
                buffer: buffer.clone(),
            },
            Via::Http => Self::Http(Box::new(http::Client::open(to, token).await?)),
        })
    }

    /// Publishes one message for each mark, `size` bytes of data each.
    ///
    /// # Errors
    /// The server refuses or hangs up.
    pub async fn publish(&mut self, to: &To, marks: &[Mark], size: usize) -> Result<()> {
        match self {
            Self::Ws { connection, .. } => {
                let To::Room(room) = to else {
                    bail!("only HTTP publishes to a user's own channel");
                };
                let (mut frames, mut data, mut text) = (Vec::new(), Vec::new(), Vec::new());
                for mark in marks {
                    data.clear();
                    text.clear();
                    payload::write(*mark, size, &mut data);
                    native::publish(room, &data, &mut text);
                    build(&text, &mut frames);
                }
                connection.send(&frames).await?;
                self.read_replies(Duration::ZERO).await
            }
            Self::Http(client) => {
                for mark in marks {
                    client.post(&body(to, *mark, size, "")).await?;
                }
                Ok(())
            }
        }
    }

    /// Publishes a message, over HTTP again and again until it is confirmed: it
    /// has an id by which the server knows it again.
    ///
    /// # Errors
    /// The server refuses for ten seconds, or hangs up.
    pub async fn publish_surely(&mut self, to: &To, mark: Mark, size: usize) -> Result<()> {
        let Self::Http(client) = self else {
            return self.publish(to, &[mark], size).await;
        };
        let body = body(to, mark, size, &format!(r#""id":"load-{}","#, mark.seq));
        let began = Instant::now();
        while let Err(error) = client.post(&body).await {
            if began.elapsed() > REPEATING {
                return Err(error);
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Reads what the server answered so far, waiting no longer than `patience`
    /// for more.
    ///
    /// # Errors
    /// The server refused a publish, or hung up.
    pub async fn read_replies(&mut self, patience: Duration) -> Result<()> {
        let Self::Ws { connection, buffer } = self else {
            return Ok(()); // HTTP has its answer already
        };
        let refused = |text: &[u8]| match native::kind_of(text) {
            Kind::Error => bail!("a publish was refused: {}", String::from_utf8_lossy(text)),
            _ => Ok(()),
        };
        while let Ok(received) = timeout(patience, connection.receive(buffer, refused)).await {
            if !received? {
                bail!("the server closed the publishing connection");
            }
        }
        Ok(())
    }
}

/// The body of a publish over HTTP, with `more` fields.
fn body(to: &To, mark: Mark, size: usize, more: &str) -> Vec<u8> {
    let (kind, name) = match to {
        To::Room(room) => ("room", room),
        To::User(user) => ("user", user),
    };
    let head =
        [r#"{"to":{""#, kind, r#"":""#, name, r#""},"#, more, r#""event":""#, native::EVENT, r#"","data":"#];
    let mut body = Vec::with_capacity(128 + size);
    head.iter().for_each(|part| body.extend_from_slice(part.as_bytes()));
    payload::write(mark, size, &mut body);
    body.push(b'}');
    body
}
