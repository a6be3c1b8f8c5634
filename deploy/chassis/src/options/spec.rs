//! What an option is: one row of a component's table, from which its flag, its environment variable, its key in
//! the file, its help and its place in the reference all follow.

use toml::Value;

use super::{ByteSize, HumanDuration};

/// One option of a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionSpec {
    /// Its name, which is also its place in the file: `limits.max_connections` is `max_connections` in `[limits]`.
    pub key: &'static str,
    /// What may be written.
    pub kind: Kind,
    /// What holds when nobody writes anything, as it would be written in the environment. Empty: the option is
    /// absent (a list: empty). For a secret, `env:NAME` reads that variable if there is one.
    pub default: &'static str,
    /// One or two sentences for whoever runs the service.
    pub help: &'static str,
}

/// What may be written for an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text; what it must look like is for the component to say.
    Text,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// A length of time with its unit, such as `25s`.
    Duration,
    /// An amount of bytes, such as `64KiB`.
    Size,
    /// Texts; separated by commas in flags and the environment.
    List,
    /// A credential: `{ env = "NAME" }` or `{ file = "/path" }` in the file; never a flag, because other users of
    /// the machine can read those.
    Secret,
    /// A table or a list of tables, which only the file can hold, with what may stand in each.
    Tables(&'static [Field]),
}

/// One key of such a table, for the reference: what a table means, and which values are wrong, is for its component to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Its name in the table; with a dot, a key of a table within the table.
    pub key: &'static str,
    /// What may be written, in a word or two.
    pub takes: &'static str,
    /// What holds where it is absent. Empty: nothing does, or the help says what.
    pub default: &'static str,
    /// What it means.
    pub help: &'static str,
}

impl Field {
    /// A row.
    pub const fn new(
        key: &'static str,
        takes: &'static str,
        default: &'static str,
        help: &'static str,
    ) -> Self {
        Self { key, takes, default, help }
    }

    /// The keys of a table, as a test compares them with the struct that it is read into; of the table within it that
    /// `of` names, or of the table itself.
    pub fn keys(fields: &[Self], of: Option<&str>) -> Vec<&'static str> {
        let own = |field: &Self| match (field.key.split_once('.'), of) {
            (None, None) => Some(field.key),
            (Some((table, key)), Some(of)) if table == of => Some(key),
            _ => None,
        };
        fields.iter().filter_map(own).collect()
    }
}

impl OptionSpec {
    /// The name of its flag, without the dashes in front. Options of which only the file or the environment can
    /// speak have none.
    pub fn flag(&self) -> Option<String> {
        match self.kind {
            Kind::Secret | Kind::Tables(_) => None,
            Kind::Text | Kind::Integer | Kind::Boolean | Kind::Duration | Kind::Size | Kind::List => {
                Some(self.key.replace(['.', '_'], "-"))
            }
        }
    }

    /// The name of its environment variable, unless only the file can hold it.
    pub fn variable(&self) -> Option<String> {
        match self.kind {
            Kind::Tables(_) => None,
            _ => Some(format!("SWITCHBOARD_{}", self.key.replace('.', "_").to_ascii_uppercase())),
        }
    }

    /// The part of its key before the last dot: the table of the file in which it stands.
    pub fn group(&self) -> &'static str {
        self.key.rsplit_once('.').map_or("", |(group, _)| group)
    }
}

impl Kind {
    /// What stands for a value in help texts.
    pub const fn placeholder(self) -> &'static str {
        match self {
            Self::Text => "TEXT",
            Self::Integer => "NUMBER",
            Self::Boolean => "true|false",
            Self::Duration => "DURATION",
            Self::Size => "SIZE",
            Self::List => "A,B,…",
            Self::Secret => "SECRET",
            Self::Tables(_) => "TABLES",
        }
    }

    /// Reads a flag or a variable.
    pub(super) fn parse(self, text: &str) -> Result<Value, String> {
        match self {
            Self::Text => Ok(Value::String(text.to_owned())),
            Self::Integer => {
                text.trim().parse().map(Value::Integer).map_err(|_| format!("{text:?} is not a whole number"))
            }
            Self::Boolean => match text.trim() {
                "true" => Ok(Value::Boolean(true)),
                "false" => Ok(Value::Boolean(false)),
                other => Err(format!("{other:?} is neither true nor false")),
            },
            Self::Duration | Self::Size => {
                let value = Value::String(text.trim().to_owned());
                self.check(&value).map(|()| value)
            }
            Self::List => Ok(Value::Array(
                text.split(',')
                    .map(str::trim)
                    .filter(|item| !item.is_empty())
                    .map(|item| Value::String(item.to_owned()))
                    .collect(),
            )),
            Self::Secret | Self::Tables(_) => Err("can only be written in the file".to_owned()),
        }
    }

    /// Checks a value of the file. The message never repeats a value that could be a secret.
    pub(super) fn check(self, value: &Value) -> Result<(), String> {
        match (self, value) {
            (Self::Text, Value::String(_))
            | (Self::Integer, Value::Integer(_))
            | (Self::Boolean, Value::Boolean(_))
            | (Self::Secret | Self::Tables(_), Value::Table(_)) => Ok(()),
            (Self::Duration, Value::String(text)) => {
                text.parse::<HumanDuration>().map(drop).map_err(|error| error.to_string())
            }
            (Self::Size, Value::String(text)) => {
                text.parse::<ByteSize>().map(drop).map_err(|error| error.to_string())
            }
            (Self::Size, Value::Integer(bytes)) if *bytes >= 0 => Ok(()),
            (Self::List, Value::Array(items)) if items.iter().all(Value::is_str) => Ok(()),
            (Self::Tables(_), Value::Array(items)) if items.iter().all(Value::is_table) => Ok(()),
            (kind, value) => Err(format!("must be {}, not {}", kind.expected(), kind_of(value))),
        }
    }

    /// What to tell someone who wrote something else.
    const fn expected(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Integer => "a whole number",
            Self::Boolean => "true or false",
            Self::Duration => "a duration such as \"25s\"",
            Self::Size => "a size such as \"64KiB\"",
            Self::List => "a list of texts",
            Self::Secret => "{ env = \"NAME\" } or { file = \"/path\" }",
            Self::Tables(_) => "a table or a list of tables",
        }
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Integer(_) => "a number",
        Value::Float(_) => "a fraction",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}
