//! What is to be carried out at one server: calls that come together share one write, and one wait.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use proto::Durability;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use super::super::commands::BUDGET;
use super::super::config::Address;
use super::super::link::connection::{Connection, Dialer, LinkError};
use super::super::link::resp::{Value, write_command};
use super::super::reply::Outcome;
use super::call::Call;
use crate::publish::patience;

/// While one connection waits for answers, calls gather for the next.
const CONNECTIONS: usize = 2;

/// How many calls share a write at most.
const TOGETHER: usize = 128;

/// How many calls may wait for a connection. More are refused.
const QUEUE: usize = 4096;

/// How much is written at a time, in bytes, or one call if that is more.
const PIECE: usize = 64 << 10;

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
    call: Call,
    /// Whether the slot is only on its way to this server.
    asking: bool,
    /// Not to be begun later.
    deadline: Instant,
    /// What the server said to it, if anything yet.
    said: Option<Result<Outcome, String>>,
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
    pub(super) fn start(durability: Durability, dialer: &Dialer, address: &Address) -> Self {
        let (sender, jobs) = mpsc::channel(QUEUE);
        let jobs = Arc::new(Mutex::new(jobs));
        for _ in 0..CONNECTIONS {
            let worker =
                Worker { durability, dialer: dialer.clone(), address: address.clone(), connection: None };
            tokio::spawn(worker.work(jobs.clone()));
        }
        Self { jobs: sender }
    }

    /// Runs a script and waits until its effect is where it should be.
    pub(super) async fn carry_out(
        &self,
        call: Call,
        asking: bool,
        deadline: Instant,
    ) -> Result<Outcome, Miss> {
        let (answer, answered) = oneshot::channel();
        let job = Job { call, asking, deadline, said: None, answer };
        self.jobs.try_send(job).map_err(|_| Miss::lost("too many publishes wait for their turn"))?;
        answered.await.unwrap_or_else(|_| Err(Miss::lost("the connection is closed")))
    }
}

