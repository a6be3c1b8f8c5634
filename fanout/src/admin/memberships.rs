//! Rooms that the backend puts users into: they outlive connections, and sessions on every node follow them at once.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use broker::MembershipError;
use futures_util::{StreamExt, stream};
use proto::{Room, Tenant, UserId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::done;
use super::params::{described, named};
use crate::api::Api;
use crate::openapi::{AdminProblems, ChangeProblems, LimitProblems};
use crate::problem::Problem;
use crate::refusal::{Refusal, at};

/// The most changes that one call makes.
const MAX_CHANGES: usize = 1000;

/// How many users are changed at a time.
const WIDTH: usize = 16;

/// Makes a user a member of a room
///
/// The user's sessions, on whichever node, are in the room from now on, and so is every later session, until the
/// membership ends. Repeating it changes nothing. Who follows whom is a membership too: of the room `followers:<user>`,
/// to which messages go with `"to": {"followers": "<user>"}`.
#[utoipa::path(
    put,
    path = "/users/{user}/rooms/{room}",
    tag = "memberships",
    params(described::OfUser, described::OfRoom, described::InTenant),
    responses((status = 204, description = "The user is a member"), AdminProblems, LimitProblems),
    security(("token" = []), ("apiKey" = []))
)]
pub(crate) async fn join(
    State(api): State<Arc<Api>>,
    Path((user, room)): Path<(String, String)>,
    request: Request,
) -> Response {
    change(&api, request, &user, &room, true).await
}

/// Ends the membership of a user in a room
///
/// The user's sessions leave the room at once. Ending what was not so is no error.
#[utoipa::path(
    delete,
    path = "/users/{user}/rooms/{room}",
    tag = "memberships",
    params(described::OfUser, described::OfRoom, described::InTenant),
    responses((status = 204, description = "The user is no member"), AdminProblems),
    security(("token" = []), ("apiKey" = []))
)]
pub(crate) async fn leave(
    State(api): State<Arc<Api>>,
    Path((user, room)): Path<(String, String)>,
    request: Request,
) -> Response {
    change(&api, request, &user, &room, false).await
}

async fn change(api: &Api, request: Request, user: &str, room: &str, joins: bool) -> Response {
    api.administer(request, &[], async |asked| {
        let (user, room) = (named::<UserId>("user", user)?, [named::<Room>("room", room)?]);
        let (join, leave): (&[Room], &[Room]) = if joins { (&room, &[]) } else { (&[], &room) };
        api.within(api.broker().set_memberships(&asked.tenant, &user, join, leave)).await?;
        Ok(done())
    })
    .await
}

/// A part of the rooms that a user is a member of.
#[derive(Serialize, ToSchema)]
#[schema(examples(json!({"rooms": ["followers:7", "lobby"], "next": "lobby"})))]
pub(crate) struct RoomsOfUser {
    /// In the order of their names, byte by byte.
    #[schema(value_type = Vec<String>)]
    rooms: Vec<Room>,
    /// What to give as `after` for the next page; absent on the last one.
    #[schema(value_type = Option<String>, nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Room>,
}

/// Lists the rooms that a user is a member of
///
/// Page by page. A room that the user is a member of all the while is listed once.
#[utoipa::path(
    get,
    path = "/users/{user}/rooms",
    tag = "memberships",
    params(
        described::OfUser,
        ("after" = Option<String>, Query, nullable = false, description = "Go on after this room: the `next` of the page before", min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9_.:@+=|~-]+$"),
        described::Limited,
        described::InTenant
    ),
    responses((status = 200, description = "A page of them", body = RoomsOfUser), AdminProblems),
    security(("token" = []), ("apiKey" = []))
)]
pub(crate) async fn of_user(
    State(api): State<Arc<Api>>,
    Path(user): Path<String>,
    request: Request,
) -> Response {
    api.administer(request, &["after", "limit"], async |asked| {
        let user = named("user", &user)?;
        let (after, limit) = (asked.params.name::<Room>("after")?, asked.params.limit()?);
        let mut rooms = api.within(api.broker().memberships(&asked.tenant, &user)).await?;
        rooms.retain(|room| after.as_ref().is_none_or(|after| room > after));
        rooms.sort_unstable();
        let next = if rooms.len() > limit { rooms.get(limit - 1).cloned() } else { None };
        rooms.truncate(limit);
        Ok(Json(RoomsOfUser { rooms, next }).into_response())
    })
    .await
}

