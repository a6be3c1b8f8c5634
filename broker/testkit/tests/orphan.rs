//! What is left when a test process dies without running its destructors.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use switchboard_testkit::{Options, Standalone, until};

/// Makes `victim` the process that is killed, instead of a test that has nothing to do.
const ROLE: &str = "TESTKIT_VICTIM";

#[tokio::test]
async fn victim() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    let redis = Standalone::start(Options::default()).await.unwrap();
    redis.pause().unwrap();
    println!("\nvictim {} {}", redis.address(), redis.home().display());
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_killed_test_process_leaves_no_server_and_no_directory() {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "victim", "--nocapture"])
        .env(ROLE, "")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines().map_while(Result::ok);
    let started = lines.find_map(|line| line.strip_prefix("victim ").map(str::to_owned));
    victim.kill().unwrap();
    victim.wait().unwrap();

    let started = started.unwrap();
    let (address, home) = started.split_once(' ').unwrap();
    assert!(home.contains("redis-"), "{home}");
    until("nobody listens", Duration::from_secs(10), || async { Ok(TcpStream::connect(address).is_err()) })
        .await
        .unwrap();
    until("the directory is gone", Duration::from_secs(10), || async { Ok(!Path::new(home).exists()) })
        .await
        .unwrap();
}
