//! The native framing: one JSON object a message, `{"type": …}`, described in `proto/asyncapi.yaml`.

mod incoming;
mod outgoing;

pub use incoming::decode;
pub use outgoing::encode;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binary::BinaryPlaces;
    use crate::error::ErrorCode;
    use crate::message::{Command, Outgoing};
    use crate::name::{EventName, Room};
    use crate::position::{Epoch, Nonce, Position};
    use crate::publication::{Publication, Timestamp};
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    fn refused(text: &str) -> (ErrorCode, String, Option<String>) {
        let invalid = decode(text).unwrap_err();
        (invalid.code, invalid.message, invalid.id.map(|id| id.as_json().to_owned()))
    }

    #[test]
    fn a_publish_keeps_its_data_as_written() {
        let text =
            r#"{"type":"publish","id":7,"room":"lobby","event":"chat","data":{"n": 1.50},"messageId":"m1"}"#;
        let request = decode(text).unwrap();
        assert_eq!(request.id.unwrap().as_json(), "7");
        let Command::Publish { room, event, data, message_id, ephemeral, .. } = request.command else {
            panic!("{:?}", request.command)
        };
        assert_eq!((room.as_str(), event.as_str(), data.get()), ("lobby", "chat", r#"{"n": 1.50}"#));
        assert_eq!(message_id.unwrap().as_str(), "m1");
        assert!(!ephemeral);
    }

    #[test]
    fn each_refusal_names_the_field_and_repeats_the_id() {
        assert_eq!(refused("{").0, ErrorCode::InvalidMessage);
        assert_eq!(refused("[]").0, ErrorCode::InvalidMessage);
        let listed = r#"["ping",null,null,null,null,null,null,null,false,null]"#;
        assert_eq!(refused(listed).0, ErrorCode::InvalidMessage);
        assert_eq!(refused(r#"{"type":"join","room":"a","room":"b"}"#).0, ErrorCode::InvalidMessage);
        assert_eq!(refused(r#"{"type":"dance"}"#).0, ErrorCode::Unknown);
        assert_eq!(
            refused(r#"{"type":"join","id":"x"}"#),
            (ErrorCode::InvalidMessage, "room is missing".into(), Some(r#""x""#.into()))
        );
        assert_eq!(refused(r#"{"type":"join","room":"a{b}"}"#).0, ErrorCode::InvalidName);
        assert_eq!(refused(r#"{"type":"join","room":"a","since":"v1"}"#).0, ErrorCode::InvalidPosition);
        for id in ["{}", "true", r#""\ud800""#, "1e999"] {
            assert_eq!(refused(&format!(r#"{{"type":"ping","id":{id}}}"#)).0, ErrorCode::InvalidMessage);
        }
    }

    #[test]
    fn a_refusal_quotes_no_content() {
        for text in
            [r#"{"type":"auth","token":["SECRET"]}"#, r#"{"type":"auth","token":"SECRET"#, r#"SECRET"#]
        {
            assert!(!refused(text).1.contains("SECRET"), "{text}");
        }
    }

    #[test]
    fn frames_have_the_documented_shape() {
        let position = Position { epoch: Epoch(10), offset: 3, nonce: Nonce(255) };
        let room = Room::new("lobby").unwrap();
        let id = decode(r#"{"type":"ping","id":"q"}"#).unwrap().id;
        let joined = Outgoing::Joined {
            room: &room,
            position: Some(position),
            recovered: false,
            latest: false,
            user_count: Some(2),
        };
        assert_eq!(
            encode(&joined, id.as_ref()),
            r#"{"type":"joined","room":"lobby","position":"v1.a.3.ff","recovered":false,"userCount":2,"id":"q"}"#
        );
        let publication = Publication {
            event: EventName::new("chat").unwrap(),
            data: RawValue::from_string("[1.0]".into()).unwrap(),
            binary: BinaryPlaces::default(),
            id: None,
            from: None,
            timestamp: Timestamp(5),
        };
        let message = Outgoing::Message {
            channel: "room:lobby",
            position: Some(position),
            latest: false,
            publication: &publication,
        };
        assert_eq!(
            encode(&message, None),
            r#"{"type":"message","channel":"room:lobby","event":"chat","data":[1.0],"position":"v1.a.3.ff","timestamp":5}"#
        );
        let newest = Outgoing::Message {
            channel: "room:r",
            position: Some(position),
            latest: true,
            publication: &publication,
        };
        assert!(
            encode(&newest, None)
                .starts_with(r#"{"type":"message","channel":"room:r","latest":true,"event""#)
        );
        let error = Outgoing::Error { code: ErrorCode::Unavailable, message: "later", about: None };
        assert_eq!(
            encode(&error, None),
            r#"{"type":"error","code":"unavailable","message":"later","retryable":true}"#
        );
    }

    proptest! {
        #[test]
        fn any_text_is_decoded_or_refused(text in any::<String>()) {
            drop(decode(&text));
        }

        #[test]
        fn any_object_is_decoded_or_refused(
            kind in "auth|refresh|join|leave|publish|presence|history|ping|x",
            field in "room|token|since|device|event|data|messageId|limit|ephemeral|id",
            value in r#"null|true|-1|1e999|"a"|"\\u0000"|\[\]|\{\}|"v1.1.1.1""#,
        ) {
            drop(decode(&format!(r#"{{"type":"{kind}","room":"r","{field}2":1,"{field}":{value}}}"#)));
        }
    }
}
