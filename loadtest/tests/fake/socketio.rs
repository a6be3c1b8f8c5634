//! The fake's Socket.IO, over WebSocket, with sessions that are gone on with.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::{ACCEPTED, Hub, Member, Opcode, frame, join, leave, user_of};

/// What is kept of a client: everything that it was told, and the way to it. An
/// offset is how much of that the client has.
pub(super) struct Session {
    told: Vec<Value>,
    way: UnboundedSender<Vec<u8>>,
}

impl Session {
    fn tell(&mut self, arguments: Value) {
        self.told.push(arguments);
        self.send(self.told.len());
    }

    /// Sends the event that brings the client to this offset.
    fn send(&self, offset: usize) {
        let arguments = self.told[offset - 1].to_string();
        let mut bytes = Vec::new();
        let begin = format!("42{}", arguments.strip_suffix(']').unwrap());
        frame::encode_unmasked(Opcode::Beginning, begin.as_bytes(), &mut bytes);
        frame::encode_unmasked(Opcode::Rest, format!(r#","{offset}"]"#).as_bytes(), &mut bytes);
        let _ = self.way.send(bytes);
    }
}

pub(super) async fn converse(mut stream: TcpStream, mut read: Vec<u8>, hub: &Mutex<Hub>) {
    let (sender, mut receiver) = unbounded_channel();
    let _ = sender.send(ACCEPTED.as_bytes().to_vec());
    let _ = sender.send(text(r#"0{"sid":"x","upgrades":[],"pingInterval":25000,"pingTimeout":20000}"#));
    let mut auth = Value::Null;
    let mut session = None;
    loop {
        while let Some(found) = frame::decode(&read).unwrap() {
            let mut said = Vec::new();
            frame::unmask(found.payload_of(&read), found.mask.unwrap(), &mut said);
            read.drain(..found.size());
            if found.opcode == Opcode::Close {
                return;
            }
            let said = String::from_utf8(said).unwrap();
            if let Some(json) = said.strip_prefix("40") {
                auth = serde_json::from_str(json).unwrap();
                // A client that does not answer this is not connected.
                let _ = sender.send(text("2"));
            } else if said == "3" {
                let Some(user) = user_of(auth["token"].as_str().unwrap()) else {
                    let _ = sender.send(text(r#"44{"message":"bad token"}"#));
                    continue;
                };
                session = Some(begin(hub, &user, &auth, &sender));
            } else {
                let (pid, session) = session.as_ref().unwrap();
                let event: Value = serde_json::from_str(said.strip_prefix("42").unwrap()).unwrap();
                let room = format!("room:{}", event[1]["room"].as_str().unwrap());
                if event[0] == "join" {
                    join(hub, room, member(pid, session));
                    session.lock().tell(json!(["joined", {}]));
                } else {
                    leave(hub, &room, pid);
                    session.lock().tell(json!(["left", {}]));
                }
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

/// Begins a session, or goes on with one, and says so.
fn begin(
    hub: &Mutex<Hub>,
    user: &str,
    auth: &Value,
    sender: &UnboundedSender<Vec<u8>>,
) -> (String, Arc<Mutex<Session>>) {
    let known = {
        let hub = hub.lock();
        let known = auth["pid"].as_str().and_then(|pid| Some((pid.to_owned(), hub.sessions.get(pid)?)));
        known.filter(|_| !hub.is_forgetful).map(|(pid, session)| (pid, Arc::clone(session)))
    };
    let (pid, session) = known.unwrap_or_else(|| {
        let session = Arc::new(Mutex::new(Session { told: Vec::new(), way: sender.clone() }));
        let pid = {
            let mut hub = hub.lock();
            let pid = format!("p{}", hub.sessions.len());
            hub.sessions.insert(pid.clone(), Arc::clone(&session));
            pid
        };
        join(hub, format!("user:{user}"), member(&pid, &session));
        (pid, session)
    });
    {
        let mut session = session.lock();
        session.way = sender.clone();
        let has = auth["offset"].as_str().map_or(0, |offset| offset.parse().unwrap());
        let missed = has + 1..=session.told.len();
        missed.for_each(|offset| session.send(offset));
        let _ = sender.send(text(&format!(r#"40{{"sid":"s","pid":"{pid}"}}"#)));
    }
    (pid, session)
}

fn member(pid: &str, session: &Arc<Mutex<Session>>) -> Member {
    let session = Arc::clone(session);
    let tell = move |_: &str, data: &Value| session.lock().tell(json!(["load", data]));
    Member { owner: pid.to_owned(), tell: Box::new(tell) }
}

fn text(packet: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::encode_unmasked(Opcode::Text, packet.as_bytes(), &mut bytes);
    bytes
}
