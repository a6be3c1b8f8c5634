//! Twilio: `X-Twilio-Signature` over the URL and the parameters of a form, or the URL with the body's hash in it.

use std::collections::BTreeSet;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use chassis::options::Secret;
use http::{HeaderName, header};
use url::form_urlencoded;

use super::encoding::Encoding;
use super::keys::text_key;
use super::{KeyError, Received, Rejection, Rotation, header as headers};

const SIGNATURE: HeaderName = HeaderName::from_static("x-twilio-signature");

/// The parameter of the URL that holds the SHA-256 of a body that is not a form.
const BODY_HASH: &str = "bodySHA256";

/// Webhooks of Twilio. They do not say when they were made.
#[derive(Debug)]
pub struct Twilio {
    keys: Rotation<hmac::Key>,
}

impl Twilio {
    /// Takes the account's auth token.
    pub fn new(tokens: &Rotation<Secret>) -> Result<Self, KeyError> {
        let key = |token: &Secret| text_key(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, token);
        Ok(Self { keys: tokens.try_map(key)? })
    }

    /// See [`Scheme::verify`](super::Scheme::verify).
    pub fn verify(&self, received: &Received<'_>) -> Result<(), Rejection> {
        let signature = headers::one(received.headers, &SIGNATURE)?;
        let signature = Encoding::Base64.decode(signature).ok_or(Rejection::Malformed(SIGNATURE))?;
        // The fragment holds the caller's settings (`#rc=2`) and is never sent.
        let url = received.url.split('#').next().unwrap_or_default();
        let parameters = if is_form(received) {
            sorted_parameters(received.body)
        } else {
            check_body(url, received.body)?;
            String::new()
        };
        // Twilio signs some URLs with their port and some without, so both are good.
        let other = other_spelling(url);
        let signed = |key: &hmac::Key, url: &str| {
            let message = [url.as_bytes(), parameters.as_bytes()].concat();
            hmac::verify(key, &message, &signature).is_ok()
        };
        let good = |key: &hmac::Key| signed(key, url) | other.as_ref().is_some_and(|url| signed(key, url));
        if self.keys.any(good) { Ok(()) } else { Err(Rejection::BadSignature) }
    }
}

fn is_form(received: &Received<'_>) -> bool {
    let kind = received.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// Each name with each of its values, sorted, each pair once, with nothing between.
fn sorted_parameters(form: &[u8]) -> String {
    let pairs: BTreeSet<_> = form_urlencoded::parse(form).collect();
    let mut text = String::with_capacity(form.len());
    for (name, value) in pairs {
        text.push_str(&name);
        text.push_str(&value);
    }
    text
}

/// A body that is no form is signed by its hash in the URL. An empty one needs none.
fn check_body(url: &str, body: &[u8]) -> Result<(), Rejection> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let mut hashes = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == BODY_HASH);
    match (hashes.next(), hashes.next()) {
        (None, _) if body.is_empty() => Ok(()),
        (Some((_, hash)), None) => {
            // The hash is no secret, so it may be compared as it is.
            let is_same =
                Encoding::Hex.decode(&hash).is_some_and(|hash| hash == digest(&SHA256, body).as_ref());
            if is_same { Ok(()) } else { Err(Rejection::BadSignature) }
        }
        _ => Err(Rejection::UnsignedBody),
    }
}

