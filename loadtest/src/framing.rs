//! What a load run speaks with a server: the native protocol, or Socket.IO.

use clap::ValueEnum;
use serde::Serialize;

use crate::{native, socketio};

/// How clients of a run say what they want and are told what there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Framing {
    /// The native protocol.
    #[default]
    Native,
    /// Socket.IO over WebSocket, by the events of `socketio.toml`.
    #[value(name = "socketio")]
    SocketIo,
}

/// What a server's message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The connection stands.
    Welcome,
    /// The token was accepted.
    AuthSuccess,
    /// A room was joined.
    Joined,
    /// A room was left.
    Left,
    /// A publication was taken.
    Published,
    /// A publication is delivered.
    Message,
    /// Something was refused.
    Error,
    /// The server wants a sign of life: [`Framing::pong`].
    Ping,
    /// Anything else.
    Other,
}

impl Framing {
    /// Its name in reports and among options.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::SocketIo => "socketio",
        }
    }

    /// What is asked for by the opening handshake at `path`.
    #[must_use]
    pub fn target(self, path: &str, token: &str) -> String {
        match self {
            Self::Native => format!("{path}?token={token}"),
            Self::SocketIo => format!("{path}?{}", socketio::QUERY),
        }
    }

    /// What authenticates a client after the handshake, where that has not done it.
    #[must_use]
    pub fn login(self, token: &str) -> Option<String> {
        match self {
            Self::Native => None,
            Self::SocketIo => Some(socketio::connect(token, None)),
        }
    }

    /// The kind of a message, given its text.
    #[must_use]
    pub fn kind_of(self, text: &[u8]) -> Kind {
        match self {
            Self::Native => native::kind_of(text),
            Self::SocketIo => socketio::kind_of(text),
        }
    }

    /// The answer to [`Kind::Ping`].
    #[must_use]
    pub fn pong(self) -> &'static str {
        match self {
            Self::Native => native::PING,
            Self::SocketIo => socketio::PONG,
        }
    }

    /// Asks for a room.
    #[must_use]
    pub fn join(self, room: &str) -> String {
        match self {
            Self::Native => native::join(room),
            Self::SocketIo => socketio::join(room),
        }
    }

    /// Gives a room up.
    #[must_use]
    pub fn leave(self, room: &str) -> String {
        match self {
            Self::Native => native::leave(room),
            Self::SocketIo => socketio::leave(room),
        }
    }
}
