//! The fake's Socket.IO, over WebSocket.

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc::unbounded_channel;

use super::{ACCEPTED, Hub, Opcode, frame, join, user_of};

/// Until the client answers a ping it is given nothing else.
pub(super) async fn converse(mut stream: TcpStream, mut read: Vec<u8>, hub: &Mutex<Hub>) {
    let (sender, mut receiver) = unbounded_channel();
    let _ = sender.send(ACCEPTED.as_bytes().to_vec());
    let _ = sender.send(text(r#"0{"sid":"x","upgrades":[],"pingInterval":25000,"pingTimeout":20000}"#));
    let mut user = None;
    loop {
        while let Some(found) = frame::decode(&read).unwrap() {
            let mut said = Vec::new();
            frame::unmask(found.payload_of(&read), found.mask.unwrap(), &mut said);
            read.drain(..found.size());
            if found.opcode == Opcode::Close {
                return;
            }
            let said = String::from_utf8(said).unwrap();
            if let Some(auth) = said.strip_prefix("40") {
                let auth: Value = serde_json::from_str(auth).unwrap();
                user = user_of(auth["token"].as_str().unwrap());
                let _ = sender.send(text(if user.is_some() { "2" } else { r#"44{"message":"bad token"}"# }));
            } else if said == "3" {
                join(hub, format!("user:{}", user.as_ref().unwrap()), &sender, event);
                let _ = sender.send(text(r#"40{"sid":"s","pid":"p"}"#));
            } else {
                let event: Value = serde_json::from_str(said.strip_prefix("42").unwrap()).unwrap();
                let room = format!("room:{}", event[1]["room"].as_str().unwrap());
                let reply = if event[0] == "join" {
                    join(hub, room, &sender, self::event);
                    "joined"
                } else {
                    let mut hub = hub.lock();
                    let members = hub.channels.get_mut(&room).unwrap();
                    members.retain(|member| !member.sender.same_channel(&sender));
                    "left"
                };
                let _ = sender.send(fragments(&json!([reply, {}])));
            }
        }
        tokio::select! {
            bytes = receiver.recv() => {
                if stream.write_all(&bytes.unwrap()).await.is_err() {
                    return;
                }
            }
            more = stream.read_buf(&mut read) => {
                if more.is_err() || more.is_ok_and(|more| more == 0) {
                    return;
                }
            }
        }
    }
}

fn event(_: &str, data: &Value) -> Vec<u8> {
    fragments(&json!(["load", data]))
}

/// An event in two fragments, the second with where the client stands.
fn fragments(arguments: &Value) -> Vec<u8> {
    let arguments = arguments.to_string();
    let mut bytes = Vec::new();
    let begin = format!("42{}", arguments.strip_suffix(']').unwrap());
    frame::encode_unmasked(Opcode::Beginning, begin.as_bytes(), &mut bytes);
    frame::encode_unmasked(Opcode::Rest, br#","here"]"#, &mut bytes);
    bytes
}

fn text(packet: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::encode_unmasked(Opcode::Text, packet.as_bytes(), &mut bytes);
    bytes
}
