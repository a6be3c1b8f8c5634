//! Errors as the caller sees them: problem details (RFC 9457).

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::refusal::Refusal;
use crate::response::Receipt;

/// A problem of every Switchboard process, with what only this API adds: which part of the body is meant, and which
/// channels have the message all the same.
#[derive(Debug)]
pub(crate) struct Problem {
    base: chassis::problem::Problem,
    status: StatusCode,
    pointer: Option<String>,
    results: Vec<Receipt>,
}

impl Problem {
    /// The problem that a refusal is. `within` is where the refused message stands in the body: a JSON pointer.
    pub(crate) fn of(refusal: &Refusal, within: &str) -> Self {
        let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut base =
            chassis::problem::Problem::new(refusal.code()).status(status).detail(refusal.to_string());
        if let Some(wait) = refusal.retry_after() {
            base = base.retry_after(wait);
        }
        let pointer = refusal.pointer().map(|pointer| format!("{within}{pointer}"));
        Self { base, status, pointer, results: Vec::new() }
    }

    /// Adds the channels that were published to all the same.
    pub(crate) fn with_results(self, results: Vec<Receipt>) -> Self {
        Self { results, ..self }
    }

    pub(crate) fn status(&self) -> u16 {
        self.status.as_u16()
    }

    fn body(&self) -> serde_json::Result<Map<String, Value>> {
        let mut body: Map<String, Value> = serde_json::from_str(&self.base.to_json())?;
        if let Some(pointer) = &self.pointer {
            body.insert("pointer".into(), pointer.as_str().into());
        }
        if !self.results.is_empty() {
            body.insert("results".into(), serde_json::to_value(&self.results)?);
        }
        Ok(body)
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.body().map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // What has only texts, numbers and truth values always has a form in JSON.
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let (head, _) = self.base.into_response().into_parts();
        Response::from_parts(head, Body::from(body))
    }
}
