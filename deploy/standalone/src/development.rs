//! What the development mode adds: a token, the lines to try, a page.

use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::routing::get;
use chassis::auth::{Grant, Minter, Scopes};
use proto::{Pattern, UserId};

/// Long enough for a working day.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// The room that the lines and the page use.
const ROOM: &str = "lobby";

/// See the module's documentation.
pub(crate) struct Development {
    token: String,
    address: SocketAddr,
    path: String,
}

impl Development {
    /// A development mode served at this address, with WebSockets at `path`.
    pub(crate) fn new(minter: &Minter, address: SocketAddr, path: &str) -> anyhow::Result<Self> {
        let grant = Grant {
            user: UserId::new("dev")?,
            tenant: None,
            name: Some("Developer".to_owned()),
            rooms: vec![Pattern::new("*")?],
            scopes: Scopes::new(["publish"])?,
            lifetime: LIFETIME,
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        Ok(Self { token: minter.mint(&grant, now)?, address, path: path.to_owned() })
    }

    /// Tells what to try. Whoever closed the output does not want to know.
    pub(crate) fn announce(&self) {
        let Self { token, address, path } = self;
        let lines = format!(
            r#"
  Switchboard, in development mode: everything in this one process, gone when it ends.
  For anything else set JWT_SECRET; `standalone --help` tells the rest.

    try it        http://{address}/
    connect       ws://{address}{path}
    publish       http://{address}/v1/publish   (its page: http://{address}/docs)
    health        http://{address}/health

  A token for user "dev", who may join every room and publish over HTTP; good for a day:

    {token}

  Open the page, then publish to the room that it joins:

    curl http://{address}/v1/publish -H 'Authorization: Bearer {token}' \
         -H 'Content-Type: application/json' \
         -d '{{"to":{{"room":"{ROOM}"}},"event":"hello","data":{{"text":"Hello from curl"}}}}'

"#
        );
        drop(std::io::stdout().write_all(lines.as_bytes()));
    }

    /// The page.
    pub(crate) fn router(&self) -> Router {
        let page = include_str!("page.html")
            .replace("{{token}}", &self.token)
            .replace("{{path}}", &self.path)
            .replace("{{room}}", ROOM);
        // The page holds a token: nobody keeps a copy, and nothing but its own script runs in it.
        let headers = [
            (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
            (CACHE_CONTROL, HeaderValue::from_static("no-store")),
            (
                CONTENT_SECURITY_POLICY,
                HeaderValue::from_static(
                    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self' ws: wss:; img-src data:; base-uri 'none'; form-action 'none'",
                ),
            ),
        ];
        Router::new().route("/", get(async move || (headers, page)))
    }
}
