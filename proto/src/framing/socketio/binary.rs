//! From attachments to texts in data, and back.
//!
//! Between the two stands a vocabulary, which moves values about. To see where one went it is replaced by a mark that nobody
//! can have written. A mark that comes out as a text of its own is the value; one that became a part of another text
//! is its Base64.

use std::collections::hash_map::RandomState;
use std::fmt::Write as _;
use std::hash::{BuildHasher as _, Hasher as _};

use bytes::Bytes;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{attachment, is_placeholder};
use crate::binary::{BinaryPlaces, to_text};

/// The arguments of an event or an acknowledgement, with each placeholder replaced by the text of its attachment.
pub fn as_texts(arguments: &RawValue, attachments: &[Bytes]) -> Box<RawValue> {
    replace(arguments, &|number| attachments.get(number).map(|bytes| to_text(bytes)))
}

/// See the module's documentation.
pub(super) struct Marks {
    /// Stands before the number of a value. Nothing in it is escaped in JSON.
    secret: String,
}

/// Stands after the number of a value.
const END: char = 'x';

impl Marks {
    pub(super) fn new() -> Self {
        // Keyed with what the process drew from the system, so that it cannot be foreseen.
        let word = || RandomState::new().build_hasher().finish();
        Self { secret: format!("{:016x}{:016x}n", word(), word()) }
    }

    fn of(&self, number: usize) -> String {
        format!("{}{number}{END}", self.secret)
    }

    /// The arguments of an event with each placeholder replaced by a mark.
    pub(super) fn put(&self, arguments: &RawValue) -> Box<RawValue> {
        replace(arguments, &|number| Some(self.of(number)))
    }

    /// Data with the texts of attachments for their marks, and where they stand.
    pub(super) fn resolve(&self, marked: &RawValue, attachments: &[Bytes]) -> (Box<RawValue>, BinaryPlaces) {
        let is_mark = |text: &str| {
            let number = text.strip_prefix(&self.secret).and_then(|rest| rest.strip_suffix(END));
            number.is_some_and(|number| number.parse::<usize>().is_ok())
        };
        let places = BinaryPlaces::of_texts(marked, is_mark);
        (json(self.texts_for(marked.get(), attachments)), places)
    }

    /// Data with marks for its binary values, and these.
    pub(super) fn mark(&self, data: &RawValue, places: &BinaryPlaces) -> (Box<RawValue>, Vec<Bytes>) {
        let (text, mut marked, mut at, mut values) = (data.get(), String::new(), 0, Vec::new());
        for (range, bytes) in places.values(data) {
            marked.push_str(text.get(at..range.start).unwrap_or_default());
            marked.push('"');
            marked.push_str(&self.of(values.len()));
            marked.push('"');
            at = range.end;
            values.push(bytes);
        }
        marked.push_str(text.get(at..).unwrap_or_default());
        (json(marked), values)
    }

    /// A text with that of a value for each mark in it.
    pub(super) fn texts_for(&self, marked: &str, values: &[Bytes]) -> String {
        self.fill(marked, |number, out, _| {
            out.push_str(&values.get(number).map(|bytes| to_text(bytes)).unwrap_or_default());
        })
    }