/// A part of the members of a room.
#[derive(Serialize, ToSchema)]
#[schema(examples(json!({"users": ["42", "43"], "next": "43"})))]
pub(crate) struct MembersOfRoom {
    /// In the order of their ids, byte by byte.
    #[schema(value_type = Vec<String>)]
    users: Vec<UserId>,
    /// What to give as `after` for the next page; absent on the last one.
    #[schema(value_type = Option<String>, nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<UserId>,
}

/// Lists the members of a room
///
/// Page by page. Whoever is a member all the while is listed once.
#[utoipa::path(
    get,
    path = "/rooms/{room}/members",
    tag = "memberships",
    params(
        described::OfRoom,
        ("after" = Option<String>, Query, nullable = false, description = "Go on after this user: the `next` of the page before", min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9_.:@+=|~-]+$"),
        described::Limited,
        described::InTenant
    ),
    responses((status = 200, description = "A page of them", body = MembersOfRoom), AdminProblems),
    security(("token" = []), ("apiKey" = []))
)]
pub(crate) async fn of_room(
    State(api): State<Arc<Api>>,
    Path(room): Path<String>,
    request: Request,
) -> Response {
    api.administer(request, &["after", "limit"], async |asked| {
        let room = named("room", &room)?;
        let (after, limit) = (asked.params.name::<UserId>("after")?, asked.params.limit()?);
        let members = api.broker().members(&asked.tenant, &room, after.as_ref(), limit);
        let members = api.within(members).await?;
        Ok(Json(MembersOfRoom { users: members.users, next: members.next }).into_response())
    })
    .await
}

/// Several changes of memberships.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"changes": [{"user": "42", "join": ["lobby", "followers:7"]}, {"user": "43", "leave": ["lobby"]}]})))]
pub(crate) struct ChangesRequest {
    /// Those of one user are made in their order.
    #[schema(min_items = 1, max_items = 1000)]
    changes: Vec<Change>,
}

/// The rooms that one user joins and leaves.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    /// The user's id.
    #[schema(min_length = 1, max_length = 128, pattern = r"^[A-Za-z0-9_.:@+=|~-]+$")]
    user: String,
    /// The rooms to become a member of; one that is named in both lists is joined.
    #[serde(default)]
    #[schema(max_items = 10000)]
    join: Vec<RoomName>,
    /// The rooms to be no member of.
    #[serde(default)]
    #[schema(max_items = 10000)]
    leave: Vec<RoomName>,
}

/// The name of a room.
#[derive(Deserialize, ToSchema)]
#[schema(min_length = 1, max_length = 128, pattern = r"^[A-Za-z0-9_.:@+=|~-]+$")]
pub(crate) struct RoomName(String);

/// What became of each change, in the order of the request.
#[derive(Serialize, ToSchema)]
#[schema(examples(json!({"results": [{"status": 204}]})))]
pub(crate) struct ChangesResponse {
    /// One for each change.
    results: Vec<ChangeResult>,
}

/// What became of one change.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum ChangeResult {
    /// It is made.
    Made {
        /// Always 204.
        #[schema(minimum = 204, maximum = 204)]
        status: u16,
    },
    /// It is not made, or it is unknown how much of it is: repeating it is safe.
    Failed {
        /// The status of the problem.
        #[schema(minimum = 400, maximum = 599)]
        status: u16,
        /// What went wrong.
        #[schema(value_type = crate::openapi::ProblemBody)]
        problem: Problem,
    },
}

/// A change whose names are good.
struct Checked {
    user: UserId,
    join: Vec<Room>,
    leave: Vec<Room>,
}

