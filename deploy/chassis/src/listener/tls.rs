//! TLS that the process terminates itself, with a certificate that is renewed while it runs.
//!
//! What comes out of TLS goes on through a pair of sockets within the process, so that a connection is a plain socket for
//! all that follows, also when it has become a WebSocket. That costs a copy each way; a load balancer that terminates TLS
//! costs this process nothing.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as Half;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use serde::Deserialize;
use tokio::io::{AsyncWriteExt, copy, split};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::task::TaskTracker;

use crate::options::{Kind, Loaded, OptionSpec, OptionsError};

/// The options of TLS.
pub const TLS: &[OptionSpec] = &[
    OptionSpec {
        key: "tls.certificate",
        kind: Kind::Text,
        default: "",
        help: "The file with the certificate and those that it rests on (PEM). With it the listener for clients and \
               callers speaks TLS alone. Files that were renewed are taken up within seconds.",
    },
    OptionSpec {
        key: "tls.key",
        kind: Kind::Text,
        default: "",
        help: "The file with the certificate's private key (PEM).",
    },
];

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(3);

/// How long a client may take to answer the end of a connection.
const GOODBYE: Duration = Duration::from_secs(3);

/// How long the last words to clients may take to go out when the process ends.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// See the module's documentation. Clones are the same.
#[derive(Clone)]
pub struct Tls {
    files: Files,
    acceptor: TlsAcceptor,
    current: Arc<Current>,
    copies: TaskTracker,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Files {
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    tls: Files,
}

/// The certificate that is shown from now on.
#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the options and the files; `None` where there is to be no TLS.
    pub fn from_options(options: &Loaded) -> Result<Option<Self>, OptionsError> {
        let mut files = options.section::<Section>(TLS)?.tls;
        for file in [&mut files.certificate, &mut files.key] {
            file.take_if(|path| path.as_os_str().is_empty());
        }
        let mistake = |field: &str, message: String| options.wrong(format!("tls.{field}"), message);
        let (certificate, key) = match (&files.certificate, &files.key) {
            (None, None) => return Ok(None),
            (Some(_), None) => return Err(mistake("key", "is missing beside tls.certificate".to_owned())),
            (None, Some(_)) => return Err(mistake("certificate", "is missing beside tls.key".to_owned())),
            (Some(certificate), Some(key)) => (certificate, key),
        };
        let read = |field, path: &Path| {
            std::fs::read(path).map_err(|error| mistake(field, format!("cannot be read: {error}")))
        };
        let pem = (read("certificate", certificate)?, read("key", key)?);
        let provider = Arc::new(aws_lc_rs::default_provider());
        let certified =
            certified(&pem, &provider).map_err(|(field, message)| mistake(field, message.to_owned()))?;
        let current = Arc::new(Current(ArcSwap::from_pointee(certified)));
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| mistake("certificate", error.to_string()))?;
        let mut config = config
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Some(Self { files, acceptor, current, copies: TaskTracker::new() }))
    }

    /// Takes up files that were renewed, for as long as it is polled. What cannot be used yet, such as a certificate whose
    /// key is still being written, is tried again when it has changed.
    pub(super) async fn watch(&self) {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut known = self.read().await.ok();
        loop {
            tokio::time::sleep(LOOK).await;
            let Ok(pem) = self.read().await else { continue };
            if known.as_ref() == Some(&pem) {
                continue;
            }
            match certified(&pem, &provider) {
                Ok(certified) => {
                    self.current.0.store(Arc::new(certified));
                    tracing::info!("a renewed certificate is in use");
                }
                Err((field, problem)) => {
                    tracing::warn!(field, problem, "the files of the certificate changed and cannot be used");
                }
            }
            known = Some(pem);
        }
    }

    async fn read(&self) -> io::Result<Pem> {
        let files = self.files.clone();
        let read = move || {
            let file = |path: Option<PathBuf>| std::fs::read(path.unwrap_or_default());
            Ok((file(files.certificate)?, file(files.key)?))
        };
        tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
    }

    /// Makes a plain connection of one that speaks TLS; `None` if it does not, in time.
    pub(super) async fn accept(&self, stream: TcpStream, patience: Duration) -> Option<TcpStream> {
        // Whoever fails here is most often no client at all.
        let secured = timeout(patience, self.acceptor.accept(stream)).await.ok()?.ok()?;
        match pair() {
            Ok((inner, outer)) => {
                self.copies.spawn(pass_on(secured, outer));
                Some(inner)
            }
            Err(error) => {
                tracing::warn!(%error, "no sockets for a connection with TLS");
                None
            }
        }
    }

    /// Waits until what was said to clients has gone out, for a moment.
    pub(crate) async fn finish(&self) {
        self.copies.close();
        drop(timeout(LAST_WORDS, self.copies.wait()).await);
    }
}

/// The files as they are.
type Pem = (Vec<u8>, Vec<u8>);

/// Makes a certificate of files; tells the field that is wrong otherwise.
fn certified(
    (chain, key): &Pem,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, (&'static str, &'static str)> {
    let chain = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<Vec<_>, _>>()
        .ok()
        .filter(|chain| !chain.is_empty())
        .ok_or(("certificate", "holds no certificate in PEM"))?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| ("key", "holds no private key in PEM"))?;
    CertifiedKey::from_der(chain, key, provider).map_err(|_| ("key", "is not the key of the certificate"))
}

/// Two sockets that are connected to each other, the first as if it had come over the network.
fn pair() -> io::Result<(TcpStream, UnixStream)> {
    let (inner, outer) = Half::pair()?;
    inner.set_nonblocking(true)?;
    outer.set_nonblocking(true)?;
    let inner = TcpStream::from_std(OwnedFd::from(inner).into())?;
    Ok((inner, UnixStream::from_std(outer)?))
}

/// Passes on what either side says, until both have said all.
async fn pass_on(secured: TlsStream<TcpStream>, plain: UnixStream) {
    let (mut from_client, mut to_client) = split(secured);
    let (mut from_us, mut to_us) = plain.into_split();
    // An error on one side ends it for the other, which is all that can be done about it.
    let mut incoming = pin!(async {
        drop(copy(&mut from_client, &mut to_us).await);
        drop(to_us.shutdown().await);
    });
    let mut outgoing = pin!(async {
        drop(copy(&mut from_us, &mut to_client).await);
        drop(to_client.shutdown().await);
    });
    tokio::select! {
        () = &mut outgoing => drop(timeout(GOODBYE, incoming).await),
        () = &mut incoming => outgoing.await,
    }
}
