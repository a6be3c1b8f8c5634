//! Webhooks of providers, as the configuration describes them.
//!
//! A webhook passes, in this order: a place at its provider's own gate, the limit of the body, the signature over the raw
//! bytes, its age, the form of the body, what is looked up or asked about it, the mapping to a message, and one publish that deduplicates and stores. Only
//! then it is answered with 2xx. What is refused before that changes nothing.

mod answer;
mod body;
mod compile;
mod event;
mod gate;
mod lookup;
mod metrics;
mod written;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use chassis::options::{Kind, Loaded, OptionSpec, OptionsError};
use http::Uri;
use proto::template::Template;
use proto::{Tenant, Timestamp};
use serde::Deserialize;
use tokio::time::Instant;

use self::answer::Answer;
use self::body::BodyKind;
use self::event::{Event, Fact, Signed, SignedParts};
use self::gate::{Full, Gate};
use self::lookup::Lookup;
use crate::api::{Api, now};
use crate::enrich::{Asked, Enricher};
use crate::intake::{header, read_body_within};
use crate::mapping::{self, Mapping, Unmapped};
use crate::problem::Problem;
use crate::refusal::Refusal;
use crate::webhook::{Received, Scheme};

pub(crate) use self::metrics::Metrics;

/// The rows of the webhooks' options.
pub(crate) const WEBHOOKS: OptionSpec = OptionSpec {
    key: "webhooks",
    kind: Kind::Tables(written::WEBHOOK),
    default: "",
    help: "Webhooks of providers: how they are verified, and what is published for them. In templates, `$body` is the body, \
           `$clean` the body without the markup in its texts, `$found` what was looked up, `$answer` what the application \
           said, and `$now` the time in milliseconds since 1970.",
};

/// Within this time the provider has its answer: Telnyx gives up after 2 s.
const ANSWER_WITHIN: Duration = Duration::from_millis(1800);

/// How long a body may take to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(1);

/// The webhooks of a configuration.
#[derive(Debug, Clone, Default)]
pub struct Hooks(Arc<[Arc<Hook>]>);

/// One webhook.
#[derive(Debug)]
struct Hook {
    /// What it is called in metrics and logs.
    name: String,
    path: String,
    /// The public address in front of the path.
    url: String,
    scheme: Scheme,
    /// Whether the signature covers the header `webhook-id`.
    signs_id: bool,
    body: BodyKind,
    /// In bytes.
    max_body: usize,
    gate: Gate,
    /// What stays the same when the provider repeats a webhook; the whole body where it is absent or has no value.
    id: Option<Template<Signed>>,
    /// How long it is remembered that a webhook was published: whoever sends it again until then changes nothing.
    replay_window: Duration,
    /// The tenant where the mapping names none.
    tenant: Tenant,
    lookup: Option<Lookup>,
    enrichment: Option<Enrichment>,
    choice: Choice,
    answer: Answer,
}

/// What the application is asked about a webhook.
#[derive(Debug)]
struct Enrichment {
    enricher: Enricher,
    question: Template<Fact>,
}

/// Which message a webhook becomes.
#[derive(Debug)]
enum Choice {
    /// Always the same mapping.
    One(Box<Mapping<Fact>>),
    /// One for each type, and perhaps one for every other.
    ByType {
        kind: Template<Fact>,
        by_type: HashMap<String, Mapping<Fact>>,
        other: Option<Box<Mapping<Fact>>>,
    },
}

/// How a genuine webhook ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    /// It is in every channel.
    Published,
    /// It was in every channel before.
    Duplicate,
    /// The configuration has nothing for its type.
    Ignored,
}

/// How it ended otherwise.
#[derive(Debug)]
struct Refused {
    refusal: Refusal,
    /// Whether the signature was found good.
    genuine: bool,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, genuine: false }
    }
}

impl From<Full> for Refusal {
    fn from(_: Full) -> Self {
        Self::TooManyWebhooks
    }
}

impl Hooks {
    /// Reads and compiles the tables. `public_url` is where providers reach this service, `tenant` where messages go
    /// whose mapping names no other.
    pub(crate) fn from_options(
        loaded: &Loaded,
        public_url: &str,
        tenant: &Tenant,
    ) -> Result<Self, OptionsError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Section {
            #[serde(default)]
            webhooks: Vec<written::Table>,
        }
        let Section { webhooks } = loaded.section(&[WEBHOOKS])?;
        let hooks = compile::compile(loaded, webhooks, public_url, tenant)?;
        Ok(Self(hooks.into_iter().map(Arc::new).collect()))
    }

    /// The paths whose signatures cover the address that the provider calls.
    pub(crate) fn signing_their_address(&self) -> impl Iterator<Item = &str> {
        let covers = |hook: &&Arc<Hook>| matches!(hook.scheme, Scheme::Twilio(_));
        self.0.iter().filter(covers).map(|hook| hook.path.as_str())
    }

    /// All paths.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|hook| hook.path.as_str())
    }

    /// The routes.
    pub(crate) fn routes(&self) -> Router<Arc<Api>> {
        self.0.iter().fold(Router::new(), |router, hook| {
            let (path, hook) = (hook.path.clone(), Arc::clone(hook));
            let receive =
                async move |State(api): State<Arc<Api>>, request: Request| hook.receive(&api, request).await;
            router.route(&path, post(receive))
        })
    }
}

