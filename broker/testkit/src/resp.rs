//! Just enough of a Redis client to set servers up and to look into them.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// How long a server may take to answer. A paused one never does.
const PATIENCE: Duration = Duration::from_secs(5);

/// An answer of a server, RESP2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Nothing there.
    Nil,
    /// An integer.
    Int(i64),
    /// A status, or a value of any bytes.
    Bytes(Vec<u8>),
    /// Several answers.
    List(Vec<Reply>),
    /// The server's refusal, which [`Server::command`](crate::Server::command) turns into an error.
    Error(String),
}

impl Reply {
    /// The answer as text, with anything that is not UTF-8 replaced; empty unless it is a status or a value.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Self::Nil | Self::Int(_) | Self::List(_) | Self::Error(_) => String::new(),
        }
    }

    /// The parts of the answer; none unless it is a list.
    #[must_use]
    pub fn list(&self) -> &[Self] {
        match self {
            Self::List(list) => list,
            Self::Nil | Self::Int(_) | Self::Bytes(_) | Self::Error(_) => &[],
        }
    }

    /// The value after `name` in a list of names and values.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Self> {
        self.list().chunks_exact(2).find_map(|pair| match pair {
            [key, value] if key.text() == name => Some(value),
            _ => None,
        })
    }
}

/// Sends commands over one connection of their own, and returns the last one's answer. Any refusal is an error.
pub(crate) async fn command(socket: &Path, commands: &[&[&str]]) -> Result<Reply> {
    let talk = async {
        let mut stream = UnixStream::connect(socket).await?;
        let mut last = Reply::Nil;
        for words in commands {
            stream.write_all(&encode(words)).await?;
            last = read(&mut stream).await?;
            if let Reply::Error(refusal) = last {
                let name = words.first().copied().unwrap_or_default();
                bail!("{name}: {refusal}");
            }
        }
        Ok(last)
    };
    timeout(PATIENCE, talk).await.context("the server does not answer")?
}

fn encode(words: &[&str]) -> Vec<u8> {
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    request.into_bytes()
}

async fn read(stream: &mut UnixStream) -> Result<Reply> {
    let mut received = Vec::new();
    loop {
        if let Some((reply, _)) = decode(&received)? {
            return Ok(reply);
        }
        if stream.read_buf(&mut received).await? == 0 {
            bail!("the server closed the connection");
        }
    }
}

/// The first reply and what follows it; nothing when it has not all arrived.
fn decode(input: &[u8]) -> Result<Option<(Reply, &[u8])>> {
    let Some(end) = input.windows(2).position(|pair| pair == b"\r\n") else { return Ok(None) };
    let (line, rest) = (input.get(..end).unwrap_or_default(), input.get(end + 2..).unwrap_or_default());
    let Some((kind, text)) = line.split_first() else { bail!("an empty line where a reply should be") };
    let text = String::from_utf8_lossy(text);
    Ok(match kind {
        b'+' => Some((Reply::Bytes(text.into_owned().into_bytes()), rest)),
        b'-' => Some((Reply::Error(text.into_owned()), rest)),
        b':' => Some((Reply::Int(text.parse()?), rest)),
        b'$' | b'*' if text.starts_with('-') => Some((Reply::Nil, rest)),
        b'$' => {
            let length: usize = text.parse()?;
            let whole = rest.get(..length).zip(rest.get(length + 2..));
            whole.map(|(value, rest)| (Reply::Bytes(value.to_vec()), rest))
        }
        b'*' => {
            let (mut list, mut rest) = (Vec::new(), rest);
            for _ in 0..text.parse::<usize>()? {
                let Some((reply, after)) = decode(rest)? else { return Ok(None) };
                list.push(reply);
                rest = after;
            }
            Some((Reply::List(list), rest))
        }
        other => bail!("a reply of unknown kind {:?}", char::from(*other)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_read_only_when_all_of_it_is_there() {
        let wire = b"*4\r\n+OK\r\n$4\r\na\r\nb\r\n*1\r\n:-7\r\n$-1\r\nnext";
        let (reply, rest) = decode(wire).unwrap().unwrap();
        let expected = vec![
            Reply::Bytes(b"OK".to_vec()),
            Reply::Bytes(b"a\r\nb".to_vec()),
            Reply::List(vec![Reply::Int(-7)]),
            Reply::Nil,
        ];
        assert_eq!((reply, rest), (Reply::List(expected), &b"next"[..]));
        for cut in 0..wire.len() - b"next".len() {
            assert_eq!(decode(&wire[..cut]).unwrap(), None, "cut at {cut}");
        }
    }
}
