//! What waits for a user who is away: how devices are named, and from where they go on.

use std::time::Duration;

use proto::DeviceId;

use super::policy::ClaimsText;

/// The offline queue of an endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Offline {
    /// From where a device goes on of which nothing is known.
    pub first: First,
    /// The name of a client's device that says none itself. Without it such a client has no queue.
    pub device: Option<ClaimsText>,
}

/// From where a device goes on of which nothing is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// From the oldest publication that is kept: what was sent to somebody who never came is not lost.
    Kept,
    /// From where the channel ends now.
    New,
}

/// The device of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) id: DeviceId,
    pub(crate) first: First,
}

impl Offline {
    /// The device of a session, as its client `named` it, or by the claims of its token, a JSON object.
    pub(crate) fn device(&self, named: Option<DeviceId>, claims: &str) -> Option<Device> {
        let by_claims = || DeviceId::new(self.device.as_ref()?.text(claims).ok()?).ok();
        Some(Device { id: named.or_else(by_claims)?, first: self.first })
    }
}

/// For how long it is remembered how far a device has got whose channel keeps its publications for `age`: longer, so that
/// a device that stays away for too long is told what it missed.
pub(crate) fn life(age: Duration) -> Duration {
    const MARGIN: Duration = Duration::from_secs(24 * 3600);
    age.saturating_mul(2).max(age.saturating_add(MARGIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_named_by_its_client_or_by_the_token() {
        let offline = |device: Option<&str>| Offline {
            first: First::Kept,
            device: device.map(|text| ClaimsText::compile("device", text).unwrap()),
        };
        let named = |offline: &Offline, name: Option<&str>, claims| {
            let device = offline.device(name.map(|name| DeviceId::new(name).unwrap()), claims);
            device.map(|device| device.id.as_str().to_owned())
        };
        let [none, fixed, claimed] = [None, Some("any"), Some("$claims.device")].map(offline);
        assert_eq!(named(&none, None, "{}"), None);
        assert_eq!(named(&none, Some("phone"), "{}").unwrap(), "phone");
        assert_eq!(named(&fixed, None, "{}").unwrap(), "any");
        assert_eq!(named(&fixed, Some("phone"), "{}").unwrap(), "phone");
        assert_eq!(named(&claimed, None, r#"{"device":7}"#).unwrap(), "7");
        for no_name in ["{}", r#"{"device":"a/b"}"#, r#"{"device":{}}"#] {
            assert_eq!(named(&claimed, None, no_name), None, "{no_name}");
        }
    }
}
