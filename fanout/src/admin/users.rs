//! Users and their sessions, wherever those are: the nodes that hold them are asked.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use broker::{Control, Question, SessionSeen, ask};
use proto::{Channel, NodeId, SessionId, Tenant, Timestamp, UserId};
use serde::Serialize;
use utoipa::ToSchema;

use super::done;
use super::params::{described, named};
use crate::api::Api;
use crate::openapi::{AdminProblems, AwayProblems};
use crate::refusal::Refusal;

/// Whether a user is connected.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({"user": "42", "connected": true, "since": 1_754_329_930_000_u64, "sessions": 2})))]
pub(crate) struct UserStatus {
    /// The user's id.
    #[schema(value_type = String)]
    pub(crate) user: UserId,
    /// Whether the user has a session on any node.
    pub(crate) connected: bool,
    /// Since when, in milliseconds since 1970: the beginning of the oldest session; absent when not connected.
    #[schema(value_type = Option<u64>, nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<Timestamp>,
    /// How many sessions there are.
    pub(crate) sessions: usize,
}

impl UserStatus {
    fn of(user: UserId, sessions: &[SessionSeen]) -> Self {
        let since = sessions.iter().map(|session| session.since).min();
        Self { user, connected: since.is_some(), since, sessions: sessions.len() }
    }
}

/// The sessions of a user.
#[derive(Serialize, ToSchema)]
#[schema(examples(json!({"sessions": [{"session": "c0ffee00c0ffee00c0ffee00c0ffee00", "node": "gateway-1", "endpoint": "/ws", "since": 1754329930000_u64}]})))]
pub(crate) struct SessionsOfUser {
    /// The oldest first; at most 1000 of each node.
    sessions: Vec<SessionOfUser>,
}

/// One session.
#[derive(Serialize, ToSchema)]
#[schema(examples(json!({"session": "c0ffee00c0ffee00c0ffee00c0ffee00", "node": "gateway-1", "endpoint": "/ws", "since": 1_754_329_930_000_u64})))]
struct SessionOfUser {
    /// Its id.
    #[schema(value_type = String)]
    session: SessionId,
    /// The node that holds it.
    #[schema(value_type = String)]
    node: NodeId,
    /// The path of the endpoint that it came through.
    endpoint: String,
    /// Since when it is connected, in milliseconds since 1970, to the second.
    #[schema(value_type = u64)]
    since: Timestamp,
}

impl From<SessionSeen> for SessionOfUser {
    fn from(SessionSeen { session, node, endpoint, since }: SessionSeen) -> Self {
        Self { session, node, endpoint, since }
    }
}

/// Who was disconnected.
#[derive(Serialize, ToSchema)]
#[schema(examples(json!({"disconnected": 2})))]
pub(crate) struct Disconnected {
    /// How many sessions were told to go.
    #[schema(minimum = 1)]
    disconnected: usize,
}

impl Api {
    /// What the nodes answer that hold sessions of a user.
    async fn ask_nodes(
        &self,
        tenant: &Tenant,
        user: &UserId,
        request: impl FnOnce(Question) -> Control,
    ) -> Result<Vec<SessionSeen>, Refusal> {
        let channel = Channel::user(tenant, user);
        Ok(ask(&**self.broker(), &channel, request, self.config.admin_timeout).await?)
    }

    /// Whether a user is connected.
    pub(crate) async fn status_of(&self, tenant: &Tenant, user: UserId) -> Result<UserStatus, Refusal> {
        let sessions = self.ask_nodes(tenant, &user, |question| Control::Sessions { question }).await?;
        Ok(UserStatus::of(user, &sessions))
    }

    /// Disconnects a user, or one session, and gives how many sessions that were: at least one.
    pub(crate) async fn disconnect(
        &self,
        tenant: &Tenant,
        user: &UserId,
        session: Option<SessionId>,
    ) -> Result<usize, Refusal> {
        let request = |question| Control::Disconnect { session, question };
        match self.ask_nodes(tenant, user, request).await?.len() {
            0 => Err(Refusal::NotConnected),
            sessions => Ok(sessions),
        }
    }
}

/// Tells whether a user is connected
#[utoipa::path(
    get,
    path = "/users/{user}",
    tag = "users",
    params(described::OfUser, described::InTenant),
    responses((status = 200, description = "Whether the user is connected, and since when", body = UserStatus), AdminProblems),
    security(("token" = []), ("apiKey" = []))
)]
pub(crate) async fn status(
    State(api): State<Arc<Api>>,
    Path(user): Path<String>,
    request: Request,
) -> Response {
    api.administer(request, &[], async |asked| {
        let status = api.status_of(&asked.tenant, named("user", &user)?).await?;
        Ok(Json(status).into_response())
    })
    .await
}

/// Lists the sessions of a user
#[utoipa::path(
    get,
    path = "/users/{user}/sessions",
    tag = "users",
    params(described::OfUser, described::InTenant),
    responses((status = 200, description = "All of them, on all nodes", body = SessionsOfUser), AdminProblems),
    security(("token" = []), ("apiKey" = []))
)]
pub(crate) async fn sessions(
    State(api): State<Arc<Api>>,
    Path(user): Path<String>,
    request: Request,
) -> Response {
    api.administer(request, &[], async |asked| {
        let user = named("user", &user)?;
        let sessions = api.ask_nodes(&asked.tenant, &user, |question| Control::Sessions { question }).await?;
        Ok(Json(SessionsOfUser { sessions: sessions.into_iter().map(Into::into).collect() }).into_response())
    })
    .await
}

/// Disconnects a user
///
/// Every session of the user, on whichever node, is closed with code 4502, after which clients do not come back by
/// themselves. Whoever has a good token may: revoke it to keep them out. The nodes have acknowledged it when the answer
/// comes.
#[utoipa::path(
    delete,
    path = "/users/{user}/sessions",
    tag = "users",
    params(described::OfUser, described::InTenant),
    responses((status = 200, description = "The sessions are told to go", body = Disconnected), AdminProblems, AwayProblems),
    security(("token" = []), ("apiKey" = []))
)]
pub(crate) async fn disconnect(
    State(api): State<Arc<Api>>,
    Path(user): Path<String>,
    request: Request,
) -> Response {
    api.administer(request, &[], async |asked| {
        let disconnected = api.disconnect(&asked.tenant, &named("user", &user)?, None).await?;
        Ok(Json(Disconnected { disconnected }).into_response())
    })
    .await
}

/// Disconnects one session of a user
#[utoipa::path(
    delete,
    path = "/users/{user}/sessions/{session}",
    tag = "users",
    params(
        described::OfUser,
        ("session" = String, Path, description = "The session's id", min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9_.:@+=|~-]+$", example = "c0ffee00c0ffee00c0ffee00c0ffee00"),
        described::InTenant
    ),
    responses((status = 204, description = "The session is told to go"), AdminProblems, AwayProblems),
    security(("token" = []), ("apiKey" = []))
)]
pub(crate) async fn disconnect_session(
    State(api): State<Arc<Api>>,
    Path((user, session)): Path<(String, String)>,
    request: Request,
) -> Response {
    api.administer(request, &[], async |asked| {
        let (user, session) = (named("user", &user)?, named("session", &session)?);
        api.disconnect(&asked.tenant, &user, Some(session)).await?;
        Ok(done())
    })
    .await
}
