//! A child process that does not outlive the test.

use std::ffi::OsStr;
use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::poll::until;

/// How long a process may take to die of a signal, with a loaded machine in mind.
const DEATH: Duration = Duration::from_secs(10);

/// Waits for the end of the test process, however it comes, which closes the pipe; then removes what a destructor
/// would have removed. It ignores the signals that a terminal sends to all processes of the test at once.
const GUARDIAN: &str = r#"trap "" INT TERM HUP; read -r _; kill -9 "$1"; rm -rf -- "$2""#;

/// A running server, killed on drop.
#[derive(Debug)]
pub(crate) struct Process {
    server: Child,
    guardian: Child,
}

impl Process {
    /// Starts `program` in `home`, which also goes when the test process dies. Output is appended to `log`.
    pub(crate) fn start(program: &Path, arguments: &[&OsStr], home: &Path, log: &Path) -> Result<Self> {
        let log = File::options().create(true).append(true).open(log)?;
        let spawned = Command::new(program)
            .args(arguments)
            .current_dir(home)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn();
        let mut server = match spawned {
            Ok(server) => server,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                bail!("{} is not installed: apt-get install redis-server", program.display())
            }
            Err(error) => return Err(error).with_context(|| format!("cannot start {}", program.display())),
        };
        match guard(server.id(), home) {
            Ok(guardian) => Ok(Self { server, guardian }),
            Err(error) => {
                end(&mut server);
                Err(error)
            }
        }
    }

    /// Sends a signal by its name without `SIG`.
    pub(crate) fn signal(&self, name: &str) -> Result<()> {
        // The shell's own `kill` is there on every system, the program is not.
        let status = Command::new("sh")
            .args(["-c", r#"kill -s "$1" "$2""#, "kill", name, &self.server.id().to_string()])
            .status()?;
        ensure!(status.success(), "cannot send SIG{name} to process {}", self.server.id());
        Ok(())
    }

    /// How the process ended, if it did.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.server.try_wait()?)
    }

    /// Waits for the end of the process, which somebody asked for.
    pub(crate) async fn wait(&mut self) -> Result<()> {
        until("the server's process has ended", DEATH, || {
            let ended = self.ended();
            async move { Ok(ended?.is_some()) }
        })
        .await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The guardian first: as long as the server is not waited for, its process id cannot become another's.
        end(&mut self.guardian);
        end(&mut self.server);
    }
}

fn guard(server: u32, home: &Path) -> Result<Child> {
    Command::new("sh")
        .args(["-c", GUARDIAN, "guardian", &server.to_string()])
        .arg(home)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start the shell that watches over the server")
}

/// Kills a child and waits for its end, so that it writes nothing more into a directory about to be removed.
fn end(child: &mut Child) {
    let _ = child.kill();
    let deadline = Instant::now() + DEATH;
    while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
        std::thread::yield_now();
    }
}