impl Hook {
    async fn receive(&self, api: &Api, request: Request) -> Response {
        let started = Instant::now();
        let _inside = api.hook_metrics.enter(&self.name);
        let result = self.take_in(api, request, started + ANSWER_WITHIN).await;
        let label = match &result {
            Ok(taken) => taken.label(),
            Err(refused) => refused.refusal.label(),
        };
        api.hook_metrics.ended(&self.name, label, started.elapsed());
        match result {
            Ok(_) => (&self.answer).into_response(),
            Err(Refused { refusal, genuine }) => {
                tracing::debug!(webhook = self.name, %refusal, "webhook refused");
                if genuine && self.answer.always {
                    (&self.answer).into_response()
                } else {
                    Problem::of(&refusal, "").into_response()
                }
            }
        }
    }

    async fn take_in(&self, api: &Api, request: Request, deadline: Instant) -> Result<Taken, Refused> {
        let _inside = self.gate.enter().map_err(Refusal::from)?;
        let (head, body) = request.into_parts();
        let body = read_body_within(body, self.max_body, BODY_WITHIN).await?;
        let _turn = self.gate.turn().await.map_err(Refusal::from)?;

        let now = now();
        let url = self.public_url(&head.uri);
        let received = Received { url: &url, headers: &head.headers, body: &body };
        self.scheme.verify(&received, now.0 / 1000).map_err(Refusal::from)?;
        let id = if self.signs_id { header(&head.headers, "webhook-id") } else { None };
        let genuine = |refusal| Refused { refusal, genuine: true };
        self.publish(api, &body, id, now, deadline).await.map_err(genuine)
    }

    /// Publishes what a genuine webhook says.
    async fn publish(
        &self,
        api: &Api,
        body: &[u8],
        id: Option<&str>,
        now: Timestamp,
        deadline: Instant,
    ) -> Result<Taken, Refusal> {
        let text = self
            .body
            .read(body)
            .ok_or_else(|| Refusal::malformed("", format!("the body is not {}", self.body.name())))?;
        let event = Event { body: &text, found: None, answer: None, now };
        let Some(mapping) = self.choice.of(&event).map_err(|missing| self.unmapped(missing.into()))? else {
            return Ok(Taken::Ignored);
        };
        let found = self.lookup.as_ref().and_then(|lookup| lookup.find(&event));
        let event = Event { found, ..event };
        let answer = self.enrich(api, &event).await;
        let event = Event { answer: answer.as_deref(), ..event };
        let mut order = mapping
            .order(&event, &self.tenant, api.publisher.rules())
            .map_err(|unmapped| self.unmapped(unmapped))?;
        order.repeat_under_digest(&self.key(&SignedParts { body: &text, id }))?;
        order.remembered = Some(self.replay_window);

        let outcomes =
            api.publisher.publish(&self.publisher(), std::slice::from_ref(&order), now, deadline).await;
        let mut taken = Taken::Duplicate;
        for (_, result) in outcomes.into_iter().flatten() {
            match result {
                Ok(published) if !published.duplicate => taken = Taken::Published,
                // What is made of a webhook can differ when it is repeated: the time, what was looked up for it.
                Ok(_) | Err(Refusal::Conflict) => {}
                Err(refusal) => return Err(refusal),
            }
        }
        Ok(taken)
    }

    /// What the application says about a webhook, if it is to be asked and answers in time.
    async fn enrich(&self, api: &Api, event: &Event<'_>) -> Option<String> {
        let Enrichment { enricher, question } = self.enrichment.as_ref()?;
        let asked = enricher.ask(question.render(event)?).await;
        let (result, answer) = match asked {
            Asked::Answered(answer) => ("answered", answer),
            Asked::Failed => ("failed", None),
            Asked::Skipped => ("skipped", None),
        };
        api.hook_metrics.enriched(&self.name, result);
        answer
    }

    /// The address that the provider called.
    fn public_url(&self, uri: &Uri) -> String {
        let path = uri.path_and_query().map_or(uri.path(), http::uri::PathAndQuery::as_str);
        format!("{}{path}", self.url)
    }

    /// What stays the same when the provider repeats a webhook.
    fn key(&self, signed: &SignedParts<'_>) -> String {
        let id = self.id.as_ref().and_then(|id| mapping::text(id, signed).ok());
        // Which of both it is stands in front, so that no body can pass for an id.
        match id.filter(|id| !id.is_empty()) {
            Some(id) => format!("id:{id}"),
            None => format!("body:{}", signed.body),
        }
    }

    /// Separates the ids of this provider from those of all other publishers.
    fn publisher(&self) -> String {
        format!("webhook:{}", self.path)
    }

    /// A genuine webhook that the mapping does not fit is a matter for whoever wrote the mapping.
    fn unmapped(&self, unmapped: Unmapped) -> Refusal {
        let detail = match unmapped {
            // The pointer is into the message, which the provider did not write.
            Unmapped::Refused(refusal @ Refusal::DataTooLarge { .. }) => return refusal,
            other => other.to_string(),
        };
        tracing::warn!(webhook = self.name, detail, "a genuine webhook does not fit its mapping");
        Refusal::malformed("", detail)
    }
}

impl Choice {
    /// The mapping for a webhook; none where its type is not in the table.
    fn of(&self, event: &Event<'_>) -> Result<Option<&Mapping<Fact>>, proto::template::Missing> {
        match self {
            Self::One(mapping) => Ok(Some(mapping)),
            Self::ByType { kind, by_type, other } => {
                let kind = mapping::text(kind, event)?;
                Ok(by_type.get(&kind).or(other.as_deref()))
            }
        }
    }
}

impl Taken {
    /// The word under which it is counted.
    const fn label(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Duplicate => "duplicate",
            Self::Ignored => "ignored",
        }
    }
}
