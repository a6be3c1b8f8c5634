//! Publishing over HTTP on one keep-alive connection.

use anyhow::{Context as _, Result, bail, ensure};
use proto::Position;
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::connection::{Endpoint, dial};
use crate::payload::push_number;

/// Largest answer that is read, bytes.
const LARGEST_ANSWER: usize = 64 << 10;

/// A keep-alive connection that posts JSON, one request at a time.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    /// The request's head up to the value of `Content-Length`.
    head: Vec<u8>,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Client {
    /// Connects; every request will carry `token`.
    ///
    /// # Errors
    /// The server refuses the connection.
    pub async fn open(to: &Endpoint, token: &str) -> Result<Self> {
        let stream = dial(to.address, None).await?;
        let Endpoint { host, path, .. } = to;
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: "
        );
        Ok(Self { stream, head: head.into_bytes(), request: Vec::new(), answer: Vec::new() })
    }

    /// Posts a body and waits for the whole answer.
    ///
    /// # Errors
    /// The answer is no success, or the connection broke.
    pub async fn post(&mut self, body: &[u8]) -> Result<()> {
        self.ask(body).await.map(drop)
    }

    /// Posts a body and gives the answer's.
    ///
    /// # Errors
    /// The answer is no success, or the connection broke.
    pub async fn ask(&mut self, body: &[u8]) -> Result<&[u8]> {
        self.ask_with("", body).await
    }

    /// Posts a message for one channel and gives its place there.
    ///
    /// # Errors
    /// The same, or the answer has no place.
    pub(crate) async fn publish(&mut self, body: &[u8]) -> Result<Position> {
        #[derive(Deserialize)]
        struct Answer {
            results: Vec<Receipt>,
        }
        #[derive(Deserialize)]
        struct Receipt {
            position: Position,
        }
        let answer: Answer = serde_json::from_slice(self.ask(body).await?)?;
        Ok(answer.results.first().context("an answer without a result")?.position)
    }

    /// The same as [`ask`](Self::ask) with more header fields, each a whole line.
    ///
    /// # Errors
    /// The answer is no success, or the connection broke.
    pub async fn ask_with(&mut self, fields: &str, body: &[u8]) -> Result<&[u8]> {
        self.request.clear();
        self.request.extend_from_slice(&self.head);
        push_number(body.len() as u64, &mut self.request);
        self.request.extend_from_slice(b"\r\n");
        self.request.extend_from_slice(fields.as_bytes());
        self.request.extend_from_slice(b"\r\n");
        self.request.extend_from_slice(body);
        self.stream.write_all(&self.request).await?;
        self.answer.clear();
        let (head, length) = loop {
            let read = self.stream.read_buf(&mut self.answer).await?;
            ensure!(read > 0, "the server hung up instead of answering a publish");
            ensure!(self.answer.len() <= LARGEST_ANSWER, "the answer to a publish does not end");
            if let Some(found) = measure(&self.answer)? {
                break found;
            }
        };
        ensure!(length <= LARGEST_ANSWER, "an answer of {length} bytes to a publish");
        while self.answer.len() < head + length {
            let read = self.stream.read_buf(&mut self.answer).await?;
            ensure!(read > 0, "the server hung up within its answer");
        }
        if !self.answer.starts_with(b"HTTP/1.1 2") {
            bail!("a publish was refused: {}", String::from_utf8_lossy(&self.answer));
        }
        Ok(self.answer.get(head..head + length).unwrap_or_default())
    }
}

/// Lengths of an answer's head and body, once the head is complete.
fn measure(answer: &[u8]) -> Result<Option<(usize, usize)>> {
    const LENGTH: &[u8] = b"content-length:";
    let (mut end, mut length) = (0, None);
    for line in answer.split_inclusive(|byte| *byte == b'\n') {
        end += line.len();
        if line == b"\r\n" {
            let length = length.context("an answer without Content-Length")?;
            return Ok(Some((end, str::from_utf8(length)?.trim().parse()?)));
        }
        if let Some((name, value)) = line.split_at_checked(LENGTH.len())
            && name.eq_ignore_ascii_case(LENGTH)
        {
            length = Some(value);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_measured_whatever_the_case_of_its_headers() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 12\r\nx: y\r\n\r\n{";
        assert_eq!(measure(answer).unwrap(), Some((answer.len() - 1, 12)));
        assert_eq!(measure(&answer[..20]).unwrap(), None);
        assert!(measure(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
