//! The calls: from a request to an answer.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use broker::Outbox;
use bytes::Bytes;
use http::HeaderMap;
use proto::Timestamp;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::bulk;
use crate::caller::{Caller, Callers};
use crate::config::FanoutConfig;
use crate::hook;
use crate::intake::{JSON, NDJSON, bearer, idempotency_key, read_body, require};
use crate::metrics::{InFlight, Metrics};
use crate::openapi::{BatchProblems, PublishProblems};
use crate::problem::Problem;
use crate::publisher::{Outcome, Publisher};
use crate::rate::Rates;
use crate::refusal::{Refusal, read_json};
use crate::request::{BatchRequest, MAX_BATCH_CHANNELS, MAX_ITEMS, Order, PublishRequest};
use crate::response::{BatchResponse, BulkResponse, ItemResult, PublishResponse, Receipt};
use crate::share::{Share, Shares};

/// What every call uses.
pub(crate) struct Api {
    pub(crate) config: FanoutConfig,
    pub(crate) publisher: Publisher,
    pub(crate) outbox: Arc<dyn Outbox>,
    pub(crate) callers: Callers,
    pub(crate) in_flight: Semaphore,
    /// How many of these each caller that publishes may hold.
    pub(crate) shares: Shares,
    /// Those of them that may be questions to clients.
    pub(crate) asking: Semaphore,
    /// How many messages each caller may publish.
    pub(crate) publishing: Rates,
    /// How often each caller may administer.
    pub(crate) administering: Rates,
    pub(crate) metrics: Metrics,
    pub(crate) hook_metrics: hook::Metrics,
}

/// Why one message is not in all of its channels, and those that have it all the same.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) refusal: Refusal,
    results: Vec<Receipt>,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, results: Vec::new() }
    }
}

impl Failure {
    /// What the caller is told. `within` is where the message stands in the body: a JSON pointer.
    pub(crate) fn problem(self, within: &str) -> Problem {
        Problem::of(&self.refusal, within).with_results(self.results)
    }
}

/// Publishes one message
///
/// Reaches every client that is connected to any node, and stores the message for those that come back. When the answer
/// is 200, the message is in every channel. When it is 503, it is unknown whether it is: repeat the call with the same
/// `id`, and it is published once.
#[utoipa::path(
    post,
    path = "/v1/publish",
    tag = "publish",
    params(
        ("Idempotency-Key" = Option<String>, Header, nullable = false, min_length = 1, max_length = 128,
            pattern = "^[!-~]([ -~]*[!-~])?$", example = "order-4711",
            description = "Makes repeating the call safe, as `id` does; where both are given, this one counts, and `id` only names the message.")
    ),
    request_body = PublishRequest,
    responses((status = 200, description = "The message is in every channel", body = PublishResponse), PublishProblems),
    security(("token" = []), ("apiKey" = []))
)]
pub(crate) async fn publish(State(api): State<Arc<Api>>, request: Request) -> Response {
    let started = Instant::now();
    let result = match api.enter() {
        Ok(_place) => api.publish_one(request).await,
        Err(refusal) => Err(refusal.into()),
    };
    api.metrics.message(result.as_ref().err().map(|failure| &failure.refusal));
    api.metrics.took(started.elapsed());
    match result {
        Ok(results) => PublishResponse { results }.into_response(),
        Err(failure) => failure.problem("").into_response(),
    }
}

/// Publishes several messages
///
/// Answers 200 as soon as the batch could be read, with a status of its own for each item: 200 and the results, or the
/// status and the problem that it would have had as a call of its own (what WebDAV calls 207 Multi-Status). Items to the
/// same channel are published in their order; after one that could not be stored, later ones to that channel are not
/// tried and have status 503 too, so that repeating the failed items keeps their order. Other items go in parallel.
#[utoipa::path(
    post,
    path = "/publish/batch",
    tag = "publish",
    request_body = BatchRequest,
    responses((status = 200, description = "What became of each item, in their order", body = BatchResponse), BatchProblems),
    security(("token" = []), ("apiKey" = []))
)]
pub(crate) async fn publish_batch(State(api): State<Arc<Api>>, request: Request) -> Response {
    let started = Instant::now();
    let result = match api.enter() {
        Ok(_place) => api.publish_many(request).await,
        Err(refusal) => Err(refusal),
    };
    api.metrics.took(started.elapsed());
    match result {
        Ok(results) => Json(BatchResponse { results }).into_response(),
        Err(refusal) => {
            api.metrics.message(Some(&refusal));
            Problem::of(&refusal, "").into_response()
        }
    }
}

/// Publishes a stream of messages
///
/// One message a line, as many as you like, sent as fast as you like: each is published as it arrives, and nothing is kept
/// of it. A line that is wrong fails alone. Messages to the same channel are published in their order. Where one cannot
/// be stored, the stream ends with 503 and tells its line; all before it are settled, and repeating the rest is safe for
/// messages that have an `id`.
#[utoipa::path(
    post,
    path = "/publish/stream",
    tag = "publish",
    request_body(content = PublishRequest, content_type = "application/x-ndjson", description = "One message a line"),
    responses((status = 200, description = "The stream was read to its end", body = BulkResponse), BatchProblems),
    security(("token" = []), ("apiKey" = []))
)]
pub(crate) async fn publish_stream(State(api): State<Arc<Api>>, request: Request) -> Response {
    let result = match api.enter() {
        Ok(_place) => api.publish_bulk(request).await,
        Err(refusal) => Err(refusal),
    };
    match result {
        Ok(response) => Json(response).into_response(),
        Err(refusal) => Problem::of(&refusal, "").into_response(),
    }
}

