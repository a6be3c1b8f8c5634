//! What a call does.

use proto::template::Template;
use proto::{Channel, UserId};
use serde::Serialize;
use serde_json::json;

use super::facts::{Fact, Facts};
use super::refused;
use crate::admin::Params;
use crate::admin::params::LONGEST_PAGE;
use crate::api::Api;
use crate::caller::Caller;
use crate::mapping::{self, Mapping};
use crate::refusal::Refusal;

/// How many rooms statistics name unless the caller asks for less or more.
const BUSIEST: usize = 100;

/// What a call does.
#[derive(Debug)]
pub(super) enum Deed {
    /// Publishes a message.
    Publish {
        mapping: Box<Mapping<Fact>>,
        /// With one, a repeated call publishes once.
        id: Option<Template<Fact>>,
        /// A user without whom nothing is published.
        only_if_connected: Option<Template<Fact>>,
    },
    /// Lists the users that are connected: `count`, `users` and `next`.
    Connected,
    /// Tells whether a user is connected: `user`, `connected`, `since` and `sessions`.
    Status(Template<Fact>),
    /// Disconnects a user: `disconnected` says how many sessions.
    Disconnect(Template<Fact>),
    /// Tells how much there is: `connections`, `rooms` and `busiest`.
    Stats,
}

impl Deed {
    /// The parameters that a query may hold.
    pub(super) const fn parameters(&self) -> &'static [&'static str] {
        match self {
            Self::Connected => &["from", "limit"],
            Self::Stats => &["limit"],
            Self::Publish { .. } | Self::Status(_) | Self::Disconnect(_) => &[],
        }
    }

    /// Finds out or does what is about users and rooms, in the tenant of the caller, and gives the result as JSON.
    pub(super) async fn carry_out(
        &self,
        api: &Api,
        caller: &Caller,
        params: &Params,
        facts: &Facts,
    ) -> Result<Option<String>, Refusal> {
        let tenant = caller.own_tenant();
        match self {
            Self::Publish { .. } => Ok(None),
            Self::Connected => {
                let (from, limit) = (params.from()?, params.limit_or(LONGEST_PAGE)?);
                written(&api.present_in(&Channel::everyone(tenant), from, limit).await?)
            }
            Self::Status(who) => written(&api.status_of(tenant, user(who, facts)?).await?),
            Self::Disconnect(who) => {
                let disconnected = api.disconnect(tenant, &user(who, facts)?, None).await?;
                written(&json!({ "disconnected": disconnected }))
            }
            Self::Stats => written(&api.statistics(tenant, params.limit_or(BUSIEST)?).await?),
        }
    }
}

/// The user that a template names.
pub(super) fn user(template: &Template<Fact>, facts: &Facts) -> Result<UserId, Refusal> {
    let text = mapping::text(template, facts).map_err(|missing| refused(missing.into()))?;
    UserId::new(text).map_err(|error| Refusal::NamedParameter { what: "the user", error })
}

fn written(result: &impl Serialize) -> Result<Option<String>, Refusal> {
    // What has only texts, numbers and truth values always has a form in JSON.
    Ok(Some(serde_json::to_string(result).unwrap_or_default()))
}
