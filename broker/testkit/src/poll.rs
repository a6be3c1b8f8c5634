//! Waiting for a condition, with a deadline.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep};

/// How long to leave the processor to the others between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Waits until `holds` answers true. An error counts as "not yet", because a server that is about to come up refuses
/// connections; the last one is told when `limit` has passed.
pub async fn until<F, Looking>(what: &str, limit: Duration, mut holds: F) -> Result<()>
where
    F: FnMut() -> Looking,
    Looking: Future<Output = Result<bool>>,
{
    let deadline = Instant::now() + limit;
    loop {
        let answer = holds().await;
        if matches!(answer, Ok(true)) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let mut message = format!("not within {limit:?}: {what}");
            if let Err(error) = answer {
                let _ = write!(message, " ({error:#})");
            }
            bail!(message);
        }
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_deadline_tells_what_was_missed_and_why() {
        let outcome =
            until("the moon is blue", Duration::from_millis(30), || async { bail!("it is grey") }).await;
        let message = outcome.unwrap_err().to_string();
        assert!(message.contains("the moon is blue") && message.contains("it is grey"), "{message}");
    }

    #[tokio::test]
    async fn an_error_is_not_the_end_of_waiting() {
        let mut looks = 0;
        let outcome = until("third time lucky", Duration::from_secs(5), || {
            looks += 1;
            let lucky = looks == 3;
            async move { if lucky { Ok(true) } else { bail!("no luck") } }
        });
        outcome.await.unwrap();
    }
}
