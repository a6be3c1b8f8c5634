//! A tiny server of the native protocol and of Socket.IO: tokens are verified,
//! rooms and users get what is posted for them, and every so often a delivery
//! is lost if so wished.

mod socketio;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, TokenData, Validation, crypto};
use parking_lot::Mutex;
use serde_json::{Value, json};
use switchboard_loadtest::frame::{self, Opcode};
use switchboard_loadtest::handshake::ACCEPTED;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

pub(crate) const SECRET: &str = "a secret between the fake and its clients";

/// Serves while it lives.
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    acceptor: JoinHandle<()>,
}

impl Fake {
    /// Loses each delivery whose number is a multiple of `loses`.
    pub(crate) async fn start(loses: Option<u64>) -> Self {
        Self::with(Hub { loses, ..Hub::default() }).await
    }

    /// Knows no session of Socket.IO again.
    pub(crate) async fn start_forgetful() -> Self {
        Self::with(Hub { is_forgetful: true, ..Hub::default() }).await
    }

    async fn with(hub: Hub) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let hub = Arc::new(Mutex::new(hub));
        let acceptor = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&hub)));
            }
        });
        Self { address, acceptor }
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

#[derive(Default)]
struct Hub {
    channels: HashMap<String, Vec<Member>>,
    sessions: HashMap<String, Arc<Mutex<socketio::Session>>>,
    is_forgetful: bool,
    delivered: u64,
    loses: Option<u64>,
}

/// Tells a client of a publication in a channel.
type Tell = dyn Fn(&str, &Value) + Send;

struct Member {
    /// Whose it is.
    owner: String,
    tell: Box<Tell>,
}

impl Hub {
    fn publish(&mut self, channel: &str, data: &Value) {
        for member in self.channels.entry(channel.to_owned()).or_default() {
            self.delivered += 1;
            if self.loses.is_none_or(|nth| !self.delivered.is_multiple_of(nth)) {
                (member.tell)(channel, data);
            }
        }
    }
}

fn message(channel: &str, data: &Value) -> Vec<u8> {
    text(&json!({"type": "message", "channel": channel, "event": "load", "data": data}))
}

fn text(message: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::encode_unmasked(Opcode::Text, message.to_string().as_bytes(), &mut bytes);
    bytes
}

fn user_of(token: &str) -> Option<String> {
    let key = DecodingKey::from_secret(SECRET.as_bytes());
    let read: TokenData<Value> =
        jsonwebtoken::decode(token, &key, &Validation::new(Algorithm::HS256)).ok()?;
    Some(read.claims["sub"].as_str()?.to_owned())
}

/// Whether a webhook has the signature of Standard Webhooks, by the secret of load runs.
fn is_signed<'a>(field: impl Fn(&str) -> Option<&'a str>, body: &[u8]) -> bool {
    let key = EncodingKey::from_base64_secret("bG9hZCBydW5zIHNpZ24gd2l0aCB0aGlzIHNlY3JldCE=").unwrap();
    let [id, at, signature] =
        ["webhook-id: ", "webhook-timestamp: ", "webhook-signature: v1,"].map(|name| field(name).unwrap());
    let signed = [id.as_bytes(), b".", at.as_bytes(), b".", body].concat();
    let made = crypto::sign(&signed, &key, Algorithm::HS256).unwrap();
    signature.replace('+', "-").replace('/', "_").trim_end_matches('=') == made
}

async fn serve(mut stream: TcpStream, hub: Arc<Mutex<Hub>>) {
    let mut read = Vec::new();
    while let Some(head) = head(&mut stream, &mut read).await {
        if let Some(token) = head.strip_prefix("GET /ws?token=") {
            let token = token.split(' ').next().unwrap_or_default();
            let Some(user) = user_of(token) else {
                let _ = stream.write_all(b"HTTP/1.1 401 Unauthorized\r\n\r\n").await;
                return;
            };
            return converse(stream, read, &user, &hub).await;
        }
        if head.starts_with("GET /socket.io/?EIO=4&transport=websocket ") {
            return socketio::converse(stream, read, &hub).await;
        }
        let line = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
        let length: usize = line("Content-Length: ").unwrap().parse().unwrap();
        while read.len() < length {
            assert!(stream.read_buf(&mut read).await.unwrap() > 0);
        }
        let raw: Vec<u8> = read.drain(..length).collect();
        let body: Value = serde_json::from_slice(&raw).unwrap();
        let is_webhook = head.starts_with("POST /webhook/load ");
        let allowed = match is_webhook {
            true => is_signed(line, &raw),
            false => line("Authorization: Bearer ").and_then(user_of).is_some(),
        };
        if allowed && is_webhook {
            hub.lock().publish("room:load", &body);
        }
        if allowed && head.starts_with("POST /v1/publish ") {
            let (kind, name) = body["to"].as_object().unwrap().iter().next().unwrap();
            hub.lock().publish(&format!("{kind}:{}", name.as_str().unwrap()), &body["data"]);
        }
        let status = if allowed { "200 OK" } else { "401 Unauthorized" };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\n{{}}");
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

/// The next request's head; what came after it stays in `read`.
async fn head(stream: &mut TcpStream, read: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            let rest = read.split_off(end + 4);
            return String::from_utf8(std::mem::replace(read, rest)).ok();
        }
        if stream.read_buf(read).await.ok()? == 0 {
            return None;
        }
    }
}

async fn converse(mut stream: TcpStream, mut read: Vec<u8>, user: &str, hub: &Mutex<Hub>) {
    let (sender, mut receiver) = unbounded_channel();
    let owner = format!("{:?}", stream.peer_addr());
    let member = |sender: &UnboundedSender<Vec<u8>>| {
        let sender = sender.clone();
        let tell = move |channel: &str, data: &Value| _ = sender.send(message(channel, data));
        Member { owner: owner.clone(), tell: Box::new(tell) }
    };
    let _ = sender.send(ACCEPTED.as_bytes().to_vec());
    let _ = sender.send(text(&json!({"type": "welcome"})));
    let _ = sender.send(text(&json!({"type": "auth_success"})));
    join(hub, format!("user:{user}"), member(&sender));
    loop {
        while let Some(found) = frame::decode(&read).unwrap() {
            let mut said = Vec::new();
            frame::unmask(found.payload_of(&read), found.mask.unwrap(), &mut said);
            read.drain(..found.size());
            if found.opcode == Opcode::Close {
                return;
            }
            let said: Value = serde_json::from_slice(&said).unwrap();
            let room = format!("room:{}", said["room"].as_str().unwrap());
            let reply = match said["type"].as_str().unwrap() {
                "join" => {
                    join(hub, room, member(&sender));
                    json!({"type": "joined"})
                }
                "leave" => {
                    leave(hub, &room, &owner);
                    json!({"type": "left"})
                }
                "publish" => {
                    hub.lock().publish(&room, &said["data"]);
                    json!({"type": "published"})
                }
                other => json!({"type": "error", "message": other}),
            };
            let _ = sender.send(text(&reply));
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

fn join(hub: &Mutex<Hub>, channel: String, member: Member) {
    hub.lock().channels.entry(channel).or_default().push(member);
}

fn leave(hub: &Mutex<Hub>, channel: &str, owner: &str) {
    hub.lock().channels.get_mut(channel).unwrap().retain(|member| member.owner != owner);
}
