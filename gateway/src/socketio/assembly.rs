//! Joins what belongs to one packet of Socket.IO: its text, and the binary messages that follow it.

use std::borrow::Cow;

use bytes::Bytes;
use proto::framing::socketio::{self, Body, Packet};
use serde_json::value::RawValue;

use crate::engineio::Message;

/// What an event or an acknowledgement carries.
#[derive(Debug, Clone)]
pub struct Arguments {
    /// A JSON array. Placeholders in it stand for attachments.
    json: Box<RawValue>,
    attachments: Vec<Bytes>,
}

impl Arguments {
    /// The items of the array. A placeholder for an attachment looks like `{"_placeholder":true,"num":0}`.
    pub fn items(&self) -> Vec<&RawValue> {
        // It was an array when it was parsed.
        serde_json::from_str(self.json.get()).unwrap_or_default()
    }

    /// All of it, as one JSON array.
    pub(crate) const fn whole(&self) -> &RawValue {
        &self.json
    }

    /// The binary data.
    pub fn attachments(&self) -> &[Bytes] {
        &self.attachments
    }
}

/// An event of a client.
#[derive(Debug, Clone)]
pub struct Event {
    pub(crate) arguments: Arguments,
    /// By which the client asks for an acknowledgement.
    pub(crate) id: Option<u64>,
}

impl Event {
    /// Its name.
    pub fn name(&self) -> Cow<'_, str> {
        // It had one when it was parsed.
        socketio::event_name(&self.arguments.json).unwrap_or_default()
    }

    /// All of it, as one JSON array: the name, then what came with it.
    pub(crate) const fn whole(&self) -> &RawValue {
        &self.arguments.json
    }

    /// What came with the name.
    pub fn arguments(&self) -> Vec<&RawValue> {
        let mut items = self.arguments.items();
        if !items.is_empty() {
            items.remove(0);
        }
        items
    }

    /// The binary data that the arguments' placeholders stand for.
    pub fn attachments(&self) -> &[Bytes] {
        &self.arguments.attachments
    }

    /// The id to acknowledge it by, if the client asks for that.
    pub const fn id(&self) -> Option<u64> {
        self.id
    }
}

/// A whole packet of a client.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) namespace: String,
    pub(crate) content: Content,
}

#[derive(Debug)]
pub(crate) enum Content {
    Connect(Option<Box<RawValue>>),
    Disconnect,
    Event(Event),
    Ack(u64, Arguments),
}

/// What a client may not send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Violation;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Assembly {
    max_attachments: usize,
    /// How many bytes they may have together.
    max_bytes: usize,
    partial: Option<Box<Partial>>,
}

#[derive(Debug)]
struct Partial {
    packet: Whole,
    missing: usize,
    bytes: usize,
}

impl Assembly {
    pub(crate) const fn new(max_attachments: usize, max_bytes: usize) -> Self {
        Self { max_attachments, max_bytes, partial: None }
    }

    /// Takes a message, and answers the packet that it completes.
    pub(crate) fn take(&mut self, message: Message<'_>) -> Result<Option<Whole>, Violation> {
        match (message, self.partial.take()) {
            (Message::Text(text), None) => self.begin(text),
            (Message::Binary(bytes), Some(partial)) => self.go_on(partial, bytes),
            (Message::Text(_), Some(_)) | (Message::Binary(_), None) => Err(Violation),
        }
    }

    fn begin(&mut self, text: &str) -> Result<Option<Whole>, Violation> {
        let Packet { namespace, body } = Packet::decode(text, self.max_attachments).map_err(|_| Violation)?;
        let carried = |json: &RawValue| Arguments { json: json.to_owned(), attachments: Vec::new() };
        let (content, missing) = match body {
            Body::Connect(auth) => (Content::Connect(auth.map(ToOwned::to_owned)), 0),
            Body::Disconnect => (Content::Disconnect, 0),
            Body::Event { id, arguments, attachments } => {
                (Content::Event(Event { arguments: carried(arguments), id }), attachments)
            }
            Body::Ack { id, arguments, attachments } => (Content::Ack(id, carried(arguments)), attachments),
            // Only servers refuse.
            Body::ConnectError(_) => return Err(Violation),
        };
        let packet = Whole { namespace: namespace.to_owned(), content };
        if missing == 0 {
            return Ok(Some(packet));
        }
        self.partial = Some(Box::new(Partial { packet, missing, bytes: 0 }));
        Ok(None)
    }

    fn go_on(&mut self, mut partial: Box<Partial>, bytes: Bytes) -> Result<Option<Whole>, Violation> {
        partial.bytes += bytes.len();
        if partial.bytes > self.max_bytes {
            return Err(Violation);
        }
        if let Content::Event(Event { arguments, .. }) | Content::Ack(_, arguments) =
            &mut partial.packet.content
        {
            arguments.attachments.push(bytes);
        }
        partial.missing -= 1;
        if partial.missing == 0 {
            return Ok(Some(partial.packet));
        }
        self.partial = Some(partial);
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = r#"52-7["x",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#;

    fn binary(length: usize) -> Message<'static> {
        Message::Binary(vec![1; length].into())
    }

    #[test]
    fn attachments_complete_their_packet() {
        let mut assembly = Assembly::new(10, 100);
        assert!(assembly.take(Message::Text(TWO)).unwrap().is_none());
        assert!(assembly.take(binary(1)).unwrap().is_none());
        let whole = assembly.take(binary(2)).unwrap().unwrap();
        let Content::Event(event) = whole.content else { panic!("{whole:?}") };
        assert_eq!((event.name().as_ref(), event.id(), event.arguments().len()), ("x", Some(7), 2));
        assert_eq!(event.attachments().iter().map(Bytes::len).collect::<Vec<_>>(), [1, 2]);
        // And the next one begins anew.
        assert!(assembly.take(Message::Text("2[\"y\"]")).unwrap().is_some());
    }

    #[test]
    fn nothing_stands_between_a_packet_and_its_attachments() {
        let mut assembly = Assembly::new(10, 100);
        assert!(assembly.take(Message::Text(TWO)).unwrap().is_none());
        assert_eq!(assembly.take(Message::Text("2[\"y\"]")).unwrap_err(), Violation);
        assert_eq!(Assembly::new(10, 100).take(binary(1)).unwrap_err(), Violation);
    }

    #[test]
    fn attachments_are_bounded_in_number_and_together_in_bytes() {
        assert_eq!(Assembly::new(1, 100).take(Message::Text(TWO)).unwrap_err(), Violation);
        let mut assembly = Assembly::new(2, 100);
        assembly.take(Message::Text(TWO)).unwrap();
        assembly.take(binary(60)).unwrap();
        assert_eq!(assembly.take(binary(41)).unwrap_err(), Violation);
    }
}
