//! Questions to the clients of a user.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use broker::{Inquiry, LONGEST_INQUIRY, Replies, Reply, inquire};
use proto::{BinaryPlaces, Channel, EventName, Publication, SessionId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::params::{described, named};
use crate::api::{Api, now};
use crate::openapi::{AdminProblems, AwayProblems, ChangeProblems};
use crate::refusal::{Refusal, at};
use crate::request::fits;

/// How long clients have for an answer unless the call says otherwise, in milliseconds.
const TIMEOUT: f64 = 5000.0;

/// A question.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"event": "call:offer", "data": {"callId": "c-17"}, "timeout": 5000})))]
pub(crate) struct AskRequest {
    /// The application's name of what is asked: 1 to 128 bytes of printable text.
    #[schema(min_length = 1, max_length = 128, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
    event: String,
    /// Any JSON value; passed on as it was written.
    #[schema(value_type = serde_json::Value)]
    data: Box<RawValue>,
    /// How long to wait for answers, in whole milliseconds.
    #[serde(default = "default_timeout")]
    #[schema(value_type = u64, minimum = 1, maximum = 30000)]
    timeout: f64,
}

const fn default_timeout() -> f64 {
    TIMEOUT
}

/// What came of a question.
#[derive(Serialize, ToSchema)]
#[schema(examples(json!({"answers": [{"session": "c0ffee00c0ffee00c0ffee00c0ffee00", "data": ["accepted", {"at": 3}]}], "silent": 1, "unasked": 0})))]
pub(crate) struct AskResponse {
    /// One for each session whose client answered in time.
    answers: Vec<AnswerOfSession>,
    /// How many sessions were asked and did not answer in time, or with more than 16 KiB. Those of which a node holds more
    /// than 64 are among them, and those with sixteen open questions, without having been asked.
    silent: u64,
    /// How many sessions were not asked, because they are none of Socket.IO, or their vocabulary has no word for it.
    unasked: u64,
}

/// What one client answered.
#[derive(Serialize, ToSchema)]
#[schema(examples(json!({"session": "c0ffee00c0ffee00c0ffee00c0ffee00", "data": ["accepted", {"at": 3}]})))]
pub(crate) struct AnswerOfSession {
    /// The session.
    #[schema(value_type = String)]
    session: SessionId,
    /// All that the client gave its acknowledgement, in this order. Binary data is text, in Base64.
    #[schema(value_type = Vec<serde_json::Value>)]
    data: Box<RawValue>,
}

impl From<Replies> for AskResponse {
    fn from(Replies { answers, silent, unasked }: Replies) -> Self {
        let answer = |Reply { session, data }| AnswerOfSession { session, data };
        Self { answers: answers.into_iter().map(answer).collect(), silent, unasked }
    }
}

/// Asks the clients of a user
///
/// Every session of the user over Socket.IO, on whichever node, gets the event with a request for an acknowledgement, and
/// what the clients give theirs is the answer here: as soon as all have answered, or when the time is over. A question is
/// for whoever is connected now: it is not stored, and a client that comes back is not asked again.
#[utoipa::path(
    post,
    path = "/users/{user}/ask",
    tag = "users",
    params(described::OfUser, described::InTenant),
    request_body = AskRequest,
    responses((status = 200, description = "What they answered", body = AskResponse), AdminProblems, ChangeProblems, AwayProblems),
    security(("token" = []), ("apiKey" = []))
)]
pub(crate) async fn ask(State(api): State<Arc<Api>>, Path(user): Path<String>, request: Request) -> Response {
    api.administer(request, &[], async |asked| {
        let user: UserId = named("user", &user)?;
        let channel = Channel::user(&asked.tenant, &user);
        let inquiry = api.check_question(asked.json(&api).await?, &channel)?;
        // Questions wait for people: they are not to take the places of all other calls.
        let _place = api.asking.try_acquire().map_err(|_| Refusal::Busy)?;
        let replies = inquire(&**api.broker(), &channel, inquiry, api.config.admin_timeout).await?;
        if replies.answers.is_empty() && replies.silent + replies.unasked == 0 {
            return Err(Refusal::NotConnected);
        }
        Ok(Json(AskResponse::from(replies)).into_response())
    })
    .await
}

impl Api {
    fn check_question(&self, request: AskRequest, channel: &Channel) -> Result<Inquiry, Refusal> {
        let AskRequest { event, data, timeout } = request;
        // To a schema 5000.0 is an integer too.
        let longest = LONGEST_INQUIRY.as_secs_f64() * 1000.0;
        if !(1.0..=longest).contains(&timeout) || timeout.fract() != 0.0 {
            return Err(Refusal::malformed("/timeout", "must be 1 to 30000 milliseconds"));
        }
        fits(data.get().len(), channel, self.publisher.rules())?;
        let event = EventName::new(&event).map_err(at("/event"))?;
        let binary = BinaryPlaces::default();
        let publication = Publication { event, data, binary, id: None, from: None, timestamp: now() };
        Ok(Inquiry { publication, within: timeout as u64 })
    }
}
