//! Publishing over HTTP, as fast as it goes, beside what Redis alone does with the same script.

use std::cell::{Cell, RefCell};
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use futures_util::future::try_join_all;
use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::task::{JoinSet, spawn_blocking};

use super::{above_zero, at_least_one};
use crate::audience::{Audience, Seat};
use crate::checker::Checker;
use crate::connection::{Connection, SharedBuffer, prebuilt};
use crate::framing::Kind;
use crate::measurement::{Figure, Measurement, Readings};
use crate::monitor;
use crate::payload::{Clock, Mark};
use crate::process::{self, Guarded};
use crate::publisher::{Publisher, To, Via};
use crate::target::Target;

/// Publishes over HTTP on keep-alive connections, each as soon as it has its answer.
#[derive(Debug, Clone, Args, Serialize)]
pub struct Publish {
    /// Connections that publish.
    #[arg(long, default_value = "64", value_parser = at_least_one)]
    pub connections: usize,
    /// Who listens to the room, on one gateway.
    #[arg(long, default_value = "1")]
    pub receivers: usize,
    /// Bytes of data in a message.
    #[arg(long, default_value = "128")]
    pub size: usize,
    /// Seconds that count, after a fifth of them as a warm-up.
    #[arg(long, default_value = "5", value_parser = above_zero)]
    pub seconds: f64,
    /// How often redis-benchmark runs the same script, on as many connections.
    #[arg(long, default_value = "100000", value_parser = at_least_one)]
    pub script_calls: usize,
    /// The Redis of a server that runs already; that of `--cluster` is known.
    #[arg(long, value_name = "ADDRESS")]
    pub redis: Option<SocketAddr>,
}

impl Publish {
    pub(super) async fn measure(&self, target: &Target) -> Result<Measurement> {
        ensure!(target.via == Via::Http, "this scenario publishes over HTTP");
        let mut found = Measurement::default();
        let mut lanes = Lanes::open(self, target).await?;
        lanes.publish(self.seconds / 5.0).await?;

        let cpu = Readings::cpu(&target.processes)?;
        lanes.latency.borrow_mut().reset();
        let (published, seconds) = lanes.publish(self.seconds).await?;
        let used = Readings::cpu(&target.processes)?.since(&cpu);
        let per_second = published as f64 / seconds;
        found.set(Figure::PerSecond, per_second);
        if !used.is_empty() {
            found.set_sum(Figure::CpuSecondsPerMillion, &used, 1e6 / published as f64);
        }
        for (figure, quantile) in [
            (Figure::P50Milliseconds, 0.5),
            (Figure::P99Milliseconds, 0.99),
            (Figure::P999Milliseconds, 0.999),
        ] {
            let microseconds = lanes.latency.borrow().value_at_quantile(quantile);
            found.set(figure, Duration::from_micros(microseconds).as_secs_f64() * 1e3);
        }
        found.tally = lanes.verdict().await?;

        if let Some(redis) = self.redis.or(target.redis) {
            let script = self.script_per_second(target, redis).await?;
            found.set(Figure::ScriptPerSecond, script);
            found.set(Figure::OfScriptPercent, 100.0 * per_second / script);
        }
        Ok(found)
    }

    /// How often a second Redis runs the script of a publish, as redis-benchmark finds it: with the very arguments that a publish
    /// of the server has, but for the nonce, which must differ. The gateway listens and passes on as before.
    async fn script_per_second(&self, target: &Target, redis: SocketAddr) -> Result<f64> {
        const ROOM: &str = "script";
        let buffer = SharedBuffer::default();
        let _listener = listen(target, ROOM, &buffer).await?;
        let token = target.mint.token("publisher")?;
        let mut publisher = Publisher::open(Via::Http, &target.publish, &token, &buffer).await?;
        let to = To::Room(ROOM.to_owned());
        let mark = [Mark { seq: 0, published: 0 }];
        publisher.publish(&to, &mark, self.size).await?;
        let mut monitor = monitor::Monitor::open(redis).await?;
        publisher.publish(&to, &mark, self.size).await?;
        let mut call = monitor.script().await?;
        drop(monitor);
        // The name, its hash, the number of keys, the keys; the nonce is the twelfth argument.
        let keys: usize = call.get(2).context("no number of keys")?.parse()?;
        let nonce = call.get_mut(2 + keys + 12).context("no nonce")?;
        ensure!(nonce.parse::<u64>().is_ok(), "the twelfth argument is no nonce: {nonce}");
        *nonce = "1__rand_int__".to_owned();

        let (host, port) = (redis.ip().to_string(), redis.port().to_string());
        let (calls, connections) = (self.script_calls.to_string(), self.connections.to_string());
        let options =
            ["-h", &host, "-p", &port, "-n", &calls, "-c", &connections, "-r", "1000000000000", "-q"];
        let mut command = process::command(Path::new("redis-benchmark"), None);
        command.args(options).args(&call).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = Guarded::start(&mut command)?;
        let mut output = child.child().stdout.take().context("redis-benchmark has no output")?;
        let said = spawn_blocking(move || {
            let mut said = String::new();
            output.read_to_string(&mut said).map(|_| said)
        });
        let said = said.await??;
        let before = said.rsplit_once(" requests per second").map(|(before, _)| before);
        let number = before.and_then(|before| before.rsplit(' ').next()?.parse().ok());
        number.with_context(|| format!("redis-benchmark gave no figure: {said}"))
    }
}

