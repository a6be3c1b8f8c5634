//! One line of the log, made of values that are safe to write.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::time::SystemTime;

use serde::ser::{Serialize, SerializeMap, Serializer};
use tracing::Level;
use tracing::field::{Field, Visit};

use super::redact::{MASK, is_secret_name, redact};

/// The longest value, in bytes. Whatever a client or a server sent, a line stays readable.
const LONGEST: usize = 4096;

/// How lines look.
pub(super) enum Style {
    /// One JSON object a line, with these labels in each.
    Json {
        /// Names and values.
        labels: Vec<(&'static str, String)>,
    },
    /// For people.
    Pretty {
        /// Whether the level has a colour.
        colour: bool,
    },
}

/// The value of a field, without secrets.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Unsigned(u64),
    Fraction(f64),
    Boolean(bool),
}

/// The fields of an event or a span. All values come in here, and are redacted here.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields(Vec<(&'static str, Value)>);

/// Everything that a line tells.
pub(super) struct Line<'a> {
    pub(super) time: SystemTime,
    pub(super) level: Level,
    pub(super) target: &'a str,
    /// The event's own.
    pub(super) fields: &'a Fields,
    /// Those of the spans around it, the innermost first.
    pub(super) spans: &'a [Fields],
}

impl Fields {
    fn set(&mut self, name: &'static str, value: Value) {
        let value = if is_secret_name(name) { Value::Text(MASK.to_owned()) } else { value };
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name, value)),
        }
    }

    fn set_text(&mut self, name: &'static str, text: &str) {
        // Shortened only afterwards: half a secret may not look like one.
        self.set(name, Value::Text(shorten(redact(text))));
    }

    /// A field that is written in another place than the others.
    fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find_map(|(known, value)| match value {
            Value::Text(text) if *known == name => Some(text.as_str()),
            _ => None,
        })
    }

    fn iter(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.0.iter().map(|(name, value)| (*name, value))
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set_text(field.name(), &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set_text(field.name(), value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(error) = source {
            // Writing to a string cannot fail.
            _ = write!(text, ": {error}");
            source = error.source();
        }
        self.set_text(field.name(), &text);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field.name(), Value::Integer(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field.name(), Value::Unsigned(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field.name(), Value::Fraction(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field.name(), Value::Boolean(value));
    }
}

impl Line<'_> {
    /// The line with its line break.
    pub(super) fn write(&self, style: &Style) -> String {
        let mut text = match style {
            Style::Json { labels } => serde_json::to_string(&Json { line: self, labels }).unwrap_or_default(),
            Style::Pretty { colour } => self.pretty(*colour),
        };
        text.push('\n');
        text
    }

    fn pretty(&self, colour: bool) -> String {
        let time = humantime::format_rfc3339_millis(self.time).to_string();
        let mut text = time.get(11..23).unwrap_or(&time).to_owned();
        let level = format!("{:<5}", self.level.as_str());
        // Writing to a string cannot fail.
        _ = match colour_of(self.level) {
            Some(code) if colour => write!(text, " \x1b[{code}m{level}\x1b[0m "),
            _ => write!(text, " {level} "),
        };
        push_printable(&mut text, self.message());
        for (name, value) in self.others() {
            _ = match value {
                Value::Text(value) if value.contains(char::is_whitespace) || value.is_empty() => {
                    write!(text, "  {name}={value:?}")
                }
                Value::Text(value) => {
                    _ = write!(text, "  {name}=");
                    push_printable(&mut text, value);
                    Ok(())
                }
                Value::Integer(value) => write!(text, "  {name}={value}"),
                Value::Unsigned(value) => write!(text, "  {name}={value}"),
                Value::Fraction(value) => write!(text, "  {name}={value}"),
                Value::Boolean(value) => write!(text, "  {name}={value}"),
            };
        }
        text
    }

    fn message(&self) -> &str {
        self.fields.text("message").unwrap_or_default()
    }

    /// Where it comes from. Records of the crate `log` carry that in a field.
    fn target(&self) -> &str {
        self.fields.text("log.target").unwrap_or(self.target)
    }

    /// All fields but the message and those of `log`; where a name stands twice, the innermost counts.
    fn others(&self) -> Vec<(&'static str, &Value)> {
        let mut others: Vec<(&'static str, &Value)> = Vec::new();
        for (name, value) in std::iter::once(self.fields).chain(self.spans).flat_map(Fields::iter) {
            let is_special = name == "message" || name.starts_with("log.");
            if !is_special && !others.iter().any(|(known, _)| *known == name) {
                others.push((name, value));
            }
        }
        others
    }
}

struct Json<'a> {
    line: &'a Line<'a>,
    labels: &'a [(&'static str, String)],
}

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let line = self.line;
        let mut map = serializer.serialize_map(None)?;
        let time = humantime::format_rfc3339_micros(line.time);
        map.serialize_entry("time", &format_args!("{time}"))?;
        map.serialize_entry("level", line.level.as_str())?;
        map.serialize_entry("target", line.target())?;
        map.serialize_entry("message", line.message())?;
        for (name, value) in self.labels {
            map.serialize_entry(name, value)?;
        }
        for (name, value) in line.others() {
            // A name may stand only once in an object.
            let is_taken = matches!(name, "time" | "level" | "target")
                || self.labels.iter().any(|(label, _)| *label == name);
            if !is_taken {
                map.serialize_entry(name, value)?;
            }
        }
        map.end()
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Integer(number) => serializer.serialize_i64(*number),
            Self::Unsigned(number) => serializer.serialize_u64(*number),
            Self::Fraction(number) => serializer.serialize_f64(*number),
            Self::Boolean(value) => serializer.serialize_bool(*value),
        }
    }
}

const fn colour_of(level: Level) -> Option<u8> {
    match level {
        Level::ERROR => Some(31),
        Level::WARN => Some(33),
        Level::INFO => Some(32),
        _ => None,
    }
}

/// Without control characters, so that no value can begin a line of its own or move the cursor.
fn push_printable(text: &mut String, value: &str) {
    for letter in value.chars() {
        if letter.is_control() { text.extend(letter.escape_default()) } else { text.push(letter) }
    }
}

fn shorten(text: Cow<'_, str>) -> String {
    let mut text = text.into_owned();
    if text.len() > LONGEST {
        text.truncate(text.floor_char_boundary(LONGEST));
        text.push('…');
    }
    text
}
