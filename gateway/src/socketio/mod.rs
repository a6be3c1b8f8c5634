//! Socket.IO, for clients that speak it already, over [Engine.IO](crate::engineio).
//!
//! [`SocketIo`] is a service that makes of messages the events of an [`App`]: `assembly` joins packets and their
//! attachments, `app` knows the namespaces, `socket` is what a handler sends by.

mod app;
pub(crate) mod assembly;
mod socket;

pub use app::{App, Client, Handler, NotConnected, SocketIo};
pub use assembly::{Arguments, Event};
pub use socket::{Acknowledgement, EmitError, Socket, Unacknowledged, event};
