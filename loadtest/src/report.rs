//! What a run found out, for people and for machines.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use comfy_table::{Cell, CellAlignment, Table, TableComponent, presets};
use serde::Serialize;

use crate::checker::Tally;
use crate::measurement::{Figure, Figures, Measurement};
use crate::scenario::Scenario;
use crate::server::ServerOptions;

/// The outcome of a run.
#[derive(Debug, Serialize)]
pub struct Report {
    #[serde(flatten)]
    scenario: Scenario,
    server: ServerOptions,
    /// The floors, and the server last.
    subjects: Vec<Subject>,
}

/// One floor or the server, over all rounds.
#[derive(Debug, Serialize)]
pub struct Subject {
    name: &'static str,
    is_floor: bool,
    /// All rounds in one: the median of each figure, of memory the most.
    figures: Figures,
    /// The same for each process, where there are several.
    processes: BTreeMap<String, Figures>,
    /// The figures as multiples of each floor's, by the floor's name.
    ratios: BTreeMap<&'static str, Figures>,
    /// The figures of each process as multiples of each floor's.
    process_ratios: BTreeMap<String, BTreeMap<&'static str, Figures>>,
    tally: Tally,
    rounds: Vec<Measurement>,
}

impl Subject {
    /// Sums up the rounds of one subject.
    #[must_use]
    pub fn new(name: &'static str, is_floor: bool, rounds: Vec<Measurement>) -> Self {
        let mut tally = Tally::default();
        for round in &rounds {
            tally.add(round.tally);
        }
        let names: BTreeSet<_> = rounds.iter().flat_map(|round| round.processes.keys()).collect();
        let of_process = |name: &String| {
            let figures = rounds.iter().filter_map(|round| round.processes.get(name));
            (name.clone(), over_rounds(figures))
        };
        let several = names.len() > 1;
        let processes = names.into_iter().filter(|_| several).map(of_process).collect();
        let figures = over_rounds(rounds.iter().map(|round| &round.figures));
        Self {
            name,
            is_floor,
            figures,
            processes,
            ratios: BTreeMap::new(),
            process_ratios: BTreeMap::new(),
            tally,
            rounds,
        }
    }
}

fn over_rounds<'a>(rounds: impl Iterator<Item = &'a Figures>) -> Figures {
    let mut values: BTreeMap<Figure, Vec<f64>> = BTreeMap::new();
    for (figure, value) in rounds.flatten() {
        values.entry(*figure).or_default().push(*value);
    }
    values.into_iter().filter_map(|(figure, values)| Some((figure, figure.over_rounds(values)?))).collect()
}

/// Each figure that both have as a multiple of the floor's.
fn over_floor(figures: &Figures, floor: &Figures) -> Figures {
    let ratio = |(figure, value): (&Figure, &f64)| {
        let floor = floor.get(figure).filter(|floor| **floor > 0.0)?;
        Some((*figure, value / floor))
    };
    figures.iter().filter_map(ratio).collect()
}

impl Report {
    /// Puts each subject that is no floor in relation to those that are.
    #[must_use]
    pub fn new(scenario: &Scenario, server: &ServerOptions, mut subjects: Vec<Subject>) -> Self {
        let floors: Vec<_> = subjects.iter().filter(|subject| subject.is_floor).collect();
        let floors: Vec<_> = floors.iter().map(|floor| (floor.name, floor.figures.clone())).collect();
        let relate = |figures: &Figures| {
            floors.iter().map(|(name, floor)| (*name, over_floor(figures, floor))).collect()
        };
        for subject in subjects.iter_mut().filter(|subject| !subject.is_floor) {
            subject.ratios = relate(&subject.figures);
            let processes = subject.processes.iter();
            subject.process_ratios =
                processes.map(|(name, figures)| (name.clone(), relate(figures))).collect();
        }
        Self { scenario: scenario.clone(), server: server.clone(), subjects }
    }

