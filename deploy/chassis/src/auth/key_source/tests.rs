//! A verifier against an identity provider: a bare server on loopback that counts what it is asked.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::*;
use crate::auth::testing::{EC, ED, HS, NOW, Pair, RSA, claims};
use crate::auth::token::{Rules, TokenError};
use crate::auth::verifier::Verifier;

/// Longer than any test.
const NEVER: Duration = Duration::from_secs(3600);

/// What the identity provider answers.
#[derive(Clone)]
enum Answer {
    Set(Value),
    /// These bytes, whatever they are.
    Raw(String),
    /// The set, but only after a signal.
    Held(Value, Arc<Notify>),
}

struct Provider {
    address: String,
    requests: Arc<AtomicUsize>,
    /// The answers to come; the last one stays.
    answers: Arc<Mutex<VecDeque<Answer>>>,
    // Its tasks end with it.
    _tasks: JoinSet<()>,
}

impl Provider {
    async fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/keys?canary=1", listener.local_addr().unwrap());
        let requests = Arc::new(AtomicUsize::new(0));
        let answers = Arc::new(Mutex::new(VecDeque::from_iter(answers)));
        let mut tasks = JoinSet::new();
        let (counter, queue) = (requests.clone(), answers.clone());
        tasks.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                counter.fetch_add(1, Ordering::SeqCst);
                let mut queue = queue.lock();
                let answer = if queue.len() > 1 { queue.pop_front() } else { queue.front().cloned() };
                tokio::spawn(respond(stream, answer.unwrap()));
            }
        });
        Self { address, requests, answers, _tasks: tasks }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    fn answers_from_now_on(&self, answer: Answer) {
        *self.answers.lock() = VecDeque::from([answer]);
    }
}

async fn respond(mut stream: TcpStream, answer: Answer) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let body = |set: &Value| {
        let set = set.to_string();
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{set}", set.len())
    };
    let bytes = match answer {
        Answer::Set(set) => body(&set),
        Answer::Raw(bytes) => bytes,
        Answer::Held(set, signal) => {
            signal.notified().await;
            body(&set)
        }
    };
    let _ = stream.write_all(bytes.as_bytes()).await;
}

fn set(pairs: &[(&Pair, &str)]) -> Answer {
    Answer::Set(json!({"keys": pairs.iter().map(|(pair, id)| pair.jwk(id)).collect::<Vec<_>>()}))
}

/// A verifier whose source is run until the end of the test.
struct Running {
    verifier: Verifier,
    _task: JoinSet<()>,
}

impl Running {
    fn start(place: &str, asked_at_most_every: Duration) -> Self {
        Self::with_interval(place, asked_at_most_every, NEVER)
    }

    fn with_interval(place: &str, asked_at_most_every: Duration, every: Duration) -> Self {
        let place = Place::parse(place, false).unwrap();
        let source = KeySource::new(place, Schedule::new(every, asked_at_most_every, Instant::now()));
        let fixed = Keys::new(vec![HS.key(None)]);
        let verifier = Verifier::new(Rules::default(), fixed).with_source(source);
        let (mut task, runner) = (JoinSet::new(), verifier.clone());
        task.spawn(async move { runner.run(CancellationToken::new()).await });
        Self { verifier, _task: task }
    }

    async fn verify(&self, token: &str) -> Result<(), TokenError> {
        self.verifier.verify_or_refresh(token, NOW).await.map(drop)
    }

    /// Waits until a condition holds.
    async fn until(&self, mut holds: impl FnMut(&Verifier) -> bool) {
        let waiting = async {
            while !holds(&self.verifier) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(10), waiting).await.expect("within ten seconds");
    }
}

fn token(pair: &Pair, id: &str) -> String {
    pair.token(Some(id), &claims())
}

#[tokio::test]
async fn a_token_waits_for_the_first_fetch() {
    let provider = Provider::start([set(&[(&RSA, "r"), (&EC, "e")])]).await;
    let running = Running::start(&provider.address, NEVER);
    assert_eq!(running.verify(&token(&RSA, "r")).await, Ok(()));
    assert!(running.verifier.verify(&token(&EC, "e"), NOW).is_ok());
    assert!(running.verifier.verify(&HS.token(None, &claims()), NOW).is_ok());
    let status = running.verifier.key_set().unwrap();
    assert_eq!((status.keys, status.failed, provider.requests()), (2, false, 1));
}

