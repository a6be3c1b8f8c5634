//! What is to be carried out at one server: calls that come together share one wait.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use super::super::commands::BUDGET;
use super::super::config::Address;
use super::super::link::connection::{Connection, Dialer, LinkError};
use super::super::link::resp::{Value, write_command};
use super::super::reply::Outcome;
use super::Level;

/// While one connection waits, calls gather for the next.
const CONNECTIONS: usize = 2;

/// How many calls share a wait at most.
const TOGETHER: usize = 128;

/// How many calls may wait for a connection. More are refused.
const QUEUE: usize = 4096;

/// How much longer than the server's own patience an answer may take.
const TRAVEL: Duration = Duration::from_millis(300);

/// Why a call did not come to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Miss {
    /// The server said no; nothing happened.
    Refused(String),
    /// There was no answer; it may have happened.
    Lost(String),
    /// It happened, and was not confirmed to be where it should be.
    Unconfirmed,
    /// The server cannot do that; nothing happened.
    Unsupported(&'static str),
}

impl Miss {
    pub(super) fn lost(reason: &str) -> Self {
        Self::Lost(reason.to_owned())
    }
}

/// A server's calls. Its connections end when the last clone is dropped.
#[derive(Clone)]
pub(super) struct Lane {
    jobs: mpsc::Sender<Job>,
}

struct Job {
    /// A script, as bytes for the server.
    command: Bytes,
    /// Whether the slot is only on its way to this server.
    asking: bool,
    /// Not to be begun later.
    deadline: Instant,
    answer: oneshot::Sender<Result<Outcome, Miss>>,
}

impl Job {
    fn tell(self, outcome: Result<Outcome, Miss>) {
        // Who asked may be gone.
        drop(self.answer.send(outcome));
    }
}

impl Lane {
    /// Starts the lane's tasks; they connect when there is something to do.
    pub(super) fn start(level: Level, dialer: &Dialer, address: &Address) -> Self {
        let (sender, jobs) = mpsc::channel(QUEUE);
        let jobs = Arc::new(Mutex::new(jobs));
        for _ in 0..CONNECTIONS {
            let worker = Worker { level, dialer: dialer.clone(), address: address.clone(), connection: None };
            tokio::spawn(worker.work(jobs.clone()));
        }
        Self { jobs: sender }
    }

    /// Runs a script and waits until its effect is where it should be.
    pub(super) async fn carry_out(
        &self,
        command: Bytes,
        asking: bool,
        deadline: Instant,
    ) -> Result<Outcome, Miss> {
        let (answer, answered) = oneshot::channel();
        let job = Job { command, asking, deadline, answer };
        self.jobs.try_send(job).map_err(|_| Miss::lost("too many publishes wait to be confirmed"))?;
        answered.await.unwrap_or_else(|_| Err(Miss::lost("the connection is closed")))
    }
}

/// One connection, made when it is needed.
struct Worker {
    level: Level,
    dialer: Dialer,
    address: Address,
    connection: Option<Connection>,
}

impl Worker {
    async fn work(mut self, queue: Arc<Mutex<mpsc::Receiver<Job>>>) {
        loop {
            let mut jobs = Vec::new();
            if queue.lock().await.recv_many(&mut jobs, TOGETHER).await == 0 {
                return;
            }
            let now = Instant::now();
            // Of those whose callers are gone, and those that nobody would see the end of, nothing is begun.
            let late = jobs.extract_if(.., |job| job.answer.is_closed() || job.deadline <= now);
            late.for_each(|job| job.tell(Err(Miss::lost("its turn did not come in time"))));
            if let Some(first) = jobs.iter().map(|job| job.deadline).min() {
                self.carry_out(jobs, first).await;
            }
        }
    }

    async fn carry_out(&mut self, jobs: Vec<Job>, deadline: Instant) {
        let level = self.level;
        let ready = timeout_at(deadline, self.ready()).await;
        match ready.unwrap_or_else(|_| Err(Miss::lost("no connection in time"))) {
            Ok(connection) => {
                if !run(connection, level, jobs).await {
                    self.connection = None;
                }
            }
            Err(miss) => jobs.into_iter().for_each(|job| job.tell(Err(miss.clone()))),
        }
    }

    /// A connection to a server that can do what is asked for.
    async fn ready(&mut self) -> Result<&mut Connection, Miss> {
        if self.connection.is_none() {
            let lost = |error: LinkError| Miss::Lost(error.to_string());
            let mut connection = self.dialer.dial(&self.address).await.map_err(lost)?;
            // Asked before anything is stored: an answer that says no must mean that nothing happened.
            match connection.ask(probe(self.level), |_| ()).await {
                Ok(()) => self.connection = Some(connection),
                Err(LinkError::Refused(text)) => {
                    return Err(cannot(&text).map_or(Miss::Lost(text), Miss::Unsupported));
                }
                Err(error) => return Err(lost(error)),
            }
        }
        self.connection.as_mut().ok_or_else(|| Miss::lost("no connection"))
    }
}

