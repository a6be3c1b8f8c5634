//! Which failures of Redis may be followed by another try.

use std::time::Duration;

use fred::error::{Error, ErrorKind};

/// What repeating a command would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Nothing that the first time did not do.
    Harmless,
    /// Nothing, if the command knows that it is a repetition: the first try must be sent once, later ones say what
    /// they are.
    Marked,
    /// It would take effect twice, so only what was surely refused is tried again.
    Harmful,
}

impl Repeat {
    /// How often the client may write the command for the given try, counted from 0. More than once lets it follow
    /// redirections, but also lets it write a command again whose connection broke.
    pub(super) const fn writes(self, attempt: u32) -> u32 {
        match self {
            Self::Harmless => 3,
            Self::Marked if attempt > 0 => 3,
            Self::Marked | Self::Harmful => 1,
        }
    }

    /// Whether another try makes sense after this failure.
    pub(super) fn after(self, error: &Error) -> bool {
        match judge(error) {
            Failure::Refused => true,
            Failure::Unclear => self != Self::Harmful,
            Failure::Final => false,
        }
    }
}

/// What a failure says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    /// The command surely had no effect, and soon another answer can be had.
    Refused,
    /// It may have had an effect. Trying again can help.
    Unclear,
    /// Trying again within a second does not help.
    Final,
}

fn judge(error: &Error) -> Failure {
    let details = error.details();
    let begins = |codes: &[&str]| codes.iter().any(|code| details.starts_with(code));
    if begins(&["TRYAGAIN", "MOVED", "ASK", "LOADING", "MASTERDOWN", "READONLY", "BUSY "]) {
        return Failure::Refused;
    }
    // The client's way to say that a redirection came and no write was left to follow it.
    if begins(&["Too many failed write attempts", "Too many redirections"]) {
        return Failure::Refused;
    }
    // CLUSTERDOWN is not among the refusals: the client ends the connection on it, and gives the same error to every
    // command on that connection, also to those that were carried out.
    if begins(&["CLUSTERDOWN"]) {
        return Failure::Unclear;
    }
    match error.kind() {
        ErrorKind::Backpressure | ErrorKind::Routing => Failure::Refused,
        ErrorKind::IO | ErrorKind::Canceled | ErrorKind::Cluster | ErrorKind::Protocol => Failure::Unclear,
        _ => Failure::Final,
    }
}

/// How long to wait before the given try, counted from 1: short at first, since most refusals end in milliseconds.
pub(super) fn backoff(attempt: u32, random: f64) -> Duration {
    let ceiling = Duration::from_millis(10 << attempt.clamp(1, 5));
    ceiling.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(kind: ErrorKind, details: &'static str) -> Error {
        Error::new(kind, details)
    }

    #[test]
    fn what_was_refused_is_tried_again_whatever_it_is() {
        for details in ["TRYAGAIN Multiple keys", "LOADING Redis is", "READONLY You can't", "MOVED 1 a:1"] {
            assert!(Repeat::Harmful.after(&failed(ErrorKind::Unknown, details)), "{details}");
        }
    }

    #[test]
    fn what_may_have_had_an_effect_is_tried_again_only_if_that_is_harmless() {
        for error in [
            failed(ErrorKind::IO, "Connection closed."),
            failed(ErrorKind::Canceled, "Canceled"),
            failed(ErrorKind::Cluster, "CLUSTERDOWN The cluster is down"),
        ] {
            assert!(!Repeat::Harmful.after(&error), "{error:?}");
            assert!(Repeat::Marked.after(&error), "{error:?}");
            assert!(Repeat::Harmless.after(&error), "{error:?}");
        }
    }

    #[test]
    fn what_stays_wrong_is_not_tried_again() {
        for details in ["WRONGTYPE Operation", "OOM command not allowed", "NOPERM this user"] {
            assert!(!Repeat::Harmless.after(&failed(ErrorKind::Unknown, details)), "{details}");
        }
        assert!(!Repeat::Harmless.after(&failed(ErrorKind::Timeout, "Request timed out.")));
    }

    #[test]
    fn only_a_marked_repetition_may_be_written_again_by_the_client() {
        assert_eq!((Repeat::Marked.writes(0), Repeat::Marked.writes(1)), (1, 3));
        assert_eq!((Repeat::Harmful.writes(0), Repeat::Harmful.writes(4)), (1, 1));
    }

    #[test]
    fn waiting_grows_and_ends_growing() {
        assert!(backoff(1, 0.0) >= Duration::from_millis(10));
        assert!(backoff(2, 0.5) > backoff(1, 0.5));
        assert_eq!(backoff(40, 1.0), Duration::from_millis(320));
    }
}
