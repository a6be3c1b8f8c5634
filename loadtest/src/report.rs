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
    /// The floors, and the server last; several times if it speaks several
    /// framings.
    subjects: Vec<Subject>,
}

/// One floor or server, over all rounds.
#[derive(Debug, Serialize)]
pub struct Subject {
    name: &'static str,
    is_floor: bool,
    /// All rounds in one: the median of each figure, of memory the most.
    figures: Figures,
    /// The same for each process, where there are several.
    processes: BTreeMap<String, Figures>,
    /// The figures as multiples of those of each floor and of the first
    /// server, by their names.
    ratios: BTreeMap<&'static str, Figures>,
    /// The same for each process; of a server with processes of its own, as
    /// multiples of its process of that name.
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

/// Each figure that both have as a multiple of the measure's.
fn over_measure(figures: &Figures, measure: &Figures) -> Figures {
    let ratio = |(figure, value): (&Figure, &f64)| {
        let measure = measure.get(figure).filter(|measure| **measure > 0.0)?;
        Some((*figure, value / measure))
    };
    figures.iter().filter_map(ratio).collect()
}

impl Report {
    /// Puts each server in relation to the floors, and to the first server.
    #[must_use]
    pub fn new(scenario: &Scenario, server: &ServerOptions, mut subjects: Vec<Subject>) -> Self {
        let floors = subjects.iter().filter(|subject| subject.is_floor);
        let first_server = subjects.iter().find(|subject| !subject.is_floor);
        let measure = |of: &Subject| (of.name, of.figures.clone(), of.processes.clone());
        let measures: Vec<_> = floors.chain(first_server).map(measure).collect();
        for subject in subjects.iter_mut().filter(|subject| !subject.is_floor) {
            for (name, measure, of_processes) in measures.iter().filter(|(name, ..)| *name != subject.name) {
                subject.ratios.insert(*name, over_measure(&subject.figures, measure));
                for (process, figures) in &subject.processes {
                    let measure = of_processes.get(process).unwrap_or(measure);
                    let ratios = subject.process_ratios.entry(process.clone()).or_default();
                    ratios.insert(*name, over_measure(figures, measure));
                }
            }
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
            for (measure, ratios) in &subject.ratios {
                row(format!("  ÷ {measure}"), ratios, multiple);
            }
            for (process, figures) in &subject.processes {
                row(format!("  {process}"), figures, number);
                for (measure, ratios) in subject.process_ratios.get(process).into_iter().flatten() {
                    row(format!("    ÷ {measure}"), ratios, multiple);
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
    fn a_second_server_is_a_multiple_of_the_first_one_process_by_process() {
        let first = vec![round(8.0, &[("gateway", 6.0), ("redis-server", 2.0)])];
        let second = vec![round(10.0, &[("gateway", 9.0), ("redis-server", 1.0)])];
        let report =
            report(vec![Subject::new("native", false, first), Subject::new("socketio", false, second)]);
        let json = serde_json::to_value(&report).unwrap();
        let cpu = "cpu_seconds_per_million";
        assert_eq!(json["subjects"][0]["ratios"], serde_json::json!({}));
        assert_eq!(json["subjects"][1]["ratios"]["native"][cpu], 1.25);
        assert_eq!(json["subjects"][1]["process_ratios"]["gateway"]["native"][cpu], 1.5);
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
        assert!(over_measure(&round(1.0, &[]).figures, &idle.figures).is_empty());
    }
}
