//! The streams of channels, read in both directions.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use broker::{Continuity, Earlier, Entry, HistoryQuery};
use proto::{Channel, ErrorCode, EventName, MessageId, Position, Publication, Sender, Tenant, Timestamp};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::params::described;
use crate::api::Api;
use crate::openapi::AdminProblems;
use crate::refusal::Refusal;

/// A part of a channel's stream.
#[derive(Serialize, ToSchema)]
#[schema(examples(json!({"items": [{"position": "v1.9f3c01d2.17.5be2", "event": "message:new", "data": {"text": "hello"}, "timestamp": 1754329930000_u64}], "first": "v1.9f3c01d2.17.5be2", "last": "v1.9f3c01d2.17.5be2", "continuous": true})))]
pub(crate) struct HistoryOfChannel {
    /// Oldest first, without a hole.
    items: Vec<Item>,
    /// Whether the items continue the place that was given. If not, the stream began anew, lost writes, or does not reach
    /// back to it: then these are the oldest that are kept (`after`), or none (`before`).
    continuous: bool,
    /// What to give as `before` for the items before these; absent where there are none here.
    #[schema(value_type = Option<String>, nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    first: Option<Position>,
    /// What to give as `after` for the items after these; absent where there are none here.
    #[schema(value_type = Option<String>, nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<Position>,
}

/// One message.
#[derive(Serialize, ToSchema)]
#[schema(examples(json!({"position": "v1.9f3c01d2.17.5be2", "event": "message:new", "data": {"text": "hello"}, "from": {"user": "42"}, "timestamp": 1_754_329_930_000_u64})))]
struct Item {
    /// Where it stands.
    #[schema(value_type = String)]
    position: Position,
    /// The application's name of what happened.
    #[schema(value_type = String)]
    event: EventName,
    /// As it was written.
    #[schema(value_type = serde_json::Value)]
    data: Box<RawValue>,
    /// The publisher's id.
    #[schema(value_type = Option<String>, nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<MessageId>,
    /// Who sent it; absent when a backend did.
    #[schema(value_type = Option<ItemSender>, nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<ItemSender>,
    /// When it came in, in milliseconds since 1970.
    #[schema(value_type = u64)]
    timestamp: Timestamp,
}

/// Who sent a message.
#[derive(Serialize, ToSchema)]
struct ItemSender {
    /// The user's id.
    user: String,
    /// The name for people, where the token has one.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

impl From<Sender> for ItemSender {
    fn from(sender: Sender) -> Self {
        Self { user: sender.user.to_string(), name: sender.name }
    }
}

/// Reads the messages of a channel
///
/// Without a place the last ones; with `before` those that end right before it, with `after` those that begin right after
/// it. Oldest first in each case.
#[utoipa::path(
    get,
    path = "/channels/{channel}/history",
    tag = "rooms",
    params(
        ("channel" = String, Path, description = "`room:` or `user:` with a name, or `all`", pattern = "^(room:[A-Za-z0-9_.:@+=|~-]{1,128}|user:[A-Za-z0-9_.:@+=|~-]{1,128}|all)$", example = "room:lobby"),
        ("before" = Option<String>, Query, nullable = false, description = "A position: the messages before it", pattern = "^v1\\.[1-9a-f][0-9a-f]{0,15}\\.[1-9][0-9]{0,18}\\.[1-9a-f][0-9a-f]{0,15}$"),
        ("after" = Option<String>, Query, nullable = false, description = "A position: the messages after it; not together with `before`", pattern = "^v1\\.[1-9a-f][0-9a-f]{0,15}\\.[1-9][0-9]{0,18}\\.[1-9a-f][0-9a-f]{0,15}$"),
        described::Limited,
        described::InTenant
    ),
    responses((status = 200, description = "A part of the stream", body = HistoryOfChannel), AdminProblems),
    security(("token" = []), ("apiKey" = []))
)]
pub(crate) async fn history(
    State(api): State<Arc<Api>>,
    Path(channel): Path<String>,
    request: Request,
) -> Response {
    api.administer(request, &["before", "after", "limit"], async |asked| {
        let channel = channel_of(&asked.tenant, &channel)?;
        let limit = u32::try_from(asked.params.limit()?).unwrap_or(u32::MAX);
        let place = |name| match asked.params.text(name) {
            Some(text) => text.parse::<Position>().map(Some).map_err(|error| Refusal::BadParameter {
                code: ErrorCode::InvalidPosition,
                detail: format!("{name} {error}"),
            }),
            None => Ok(None),
        };
        let (entries, continuous) = match (place("before")?, place("after")?) {
            (Some(_), Some(_)) => {
                return Err(Refusal::Parameter("before and after do not go together".into()));
            }
            (None, Some(after)) => {
                let query = HistoryQuery { after: Some(after), limit };
                let history = api.within(api.broker().history(&channel, query)).await?;
                (history.entries, history.continuity == Continuity::Continuous)
            }
            (before, None) => {
                let earlier = api.broker().earlier(&channel, before, limit);
                let Earlier { entries, known, .. } = api.within(earlier).await?;
                (entries, known)
            }
        };
        let places = |entry: &Entry| entry.step.position;
        Ok(Json(HistoryOfChannel {
            first: entries.first().map(places),
            last: entries.last().map(places),
            items: entries.iter().filter_map(|entry| item(&channel, entry)).collect(),
            continuous,
        })
        .into_response())
    })
    .await
}

/// The channel of a public name.
fn channel_of(tenant: &Tenant, name: &str) -> Result<Channel, Refusal> {
    let refused = |error| Refusal::NamedParameter { what: "channel", error };
    match name.split_once(':') {
        Some(("room", room)) => Ok(Channel::room(tenant, &room.parse().map_err(refused)?)),
        Some(("user", user)) => Ok(Channel::user(tenant, &user.parse().map_err(refused)?)),
        _ if name == "all" => Ok(Channel::everyone(tenant)),
        _ => Err(Refusal::Parameter("channel must be room:<name>, user:<name> or all".into())),
    }
}

fn item(channel: &Channel, entry: &Entry) -> Option<Item> {
    match Publication::decode(&entry.payload) {
        Ok(Publication { event, data, id, from, timestamp, .. }) => {
            let from = from.map(ItemSender::from);
            Some(Item { position: entry.step.position, event, data, id, from, timestamp })
        }
        Err(error) => {
            tracing::error!(%channel, %error, "a stored publication cannot be read");
            None
        }
    }
}
