//! A whole run: rounds in which the floors and the server take turns.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use indicatif::{ProgressBar, ProgressStyle};

use crate::floor::Writes;
use crate::framing::Framing;
use crate::measurement::{Figure, Measurement};
use crate::report::{Report, Subject};
use crate::scenario::Scenario;
use crate::server::ServerOptions;
use crate::target::Target;

/// Runs a scenario against its floors and, if one is named, the server.
///
/// Floors, and a server that is started for the run, are new processes in
/// each round. Within a round they follow each other closely, so that a noisy
/// minute is noisy for all.
///
/// # Errors
/// Something does not start, refuses, or hangs up. Lost messages are no error
/// here: the report tells them.
pub async fn run(
    scenario: &Scenario,
    server: &ServerOptions,
    rounds: usize,
    loadtest: &Path,
) -> Result<Report> {
    let mut subjects: Vec<_> = scenario.floors().iter().map(|writes| Who::Floor(*writes)).collect();
    if server.is_named() {
        subjects.extend(server.framing.iter().map(|framing| Who::Server(*framing)));
    }
    let several = server.framing.len() > 1;
    let progress = bar(rounds * subjects.len())?;
    let mut measured: Vec<Vec<Measurement>> = subjects.iter().map(|_| Vec::new()).collect();
    for round in 1..=rounds {
        for (subject, measured) in subjects.iter().zip(&mut measured) {
            progress.set_message(format!("round {round} of {rounds}: {}", subject.name(several)));
            let target = match subject {
                Who::Floor(writes) => Target::floor(loadtest, *writes, server.server_cpus.as_deref())?,
                Who::Server(framing) => server.target(*framing).await?,
            };
            let mut found = scenario
                .measure(&target)
                .await
                .with_context(|| format!("round {round}, {}", subject.name(several)))?;
            if let Some(start) = target.start {
                found.set(Figure::StartMilliseconds, start.as_secs_f64() * 1e3);
            }
            measured.push(found);
            progress.inc(1);
        }
    }
    progress.finish_and_clear();
    let subjects = subjects.iter().zip(measured);
    let subjects = subjects.map(|(subject, rounds)| {
        Subject::new(subject.name(several), matches!(subject, Who::Floor(_)), rounds)
    });
    Ok(Report::new(scenario, server, subjects.collect()))
}

/// What takes its turn in each round.
#[derive(Debug, Clone, Copy)]
enum Who {
    Floor(Writes),
    Server(Framing),
}

impl Who {
    /// Its name in the report, among servers of `several` framings or not.
    fn name(self, several: bool) -> &'static str {
        match self {
            Self::Floor(Writes::Each) => "floor",
            Self::Floor(Writes::Joined) => "joining floor",
            Self::Server(framing) if several => framing.name(),
            Self::Server(_) => "server",
        }
    }
}

/// Steps of the run on standard error, where that is a terminal.
fn bar(steps: usize) -> Result<ProgressBar> {
    let bar = ProgressBar::new(steps as u64);
    bar.set_style(ProgressStyle::with_template("{spinner} {wide_bar} {pos}/{len} {elapsed_precise} {msg}")?);
    // Rare enough to cost nothing beside the client.
    bar.enable_steady_tick(Duration::from_millis(500));
    Ok(bar)
}
