//! What a Redis is asked to do, as its command `MONITOR` tells.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::connection::dial;

/// How long a command may take until it is seen.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection that is told of every command.
pub struct Monitor(BufReader<TcpStream>);

impl Monitor {
    /// Watches a Redis that wants no login.
    ///
    /// # Errors
    /// It is not there, or refuses.
    pub async fn open(redis: SocketAddr) -> Result<Self> {
        let mut stream = BufReader::new(dial(redis, None).await?);
        stream.write_all(b"MONITOR\r\n").await?;
        let mut answer = String::new();
        stream.read_line(&mut answer).await?;
        ensure!(answer.starts_with("+OK"), "MONITOR: {}", answer.trim());
        Ok(Self(stream))
    }

    /// The next call of a script that is loaded already, in words.
    ///
    /// # Errors
    /// There is none in time, or it holds bytes that are no text.
    pub async fn script(&mut self) -> Result<Vec<String>> {
        let mut line = String::new();
        loop {
            line.clear();
            let read = timeout(PATIENCE, self.0.read_line(&mut line)).await;
            ensure!(read.context("no script was called")?? > 0, "the monitor ended");
            // What scripts do themselves is told as well, without an address.
            let Some((_, words)) = line.split_once("] ").filter(|(who, _)| !who.ends_with("lua")) else {
                continue;
            };
            let words = unquote(words.trim_end())?;
            if words.first().is_some_and(|name| name.eq_ignore_ascii_case("evalsha")) {
                return Ok(words);
            }
        }
    }
}

/// Reads words in quotes, with escapes as Redis writes them.
fn unquote(text: &str) -> Result<Vec<String>> {
    let (mut words, mut bytes) = (Vec::new(), text.bytes());
    while let Some(byte) = bytes.next() {
        match byte {
            b' ' => continue,
            b'"' => {}
            _ => bail!("not a word in quotes"),
        }
        let mut word = Vec::new();
        loop {
            match bytes.next().context("a word without an end")? {
                b'"' => break,
                b'\\' => word.push(match bytes.next().context("an escape without an end")? {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'a' => 7,
                    b'b' => 8,
                    b'x' => {
                        let digits = [bytes.next(), bytes.next()].map(Option::unwrap_or_default);
                        u8::from_str_radix(std::str::from_utf8(&digits)?, 16)?
                    }
                    other => other,
                }),
                plain => word.push(plain),
            }
        }
        words.push(String::from_utf8(word)?);
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_were() {
        let words = unquote(r#""EVALSHA" "ab" "1" "{\"a\":1}" "" "\\\x00\n\xc3\xa9""#).unwrap();
        assert_eq!(words, ["EVALSHA", "ab", "1", "{\"a\":1}", "", "\\\0\né"]);
        for broken in ["x", "\"x", "\"\\", "\"\\x0", "\"\\xff\""] {
            assert!(unquote(broken).is_err(), "{broken}");
        }
    }
}
