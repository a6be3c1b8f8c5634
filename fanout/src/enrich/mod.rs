//! Asks the application about a webhook before it is published, and goes on without an answer when there is none.

mod address;
mod breaker;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use chassis::options::Secret;
use http::{StatusCode, header};
use parking_lot::Mutex;
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use serde::de::IgnoredAny;

pub(crate) use address::Range;
use address::Resolver;
use breaker::Breaker;

/// The largest answer, in bytes.
const LARGEST_ANSWER: usize = 64 * 1024;

/// Asks one address of the application.
#[derive(Debug)]
pub(crate) struct Enricher {
    url: Url,
    client: Client,
    token: Option<Secret>,
    breaker: Mutex<Breaker>,
}

/// Why an address cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddressError {
    /// Not an address of HTTP.
    #[error("must be an http or https address without a user or password")]
    Address,
    /// An address that may not be called.
    #[error("leads to an address that may not be called; a private one needs allow_private")]
    OutOfRange,
    /// The system's certificates cannot be read, or the like.
    #[error("cannot be called: {0}")]
    Client(String),
}

/// How asking ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    /// With an answer in JSON, or with 404 and none: the application does not know either.
    Answered(Option<String>),
    /// Without one, in time or at all.
    Failed,
    /// Not at all: it failed too often of late.
    Skipped,
}

/// What calls `url`, which must be in `range`, and nothing else; an answer may take `timeout`.
pub(crate) fn caller(url: &str, timeout: Duration, range: Range) -> Result<(Url, Client), AddressError> {
    let url = Url::parse(url).map_err(|_| AddressError::Address)?;
    let plain =
        matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none();
    let host = url.host_str().filter(|_| plain).ok_or(AddressError::Address)?;
    // The resolver never sees an address that is written as numbers.
    let numbers = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    if numbers.is_ok_and(|address| !range.has(address)) {
        return Err(AddressError::OutOfRange);
    }
    let client = Client::builder()
        // A redirection or a proxy would call whom they like.
        .redirect(Policy::none())
        .no_proxy()
        .dns_resolver(Resolver(range))
        .timeout(timeout)
        .user_agent(concat!("switchboard/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| AddressError::Client(error.to_string()))?;
    Ok((url, client))
}

impl Enricher {
    /// Asks `url`, which must be in `range`; an answer may take `timeout`.
    pub(crate) fn new(
        url: &str,
        token: Option<Secret>,
        timeout: Duration,
        range: Range,
    ) -> Result<Self, AddressError> {
        let (url, client) = caller(url, timeout, range)?;
        Ok(Self { url, client, token, breaker: Mutex::new(Breaker::new()) })
    }

    /// Posts `question`, a JSON text.
    pub(crate) async fn ask(&self, question: String) -> Asked {
        if !self.breaker.lock().admit(Instant::now()) {
            return Asked::Skipped;
        }
        let answer = self.call(question).await;
        self.breaker.lock().record(answer.is_some(), Instant::now());
        answer.map_or(Asked::Failed, Asked::Answered)
    }

    async fn call(&self, question: String) -> Option<Option<String>> {
        let mut request = self.client.post(self.url.clone()).header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        let mut answer = request.body(question).send().await.ok()?;
        match answer.status() {
            StatusCode::NOT_FOUND | StatusCode::NO_CONTENT => return Some(None),
            status if status.is_success() => {}
            _ => return None,
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.ok()? {
            if body.len() + chunk.len() > LARGEST_ANSWER {
                return None;
            }
            body.extend_from_slice(&chunk);
        }
        let text = String::from_utf8(body).ok()?;
        serde_json::from_str::<IgnoredAny>(&text).ok()?;
        Some(Some(text.trim().to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str, range: Range) -> Option<AddressError> {
        Enricher::new(url, None, Duration::from_secs(1), range).err()
    }

    #[test]
    fn only_addresses_of_http_in_range_are_taken() {
        assert_eq!(refused("https://app.example/enrich?x=1", Range::Public), None);
        assert_eq!(refused("http://10.0.0.1:3000/", Range::Private), None);
        for url in ["", "app.example", "ftp://app.example/", "file:///etc/passwd", "http://u:p@app.example/"]
        {
            assert_eq!(refused(url, Range::Private), Some(AddressError::Address), "{url}");
        }
        for url in
            ["http://10.0.0.1/", "http://127.0.0.1/", "http://[::1]/", "http://2130706433/", "http://0x7f.1/"]
        {
            assert_eq!(refused(url, Range::Public), Some(AddressError::OutOfRange), "{url}");
        }
        assert_eq!(refused("http://169.254.169.254/", Range::Private), Some(AddressError::OutOfRange));
    }

    #[tokio::test]
    async fn a_name_that_leads_out_of_range_is_not_called() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://localhost:{}/", listener.local_addr().unwrap().port());
        let public = Enricher::new(&url, None, Duration::from_secs(5), Range::Public).unwrap();
        assert_eq!(public.ask("{}".into()).await, Asked::Failed);
        let called = tokio::time::timeout(Duration::ZERO, listener.accept()).await;
        assert!(called.is_err(), "nobody called");
    }
}
