//! Where a request carries its credential.
//!
//! Clients differ in what they can set. In this order, the first place that has a credential counts:
//!
//! 1. `Authorization: Bearer <token>` (RFC 6750, section 2.1), for everyone but browsers;
//! 2. an entry of `Sec-WebSocket-Protocol`, which is all that a browser's WebSocket lets a page choose beside the
//!    address. Three spellings are understood:
//!    - `bearer.<token>`, beside the protocols that are really meant;
//!    - two entries, a marker and the token: `token, <token>`; as the marker, also `bearer` and `access_token`;
//!    - the token alone, if it looks like one (`eyJ….….…` or `sb_…`);
//! 3. the query, `?token=<token>` (RFC 6750, section 2.3). It ends up in the logs of whatever stands in front, so an
//!    endpoint may turn it off.
//!
//! A browser closes a WebSocket whose answer names none of the protocols that it offered (RFC 6455, section 4.1), so
//! the answer must name one. That is a protocol of the endpoint if one was offered, else the marker, and only if
//! there is nothing else the entry with the token in it, which then goes back to where it came from.

use std::borrow::Cow;
use std::fmt;

use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderName, SEC_WEBSOCKET_PROTOCOL};
use percent_encoding::percent_decode_str;

use super::api_key::ApiKeys;
use super::token::TokenError;

/// What an entry with a token inside begins with.
const PREFIX: &str = "bearer.";

/// What may stand before an entry that is a token.
const MARKERS: [&str; 3] = ["token", "bearer", "access_token"];

/// The places in which an endpoint looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// `Authorization`.
    pub header: bool,
    /// `Sec-WebSocket-Protocol`.
    pub subprotocol: bool,
    /// The name of the query's parameter; `None` leaves the query alone.
    pub query: Option<String>,
}

impl Default for Places {
    /// All, and `token` in the query.
    fn default() -> Self {
        Self { header: true, subprotocol: true, query: Some("token".to_owned()) }
    }
}

/// What a request carries. Does not show the credential.
#[derive(Clone, PartialEq, Eq)]
pub struct Carried<'a> {
    /// The token or API key, unchecked. It is never empty.
    pub credential: Option<Cow<'a, str>>,
    /// The protocol that the answer to a WebSocket's request must name. It may hold the credential.
    pub subprotocol: Option<&'a str>,
}

impl fmt::Debug for Carried<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Carried").field("credential", &self.credential.is_some()).finish_non_exhaustive()
    }
}

impl Places {
    /// Looks for a credential in a request's headers and query (without the `?`). `supported` are the protocols
    /// that the endpoint speaks, to be offered in `Sec-WebSocket-Protocol`.
    ///
    /// Fails with [`TokenError::Repeated`] if one place carries two, since another reader could choose the other
    /// one, and with [`TokenError::Malformed`] if it is not text.
    pub fn find<'a>(
        &self,
        headers: &'a HeaderMap,
        query: Option<&'a str>,
        supported: &[&str],
    ) -> Result<Carried<'a>, TokenError> {
        let authorization = if self.header { bearer(headers)? } else { None };
        let entries = || entries(headers);
        let offered = if self.subprotocol { offered(entries())? } else { None };
        let parameter = match (&self.query, query) {
            (Some(name), Some(query)) => parameter(query, name)?,
            _ => None,
        };
        let spoken = entries().find(|entry| supported.contains(entry));
        Ok(Carried {
            credential: authorization
                .or(offered.as_ref().map(|offered| offered.token))
                .map(Cow::Borrowed)
                .or(parameter),
            subprotocol: spoken.or(offered.map(|offered| offered.echo)),
        })
    }
}

fn bearer(headers: &HeaderMap) -> Result<Option<&str>, TokenError> {
    let Some(value) = only(headers, &AUTHORIZATION)? else { return Ok(None) };
    Ok(match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("Bearer") => some(token.trim()),
        // Another scheme is meant for someone else, such as a proxy that asks for a password.
        _ => None,
    })
}

fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, TokenError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| TokenError::Malformed),
        (Some(_), Some(_)) => Err(TokenError::Repeated),
    }
}

/// A token among the protocols that a client offers.
struct Offered<'a> {
    token: &'a str,
    echo: &'a str,
}

/// The entries of all lines of the header; a line that is not text offers nothing that could be meant.
fn entries(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|entry| !entry.is_empty())
}

