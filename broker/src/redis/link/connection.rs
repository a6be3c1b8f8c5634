//! Connections to Redis servers: dialling, logging in, asking.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::interest::{Fault, is_replica};
use super::resp::{Item, Parser, Value, Violation, write_command};
use crate::redis::{Address, Credentials};

/// How much is read at once, in bytes.
const READ: usize = 64 << 10;

/// How long dialling and logging in may take, and one answer to a question.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why there is no connection, or no longer.
#[derive(Debug, thiserror::Error)]
pub(in crate::redis) enum LinkError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the server closed the connection")]
    Closed,
    #[error("no answer in time")]
    Late,
    #[error("`{0}` is no name that a certificate could be for")]
    Name(String),
    #[error("the server says: {0}")]
    Refused(String),
    #[error("the server is not a primary")]
    NotPrimary,
    #[error("the server does not speak RESP3: {0}")]
    Violation(#[from] Violation),
    #[error(transparent)]
    Fault(#[from] Fault),
    #[error("the receiver of a message panicked")]
    Panicked,
    #[error("no server says who has the channels")]
    Nowhere,
}

/// TCP or TLS.
pub(in crate::redis) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Makes connections of one kind.
#[derive(Clone)]
pub(in crate::redis) struct Dialer {
    pub(in crate::redis) credentials: Credentials,
    pub(in crate::redis) tls: Option<Arc<ClientConfig>>,
    /// Whether a replica will not do.
    pub(in crate::redis) primary_only: bool,
}

/// A connection that is logged in and speaks RESP3.
pub(in crate::redis) struct Connection {
    pub(in crate::redis) stream: Box<dyn Stream>,
    pub(in crate::redis) unread: Unread,
}

/// What was read and is not used yet.
#[derive(Default)]
pub(in crate::redis) struct Unread {
    buffer: BytesMut,
    parser: Parser,
}

impl Unread {
    /// Reads once. Safe to drop and call again.
    pub(super) async fn fill(&mut self, from: &mut (impl AsyncRead + Unpin)) -> Result<(), LinkError> {
        self.buffer.reserve(READ);
        match from.read_buf(&mut self.buffer).await? {
            0 => Err(LinkError::Closed),
            _ => Ok(()),
        }
    }

    /// Passes on all that is there, up to the first item that `take` fails at.
    pub(super) fn drain(
        &mut self,
        mut take: impl FnMut(Item<'_>) -> Result<(), LinkError>,
    ) -> Result<(), LinkError> {
        let mut at = 0;
        let result = loop {
            match self.parser.next(self.buffer.get(at..).unwrap_or_default()) {
                Ok(Some((item, used))) => {
                    at += used;
                    if let Err(error) = take(item) {
                        break Err(error);
                    }
                }
                Ok(None) => break Ok(()),
                Err(violation) => break Err(violation.into()),
            }
        };
        self.buffer.advance(at);
        result
    }
}

impl Dialer {
    /// Connects and logs in.
    pub(in crate::redis) async fn dial(&self, address: &Address) -> Result<Connection, LinkError> {
        timeout(PATIENCE, self.connect(address)).await.unwrap_or(Err(LinkError::Late))
    }

    async fn connect(&self, address: &Address) -> Result<Connection, LinkError> {
        let tcp = TcpStream::connect((address.host.as_str(), address.port)).await?;
        tcp.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(tcp),
            Some(config) => {
                let name = ServerName::try_from(address.host.clone())
                    .map_err(|_| LinkError::Name(address.host.clone()))?;
                Box::new(TlsConnector::from(config.clone()).connect(name, tcp).await?)
            }
        };
        let mut connection = Connection { stream, unread: Unread::default() };
        connection.log_in(&self.credentials, self.primary_only).await?;
        Ok(connection)
    }
}

impl Connection {
    async fn log_in(&mut self, credentials: &Credentials, primary_only: bool) -> Result<(), LinkError> {
        let mut hello: Vec<&[u8]> = vec![b"HELLO", b"3"];
        if let Some(password) = &credentials.password {
            let user = credentials.username.as_deref().unwrap_or("default");
            hello.extend([&b"AUTH"[..], user.as_bytes(), password.as_bytes()]);
        }
        hello.extend([&b"SETNAME"[..], b"switchboard-link"]);
        let replica = self.ask(&hello, is_replica).await?;
        if replica && primary_only { Err(LinkError::NotPrimary) } else { Ok(()) }
    }

    /// Sends a command and reads its answer, passing over pushes. An error is [`LinkError::Refused`].
    pub(in crate::redis) async fn ask<T>(
        &mut self,
        words: &[&[u8]],
        read: impl FnOnce(&Value<'_>) -> T,
    ) -> Result<T, LinkError> {
        timeout(PATIENCE, self.ask_patiently(words, read)).await.unwrap_or(Err(LinkError::Late))
    }

    async fn ask_patiently<T>(
        &mut self,
        words: &[&[u8]],
        read: impl FnOnce(&Value<'_>) -> T,
    ) -> Result<T, LinkError> {
        let mut out = Vec::new();
        write_command(&mut out, words.iter().copied());
        let (mut read, mut answer) = (Some(read), None);
        let exchange = self.exchange(&out, |reply| {
            answer = read.take().map(|read| match reply {
                Value::Error(error) => Err(String::from_utf8_lossy(error).into_owned()),
                reply => Ok(read(reply)),
            });
            true
        });
        exchange.await?;
        match answer {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(error)) => Err(LinkError::Refused(error)),
            None => Err(LinkError::Closed),
        }
    }

    /// Sends commands and passes on their answers, without pushes, until `take` says that it was the last one.
    pub(in crate::redis) async fn exchange(
        &mut self,
        commands: &[u8],
        take: impl FnMut(&Value<'_>) -> bool,
    ) -> Result<(), LinkError> {
        self.send(commands).await?;
        self.receive(take).await
    }

    /// Sends commands, or a part of them.
    pub(in crate::redis) async fn send(&mut self, commands: &[u8]) -> Result<(), LinkError> {
        self.stream.write_all(commands).await?;
        Ok(self.stream.flush().await?)
    }

    /// Passes on answers, without pushes, until `take` says that it was the last one.
    pub(in crate::redis) async fn receive(
        &mut self,
        mut take: impl FnMut(&Value<'_>) -> bool,
    ) -> Result<(), LinkError> {
        let mut last = false;
        while !last {
            self.unread.fill(&mut self.stream).await?;
            self.unread.drain(|item| {
                if let Item::Reply(reply) = item
                    && !last
                {
                    last = take(&reply);
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::RootCertStore;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    use testkit::{Access, Options, Server};

    fn dialer(server: &Server) -> Dialer {
        let tls = server.ca_pem().map(|pem| trusting(&[pem]));
        Dialer { credentials: Credentials::default(), tls, primary_only: true }
    }

    fn trusting(authorities: &[&str]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        for pem in authorities {
            roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        Arc::new(config.unwrap().with_root_certificates(roots).with_no_client_auth())
    }

    fn address(host: &str, server: &Server) -> Address {
        Address { host: host.to_owned(), port: server.port() }
    }

    #[tokio::test]
    async fn a_server_with_tls_is_trusted_by_its_certificate_only() {
        let server = Server::start(Options { tls: true, ..Options::default() }).await.unwrap();
        let other = Server::start(Options { tls: true, ..Options::default() }).await.unwrap();
        for host in ["127.0.0.1", "localhost"] {
            let mut connection = dialer(&server).dial(&address(host, &server)).await.unwrap();
            let pong = connection.ask(&[b"PING"], |reply| reply.text() == Some(b"PONG")).await.unwrap();
            assert!(pong);
        }
        let wrong = Dialer { tls: dialer(&other).tls, ..dialer(&server) };
        assert!(matches!(wrong.dial(&address("localhost", &server)).await, Err(LinkError::Io(_))));
        let plain = Dialer { tls: None, ..dialer(&server) };
        assert!(plain.dial(&address("localhost", &server)).await.is_err());
    }

    #[tokio::test]
    async fn a_login_is_refused_without_repeating_the_password() {
        let access = Access::Password("right".to_owned());
        let server = Server::start(Options { access, ..Options::default() }).await.unwrap();
        let with = |password: &str| Credentials { username: None, password: Some(password.to_owned()) };
        let right = Dialer { credentials: with("right"), ..dialer(&server) };
        assert!(right.dial(&address("127.0.0.1", &server)).await.is_ok());
        let wrong = Dialer { credentials: with("s3cret"), ..dialer(&server) };
        let Err(LinkError::Refused(error)) = wrong.dial(&address("127.0.0.1", &server)).await else {
            panic!()
        };
        assert!(error.starts_with("WRONGPASS") && !error.contains("s3cret"), "{error}");
        assert!(dialer(&server).dial(&address("127.0.0.1", &server)).await.is_err(), "no password, no entry");
    }

    #[tokio::test]
    async fn a_replica_is_no_primary() {
        let server = Server::start(Options::default()).await.unwrap();
        server.command(&["REPLICAOF", "127.0.0.1", "1"]).await.unwrap();
        let at = address("127.0.0.1", &server);
        assert!(matches!(dialer(&server).dial(&at).await, Err(LinkError::NotPrimary)));
        let mut asking = Dialer { primary_only: false, ..dialer(&server) }.dial(&at).await.unwrap();
        let refused = asking.ask(&[b"NOSUCH"], |_| ()).await;
        assert!(matches!(refused, Err(LinkError::Refused(_))));
    }
}
