//! Where keys are, and reading them from there within limits.

use std::error::Error as _;
use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::header::ACCEPT;
use reqwest::redirect::Policy;
use reqwest::{Client, Url};

use super::key::Keys;
use super::key_set::{self, KeySetError};

/// The largest key set, in bytes. A large identity provider's has about ten thousand.
const LARGEST_SET: usize = 256 * 1024;

/// How long an answer may take, all in all.
pub(super) const LONGEST_FETCH: Duration = Duration::from_secs(5);

/// Where a key set is.
#[derive(Debug)]
pub(super) enum Place {
    /// In a file, which may be replaced.
    File(PathBuf),
    /// Behind an address.
    Url {
        /// The address.
        url: Url,
        /// The client, which keeps its connection.
        client: Client,
    },
}

/// Why a text is no place of a key set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum PlaceError {
    /// Not an address.
    #[error("is not a URL: {0}")]
    Url(String),
    /// Whoever is between here and there could hand out keys of their own.
    #[error("must be https; plain http is only taken from this machine, or if auth.jwks_allow_http says so")]
    Plain,
    /// An address with a password in it would end up in logs.
    #[error("must not hold a user or password")]
    Password,
    /// The system's certificates cannot be read, or the like.
    #[error("cannot be used: {0}")]
    Client(String),
}

/// Why a key set could not be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("cannot read it: {0}")]
    File(#[from] io::Error),
    #[error("there is no answer: {0}")]
    Request(String),
    #[error("the answer has the status {0} instead of 200")]
    Status(u16),
    #[error("it has more than {LARGEST_SET} bytes")]
    TooLarge,
    #[error(transparent)]
    Set(#[from] KeySetError),
}

impl Place {
    /// Reads an address, or else the path of a file.
    pub(super) fn parse(text: &str, allow_http: bool) -> Result<Self, PlaceError> {
        if !text.contains("://") {
            return Ok(Self::File(PathBuf::from(text)));
        }
        let url = Url::parse(text).map_err(|error| PlaceError::Url(error.to_string()))?;
        let loopback = is_loopback(&url);
        match url.scheme() {
            "https" => {}
            "http" if loopback || allow_http => {}
            _ => return Err(PlaceError::Plain),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(PlaceError::Password);
        }
        // A redirection could lead from https to anywhere; the address of a key set is meant to be its own.
        let client = Client::builder()
            .redirect(Policy::none())
            .https_only(url.scheme() == "https")
            .timeout(LONGEST_FETCH)
            .user_agent(concat!("switchboard/", env!("CARGO_PKG_VERSION")));
        let client = if loopback { client.no_proxy() } else { client };
        let client = client.build().map_err(|error| PlaceError::Client(innermost(&error)))?;
        Ok(Self::Url { url, client })
    }

    /// Gets the key set as it is now.
    pub(super) async fn fetch(&self) -> Result<Keys, FetchError> {
        let json = match self {
            Self::File(path) => {
                let path = path.clone();
                tokio::task::spawn_blocking(move || read_set(&path)).await.map_err(io::Error::from)??
            }
            Self::Url { url, client } => download(client, url).await?,
        };
        Ok(key_set::parse(&json)?)
    }

    /// The same, for a file and before there is a runtime; `None` for an address.
    pub(super) fn read_now(&self) -> Option<Result<Keys, FetchError>> {
        match self {
            Self::File(path) => Some(read_set(path).and_then(|json| Ok(key_set::parse(&json)?))),
            Self::Url { .. } => None,
        }
    }
}

/// Without the query, which may hold a credential.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Url { url, .. } => write!(f, "{}{}", url.origin().ascii_serialization(), url.path()),
        }
    }
}

async fn download(client: &Client, url: &Url) -> Result<Vec<u8>, FetchError> {
    let lost = |error: reqwest::Error| FetchError::Request(innermost(&error));
    let request = client.get(url.clone()).header(ACCEPT, "application/jwk-set+json, application/json");
    let mut answer = request.send().await.map_err(lost)?;
    if answer.status() != http::StatusCode::OK {
        return Err(FetchError::Status(answer.status().as_u16()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(lost)? {
        if body.len() + chunk.len() > LARGEST_SET {
            return Err(FetchError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn read_set(path: &Path) -> Result<Vec<u8>, FetchError> {
    read_file(path, LARGEST_SET as u64).map_err(|error| match error.kind() {
        ErrorKind::FileTooLarge => FetchError::TooLarge,
        _ => FetchError::File(error),
    })
}

/// Reads a file of at most `largest` bytes.
pub(super) fn read_file(path: &Path, largest: u64) -> Result<Vec<u8>, io::Error> {
    let mut bytes = Vec::new();
    // One byte more than is allowed tells a file that is too large.
    File::open(path)?.take(largest.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > largest {
        return Err(io::Error::new(ErrorKind::FileTooLarge, format!("it has more than {largest} bytes")));
    }
    Ok(bytes)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The cause behind the layers of a client's error: the only part that helps, and one without the address.
fn innermost(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("it took longer than {} s", LONGEST_FETCH.as_secs());
    }
    let mut cause = error.source();
    while let Some(inner) = cause.and_then(|cause| cause.source()) {
        cause = Some(inner);
    }
    cause.map_or_else(|| "the request failed".to_owned(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_a_limit() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "12345678").unwrap();
        assert_eq!(read_file(file.path(), 8).unwrap(), b"12345678");
        assert_eq!(read_file(file.path(), 7).unwrap_err().kind(), ErrorKind::FileTooLarge);
        assert_eq!(read_file(Path::new("/nowhere/key"), 7).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(read_file(Path::new("/dev/zero"), 7).unwrap_err().kind(), ErrorKind::FileTooLarge);
    }

    #[test]
    fn keys_come_from_files_https_and_this_machine() {
        for (text, shown) in [
            ("/etc/jwks.json", "/etc/jwks.json"),
            ("jwks.json", "jwks.json"),
            ("https://id.example/keys?key=canary", "https://id.example/keys"),
            ("http://127.0.0.1:8000/keys", "http://127.0.0.1:8000/keys"),
            ("http://[::1]:8000/keys", "http://[::1]:8000/keys"),
            ("http://localhost/keys", "http://localhost/keys"),
        ] {
            assert_eq!(Place::parse(text, false).unwrap().to_string(), shown);
        }
        for (text, allow_http, expected) in [
            ("http://id.example/keys", false, PlaceError::Plain),
            ("http://127.0.0.1.example/keys", false, PlaceError::Plain),
            ("http://localhost.example/keys", false, PlaceError::Plain),
            ("ftp://127.0.0.1/keys", true, PlaceError::Plain),
            ("file:///etc/jwks.json", true, PlaceError::Plain),
            ("https://user:canary@id.example/keys", false, PlaceError::Password),
        ] {
            assert_eq!(Place::parse(text, allow_http).unwrap_err(), expected, "{text}");
        }
        assert!(Place::parse("http://id.example/keys", true).is_ok());
        assert!(matches!(Place::parse("https://", false), Err(PlaceError::Url(_))));
    }
}
