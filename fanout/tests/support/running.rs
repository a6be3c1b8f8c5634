//! The real process.

use std::process::Stdio;
use std::time::Duration;

use reqwest::Client;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

const LONG: Duration = Duration::from_secs(30);

pub struct Running {
    child: Child,
    /// Kept open: a process whose log nobody reads would fail to write it.
    _log: Lines<BufReader<ChildStdout>>,
    pub url: String,
    pub client: Client,
}

pub fn fanout(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanout"));
    command.args(args).env_clear().env("JWT_SECRET", super::secret()).kill_on_drop(true);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Running {
    pub async fn start(redis: &str, args: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = fanout(&["--redis", redis, "--listen=127.0.0.1:0", "--drain-delay=0s"]);
        let mut child = command.args(args).envs(variables.iter().copied()).spawn().unwrap();
        let mut log = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = loop {
            let line = log.next_line().await.unwrap().unwrap();
            let line: Value = serde_json::from_str(&line).unwrap();
            if line["message"] == "listening" {
                break line["address"].as_str().unwrap().to_owned();
            }
        };
        Self { child, _log: log, url: format!("http://{address}"), client: Client::new() }
    }

    pub async fn publish(&self, data: u32, id: &str) -> (u16, Option<String>, Value) {
        let body = json!({"to": {"room": "lobby"}, "event": "e", "data": data, "id": id});
        let request = self.client.post(format!("{}/v1/publish", self.url)).json(&body);
        let response = request.bearer_auth(super::credential("acme")).send().await.unwrap();
        let after = response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        (response.status().as_u16(), after, response.json().await.unwrap())
    }

    pub async fn get(&self, path: &str) -> (u16, String) {
        let response = self.client.get(format!("{}{path}", self.url)).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// Sends a request that was made for [`Api`](super::Api).
    pub async fn call(&self, request: http::Request<axum::body::Body>) -> (u16, String) {
        let (head, body) = request.into_parts();
        let body = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
        let request = self.client.request(head.method, format!("{}{}", self.url, head.uri));
        let response = request.headers(head.headers).body(body).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    pub async fn stop(mut self) -> Option<i32> {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
        tokio::time::timeout(LONG, self.child.wait()).await.unwrap().unwrap().code()
    }
}
