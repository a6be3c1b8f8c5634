//! Binary values in the data of a publication.
//!
//! Data is JSON, so a binary value stands in it as a text, in Base64 (RFC 4648, section 4), which everybody can read and
//! which goes wherever data goes. Beside the data a publication names the places of such texts, for those who can be given
//! bytes. The places are not in the data, so nothing that an application writes there can be taken for one.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::template::{Step, reach, scalar};

/// The places in data whose texts stand for binary values: JSON pointers (RFC 6901).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct BinaryPlaces(Box<[String]>);

/// Why texts are not places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// More than [`BinaryPlaces::MAX`].
    #[error("must name {} places at most", BinaryPlaces::MAX)]
    TooMany,
    /// Not a JSON pointer, or longer than [`BinaryPlaces::LONGEST`].
    #[error("must be a JSON pointer of at most {} characters", BinaryPlaces::LONGEST)]
    NotAPointer,
    /// There is no text in Base64.
    #[error("must point to a text in Base64 (RFC 4648, section 4, with padding)")]
    NotBase64,
}

impl BinaryPlaces {
    /// How many binary values a publication may have.
    pub const MAX: usize = 10;

    /// The longest pointer, in characters.
    pub const LONGEST: usize = 512;

    /// The places that are named by these pointers into this data.
    ///
    /// # Errors
    /// Which pointer is wrong, and why.
    pub fn new(pointers: Vec<String>, data: &RawValue) -> Result<Self, (usize, PlaceError)> {
        for (index, pointer) in pointers.iter().enumerate() {
            let wrong = |error| Err((index, error));
            if index >= Self::MAX {
                return wrong(PlaceError::TooMany);
            }
            if !is_pointer(pointer) {
                return wrong(PlaceError::NotAPointer);
            }
            if value(data.get(), pointer).is_none() {
                return wrong(PlaceError::NotBase64);
            }
        }
        Ok(Self(pointers.into()))
    }

    /// Finds the places of these texts in data, as far as a publication may have so many and name them.
    pub(crate) fn of_texts(data: &RawValue, is_one: impl Fn(&str) -> bool) -> Self {
        let mut places = Vec::new();
        if let Ok(value) = serde_json::from_str(data.get()) {
            collect(&value, &mut String::new(), &is_one, &mut places);
        }
        Self(places.into())
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The JSON pointers.
    pub fn pointers(&self) -> &[String] {
        &self.0
    }

    /// How many bytes the data has when its binary values are counted as such.
    pub fn size(&self, data: &RawValue) -> usize {
        let saved = |(range, bytes): (Range<usize>, Bytes)| range.len().saturating_sub(bytes.len());
        data.get().len() - self.values(data).into_iter().map(saved).sum::<usize>()
    }

    /// The binary values in the order in which they stand in the data, with the places of their JSON texts.
    pub(crate) fn values(&self, data: &RawValue) -> Vec<(Range<usize>, Bytes)> {
        let mut values: Vec<_> = self.0.iter().filter_map(|pointer| value(data.get(), pointer)).collect();
        values.sort_unstable_by_key(|(range, _)| range.start);
        values.dedup_by_key(|(range, _)| range.start);
        values
    }
}

impl<'de> Deserialize<'de> for BinaryPlaces {
    /// Reads what was stored. Whatever is no place here is left out: it is a text all the same.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut places = Vec::<String>::deserialize(deserializer)?;
        places.retain(|pointer| is_pointer(pointer));
        places.truncate(Self::MAX);
        Ok(Self(places.into()))
    }
}

/// Adds the places of such texts below `pointer`. The parser has bounded the depth.
fn collect(value: &Value, pointer: &mut String, is_one: &impl Fn(&str) -> bool, places: &mut Vec<String>) {
    let mut below = |step: &str, value: &Value| {
        let length = pointer.len();
        pointer.push('/');
        pointer.push_str(step);
        collect(value, pointer, is_one, places);
        pointer.truncate(length);
    };
    match value {
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| below(&index.to_string(), item));
        }
        Value::Object(fields) => {
            fields.iter().for_each(|(key, field)| below(&key.replace('~', "~0").replace('/', "~1"), field));
        }
        Value::String(text) if is_one(text) && places.len() < BinaryPlaces::MAX && is_pointer(pointer) => {
            places.push(pointer.clone());
        }
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Whether a text is a pointer that is not too long.
fn is_pointer(text: &str) -> bool {
    text.chars().nth(BinaryPlaces::LONGEST).is_none() && steps(text).is_some()
}

