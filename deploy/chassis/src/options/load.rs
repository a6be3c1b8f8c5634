//! Lays the sources of options over each other: defaults, file, environment, flags.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::error::{Mistake, Origin};
use super::file::{self, Lines};
use super::{Kind, OptionSpec, OptionsError, command};

/// The options as they were written, checked for their names and kinds. Each component reads its own section.
pub struct Loaded {
    values: BTreeMap<&'static str, (Value, Origin)>,
    lines: Lines,
    check: bool,
    config: Option<PathBuf>,
    warnings: Mutex<Vec<String>>,
}

/// The environment, as names and values.
pub(crate) type Environment = BTreeMap<String, String>;

const PREFIX: &str = "SWITCHBOARD_";
const CONFIG: &str = "SWITCHBOARD_CONFIG";

/// Reads the command line, the environment and the file.
///
/// `args` begins with the name of the program, as [`std::env::args_os`] does. `specs` are the tables of all
/// components of the process; a key that stands in two of them must mean the same in both. All mistakes are told
/// at once.
pub fn load(
    name: &str,
    about: &str,
    specs: &[&[OptionSpec]],
    args: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> Result<Loaded, OptionsError> {
    // Variables that are not text cannot be ours: every name and value of ours is.
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    load_from(name, about, specs, args, environment)
}

/// The same, with the environment given.
pub(crate) fn load_from(
    name: &str,
    about: &str,
    specs: &[&[OptionSpec]],
    args: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    mut environment: Environment,
) -> Result<Loaded, OptionsError> {
    // An empty variable is what an unset one looks like after it went through a compose file or a chart.
    environment.retain(|_, value| !value.is_empty());
    let specs = merge(specs)?;
    let matches = command::command(name, about, &specs)
        .try_get_matches_from(args)
        .map_err(|error| OptionsError::CommandLine(Box::new(error)))?;

    let mut mistakes = Vec::new();
    let config = matches.get_one::<String>("config").or_else(|| environment.get(CONFIG)).map(PathBuf::from);
    let file = match &config {
        Some(path) => file::read(path, &specs, &mut mistakes)?,
        None => file::File::default(),
    };

    let mut values = BTreeMap::new();
    for spec in &specs {
        let written = from_flag(spec, &matches)
            .or_else(|| from_environment(spec, &environment))
            .or_else(|| Some((Ok(file.values.get(spec.key)?.clone()), file.lines.origin(spec.key))))
            .or_else(|| from_default(spec, &environment));
        match written {
            Some((Ok(value), origin)) => _ = values.insert(spec.key, (value, origin)),
            Some((Err(message), origin)) => {
                mistakes.push(Mistake { key: spec.key.to_owned(), origin, message });
            }
            None => {}
        }
    }
    if !mistakes.is_empty() {
        return Err(OptionsError::Invalid(mistakes));
    }
    let warnings = Mutex::new(unknown_variables(&specs, &environment));
    Ok(Loaded { values, lines: file.lines, check: matches.get_flag("check"), config, warnings })
}

impl Loaded {
    /// Reads the options of one component.
    ///
    /// `T` has a field for each key of `specs` (nested structs for keys with dots) and denies unknown fields. An
    /// option without a default is an [`Option`]. The error names the key and where it was written.
    pub fn section<T: DeserializeOwned>(&self, specs: &[OptionSpec]) -> Result<T, OptionsError> {
        let mut section = Table::new();
        for spec in specs {
            // The table of a group is there even if all its options are absent, so that it needs no default.
            let mut table = &mut section;
            let mut parts = spec.key.split('.').peekable();
            while let Some(part) = parts.next() {
                if parts.peek().is_none() {
                    if let Some((value, _)) = self.values.get(spec.key) {
                        table.insert(part.to_owned(), value.clone());
                    }
                } else {
                    let entry = table.entry(part).or_insert_with(|| Value::Table(Table::new()));
                    let Value::Table(inner) = entry else {
                        return Err(OptionsError::Ambiguous(spec.key.to_owned()));
                    };
                    table = inner;
                }
            }
        }
        serde_path_to_error::deserialize(Value::Table(section)).map_err(|error| {
            let key = error.path().to_string();
            let message = error.inner().message().to_owned();
            self.wrong(key, message)
        })
    }

    /// A mistake that a component found in the meaning of a value, told like all others.
    pub fn mistake(&self, key: impl Into<String>, message: impl Into<String>) -> Mistake {
        let key = key.into();
        Mistake { origin: self.origin(&key), key, message: message.into() }
    }

    /// The same as an error of its own.
    pub fn wrong(&self, key: impl Into<String>, message: impl Into<String>) -> OptionsError {
        OptionsError::Invalid(vec![self.mistake(key, message)])
    }

    /// Notes what a component found to work, but not to be wise. It is logged once the log is set up.
    pub fn warn(&self, warning: impl Into<String>) {
        self.warnings.lock().push(warning.into());
    }

    /// Where the value of a key, or of a part of it (`channels[0].join`), was written.
    pub fn origin(&self, key: &str) -> Origin {
        let value = self.values.iter().find(|(known, _)| {
            key.strip_prefix(**known).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        });
        match value {
            Some((_, (_, Origin::File(..)))) => self.lines.origin(key),
            Some((_, (_, origin))) => origin.clone(),
            None => Origin::Default,
        }
    }

    /// Whether only the configuration is to be checked (`--check`).
    pub const fn is_check(&self) -> bool {
        self.check
    }

    /// The configuration file, if one was named.
    pub fn config_file(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// What looks like a mistake but may be none, such as a variable that no component knows, and what components
    /// noted. To be logged once the log is set up.
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.lock().clone()
    }
}

/// Says which options were written and where, without their values.
impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.values.iter().map(|(key, (_, origin))| (key, origin))).finish()
    }
}

