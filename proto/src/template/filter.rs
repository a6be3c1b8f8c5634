//! What a placeholder may do with its value: `$body.text | escape`.

use std::borrow::Cow;

use super::reach::{quote, scalar};

/// A named change of a value; the value is missing afterwards where it does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filter {
    /// Only a string.
    String,
    /// Only a string that is not empty.
    Filled,
    /// A number, or a text that is one.
    Number,
    /// A string in which no markup is left: `&`, `<`, `>`, `"` and `'` become entities.
    Escape,
    /// Milliseconds since the Unix epoch as ISO 8601 in UTC.
    Iso,
}

impl Filter {
    pub(super) const ALL: [(&'static str, Self); 5] = [
        ("string", Self::String),
        ("filled", Self::Filled),
        ("number", Self::Number),
        ("escape", Self::Escape),
        ("iso", Self::Iso),
    ];

    pub(super) fn apply<'a>(self, json: Cow<'a, str>) -> Option<Cow<'a, str>> {
        match self {
            Self::String => json.starts_with('"').then_some(json),
            Self::Filled => (json.starts_with('"') && json != r#""""#).then_some(json),
            Self::Number => {
                let text = scalar(&json)?;
                let is_number = text.starts_with(|c: char| c == '-' || c.is_ascii_digit())
                    && serde_json::from_str::<f64>(&text).is_ok();
                is_number.then(|| Cow::Owned(text.trim_end().to_owned()))
            }
            Self::Escape => Some(Cow::Owned(quote(&escape(&scalar(&json)?)))),
            Self::Iso => Some(Cow::Owned(quote(&iso(scalar(&json)?.parse().ok()?)?))),
        }
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// `2025-10-18T08:40:00.000Z`; `None` past the year 9999.
fn iso(milliseconds: u64) -> Option<String> {
    let (seconds, millis) = (milliseconds / 1000, milliseconds % 1000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // The civil calendar in eras of 400 years (146,097 days) that begin on 1 March, so that a leap day is the last.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    (year <= 9999)
        .then(|| format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(filter: Filter, json: &str) -> Option<String> {
        filter.apply(json.into()).map(Cow::into_owned)
    }

    #[test]
    fn a_filter_changes_what_fits_and_drops_the_rest() {
        assert_eq!(apply(Filter::String, r#""a""#).unwrap(), r#""a""#);
        assert_eq!(apply(Filter::String, "1"), None);
        assert_eq!(apply(Filter::Filled, r#"" ""#).unwrap(), r#"" ""#);
        for other in [r#""""#, "1", "null", "[1]"] {
            assert_eq!(apply(Filter::Filled, other), None, "{other}");
        }
        assert_eq!(apply(Filter::Number, r#""-15.50""#).unwrap(), "-15.50");
        assert_eq!(apply(Filter::Number, "7").unwrap(), "7");
        for other in [r#""x""#, r#""""#, r#"" 1""#, "true", "[1]", r#""1e999""#, r#""01""#] {
            assert_eq!(apply(Filter::Number, other), None, "{other}");
        }
        assert_eq!(
            apply(Filter::Escape, r#""<b onclick='x'>&\"""#).unwrap(),
            r#""&lt;b onclick=&#39;x&#39;&gt;&amp;&quot;""#
        );
        assert_eq!(apply(Filter::Escape, "{}"), None);
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (milliseconds, text) in [
            ("0", "1970-01-01T00:00:00.000Z"),
            ("951827696789", "2000-02-29T12:34:56.789Z"),
            ("1760776800000", "2025-10-18T08:40:00.000Z"),
            ("4107542399999", "2100-02-28T23:59:59.999Z"),
            ("4107542400000", "2100-03-01T00:00:00.000Z"),
            ("253402300799999", "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(apply(Filter::Iso, milliseconds).unwrap(), format!("\"{text}\""));
        }
        for other in ["-1", "1.5", r#""x""#, "253402300800000", "18446744073709551615"] {
            assert_eq!(apply(Filter::Iso, other), None, "{other}");
        }
    }
}
