//! What a round found out, and the meter for processes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;
use tokio::time::sleep;

use crate::audience::Audience;
use crate::checker::Tally;
use crate::process::{cpu_seconds, resident_bytes};
use crate::returning::Returns;
use crate::target::Watched;

/// What can be found out, in the order in which it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// Processor seconds, user and system, per million deliveries or cycles.
    CpuSecondsPerMillion,
    /// Deliveries or cycles a second.
    PerSecond,
    /// How often a second Redis runs the script of a publish.
    ScriptPerSecond,
    /// Publishes a second, percent of that.
    OfScriptPercent,
    /// Half of the latencies were at most this, milliseconds.
    P50Milliseconds,
    /// 99 of 100 latencies were at most this, milliseconds.
    P99Milliseconds,
    /// 999 of 1000 latencies were at most this, milliseconds.
    P999Milliseconds,
    /// Connections accepted, authenticated and joined a second.
    ConnectsPerSecond,
    /// The same per second of processor time that the server used.
    ConnectsPerCpuSecond,
    /// Growth of resident memory per connection, bytes.
    BytesPerConnection,
    /// Processor time while nothing happens, percent of one core.
    IdleCpuPercent,
    /// From starting a process to its first accepted connection, milliseconds.
    StartMilliseconds,
    /// Times that a connection was cut.
    Cuts,
    /// Of these, how many times the client was back, percent.
    BackPercent,
    /// And how many times it went on with its session, percent.
    RecoveredPercent,
    /// From a cut until half of the clients were back, seconds.
    HalfBackSeconds,
    /// From a cut until the last client was back, seconds.
    LastBackSeconds,
    /// From the last message until everybody was back and had all, seconds.
    AllThereSeconds,
}

impl Figure {
    /// The head of its column.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::CpuSecondsPerMillion => "CPU-s\nper million",
            Self::PerSecond => "a second",
            Self::ScriptPerSecond => "script\na second",
            Self::OfScriptPercent => "of the\nscript %",
            Self::P50Milliseconds => "p50\nms",
            Self::P99Milliseconds => "p99\nms",
            Self::P999Milliseconds => "p99.9\nms",
            Self::ConnectsPerSecond => "connects\na second",
            Self::ConnectsPerCpuSecond => "connects\na CPU-s",
            Self::BytesPerConnection => "bytes a\nconnection",
            Self::IdleCpuPercent => "CPU idle\n% of a core",
            Self::StartMilliseconds => "start\nms",
            Self::Cuts => "cuts",
            Self::BackPercent => "back\n%",
            Self::RecoveredPercent => "recovered\n%",
            Self::HalfBackSeconds => "half back\ns",
            Self::LastBackSeconds => "last back\ns",
            Self::AllThereSeconds => "all there\ns",
        }
    }

    /// One value for several rounds: the median; for memory the most, since a
    /// process that runs on reuses what an earlier round grew; and the least of
    /// what should be all.
    #[must_use]
    pub fn over_rounds(self, mut values: Vec<f64>) -> Option<f64> {
        values.sort_by(f64::total_cmp);
        if self == Self::BytesPerConnection {
            return values.last().copied();
        }
        if matches!(self, Self::BackPercent | Self::RecoveredPercent) {
            return values.first().copied();
        }
        let upper = *values.get(values.len() / 2)?;
        let lower = *values.get((values.len() - 1) / 2)?;
        Some(f64::midpoint(lower, upper))
    }
}

/// Figures of one subject.
pub type Figures = BTreeMap<Figure, f64>;

/// The outcome of one round.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Measurement {
    /// Of all processes together.
    pub figures: Figures,
    /// Of each process, where they differ between processes.
    pub processes: BTreeMap<String, Figures>,
    /// What the receivers say.
    pub tally: Tally,
}

impl Measurement {
    /// Notes a figure of the whole.
    pub fn set(&mut self, figure: Figure, value: f64) {
        self.figures.insert(figure, value);
    }

