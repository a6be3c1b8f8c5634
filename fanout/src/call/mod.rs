//! Calls of an application's own HTTP API, as the configuration describes them: what an existing system already offers its
//! backends, over the same publishing.
//!
//! A call passes what a publish call passes, in the same order: a free place, the credential and its scope, the limits of
//! the body, the mapping to a message, the broker. What it refuses it answers with problem details (RFC 9457).

mod compile;
mod deed;
mod facts;

use std::collections::HashSet;
use std::sync::Arc;

use axum::Router;
use axum::extract::{RawPathParams, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use chassis::options::{Kind, Loaded, OptionSpec, OptionsError};
use http::{StatusCode, header};
use proto::template::Template;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};
use tokio::time::Instant;

use self::deed::Deed;
use self::facts::{Fact, Facts};
use crate::admin::Params;
use crate::api::{Api, Failure, now};
use crate::intake::{JSON, bearer, idempotency_key, read_body, require};
use crate::mapping::{self, Unmapped};
use crate::refusal::{Refusal, read_json};
use crate::response::PublishResponse;

/// The row of the calls' options.
pub(crate) const CALLS: OptionSpec = OptionSpec {
    key: "calls",
    kind: Kind::Tables(compile::CALL),
    default: "",
    help: "Calls of an application's own HTTP API, which publish or administer as the own API does. In templates, `$body` is the body, \
           `$clean` the body without the markup in its texts, `$rest` the body without the fields of `rest_without`, `$path` \
           holds the named parts of the path, `$caller` says who calls (`tenant`, `user`, `name`, `claims`), `$now` is the time \
           in milliseconds since 1970, and in the answer `$result` what was found out or done.",
};

/// The calls of a configuration.
#[derive(Debug, Clone, Default)]
pub struct Calls(Arc<[Arc<Call>]>);

/// One call.
#[derive(Debug)]
struct Call {
    /// The path as the router takes it.
    route: String,
    /// What the parts of the path are called, in their order.
    names: Vec<String>,
    method: MethodFilter,
    has_body: bool,
    /// Without which a caller is refused; none for whoever has a good credential.
    scope: Option<String>,
    /// What must have a value.
    required: Vec<Template<Fact>>,
    /// The fields of the body that `$rest` leaves out.
    rest_without: Vec<String>,
    deed: Deed,
    /// What is answered; the places of the message, or the result, where it is absent.
    answer: Option<Answer>,
}

/// What is answered.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    body: Template<Fact>,
}

impl Calls {
    /// Reads and compiles the tables. `taken` are paths that something else is posted to.
    pub(crate) fn from_options(loaded: &Loaded, taken: &HashSet<&str>) -> Result<Self, OptionsError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Section {
            #[serde(default)]
            calls: Vec<compile::Table>,
        }
        let Section { calls } = loaded.section(&[CALLS])?;
        let calls = compile::compile(loaded, calls, taken)?;
        Ok(Self(calls.into_iter().map(Arc::new).collect()))
    }

    /// The routes.
    pub(crate) fn routes(&self) -> Router<Arc<Api>> {
        self.0.iter().fold(Router::new(), |router, call| {
            let (route, method, call) = (call.route.clone(), call.method, Arc::clone(call));
            let answer = async move |State(api): State<Arc<Api>>, path: RawPathParams, request: Request| {
                call.answer(&api, &path, request).await
            };
            router.route(&route, on(method, answer))
        })
    }
}

impl Call {
    async fn answer(&self, api: &Api, path: &RawPathParams, request: Request) -> Response {
        let started = Instant::now();
        let result = match api.enter() {
            Ok(_place) => self.carry_out(api, path, request).await,
            Err(refusal) => Err(refusal.into()),
        };
        let refusal = result.as_ref().err().map(|failure| &failure.refusal);
        if let Deed::Publish { .. } = self.deed {
            api.metrics.message(refusal);
            api.metrics.took(started.elapsed());
        } else {
            api.metrics.administration(refusal);
        }
        result.unwrap_or_else(|failure| failure.problem("").into_response())
    }

