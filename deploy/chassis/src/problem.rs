//! Errors of HTTP as problem details (RFC 9457), made from the catalogue of errors.

use std::time::Duration;

use axum::Router;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use proto::ErrorCode;
use serde::Serialize;

/// The media type of problem details (RFC 9457, section 3).
pub const CONTENT_TYPE: &str = "application/problem+json";

/// What is told to a caller whose request failed: `{"type", "title", "status", "detail"?, "code", "retryable"}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    code: ErrorCode,
    status: StatusCode,
    detail: Option<String>,
    retry_after: Option<Duration>,
}

impl Problem {
    /// A problem with the status of its code.
    pub fn new(code: ErrorCode) -> Self {
        let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { code, status, detail: None, retry_after: None }
    }

    /// What is wrong with this request, for the developer who sent it. Must hold no secret.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// When to try again, as the field `Retry-After` (RFC 9110, section 10.2.3); rounded up to whole seconds.
    #[must_use]
    pub const fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Another status than that of the code, where HTTP has a finer word for it.
    #[must_use]
    pub const fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// The word of the catalogue.
    pub const fn code(&self) -> ErrorCode {
        self.code
    }

    /// The body, as JSON.
    pub fn to_json(&self) -> String {
        let body = Body {
            kind: format!("urn:problem-type:switchboard:{}", self.code.as_str()),
            title: title(self.code),
            status: self.status.as_u16(),
            detail: self.detail.as_deref(),
            code: self.code,
            retryable: self.code.retryable(),
        };
        // Texts, numbers and truth values always have a form in JSON.
        serde_json::to_string(&body).unwrap_or_default()
    }

    /// The value of `Retry-After`, if it is to be sent.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after.map(|after| after.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX))
    }
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: String,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    code: ErrorCode,
    retryable: bool,
}

/// The word as people write it: `not_authenticated` is "Not authenticated".
fn title(code: ErrorCode) -> String {
    let words = code.as_str().replace('_', " ");
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

impl From<ErrorCode> for Problem {
    fn from(code: ErrorCode) -> Self {
        Self::new(code)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let content_type = HeaderValue::from_static(CONTENT_TYPE);
        let mut response =
            (self.status, [(header::CONTENT_TYPE, content_type)], self.to_json()).into_response();
        if let Some(seconds) = self.retry_after_seconds() {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            // RFC 9110, section 15.5.2: a 401 names at least one challenge.
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// Makes problems of unknown paths, and of methods that a path does not have.
pub fn with_problems<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router
        .fallback(async || Problem::new(ErrorCode::Unknown).detail("there is nothing at this path"))
        .method_not_allowed_fallback(async || {
            Problem::new(ErrorCode::Unknown)
                .status(StatusCode::METHOD_NOT_ALLOWED)
                .detail("this path does not have that method; the header Allow lists those that it has")
        })
}

/// Replaces the plain text with which extractors refuse; answers that a handler made are left alone.
///
/// Not a layer of the router: layers are put around each route, and cloned and boxed for each request.
pub(crate) fn translate(response: Response) -> Response {
    let status = response.status();
    let is_plain = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_none_or(|kind| kind.as_bytes().starts_with(b"text/plain"));
    if !is_plain {
        return response;
    }
    let problem = |code, detail| Problem::new(code).detail(detail);
    match status {
        StatusCode::BAD_REQUEST => problem(ErrorCode::InvalidMessage, "the request cannot be understood"),
        StatusCode::UNPROCESSABLE_ENTITY => {
            problem(ErrorCode::InvalidMessage, "a field is missing or of the wrong type")
        }
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            problem(ErrorCode::InvalidMessage, "send application/json").status(status)
        }
        StatusCode::PAYLOAD_TOO_LARGE => problem(ErrorCode::TooLarge, "the body is larger than the limit"),
        StatusCode::REQUEST_TIMEOUT => {
            problem(ErrorCode::Unavailable, "the request took too long").status(status)
        }
        StatusCode::INTERNAL_SERVER_ERROR => {
            problem(ErrorCode::Internal, "this is our fault, and is in our log")
        }
        _ => return response,
    }
    .into_response()
}

#[cfg(test)]
mod tests {
    use axum::Json;
    use axum::body::Body;
    use axum::extract::DefaultBodyLimit;
    use axum::http::Request;
    use axum::routing::post;
    use http_body_util::BodyExt;
    use serde_json::{Value, json};
    use tower::ServiceExt;

    use super::*;

    async fn body(response: Response) -> Value {
        assert_eq!(response.headers()[header::CONTENT_TYPE], CONTENT_TYPE);
        serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
    }

    #[tokio::test]
    async fn a_problem_says_what_it_is_and_when_to_try_again() {
        let problem = Problem::new(ErrorCode::Unavailable).detail("Redis is away");
        let response = problem.retry_after(Duration::from_millis(1500)).into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
        assert_eq!(
            body(response).await,
            json!({
                "type": "urn:problem-type:switchboard:unavailable", "title": "Unavailable", "status": 503,
                "detail": "Redis is away", "code": "unavailable", "retryable": true,
            })
        );
    }

    #[tokio::test]
    async fn every_error_of_the_catalogue_is_a_problem_with_its_status() {
        for code in ErrorCode::ALL {
            let response = Problem::from(*code).into_response();
            assert_eq!(response.status(), code.status());
            assert_eq!(response.headers().contains_key(header::WWW_AUTHENTICATE), code.status() == 401);
            assert_eq!(body(response).await["code"], code.as_str());
        }
    }

    async fn ask(method: &str, path: &str, sent: &str) -> Response {
        let router = Router::new()
            .route("/echo", post(async |Json(value): Json<Vec<u8>>| Json(value)))
            .route("/own", post(async || (StatusCode::BAD_REQUEST, Json("mine"))))
            .layer(DefaultBodyLimit::max(64));
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        let request = request.body(Body::from(sent.to_owned())).unwrap();
        translate(with_problems(router).oneshot(request).await.unwrap())
    }

    #[tokio::test]
    async fn what_a_router_refuses_by_itself_is_a_problem_too() {
        let long = format!("[{}1]", "1,".repeat(64));
        for (method, path, sent, status, code) in [
            ("POST", "/nowhere", "", 404, "unknown"),
            ("GET", "/echo", "", 405, "unknown"),
            ("POST", "/echo", "[", 400, "invalid_message"),
            ("POST", "/echo", "[\"a\"]", 400, "invalid_message"),
            ("POST", "/echo", long.as_str(), 413, "too_large"),
        ] {
            let response = ask(method, path, sent).await;
            assert_eq!(response.status(), status, "{method} {path}");
            assert_eq!(response.headers().contains_key(header::ALLOW), status == 405);
            let body = body(response).await;
            assert_eq!((&body["code"], &body["status"]), (&json!(code), &json!(status)));
        }
    }

    #[tokio::test]
    async fn what_a_handler_answers_is_left_alone() {
        let response = ask("POST", "/own", "").await;
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
        assert_eq!(ask("POST", "/echo", "[1]").await.status(), 200);
    }
}