/// Connections that publish, each in its own numbers, to a room where somebody listens.
struct Lanes<'a> {
    options: &'a Publish,
    clock: Clock,
    audience: Audience,
    publishers: Vec<Publisher>,
    latency: RefCell<Histogram<u64>>,
    /// How many messages each lane has published.
    rounds: u64,
}

const ROOM: &str = "load";

impl<'a> Lanes<'a> {
    async fn open(options: &'a Publish, target: &Target) -> Result<Self> {
        let (clock, buffer) = (Clock::start(), SharedBuffer::default());
        let lanes = options.connections as u64;
        let mut seats = Vec::new();
        for index in 0..options.receivers {
            seats.push(Seat {
                token: target.mint.token(&format!("u{index}"))?,
                room: Some(ROOM.to_owned()),
                checker: Checker::new(lanes, 0, lanes),
            });
        }
        let first = target.sockets.get(..1).context("no gateway")?;
        let audience = Audience::seat(first, seats, clock, &buffer).await?;
        let token = target.mint.token("publisher")?;
        let mut publishers = Vec::new();
        for _ in 0..options.connections {
            publishers.push(Publisher::open(Via::Http, &target.publish, &token, &buffer).await?);
        }
        Ok(Self {
            options,
            clock,
            audience,
            publishers,
            latency: RefCell::new(Histogram::new_with_bounds(1, 60_000_000, 3)?),
            rounds: 0,
        })
    }

    /// Publishes for so many seconds; gives how many messages that were, and the exact time. Then the slower lanes make up for
    /// what the others are ahead, so that no number is left out.
    async fn publish(&mut self, seconds: f64) -> Result<(u64, f64)> {
        let (began, end, before) = (Instant::now(), Duration::from_secs_f64(seconds), self.rounds);
        let (furthest, counted) = (Cell::new(before), Cell::new(0_u64));
        let (furthest, counted) = (&furthest, &counted);
        let Self { options, clock, publishers, latency, .. } = self;
        let (clock, latency, size, lanes) = (*clock, &*latency, options.size, options.connections as u64);
        let to = &To::Room(ROOM.to_owned());
        let each = publishers.iter_mut().zip(0_u64..).map(|(publisher, lane)| async move {
            let mut round = before;
            loop {
                if began.elapsed() < end {
                    furthest.set(furthest.get().max(round + 1));
                } else if round == furthest.get() {
                    return anyhow::Ok(());
                }
                let asked = Instant::now();
                let mark = Mark { seq: round * lanes + lane, published: clock.nanos(asked) };
                publisher.publish(to, &[mark], size).await?;
                round += 1;
                if began.elapsed() < end {
                    latency.borrow_mut().saturating_record(u64::try_from(asked.elapsed().as_micros())?);
                    counted.set(counted.get() + 1);
                }
            }
        });
        try_join_all(each).await?;
        self.rounds = furthest.get();
        Ok((counted.get(), seconds))
    }

    async fn verdict(&self) -> Result<crate::checker::Tally> {
        let published = self.rounds * self.options.connections as u64;
        self.audience.wait_for(published * self.options.receivers as u64).await?;
        self.audience.ledger().verdict(published)
    }
}

/// Somebody who reads what comes in a room, and does nothing with it.
async fn listen(target: &Target, room: &str, buffer: &SharedBuffer) -> Result<JoinSet<()>> {
    let endpoint = target.sockets.first().context("no gateway")?;
    let mut connection = Connection::open(endpoint, None, &target.mint.token("listener")?).await?;
    connection.send(&prebuilt(&endpoint.framing.join(room))).await?;
    connection.expect(Kind::Joined).await?;
    let buffer = buffer.clone();
    let mut listening = JoinSet::new();
    listening
        .spawn_local(async move { while let Ok(true) = connection.receive(&buffer, |_| Ok(())).await {} });
    Ok(listening)
}