    /// JSON with placeholders for marks, and the attachments that these name. `None` if there is none, or something else
    /// would be taken for one.
    pub(super) fn placeholders_for(&self, marked: &str, values: &[Bytes]) -> Option<(String, Vec<Bytes>)> {
        if has_placeholder(&serde_json::from_str(marked).ok()?) {
            return None;
        }
        // Which attachment each value is.
        let mut numbers = vec![None; values.len()];
        let mut attachments = Vec::new();
        let json = self.fill(marked, |number, out, rest| {
            let (Some(value), Some(attached)) = (values.get(number), numbers.get_mut(number)) else { return };
            let is_begun = out.ends_with('"') && !out.ends_with("\\\"");
            let Some(after) = rest.strip_prefix('"').filter(|_| is_begun) else {
                return out.push_str(&to_text(value));
            };
            *rest = after;
            out.pop();
            let attached = *attached.get_or_insert_with(|| {
                attachments.push(value.clone());
                attachments.len() - 1
            });
            // Writing to a string cannot fail.
            let _ = write!(out, r#"{{"_placeholder":true,"num":{attached}}}"#);
        });
        if attachments.is_empty() { None } else { Some((json, attachments)) }
    }

    /// Puts something for each mark. It is given the number, what stands before it, and what comes after it.
    fn fill(&self, marked: &str, mut put: impl FnMut(usize, &mut String, &mut &str)) -> String {
        let (mut filled, mut rest) = (String::with_capacity(marked.len()), marked);
        while let Some((before, after)) = rest.split_once(&self.secret) {
            filled.push_str(before);
            let (number, after) = after.split_once(END).unwrap_or((after, ""));
            rest = after;
            if let Ok(number) = number.parse() {
                put(number, &mut filled, &mut rest);
            }
        }
        filled.push_str(rest);
        filled
    }
}

/// JSON with something else for each placeholder. The parser has bounded the depth, and has seen that each placeholder names
/// an attachment.
fn replace(arguments: &RawValue, by: &impl Fn(usize) -> Option<String>) -> Box<RawValue> {
    let mut value = serde_json::from_str(arguments.get()).unwrap_or_default();
    replace_in(&mut value, by);
    json(value.to_string())
}

fn replace_in(value: &mut Value, by: &impl Fn(usize) -> Option<String>) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| replace_in(item, by)),
        Value::Object(fields) if is_placeholder(fields) => {
            *value = attachment(fields).and_then(by).map_or(Value::Null, Value::String);
        }
        Value::Object(fields) => fields.values_mut().for_each(|field| replace_in(field, by)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn has_placeholder(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(has_placeholder),
        Value::Object(fields) => is_placeholder(fields) || fields.values().any(has_placeholder),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// What was JSON, and is it still.
fn json(text: String) -> Box<RawValue> {
    RawValue::from_string(text).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::framing::socketio::{Body, Events, Packet};
    use crate::message::{Command, Outgoing};
    use crate::publication::{Publication, Timestamp};
    use crate::vocabulary::Vocabulary;

    const NOW: Timestamp = Timestamp(1);

    /// A vocabulary that passes on what it gets under `text`, and shows it twice: as it is, and in a text.
    fn events() -> Events {
        let written = json!({
            "incoming": { "say": { "action": "publish", "room": "a", "data": { "inner": "$body.text" } } },
            "publications": {
                "say": { "event": "said", "body": { "text": "$data.inner", "also": "<\"${data.inner.b ?? \"none\"}" } },
                "name": { "event": "${data}", "body": "$data" },
                "nothing": { "event": "nothing" },
            },
        });
        Events::new(Vocabulary::compile("vocabulary", &written).unwrap(), "/")
    }

    /// What is stored of an event of a client.
    fn stored(events: &Events, arguments: &str, attachments: &[Bytes]) -> Publication {
        let arguments: &RawValue = serde_json::from_str(arguments).unwrap();
        let request = events.decode_binary(arguments, attachments, None).unwrap();
        let Command::Publish { event, data, binary, .. } = request.command else { panic!("{request:?}") };
        let publication = Publication { event, data, binary, id: None, from: None, timestamp: NOW };
        Publication::decode(&publication.encode().unwrap()).unwrap()
    }

    fn told(events: &Events, publication: &Publication) -> Option<(String, Vec<Bytes>)> {
        let message = Outgoing::Message { channel: "room:a", position: None, latest: false, publication };
        events.encode_binary(&message, NOW)
    }

    fn published(event: &str, data: &str, pointers: &[&str]) -> Publication {
        let data = RawValue::from_string(data.to_owned()).unwrap();
        let pointers = pointers.iter().map(ToString::to_string).collect();
        let binary = BinaryPlaces::new(pointers, &data).unwrap();
        Publication { event: event.parse().unwrap(), data, binary, id: None, from: None, timestamp: NOW }
    }

    /// What a client makes of a packet.
    fn put_together(arguments: &RawValue, attachments: &[Bytes]) -> Value {
        serde_json::from_str(as_texts(arguments, attachments).get()).unwrap()
    }

    #[test]
    fn a_binary_value_is_bytes_where_it_stands_alone_and_text_where_it_does_not() {
        let events = events();
        let arguments =
            r#"["say",{"text":{"b":{"_placeholder":true,"num":0},"c":[{"num":1,"_placeholder":true}]}}]"#;
        let attachments = [Bytes::from_static(&[1, 2, 3]), Bytes::from_static(b"")];
        let publication = stored(&events, arguments, &attachments);
        assert_eq!(publication.data.get(), r#"{"inner":{"b":"AQID","c":[""]}}"#);
        assert_eq!(publication.binary.pointers(), ["/inner/b", "/inner/c/0"]);
        let (text, attachments) = told(&events, &publication).unwrap();
        let expected = r#"452-["said",{"also":"<\"AQID","text":{"b":{"_placeholder":true,"num":0},"c":[{"_placeholder":true,"num":1}]}}]"#;
        assert_eq!(text, expected);
        assert_eq!(attachments, [Bytes::from_static(&[1, 2, 3]), Bytes::from_static(b"")]);
        // Those who cannot be given bytes get the same data as ever.
        let message =
            Outgoing::Message { channel: "room:a", position: None, latest: false, publication: &publication };
        let plain = events.encode(&message, None, NOW).unwrap();
        assert_eq!(plain, r#"42["said",{"also":"<\"AQID","text":{"b":"AQID","c":[""]}}]"#);
    }

    #[test]
    fn what_is_told_of_no_binary_value_is_an_event_like_any_other() {
        let events = events();
        assert_eq!(told(&events, &published("nothing", r#""AQID""#, &[""])), None);
        assert_eq!(told(&events, &published("say", r#"{"inner":"AQID"}"#, &[])), None);
        assert_eq!(told(&events, &published("unknown", r#""AQID""#, &[""])), None);
        // A name is never bytes.
        let (text, _) = told(&events, &published("name", r#""AQID""#, &[""])).unwrap();
        assert_eq!(text, r#"451-["AQID",{"_placeholder":true,"num":0}]"#);
    }

    #[test]
    fn nobody_can_have_a_client_look_for_bytes_that_there_are_not() {
        let events = events();
        // Once beside bytes, which would end each receiver's connection; and alone, where it is nothing but an object.
        for forged in [r#"{"_placeholder":true,"num":7}"#, r#"{"\u005fplaceholder":true}"#] {
            let data = format!(r#"{{"inner":{{"b":"AQID","c":{forged}}}}}"#);
            assert_eq!(told(&events, &published("say", &data, &["/inner/b"])), None, "{forged}");
        }
        let harmless = r#"{"inner":{"b":"AQID","c":{"_placeholder":false,"num":7}}}"#;
        assert!(told(&events, &published("say", harmless, &["/inner/b"])).is_some());
    }

    /// Data with placeholders for that many attachments somewhere in it.
    fn data(attachments: usize) -> impl Strategy<Value = Value> {
        let leaf =
            prop_oneof![any::<bool>().prop_map(Value::from), "[\"\\\\/~0x_é]{0,6}".prop_map(Value::from)];
        let other = leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[\"\\\\/~0x_é]{0,4}", inner, 0..3)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        });
        let keys = prop::collection::vec("[\"\\\\/~01x_é]{1,4}", attachments);
        (other, keys).prop_map(|(mut value, keys)| {
            for (number, key) in keys.into_iter().enumerate() {
                let placeholder = json!({ "_placeholder": true, "num": number });
                value = if number % 2 == 0 {
                    json!({ key: placeholder, "rest": value })
                } else {
                    json!([value, placeholder])
                };
            }
            value
        })
    }

    proptest! {
        #[test]
        fn what_a_client_emits_is_what_others_put_together(
            (attachments, data) in prop::collection::vec(any::<Vec<u8>>(), 1..5)
                .prop_flat_map(|all| { let count = all.len(); (Just(all), data(count)) }),
        ) {
            let attachments: Vec<Bytes> = attachments.into_iter().map(Bytes::from).collect();
            let events = events();
            let arguments = json!(["say", { "text": data }]).to_string();
            let publication = stored(&events, &arguments, &attachments);
            let (text, given) = told(&events, &publication).unwrap();
            let packet = Packet::decode(text.strip_prefix('4').unwrap(), given.len()).unwrap();
            let Body::Event { arguments: received, attachments: count, .. } = packet.body else { panic!("{text}") };
            prop_assert_eq!((count, given.len()), (attachments.len(), attachments.len()));
            let sent = put_together(serde_json::from_str(&arguments).unwrap(), &attachments);
            let received = put_together(received, &given);
            prop_assert_eq!(sent.pointer("/1/text"), received.pointer("/1/text"));
            // As bytes, and every one of them.
            let (mut before, mut after) = (attachments, given);
            before.sort();
            after.sort();
            prop_assert_eq!(before, after);
        }

        #[test]
        fn any_text_goes_through_marks_unharmed(text in any::<String>()) {
            let marks = Marks::new();
            prop_assert_eq!(marks.texts_for(&text, &[]), text.clone());
            prop_assert!(marks.placeholders_for(&text, &[Bytes::new()]).is_none());
        }
    }
}