#[tokio::test]
async fn an_unknown_key_is_looked_for() {
    let provider = Provider::start([set(&[(&EC, "old")]), set(&[(&EC, "old"), (&ED, "new")])]).await;
    let running = Running::start(&provider.address, Duration::ZERO);
    assert_eq!(running.verify(&token(&EC, "old")).await, Ok(()));
    assert_eq!(running.verifier.verify(&token(&ED, "new"), NOW), Err(TokenError::UnknownKey));
    assert_eq!(running.verify(&token(&ED, "new")).await, Ok(()));
    assert_eq!(provider.requests(), 2);
    // A key that is gone from the set is gone here.
    provider.answers_from_now_on(set(&[(&ED, "new")]));
    assert_eq!(running.verify(&token(&RSA, "other")).await, Err(TokenError::UnknownKey));
    assert_eq!(running.verify(&token(&EC, "old")).await, Err(TokenError::UnknownKey));
}

#[tokio::test]
async fn unknown_keys_do_not_become_a_flood() {
    let provider = Provider::start([set(&[(&EC, "e")])]).await;
    let running = Running::start(&provider.address, NEVER);
    assert_eq!(running.verify(&token(&EC, "e")).await, Ok(()));
    for id in 0..20 {
        assert_eq!(running.verify(&token(&ED, &id.to_string())).await, Err(TokenError::UnknownKey));
    }
    assert_eq!(provider.requests(), 1);
}

#[tokio::test]
async fn those_who_ask_at_once_share_one_fetch() {
    let signal = Arc::new(Notify::new());
    let after = json!({"keys": [ED.jwk("new")]});
    let provider = Provider::start([set(&[(&EC, "e")]), Answer::Held(after, signal.clone())]).await;
    let running = Running::start(&provider.address, Duration::ZERO);
    assert_eq!(running.verify(&token(&EC, "e")).await, Ok(()));
    let mut asking = JoinSet::new();
    for _ in 0..50 {
        let verifier = running.verifier.clone();
        asking.spawn(async move { verifier.verify_or_refresh(&token(&ED, "new"), NOW).await.map(drop) });
    }
    running.until(|_| provider.requests() == 2).await;
    signal.notify_one();
    while let Some(outcome) = asking.join_next().await {
        assert_eq!(outcome.unwrap(), Ok(()));
    }
    assert_eq!(provider.requests(), 2);
}

#[tokio::test]
async fn someone_who_leaves_does_not_end_the_fetch() {
    let signal = Arc::new(Notify::new());
    let after = json!({"keys": [ED.jwk("new")]});
    let provider = Provider::start([set(&[(&EC, "e")]), Answer::Held(after, signal.clone())]).await;
    let running = Running::start(&provider.address, Duration::ZERO);
    assert_eq!(running.verify(&token(&EC, "e")).await, Ok(()));
    let verifier = running.verifier.clone();
    let impatient =
        tokio::spawn(async move { verifier.verify_or_refresh(&token(&ED, "new"), NOW).await.map(drop) });
    running.until(|_| provider.requests() == 2).await;
    impatient.abort();
    signal.notify_one();
    running.until(|verifier| verifier.verify(&token(&ED, "new"), NOW).is_ok()).await;
    assert_eq!(provider.requests(), 2);
}

