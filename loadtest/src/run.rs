//! A whole run: rounds in which the floors and the server take turns.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use indicatif::{ProgressBar, ProgressStyle};

use crate::floor::Writes;
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
    let mut subjects: Vec<_> = scenario.floors().iter().map(|writes| Some(*writes)).collect();
    if server.is_named() {
        subjects.push(None);
    }
    let progress = bar(rounds * subjects.len())?;
    let mut measured: Vec<Vec<Measurement>> = subjects.iter().map(|_| Vec::new()).collect();
    for round in 1..=rounds {
        for (subject, measured) in subjects.iter().zip(&mut measured) {
            progress.set_message(format!("round {round} of {rounds}: {}", name(*subject)));
            let target = match subject {
                Some(writes) => Target::floor(loadtest, *writes, server.server_cpus.as_deref())?,
                None => server.target(server.via).await?,
            };
            let mut found = scenario
                .measure(&target)
                .await
                .with_context(|| format!("round {round}, {}", name(*subject)))?;
            if let Some(start) = target.start {
                found.set(Figure::StartMilliseconds, start.as_secs_f64() * 1e3);
            }
            measured.push(found);
            progress.inc(1);
        }
    }
    progress.finish_and_clear();
    let subjects = subjects.iter().zip(measured);
    let subjects = subjects.map(|(subject, rounds)| Subject::new(name(*subject), subject.is_some(), rounds));
    Ok(Report::new(scenario, server, subjects.collect()))
}

fn name(subject: Option<Writes>) -> &'static str {
    match subject {
        Some(Writes::Each) => "floor",
        Some(Writes::Joined) => "joining floor",
        None => "server",
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