/// A path that does not exist.
pub(crate) async fn not_found() -> Problem {
    Problem::of(&Refusal::NoSuchPath, "")
}

/// A path that exists, with a method that it does not take. The router adds `Allow`.
pub(crate) async fn no_such_method() -> Problem {
    Problem::of(&Refusal::NoSuchMethod, "")
}

impl Api {
    /// Takes a place among the calls in flight for as long as what is returned lives. Nobody waits for one.
    pub(crate) fn enter(&self) -> Result<(SemaphorePermit<'_>, InFlight), Refusal> {
        let place = self.in_flight.try_acquire().map_err(|_| Refusal::Busy)?;
        Ok((place, self.metrics.enter()))
    }

    async fn publish_one(&self, request: Request) -> Result<Vec<Receipt>, Failure> {
        let (caller, headers, body) = self.take_in(request).await?;
        let mut order = self.check(&caller, read_json(&body)?)?;
        if let Some(key) = idempotency_key(&headers)? {
            order.repeat_under(key)?;
        }
        let mut outcomes = self.carry_out(&caller, std::slice::from_ref(&order)).await;
        self.settle(outcomes.pop().unwrap_or_default())
    }

    async fn publish_many(&self, request: Request) -> Result<Vec<ItemResult>, Refusal> {
        let (caller, headers, body) = self.take_in(request).await?;
        if idempotency_key(&headers)?.is_some() {
            return Err(Refusal::malformed("", "Idempotency-Key fits one message; give each item an id"));
        }
        let BatchRequest { items } = read_json(&body)?;
        if items.is_empty() || items.len() > MAX_ITEMS {
            return Err(Refusal::malformed("/items", format!("must hold 1 to {MAX_ITEMS} messages")));
        }
        // The call itself counted as one.
        self.publishing.take(&caller.publisher, items.len() - 1)?;
        let mut orders = Vec::with_capacity(items.len());
        let mut refused = Vec::with_capacity(items.len());
        for item in items {
            let order = read_json(item.get().as_bytes()).and_then(|message| self.check(&caller, message));
            refused.push(order.map(|order| orders.push(order)).err());
        }
        if orders.iter().map(|order| order.channels.len()).sum::<usize>() > MAX_BATCH_CHANNELS {
            let detail = format!("must go to at most {MAX_BATCH_CHANNELS} channels together");
            return Err(Refusal::malformed("/items", detail));
        }
        let mut outcomes = self.carry_out(&caller, &orders).await.into_iter();
        let answer = |(index, refused): (usize, Option<Refusal>)| {
            let result = match refused {
                Some(refusal) => Err(refusal.into()),
                None => self.settle(outcomes.next().unwrap_or_default()),
            };
            self.metrics.message(result.as_ref().err().map(|failure| &failure.refusal));
            ItemResult::new(result.map_err(|failure| failure.problem(&format!("/items/{index}"))))
        };
        Ok(refused.into_iter().enumerate().map(answer).collect())
    }

    async fn publish_bulk(&self, request: Request) -> Result<BulkResponse, Refusal> {
        let (head, body) = request.into_parts();
        let caller = self.callers.identify(bearer(&head.headers)?, now()).await?;
        caller.may_publish(&self.config)?;
        let caller = self.shares.take(caller)?;
        self.publishing.take(&caller.publisher, 1)?;
        require(NDJSON, &head.headers)?;
        if idempotency_key(&head.headers)?.is_some() {
            return Err(Refusal::malformed("", "Idempotency-Key fits one message; give each line an id"));
        }
        bulk::publish(self, &caller, body).await
    }

    /// Who calls, and with what. Strangers are refused before their body is read, and what is read is within limits.
    async fn take_in(&self, request: Request) -> Result<(Share<'_>, HeaderMap, Bytes), Refusal> {
        let (head, body) = request.into_parts();
        let caller = self.callers.identify(bearer(&head.headers)?, now()).await?;
        caller.may_publish(&self.config)?;
        let caller = self.shares.take(caller)?;
        self.publishing.take(&caller.publisher, 1)?;
        require(JSON, &head.headers)?;
        Ok((caller, head.headers, read_body(body, self.config.max_body).await?))
    }

    /// The order that a message is.
    pub(crate) fn check(&self, caller: &Caller, message: PublishRequest) -> Result<Order, Refusal> {
        let tenant = caller.tenant_of(message.tenant.as_deref(), &self.config)?;
        Order::check(message, &tenant, self.publisher.rules())
    }

    /// Publishes what was checked, within the time for it.
    pub(crate) async fn carry_out<'a>(&self, caller: &Caller, orders: &'a [Order]) -> Vec<Outcome<'a>> {
        let deadline = Instant::now() + self.config.publish_timeout;
        self.publisher.publish(&caller.publisher, orders, now(), deadline).await
    }

    /// One message is published when it is in all of its channels.
    pub(crate) fn settle(&self, outcome: Outcome<'_>) -> Result<Vec<Receipt>, Failure> {
        let mut results = Vec::with_capacity(outcome.len());
        let mut first = None;
        for (channel, result) in outcome {
            match result {
                Ok(published) => results.push(Receipt::new(channel, published)),
                Err(refusal) => first = first.or(Some(refusal)),
            }
        }
        self.metrics.duplicates(results.iter().filter(|receipt| receipt.duplicate).count());
        match first {
            None => Ok(results),
            Some(refusal) => Err(Failure { refusal, results }),
        }
    }
}

/// The time.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
