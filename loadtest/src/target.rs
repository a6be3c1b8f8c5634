//! What a round runs against: a floor or a server, with its processes.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::ValueEnum as _;

use crate::connection::Endpoint;
use crate::floor::Writes;
use crate::framing::Framing;
use crate::process::{self, Guarded};
use crate::publisher::Via;
use crate::token::Mint;

/// A process whose time and memory are part of the result.
#[derive(Debug, Clone)]
pub struct Watched {
    /// What it is called in the report.
    pub name: String,
    /// Its process id.
    pub pid: u32,
}

/// A place to connect and publish to. What was started for it ends with it.
pub struct Target {
    /// Where clients connect, in turn.
    pub sockets: Vec<Endpoint>,
    /// How messages go in.
    pub via: Via,
    /// Where messages go in.
    pub publish: Endpoint,
    /// Signs the clients' tokens.
    pub mint: Mint,
    /// The processes that do the work.
    pub processes: Vec<Watched>,
    /// The Redis that was started.
    pub redis: Option<SocketAddr>,
    /// From starting the process that clients connect to, to its first
    /// accepted connection.
    pub start: Option<Duration>,
    /// What was started, in the order in which it ends.
    pub started: Vec<Guarded>,
}

impl Target {
    /// What clients speak.
    #[must_use]
    pub fn framing(&self) -> Framing {
        self.sockets.first().map_or_else(Framing::default, |socket| socket.framing)
    }

    /// Starts a floor as a process of `loadtest`, kept on `processors` if any
    /// are named.
    ///
    /// # Errors
    /// It does not start.
    pub fn floor(loadtest: &Path, writes: Writes, processors: Option<&str>) -> Result<Self> {
        let mut command = process::command(loadtest, processors);
        let value = writes.to_possible_value().context("no name for the writes")?;
        command.args(["floor", "--writes", value.get_name()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = Guarded::start(&mut command)?;
        let output = child.child().stdout.take().context("the floor has no output")?;
        let mut address = String::new();
        BufReader::new(output).read_line(&mut address).context("reading the floor's address")?;
        let endpoint: Endpoint = format!("ws://{}/", address.trim()).parse()?;
        Ok(Self {
            sockets: vec![endpoint.clone()],
            via: Via::Ws,
            publish: endpoint,
            // The floor verifies nothing; the token is there for its length.
            mint: Mint::new("nobody verifies this", None),
            processes: vec![Watched { name: "floor".to_owned(), pid: child.pid() }],
            redis: None,
            start: None,
            started: vec![child],
        })
    }
}

impl Watched {
    /// Watches a process that runs already, under the name that it has.
    ///
    /// # Errors
    /// There is no such process.
    pub fn running(pid: u32) -> Result<Self> {
        Ok(Self { name: process::name_of(pid)?, pid })
    }
}
