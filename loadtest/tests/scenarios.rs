//! Every scenario, small, with the program itself: against floors, against a
//! fake server that it attaches to, and against programs that it starts.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod fake;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use fake::{Fake, SECRET};
use serde_json::Value;
use tempfile::TempDir;

const LOADTEST: &str = env!("CARGO_BIN_EXE_loadtest");

const IDLE: &[&str] = &["idle", "--connections", "50", "--rooms", "7", "--seconds", "0.1"];
const FANOUT: &[&str] = &["fanout", "--receivers", "50", "--seconds", "0.2"];
const FANOUT_EIGHT: &[&str] = &["fanout", "--receivers", "50", "--seconds", "0.2", "--in-flight", "8"];
const FANOUT_PACED: &[&str] = &["fanout", "--receivers", "50", "--seconds", "0.2", "--rate", "50"];
const USERS: &[&str] = &["users", "--users", "50", "--rate", "400", "--seconds", "0.5"];
const CHURN: &[&str] = &["churn", "--at-once", "5", "--users", "50", "--seconds", "0.2"];

/// Runs one scenario and gives its report.
fn report(scenario: &[&str], options: &[&str]) -> Value {
    let output = run(scenario, options);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn run(scenario: &[&str], options: &[&str]) -> Output {
    let mut command = Command::new(LOADTEST);
    command.args(scenario).args(options).arg("--json");
    if !options.contains(&"--rounds") {
        command.args(["--rounds", "1"]);
    }
    command.env("JWT_SECRET", SECRET).output().unwrap()
}

/// Every round found this figure above zero.
fn found(subject: &Value, figure: &str) -> bool {
    let rounds = subject["rounds"].as_array().unwrap();
    rounds.iter().all(|round| round["figures"][figure].as_f64().is_some_and(|is| is > 0.0))
}

fn names(report: &Value) -> Vec<&str> {
    report["subjects"].as_array().unwrap().iter().map(|subject| subject["name"].as_str().unwrap()).collect()
}

#[test]
fn without_a_server_each_scenario_measures_its_floors() {
    for (scenario, figure, both_floors) in [
        (IDLE, "connects_per_second", false),
        (FANOUT, "per_second", true),
        (FANOUT_EIGHT, "p99_milliseconds", true),
        (FANOUT_PACED, "per_second", true),
        (USERS, "p50_milliseconds", false),
        (CHURN, "per_second", false),
    ] {
        let report = report(scenario, &[]);
        assert_eq!(names(&report)[0], "floor");
        assert_eq!(names(&report).len(), if both_floors { 2 } else { 1 });
        for floor in report["subjects"].as_array().unwrap() {
            assert!(found(floor, figure), "{scenario:?}: {floor}");
            assert_eq!(floor["tally"]["lost"], 0);
            assert_eq!(floor["tally"]["correct"].as_u64().unwrap() > 0, scenario != CHURN);
        }
    }
}

#[test]
fn a_closed_loop_delivers_whole_bursts_to_everyone() {
    let report = report(FANOUT_EIGHT, &[]);
    for floor in report["subjects"].as_array().unwrap() {
        assert_eq!(floor["tally"]["correct"].as_u64().unwrap() % (8 * 50), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_is_measured_beside_its_floors() {
    let fake = Fake::start(None).await;
    let url = format!("ws://{}/ws", fake.address);
    let me = std::process::id().to_string();
    let reports = tokio::task::spawn_blocking(move || {
        let attach = ["--url", &url, "--pid", &me];
        let over_http = ["--url", &url, "--pid", &me, "--via", "http"];
        [
            report(IDLE, &attach),
            report(FANOUT_EIGHT, &attach),
            report(FANOUT_EIGHT, &over_http),
            report(USERS, &attach),
            report(CHURN, &attach),
        ]
    });
    for report in reports.await.unwrap() {
        assert_eq!(names(&report).last(), Some(&"server"));
        let server = report["subjects"].as_array().unwrap().last().unwrap();
        assert_eq!(server["tally"]["lost"], 0);
        assert!(!server["ratios"]["floor"].as_object().unwrap().is_empty(), "{server}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_spoken_to_over_socketio() {
    let fake = Fake::start(None).await;
    let url = format!("ws://{}/socket.io/", fake.address);
    let reports = tokio::task::spawn_blocking(move || {
        let attach = ["--url", &url, "--framing", "socketio"];
        [IDLE, FANOUT_EIGHT, USERS, CHURN].map(|scenario| report(scenario, &attach))
    });
    for report in reports.await.unwrap() {
        let server = report["subjects"].as_array().unwrap().last().unwrap();
        assert_eq!(server["tally"]["lost"], 0);
        assert_eq!(report["server"]["framing"], serde_json::json!(["socketio"]));
    }
}

const AVALANCHE: &[&str] = &["avalanche", "--connections", "50", "--rooms", "7"];
const JITTER: &[&str] =
    &["jitter", "--receivers", "50", "--rate", "20", "--cut-every", "1", "--seconds", "2"];

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_come_back_to_their_sessions_have_everything_once() {
    let fake = Fake::start(None).await;
    let url = format!("ws://{}/socket.io/", fake.address);
    let reports = tokio::task::spawn_blocking(move || {
        [AVALANCHE, JITTER].map(|scenario| report(scenario, &["--url", &url]))
    });
    let [avalanche, jitter] = reports.await.unwrap();
    let (avalanche, jitter) = (&avalanche["subjects"][0], &jitter["subjects"][0]);
    assert_eq!(avalanche["tally"]["correct"], 3 * 50);
    assert_eq!(avalanche["figures"]["cuts"], 50.0);
    assert!(jitter["figures"]["cuts"].as_f64().unwrap() > 0.0);
    for server in [avalanche, jitter] {
        assert_eq!(server["figures"]["back_percent"], 100.0);
        assert_eq!(server["figures"]["recovered_percent"], 100.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_forgets_sessions_fails_the_run() {
    let fake = Fake::start_forgetful().await;
    let url = format!("ws://{}/socket.io/", fake.address);
    // Nobody waits long for what is lost with the sessions.
    let output = tokio::task::spawn_blocking(move || run(AVALANCHE, &["--patience", "5", "--url", &url]));
    let output = output.await.unwrap();
    assert!(!output.status.success());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["subjects"][0]["tally"]["unrecovered"], 50);
    assert_eq!(report["subjects"][0]["tally"]["lost"], 50);
    assert_eq!(report["subjects"][0]["figures"]["back_percent"], 100.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_loses_messages_fails_the_run() {
    let fake = Fake::start(Some(10)).await;
    let url = format!("ws://{}/ws", fake.address);
    let output = tokio::task::spawn_blocking(move || run(IDLE, &["--url", &url]));
    let output = output.await.unwrap();
    assert!(!output.status.success());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["subjects"][1]["tally"]["lost"], 5);
    assert_eq!(report["subjects"][1]["tally"]["correct"], 45);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_in_over_http_is_measured_and_followed_to_its_receivers() {
    const PUBLISH: &[&str] = &["publish", "--connections", "7", "--receivers", "2", "--seconds", "0.3"];
    const WEBHOOK: &[&str] =
        &["webhook", "--rate", "100", "--senders", "3", "--receivers", "2", "--seconds", "0.5"];
    let fake = Fake::start(None).await;
    let url = format!("ws://{}/ws", fake.address);
    let reports = tokio::task::spawn_blocking(move || {
        [PUBLISH, WEBHOOK].map(|scenario| report(scenario, &["--url", &url]))
    });
    let [publish, webhook] = reports.await.unwrap();
    for report in [&publish, &webhook] {
        let server = &report["subjects"][0];
        assert!(found(server, "per_second") && found(server, "p99_milliseconds"), "{server}");
        assert_eq!(server["tally"]["lost"], 0);
    }
    // Each connection publishes as many, and each receiver has all.
    assert_eq!(publish["subjects"][0]["tally"]["correct"].as_u64().unwrap() % (7 * 2), 0);
    assert_eq!(webhook["subjects"][0]["tally"]["correct"], (12 + 51) * 2);
}

#[test]
fn what_has_no_floor_needs_a_server() {
    for scenario in ["publish", "webhook", "avalanche"] {
        let output = run(&[scenario], &[]);
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("needs a server"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_is_told_and_not_shown() {
    let fake = Fake::start(None).await;
    let url = format!("ws://{}/ws", fake.address);
    let mut command = Command::new(LOADTEST);
    command.args(CHURN).args(["--rounds", "1", "--url", &url]).env("JWT_SECRET", "another secret");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("401") && !said.contains("eyJ") && !said.contains("another secret"), "{said}");
}

/// A program that takes a server's options and serves the floor.
fn disguise(path: &Path, arguments: &str) {
    fs::write(path, format!("#!/bin/sh\nexec '{LOADTEST}' floor {arguments}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_server_is_started_for_each_round_and_stopped_after_it() {
    let home = TempDir::new().unwrap();
    let program = home.path().join("standalone");
    disguise(&program, r#"--listen "$2""#);
    let log = home.path().join("log");
    let start = ["--server", program.to_str().unwrap(), "--rounds", "2", "--via", "ws"];
    let keep = ["--server-log", log.to_str().unwrap()];
    let report = report(FANOUT, &[&start[..], &keep[..]].concat());
    let server = &report["subjects"][2];
    assert!(found(server, "start_milliseconds"));
    // One address a round: the floor prints where it listens.
    assert_eq!(fs::read_to_string(&log).unwrap().lines().count(), 2);
    for address in fs::read_to_string(&log).unwrap().lines() {
        assert!(std::net::TcpStream::connect(address).is_err(), "{address} still listens");
    }
}

#[test]
fn a_run_that_is_terminated_stops_what_it_started() {
    let waiting = ["idle", "--connections", "5", "--seconds", "60"];
    let mut run = Command::new(LOADTEST).args(waiting).stderr(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let floor = loop {
        assert!(Instant::now() < deadline, "no floor was started");
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", run.id())).unwrap();
        if let Some(child) = children.split_whitespace().next() {
            break format!("/proc/{child}");
        }
        std::thread::yield_now();
    };
    let kill = Command::new("sh").args(["-c", &format!("kill -TERM {}", run.id())]).status().unwrap();
    assert!(kill.success());
    assert!(!run.wait().unwrap().success());
    // Who takes up orphans may need a moment to notice that this one has ended.
    while Path::new(&floor).exists() {
        assert!(Instant::now() < deadline, "{floor} outlives its run");
        std::thread::yield_now();
    }
}

#[test]
fn a_cluster_is_measured_process_by_process() {
    let home = TempDir::new().unwrap();
    for program in ["gateway", "fanout"] {
        disguise(&home.path().join(program), r#"--listen "$2""#);
    }
    disguise(&home.path().join("redis-server"), r#"--listen "127.0.0.1:$2""#);
    let mut command = Command::new(LOADTEST);
    command.args(USERS).args(["--via", "ws", "--json", "--rounds", "1", "--cluster"]).arg(home.path());
    let path = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{}:{path}", home.path().display()));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let processes = report["subjects"][1]["processes"].as_object().unwrap();
    assert_eq!(processes.keys().collect::<Vec<_>>(), ["fanout", "gateway", "redis-server"]);
}

#[test]
fn a_program_that_ends_at_once_is_told() {
    let output = run(FANOUT, &["--server", "/bin/false"]);
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("ended at once") && said.contains("--server-log"), "{said}");
}