/// The steps of a JSON pointer.
fn steps(pointer: &str) -> Option<Vec<Step>> {
    let mut steps = pointer.split('/');
    if !steps.next()?.is_empty() {
        return None;
    }
    let step = |step: &str| {
        let is_escaped = step.split('~').skip(1).all(|after| after.starts_with(['0', '1']));
        is_escaped.then(|| step.replace("~1", "/").replace("~0", "~"))
    };
    steps.map(step).collect()
}

/// The binary value at a place, and where in the data its text stands.
fn value(data: &str, pointer: &str) -> Option<(Range<usize>, Bytes)> {
    let json = reach(data, &steps(pointer)?)?.trim();
    if !json.starts_with('"') {
        return None;
    }
    let bytes = STANDARD.decode(scalar(json)?.as_bytes()).ok()?;
    let start = (json.as_ptr() as usize).checked_sub(data.as_ptr() as usize)?;
    Some((start..start + json.len(), bytes.into()))
}

/// A binary value as a text.
pub(crate) fn to_text(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).unwrap()
    }

    fn places(pointers: &[&str], data: &str) -> Result<BinaryPlaces, (usize, PlaceError)> {
        BinaryPlaces::new(pointers.iter().map(ToString::to_string).collect(), raw(data))
    }

    #[test]
    fn binary_values_are_found_wherever_they_stand() {
        let data = r#"{"a":["x", "AQID"],"b/c~d":"\u0041Q==" ,"e":""}"#;
        let places = places(&["/e", "/b~1c~0d", "/a/1"], data).unwrap();
        let values = places.values(raw(data));
        let texts: Vec<_> = values.iter().map(|(range, bytes)| (&data[range.clone()], &bytes[..])).collect();
        assert_eq!(texts, [("\"AQID\"", &[1, 2, 3][..]), ("\"\\u0041Q==\"", &[1]), ("\"\"", &[])]);
        assert_eq!(places.size(raw(data)), data.len() - (6 - 3) - (11 - 1) - 2);
        let whole = BinaryPlaces::new(vec![String::new()], raw(" \"AQID\" ")).unwrap();
        assert_eq!(whole.values(raw(" \"AQID\" "))[0].1, [1, 2, 3][..]);
    }

    #[test]
    fn what_is_no_place_of_a_binary_value_is_refused() {
        use PlaceError::{NotAPointer, NotBase64, TooMany};
        let data = r#"{"a":"AQID","b":"AQ","c":[1],"d":{}}"#;
        for (pointer, error) in [
            ("a", NotAPointer),
            ("/~2", NotAPointer),
            ("/~", NotAPointer),
            ("/b", NotBase64),
            ("/c", NotBase64),
            ("/c/0", NotBase64),
            ("/d", NotBase64),
            ("/e", NotBase64),
            ("", NotBase64),
        ] {
            assert_eq!(places(&["/a", pointer], data), Err((1, error)), "{pointer}");
        }
        // Twice is no more than once.
        assert_eq!(places(&["/a", "/a"], data).unwrap().values(raw(data)).len(), 1);
        let long = format!("/{}", "x".repeat(BinaryPlaces::LONGEST));
        assert_eq!(places(&[&long], data), Err((0, NotAPointer)));
        let many: Vec<_> = (0..11).map(|index| format!("/{index}")).collect();
        let all = raw(r#"["","","","","","","","","","",""]"#);
        assert_eq!(BinaryPlaces::new(many, all), Err((10, TooMany)));
    }

    #[test]
    fn what_another_version_stored_is_read_as_far_as_it_is_known() {
        let long = "x".repeat(BinaryPlaces::LONGEST);
        let stored = format!(r#"["/a","b","/{long}","/c"]"#);
        let places: BinaryPlaces = serde_json::from_str(&stored).unwrap();
        assert_eq!(places.pointers(), ["/a", "/c"]);
        // Data that is not what it was has no bytes there.
        assert!(places.values(raw(r#"{"a":1,"c":"?"}"#)).is_empty());
    }
}
