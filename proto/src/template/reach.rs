//! Finding a value inside a JSON text, without reading the rest into memory and without changing how it is written.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// One step of a path: the key of an object, or as a number the place in an array, from zero.
pub type Step = String;

/// The text of what stands at `path`, if there is something. Of a key that is there twice the last one counts.
pub fn reach<'a>(json: &'a str, path: &[Step]) -> Option<&'a str> {
    path.iter().try_fold(json, |json, step| {
        let mut reader = serde_json::Deserializer::from_str(json);
        Find(step).deserialize(&mut reader).ok().flatten().map(RawValue::get)
    })
}

/// The texts of an array's items; `None` for anything else.
pub(super) fn items(json: &str) -> Option<Vec<&str>> {
    let items: Vec<&RawValue> = serde_json::from_str(json).ok()?;
    Some(items.into_iter().map(RawValue::get).collect())
}

/// Looks for one step in whatever comes.
struct Find<'s>(&'s str);

impl<'de> DeserializeSeed<'de> for Find<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Find<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(is_it) = map.next_key_seed(Is(self.0))? {
            if is_it {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let index: usize = self.0.parse().map_err(A::Error::custom)?;
        for _ in 0..index {
            if seq.next_element::<IgnoredAny>()?.is_none() {
                return Ok(None);
            }
        }
        let found = seq.next_element()?;
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(found)
    }
}

/// Whether a key is the one looked for.
struct Is<'s>(&'s str);

impl<'de> DeserializeSeed<'de> for Is<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Is<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}

/// The text of a JSON string, number or boolean, as a person writes it; `None` for anything else.
pub fn scalar(json: &str) -> Option<Cow<'_, str>> {
    match json.as_bytes().first()? {
        b'"' => match json.get(1..json.len() - 1) {
            Some(plain) if !plain.contains('\\') => Some(Cow::Borrowed(plain)),
            _ => serde_json::from_str(json).ok().map(Cow::Owned),
        },
        b'{' | b'[' | b'n' => None,
        _ => Some(Cow::Borrowed(json)),
    }
}

/// Writes a text as a JSON string.
pub(crate) fn quote(text: &str) -> String {
    // A string always has a JSON form.
    serde_json::to_string(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn at<'a>(json: &'a str, path: &str) -> Option<&'a str> {
        let path: Vec<Step> = path.split('/').filter(|step| !step.is_empty()).map(str::to_owned).collect();
        reach(json, &path)
    }

    #[test]
    fn what_is_found_is_as_it_was_written() {
        let json = r#"{"a":{"b":[1.50,{"c":" x "}]},"a b":12345678901234567890123,"\u0064":true}"#;
        assert_eq!(at(json, ""), Some(json));
        assert_eq!(at(json, "a/b/0"), Some("1.50"));
        assert_eq!(at(json, "a/b/1"), Some(r#"{"c":" x "}"#));
        assert_eq!(at(json, "a/b/1/c"), Some(r#"" x ""#));
        assert_eq!(at(json, "a b"), Some("12345678901234567890123"));
        assert_eq!(at(json, "d"), Some("true"));
        for nothing in ["b", "a/c", "a/b/2", "a/b/x", "a/b/0/c", "d/e"] {
            assert_eq!(at(json, nothing), None, "{nothing}");
        }
        assert_eq!(at(r#"{"a":1,"a":2}"#, "a"), Some("2"));
    }

    #[test]
    fn only_scalars_have_a_text() {
        assert_eq!(scalar(r#""a\nb""#).unwrap(), "a\nb");
        assert_eq!(scalar(r#""ab""#).unwrap(), "ab");
        assert_eq!(scalar("-1.5").unwrap(), "-1.5");
        assert_eq!(scalar("false").unwrap(), "false");
        for other in ["null", "{}", "[1]", "", r#""\ud800""#] {
            assert_eq!(scalar(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn finds_what_a_full_parse_finds(json in r#"\{("[ab]":(1|"x"|\[2,3\]|\{"a":4\}),?){0,3}\}"#, path in "[ab01]?(/[ab01])?") {
            let pointer = if path.is_empty() { String::new() } else { format!("/{}", path.trim_start_matches('/')) };
            if let Ok(value) = serde_json::from_str::<Value>(&json) {
                let found = at(&json, &path).map(|text| serde_json::from_str::<Value>(text).unwrap());
                prop_assert_eq!(found.as_ref(), value.pointer(&pointer));
            }
        }

        #[test]
        fn any_text_is_searched_without_a_panic(json in any::<String>(), path in any::<String>()) {
            at(&json, &path);
            scalar(&json);
            items(&json);
        }
    }
}
