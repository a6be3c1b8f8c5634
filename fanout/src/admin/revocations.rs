//! Tokens that shall be no good any more.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use chassis::auth::{Revoked, TokenDigest};
use proto::{Tenant, Timestamp, UserId};
use serde::Deserialize;
use utoipa::ToSchema;

use super::done;
use super::params::described;
use crate::api::{Api, now};
use crate::openapi::{AdminProblems, ChangeProblems, FullProblems};
use crate::refusal::{Refusal, at};
use crate::request::present;

/// The longest text of a token or of its id.
const LONGEST: usize = 8192;

/// What to revoke: exactly one of the keys.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(min_properties = 1, max_properties = 1, examples(json!({"user": "42"})))]
pub(crate) struct RevokeRequest {
    /// A user: all tokens that were issued until now, and those that do not say when (without the claim `iat`).
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false, min_length = 1, max_length = 128, pattern = r"^[A-Za-z0-9_.:@+=|~-]+$")]
    user: Option<String>,
    /// A token, as it is.
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false, min_length = 1, max_length = 8192)]
    token: Option<String>,
    /// The token with this claim `jti`.
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false, min_length = 1, max_length = 8192)]
    jti: Option<String>,
}

/// Revokes a token, or all of a user
///
/// Within about a second no node and no fanout takes it any more, and sessions that began with it are closed with code
/// 4504. It is remembered for as long as tokens live at most (`fanout.revocation_time`). While Redis is away a process goes
/// by what it knew before; clients are not admitted then at all.
#[utoipa::path(
    post,
    path = "/revocations",
    tag = "users",
    params(described::InTenant),
    request_body = RevokeRequest,
    responses((status = 204, description = "It is revoked"), AdminProblems, ChangeProblems, FullProblems),
    security(("token" = []), ("apiKey" = []))
)]
pub(crate) async fn revoke(State(api): State<Arc<Api>>, request: Request) -> Response {
    api.administer(request, &[], async |asked| {
        let (tenant, now) = (asked.tenant.clone(), now());
        let revoked = revoked(&tenant, asked.json(&api).await?, now)?;
        let kept = u64::try_from(api.config.revocation_time.as_millis()).unwrap_or(u64::MAX);
        let until = Timestamp(now.0.saturating_add(kept));
        if api.within(api.broker().revoke(&revoked.encode(), until)).await? {
            Ok(done())
        } else {
            Err(Refusal::TooManyRevoked)
        }
    })
    .await
}

fn revoked(tenant: &Tenant, request: RevokeRequest, now: Timestamp) -> Result<Revoked, Refusal> {
    let fits = |text: &str| (1..=LONGEST).contains(&text.len());
    match request {
        RevokeRequest { user: Some(user), token: None, jti: None } => Ok(Revoked::User {
            owner: TokenDigest::of_user(tenant, &UserId::new(user).map_err(at("/user"))?),
            upto: now.0 / 1000,
        }),
        RevokeRequest { user: None, token: Some(token), jti: None } if fits(&token) => {
            Ok(Revoked::Token(TokenDigest::of_token(&token)))
        }
        RevokeRequest { user: None, token: None, jti: Some(jti) } if fits(&jti) => {
            Ok(Revoked::Token(TokenDigest::of_id(tenant, &jti)))
        }
        _ => Err(Refusal::malformed("", "needs exactly one of user, token and jti, of at most 8192 bytes")),
    }
}
