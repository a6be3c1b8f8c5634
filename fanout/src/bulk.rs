//! A stream of messages, one a line: as long as its caller likes, in no more memory than a batch.

use axum::body::{Body, BodyDataStream};
use bytes::{Buf, Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::time::timeout;

use crate::api::{Api, Failure};
use crate::caller::Caller;
use crate::intake::BODY_TIME;
use crate::refusal::{Refusal, read_json};
use crate::request::{MAX_BATCH_CHANNELS, Order};
use crate::response::{BulkFailure, BulkResponse};

/// The most messages published together: enough to hide round trips to Redis.
const TOGETHER: usize = 256;

/// The most failures that an answer lists; the rest is only counted.
pub(crate) const MAX_FAILURES: usize = 100;

/// A stream being published.
struct Bulk<'a> {
    api: &'a Api,
    caller: &'a Caller,
    /// Those read and not published yet, each with its line.
    orders: Vec<Order>,
    lines: Vec<u64>,
    /// How many channels these go to.
    channels: usize,
    so_far: BulkResponse,
}

/// Publishes every line of a body in order. A line that is wrong fails alone; one that cannot be stored ends the stream.
pub(crate) async fn publish(api: &Api, caller: &Caller, body: Body) -> Result<BulkResponse, Refusal> {
    let mut bulk = Bulk {
        api,
        caller,
        orders: Vec::new(),
        lines: Vec::new(),
        channels: 0,
        so_far: BulkResponse::default(),
    };
    let mut reader = Lines::new(body, api.config.max_body);
    while let Some(lines) = reader.next().await? {
        for line in lines {
            bulk.take(&line).await?;
        }
        // Whoever sends slowly is published as soon as they have sent.
        bulk.flush().await?;
    }
    Ok(bulk.so_far)
}

impl Bulk<'_> {
    async fn take(&mut self, line: &[u8]) -> Result<(), Refusal> {
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        self.so_far.lines += 1;
        match read_json(line).and_then(|message| self.api.check(self.caller, message)) {
            Ok(order) => {
                self.channels += order.channels.len();
                self.orders.push(order);
                self.lines.push(self.so_far.lines);
            }
            Err(refusal) => self.note(self.so_far.lines, Err(refusal.into())),
        }
        if self.orders.len() >= TOGETHER || self.channels >= MAX_BATCH_CHANNELS {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Refusal> {
        let (orders, lines) = (std::mem::take(&mut self.orders), std::mem::take(&mut self.lines));
        self.channels = 0;
        // Whoever sends faster than it may is read no faster.
        self.api.publishing.await_turn(&self.caller.publisher, orders.len()).await;
        let outcomes = self.api.carry_out(self.caller, &orders).await;
        let mut stopped = None;
        for (line, outcome) in lines.into_iter().zip(outcomes) {
            let result = self.api.settle(outcome);
            if result.as_ref().is_err_and(|failure| failure.refusal.holds_up()) {
                stopped = stopped.or(Some(line));
            }
            self.note(line, result.map(|receipts| receipts.iter().all(|receipt| receipt.duplicate)));
        }
        stopped.map_or(Ok(()), |line| Err(Refusal::Stopped { line }))
    }

    /// Notes what became of a line: whether it was there before, or why it failed.
    fn note(&mut self, line: u64, result: Result<bool, Failure>) {
        self.api.metrics.message(result.as_ref().err().map(|failure| &failure.refusal));
        match result {
            Ok(duplicate) => {
                self.so_far.published += 1;
                self.so_far.duplicates += u64::from(duplicate);
            }
            Err(failure) => {
                self.so_far.failed += 1;
                if self.so_far.failures.len() < MAX_FAILURES {
                    self.so_far.failures.push(BulkFailure::new(line, failure.problem("")));
                }
            }
        }
    }
}

/// Cuts a body into lines as it arrives.
struct Lines {
    body: BodyDataStream,
    /// The beginning of a line whose end has not come yet.
    rest: BytesMut,
    /// The longest line in bytes.
    longest: usize,
    ended: bool,
}

impl Lines {
    fn new(body: Body, longest: usize) -> Self {
        Self { body: body.into_data_stream(), rest: BytesMut::new(), longest, ended: false }
    }

    /// The lines that end in what came next; none after the end.
    async fn next(&mut self) -> Result<Option<Vec<Bytes>>, Refusal> {
        if self.ended {
            return Ok(None);
        }
        let mut lines = Vec::new();
        match timeout(BODY_TIME, self.body.next()).await {
            Ok(Some(Ok(chunk))) => {
                self.rest.extend_from_slice(&chunk);
                while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                    lines.push(self.rest.split_to(end).freeze());
                    self.rest.advance(1);
                }
            }
            Ok(Some(Err(_))) => return Err(Refusal::malformed("", "the body broke off")),
            Ok(None) => {
                self.ended = true;
                lines.push(self.rest.split().freeze());
            }
            Err(_) => return Err(Refusal::SlowBody),
        }
        let longest = lines.iter().map(Bytes::len).chain([self.rest.len()]).max().unwrap_or_default();
        if longest > self.longest {
            return Err(Refusal::BodyTooLarge { max: self.longest });
        }
        Ok(Some(lines))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;

    async fn cut(chunks: &[&'static str]) -> Result<Vec<Bytes>, Refusal> {
        let chunks: Vec<_> = chunks.iter().map(|chunk| Ok::<_, std::io::Error>(*chunk)).collect();
        let mut lines = Lines::new(Body::from_stream(stream::iter(chunks)), 4);
        let mut all = Vec::new();
        while let Some(next) = lines.next().await? {
            all.extend(next);
        }
        Ok(all)
    }

    #[tokio::test]
    async fn lines_are_found_however_they_arrive() {
        assert_eq!(cut(&["ab\nc", "d\n", "\ne"]).await.unwrap(), ["ab", "cd", "", "e"]);
        assert_eq!(cut(&["a", "b", "c", "d", "\n"]).await.unwrap(), ["abcd", ""]);
        assert_eq!(cut(&[]).await.unwrap(), [""]);
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_refused_before_it_ends() {
        for chunks in [&["abc", "de"][..], &["abcde\n"], &["a\nabcde\nb"]] {
            assert_eq!(cut(chunks).await, Err(Refusal::BodyTooLarge { max: 4 }));
        }
    }
}
