//! The requests of a session that polls.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use proto::Close;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::config::Config;
use super::link::{Command, Link};
use super::refusal::Refusal;

/// Waits for what is sent to the client.
pub(super) async fn get(link: &Link) -> Result<Response, Refusal> {
    let (answer, answered) = oneshot::channel();
    link.command(Command::Poll(answer))?;
    // No answer at all: the session has ended.
    answered.await.unwrap_or(Err(Refusal::UnknownSession)).map(text)
}

/// Takes what a client sends.
pub(super) async fn post(link: &Arc<Link>, request: Request, config: &Config) -> Result<Response, Refusal> {
    if !link.begin_post() {
        link.close(Close::PolicyViolation);
        return Err(Refusal::BadRequest);
    }
    let mut receiving = Receiving { link, is_done: false };
    let body = receive(request, config).await;
    receiving.is_done = true;
    let body = body.inspect_err(|refusal| {
        if *refusal != Refusal::TooLarge {
            link.close(Close::InvalidPayload);
        }
    })?;
    let (answer, answered) = oneshot::channel();
    link.command(Command::Post(body, answer))?;
    answered.await.unwrap_or(Err(Refusal::UnknownSession))?;
    let mut response = "ok".into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    Ok(response)
}

/// An answer with a polling body.
pub(super) fn text(body: String) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=UTF-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Receives a body within the limits.
async fn receive(request: Request, config: &Config) -> Result<String, Refusal> {
    let (head, body) = request.into_parts();
    check_head(&head.headers, config.max_payload)?;
    let body = Limited::new(body, config.max_payload);
    let received = timeout(config.ping_timeout, body.collect()).await.map_err(|_| Refusal::BadRequest)?;
    let bytes = received.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
        Some(_) => Refusal::TooLarge,
        None => Refusal::BadRequest,
    })?;
    String::from_utf8(bytes.to_bytes().into()).map_err(|_| Refusal::BadRequest)
}

/// What can be said of a body before it comes.
fn check_head(headers: &HeaderMap, max_payload: usize) -> Result<(), Refusal> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    // That is how earlier revisions sent binary packets.
    if text(CONTENT_TYPE).is_some_and(|kind| kind.starts_with("application/octet-stream")) {
        return Err(Refusal::BadRequest);
    }
    match text(CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok()) {
        Some(length) if length > max_payload => Err(Refusal::TooLarge),
        _ => Ok(()),
    }
}

/// A body on its way. When the client cuts it off, nobody can tell what of it was meant to arrive.
struct Receiving<'a> {
    link: &'a Arc<Link>,
    is_done: bool,
}

impl Drop for Receiving<'_> {
    fn drop(&mut self) {
        self.link.end_post();
        if !self.is_done {
            self.link.close(Close::InvalidPayload);
        }
    }
}
