//! A stretch of network between a client and a server, which can fail.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use crate::ports::Lease;

/// How many bytes one direction of a connection holds at most.
const BUFFER: usize = 16 * 1024;

/// A TCP proxy on loopback. Connections end when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    state: watch::Sender<Network>,
    /// How often the connections of the moment were forsaken.
    forsaken: watch::Sender<u64>,
    connections: Arc<AtomicUsize>,
    acceptor: AbortHandle,
    lease: Lease,
}

/// What the network is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Network {
    Up,
    /// Connections stand and are accepted, bytes wait.
    Stalled,
    /// Connections break, new ones at once.
    Cut,
}

impl Proxy {
    /// Starts to pass connections on to `target`, which need not be there yet.
    pub async fn start(target: SocketAddr) -> Result<Self> {
        let lease = Lease::take()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, lease.port())).await?;
        let (state, network) = watch::channel(Network::Up);
        let forsaken = watch::Sender::new(0);
        let connections = Arc::new(AtomicUsize::new(0));
        let accepting = accept(listener, target, network, forsaken.subscribe(), Arc::clone(&connections));
        let acceptor = tokio::spawn(accepting).abort_handle();
        Ok(Self { state, forsaken, connections, acceptor, lease })
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.lease.port()).into()
    }

    /// The address in the form that clients of a single server take: `redis://127.0.0.1:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// How many connections are open through the proxy.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Resets all connections, and every new one as soon as it is accepted, until [`restore`](Self::restore).
    pub fn cut(&self) {
        self.state.send_replace(Network::Cut);
    }

    /// Holds back all bytes, in both directions, or lets them go on. Nothing gets lost, as long as the peers wait. A
    /// cut network stays cut.
    pub fn stall(&self, stalled: bool) {
        self.state.send_if_modified(|state| {
            let wanted = if stalled { Network::Stalled } else { Network::Up };
            let changes = *state != Network::Cut && *state != wanted;
            if changes {
                *state = wanted;
            }
            changes
        });
    }

    /// Makes every connection of the moment one that only its client still believes in: the target saw it break, and nothing
    /// comes through it any more, in either direction, until the client closes it. New ones are well.
    pub fn forsake(&self) {
        self.forsaken.send_modify(|times| *times += 1);
    }

    /// Makes the network whole, after a cut or a stall.
    pub fn restore(&self) {
        self.state.send_replace(Network::Up);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The connections are the acceptor's, and end with it.
        self.acceptor.abort();
    }
}

async fn accept(
    listener: TcpListener,
    target: SocketAddr,
    network: watch::Receiver<Network>,
    forsaken: watch::Receiver<u64>,
    connections: Arc<AtomicUsize>,
) {
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                let open = Open::count(&connections);
                let (network, mut forsaken) = (network.clone(), forsaken.clone());
                forsaken.mark_unchanged();
                tasks.spawn(async move {
                    // A connection that fails looks to its peers like one that was reset; there is nobody to tell.
                    let _ = pass(client, target, network, forsaken).await;
                    drop(open);
                });
            }
            Some(_) = tasks.join_next() => {}
        }
    }
}

/// A connection that counts while it is open.
struct Open(Arc<AtomicUsize>);

impl Open {
    fn count(connections: &Arc<AtomicUsize>) -> Self {
        connections.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(connections))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn pass(
    mut client: TcpStream,
    target: SocketAddr,
    network: watch::Receiver<Network>,
    mut forsaken: watch::Receiver<u64>,
) -> Result<()> {
    // However the connection ends, unless both peers close it in peace, it ends by a reset.
    client.set_zero_linger()?;
    let mut cut = network.clone();
    {
        let through = async {
            let mut server = TcpStream::connect(target).await?;
            server.set_nodelay(true)?;
            client.set_nodelay(true)?;
            server.set_zero_linger()?;
            let (from_client, to_client) = client.split();
            let (from_server, to_server) = server.split();
            let requests = copy(from_client, to_server, network.clone());
            let replies = copy(from_server, to_client, network.clone());
            tokio::try_join!(requests, replies).map(drop)
        };
        tokio::select! {
            biased;
            _ = cut.wait_for(|state| *state == Network::Cut) => return Ok(()),
            passed = through => return passed,
            changed = forsaken.changed() => changed?,
        }
    }
    let mut sink = tokio::io::sink();
    tokio::select! {
        _ = cut.wait_for(|state| *state == Network::Cut) => Ok(()),
        ended = tokio::io::copy(&mut client, &mut sink) => Ok(ended.map(drop)?),
    }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut network: watch::Receiver<Network>,
) -> Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = from.read(&mut buffer).await?;
        network.wait_for(|state| *state == Network::Up).await?;
        if length == 0 {
            return Ok(to.shutdown().await?);
        }
        to.write_all(buffer.get(..length).context("more was read than fits")?).await?;
    }
}