/// A wait that is over at once, to see whether the server knows it.
const fn probe(level: Level) -> &'static [&'static [u8]] {
    match level {
        Level::Replica => &[b"WAIT", b"0", b"1"],
        Level::Fsync => &[b"WAITAOF", b"1", b"0", b"1"],
    }
}

/// What it is that a server cannot do; `None` if it only cannot do it now.
fn cannot(error: &str) -> Option<&'static str> {
    if error.starts_with("NOPERM") {
        Some("this user of Redis may not give the commands WAIT and WAITAOF")
    } else if error.starts_with("ERR unknown command") {
        Some("this Redis has no WAITAOF, which came with version 7.2")
    } else if error.contains("appendonly") {
        Some("this Redis writes no append-only file")
    } else {
        None
    }
}

/// Runs the scripts of some calls, waits for all of them at once, and tells each what came of it. Returns whether the
/// connection is one to go on with.
async fn run(connection: &mut Connection, level: Level, jobs: Vec<Job>) -> bool {
    let mut answers = Vec::with_capacity(jobs.len());
    let ran = timeout(BUDGET, run_scripts(connection, &jobs, &mut answers)).await;
    let broken = ran.unwrap_or(Err(LinkError::Late)).err().map(|error| error.to_string());
    let mut answers = answers.into_iter();
    let (mut stored, mut sound) = (Vec::new(), broken.is_none());
    for job in jobs {
        match answers.next() {
            // Nothing was written, so there is nothing to wait for.
            Some(Ok(outcome @ (Outcome::Conflict | Outcome::Full | Outcome::Unmarked(_)))) => {
                job.tell(Ok(outcome));
            }
            Some(Ok(outcome)) => stored.push((job, outcome)),
            Some(Err(text)) => {
                // A primary that is none any more is left.
                sound &= !text.starts_with("READONLY");
                job.tell(Err(Miss::Refused(text)));
            }
            None => job.tell(Err(Miss::lost(broken.as_deref().unwrap_or("no answer")))),
        }
    }
    if stored.is_empty() {
        return sound;
    }
    let confirmed = sound && wait(connection, level).await;
    for (job, outcome) in stored {
        job.tell(if confirmed { Ok(outcome) } else { Err(Miss::Unconfirmed) });
    }
    confirmed
}

async fn run_scripts(
    connection: &mut Connection,
    jobs: &[Job],
    answers: &mut Vec<Result<Outcome, String>>,
) -> Result<(), LinkError> {
    let mut out = BytesMut::new();
    // Of each answer, whether it is to a script.
    let mut scripts = Vec::with_capacity(jobs.len());
    for job in jobs {
        if job.asking {
            write_command(&mut out, [&b"ASKING"[..]].into_iter());
            scripts.push(false);
        }
        out.extend_from_slice(&job.command);
        scripts.push(true);
    }
    let mut scripts = scripts.into_iter();
    let take = |reply: &Value<'_>| {
        if scripts.next() == Some(true) {
            answers.push(answer(reply));
        }
        scripts.len() == 0
    };
    connection.exchange(&out, take).await
}

/// Waits until what this connection wrote is where it should be.
async fn wait(connection: &mut Connection, level: Level) -> bool {
    let mut out = BytesMut::new();
    let patience = level.patience().as_millis().to_string();
    match level {
        Level::Replica => write_command(&mut out, [b"WAIT", &b"1"[..], patience.as_bytes()].into_iter()),
        Level::Fsync => {
            write_command(&mut out, [b"WAITAOF", &b"1"[..], b"0", patience.as_bytes()].into_iter());
        }
    }
    let mut met = false;
    let waiting = connection.exchange(&out, |reply| {
        met = is_met(level, reply);
        true
    });
    let waited = timeout(level.patience() + TRAVEL, waiting).await;
    matches!(waited, Ok(Ok(()))) && met
}

fn answer(reply: &Value<'_>) -> Result<Outcome, String> {
    match reply {
        Value::Error(text) => Err(String::from_utf8_lossy(text).into_owned()),
        reply => Outcome::read(reply).ok_or_else(|| "an answer is not what the scripts give".to_owned()),
    }
}

/// Whether enough confirmed it: of WAIT the number of replicas, of WAITAOF that of local files first.
fn is_met(level: Level, reply: &Value<'_>) -> bool {
    let count = match level {
        Level::Replica => reply.integer(),
        Level::Fsync => reply.array().and_then(|counts| counts.first()?.integer()),
    };
    count.is_some_and(|count| count >= 1)
}
