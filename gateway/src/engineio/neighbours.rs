//! Hands requests of Engine.IO to the node that holds their session, so that a load balancer needs no sticky sessions.
//!
//! A session's secret id ends with a tag of its node, under which the nodes find each other's address with the broker. A
//! client that knows both can reach nothing by it but its own session; a request is handed on once, and only so many at a
//! time.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use broker::{Broker, KeptKey};
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use proto::NodeId;
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::Refusal;

/// How many requests are handed on at a time. Each client that polls the wrong node has one waiting.
const AT_ONCE: usize = 8192;

/// How long another node may take to accept a connection.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often a node says where it is, and for how long that counts.
const RENEWAL: Duration = Duration::from_secs(20);
const LIFE: Duration = Duration::from_secs(60);

/// For how long it is believed where a node is, or that there is no such node.
const BELIEVED: Duration = Duration::from_secs(10);

/// How many nodes are remembered; more than a cluster has.
const REMEMBERED: usize = 1024;

/// Marks what was handed on, which is not handed on again.
const HANDED_ON: HeaderName = HeaderName::from_static("x-switchboard-handed-on");

/// Where a node is, if it is anywhere, and until when that is believed.
type Belief = (Option<Arc<str>>, Instant);

/// See the module's documentation.
pub(crate) struct Neighbours {
    broker: Arc<dyn Broker>,
    tag: NodeId,
    /// Where the others reach this node.
    address: OnceLock<String>,
    advertised: Notify,
    known: Mutex<HashMap<NodeId, Belief>>,
    places: Arc<Semaphore>,
}

impl Neighbours {
    /// `None` if no name can be made, which does not happen.
    pub(crate) fn new(broker: Arc<dyn Broker>) -> Option<Arc<Self>> {
        Some(Arc::new(Self {
            broker,
            tag: NodeId::new(format!("{:016x}", rand::random::<u64>())).ok()?,
            address: OnceLock::new(),
            advertised: Notify::new(),
            known: Mutex::default(),
            places: Arc::new(Semaphore::new(AT_ONCE)),
        }))
    }

    /// From here on the others reach this node at this address.
    pub(crate) fn advertise(&self, address: String) {
        // It is said once.
        let _ = self.address.set(address);
        self.advertised.notify_one();
    }

    /// What names this node in the ids of sessions; `None` while the others cannot reach it.
    pub(crate) fn tag(&self) -> Option<&str> {
        self.address.get().map(|_| self.tag.as_str())
    }

    /// Says where this node is until the task is dropped.
    pub(crate) async fn run(&self) {
        self.advertised.notified().await;
        let key = KeptKey::Node(self.tag.clone());
        while let Some(address) = self.address.get() {
            let said = self.broker.keep(&key, Bytes::from(address.clone()), LIFE).await;
            // What was said before still counts for a while.
            sleep(if said.is_ok() { RENEWAL } else { RENEWAL / 20 }).await;
        }
    }

    /// Hands a request to the node of that tag.
    ///
    /// # Errors
    /// When there is no such node, or it does not answer: its sessions are gone.
    pub(crate) async fn hand_on(&self, tag: &str, mut request: Request) -> Result<Response, Refusal> {
        let gone = Refusal::UnknownSession;
        if tag == self.tag.as_str() || request.headers().contains_key(&HANDED_ON) {
            return Err(gone);
        }
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| Refusal::Unavailable(PATIENCE))?;
        let tag = NodeId::new(tag).map_err(|_| gone)?;
        let address = self.find(tag).await.ok_or(gone)?;
        let stream = timeout(PATIENCE, TcpStream::connect(&*address)).await;
        let stream = stream.ok().and_then(Result::ok).ok_or(gone)?;
        // Frames are small and must not wait for each other; if it cannot be set, they are late.
        drop(stream.set_nodelay(true));
        let (mut sender, connection) =
            http1::handshake::<_, Body>(TokioIo::new(stream)).await.map_err(|_| gone)?;
        let connection = AbortOnDropHandle::new(tokio::spawn(async move {
            drop(connection.with_upgrades().await);
        }));
        let client = hyper::upgrade::on(&mut request);
        request.headers_mut().insert(HANDED_ON, HeaderValue::from_static("1"));
        let mut response = sender.send_request(request).await.map_err(|_| gone)?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let node = hyper::upgrade::on(&mut response);
            tokio::spawn(join(client, node, connection, place));
            return Ok(response.map(|_| Body::empty()));
        }
        let (mut head, body) = response.into_parts();
        let body = body.collect().await.map_err(|_| gone)?.to_bytes();
        for header in [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING] {
            head.headers.remove(header);
        }
        Ok(Response::from_parts(head, Body::from(body)))
    }

    async fn find(&self, tag: NodeId) -> Option<Arc<str>> {
        if let Some((address, until)) = self.known.lock().get(&tag)
            && *until > Instant::now()
        {
            return address.clone();
        }
        let kept = self.broker.kept(&KeptKey::Node(tag.clone())).await.ok()?;
        let address = kept.and_then(|kept| std::str::from_utf8(&kept).ok().map(Arc::from));
        let (mut known, now) = (self.known.lock(), Instant::now());
        if known.len() >= REMEMBERED {
            known.retain(|_, (address, until)| address.is_some() && *until > now);
        }
        if known.len() < REMEMBERED {
            known.insert(tag, (address.clone(), now + BELIEVED));
        }
        address
    }
}

/// Joins the two halves of a WebSocket until one of them ends.
async fn join(
    client: hyper::upgrade::OnUpgrade,
    node: hyper::upgrade::OnUpgrade,
    _connection: AbortOnDropHandle<()>,
    _place: OwnedSemaphorePermit,
) {
    if let (Ok(client), Ok(node)) = tokio::join!(client, node) {
        // However it ended, both ends find out by the end of their sockets.
        drop(copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(node)).await);
    }
}
