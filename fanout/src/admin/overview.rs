//! Who and what there is: the users online, the rooms in use, and their sums.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use broker::{Busiest, RoomCount};
use proto::{Channel, PresenceEntry, Profile, Room, Tenant, UserId};
use serde::Serialize;
use utoipa::ToSchema;

use super::params::{described, named};
use crate::api::Api;
use crate::openapi::AdminProblems;
use crate::refusal::Refusal;

/// How many rooms statistics name unless the caller asks for less or more.
const BUSIEST: usize = 10;

/// A part of the users that are present.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({"count": 1, "users": [{"user": "42", "name": "Ann"}]})))]
pub(crate) struct UsersPresent {
    /// How many users there are in all.
    pub(crate) count: u64,
    /// About as many as `limit`, in no order.
    pub(crate) users: Vec<UserPresent>,
    /// What to give as `from` for the next page; absent on the last one.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<String>,
}

/// A user that is present.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({"user": "42", "name": "Ann"})))]
pub(crate) struct UserPresent {
    /// The user's id.
    #[schema(value_type = String)]
    pub(crate) user: UserId,
    /// The name for people, where the token has one.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// What the application shows of the user, where it says so.
    #[schema(value_type = Option<serde_json::Value>, nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) profile: Option<Profile>,
}

impl From<PresenceEntry> for UserPresent {
    fn from(entry: PresenceEntry) -> Self {
        Self { user: entry.user, name: entry.name, profile: entry.profile }
    }
}

/// A part of the rooms in which somebody is present.
#[derive(Serialize, ToSchema)]
#[schema(examples(json!({"rooms": [{"room": "lobby", "users": 15}]})))]
pub(crate) struct RoomsInUse {
    /// About as many as `limit`, in no order.
    rooms: Vec<RoomInUse>,
    /// What to give as `from` for the next page; absent on the last one.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A room in which somebody is present.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({"room": "lobby", "users": 15})))]
pub(crate) struct RoomInUse {
    /// The room's name.
    #[schema(value_type = String)]
    pub(crate) room: Room,
    /// How many users are in it, each once.
    pub(crate) users: u64,
}

impl From<RoomCount> for RoomInUse {
    fn from(RoomCount { room, users }: RoomCount) -> Self {
        Self { room, users }
    }
}

/// The sums of a tenant.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({"connections": 42, "rooms": 8, "busiest": [{"room": "lobby", "users": 15}]})))]
pub(crate) struct Statistics {
    /// How many sessions there are on all nodes.
    pub(crate) connections: u64,
    /// In how many rooms somebody is present.
    pub(crate) rooms: u64,
    /// The rooms with the most users, in this order.
    pub(crate) busiest: Vec<RoomInUse>,
}

impl Api {
    /// Who is present in a channel, page by page.
    pub(crate) async fn present_in(
        &self,
        channel: &Channel,
        from: u64,
        limit: usize,
    ) -> Result<UsersPresent, Refusal> {
        if !self.publisher.rules().of(channel).presence {
            return Err(Refusal::PresenceOff(channel.public_name()));
        }
        let broker = self.broker();
        let page =
            async { tokio::try_join!(broker.present_page(channel, from, limit), broker.present(channel, 0)) };
        let (page, all) = self.within(page).await?;
        let users = page.items.into_iter().map(UserPresent::from).collect();
        Ok(UsersPresent { count: all.count, users, next: page.next.map(|next| next.to_string()) })
    }

    /// The sums of a tenant, with so many rooms.
    pub(crate) async fn statistics(&self, tenant: &Tenant, limit: usize) -> Result<Statistics, Refusal> {
        let broker = self.broker();
        let sums = async { tokio::try_join!(broker.sessions(tenant), broker.busiest(tenant, limit)) };
        let (connections, Busiest { rooms, busiest }) = self.within(sums).await?;
        Ok(Statistics { connections, rooms, busiest: busiest.into_iter().map(Into::into).collect() })
    }
}

/// Lists the users that are connected
///
/// Page by page, over all nodes. Whoever is connected all the while is listed at least once, and seldom twice. Needs
/// presence to be on for the channel `all`.
#[utoipa::path(
    get,
    path = "/users",
    tag = "users",
    params(described::From, described::Limited, described::InTenant),
    responses((status = 200, description = "A page of them", body = UsersPresent), AdminProblems),
    security(("token" = []), ("apiKey" = []))
)]
pub(crate) async fn users(State(api): State<Arc<Api>>, request: Request) -> Response {
    api.administer(request, &["from", "limit"], async |asked| {
        let (from, limit) = (asked.params.from()?, asked.params.limit()?);
        let page = api.present_in(&Channel::everyone(&asked.tenant), from, limit).await?;
        Ok(Json(page).into_response())
    })
    .await
}

/// Lists the users that are present in a room
///
/// Page by page, over all nodes. Whoever is there all the while is listed at least once, and seldom twice.
#[utoipa::path(
    get,
    path = "/rooms/{room}/users",
    tag = "rooms",
    params(described::OfRoom, described::From, described::Limited, described::InTenant),
    responses((status = 200, description = "A page of them", body = UsersPresent), AdminProblems),
    security(("token" = []), ("apiKey" = []))
)]
pub(crate) async fn users_in(
    State(api): State<Arc<Api>>,
    Path(room): Path<String>,
    request: Request,
) -> Response {
    api.administer(request, &["from", "limit"], async |asked| {
        let room = Channel::room(&asked.tenant, &named("room", &room)?);
        let (from, limit) = (asked.params.from()?, asked.params.limit()?);
        Ok(Json(api.present_in(&room, from, limit).await?).into_response())
    })
    .await
}

/// Lists the rooms in which somebody is
///
/// Page by page, with how many users are in each over all nodes; changes show within seconds. A room that is in use all
/// the while is listed at least once, and seldom twice.
#[utoipa::path(
    get,
    path = "/rooms",
    tag = "rooms",
    params(described::From, described::Limited, described::InTenant),
    responses((status = 200, description = "A page of them", body = RoomsInUse), AdminProblems),
    security(("token" = []), ("apiKey" = []))
)]
pub(crate) async fn rooms(State(api): State<Arc<Api>>, request: Request) -> Response {
    api.administer(request, &["from", "limit"], async |asked| {
        let (from, limit) = (asked.params.from()?, asked.params.limit()?);
        let page = api.within(api.broker().rooms(&asked.tenant, from, limit)).await?;
        let rooms = page.items.into_iter().map(RoomInUse::from).collect();
        Ok(Json(RoomsInUse { rooms, next: page.next.map(|next| next.to_string()) }).into_response())
    })
    .await
}

/// Tells how many connections and rooms there are
///
/// Over all nodes, with the rooms that have the most users; changes show within seconds.
#[utoipa::path(
    get,
    path = "/stats",
    tag = "rooms",
    params(
        ("limit" = Option<u32>, Query, nullable = false, description = "How many rooms to name at most; 10 unless given", minimum = 1, maximum = 1000),
        described::InTenant
    ),
    responses((status = 200, description = "The sums of the tenant", body = Statistics), AdminProblems),
    security(("token" = []), ("apiKey" = []))
)]
pub(crate) async fn stats(State(api): State<Arc<Api>>, request: Request) -> Response {
    api.administer(request, &["limit"], async |asked| {
        let limit = asked.params.limit_or(BUSIEST)?;
        Ok(Json(api.statistics(&asked.tenant, limit).await?).into_response())
    })
    .await
}
