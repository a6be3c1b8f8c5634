//! To whom letters are delivered: an address of the backend, or a stream that it reads.

use std::sync::Arc;
use std::time::{Duration, Instant};

use broker::{Outbox, Unavailable, Waiting};
use http::{HeaderMap, StatusCode, header};
use proto::{Channel, Pattern, Timestamp};
use reqwest::{Client, Url};
use tokio::sync::Semaphore;

use super::body;
use super::course::{Answer, Policy};
use super::signer::Signer;

/// One table of the configuration, compiled.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) name: String,
    pub(super) channels: Pattern,
    pub(super) policy: Policy,
    /// As many channels are worked on at a time.
    pub(super) places: Arc<Semaphore>,
    pub(super) target: Target,
}

#[derive(Debug)]
pub(super) enum Target {
    /// Signed webhooks.
    Url(Box<Post>),
    /// A stream, in which no more than so many entries may stand.
    Stream(String, u32),
}

/// Where webhooks go, and how.
#[derive(Debug)]
pub(super) struct Post {
    pub(super) url: Url,
    pub(super) client: Client,
    pub(super) signer: Signer,
    /// What the backend answers to say that it never wants the letter.
    pub(super) give_up_on: Vec<StatusCode>,
}

impl Receiver {
    /// Delivers one letter, once.
    pub(super) async fn deliver(
        &self,
        outbox: &dyn Outbox,
        channel: &Channel,
        Waiting { since, letter, .. }: &Waiting,
        now: Timestamp,
    ) -> Answer {
        let Some(body) = body::write(channel, *since, letter) else {
            return Answer::Never("the stored letter cannot be read".to_owned());
        };
        let id = letter.id();
        match &self.target {
            Target::Url(post) => post.send(id.as_str(), body, now).await,
            Target::Stream(name, most) => match outbox.relay(name, *most, &id, body.into()).await {
                Ok(true) => Answer::Taken,
                Ok(false) => Answer::Later("the stream is full".to_owned(), None),
                Err(Unavailable(_)) => Answer::Later("Redis did not answer".to_owned(), None),
            },
        }
    }
}

impl Post {
    async fn send(&self, id: &str, body: String, now: Timestamp) -> Answer {
        let timestamp = now.0 / 1000;
        let request = self
            .client
            .post(self.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", self.signer.sign(id, timestamp, &body))
            .body(body);
        match request.send().await {
            // What else it says is not read; the connection serves again once a short body is over.
            Ok(answer) => {
                let judged = self.judge(answer.status(), answer.headers());
                drain(answer).await;
                judged
            }
            Err(error) if error.is_timeout() => Answer::Later("no answer in time".to_owned(), None),
            Err(_) => Answer::Later("cannot be reached".to_owned(), None),
        }
    }

    fn judge(&self, status: StatusCode, headers: &HeaderMap) -> Answer {
        if status.is_success() {
            return Answer::Taken;
        }
        let reason = format!("answered {}", status.as_u16());
        if self.give_up_on.contains(&status) {
            return Answer::Never(reason);
        }
        let seconds = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        Answer::Later(reason, seconds.map(Duration::from_secs))
    }
}

/// Reads a short answer to its end, so that its connection can be used again.
async fn drain(mut answer: reqwest::Response) {
    const SHORT: usize = 4096;
    let (mut read, begun) = (0, Instant::now());
    while let Ok(Some(chunk)) = answer.chunk().await {
        read += chunk.len();
        if read > SHORT || begun.elapsed() > Duration::from_secs(1) {
            return;
        }
    }
}
