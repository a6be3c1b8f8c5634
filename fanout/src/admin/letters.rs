//! Dead letters: what could not be delivered to the backend, to look at and to send again.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use broker::{DeadLetter, LetterId};
use proto::{Tenant, Timestamp};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::done;
use super::params::described;
use crate::api::Api;
use crate::openapi::{AdminProblems, NoLetterProblems};
use crate::outbox::{Body, time, write};
use crate::refusal::Refusal;

/// How many letters are read at a time while those of the tenant are looked for.
const PAGE: usize = 200;

/// A part of the dead letters.
#[derive(Serialize, ToSchema)]
#[schema(examples(json!({"letters": [{"id": "msg_00000000000000a1-7-00000000000000b2", "channel": "room:lobby", "since": "2026-03-01T12:00:00.000Z", "died": "2026-03-02T12:00:00.000Z", "reason": "answered 410"}]})))]
pub(crate) struct DeadLetters {
    /// In the order in which they were given up.
    letters: Vec<Letter>,
    /// What to give as `after` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, examples("00001767225600000-msg_00000000000000a1-7-00000000000000b2"))]
    next: Option<String>,
}

/// A letter that was given up.
#[derive(Serialize, ToSchema)]
#[schema(as = DeadLetter)]
pub(crate) struct Letter {
    /// The `webhook-id` that it was delivered under, and would be again.
    #[schema(examples("msg_00000000000000a1-7-00000000000000b2"))]
    id: String,
    /// The channel.
    #[schema(examples("room:lobby"))]
    channel: String,
    /// Since when it had waited.
    #[schema(format = "date-time")]
    since: String,
    /// When it was given up.
    #[schema(format = "date-time")]
    died: String,
    /// Why: what the last attempt came to.
    #[schema(examples("answered 410"))]
    reason: String,
    /// What was delivered; absent where it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Body<'static>>, nullable = false)]
    body: Option<Box<RawValue>>,
}

/// Lists dead letters
///
/// Page by page, in the order in which they were given up: because the backend refused them for good, or after all
/// attempts. At most 10,000 are kept in all; with more, the channel that would add one waits.
#[utoipa::path(
    get,
    path = "/outbox/dead",
    tag = "outbox",
    params(
        ("after" = Option<String>, Query, nullable = false, description = "Go on after this place: the `next` of the page before", min_length = 1, max_length = 96, pattern = "^[0-9]{1,17}-[A-Za-z0-9_-]+$"),
        described::Limited,
        described::InTenant
    ),
    responses((status = 200, description = "A page of them", body = DeadLetters), AdminProblems),
    security(("token" = []), ("apiKey" = []))
)]
pub(crate) async fn dead(State(api): State<Arc<Api>>, request: Request) -> Response {
    api.administer(request, &["after", "limit"], async |asked| {
        let after = asked.params.text("after").map(place).transpose()?;
        let limit = asked.params.limit()?;
        let (letters, next) = api.within(find(&api, &asked.tenant, after, limit)).await?;
        let next = next.map(|(died, id)| format!("{:017}-{id}", died.0));
        Ok(Json(DeadLetters { letters: letters.iter().map(Letter::from).collect(), next }).into_response())
    })
    .await
}

/// Delivers a dead letter again
///
/// It goes to the end of its channel's outbox, under the id that it had.
#[utoipa::path(
    post,
    path = "/outbox/dead/{letter}/replay",
    tag = "outbox",
    params(
        ("letter" = String, Path, description = "The letter's `id`", example = "msg_00000000000000a1-7-00000000000000b2", min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9_-]+$"),
        described::InTenant
    ),
    responses((status = 204, description = "It waits to be delivered"), AdminProblems, NoLetterProblems),
    security(("token" = []), ("apiKey" = []))
)]
pub(crate) async fn replay(
    State(api): State<Arc<Api>>,
    Path(letter): Path<String>,
    request: Request,
) -> Response {
    api.administer(request, &[], async |asked| {
        let id = LetterId::new(&letter)
            .map_err(|_| Refusal::Parameter("the path holds no id of a letter".into()))?;
        if api.within(api.outbox.replay(&asked.tenant, &id)).await? {
            Ok(done())
        } else {
            Err(Refusal::NoSuchLetter)
        }
    })
    .await
}

type Place = (Timestamp, LetterId);

/// Reads a place: when a letter died, and its id.
fn place(text: &str) -> Result<Place, Refusal> {
    let read = || {
        let (died, id) = text.split_once('-')?;
        Some((Timestamp(died.parse().ok()?), LetterId::new(id).ok()?))
    };
    read().ok_or_else(|| Refusal::Parameter("after must be the next of a page before".into()))
}

/// The letters of a tenant, and where the next page begins if there is one.
async fn find(
    api: &Api,
    tenant: &Tenant,
    mut after: Option<Place>,
    limit: usize,
) -> Result<(Vec<DeadLetter>, Option<Place>), broker::Unavailable> {
    let mut found: Vec<DeadLetter> = Vec::new();
    loop {
        let page = api.outbox.dead(after.as_ref().map(|(died, id)| (*died, id)), PAGE).await?;
        let is_last = page.len() < PAGE;
        for letter in page {
            after = Some((letter.died, letter.letter.id()));
            if letter.channel.tenant() != tenant.as_str() {
                continue;
            }
            if found.len() == limit {
                let last = found.last().map(|letter| (letter.died, letter.letter.id()));
                return Ok((found, last));
            }
            found.push(letter);
        }
        if is_last {
            return Ok((found, None));
        }
    }
}

impl From<&DeadLetter> for Letter {
    fn from(dead: &DeadLetter) -> Self {
        let body = write(&dead.channel, dead.since, &dead.letter);
        Self {
            id: dead.letter.id().to_string(),
            channel: dead.channel.public_name(),
            since: time(dead.since),
            died: time(dead.died),
            reason: dead.reason.clone(),
            body: body.and_then(|body| RawValue::from_string(body).ok()),
        }
    }
}
