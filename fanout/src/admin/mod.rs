//! Administration: who belongs where, who is there, and whom to send away.
//!
//! Each call needs the scope for administration, and speaks of one tenant: the caller's own, or the one of the parameter
//! `tenant` where the credential reaches it.

pub(crate) mod history;
pub(crate) mod letters;
pub(crate) mod memberships;
pub(crate) mod overview;
pub(crate) mod params;
pub(crate) mod questions;
pub(crate) mod revocations;
pub(crate) mod users;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use broker::{Broker, Unavailable};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use proto::Tenant;
use tokio::time::timeout;

pub(crate) use self::params::Params;
use crate::api::{Api, now};
use crate::intake::{JSON, bearer, read_body, require};
use crate::problem::Problem;
use crate::refusal::{Refusal, read_json};

/// A call of somebody who may make it.
pub(crate) struct Asked {
    pub(crate) tenant: Tenant,
    pub(crate) params: Params,
    headers: HeaderMap,
    body: Body,
}

impl Asked {
    /// Reads the body as JSON.
    pub(crate) async fn json<T: serde::de::DeserializeOwned>(self, api: &Api) -> Result<T, Refusal> {
        require(JSON, &self.headers)?;
        read_json(&read_body(self.body, api.config.max_body).await?)
    }
}

impl Api {
    /// Answers a call of administration. `known` are the parameters that it takes beside `tenant`.
    pub(crate) async fn administer(
        &self,
        request: Request,
        known: &'static [&'static str],
        work: impl AsyncFnOnce(Asked) -> Result<Response, Refusal>,
    ) -> Response {
        let answer = async {
            let _place = self.enter()?;
            let asked = self.admit(request, known).await?;
            work(asked).await
        };
        let answer = answer.await;
        self.metrics.administration(answer.as_ref().err());
        answer.unwrap_or_else(|refusal| Problem::of(&refusal, "").into_response())
    }

    async fn admit(&self, request: Request, known: &'static [&'static str]) -> Result<Asked, Refusal> {
        let (Parts { headers, uri, .. }, body) = request.into_parts();
        let caller = self.callers.identify(bearer(&headers)?, now()).await?;
        if !caller.scopes.has(&self.config.admin_scope) {
            return Err(Refusal::Forbidden("the credential does not have the scope for administration"));
        }
        self.administering.take(&caller.publisher, 1)?;
        let params = Params::read(uri.query(), known)?;
        let tenant = caller.tenant_of(params.text("tenant"), &self.config)?;
        Ok(Asked { tenant, params, headers, body })
    }

    /// What the broker answers, within the time for it.
    pub(crate) async fn within<T, E: From<Unavailable>>(
        &self,
        answer: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        match timeout(self.config.admin_timeout, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(Unavailable("no answer in time".into()).into()),
        }
    }

    pub(crate) fn broker(&self) -> &Arc<dyn Broker> {
        self.publisher.broker()
    }
}

impl From<Unavailable> for Refusal {
    fn from(Unavailable(reason): Unavailable) -> Self {
        tracing::debug!(%reason, "a call of administration failed");
        Self::Away
    }
}

/// Nothing to tell.
pub(crate) fn done() -> Response {
    StatusCode::NO_CONTENT.into_response()
}
