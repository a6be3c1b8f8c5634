//! What each request of an endpoint has to pass, whichever way it wants to be served.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::Request;
use axum::http::header::{HeaderMap, ORIGIN};
use axum::http::request::Parts;
use chassis::auth::{Carried, Identity, Places, TokenError};
use chassis::problem::Problem;
use proto::ErrorCode;

use crate::endpoint::EndpointId;
use crate::node::Node;
use crate::peer::Peer;
use crate::session::Terms;
use crate::wire::outbound::Outbound;

/// The name of the native protocol, for clients that offer one.
const SUBPROTOCOL: &str = "switchboard";

/// The way into an endpoint.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) node: Arc<Node>,
    pub(crate) terms: Arc<Terms>,
    pub(crate) endpoint: EndpointId,
}

impl Door {
    /// Refuses pages of other origins, and everyone while the node drains.
    pub(crate) fn admit(&self, headers: &HeaderMap) -> Result<(), Problem> {
        if let Some(origin) = headers.get(ORIGIN)
            && !self.terms.endpoint.origins.allow(origin.as_bytes())
        {
            return Err(Problem::new(ErrorCode::Forbidden).detail("pages of this origin may not connect"));
        }
        if let Some(wait) = self.node.drain.refusal() {
            return Err(Problem::new(ErrorCode::Unavailable)
                .detail("this node is shutting down")
                .retry_after(wait));
        }
        Ok(())
    }

    /// The credential that a request carries, unchecked.
    pub(crate) fn credential<'a>(&self, request: &'a Request) -> Result<Carried<'a>, Problem> {
        Places::default()
            .find(request.headers(), request.uri().query(), &[SUBPROTOCOL])
            .map_err(|error| refuse(&error))
    }

    /// The same for a request of which only the head is left.
    pub(crate) fn carried(&self, head: &Parts) -> Result<Option<String>, TokenError> {
        let carried = Places::default().find(&head.headers, head.uri.query(), &[SUBPROTOCOL])?;
        Ok(carried.credential.map(Cow::into_owned))
    }

    /// Who presents this token.
    pub(crate) async fn identify(&self, token: Option<&str>) -> Result<Identity, Problem> {
        let checked = match token {
            Some(token) => self.node.identify(token).await,
            None => Err(TokenError::Missing),
        };
        checked.map_err(|error| self.refuse(&error))
    }

    /// Refuses a request for its token.
    pub(crate) fn refuse(&self, error: &TokenError) -> Problem {
        self.node.metrics.count_auth_failure(error.code().as_str());
        refuse(error)
    }

    /// The shared side of a new connection.
    pub(crate) fn peer(&self, outbound: Outbound) -> Peer {
        let pulse = &self.node.pulse;
        Peer::new(pulse.number(), self.endpoint, outbound, pulse.second())
    }
}

fn refuse(error: &TokenError) -> Problem {
    Problem::new(error.code()).detail(error.to_string())
}
