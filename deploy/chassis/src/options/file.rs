//! The configuration file: read once, flattened to the keys that the components know, with the line of each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::error::{Mistake, Origin};
use super::{OptionSpec, OptionsError};

/// What a file says, by key.
#[derive(Debug, Default)]
pub(super) struct File {
    pub(super) values: BTreeMap<String, Value>,
    pub(super) lines: Lines,
}

/// In which line each key stands, also those inside tables and lists (`channels[0].join`).
#[derive(Debug, Default)]
pub(super) struct Lines {
    path: PathBuf,
    of: BTreeMap<String, usize>,
}

impl Lines {
    /// Where a key was written; where it is not known, its nearest parent.
    pub(super) fn origin(&self, key: &str) -> Origin {
        let mut rest = key;
        loop {
            if let Some(line) = self.of.get(rest) {
                return Origin::File(self.path.clone(), *line);
            }
            match rest.rfind(['.', '[']).and_then(|at| rest.get(..at)) {
                Some(parent) => rest = parent,
                None => return Origin::File(self.path.clone(), 1),
            }
        }
    }
}

/// Reads a file and checks its keys and the kinds of its values.
pub(super) fn read(
    path: &Path,
    specs: &[OptionSpec],
    mistakes: &mut Vec<Mistake>,
) -> Result<File, OptionsError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| OptionsError::Unreadable { path: path.to_owned(), error })?;
    let syntax = |error: &toml::de::Error| OptionsError::Syntax {
        path: path.to_owned(),
        line: line_at(&text, error.span().map_or(0, |span| span.start)),
        message: error.message().to_owned(),
    };
    let table: Table = text.parse().map_err(|error| syntax(&error))?;
    let spanned = DeTable::parse(&text).map_err(|error| syntax(&error))?;

    let mut file = File { lines: Lines { path: path.to_owned(), of: BTreeMap::new() }, ..File::default() };
    locate(&text, "", spanned.get_ref(), &mut file.lines.of);
    flatten("", table, specs, &mut file, mistakes);
    Ok(file)
}

fn flatten(prefix: &str, table: Table, specs: &[OptionSpec], file: &mut File, mistakes: &mut Vec<Mistake>) {
    for (name, value) in table {
        let key = join(prefix, &name);
        if let Some(spec) = specs.iter().find(|spec| spec.key == key) {
            match spec.kind.check(&value) {
                Ok(()) => _ = file.values.insert(key, value),
                Err(message) => mistakes.push(Mistake { origin: file.lines.origin(&key), key, message }),
            }
            continue;
        }
        let holds_options = specs
            .iter()
            .any(|spec| spec.key.strip_prefix(key.as_str()).is_some_and(|rest| rest.starts_with('.')));
        match value {
            Value::Table(inner) if holds_options => flatten(&key, inner, specs, file, mistakes),
            _ => {
                let message = match nearest(&key, specs) {
                    _ if holds_options => "must be a table".to_owned(),
                    Some(known) => format!("there is no such option; did you mean {known}?"),
                    None => "there is no such option".to_owned(),
                };
                mistakes.push(Mistake { origin: file.lines.origin(&key), key, message });
            }
        }
    }
}

fn locate(text: &str, prefix: &str, table: &DeTable<'_>, lines: &mut BTreeMap<String, usize>) {
    for (name, value) in table {
        let key = join(prefix, name.get_ref());
        lines.insert(key.clone(), line_at(text, name.span().start));
        locate_inside(text, &key, value, lines);
    }
}

fn locate_inside(text: &str, key: &str, value: &Spanned<DeValue<'_>>, lines: &mut BTreeMap<String, usize>) {
    match value.get_ref() {
        DeValue::Table(inner) => locate(text, key, inner, lines),
        DeValue::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let key = format!("{key}[{index}]");
                lines.insert(key.clone(), line_at(text, item.span().start));
                locate_inside(text, &key, item, lines);
            }
        }
        _ => {}
    }
}

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") }
}

fn line_at(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

/// The known key that was probably meant: the one that differs in the fewest letters, if they are few.
fn nearest(key: &str, specs: &[OptionSpec]) -> Option<&'static str> {
    let allowed = 1 + key.len() / 5;
    specs
        .iter()
        .map(|spec| (distance(key, spec.key), spec.key))
        .min()
        .filter(|(distance, _)| *distance <= allowed)
        .map(|(_, known)| known)
}

/// How many letters must be put in, taken out or exchanged to make one text the other (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (above, b) in row.iter_mut().skip(1).zip(to.chars()) {
            let cost = (diagonal + usize::from(a != b)).min(left + 1).min(*above + 1);
            diagonal = std::mem::replace(above, cost);
            left = cost;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::distance;

    #[test]
    fn distance_counts_letters() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("same", "same"), 0);
    }
}
