//! How long to wait after a failed `accept`.

use std::io;
use std::time::Duration;

/// Short, because descriptors come free as soon as any connection ends.
const FIRST: Duration = Duration::from_millis(10);
/// A process that is out of descriptors for long should not burn a core, yet be back soon after.
const LONGEST: Duration = Duration::from_secs(1);

/// The pauses between failed attempts: doubled each time, over after a success.
#[derive(Debug, Default)]
pub(super) struct AcceptBackoff {
    failures: u32,
}

impl AcceptBackoff {
    /// An attempt failed. Answers how long to wait, or nothing if the failure was that of one peer, after which the
    /// next one can be accepted at once.
    pub(super) fn failed(&mut self, error: &io::Error) -> Option<Duration> {
        if is_of_peer(error) {
            return None;
        }
        let wait = FIRST.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        Some(wait)
    }

    /// An attempt succeeded. Answers whether the ones before it had failed.
    pub(super) fn succeeded(&mut self) -> bool {
        std::mem::take(&mut self.failures) > 0
    }

    /// Whether just one attempt has failed since the last success.
    pub(super) const fn is_first(&self) -> bool {
        self.failures == 1
    }
}

/// Whether the connection broke before it was accepted (accept(2), "Error handling"), or was forbidden by a
/// firewall. Everything else, such as `EMFILE`, `ENFILE`, `ENOBUFS` and `ENOMEM`, is likely to fail again at once.
fn is_of_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
            | io::ErrorKind::TimedOut
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMFILE: i32 = 24;

    #[test]
    fn pauses_grow_to_a_second_and_end_with_a_success() {
        let exhausted = io::Error::from_raw_os_error(EMFILE);
        let mut backoff = AcceptBackoff::default();
        let pauses: Vec<_> =
            (0..40).filter_map(|_| backoff.failed(&exhausted)).map(|wait| wait.as_millis()).collect();
        assert_eq!(pauses[..9], [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        assert_eq!(pauses.len(), 40);
        assert!(pauses[7..].iter().all(|wait| *wait == 1000));
        assert!(backoff.succeeded());
        assert!(!backoff.succeeded());
        assert_eq!(backoff.failed(&exhausted), Some(FIRST));
        assert!(backoff.is_first());
    }

    #[test]
    fn a_peer_that_went_away_is_no_reason_to_wait() {
        let mut backoff = AcceptBackoff::default();
        assert_eq!(backoff.failed(&io::ErrorKind::ConnectionAborted.into()), None);
        assert!(!backoff.succeeded());
    }
}
