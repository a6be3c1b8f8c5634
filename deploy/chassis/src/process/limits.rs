//! How many descriptors the process may have open, and so how many connections it can hold.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For the connections to Redis, the log, files, and callers that are just being refused.
const RESERVE: u64 = 256;

/// Takes as many descriptors as the system lets us have (shells and service managers hand out 1,024, which a
/// gateway uses up in a moment), and answers how many of the wanted connections they are enough for. With no more
/// places than that, whoever comes too late gets a clear refusal; without descriptors, he would get no answer at all.
pub(super) fn fit_connections(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::debug!(%error, "the limit of open files stays as it is");
        }
    }
    fit(wanted, getrlimit(Resource::Nofile).current)
}

/// No limit means as many as wanted; at least one connection is tried in any case.
fn fit(wanted: usize, descriptors: Option<u64>) -> usize {
    let Some(descriptors) = descriptors else { return wanted };
    let places = usize::try_from(descriptors.saturating_sub(RESERVE)).unwrap_or(usize::MAX);
    wanted.min(places.max(1))
}

#[cfg(test)]
mod tests {
    use super::fit;

    #[test]
    fn there_are_no_more_places_than_descriptors() {
        assert_eq!(fit(50_000, None), 50_000);
        assert_eq!(fit(50_000, Some(1 << 20)), 50_000);
        assert_eq!(fit(50_000, Some(1024)), 768);
        assert_eq!(fit(50_000, Some(100)), 1);
    }
}