type Written = Option<(Result<Value, String>, Origin)>;

fn from_flag(spec: &OptionSpec, matches: &ArgMatches) -> Written {
    let flag = spec.flag()?;
    let texts: Vec<&str> = matches.get_many::<String>(spec.key)?.map(String::as_str).collect();
    // Only a list may be given more than once; clap refuses it for all others.
    Some((spec.kind.parse(&texts.join(",")), Origin::Flag(format!("--{flag}"))))
}

fn from_environment(spec: &OptionSpec, environment: &Environment) -> Written {
    let name = spec.variable()?;
    if spec.kind != Kind::Secret {
        let text = environment.get(&name)?;
        return Some((spec.kind.parse(text), Origin::Environment(name)));
    }
    let file = format!("{name}_FILE");
    match (environment.contains_key(&name), environment.get(&file)) {
        (true, Some(_)) => {
            Some((Err(format!("stands in {file} as well; only one can hold")), Origin::Environment(name)))
        }
        (true, None) => Some((Ok(place("env", &name)), Origin::Environment(name))),
        (false, Some(path)) => Some((Ok(place("file", path)), Origin::Environment(file))),
        (false, None) => None,
    }
}

fn from_default(spec: &OptionSpec, environment: &Environment) -> Written {
    match (spec.kind, spec.default) {
        (Kind::Secret, default) => {
            let name = default.strip_prefix("env:")?;
            environment
                .contains_key(name)
                .then(|| (Ok(place("env", name)), Origin::Environment(name.to_owned())))
        }
        (Kind::List, default) => Some((Kind::List.parse(default), Origin::Default)),
        (_, "") => None,
        (kind, default) => Some((kind.parse(default), Origin::Default)),
    }
}

/// A secret, as the file would say where it is.
fn place(kind: &str, place: &str) -> Value {
    Value::Table(Table::from_iter([(kind.to_owned(), Value::String(place.to_owned()))]))
}

/// All tables as one, without those rows that several components share.
fn merge(tables: &[&[OptionSpec]]) -> Result<Vec<OptionSpec>, OptionsError> {
    let mut merged: Vec<OptionSpec> = Vec::new();
    let mut flags: BTreeSet<String> = command::RESERVED.iter().map(|&name| name.to_owned()).collect();
    for spec in tables.iter().copied().flatten() {
        match merged.iter().find(|known| known.key == spec.key) {
            Some(known) if known == spec => continue,
            Some(_) => return Err(OptionsError::Ambiguous(spec.key.to_owned())),
            None => {}
        }
        // Not only the keys, also what follows from them must be different.
        if !flags.insert(spec.key.replace(['.', '_'], "-")) {
            return Err(OptionsError::Ambiguous(spec.key.to_owned()));
        }
        merged.push(*spec);
    }
    Ok(merged)
}

fn unknown_variables(specs: &[OptionSpec], environment: &Environment) -> Vec<String> {
    let known: BTreeSet<String> = specs
        .iter()
        .filter_map(|spec| Some((spec.variable()?, spec.kind)))
        .flat_map(|(name, kind)| {
            let file = (kind == Kind::Secret).then(|| format!("{name}_FILE"));
            std::iter::once(name).chain(file)
        })
        .collect();
    environment
        .keys()
        .filter(|name| name.starts_with(PREFIX) && *name != CONFIG)
        .filter(|name| !known.contains(*name) && !is_service_link(name))
        .map(|name| format!("the environment variable {name} is set, but there is no such option"))
        .collect()
}

/// Whether Kubernetes made this variable, for a service that happens to be called `switchboard…`.
fn is_service_link(name: &str) -> bool {
    let marks = ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT_", "_TCP", "_UDP"];
    name.ends_with("_PORT") || marks.iter().any(|mark| name.contains(mark))
}
