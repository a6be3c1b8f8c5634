//! What callers get.

use axum::response::{IntoResponse, Response};
use broker::Published;
use http::header::{CONTENT_TYPE, HeaderValue};
use proto::{Channel, Position};
use serde::Serialize;
use utoipa::ToSchema;

use crate::problem::Problem;

/// One channel that has the message.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Receipt {
    /// The channel: `room:lobby`, `user:42` or `all`.
    #[schema(examples("room:lobby"))]
    pub(crate) channel: String,
    /// Where the message stands in it; `null` when the channel does not keep it.
    #[schema(value_type = Option<String>, required = true, examples("v1.9f3c01d2.17.5be2"))]
    pub(crate) position: Option<Position>,
    /// The same id was published before; the position is that of the first time.
    pub(crate) duplicate: bool,
}

impl Receipt {
    pub(crate) fn new(channel: &Channel, published: Published) -> Self {
        Self { channel: channel.public_name(), position: published.position, duplicate: published.duplicate }
    }
}

/// Every channel that the message went to, in the order of the request.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({"results": [{"channel": "room:lobby", "position": "v1.9f3c01d2.17.5be2", "duplicate": false}]})))]
pub(crate) struct PublishResponse {
    /// One for each channel.
    pub(crate) results: Vec<Receipt>,
}

impl IntoResponse for PublishResponse {
    fn into_response(self) -> Response {
        // Texts, numbers and truth values always have a form in JSON.
        let body = serde_json::to_vec(&self).unwrap_or_default();
        ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
    }
}

/// What became of each item, in the order of the request.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({"results": [{"status": 200, "results": [{"channel": "room:lobby", "position": "v1.9f3c01d2.17.5be2", "duplicate": false}]}]})))]
pub(crate) struct BatchResponse {
    /// One for each item.
    pub(crate) results: Vec<ItemResult>,
}

/// What became of one item: the status and body that it would have had as a call of its own.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum ItemResult {
    /// The message is in every channel.
    Published {
        /// Always 200.
        #[schema(minimum = 200, maximum = 200)]
        status: u16,
        /// One for each channel.
        results: Vec<Receipt>,
    },
    /// The message was refused, or is not in every channel.
    Failed {
        /// The status of the problem.
        #[schema(minimum = 400, maximum = 599)]
        status: u16,
        /// What went wrong.
        #[schema(value_type = crate::openapi::ProblemBody)]
        problem: Problem,
    },
}

impl ItemResult {
    pub(crate) fn new(result: Result<Vec<Receipt>, Problem>) -> Self {
        match result {
            Ok(results) => Self::Published { status: 200, results },
            Err(problem) => Self::Failed { status: problem.status(), problem },
        }
    }
}

/// What became of a stream of messages.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(examples(json!({"lines": 1000, "published": 1000, "duplicates": 0, "failed": 0, "failures": []})))]
pub(crate) struct BulkResponse {
    /// How many messages came.
    pub(crate) lines: u64,
    /// How many of them are in every channel.
    pub(crate) published: u64,
    /// How many of those were there before, by their id.
    pub(crate) duplicates: u64,
    /// How many were refused.
    pub(crate) failed: u64,
    /// The first 100 of these.
    #[schema(max_items = 100)]
    pub(crate) failures: Vec<BulkFailure>,
}

/// Why one message of a stream was refused.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BulkFailure {
    /// Which message, from 1; empty lines do not count.
    #[schema(minimum = 1)]
    line: u64,
    /// The status of the problem.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What went wrong.
    #[schema(value_type = crate::openapi::ProblemBody)]
    problem: Problem,
}

impl BulkFailure {
    pub(crate) fn new(line: u64, problem: Problem) -> Self {
        Self { line, status: problem.status(), problem }
    }
}
