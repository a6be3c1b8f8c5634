//! What tests may rely on when they start a server of their own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use switchboard_testkit::{Access, Options, Standalone, until};

/// Sends a line to the server's port and returns the answer's first line.
fn ask(redis: &Standalone, request: &str) -> String {
    answer(redis, request).unwrap_or_else(|error| format!("no answer: {error}"))
}

fn answer(redis: &Standalone, request: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(redis.address())?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(request.as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

#[tokio::test]
async fn acknowledged_writes_survive_a_kill_on_the_same_port() {
    let mut redis = Standalone::start(Options::default()).await.unwrap();
    let url = redis.url();
    assert_eq!(ask(&redis, "SET greeting hello\r\n"), "+OK");
    redis.kill().await.unwrap();
    assert!(!redis.is_running().unwrap());
    assert!(TcpStream::connect(redis.address()).is_err());
    redis.restart().await.unwrap();
    assert_eq!(redis.url(), url);
    assert_eq!(ask(&redis, "STRLEN greeting\r\n"), ":5");
}

#[tokio::test]
async fn without_append_only_a_restart_forgets_everything() {
    let options = Options { append_only: false, ..Options::default() };
    let mut redis = Standalone::start(options).await.unwrap();
    redis.command(&["SET", "greeting", "hello"]).await.unwrap();
    redis.restart().await.unwrap();
    assert_eq!(redis.command(&["GET", "greeting"]).await.unwrap(), switchboard_testkit::Reply::Nil);
}

#[tokio::test]
async fn a_paused_server_accepts_and_says_nothing_until_it_goes_on() {
    let redis = Standalone::start(Options::default()).await.unwrap();
    redis.pause().unwrap();
    let mut stream = TcpStream::connect(redis.address()).unwrap();
    stream.write_all(b"PING\r\n").unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut answer = [0; 7];
    assert!(stream.read_exact(&mut answer).is_err());
    redis.resume().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"+PONG\r\n");
}

#[tokio::test]
async fn a_paused_server_can_be_stopped() {
    let mut redis = Standalone::start(Options::default()).await.unwrap();
    redis.pause().unwrap();
    redis.stop().await.unwrap();
    assert!(!redis.is_running().unwrap());
}

#[tokio::test]
async fn a_password_keeps_strangers_out() {
    let options = Options { access: Access::Password("opensesame".to_owned()), ..Options::default() };
    let redis = Standalone::start(options).await.unwrap();
    assert_eq!(redis.url(), format!("redis://:opensesame@127.0.0.1:{}", redis.port()));
    assert!(ask(&redis, "PING\r\n").starts_with("-NOAUTH"));
    assert_eq!(ask(&redis, "AUTH opensesame\r\n"), "+OK");
    redis.command(&["PING"]).await.unwrap();
}

#[tokio::test]
async fn a_user_may_do_what_its_rules_say() {
    let rules = "~* &* +@all -flushall".to_owned();
    let access = Access::User { name: "alice".to_owned(), password: "secret".to_owned(), rules };
    let redis = Standalone::start(Options { access, ..Options::default() }).await.unwrap();
    assert_eq!(redis.url(), format!("redis://alice:secret@127.0.0.1:{}", redis.port()));
    assert!(ask(&redis, "PING\r\n").starts_with("-NOAUTH"));
    assert_eq!(ask(&redis, "AUTH alice secret\r\n"), "+OK");
    let refused = redis.command(&["ACL", "DRYRUN", "alice", "FLUSHALL"]).await.unwrap();
    assert!(refused.text().contains("no permissions"), "{refused:?}");
    redis.command(&["FLUSHALL"]).await.unwrap();
}

#[tokio::test]
async fn a_tls_server_answers_no_plain_text() {
    let redis = Standalone::start(Options { tls: true, ..Options::default() }).await.unwrap();
    assert!(redis.url().starts_with("rediss://127.0.0.1:"));
    let authority = redis.home().join("ca.pem");
    std::fs::write(&authority, redis.ca_pem().unwrap()).unwrap();
    let port = redis.port().to_string();
    let client = |tls: &[&str]| {
        let output = std::process::Command::new("redis-cli")
            .args(["-h", "127.0.0.1", "-p", &port])
            .args(tls)
            .arg("PING")
            .output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    assert_eq!(client(&["--tls", "--cacert", authority.to_str().unwrap()]), "PONG\n");
    assert_ne!(client(&[]), "PONG\n");
}

#[tokio::test]
async fn an_option_that_redis_refuses_shows_the_log() {
    let options = Options { config: vec!["no-such-directive yes".to_owned()], ..Options::default() };
    let message = format!("{:#}", Standalone::start(options).await.unwrap_err());
    assert!(message.contains("no-such-directive"), "{message}");
}

#[tokio::test]
async fn a_missing_program_says_how_to_install_it() {
    let options = Options { program: "no-such-redis-server".into(), ..Options::default() };
    let message = format!("{:#}", Standalone::start(options).await.unwrap_err());
    assert!(message.contains("apt-get install redis-server"), "{message}");
}

#[tokio::test]
async fn dropping_a_server_leaves_nothing_behind() {
    let redis = Standalone::start(Options::default()).await.unwrap();
    let (home, address) = (redis.home().to_owned(), redis.address());
    drop(redis);
    assert!(!home.exists());
    until("nobody listens", Duration::from_secs(5), || async { Ok(TcpStream::connect(address).is_err()) })
        .await
        .unwrap();
}

#[tokio::test]
async fn a_server_can_be_started_by_a_spawned_task() {
    let redis = tokio::spawn(Standalone::start(Options::default())).await.unwrap().unwrap();
    assert_eq!(redis.info("role").await.unwrap(), "master");
}
