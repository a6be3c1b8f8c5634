//! How far a user's devices have got in the user's channel: from where each goes on when it comes back.

use std::time::Duration;

use proto::{Channel, DeviceId, Position};

/// Of how many devices of a user it is known how far they have got. With one more the one is forgotten that was not heard of
/// for longest.
pub const DEVICES_MAX: usize = 64;

/// How far a device has got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    /// The user's own channel.
    pub user: Channel,
    /// Which of the user's devices.
    pub device: DeviceId,
    /// The place after the last publication that the device is known to have.
    pub position: Position,
    /// For how long from now on this is remembered, and the channel's epoch with it.
    pub life: Duration,
}