/// One connection, made when it is needed.
struct Worker {
    durability: Durability,
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
        let durability = self.durability;
        let ready = timeout_at(deadline, self.ready()).await;
        match ready.unwrap_or_else(|_| Err(Miss::lost("no connection in time"))) {
            Ok(connection) => {
                if !run(connection, durability, jobs).await {
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
            if let Some(probe) = probe(self.durability) {
                match connection.ask(probe, |_| ()).await {
                    Ok(()) => {}
                    Err(LinkError::Refused(text)) => {
                        return Err(cannot(&text).map_or(Miss::Lost(text), Miss::Unsupported));
                    }
                    Err(error) => return Err(lost(error)),
                }
            }
            self.connection = Some(connection);
        }
        self.connection.as_mut().ok_or_else(|| Miss::lost("no connection"))
    }
}

/// A wait that is over at once, to see whether the server knows it; nothing where there is nothing to wait for.
const fn probe(durability: Durability) -> Option<&'static [&'static [u8]]> {
    match durability {
        Durability::Memory => None,
        Durability::Replica => Some(&[b"WAIT", b"0", b"1"]),
        Durability::Fsync => Some(&[b"WAITAOF", b"1", b"0", b"1"]),
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
async fn run(connection: &mut Connection, durability: Durability, mut jobs: Vec<Job>) -> bool {
    let ran = timeout(BUDGET, run_scripts(connection, &mut jobs)).await;
    let broken = ran.unwrap_or(Err(LinkError::Late)).err().map(|error| error.to_string());
    let (mut stored, mut sound) = (Vec::new(), broken.is_none());
    for mut job in jobs {
        match job.said.take() {
            // Nothing was written, so there is nothing to wait for.
            Some(Ok(outcome @ (Outcome::Conflict | Outcome::Full | Outcome::Unmarked(_)))) => {
                job.tell(Ok(outcome));
            }
            Some(Ok(outcome)) if durability == Durability::Memory => job.tell(Ok(outcome)),
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
    let confirmed = sound && wait(connection, durability).await;
    for (job, outcome) in stored {
        job.tell(if confirmed { Ok(outcome) } else { Err(Miss::Unconfirmed) });
    }
    confirmed
}

/// Runs scripts by their hashes, and those that the server does not know once more with their text.
async fn run_scripts(connection: &mut Connection, jobs: &mut [Job]) -> Result<(), LinkError> {
    exchange(connection, jobs, Call::write_with_hash).await?;
    for job in &mut *jobs {
        job.said.take_if(|said| matches!(said, Err(text) if text.starts_with("NOSCRIPT")));
    }
    exchange(connection, jobs, Call::write_with_text).await
}

/// Writes those calls to which nothing was said yet, and reads the answers.
async fn exchange(
    connection: &mut Connection,
    jobs: &mut [Job],
    write: impl Fn(&Call, &mut BytesMut),
) -> Result<(), LinkError> {
    let mut out = BytesMut::new();
    for job in jobs.iter().filter(|job| job.said.is_none()) {
        if job.asking {
            write_command(&mut out, [&b"ASKING"[..]].into_iter());
        }
        write(&job.call, &mut out);
        if out.len() >= PIECE {
            connection.send(&out).await?;
            out.clear();
        }
    }
    connection.send(&out).await?;
    let mut open = Open::new(jobs);
    if open.is_over() { Ok(()) } else { connection.receive(|reply| open.take(reply)).await }
}

/// The calls whose answers are to come, in the order in which they were written.
struct Open<'a> {
    rest: std::slice::IterMut<'a, Job>,
    first: Option<&'a mut Job>,
    /// Whether the first has an answer to ASKING before its own.
    asking: bool,
}

impl<'a> Open<'a> {
    fn new(jobs: &'a mut [Job]) -> Self {
        let mut open = Self { rest: jobs.iter_mut(), first: None, asking: false };
        open.advance();
        open
    }

    fn advance(&mut self) {
        self.first = self.rest.find(|job| job.said.is_none());
        self.asking = self.first.as_ref().is_some_and(|job| job.asking);
    }

    const fn is_over(&self) -> bool {
        self.first.is_none()
    }

    /// Takes the next answer. Returns whether it was the last one.
    fn take(&mut self, reply: &Value<'_>) -> bool {
        if self.asking {
            self.asking = false;
        } else if let Some(job) = &mut self.first {
            job.said = Some(read(reply));
            self.advance();
        }
        self.is_over()
    }
}

fn read(reply: &Value<'_>) -> Result<Outcome, String> {
    match reply {
        Value::Error(text) => Err(String::from_utf8_lossy(text).into_owned()),
        reply => Outcome::read(reply).ok_or_else(|| "an answer is not what the scripts give".to_owned()),
    }
}

/// Waits until what this connection wrote is where it should be.
async fn wait(connection: &mut Connection, durability: Durability) -> bool {
    let time = patience(durability);
    let millis = time.as_millis().to_string();
    let command: &[&[u8]] = match durability {
        Durability::Memory => return true,
        Durability::Replica => &[b"WAIT", b"1", millis.as_bytes()],
        Durability::Fsync => &[b"WAITAOF", b"1", b"0", millis.as_bytes()],
    };
    let mut out = BytesMut::new();
    write_command(&mut out, command.iter().copied());
    let mut met = false;
    let waiting = connection.exchange(&out, |reply| {
        met = is_met(durability, reply);
        true
    });
    let waited = timeout(time + TRAVEL, waiting).await;
    matches!(waited, Ok(Ok(()))) && met
}

/// Whether enough confirmed it: of WAIT the number of replicas, of WAITAOF that of local files first.
fn is_met(durability: Durability, reply: &Value<'_>) -> bool {
    let count = match durability {
        Durability::Memory => return true,
        Durability::Replica => reply.integer(),
        Durability::Fsync => reply.array().and_then(|counts| counts.first()?.integer()),
    };
    count.is_some_and(|count| count >= 1)
}
