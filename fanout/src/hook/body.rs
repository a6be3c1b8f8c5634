//! The body of a webhook as JSON, whatever it came as.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use url::form_urlencoded;

/// How bodies are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum BodyKind {
    /// JSON.
    Json,
    /// `application/x-www-form-urlencoded`: becomes an object of texts, with a list where a name comes several times.
    Form,
}

impl BodyKind {
    /// What people call it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::Form => "a form",
        }
    }

    /// The JSON text of a body; `None` where it is not written so.
    pub(super) fn read(self, body: &[u8]) -> Option<String> {
        let text = std::str::from_utf8(body).ok()?;
        match self {
            Self::Json => serde_json::from_str::<IgnoredAny>(text).ok().map(|_| text.trim().to_owned()),
            Self::Form => {
                let mut fields: BTreeMap<_, Vec<_>> = BTreeMap::new();
                for (name, value) in form_urlencoded::parse(body) {
                    fields.entry(name).or_default().push(value);
                }
                let one_or_all = |values: Vec<_>| match <[_; 1]>::try_from(values) {
                    Ok([value]) => serde_json::Value::from(value),
                    Err(values) => values.into(),
                };
                let fields: BTreeMap<_, _> =
                    fields.into_iter().map(|(name, values)| (name, one_or_all(values))).collect();
                serde_json::to_string(&fields).ok()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_kept_as_it_was_written() {
        assert_eq!(BodyKind::Json.read(b" {\"n\": 1.50}\n").unwrap(), r#"{"n": 1.50}"#);
        for bad in [&b""[..], b"{", b"{} {}", b"a=b", b"\"\xff\""] {
            assert_eq!(BodyKind::Json.read(bad), None);
        }
    }

    #[test]
    fn a_form_becomes_an_object_of_texts() {
        assert_eq!(
            BodyKind::Form.read(b"From=%2B1415&Body=a+%22b%22&Media=1&Media=2&Empty=").unwrap(),
            r#"{"Body":"a \"b\"","Empty":"","From":"+1415","Media":["1","2"]}"#
        );
        assert_eq!(BodyKind::Form.read(b"").unwrap(), "{}");
        assert_eq!(BodyKind::Form.read(b"a=\xff"), None);
    }
}