#[tokio::test]
async fn the_last_good_set_outlives_a_failing_source() {
    let provider = Provider::start([set(&[(&EC, "e")])]).await;
    let running = Running::start(&provider.address, Duration::ZERO);
    assert_eq!(running.verify(&token(&EC, "e")).await, Ok(()));
    let elsewhere = "http://127.0.0.1:9/keys";
    for failing in [
        Answer::Raw("HTTP/1.1 500 Oh\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned()),
        Answer::Raw(format!(
            "HTTP/1.1 302 Found\r\nlocation: {elsewhere}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        )),
        Answer::Raw("HTTP/1.1 200 OK\r\ncontent-length: 9\r\nconnection: close\r\n\r\n<html>".to_owned()),
        Answer::Raw("rubbish".to_owned()),
        Answer::Raw(String::new()),
        Answer::Set(json!({"keys": []})),
        Answer::Set(json!({"keys": [ED.jwk("new")], "pad": "x".repeat(300_000)})),
    ] {
        provider.answers_from_now_on(failing);
        assert_eq!(running.verify(&token(&ED, "new")).await, Err(TokenError::KeysUnavailable));
        let status = running.verifier.key_set().unwrap();
        assert_eq!((status.keys, status.failed), (1, true));
        assert_eq!(running.verify(&token(&EC, "e")).await, Ok(()));
    }
    provider.answers_from_now_on(set(&[(&EC, "e"), (&ED, "new")]));
    assert_eq!(running.verify(&token(&ED, "new")).await, Ok(()));
    assert!(!running.verifier.key_set().unwrap().failed);
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_given_up() {
    let provider = Provider::start([Answer::Held(json!({}), Arc::new(Notify::new()))]).await;
    let running = Running::start(&provider.address, Duration::ZERO);
    assert_eq!(running.verify(&token(&EC, "e")).await, Err(TokenError::KeysUnavailable));
    running.until(|verifier| verifier.key_set().unwrap().failed).await;
    assert_eq!(provider.requests(), 1);
}

#[tokio::test]
async fn tokens_that_no_set_can_help_cause_no_fetch() {
    let provider = Provider::start([set(&[(&EC, "e")])]).await;
    let running = Running::start(&provider.address, Duration::ZERO);
    assert_eq!(running.verify(&token(&EC, "e")).await, Ok(()));
    let mut expired = claims();
    expired["exp"] = 1.into();
    let unsigned = {
        let good = token(&ED, "new");
        let (_, rest) = good.split_once('.').unwrap();
        format!("{}.{rest}", crate::auth::testing::encode(r#"{"alg":"none","kid":"new"}"#))
    };
    for (token, expected) in [
        (
            Pair::hmac(crate::auth::Algorithm::Hs256, b"other").token(Some("new"), &claims()),
            TokenError::BadSignature,
        ),
        (
            Pair::hmac(crate::auth::Algorithm::Hs512, b"other").token(Some("new"), &claims()),
            TokenError::UnknownKey,
        ),
        (token(&RSA, "e"), TokenError::WrongAlgorithm),
        (token(&Pair::ec(), "e"), TokenError::BadSignature),
        (Pair::ec().token(None, &claims()), TokenError::BadSignature),
        (EC.token(Some("e"), &expired), TokenError::Expired),
        (unsigned, TokenError::WrongAlgorithm),
        ("a.b.c".to_owned(), TokenError::Malformed),
        (String::new(), TokenError::Missing),
    ] {
        assert_eq!(running.verify(&token).await, Err(expected));
    }
    assert_eq!(provider.requests(), 1);
}

#[tokio::test]
async fn a_set_is_read_again_regularly_and_from_files_too() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let write = |pair: &Pair, id| std::fs::write(file.path(), json!({"keys": [pair.jwk(id)]}).to_string());
    write(&EC, "e").unwrap();
    let place = file.path().to_str().unwrap();
    let running = Running::with_interval(place, NEVER, Duration::from_millis(20));
    running.until(|verifier| verifier.verify(&token(&EC, "e"), NOW).is_ok()).await;
    write(&ED, "d").unwrap();
    running.until(|verifier| verifier.verify(&token(&ED, "d"), NOW).is_ok()).await;
    assert!(running.verifier.verify(&token(&EC, "e"), NOW).is_err());
}

#[tokio::test]
async fn a_stopped_source_ends_and_shows_no_query() {
    let provider = Provider::start([set(&[(&EC, "e")])]).await;
    let source = KeySource::new(
        Place::parse(&provider.address, false).unwrap(),
        Schedule::new(NEVER, NEVER, Instant::now() + NEVER),
    );
    assert!(!format!("{source:?}").contains("canary"));
    let stop = CancellationToken::new();
    stop.cancel();
    timeout(Duration::from_secs(10), source.run(&stop)).await.unwrap();
    assert_eq!(provider.requests(), 0);
}