    /// Notes a figure that adds up over processes: each reading times `scale`.
    pub fn set_sum(&mut self, figure: Figure, readings: &Readings, scale: f64) {
        for (name, value) in &readings.0 {
            *self.processes.entry(name.clone()).or_default().entry(figure).or_default() += value * scale;
        }
        self.set(figure, readings.sum() * scale);
    }

    /// Notes how many of those who were cut came back.
    pub fn set_returns(&mut self, Returns { cuts, back, recovered }: Returns) {
        self.set(Figure::Cuts, cuts as f64);
        if cuts > 0 {
            self.set(Figure::BackPercent, 100.0 * back as f64 / cuts as f64);
            self.set(Figure::RecoveredPercent, 100.0 * recovered as f64 / cuts as f64);
        }
    }

    /// Notes the latencies that an audience has measured.
    pub fn set_latency(&mut self, audience: &Audience) {
        self.set(Figure::P50Milliseconds, audience.ledger().latency(0.5));
        self.set(Figure::P99Milliseconds, audience.ledger().latency(0.99));
        self.set(Figure::P999Milliseconds, audience.ledger().latency(0.999));
    }
}

/// One number for each process.
#[derive(Debug, Clone)]
pub struct Readings(Vec<(String, f64)>);

impl Readings {
    /// Processor seconds used so far.
    ///
    /// # Errors
    /// A process has ended.
    pub fn cpu(processes: &[Watched]) -> Result<Self> {
        Self::read(processes, cpu_seconds)
    }

    /// Bytes resident now.
    ///
    /// # Errors
    /// A process has ended.
    pub fn memory(processes: &[Watched]) -> Result<Self> {
        Self::read(processes, resident_bytes)
    }

    /// Bytes resident once they have stopped moving, or after five seconds.
    ///
    /// # Errors
    /// A process has ended.
    pub async fn settled_memory(processes: &[Watched]) -> Result<Self> {
        let mut last = Self::memory(processes)?;
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(5) {
            sleep(Duration::from_millis(250)).await;
            let now = Self::memory(processes)?;
            if (now.sum() - last.sum()).abs() <= last.sum() / 500.0 {
                return Ok(now);
            }
            last = now;
        }
        Ok(last)
    }

    fn read(processes: &[Watched], of: fn(u32) -> Result<f64>) -> Result<Self> {
        let read = |process: &Watched| Ok((process.name.clone(), of(process.pid)?));
        Ok(Self(processes.iter().map(read).collect::<Result<_>>()?))
    }

    /// What has been added since an earlier reading of the same processes.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let grown =
            |((name, now), (_, before)): (&(String, f64), &(String, f64))| (name.clone(), now - before);
        Self(self.0.iter().zip(&earlier.0).map(grown).collect())
    }

    /// All processes together.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.0.iter().map(|(_, value)| value).sum()
    }

    /// Whether no process was named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_become_their_median_and_memory_the_most() {
        let median = |values: &[f64]| Figure::PerSecond.over_rounds(values.to_vec());
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 9.0]), Some(3.0));
        assert_eq!(Figure::BytesPerConnection.over_rounds(vec![900.0, 1000.0, 10.0]), Some(1000.0));
        assert_eq!(Figure::BackPercent.over_rounds(vec![100.0, 99.0, 100.0]), Some(99.0));
    }

    #[test]
    fn processes_of_one_name_are_added_up() {
        let readings =
            |values: [f64; 2]| Readings(values.map(|value| ("gateway".to_owned(), value)).to_vec());
        let mut measurement = Measurement::default();
        let used = readings([3.0, 5.0]).since(&readings([1.0, 1.0]));
        measurement.set_sum(Figure::CpuSecondsPerMillion, &used, 10.0);
        assert_eq!(measurement.figures[&Figure::CpuSecondsPerMillion], 60.0);
        assert_eq!(measurement.processes["gateway"][&Figure::CpuSecondsPerMillion], 60.0);
    }
}