    async fn carry_out(
        &self,
        api: &Api,
        path: &RawPathParams,
        request: Request,
    ) -> Result<Response, Failure> {
        let (head, body) = request.into_parts();
        let now = now();
        let caller = api.callers.identify(bearer(&head.headers)?, now).await?;
        if self.scope.as_deref().is_some_and(|scope| !caller.scopes.has(scope)) {
            return Err(Refusal::Forbidden("the credential does not have the scope for this call").into());
        }
        let rates = if let Deed::Publish { .. } = self.deed { &api.publishing } else { &api.administering };
        rates.take(&caller.publisher, 1).map_err(Refusal::from)?;
        let body = if self.has_body {
            require(JSON, &head.headers)?;
            let body = read_body(body, api.config.max_body).await?;
            read_json::<IgnoredAny>(&body)?;
            String::from_utf8(body.into()).map_err(|_| Refusal::malformed("", "the body is not UTF-8"))?
        } else {
            "null".to_owned()
        };
        let mut facts = Facts {
            rest: facts::without(&body, &self.rest_without),
            body,
            path: self.path(path),
            caller: facts::describe(&caller),
            now,
            result: None,
        };
        for required in &self.required {
            required.render_whole(&facts).map_err(|missing| refused(missing.into()))?;
        }
        let Deed::Publish { mapping, id, only_if_connected } = &self.deed else {
            let params = Params::read(head.uri.query(), self.deed.parameters())?;
            facts.result = self.deed.carry_out(api, &caller, &params, &facts).await?;
            return Ok(match &self.answer {
                Some(answer) => answer.response(&facts),
                None => json(StatusCode::OK, facts.result.unwrap_or_default()),
            });
        };
        let rules = api.publisher.rules();
        let mut order = mapping.order(&facts, caller.own_tenant(), rules).map_err(refused)?;
        if let Some(id) = id {
            order.repeat_under_digest(
                &mapping::text(id, &facts).map_err(|missing| refused(missing.into()))?,
            )?;
        }
        if let Some(key) = idempotency_key(&head.headers)? {
            order.repeat_under(key)?;
        }
        if let Some(user) = only_if_connected {
            let user = deed::user(user, &facts)?;
            if !api.status_of(caller.own_tenant(), user).await?.connected {
                return Err(Refusal::NotConnected.into());
            }
        }
        let mut outcomes = api.carry_out(&caller, std::slice::from_ref(&order)).await;
        let mut outcome = outcomes.pop().unwrap_or_default();
        // What is made of a call can differ when it is repeated, as the time does: it is in the channel already.
        outcome.retain(|(_, result)| *result != Err(Refusal::Conflict));
        let results = api.settle(outcome)?;
        Ok(match &self.answer {
            Some(answer) => answer.response(&facts),
            None => axum::Json(PublishResponse { results }).into_response(),
        })
    }

    /// The named parts of the path, as a JSON object.
    fn path(&self, path: &RawPathParams) -> String {
        let values = path.iter().map(|(_, value)| Value::from(value));
        Value::Object(self.names.iter().cloned().zip(values).collect::<Map<_, _>>()).to_string()
    }
}

impl Answer {
    fn response(&self, facts: &Facts) -> Response {
        json(self.status, self.body.render(facts).unwrap_or_else(|| "null".to_owned()))
    }
}

fn json(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// A call that does not fit its mapping is its caller's mistake.
fn refused(unmapped: Unmapped) -> Refusal {
    match unmapped {
        Unmapped::Missing(name) => {
            let place = name.strip_prefix("body.").unwrap_or_default();
            let pointer =
                if place.is_empty() { String::new() } else { format!("/{}", place.replace('.', "/")) };
            let name = if place.is_empty() { &name } else { place };
            Refusal::malformed(pointer, format!("{name} is missing, or not of the type that it must have"))
        }
        Unmapped::Refused(refusal @ Refusal::DataTooLarge { .. }) => refusal,
        // The pointer is into the message, which the caller did not write.
        other => Refusal::malformed("", other.to_string()),
    }
}
