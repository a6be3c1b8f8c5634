//! Webhooks of a provider, signed, at a steady pace: how long until clients have them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use clap::Args;
use futures_util::future::try_join_all;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde::Serialize;
use tokio::time::{Instant, sleep_until};

use super::{above_zero, at_least_one};
use crate::audience::{Audience, Seat};
use crate::checker::Checker;
use crate::connection::{Endpoint, SharedBuffer};
use crate::http::Client;
use crate::measurement::{Figure, Measurement, Readings};
use crate::payload::{self, Clock, Mark};
use crate::target::Target;

/// What a started fanout is configured by.
pub(crate) const CONFIGURATION: &str = include_str!("../webhook.toml");
/// The variable that has the secret of the webhooks there.
pub(crate) const VARIABLE: &str = "WEBHOOK_SECRET";
/// The secret, for servers that live as long as a run: `whsec_` and the key.
pub(crate) const SECRET: &str = "whsec_bG9hZCBydW5zIHNpZ24gd2l0aCB0aGlzIHNlY3JldCE=";

const PATH: &str = "/webhook/load";
const ROOM: &str = "load";

/// Sends webhooks as Standard Webhooks says, each with an id of its own.
#[derive(Debug, Clone, Args, Serialize)]
pub struct Webhook {
    /// Webhooks a second.
    #[arg(long, default_value = "200", value_parser = above_zero)]
    pub rate: f64,
    /// Connections that they come on.
    #[arg(long, default_value = "8", value_parser = at_least_one)]
    pub senders: usize,
    /// Clients that get each of them.
    #[arg(long, default_value = "10", value_parser = at_least_one)]
    pub receivers: usize,
    /// Bytes of a body.
    #[arg(long, default_value = "512")]
    pub size: usize,
    /// Seconds that count, after a fifth of them as a warm-up.
    #[arg(long, default_value = "10", value_parser = above_zero)]
    pub seconds: f64,
}

impl Webhook {
    pub(super) async fn measure(&self, target: &Target) -> Result<Measurement> {
        let (clock, buffer) = (Clock::start(), SharedBuffer::default());
        let lanes = self.senders as u64;
        let mut seats = Vec::new();
        for index in 0..self.receivers {
            seats.push(Seat {
                token: target.mint.token(&format!("u{index}"))?,
                room: Some(ROOM.to_owned()),
                checker: Checker::new(lanes, 0, lanes),
            });
        }
        let audience = Audience::seat(&target.sockets, seats, clock, &buffer).await?;
        let to = Endpoint { path: PATH.to_owned(), ..target.publish.clone() };
        let mut senders = Vec::new();
        for _ in 0..self.senders {
            senders.push(Sender::open(&to).await?);
        }
        let receivers = self.receivers as u64;
        let warm_up = self.webhooks(self.seconds / 5.0);
        self.send(0, warm_up, clock, &mut senders).await?;
        audience.wait_for(warm_up * receivers).await?;
        audience.ledger().forget_latency();

        let (cpu, began) = (Readings::cpu(&target.processes)?, Instant::now());
        let all = warm_up + self.webhooks(self.seconds);
        self.send(warm_up, all, clock, &mut senders).await?;
        audience.wait_for(all * receivers).await?;
        let seconds = began.elapsed().as_secs_f64();
        let used = Readings::cpu(&target.processes)?.since(&cpu);

        let mut found = Measurement::default();
        let count = (all - warm_up) as f64;
        found.set(Figure::PerSecond, count / seconds);
        if !used.is_empty() {
            found.set_sum(Figure::CpuSecondsPerMillion, &used, 1e6 / count);
        }
        found.set_latency(&audience);
        found.tally = audience.ledger().verdict(all)?;
        Ok(found)
    }

    fn webhooks(&self, seconds: f64) -> u64 {
        // A count that a run can reach is far below what a float holds.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let count = (self.rate * seconds) as u64;
        // A whole round of all senders.
        count.max(1).next_multiple_of(self.senders as u64)
    }

    /// Sends the numbers `from..to`, each when it is due.
    async fn send(&self, from: u64, to: u64, clock: Clock, senders: &mut [Sender]) -> Result<()> {
        let began = Instant::now();
        let each = senders.iter_mut().zip(0_u64..).map(|(sender, lane)| async move {
            for number in (from..to).filter(|number| number % self.senders as u64 == lane) {
                let due = began + Duration::from_secs_f64((number - from) as f64 / self.rate);
                // One that waited for the one before it is as old as its turn.
                let late = due <= Instant::now();
                sleep_until(due).await;
                let published = if late { clock.nanos(due.into_std()) } else { clock.now() };
                sender.send(Mark { seq: number, published }, self.size).await?;
            }
            anyhow::Ok(())
        });
        try_join_all(each).await.map(drop)
    }
}

/// A provider's connection.
struct Sender {
    client: Client,
    key: EncodingKey,
}

impl Sender {
    async fn open(to: &Endpoint) -> Result<Self> {
        let key = SECRET.strip_prefix("whsec_").context("no secret of Standard Webhooks")?;
        // Nobody asks for the token.
        Ok(Self { client: Client::open(to, "none").await?, key: EncodingKey::from_base64_secret(key)? })
    }

    async fn send(&mut self, mark: Mark, size: usize) -> Result<()> {
        let mut body = Vec::new();
        payload::write(mark, size, &mut body);
        let at = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let id = format!("msg_{}_{}", mark.seq, mark.published);
        let mut signed = format!("{id}.{at}.").into_bytes();
        signed.extend_from_slice(&body);
        let signature = to_standard(&crypto::sign(&signed, &self.key, Algorithm::HS256)?);
        let fields =
            format!("webhook-id: {id}\r\nwebhook-timestamp: {at}\r\nwebhook-signature: v1,{signature}\r\n");
        self.client.ask_with(&fields, &body).await.map(drop)
    }
}

/// From the Base64 of addresses to that of mail, with padding.
fn to_standard(base64url: &str) -> String {
    let mut text = base64url.replace('-', "+").replace('_', "/");
    text.extend(std::iter::repeat_n('=', text.len().wrapping_neg() % 4));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_written_as_the_standard_wants() {
        for (from, to) in [("-_8", "+/8="), ("AAAA", "AAAA"), ("QQ", "QQ==")] {
            assert_eq!(to_standard(from), to);
        }
    }
}
