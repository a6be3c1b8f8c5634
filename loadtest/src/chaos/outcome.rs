//! The verdict on a run, with its figures.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use serde::Serialize;

use super::checker::{self, Invariant, Limits, Violation};
use super::fault::Topology;
use super::history::{Client, History, Millis, Reason, What};

/// How many violations are told one by one.
const TOLD: usize = 20;

/// See the module's documentation.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// What the run's choices followed from.
    pub seed: u64,
    /// How Redis was organised.
    pub topology: Topology,
    /// Whether nothing was broken that could make Redis forget.
    pub lossless: bool,
    /// How often each fault struck.
    pub faults: BTreeMap<String, usize>,
    /// What was counted and measured.
    pub figures: Figures,
    /// How often each promise was broken.
    pub broken: BTreeMap<Invariant, usize>,
    /// What went wrong.
    pub violations: Vec<Violation>,
    /// Everything that was seen.
    #[serde(skip)]
    pub history: History,
}

/// What was counted and measured in a run. Times are in milliseconds.
#[derive(Debug, Default, Serialize)]
pub struct Figures {
    /// Messages that somebody wanted to publish.
    pub published: usize,
    /// Messages that were acknowledged.
    pub acknowledged: usize,
    /// Messages that were acknowledged and that Redis forgot.
    pub forgotten: usize,
    /// Those of them that no client was given before: nobody can tell that they were there.
    pub forgotten_unseen: usize,
    /// Messages that needed more than one attempt.
    pub repeated: usize,
    /// The longest wait for an acknowledgement.
    pub longest_publish: Millis,
    /// Messages that clients got.
    pub deliveries: usize,
    /// Gaps that clients were told.
    pub gaps: BTreeMap<String, usize>,
    /// Connections that clients made.
    pub connections: usize,
    /// How connections ended: close codes, 0 without any.
    pub endings: BTreeMap<u16, usize>,
    /// From the end of a connection until the client is in all its rooms again: half of the times, and the longest.
    pub back_median: Millis,
    /// The longest of them.
    pub back_longest: Millis,
    /// From the end of the last fault until the last client was complete.
    pub catch_up: Millis,
    /// The most resident memory of a process, bytes.
    pub resident: u64,
    /// The most open files of a process.
    pub files: u64,
}

impl Outcome {
    /// Judges a run.
    #[must_use]
    pub fn judge(seed: u64, topology: Topology, history: History, limits: &Limits) -> Self {
        let violations = checker::check(&history, limits);
        let mut broken = BTreeMap::new();
        for violation in &violations {
            *broken.entry(violation.invariant).or_default() += 1;
        }
        let mut faults = BTreeMap::new();
        for span in &history.faults {
            let name = span.fault.split(' ').next().unwrap_or_default();
            *faults.entry(name.to_owned()).or_default() += 1;
        }
        let (figures, lossless) = (Figures::of(&history), history.lossless);
        Self { seed, topology, lossless, faults, figures, broken, violations, history }
    }

    /// Whether every promise was kept.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }
}

impl Figures {
    fn of(history: &History) -> Self {
        let publications = &history.publications;
        let mut figures = Self {
            published: publications.len(),
            acknowledged: publications.iter().filter(|one| one.acknowledged.is_some()).count(),
            repeated: publications.iter().filter(|one| one.attempts > 1).count(),
            longest_publish: publications.iter().map(|one| one.ended - one.begun).max().unwrap_or_default(),
            resident: history.samples.iter().map(|sample| sample.resident).max().unwrap_or_default(),
            files: history.samples.iter().map(|sample| sample.files).max().unwrap_or_default(),
            ..Self::default()
        };
        let kept: HashSet<_> = history.streams.values().flatten().map(|entry| &entry.id).collect();
        let mut forgotten: HashSet<_> =
            publications.iter().filter(|one| one.acknowledged.is_some()).map(|one| &one.id).collect();
        forgotten.retain(|id| !kept.contains(id));
        figures.forgotten = forgotten.len();
        let mut back = Vec::new();
        for client in &history.clients {
            for event in &client.events {
                match &event.what {
                    What::Connected { .. } => figures.connections += 1,
                    What::Message { id, .. } => {
                        figures.deliveries += 1;
                        forgotten.remove(id);
                    }
                    What::Gap { reason, .. } => *figures.gaps.entry(name_of(*reason)).or_default() += 1,
                    What::Closed { code } => *figures.endings.entry(code.unwrap_or(0)).or_default() += 1,
                    What::Joined { .. } => {}
                }
            }
            back.extend(absences(client));
            let last = client.events.iter().rev().find(|event| is_progress(&event.what));
            let late = last.map_or(0, |event| event.at.saturating_sub(history.healed));
            figures.catch_up = figures.catch_up.max(late);
        }
        figures.forgotten_unseen = forgotten.len();
        back.sort_unstable();
        figures.back_median = back.get(back.len() / 2).copied().unwrap_or_default();
        figures.back_longest = back.last().copied().unwrap_or_default();
        figures
    }
}

fn name_of(reason: Reason) -> String {
    match reason {
        Reason::Trimmed => "trimmed",
        Reason::Reset => "reset",
        Reason::Fork => "fork",
    }
    .to_owned()
}

fn is_progress(what: &What) -> bool {
    matches!(what, What::Message { .. } | What::Gap { .. })
}

/// How long a client was away each time: from the end of a connection until it is in all its rooms again.
fn absences(client: &Client) -> Vec<Millis> {
    let mut absences = Vec::new();
    let (mut since, mut missing) = (None, 0);
    for event in &client.events {
        match &event.what {
            What::Closed { .. } => {
                since = since.or(Some(event.at));
                missing = client.rooms.len();
            }
            What::Joined { .. } if missing > 0 => {
                missing -= 1;
                if missing == 0
                    && let Some(since) = since.take()
                {
                    absences.push(event.at - since);
                }
            }
            _ => {}
        }
    }
    absences
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figures = &self.figures;
        let struck: Vec<String> =
            self.faults.iter().map(|(fault, times)| format!("{fault} × {times}")).collect();
        writeln!(f, "seed {} on {:?}: {}", self.seed, self.topology, struck.join(", "))?;
        writeln!(
            f,
            "{} published, {} acknowledged ({} after repeating, the slowest after {} ms), {} delivered",
            figures.published,
            figures.acknowledged,
            figures.repeated,
            figures.longest_publish,
            figures.deliveries
        )?;
        writeln!(
            f,
            "{} connections, ends {:?}, back after {} ms (median) to {} ms, gaps {:?}, complete after {} ms",
            figures.connections,
            figures.endings,
            figures.back_median,
            figures.back_longest,
            figures.gaps,
            figures.catch_up
        )?;
        if !self.lossless {
            writeln!(
                f,
                "Redis forgot {} that were acknowledged, {} of them before any client was given them",
                figures.forgotten, figures.forgotten_unseen
            )?;
        }
        for violation in self.violations.iter().take(TOLD) {
            writeln!(f, "{violation}")?;
        }
        match self.violations.len() {
            0 => write!(f, "every promise was kept"),
            some => write!(f, "{some} violations: {:?}", self.broken),
        }
    }
}
