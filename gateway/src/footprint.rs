//! What each connection that waits costs. A node may hold hundreds of thousands, so what is rare is boxed, and what grew is
//! given back; here the sizes are written down that nobody would notice to grow otherwise.

use crate::connection::Connection;
use crate::connection::following::Following;
use crate::hub::Subscriber;
use crate::peer::Peer;
use crate::transport::websocket::WebSocket;

#[test]
fn what_every_connection_has_stays_small() {
    // With the runtime's part the task takes 512 bytes, of which it takes whole multiples of 128.
    assert!(size_of::<Connection<WebSocket>>() <= 368);
    assert!(size_of::<Peer>() <= 360);
    // Three of each: the user's own channel, everyone's, a room.
    assert!(size_of::<Following>() <= 64);
    assert!(size_of::<Subscriber>() <= 40);
}
