//! What the configuration holds for a value of a webhook, such as whose number was called.

use std::collections::HashMap;

use proto::template::{Template, scalar};
use serde_json::{Map, Value};

use super::event::{Event, Fact};
use super::written;
use crate::mapping::{Wrong, template};

/// A table of the configuration, and the value by which it is asked.
#[derive(Debug)]
pub(super) struct Lookup {
    key: Template<Fact>,
    /// JSON texts.
    table: HashMap<String, String>,
}

impl Lookup {
    /// Compiles what was written under `key`. The table stands in the file itself, or as JSON in a variable or in
    /// another file. A variable that is not set is an empty table.
    pub(super) fn compile(key: &str, written: &written::Lookup) -> Result<Self, Wrong> {
        let wrong = |field: &str, message: String| (format!("{key}.{field}"), message);
        let table = match (&written.table, &written.env, &written.file) {
            (Some(table), None, None) => table.clone(),
            (None, Some(name), None) => match std::env::var(name) {
                Ok(text) if !text.is_empty() => read(&text).map_err(|message| wrong("env", message))?,
                _ => Map::new(),
            },
            (None, None, Some(path)) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| wrong("file", format!("cannot read {path}: {error}")))?;
                read(&text).map_err(|message| wrong("file", message))?
            }
            _ => return Err((key.to_owned(), "needs exactly one of table, env and file".to_owned())),
        };
        let table = table.into_iter().map(|(name, value)| (name, value.to_string())).collect();
        Ok(Self { key: template(&format!("{key}.key"), &written.key)?, table })
    }

    /// The JSON text of what the table holds for this webhook.
    pub(super) fn find(&self, event: &Event<'_>) -> Option<&str> {
        let key = self.key.render(event)?;
        self.table.get(scalar(&key)?.as_ref()).map(String::as_str)
    }
}

fn read(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| format!("must hold a JSON object: {error}"))
}
