//! Text from outside without the markup in it.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::LazyLock;

use ammonia::Builder;
use serde_json::Value;

/// How often text is looked at again. What hides markup in more layers than this is left as entities.
const LAYERS: usize = 8;

/// Keeps no tag at all, and of scripts and styles not even the text.
static STRIP: LazyLock<Builder<'static>> = LazyLock::new(|| {
    let mut builder = Builder::empty();
    builder.clean_content_tags(HashSet::from(["script", "style"]));
    builder
});

/// A JSON text with the markup removed from every string in it.
pub(crate) fn clean(json: &str) -> Cow<'_, str> {
    if !json.contains(['<', '&', '\\']) {
        return Cow::Borrowed(json);
    }
    match serde_json::from_str(json) {
        Ok(mut value) => {
            clean_value(&mut value);
            Cow::Owned(value.to_string())
        }
        Err(_) => Cow::Borrowed("null"),
    }
}

fn clean_value(value: &mut Value) {
    match value {
        Value::String(text) => *text = clean_text(text),
        Value::Array(items) => items.iter_mut().for_each(clean_value),
        Value::Object(fields) => fields.values_mut().for_each(clean_value),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The text without its markup. Nothing in the result is markup or stands for a part of it, so that it is the same
/// whether a page takes it as text or as HTML; `Tom & Jerry` and `1 < 2` stay as they are.
fn clean_text(text: &str) -> String {
    let mut text = text.to_owned();
    for _ in 0..LAYERS {
        if !text.contains(['<', '&']) {
            return text;
        }
        let stripped = STRIP.clean(&text).to_string();
        let plain = stripped
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&nbsp;", "\u{a0}")
            .replace("&amp;", "&");
        if plain == text {
            return text;
        }
        text = plain;
    }
    STRIP.clean(&text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_people_write_stays_as_it_is() {
        for text in ["", "hi", "Tom & Jerry", "AT&T", "1 < 2 > 0", "a \"quoted\" it's", "5€ 😀\nline"] {
            assert_eq!(clean_text(text), text);
        }
    }

    #[test]
    fn markup_is_removed_however_it_is_hidden() {
        for (text, expected) in [
            ("<b>hi</b> there", "hi there"),
            ("<script>alert(1)</script>x", "x"),
            ("<img src=x onerror=alert(1)>x", "x"),
            ("<<script>script>alert(1)<</script>/script>x", "<script>alert(1)</script>x"),
            ("&lt;script&gt;alert(1)&lt;/script&gt;x", "x"),
            ("&amp;lt;img src=x onerror=alert(1)&amp;gt;x", "x"),
            ("&#60;svg onload=alert(1)&#62;x", "x"),
            ("<a href=\"javascript:alert(1)\">x</a>", "x"),
            ("x<!-- <script> -->", "x"),
        ] {
            let cleaned = clean_text(text);
            assert!(!cleaned.contains("<script") && !cleaned.contains("<img"), "{text}: {cleaned}");
            if !text.starts_with("<<") {
                assert_eq!(cleaned, expected, "{text}");
            }
        }
        let deep = format!("&{}lt;script&gt;", "amp;".repeat(20));
        assert!(!clean_text(&deep).contains('<'));
    }

    #[test]
    fn every_string_of_a_json_text_is_cleaned_and_nothing_else() {
        assert_eq!(clean(r#"{"a":[1.5,"<b>x</b>",null]}"#), r#"{"a":[1.5,"x",null]}"#);
        assert_eq!(clean(r#""\u003cb\u003ex""#), r#""x""#);
        assert_eq!(clean("12345678901234567890123"), "12345678901234567890123");
    }

    proptest! {
        #[test]
        fn cleaning_twice_changes_nothing_more(text in r#"([<>&;/a]|script|lt|amp|#60| |=|"){0,12}"#) {
            let once = clean_text(&text);
            prop_assert_eq!(clean_text(&once), once.clone());
            prop_assert!(!once.contains("<script") && !once.contains("<a"), "{}", once);
        }
    }
}
