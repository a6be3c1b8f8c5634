//! A real process, its listeners, and real signals. The tests start their own binary again as that process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use switchboard_chassis::options::{Kind, OptionSpec};
use switchboard_chassis::process::{self, Process, Program};

const ARGS: &str = "CHASSIS_TEST_ARGS";
const LONG: Duration = Duration::from_secs(20);

const PROGRAM: Program = Program {
    name: "sample",
    about: "A program.",
    options: &[&[OptionSpec { key: "color", kind: Kind::Text, default: "red", help: "Which." }]],
};

/// The process under test; does nothing unless a test asked for it.
#[test]
fn process() {
    let Ok(args) = std::env::var(ARGS) else { return };
    // The harness has not ended its line.
    println!();
    let configure = |options: &switchboard_chassis::options::Loaded| match options.origin("color") {
        switchboard_chassis::options::Origin::Default => Ok(()),
        _ => Err(options.wrong("color", "is taken")),
    };
    let code =
        process::run(&PROGRAM, std::iter::once("sample").chain(args.split_whitespace()), configure, serve);
    println!("ended with {code:?}");
}

async fn serve((): (), process: Process) -> anyhow::Result<()> {
    let server = process.bind(process.operations()?)?;
    println!("serving {} {}", server.address(), server.ops_address());
    process.lifecycle.serve();
    let slow = async || {
        tokio::time::sleep(Duration::from_millis(300)).await;
        "late"
    };
    let never = async || {
        println!("entered");
        std::future::pending::<()>().await;
    };
    let router = Router::new().route("/slow", get(slow)).route("/never", get(never));
    server.serve(router, std::future::ready(())).await;
    Ok(())
}

struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

fn start(args: &str) -> Running {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "process", "--nocapture", "--test-threads=1"])
        .env(ARGS, args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    Running { child, stdout }
}

impl Running {
    /// Reads to the first line that begins so, and answers its rest.
    fn line(&mut self, start: &str) -> String {
        let mut seen = String::new();
        for line in self.stdout.by_ref().lines() {
            let line = line.unwrap();
            if let Some(rest) = line.strip_prefix(start) {
                return rest.trim().to_owned();
            }
            seen.push_str(&line);
            seen.push('\n');
        }
        panic!("no line begins with {start:?}:\n{seen}");
    }

    fn addresses(&mut self) -> (SocketAddr, SocketAddr) {
        let line = self.line("serving ");
        let (main, ops) = line.split_once(' ').unwrap();
        (main.parse().unwrap(), ops.parse().unwrap())
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn errors(&mut self) -> String {
        let mut text = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn send(address: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
    stream
}

fn answer(mut stream: TcpStream) -> (u16, String) {
    let mut text = String::new();
    _ = stream.read_to_string(&mut text);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    (status, body.to_owned())
}

fn ask(address: SocketAddr, path: &str) -> (u16, String) {
    answer(send(address, path))
}

#[test]
fn a_process_that_is_told_to_terminate_says_so_finishes_and_ends_well() {
    let flags = "--listen=127.0.0.1:0 --ops-listen=127.0.0.1:0 --log-format=json --drain-delay=2s";
    let mut running = start(flags);
    let (main, ops) = running.addresses();
    assert_ne!(main, ops);
    assert_eq!(ask(ops, "/readyz").0, 200);
    assert_eq!(ask(main, "/readyz").0, 404);
    let status: Value = serde_json::from_str(&ask(ops, "/status").1).unwrap();
    assert_eq!(status["role"], "sample");

    let busy = send(main, "/slow");
    running.signal(Signal::TERM);
    let line: Value = serde_json::from_str(&format!("{{{}", running.line("{").trim())).unwrap();
    assert!(line["node"].is_string(), "{line}");
    while ask(ops, "/readyz").0 == 200 {}
    assert_eq!(ask(main, "/slow").0, 200, "whoever comes while it is leaving is served");
    assert_eq!(answer(busy), (200, "late".to_owned()));
    assert_eq!(running.line("ended with "), format!("{:?}", std::process::ExitCode::SUCCESS));
    assert!(TcpStream::connect(main).is_err());
}

#[test]
fn a_connection_that_could_go_on_ends_with_its_next_answer_once_the_process_leaves() {
    let mut running = start("--listen=127.0.0.1:0 --log-level=off --drain-delay=20s");
    let (main, _) = running.addresses();
    let mut stream = TcpStream::connect(main).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
    stream.write_all(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let head: Vec<_> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
    assert!(!head.is_empty() && !head.iter().any(|line| line == "connection: close"), "{head:?}");

    running.signal(Signal::TERM);
    while ask(main, "/readyz").0 == 200 {}
    stream.write_all(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let rest: Vec<_> = lines.collect();
    assert!(rest.iter().any(|line| line == "connection: close"), "{rest:?}");
    assert_eq!(rest.last().map(String::as_str), Some("late"));
}

#[test]
fn a_second_signal_ends_it_at_once_and_what_is_left_is_cut_off() {
    let mut running = start("--listen=127.0.0.1:0 --log-level=off");
    let (main, _) = running.addresses();
    let stuck = send(main, "/never");
    running.line("entered");
    running.signal(Signal::TERM);
    while ask(main, "/readyz").0 == 200 {}
    running.signal(Signal::TERM);
    assert_eq!(answer(stuck).0, 0);
    assert_eq!(running.line("ended with "), format!("{:?}", std::process::ExitCode::SUCCESS));
}

#[test]
fn wrong_options_end_it_with_their_names_and_code_2() {
    let code = format!("{:?}", std::process::ExitCode::from(2));
    for (flags, key) in [
        ("--listen=nowhere", "listen: "),
        ("--listener-backlog=0", "listener.backlog: "),
        ("--log-level=a=b", "log.level: "),
        ("--color=blue --check", "color: is taken (in the flag --color)"),
        ("--colour=blue", "--colour"),
    ] {
        let mut running = start(flags);
        assert_eq!(running.line("ended with "), code, "{flags}");
        let errors = running.errors();
        assert!(errors.contains("error: ") && errors.contains(key), "{flags}: {errors}");
    }
}

#[test]
fn a_check_tells_that_the_configuration_is_right_and_starts_nothing() {
    let mut running = start("--check --listen=127.0.0.1:1");
    running.line("the configuration is right");
    assert_eq!(running.line("ended with "), format!("{:?}", std::process::ExitCode::SUCCESS));
}

#[test]
fn an_address_that_is_taken_is_named_and_ends_it_with_code_1() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let mut running = start(&format!("--listen={address} --log-format=json --log-level=error"));
    let line = running.line("{\"time\":");
    assert!(
        line.contains(&format!("cannot listen on {address} (option listen): Address already in use")),
        "{line}"
    );
    assert_eq!(running.line("ended with "), format!("{:?}", std::process::ExitCode::FAILURE));
}
