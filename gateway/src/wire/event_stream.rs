//! Server-sent events (HTML Living Standard, section 9.2): what a client is told, as blocks of a text stream.
//!
//! Every event's data is the same JSON as over a WebSocket. The id of an event is a [`Cursor`] of what it moved; whoever
//! writes the stream replaces it by the cursor of all channels, which a browser sends back as `Last-Event-ID`.

use bytes::{BufMut, Bytes, BytesMut};
use proto::{Close, Cursor, Outgoing};

/// Nothing to see: keeps the way open.
pub(crate) const COMMENT: Bytes = Bytes::from_static(b":\n\n");

/// The media type of the stream.
pub(crate) const MEDIA_TYPE: &str = "text/event-stream";

const ID: &str = "id: ";

/// An event.
pub(crate) fn event(outgoing: &Outgoing<'_>, text: &str) -> Bytes {
    let mut block = BytesMut::with_capacity(text.len() + 96);
    if let Some(moved) = moved(outgoing) {
        block.put_slice(format!("{ID}{moved}\n").as_bytes());
    }
    if let Outgoing::Draining { reconnect_after } = outgoing {
        block.put_slice(format!("retry: {reconnect_after}\n").as_bytes());
    }
    put_data(&mut block, text);
    block.freeze()
}

/// The end of the stream. A client that should come back does so by itself.
pub(crate) fn end(close: Close, reason: Option<&str>) -> Bytes {
    let reason = reason.unwrap_or(close.reason());
    let text = serde_json::json!({ "type": "closed", "code": close.code(), "reason": reason });
    let mut block = BytesMut::new();
    put_data(&mut block, &text.to_string());
    block.freeze()
}

/// Splits an event into what it moved and the rest.
pub(crate) fn split_id(mut event: Bytes) -> (Option<Cursor>, Bytes) {
    let Some(end) = event.iter().position(|byte| *byte == b'\n').filter(|_| event.starts_with(ID.as_bytes()))
    else {
        return (None, event);
    };
    let line = event.split_to(end + 1);
    let cursor =
        std::str::from_utf8(&line).ok().and_then(|line| line.trim_end().strip_prefix(ID)?.parse().ok());
    (cursor, event)
}

/// The line that tells where the client stands.
pub(crate) fn id_line(cursor: &Cursor) -> Bytes {
    format!("{ID}{cursor}\n").into()
}

/// The channels in which an event moves the client, and where to.
fn moved(outgoing: &Outgoing<'_>) -> Option<Cursor> {
    let mut cursor = Cursor::default();
    match outgoing {
        Outgoing::Message { channel, position: Some(position), .. }
        | Outgoing::Gap { channel, position, .. } => {
            cursor.set(channel, *position);
        }
        Outgoing::Joined { room, position: Some(position), .. }
        | Outgoing::Added { room, position: Some(position), .. } => {
            cursor.set(&format!("room:{room}"), *position);
        }
        Outgoing::AuthSuccess { positions, .. } => {
            for (channel, position) in *positions {
                cursor.set(channel, *position);
            }
        }
        _ => return None,
    }
    Some(cursor)
}

/// JSON may be written over several lines; outside of its strings, where there are none, a line end is mere space.
fn put_data(block: &mut BytesMut, text: &str) {
    for line in text.split(['\n', '\r']) {
        block.put_slice(b"data: ");
        block.put_slice(line.as_bytes());
        block.put_u8(b'\n');
    }
    block.put_u8(b'\n');
}

#[cfg(test)]
mod tests {
    use proto::{EventName, Position, Publication, Timestamp};

    use super::*;

    #[test]
    fn an_event_says_what_it_moves_and_keeps_its_data_in_lines() {
        let position: Position = "v1.a.3.ff".parse().unwrap();
        let publication = Publication {
            event: EventName::new("e").unwrap(),
            data: serde_json::value::RawValue::from_string("{\n\"a\":\r\n1}".to_owned()).unwrap(),
            binary: proto::BinaryPlaces::default(),
            id: None,
            from: None,
            timestamp: Timestamp(1),
        };
        let message = Outgoing::Message {
            channel: "room:a",
            position: Some(position),
            latest: false,
            publication: &publication,
        };
        let block = event(&message, "{\n\"a\":\r\n1}");
        assert_eq!(&block[..], b"id: room:a@v1.a.3.ff\ndata: {\ndata: \"a\":\ndata: \ndata: 1}\n\n");
        let (cursor, rest) = split_id(block);
        assert_eq!(cursor.and_then(|cursor| cursor.get("room:a")), Some(position));
        assert!(rest.starts_with(b"data: {"));
        assert_eq!(split_id(COMMENT), (None, COMMENT));
    }

    #[test]
    fn a_draining_node_says_when_to_come_back() {
        let block = event(&Outgoing::Draining { reconnect_after: 1500 }, "{}");
        assert_eq!(&block[..], b"retry: 1500\ndata: {}\n\n");
        let end = end(Close::Restart, None);
        assert_eq!(&end[..], b"data: {\"code\":1012,\"reason\":\"service restart\",\"type\":\"closed\"}\n\n");
    }
}
