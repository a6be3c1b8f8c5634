//! What the kernel says about processes, and processes of our own.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};

/// Clock ticks a second in `/proc/<pid>/stat`: `USER_HZ`, which is 100 on
/// every architecture that a server runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor seconds, user and system, that a process has used so far, its
/// threads included.
///
/// # Errors
/// There is no such process.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = read_of(pid, "stat")?;
    // The name stands in parentheses and may hold anything, spaces too; user
    // and system time are the 14th and 15th field, 12th and 13th after it.
    let mut fields = stat.rsplit(") ").next().unwrap_or_default().split(' ').skip(11);
    let mut ticks = || -> Result<f64> { Ok(fields.next().context("a short stat")?.parse::<f64>()?) };
    Ok((ticks()? + ticks()?) / TICKS_PER_SECOND)
}

/// Bytes of memory that a process has resident.
///
/// # Errors
/// There is no such process, or it belongs to somebody else.
pub fn resident_bytes(pid: u32) -> Result<f64> {
    let (text, key) = match read_of(pid, "smaps_rollup") {
        Ok(text) => (text, "Rss:"),
        Err(_) => (read_of(pid, "status")?, "VmRSS:"),
    };
    let line = text.lines().find_map(|line| line.strip_prefix(key)).context("no resident size")?;
    let kilobytes: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kilobytes * 1024.0)
}

/// How many files a process has open, sockets included.
///
/// # Errors
/// There is no such process, or it belongs to somebody else.
pub fn open_files(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/fd");
    Ok(fs::read_dir(&path).with_context(|| format!("reading {path}"))?.count() as u64)
}

/// The name that a process goes by.
///
/// # Errors
/// There is no such process.
pub fn name_of(pid: u32) -> Result<String> {
    Ok(read_of(pid, "comm")?.trim().to_owned())
}

fn read_of(pid: u32, file: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{file}");
    fs::read_to_string(&path).with_context(|| format!("reading {path}"))
}

/// Says no, in words, when this process may not open `wanted` sockets.
///
/// # Errors
/// The limit of open files is too low.
pub fn check_descriptors(wanted: usize) -> Result<()> {
    /// Files open besides the sockets: standard streams, epoll, pipes, /proc.
    const SPARE: usize = 64;
    let limits = fs::read_to_string("/proc/self/limits").context("reading the limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next()).unwrap_or("unlimited");
    let Ok(soft) = soft.parse::<usize>() else {
        return Ok(()); // unlimited
    };
    ensure!(
        wanted.saturating_add(SPARE) <= soft,
        "{wanted} connections need more open files than the {soft} this process may have \
         ({SPARE} are kept for other things): raise the limit (ulimit -n) of client and server, \
         or ask for at most {} connections",
        soft.saturating_sub(SPARE)
    );
    Ok(())
}

/// Keeps a running process, all its threads, on some processors (`0`, `0-1`).
///
/// # Errors
/// `taskset` is missing or refuses the list.
pub fn pin(pid: u32, processors: &str) -> Result<()> {
    let arguments = ["-a", "-c", "-p", processors, &pid.to_string()];
    let done = Command::new("taskset").args(arguments).output().context("running taskset")?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "taskset {processors}: {}", said.trim());
    Ok(())
}

/// A command for `program` that runs on some processors only, if any are named.
#[must_use]
pub fn command(program: &Path, processors: Option<&str>) -> Command {
    let Some(processors) = processors else {
        return Command::new(program);
    };
    // taskset replaces itself with the program, which keeps the pid.
    let mut command = Command::new("taskset");
    command.args(["-c", processors]).arg(program);
    command
}

/// A child process that ends with its guard.
#[derive(Debug)]
pub struct Guarded {
    child: Child,
}

impl Guarded {
    /// Starts `command`.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn start(command: &mut Command) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().with_context(|| format!("starting {program}"))?;
        Ok(Self { child })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The child itself, for its streams and its state.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where a program's output goes: a file it is appended to, or nowhere.
///
/// # Errors
/// The file cannot be opened.
pub fn output_to(file: Option<&Path>) -> Result<Stdio> {
    let Some(path) = file else {
        return Ok(Stdio::null());
    };
    let file = fs::OpenOptions::new().create(true).append(true).open(path);
    Ok(Stdio::from(file.with_context(|| format!("opening {}", path.display()))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_time_and_memory() {
        let begin = cpu_seconds(std::process::id()).unwrap();
        let mut sum = 0_u64;
        while cpu_seconds(std::process::id()).unwrap() <= begin {
            sum = sum.wrapping_add(1);
        }
        assert!(resident_bytes(std::process::id()).unwrap() > 100_000.0);
    }

    #[test]
    fn more_connections_than_files_are_refused_in_words() {
        check_descriptors(1).unwrap();
        let refusal = check_descriptors(usize::MAX).unwrap_err().to_string();
        assert!(refusal.contains("ulimit -n"), "{refusal}");
    }

    #[test]
    fn a_command_may_be_kept_on_a_processor() {
        let allowed = |processors: Option<&str>| {
            let output = command(Path::new("cat"), processors).arg("/proc/self/status").output().unwrap();
            let status = String::from_utf8(output.stdout).unwrap();
            let line = status.lines().find(|line| line.starts_with("Cpus_allowed_list")).unwrap();
            line.rsplit('\t').next().unwrap().to_owned()
        };
        let first = allowed(None).chars().take_while(char::is_ascii_digit).collect::<String>();
        assert_eq!(allowed(Some(&first)), first);
    }

    #[test]
    fn a_guarded_child_ends_with_its_guard() {
        let child = Guarded::start(Command::new("sleep").arg("60")).unwrap();
        let proc = format!("/proc/{}", child.pid());
        assert!(Path::new(&proc).exists());
        drop(child);
        assert!(!Path::new(&proc).exists());
    }
}
