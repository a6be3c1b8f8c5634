//! The reference of all options as Markdown, rendered from the same tables as the command line.

use std::fmt::Write;

use super::command::heading;
use super::{Field, Kind, OptionSpec};

/// Renders the reference: a section for each group of options, in the order of the tables given, then one for each sort of
/// tables that only the file can hold.
pub fn reference(specs: &[&[OptionSpec]]) -> String {
    let mut rows: Vec<OptionSpec> = Vec::new();
    for spec in specs.iter().copied().flatten() {
        if !rows.iter().any(|known| known.key == spec.key) {
            rows.push(*spec);
        }
    }
    let (tables, rows): (Vec<_>, Vec<_>) =
        rows.into_iter().partition(|row| matches!(row.kind, Kind::Tables(_)));
    let mut groups: Vec<&str> = Vec::new();
    for row in &rows {
        if !groups.contains(&row.group()) {
            groups.push(row.group());
        }
    }
    let mut sections: Vec<String> = groups.into_iter().map(|group| options(group, &rows)).collect();
    for table in tables {
        if let Kind::Tables(fields) = table.kind {
            sections.push(section_of(&table, fields));
        }
    }
    sections.join("\n")
}

/// The options of one group.
fn options(group: &str, rows: &[OptionSpec]) -> String {
    let title = if group.is_empty() { "General".to_owned() } else { heading(group) };
    let mut text = format!(
        "## {title}\n\n| key | flag | environment | default | meaning |\n| --- | --- | --- | --- | --- |\n"
    );
    for row in rows.iter().filter(|row| row.group() == group) {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} | {} |",
            row.key,
            row.flag().map_or_else(String::new, |flag| format!("`--{flag}`")),
            row.variable().map_or_else(String::new, |name| format!("`{name}`")),
            default(row),
            cell(row.help),
        );
    }
    text
}

/// One sort of tables.
fn section_of(table: &OptionSpec, fields: &[Field]) -> String {
    let mut text = format!("## `[[{}]]`\n\n{}\n", table.key, table.help);
    if !fields.is_empty() {
        text.push_str("\n| key | takes | default | meaning |\n| --- | --- | --- | --- |\n");
    }
    for field in fields {
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} |",
            field.key,
            cell(field.takes),
            code(field.default),
            cell(field.help)
        );
    }
    text
}

fn default(row: &OptionSpec) -> String {
    match row.kind {
        Kind::Secret if !row.default.is_empty() => {
            format!("`{{ env = \"{}\" }}`", row.default.trim_start_matches("env:"))
        }
        _ => code(row.default),
    }
}

fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{text}`") }
}

/// A text that does not end its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
