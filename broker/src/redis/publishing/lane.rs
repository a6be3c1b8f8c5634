//! What is to be carried out at one server: calls that come together share one write, and one wait.

use std::collections::HashMap;
use std::iter::Peekable;
use std::sync::Arc;
use std::time::Duration;
use std::vec;

use proto::{Channel, Durability};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::yield_now;
use tokio::time::{Instant, timeout, timeout_at};

use super::super::commands::BUDGET;
use super::super::config::Address;
use super::super::link::connection::{Connection, Dialer, LinkError};
use super::super::link::resp::{Value, write_command};
use super::super::reply::Outcome;
use super::call::{By, Call, Writer};
use crate::Retention;
use crate::publish::patience;

/// While one connection waits for answers, calls gather for the next.
const CONNECTIONS: usize = 2;

/// How many calls share a write at most.
const TOGETHER: usize = 128;

/// How many calls may wait for a connection. More are refused.
const QUEUE: usize = 4096;

/// How much is written at a time, and how much the messages of a command have together, in bytes; or one call if that is more.
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
    pub(super) fn start(durability: Durability, dialer: &Dialer, address: &Address, writer: &Writer) -> Self {
        let (sender, jobs) = mpsc::channel(QUEUE);
        let jobs = Arc::new(Mutex::new(jobs));
        for _ in 0..CONNECTIONS {
            let (dialer, address, writer) = (dialer.clone(), address.clone(), writer.clone());
            let worker = Worker { durability, dialer, address, writer, connection: None };
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
    writer: Writer,
    connection: Option<Connection>,
}

/// Waits for jobs, and takes those that are there; nothing when there will be none.
async fn gather(queue: &mut mpsc::Receiver<Job>) -> Option<Vec<Job>> {
    let first = queue.recv().await?;
    // Whoever is about to publish as well comes along: other tasks that are ready get their turn before this one goes on.
    yield_now().await;
    let mut jobs = vec![first];
    while jobs.len() < TOGETHER
        && let Ok(job) = queue.try_recv()
    {
        jobs.push(job);
    }
    Some(jobs)
}

impl Worker {
    async fn work(mut self, queue: Arc<Mutex<mpsc::Receiver<Job>>>) {
        loop {
            let Some(mut jobs) = gather(&mut *queue.lock().await).await else { return };
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
        let (durability, writer) = (self.durability, self.writer.clone());
        let ready = timeout_at(deadline, self.ready()).await;
        match ready.unwrap_or_else(|_| Err(Miss::lost("no connection in time"))) {
            Ok(connection) => {
                if !run(connection, &writer, durability, jobs).await {
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
async fn run(
    connection: &mut Connection,
    writer: &Writer,
    durability: Durability,
    mut jobs: Vec<Job>,
) -> bool {
    let ran = timeout(BUDGET, run_scripts(connection, writer, &mut jobs)).await;
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
async fn run_scripts(
    connection: &mut Connection,
    writer: &Writer,
    jobs: &mut [Job],
) -> Result<(), LinkError> {
    exchange(connection, writer, jobs, By::Hash).await?;
    for job in &mut *jobs {
        job.said.take_if(|said| matches!(said, Err(text) if text.starts_with("NOSCRIPT")));
    }
    exchange(connection, writer, jobs, By::Text).await
}

/// Writes those calls to which nothing was said yet, and reads the answers.
async fn exchange(
    connection: &mut Connection,
    writer: &Writer,
    jobs: &mut [Job],
    by: By,
) -> Result<(), LinkError> {
    let (commands, mut out) = (together(jobs), Vec::new());
    for command in &commands {
        if command.asking {
            write_command(&mut out, [&b"ASKING"[..]].into_iter());
        }
        let mut calls = command.jobs.iter().filter_map(|at| jobs.get(*at)).map(|job| &job.call);
        if let Some(first) = calls.next() {
            writer.write(by, first, calls, &mut out);
        }
        if out.len() >= PIECE {
            connection.send(&out).await?;
            out.clear();
        }
    }
    connection.send(&out).await?;
    let mut open = Open { commands: commands.into_iter().peekable(), asking_answered: false };
    if open.is_over() { Ok(()) } else { connection.receive(|reply| open.take(reply, jobs)).await }
}

/// One command: a call, or several for the same channel that may be one.
struct Command {
    /// Which jobs it is for.
    jobs: Vec<usize>,
    /// Whether it has ASKING before it.
    asking: bool,
    /// What others must keep to join.
    shared: Option<Retention>,
    /// How many bytes its messages have.
    weight: usize,
}

/// Puts those calls together that may be one, so that the messages for each channel keep their order.
fn together(jobs: &[Job]) -> Vec<Command> {
    let mut commands: Vec<Command> = Vec::new();
    let mut latest: HashMap<&Channel, usize> = HashMap::new();
    for (at, Job { call, asking, .. }) in jobs.iter().enumerate().filter(|(_, job)| job.said.is_none()) {
        let (asking, weight) = (*asking, call.payload.len());
        let shared = call.shared().filter(|_| !asking);
        let before = latest.get(&call.channel).and_then(|at| commands.get_mut(*at));
        let fits = |before: &&mut Command| {
            shared.is_some() && before.shared == shared && before.weight + weight <= PIECE
        };
        match before.filter(fits) {
            Some(before) => {
                before.jobs.push(at);
                before.weight += weight;
            }
            None => {
                latest.insert(&call.channel, commands.len());
                commands.push(Command { jobs: vec![at], asking, shared, weight });
            }
        }
    }
    commands
}

/// The commands whose answers are to come, in the order in which they were written.
struct Open {
    commands: Peekable<vec::IntoIter<Command>>,
    /// Whether the first of them has the answer to its ASKING.
    asking_answered: bool,
}

impl Open {
    fn is_over(&mut self) -> bool {
        self.commands.peek().is_none()
    }

    /// Takes the next answer. Returns whether it was the last one.
    fn take(&mut self, reply: &Value<'_>, jobs: &mut [Job]) -> bool {
        if self.commands.peek().is_some_and(|command| command.asking) && !self.asking_answered {
            self.asking_answered = true;
        } else if let Some(command) = self.commands.next() {
            self.asking_answered = false;
            let said = read(reply);
            for (nth, at) in (0..).zip(command.jobs) {
                if let Some(job) = jobs.get_mut(at) {
                    job.said = Some(said.clone().map(|outcome| outcome.of_nth(nth, job.call.nonce)));
                }
            }
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
    let mut out = Vec::new();
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

#[cfg(test)]
mod tests {
    use super::super::call::tests::call;
    use super::*;
    use bytes::Bytes;

    fn jobs(calls: impl IntoIterator<Item = Call>) -> Vec<Job> {
        let job = |call| Job {
            call,
            asking: false,
            deadline: Instant::now(),
            said: None,
            answer: oneshot::channel().0,
        };
        calls.into_iter().map(job).collect()
    }

    fn commands(jobs: &[Job]) -> Vec<Vec<usize>> {
        together(jobs).into_iter().map(|command| command.jobs).collect()
    }

    #[tokio::test]
    async fn calls_for_a_channel_are_one_and_none_overtakes_another() {
        let again = |nonce| Call { again: true, ..call("r", nonce) };
        let longer = |mut call: Call| {
            call.retention.size += 1;
            call
        };
        assert_eq!(commands(&jobs([call("r", 1), call("s", 2), call("r", 3)])), [vec![0, 2], vec![1]]);
        assert_eq!(commands(&jobs([call("r", 1), again(2), call("r", 3)])), [[0], [1], [2]]);
        assert_eq!(commands(&jobs([call("r", 1), longer(call("r", 2)), call("r", 3)])), [[0], [1], [2]]);
        let mut asking = jobs([call("r", 1), call("r", 2), call("r", 3), call("r", 4)]);
        asking[1].asking = true;
        assert_eq!(commands(&asking), [vec![0], vec![1], vec![2, 3]]);
        asking[0].said = Some(Err("NOSCRIPT".to_owned()));
        assert_eq!(commands(&asking), [vec![1], vec![2, 3]]);
    }

    #[tokio::test]
    async fn a_command_does_not_hold_up_a_server_with_too_much() {
        let large = |nonce| Call { payload: Bytes::from(vec![b'x'; PIECE / 2]), ..call("r", nonce) };
        assert_eq!(commands(&jobs([large(1), large(2), large(3)])), [vec![0, 1], vec![2]]);
    }
}
