//! Binary data in the events of clients: publications are JSON, so it becomes text, in Base64 (RFC 4648, section 4).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::Value;
use serde_json::value::RawValue;

/// The arguments of an event with each placeholder replaced by its attachment; `None` when there are no attachments.
pub(super) fn as_text(arguments: &RawValue, attachments: &[Bytes]) -> Option<Box<RawValue>> {
    if attachments.is_empty() {
        return None;
    }
    let mut value: Value = serde_json::from_str(arguments.get()).ok()?;
    replace(&mut value, attachments);
    RawValue::from_string(value.to_string()).ok()
}

/// The parser has bounded the depth, and has seen that each placeholder names an attachment.
fn replace(value: &mut Value, attachments: &[Bytes]) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, attachments)),
        Value::Object(fields) if fields.get("_placeholder") == Some(&Value::Bool(true)) => {
            let number = fields.get("num").and_then(Value::as_u64).and_then(|num| usize::try_from(num).ok());
            let bytes = number.and_then(|number| attachments.get(number));
            *value = bytes.map_or(Value::Null, |bytes| Value::String(STANDARD.encode(bytes)));
        }
        Value::Object(fields) => fields.values_mut().for_each(|field| replace(field, attachments)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attachments_stand_where_their_placeholders_stood() {
        let text = r#"["x",{"a":[{"_placeholder":true,"num":1}],"b":{"_placeholder":true,"num":0}}]"#;
        let arguments = RawValue::from_string(text.to_owned()).unwrap();
        let attachments = [Bytes::from_static(&[1, 2, 3, 4]), Bytes::from_static(b"")];
        let replaced = as_text(&arguments, &attachments).unwrap();
        assert_eq!(replaced.get(), r#"["x",{"a":[""],"b":"AQIDBA=="}]"#);
        assert!(as_text(&arguments, &[]).is_none());
    }
}