/// The URL without its port, or with that of its scheme if it has none.
fn other_spelling(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let (authority, path) = rest.split_at_checked(rest.find(['/', '?']).unwrap_or(rest.len()))?;
    let is_port = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    Some(match authority.rsplit_once(':').filter(|(_, text)| is_port(text)) {
        Some((host, _)) => format!("{scheme}://{host}{path}"),
        None if scheme.eq_ignore_ascii_case("https") => format!("{scheme}://{authority}:443{path}"),
        None => format!("{scheme}://{authority}:80{path}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhook::testing::{headers as head, malformed, missing, secret, secrets};

    // The vectors of Twilio's own library for Python.
    const FORM: &str =
        "CallSid=CA1234567890ABCDE&Digits=1234&From=%2B14158675309&To=%2B18005551212&Caller=%2B14158675309";
    const GOOD: &str = "RSOYDt4T1cUTdK1PDd93/VVr8B8=";
    const URL: &str = "https://mycompany.com/myapp.php?foo=1&bar=2";
    const REPEATED: &str = "Sid=CA123&SidAccount=AC123&Digits=5678&Digits=1234&Digits=1234";
    const JSON: &str = r#"{"property": "value", "boolean": true}"#;
    const JSON_URL: &str = "https://mycompany.com/myapp.php?foo=1&bar=2&bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620";
    const JSON_GOOD: &str = "a9nBmqA0ju/hNViExpshrM61xv4=";

    fn post(token: &str, kind: &str, url: &str, body: &str, signature: &str) -> Result<(), Rejection> {
        let headers = head(&[("x-twilio-signature", signature), ("content-type", kind)]);
        let received = Received { url, headers: &headers, body: body.as_bytes() };
        Twilio::new(&secret(token)).unwrap().verify(&received)
    }

    fn form(url: &str, body: &str, signature: &str) -> Result<(), Rejection> {
        post("12345", "application/x-www-form-urlencoded; charset=utf-8", url, body, signature)
    }

    fn json(url: &str, body: &str, signature: &str) -> Result<(), Rejection> {
        post("12345", "application/json", url, body, signature)
    }

    #[test]
    fn the_published_vectors_hold() {
        assert_eq!(form(URL, FORM, GOOD), Ok(()));
        assert_eq!(form(URL, REPEATED, "IK+Dwps556ElfBT0I3Rgjkr1wJU="), Ok(()));
        assert_eq!(json(JSON_URL, JSON, JSON_GOOD), Ok(()));
    }

    #[test]
    fn a_port_may_be_signed_or_not() {
        let on = |origin: &str| URL.replace("https://mycompany.com", origin);
        for (origin, signature) in [
            ("https://mycompany.com:443", "kvajT1Ptam85bY51eRf/AJRuM3w="),
            ("https://mycompany.com", "kvajT1Ptam85bY51eRf/AJRuM3w="),
            ("https://mycompany.com:1234", GOOD),
            ("http://mycompany.com:80", "0ZXoZLH/DfblKGATFgpif+LLRf4="),
            ("http://mycompany.com", "0ZXoZLH/DfblKGATFgpif+LLRf4="),
            ("http://mycompany.com:1234", "Zmvh+3yNM1Phv2jhDCwEM3q5ebU="),
            ("https://mycompany.com", GOOD),
            ("https://mycompany.com:443", GOOD),
        ] {
            assert_eq!(form(&on(origin), FORM, signature), Ok(()), "{origin} {signature}");
        }
        for (origin, signature) in [
            ("http://mycompany.com", GOOD),
            ("https://mycompany.com:1234", "Zmvh+3yNM1Phv2jhDCwEM3q5ebU="),
            ("https://mycompany.com:1234", "kvajT1Ptam85bY51eRf/AJRuM3w="),
        ] {
            let refused = form(&on(origin), FORM, signature);
            assert_eq!(refused, Err(Rejection::BadSignature), "{origin} {signature}");
        }
    }

    #[test]
    fn whatever_else_the_url_is_its_port_is_found() {
        assert_eq!(other_spelling("https://[::1]/a:1").as_deref(), Some("https://[::1]:443/a:1"));
        assert_eq!(other_spelling("https://[::1]:8443/a").as_deref(), Some("https://[::1]/a"));
        assert_eq!(other_spelling("http://u:1@host?a=b:2").as_deref(), Some("http://u:1@host:80?a=b:2"));
        assert_eq!(other_spelling("https://host").as_deref(), Some("https://host:443"));
        assert_eq!(other_spelling("nonsense"), None);
    }

    #[test]
    fn the_order_of_parameters_and_the_fragment_do_not_matter() {
        let mut turned: Vec<_> = FORM.split('&').collect();
        turned.reverse();
        assert_eq!(form(URL, &turned.join("&"), GOOD), Ok(()));
        assert_eq!(form(&format!("{URL}#rc=2&rp=all"), FORM, GOOD), Ok(()));
    }

    #[test]
    fn anything_changed_is_refused() {
        for (url, body) in [
            (URL, FORM.replace("1234567890", "1234567891")),
            (URL, format!("{FORM}&New=1")),
            (URL, String::new()),
            ("https://mycompany.com/myapp.php?foo=1&bar=3", FORM.to_owned()),
            ("https://mycompany.com/myapp.php", FORM.to_owned()),
        ] {
            assert_eq!(form(url, &body, GOOD), Err(Rejection::BadSignature), "{url} {body}");
        }
        assert_eq!(form(URL, FORM, &GOOD.replace('R', "S")), Err(Rejection::BadSignature));
        assert_eq!(form(URL, FORM, "*"), Err(malformed("x-twilio-signature")));
        let nothing = head(&[]);
        let received = Received { url: URL, headers: &nothing, body: b"" };
        let refused = Twilio::new(&secret("12345")).unwrap().verify(&received);
        assert_eq!(refused, Err(missing("x-twilio-signature")));
    }

    #[test]
    fn a_body_that_is_no_form_is_covered_by_its_hash() {
        assert_eq!(json(JSON_URL, &JSON.replace("true", "false"), JSON_GOOD), Err(Rejection::BadSignature));
        assert_eq!(json(&JSON_URL.replace("0a1f", "0A1F"), JSON, JSON_GOOD), Err(Rejection::BadSignature));
        // Without a hash, or with two of which only one is the body's, nothing covers it.
        let of_url_alone = "zYQTYrRWXE7LtzbG4PfP7/bkkGo=";
        assert_eq!(json(URL, JSON, of_url_alone), Err(Rejection::UnsignedBody));
        let twice = format!("{JSON_URL}&bodySHA256=00");
        assert_eq!(json(&twice, JSON, JSON_GOOD), Err(Rejection::UnsignedBody));
        // Calling it a form does not help.
        assert_eq!(form(JSON_URL, "a=b", JSON_GOOD), Err(Rejection::BadSignature));
    }

    #[test]
    fn both_tokens_are_good_while_one_replaces_the_other() {
        let headers = head(&[("x-twilio-signature", JSON_GOOD)]);
        let received = Received { url: JSON_URL, headers: &headers, body: JSON.as_bytes() };
        let verify = |tokens| Twilio::new(&tokens).unwrap().verify(&received);
        assert_eq!(verify(secrets("new", "12345")), Ok(()));
        assert_eq!(verify(secrets("new", "newer")), Err(Rejection::BadSignature));
        assert_eq!(Twilio::new(&secret("")).err(), Some(KeyError::Empty));
    }
}
