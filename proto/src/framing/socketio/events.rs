//! The framing `socketio`: an application's events as packets of a namespace, `42["<event>",<body>]`, and its answers as
//! acknowledgements where a client asks for one.
//!
//! The id by which a client asks is the id of its request. The acknowledgement has the body of the answer; that of an
//! error is an object with the field `error`, which holds the body of the error's rule, or else its code and message.

use bytes::Bytes;
use serde_json::json;
use serde_json::value::RawValue;

use super::binary::{self, Marks};
use super::{Body, MAIN, Packet, event_name};
use crate::error::ErrorCode;
use crate::message::{Command, Invalid, Outgoing, Request, RequestId};
use crate::publication::{Publication, Timestamp};
use crate::template::quote;
use crate::vocabulary::{Heard, Told, Vocabulary};

/// The type of a message in Engine.IO, which stands before each packet.
const MESSAGE: char = '4';

/// A namespace and the vocabulary of its events. What is encoded is the text of an Engine.IO packet.
#[derive(Debug)]
pub struct Events {
    vocabulary: Vocabulary,
    namespace: Box<str>,
}

impl Events {
    /// Events of a namespace such as `/`.
    pub fn new(vocabulary: Vocabulary, namespace: &str) -> Self {
        Self { vocabulary, namespace: namespace.into() }
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Where the names come from.
    pub const fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// Decodes a packet without attachments.
    ///
    /// # Errors
    /// [`Invalid`] when it is no event of the namespace, or not one that the vocabulary knows.
    pub fn decode(&self, text: &str) -> Result<Request, Invalid> {
        match Packet::decode(text, 0) {
            Ok(Packet { namespace, body: Body::Event { id, arguments, .. } })
                if namespace == self.namespace() =>
            {
                self.decode_event(arguments, id)
            }
            _ => Err(not_an_event(None)),
        }
    }

    /// Makes a command of the arguments of an event: its name, and the first one after it, which is its body. `id` is that
    /// by which an acknowledgement is asked for.
    ///
    /// # Errors
    /// [`Invalid`] names the field and never quotes content.
    pub fn decode_event(&self, arguments: &RawValue, id: Option<u64>) -> Result<Request, Invalid> {
        let id = id.and_then(|id| RequestId::new(&RawValue::from_string(id.to_string()).ok()?));
        let Ok(event) = event_name(arguments) else { return Err(not_an_event(id)) };
        let items: Vec<&RawValue> = serde_json::from_str(arguments.get()).unwrap_or_default();
        let body = items.get(1).map_or("null", |body| body.get());
        match self.vocabulary.decode(Heard { event: &event, body }) {
            Ok(Request { command, .. }) => Ok(Request { id, command }),
            Err(invalid) => Err(Invalid { id, ..invalid }),
        }
    }

    /// The same for an event with attachments. What is published of it has their bytes as texts, and knows which those are.
    ///
    /// # Errors
    /// [`Invalid`] names the field and never quotes content.
    pub fn decode_binary(
        &self,
        arguments: &RawValue,
        attachments: &[Bytes],
        id: Option<u64>,
    ) -> Result<Request, Invalid> {
        let mut request = self.decode_event(&binary::as_texts(arguments, attachments), id)?;
        if let Command::Publish { data, binary, .. } = &mut request.command {
            // Through the vocabulary once more, to see what becomes of each attachment.
            let marks = Marks::new();
            let marked = self.decode_event(&marks.put(arguments), id)?;
            if let Command::Publish { data: marked, .. } = marked.command {
                (*data, *binary) = marks.resolve(&marked, attachments);
            }
        }
        Ok(request)
    }

    /// Encodes a publication that has binary values, with the attachments that they are to a client. `None` where none of
    /// them is told, or cannot be told so: it is [encoded](Self::encode) like any other then.
    pub fn encode_binary(&self, outgoing: &Outgoing<'_>, now: Timestamp) -> Option<(String, Vec<Bytes>)> {
        let Outgoing::Message { channel, position, latest, publication } = *outgoing else { return None };
        if publication.binary.is_empty() {
            return None;
        }
        let marks = Marks::new();
        let (data, values) = marks.mark(&publication.data, &publication.binary);
        let publication = &Publication { data, ..publication.clone() };
        let marked = Outgoing::Message { channel, position, latest, publication };
        let Told { event, body } = self.vocabulary.encode(&marked, None, now)?;
        let (body, attachments) = marks.placeholders_for(&body?, &values)?;
        let told = Told { event: marks.texts_for(&event, &values), body: Some(body) };
        let attached = format!("{}-", attachments.len());
        Some((self.packet('5', &attached, "", &told_arguments(&told)), attachments))
    }

    /// Encodes what a client is told; an acknowledgement if `id` is that of the request that it answers. `None` where the
    /// vocabulary has no words for an event.
    pub fn encode(&self, outgoing: &Outgoing<'_>, id: Option<&RequestId>, now: Timestamp) -> Option<String> {
        // A gap is told beside the answer.
        let id = id.filter(|_| !matches!(outgoing, Outgoing::Gap { .. }));
        let told = self.vocabulary.encode(outgoing, id, now);
        let (kind, id, arguments) = match (id, outgoing) {
            (Some(id), Outgoing::Error { code, message, .. }) => {
                let body = told.and_then(|told| told.body);
                let error = body.unwrap_or_else(|| json!({ "code": code, "message": message }).to_string());
                ('3', id.as_json(), format!("[{{\"error\":{error}}}]"))
            }
            (Some(id), _) => {
                let body = told.and_then(|told| told.body).unwrap_or_default();
                ('3', id.as_json(), format!("[{body}]"))
            }
            (None, _) => return told.map(|told| self.write(&told)),
        };
        Some(self.packet(kind, "", id, &arguments))
    }

    /// Encodes a publication as a question, to be acknowledged under that id. `None` where the vocabulary has no words for it.
    pub fn encode_question(&self, outgoing: &Outgoing<'_>, id: u64, now: Timestamp) -> Option<String> {
        let told = self.vocabulary.encode(outgoing, None, now)?;
        Some(self.packet('2', "", &id.to_string(), &told_arguments(&told)))
    }

    /// What a client is told, as an event.
    pub(in crate::framing) fn write(&self, told: &Told) -> String {
        self.packet('2', "", "", &told_arguments(told))
    }

    fn packet(&self, kind: char, attached: &str, id: &str, arguments: &str) -> String {
        let (namespace, comma) = if &*self.namespace == MAIN { ("", "") } else { (&*self.namespace, ",") };
        format!("{MESSAGE}{kind}{attached}{namespace}{comma}{id}{arguments}")
    }
}

fn told_arguments(told: &Told) -> String {
    let event = quote(&told.event);
    match &told.body {
        Some(body) => format!("[{event},{body}]"),
        None => format!("[{event}]"),
    }
}

fn not_an_event(id: Option<RequestId>) -> Invalid {
    Invalid { id, code: ErrorCode::InvalidMessage, message: "not an event of this namespace".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(namespace: &str) -> Events {
        let written = json!({
            "incoming": { "say": { "action": "publish", "room": "$body.room", "data": "$body.text" } },
            "outgoing": {
                "pong": { "event": "pong", "body": { "at": "$timestamp" } },
                "error": { "event": "oops", "body": { "why": "$code" } },
                "left": { "event": "gone" },
            },
        });
        Events::new(Vocabulary::compile("vocabulary", &written).unwrap(), namespace)
    }

    fn error(code: ErrorCode) -> Outgoing<'static> {
        Outgoing::Error { code, message: "no", about: None }
    }

    #[test]
    fn an_event_is_a_command_with_the_id_of_its_acknowledgement() {
        let request = events("/").decode(r#"27["say",{"room":"a","text":"hi"},"more"]"#).unwrap();
        assert_eq!(request.id.unwrap().as_json(), "7");
        assert!(matches!(request.command, Command::Publish { room, .. } if room.as_str() == "a"));
        assert!(events("/").decode(r#"2["say",{"room":"a","text":1}]"#).unwrap().id.is_none());
        let refused = events("/").decode(r#"27["shout"]"#).unwrap_err();
        assert_eq!((refused.code, refused.id.unwrap().as_json()), (ErrorCode::Unknown, "7"));
        for other in ["2/b,[\"say\"]", "0{}", "2[]", "", "51-[\"say\",{\"_placeholder\":true,\"num\":0}]"] {
            assert_eq!(events("/").decode(other).unwrap_err().code, ErrorCode::InvalidMessage, "{other}");
        }
    }

    #[test]
    fn what_is_told_is_an_event_or_the_acknowledgement_that_was_asked_for() {
        let id = RequestId::new(&RawValue::from_string("7".to_owned()).unwrap());
        let pong = Outgoing::Pong { timestamp: Timestamp(5) };
        let told = |outgoing: &Outgoing<'_>, id: Option<&RequestId>| {
            events("/").encode(outgoing, id, Timestamp(0)).unwrap()
        };
        assert_eq!(told(&pong, None), r#"42["pong",{"at":5}]"#);
        assert_eq!(told(&pong, id.as_ref()), r#"437[{"at":5}]"#);
        assert_eq!(told(&error(ErrorCode::Forbidden), None), r#"42["oops",{"why":"forbidden"}]"#);
        assert_eq!(told(&error(ErrorCode::Forbidden), id.as_ref()), r#"437[{"error":{"why":"forbidden"}}]"#);
        let elsewhere = events("/room").encode(&pong, id.as_ref(), Timestamp(0)).unwrap();
        assert_eq!(elsewhere, r#"43/room,7[{"at":5}]"#);
    }

    #[test]
    fn who_asks_is_answered_also_where_there_are_no_words() {
        let mute = Events::new(Vocabulary::compile("vocabulary", &json!({})).unwrap(), "/");
        let id = RequestId::new(&RawValue::from_string("7".to_owned()).unwrap());
        let pong = Outgoing::Pong { timestamp: Timestamp(5) };
        assert_eq!(mute.encode(&pong, None, Timestamp(0)), None);
        assert_eq!(mute.encode(&pong, id.as_ref(), Timestamp(0)).unwrap(), "437[]");
        let refused = mute.encode(&error(ErrorCode::Forbidden), id.as_ref(), Timestamp(0)).unwrap();
        assert_eq!(refused, r#"437[{"error":{"code":"forbidden","message":"no"}}]"#);
    }
}