    /// Whether nobody lost, doubled, disordered or misdirected a message.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.subjects.iter().all(|subject| subject.tally.is_clean())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns: BTreeSet<_> =
            self.subjects.iter().flat_map(|subject| subject.figures.keys().copied()).collect();
        let mut table = Table::new();
        table.load_preset(presets::UTF8_HORIZONTAL_ONLY);
        table.remove_style(TableComponent::HorizontalLines);
        table.remove_style(TableComponent::MiddleIntersections);
        let labels = columns.iter().map(|figure| figure.label());
        table.set_header(std::iter::once("").chain(labels));
        let mut row = |name: String, figures: &Figures, show: fn(f64) -> String| {
            let values = columns.iter().map(|figure| figures.get(figure).copied().map(show));
            let values = values.map(|value| Cell::new(value.unwrap_or_default()));
            let values = values.map(|cell| cell.set_alignment(CellAlignment::Right));
            table.add_row(std::iter::once(Cell::new(name)).chain(values));
        };
        for subject in &self.subjects {
            row(subject.name.to_owned(), &subject.figures, number);
            for (floor, ratios) in &subject.ratios {
                row(format!("  ÷ {floor}"), ratios, multiple);
            }
            for (process, figures) in &subject.processes {
                row(format!("  {process}"), figures, number);
                for (floor, ratios) in subject.process_ratios.get(process).into_iter().flatten() {
                    row(format!("    ÷ {floor}"), ratios, multiple);
                }
            }
        }
        write!(f, "{table}")?;
        // Where nothing was published there is nothing to tell.
        for subject in self.subjects.iter().filter(|subject| subject.tally != Tally::default()) {
            write!(f, "\n{}: {}", subject.name, subject.tally)?;
        }
        Ok(())
    }
}

/// A number with the digits that mean something.
fn number(value: f64) -> String {
    match value.abs() {
        0.0..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

fn multiple(value: f64) -> String {
    format!("{value:.2} ×")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(cpu: f64, processes: &[(&str, f64)]) -> Measurement {
        let figures = |cpu| BTreeMap::from([(Figure::CpuSecondsPerMillion, cpu)]);
        let processes = processes.iter().map(|(name, cpu)| ((*name).to_owned(), figures(*cpu))).collect();
        Measurement { figures: figures(cpu), processes, tally: Tally::default() }
    }

    #[derive(clap::Parser)]
    struct Options {
        #[command(subcommand)]
        scenario: Scenario,
        #[command(flatten)]
        server: ServerOptions,
    }

    fn report(subjects: Vec<Subject>) -> Report {
        let options = <Options as clap::Parser>::parse_from(["loadtest", "fanout"]);
        Report::new(&options.scenario, &options.server, subjects)
    }

    #[test]
    fn the_server_and_each_of_its_processes_are_multiples_of_each_floor() {
        let server = vec![round(9.0, &[("gateway", 6.0), ("redis-server", 3.0)])];
        let report = report(vec![
            Subject::new("floor", true, vec![round(4.0, &[]), round(2.0, &[]), round(3.0, &[])]),
            Subject::new("joining floor", true, vec![round(1.0, &[])]),
            Subject::new("server", false, server),
        ]);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["scenario"], "fanout");
        let cpu = "cpu_seconds_per_million";
        assert_eq!(json["subjects"][0]["figures"][cpu], 3.0);
        let server = &json["subjects"][2];
        assert_eq!(server["ratios"]["floor"][cpu], 3.0);
        assert_eq!(server["ratios"]["joining floor"][cpu], 9.0);
        assert_eq!(server["process_ratios"]["gateway"]["floor"][cpu], 2.0);
        let table = report.to_string();
        assert!(table.contains("÷ joining floor") && table.contains("gateway"), "{table}");
        assert!(table.contains("9.00 ×"), "{table}");
    }

    #[test]
    fn a_lost_message_of_any_round_is_no_clean_report() {
        let lossy = Measurement { tally: Tally { lost: 1, ..Tally::default() }, ..round(1.0, &[]) };
        let rounds = vec![round(1.0, &[]), lossy, round(1.0, &[])];
        let report = report(vec![Subject::new("server", false, rounds)]);
        assert!(!report.is_clean());
        assert!(report.to_string().contains("1 lost"));
    }

    #[test]
    fn a_floor_of_nothing_makes_no_ratio() {
        let idle = round(0.0, &[]);
        assert!(over_floor(&round(1.0, &[]).figures, &idle.figures).is_empty());
    }
}