/// Changes many memberships
///
/// Answers 200 as soon as the names in it are good, with a status for each change. After one that failed, later ones of
/// the same user are not tried and have status 503 too, so that repeating the failed ones keeps their order.
#[utoipa::path(
    post,
    path = "/memberships",
    tag = "memberships",
    params(described::InTenant),
    request_body = ChangesRequest,
    responses((status = 200, description = "What became of each change, in their order", body = ChangesResponse), AdminProblems, ChangeProblems),
    security(("token" = []), ("apiKey" = []))
)]
pub(crate) async fn set(State(api): State<Arc<Api>>, request: Request) -> Response {
    api.administer(request, &[], async |asked| {
        let tenant = asked.tenant.clone();
        let ChangesRequest { changes } = asked.json(&api).await?;
        let changes = check(changes)?;
        let lanes = into_lanes(&changes).into_iter().map(|lane| make(&api, &tenant, &changes, lane));
        let mut results: Vec<_> =
            stream::iter(lanes).buffer_unordered(WIDTH).flat_map(stream::iter).collect().await;
        results.sort_unstable_by_key(|(at, _)| *at);
        let results = results.into_iter().map(|(at, result)| match result {
            Ok(()) => ChangeResult::Made { status: 204 },
            Err(refusal) => {
                let problem = Problem::of(&refusal, &format!("/changes/{at}"));
                ChangeResult::Failed { status: problem.status(), problem }
            }
        });
        Ok(Json(ChangesResponse { results: results.collect() }).into_response())
    })
    .await
}

fn check(changes: Vec<Change>) -> Result<Vec<Checked>, Refusal> {
    if changes.is_empty() || changes.len() > MAX_CHANGES {
        return Err(Refusal::malformed("/changes", format!("must hold 1 to {MAX_CHANGES} changes")));
    }
    let rooms = |place: usize, list: &str, names: Vec<RoomName>| {
        let name = |(at_room, RoomName(name)): (usize, RoomName)| {
            Room::new(name).map_err(at(format!("/changes/{place}/{list}/{at_room}")))
        };
        names.into_iter().enumerate().map(name).collect::<Result<Vec<_>, _>>()
    };
    let change = |(place, change): (usize, Change)| {
        Ok(Checked {
            user: UserId::new(change.user).map_err(at(format!("/changes/{place}/user")))?,
            join: rooms(place, "join", change.join)?,
            leave: rooms(place, "leave", change.leave)?,
        })
    };
    changes.into_iter().enumerate().map(change).collect()
}

/// Sorts changes by user, keeping the order within each.
fn into_lanes(changes: &[Checked]) -> Vec<Vec<usize>> {
    let mut lanes: Vec<Vec<usize>> = Vec::new();
    let mut of_user: HashMap<&UserId, usize> = HashMap::new();
    for (place, change) in changes.iter().enumerate() {
        let lane = *of_user.entry(&change.user).or_insert(lanes.len());
        match lanes.get_mut(lane) {
            Some(lane) => lane.push(place),
            None => lanes.push(vec![place]),
        }
    }
    lanes
}

/// Makes the changes of one user.
async fn make(
    api: &Api,
    tenant: &Tenant,
    changes: &[Checked],
    lane: Vec<usize>,
) -> Vec<(usize, Result<(), Refusal>)> {
    let mut results = Vec::with_capacity(lane.len());
    let mut failed = false;
    for (place, change) in lane.into_iter().filter_map(|place| Some((place, changes.get(place)?))) {
        let result = if failed {
            Err(Refusal::Away)
        } else {
            let setting = api.broker().set_memberships(tenant, &change.user, &change.join, &change.leave);
            api.within(setting).await.map_err(Refusal::from)
        };
        failed |= result.is_err();
        results.push((place, result));
    }
    results
}

impl From<MembershipError> for Refusal {
    fn from(error: MembershipError) -> Self {
        match error {
            MembershipError::TooMany => Self::TooManyRooms,
            MembershipError::Unavailable(unavailable) => unavailable.into(),
        }
    }
}
