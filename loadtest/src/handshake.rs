//! The opening handshake (RFC 6455, 4), with one key for every connection.
//!
//! The key guards against proxies that cache, of which a load run has none;
//! a fixed one makes the expected answer a constant.

use anyhow::{Result, ensure};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// What the server must answer to [`KEY`]: the example of RFC 6455, 1.3.
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A whole answer that accepts the upgrade.
pub const ACCEPTED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
     Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// The request for `target`, a path with its query.
#[must_use]
pub fn request(host: &str, target: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    )
}

/// How many bytes at the beginning of `answer` are its head; `None` while the
/// head is incomplete.
///
/// # Errors
/// The server refused the upgrade, or answered to another key.
pub fn accepted(answer: &[u8]) -> Result<Option<usize>> {
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
        ensure!(answer.len() < 16 << 10, "the server's answer to the upgrade does not end");
        return Ok(None);
    };
    let head = String::from_utf8_lossy(answer.get(..end).unwrap_or_default());
    let status = head.lines().next().unwrap_or_default();
    ensure!(status.starts_with("HTTP/1.1 101"), "the upgrade was refused: {status}");
    ensure!(head.contains(ACCEPT), "the upgrade was accepted for another key");
    Ok(Some(end + 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acceptance_is_measured_once_it_is_complete() {
        for cut in 0..ACCEPTED.len() {
            assert_eq!(accepted(&ACCEPTED.as_bytes()[..cut]).unwrap(), None);
        }
        let answer = format!("{ACCEPTED}more");
        assert_eq!(accepted(answer.as_bytes()).unwrap(), Some(ACCEPTED.len()));
    }

    #[test]
    fn a_refusal_is_told_with_its_status() {
        let refusal = accepted(b"HTTP/1.1 503 Service Unavailable\r\n\r\n").unwrap_err();
        assert!(refusal.to_string().contains("503"));
        assert!(accepted(ACCEPTED.replace(ACCEPT, "x").as_bytes()).is_err());
    }
}
