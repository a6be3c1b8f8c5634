//! Takes in the head and body of a call, each within its limits.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http::{HeaderMap, header as names};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::timeout;

use crate::refusal::Refusal;

/// How long a body may take to arrive. A call holds a place among those in flight meanwhile.
pub(crate) const BODY_TIME: Duration = Duration::from_secs(10);

/// The credential of `Authorization: Bearer …` (RFC 6750, section 2.1).
pub(crate) fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    let value = headers.get(names::AUTHORIZATION).ok_or(Refusal::NotAuthenticated)?;
    let (scheme, token) = str::from_utf8(value.as_bytes())
        .ok()
        .and_then(|text| text.split_once(' '))
        .ok_or(Refusal::NotAuthenticated)?;
    let token = token.trim();
    if scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() {
        Ok(token)
    } else {
        Err(Refusal::NotAuthenticated)
    }
}

/// The key of `Idempotency-Key`, with or without the quotes of a structured field (RFC 9651, section 3.3.3).
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text =
        value.to_str().map_err(|_| Refusal::malformed("", "Idempotency-Key must be ASCII text"))?.trim();
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    if values.next().is_some() || text.is_empty() {
        return Err(Refusal::malformed("", "Idempotency-Key must be one text"));
    }
    Ok(Some(text))
}

/// The text of a header.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The media types of JSON.
pub(crate) const JSON: &[&str] = &["application/json"];
/// The media types of a JSON text on each line. None is registered; the first is the usual one.
pub(crate) const NDJSON: &[&str] = &["application/x-ndjson", "application/ndjson", "application/jsonl"];

/// Whether a body is declared as one of these.
pub(crate) fn require(kinds: &'static [&'static str], headers: &HeaderMap) -> Result<(), Refusal> {
    let declared = headers.get(names::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let media_type = declared.split(';').next().unwrap_or_default().trim();
    if kinds.iter().any(|kind| media_type.eq_ignore_ascii_case(kind)) {
        Ok(())
    } else {
        Err(Refusal::MediaType(kinds.first().copied().unwrap_or_default()))
    }
}

/// Reads a whole body of at most `max` bytes.
pub(crate) async fn read_body(body: Body, max: usize) -> Result<Bytes, Refusal> {
    read_body_within(body, max, BODY_TIME).await
}

/// Reads a whole body of at most `max` bytes, which has so long to arrive.
pub(crate) async fn read_body_within(body: Body, max: usize, time: Duration) -> Result<Bytes, Refusal> {
    if body.size_hint().lower() > u64::try_from(max).unwrap_or(u64::MAX) {
        return Err(Refusal::BodyTooLarge { max });
    }
    match timeout(time, Limited::new(body, max).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::BodyTooLarge { max }),
        Ok(Err(_)) => Err(Refusal::malformed("", "the body broke off")),
        Err(_) => Err(Refusal::SlowBody),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(name: &'static str, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(http::HeaderName::from_static(name), HeaderValue::from_static(value))])
    }

    #[test]
    fn a_bearer_credential_is_found_whatever_the_case_of_its_scheme() {
        assert_eq!(bearer(&headers("authorization", "bearer a.b.c")), Ok("a.b.c"));
        for other in ["", "Bearer", "Bearer ", "Basic dTpw", "a.b.c"] {
            assert_eq!(bearer(&headers("authorization", other)), Err(Refusal::NotAuthenticated), "{other}");
        }
    }

    #[test]
    fn an_idempotency_key_comes_with_or_without_quotes() {
        let key =
            |value| idempotency_key(&headers("idempotency-key", value)).map(|key| key.map(str::to_owned));
        assert_eq!(key("abc"), Ok(Some("abc".into())));
        assert_eq!(key("\"abc\""), Ok(Some("abc".into())));
        assert!(key("").is_err());
        assert_eq!(idempotency_key(&HeaderMap::new()), Ok(None));
    }

    #[test]
    fn only_json_is_json() {
        for good in ["application/json", "Application/JSON; charset=utf-8"] {
            assert_eq!(require(JSON, &headers("content-type", good)), Ok(()), "{good}");
        }
        for bad in ["", "text/plain", "application/jsonp", "application/x-www-form-urlencoded"] {
            assert_eq!(
                require(JSON, &headers("content-type", bad)),
                Err(Refusal::MediaType("application/json")),
                "{bad}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_given_up() {
        let (endless, _writer) = tokio::io::duplex(16);
        let stream = futures_util::stream::unfold(endless, |mut endless| async move {
            let mut byte = [0];
            tokio::io::AsyncReadExt::read_exact(&mut endless, &mut byte).await.ok()?;
            Some((Ok::<_, std::io::Error>(Bytes::copy_from_slice(&byte)), endless))
        });
        assert_eq!(read_body(Body::from_stream(stream), 100).await, Err(Refusal::SlowBody));
    }
}
