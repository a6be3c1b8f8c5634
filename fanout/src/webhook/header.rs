//! Reads the headers that schemes need.

use http::{HeaderMap, HeaderName};

use super::Rejection;
use super::freshness::seconds;

/// The text of a header that must be there once. Of two, one would be checked and the other used.
pub(super) fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<&'a str, Rejection> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().ok_or_else(|| Rejection::Missing(name.clone()))?;
    match (value.to_str(), values.next()) {
        (Ok(text), None) => Ok(text),
        _ => Err(Rejection::Malformed(name.clone())),
    }
}

/// A header that holds seconds since 1970: as text, which is what was signed, and as a number.
pub(super) fn time<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<(&'a str, u64), Rejection> {
    let text = one(headers, name)?;
    let time = seconds(text).ok_or_else(|| Rejection::Malformed(name.clone()))?;
    Ok((text, time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhook::testing::headers;

    #[test]
    fn a_header_is_there_once() {
        let name = HeaderName::from_static("a");
        assert_eq!(one(&headers(&[("a", "x")]), &name), Ok("x"));
        assert_eq!(one(&headers(&[("b", "x")]), &name), Err(Rejection::Missing(name.clone())));
        for headers in [headers(&[("a", "x"), ("a", "x")]), headers(&[("a", "é")])] {
            assert_eq!(one(&headers, &name), Err(Rejection::Malformed(name.clone())));
        }
    }
}
