//! The least that a client of polling needs, so that a test can do what no good client does.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::app::{Node, PATIENCE};

/// What a server answered: the status, the head in lower case, and the body.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

pub const PATH: &str = "/socket.io/?EIO=4&transport=polling";

/// Sends the head of a request and as much of its body as given.
pub async fn begin(address: SocketAddr, method: &str, target: &str, fields: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request =
        format!("{method} {target} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{fields}\r\n{body}");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

pub async fn finish(mut stream: TcpStream) -> Answer {
    let mut text = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut text)).await.expect("an answer in time").unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_lowercase(), body: body.to_owned() }
}

pub async fn request(node: &Node, method: &str, target: &str, fields: &str, body: &str) -> Answer {
    let length = format!("{fields}content-length: {}\r\n", body.len());
    finish(begin(node.address, method, target, &length, body).await).await
}

/// A session that polls.
pub struct Polling<'a> {
    pub node: &'a Node,
    pub sid: String,
}

impl<'a> Polling<'a> {
    /// Opens one.
    pub async fn open(node: &'a Node) -> Self {
        let answer = request(node, "GET", PATH, "", "").await;
        let handshake: serde_json::Value = serde_json::from_str(&answer.body[1..]).unwrap();
        Self { node, sid: handshake["sid"].as_str().unwrap().to_owned() }
    }

    /// Opens one that is connected to the main namespace and was told so.
    pub async fn connect(node: &'a Node) -> Self {
        let polling = Self::open(node).await;
        assert_eq!(polling.post("40").await.status, 200);
        let connected = polling.get().await.body;
        assert!(connected.starts_with("40{\"sid\":"), "{connected}");
        assert!(connected.contains("\u{1e}42[\"welcome\","), "{connected}");
        polling
    }

    pub fn target(&self) -> String {
        format!("{PATH}&sid={}", self.sid)
    }

    pub async fn get(&self) -> Answer {
        request(self.node, "GET", &self.target(), "", "").await
    }

    pub async fn post(&self, body: &str) -> Answer {
        request(self.node, "POST", &self.target(), "", body).await
    }

    pub async fn websocket(&self) -> WebSocketStream<MaybeTlsStream<TcpStream>> {
        websocket(self.node, &format!("&sid={}", self.sid)).await
    }
}

pub async fn websocket(node: &Node, query: &str) -> WebSocketStream<MaybeTlsStream<TcpStream>> {
    let url = format!("ws://{}/socket.io/?EIO=4&transport=websocket{query}", node.address);
    tokio_tungstenite::connect_async(url).await.unwrap().0
}

/// The next text message, pings aside.
pub async fn text(socket: &mut WebSocketStream<MaybeTlsStream<TcpStream>>) -> String {
    use futures_util::StreamExt;
    loop {
        match timeout(PATIENCE, socket.next()).await.expect("a message in time") {
            Some(Ok(Message::Text(text))) if text != "2" => return text.to_string(),
            Some(Ok(Message::Text(_))) => {}
            other => panic!("a text message, not {other:?}"),
        }
    }
}
