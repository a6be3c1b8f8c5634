//! The reference of all options as Markdown, rendered from the same tables as the command line.

use std::fmt::Write;

use super::command::heading;
use super::{Kind, OptionSpec};

/// Renders the reference: one table for each group of options, in the order of the tables given.
pub fn reference(specs: &[&[OptionSpec]]) -> String {
    let mut rows: Vec<OptionSpec> = Vec::new();
    for spec in specs.iter().copied().flatten() {
        if !rows.iter().any(|known| known.key == spec.key) {
            rows.push(*spec);
        }
    }
    let mut groups: Vec<&str> = Vec::new();
    for row in &rows {
        if !groups.contains(&row.group()) {
            groups.push(row.group());
        }
    }
    let mut text = String::new();
    for group in groups {
        let title = if group.is_empty() { "General".to_owned() } else { heading(group) };
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "{}## {title}\n\n| key | flag | environment | default | meaning |\n",
            separator(&text)
        );
        text.push_str("| --- | --- | --- | --- | --- |\n");
        for row in rows.iter().filter(|row| row.group() == group) {
            let _ = writeln!(
                text,
                "| `{}` | {} | {} | {} | {} |",
                row.key,
                row.flag().map_or_else(String::new, |flag| format!("`--{flag}`")),
                row.variable().map_or_else(String::new, |name| format!("`{name}`")),
                default(row),
                row.help.replace('|', "\\|"),
            );
        }
    }
    text
}

const fn separator(text: &str) -> &'static str {
    if text.is_empty() { "" } else { "\n" }
}

fn default(row: &OptionSpec) -> String {
    match (row.kind, row.default) {
        (_, "") => String::new(),
        (Kind::Secret, default) => format!("`{{ env = \"{}\" }}`", default.trim_start_matches("env:")),
        (_, default) => format!("`{default}`"),
    }
}