fn offered<'a>(entries: impl Iterator<Item = &'a str>) -> Result<Option<Offered<'a>>, TokenError> {
    let mut entries = entries.peekable();
    let mut found = None;
    while let Some(entry) = entries.next() {
        let offered = if let Some(token) = entry.strip_prefix(PREFIX).and_then(some) {
            Offered { token, echo: entry }
        } else if MARKERS.contains(&entry) {
            let Some(token) = entries.next() else { continue };
            Offered { token, echo: entry }
        } else if looks_like_a_token(entry) {
            Offered { token: entry, echo: entry }
        } else {
            continue;
        };
        if found.replace(offered).is_some() {
            return Err(TokenError::Repeated);
        }
    }
    Ok(found)
}

/// Whether the entry of a list can only be a credential: a JWT, whose header is an object of JSON, or an API key.
fn looks_like_a_token(entry: &str) -> bool {
    ApiKeys::looks_like_one(entry) || (entry.starts_with("eyJ") && entry.matches('.').count() == 2)
}

fn parameter<'a>(query: &'a str, name: &str) -> Result<Option<Cow<'a, str>>, TokenError> {
    let mut values = query.split('&').filter_map(|pair| pair.split_once('=')).filter(|(key, _)| *key == name);
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some((_, value)), None) => {
            let text = percent_decode_str(value).decode_utf8().map_err(|_| TokenError::Malformed)?;
            Ok((!text.is_empty()).then_some(text))
        }
        (Some(_), Some(_)) => Err(TokenError::Repeated),
    }
}

fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    const JWT: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln";

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    /// The credential and the protocol to answer with.
    fn found(lines: &[(&'static str, &str)], query: Option<&str>) -> (Option<String>, Option<String>) {
        let headers = headers(lines);
        let carried = Places::default().find(&headers, query, &["switchboard.v1"]).unwrap();
        (carried.credential.map(Cow::into_owned), carried.subprotocol.map(str::to_owned))
    }

    fn refusal(lines: &[(&'static str, &str)], query: Option<&str>) -> TokenError {
        Places::default().find(&headers(lines), query, &[]).unwrap_err()
    }

    #[test]
    fn a_bearer_token_is_found_in_authorization() {
        for line in [format!("Bearer {JWT}"), format!("bearer {JWT}"), format!("BEARER  {JWT} ")] {
            assert_eq!(found(&[("authorization", &line)], None), (Some(JWT.to_owned()), None), "{line}");
        }
        for line in ["", "Bearer", "Bearer ", "Basic dTpw", JWT, "Digest x", "Bearertoken x"] {
            assert_eq!(found(&[("authorization", line)], None), (None, None), "{line}");
        }
    }

    #[test]
    fn a_token_is_found_among_subprotocols_and_one_is_answered() {
        let with_prefix = format!("bearer.{JWT}");
        let key = "sb_4f1c_00";
        for (offer, token, answer) in [
            (with_prefix.clone(), Some(JWT), Some(&*with_prefix)),
            (format!("switchboard.v1, {with_prefix}"), Some(JWT), Some("switchboard.v1")),
            (format!("{with_prefix},switchboard.v1"), Some(JWT), Some("switchboard.v1")),
            (format!("token, {JWT}"), Some(JWT), Some("token")),
            (format!("bearer,{JWT}"), Some(JWT), Some("bearer")),
            (format!("access_token ,\t{JWT}, other"), Some(JWT), Some("access_token")),
            ("token, garbage".to_owned(), Some("garbage"), Some("token")),
            (JWT.to_owned(), Some(JWT), Some(JWT)),
            (format!("other, {JWT}"), Some(JWT), Some(JWT)),
            (format!("other, {key}"), Some(key), Some(key)),
            (format!("switchboard.v1, token, {key}"), Some(key), Some("switchboard.v1")),
            ("other".to_owned(), None, None),
            ("switchboard.v1".to_owned(), None, Some("switchboard.v1")),
            ("other, switchboard.v1".to_owned(), None, Some("switchboard.v1")),
            ("token".to_owned(), None, None),
            ("bearer.".to_owned(), None, None),
            (",, ,".to_owned(), None, None),
            ("a.b.c".to_owned(), None, None),
        ] {
            let expected = (token.map(str::to_owned), answer.map(str::to_owned));
            assert_eq!(found(&[("sec-websocket-protocol", &offer)], None), expected, "{offer}");
        }
        let lines = [("sec-websocket-protocol", "token"), ("sec-websocket-protocol", JWT)];
        assert_eq!(found(&lines, None), (Some(JWT.to_owned()), Some("token".to_owned())));
    }

    #[test]
    fn a_token_is_found_in_the_query() {
        for (query, expected) in [
            (format!("token={JWT}"), Some(JWT)),
            (format!("EIO=4&token={JWT}&transport=websocket"), Some(JWT)),
            (format!("token={}", JWT.replace('.', "%2E")), Some(JWT)),
            ("token=a=b".to_owned(), Some("a=b")),
            ("token=a+b".to_owned(), Some("a+b")),
            ("token=".to_owned(), None),
            ("token".to_owned(), None),
            (format!("Token={JWT}&xtoken={JWT}&tokens={JWT}"), None),
            (String::new(), None),
        ] {
            assert_eq!(found(&[], Some(&query)).0.as_deref(), expected, "{query}");
        }
    }

    #[test]
    fn the_first_place_counts_but_the_answer_still_names_a_protocol() {
        let lines = [("authorization", "Bearer one"), ("sec-websocket-protocol", "token, two")];
        let query = Some("token=three");
        assert_eq!(found(&lines, query), (Some("one".to_owned()), Some("token".to_owned())));
        assert_eq!(found(&lines[1..], query), (Some("two".to_owned()), Some("token".to_owned())));
        assert_eq!(found(&[("authorization", "Basic dTpw")], query), (Some("three".to_owned()), None));
    }

    #[test]
    fn an_endpoint_looks_only_where_it_says() {
        let headers =
            headers(&[("authorization", "Bearer one"), ("sec-websocket-protocol", "token, two, x")]);
        let query = Some("token=three&access_token=four");
        let nowhere = Places { header: false, subprotocol: false, query: None };
        let find = |places: &Places| {
            let carried = places.find(&headers, query, &["x"]).unwrap();
            (carried.credential.map(Cow::into_owned), carried.subprotocol)
        };
        assert_eq!(find(&nowhere), (None, Some("x")));
        assert_eq!(find(&Places { subprotocol: true, ..nowhere.clone() }).0.as_deref(), Some("two"));
        let named = Places { query: Some("access_token".to_owned()), ..nowhere };
        assert_eq!(find(&named).0.as_deref(), Some("four"));
    }

    #[test]
    fn two_tokens_in_one_place_are_refused() {
        let twice = [("authorization", "Bearer a"), ("authorization", "Bearer b")];
        assert_eq!(refusal(&twice, None), TokenError::Repeated);
        assert_eq!(refusal(&[], Some("token=a&x=1&token=a")), TokenError::Repeated);
        for offer in ["bearer.a, bearer.b", "token, a, token, b", "sb_1_2, sb_1_3"] {
            assert_eq!(refusal(&[("sec-websocket-protocol", offer)], None), TokenError::Repeated, "{offer}");
        }
    }

    #[test]
    fn what_is_not_text_is_no_token() {
        assert_eq!(refusal(&[("authorization", "Bearer é")], None), TokenError::Malformed);
        assert_eq!(refusal(&[], Some("token=%FF")), TokenError::Malformed);
        assert_eq!(found(&[("sec-websocket-protocol", "é, token, a")], None), (None, None));
    }

    #[test]
    fn what_was_found_is_not_shown() {
        let headers = headers(&[("sec-websocket-protocol", "bearer.canary")]);
        let carried = Places::default().find(&headers, Some("token=canary"), &[]).unwrap();
        assert!(!format!("{carried:?}").contains("canary"));
    }

    proptest! {
        #[test]
        fn whatever_is_offered_the_answer_is_one_of_it(offer in "[a-c.,_ tokenbearsw]{0,40}", query in "[ -~]{0,40}") {
            let headers = headers(&[("sec-websocket-protocol", &offer)]);
            if let Ok(carried) = Places::default().find(&headers, Some(&query), &["a", "b"]) {
                let offers: Vec<_> = offer.split(',').map(str::trim).collect();
                prop_assert!(carried.subprotocol.is_none_or(|answer| offers.contains(&answer)));
                prop_assert!(carried.credential.is_none_or(|credential| !credential.is_empty()));
            }
        }
    }
}
