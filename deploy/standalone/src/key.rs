//! `standalone key`: makes an API key for a backend.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use chassis::auth::{NewApiKey, Scopes};
use chassis::options::{self, Kind, Loaded, OptionSpec, OptionsError};
use serde::Deserialize;

/// The word that asks for it.
pub(crate) const WORD: &str = "key";

const ABOUT: &str = "Makes an API key for a backend. Its table for the configuration goes to the standard output, and the key \
                     itself, which nobody can read again later, to the standard error.";

const KEY: &[OptionSpec] = &[
    OptionSpec { key: "name", kind: Kind::Text, default: "backend", help: "Whose key it is, for logs." },
    OptionSpec {
        key: "tenants",
        kind: Kind::List,
        default: "default",
        help: "Where it may act: the first is used when a request names none; `*` stands for every other.",
    },
    OptionSpec {
        key: "scopes",
        kind: Kind::List,
        default: "publish",
        help: "What it may do: `publish`, `admin`, or the scopes that the configuration names in their place.",
    },
];

#[derive(Deserialize)]
struct Section {
    name: String,
    tenants: Vec<String>,
    scopes: Vec<String>,
}

/// Prints a new key. `args` begins with the name of the program.
pub(crate) fn make(args: impl Iterator<Item = OsString>) -> ExitCode {
    match options::load("standalone key", ABOUT, &[KEY], args).and_then(|loaded| key(&loaded)) {
        Ok((key, table)) => {
            // Whoever closed an output does not want it.
            _ = std::io::stdout().write_all(table.as_bytes());
            _ = writeln!(std::io::stderr(), "{}", key.expose());
            ExitCode::SUCCESS
        }
        Err(error) => error.report(),
    }
}

fn key(loaded: &Loaded) -> Result<(NewApiKey, String), OptionsError> {
    let Section { name, tenants, scopes } = loaded.section(KEY)?;
    let scopes = Scopes::new(scopes.iter().map(String::as_str))
        .map_err(|error| loaded.wrong("scopes", error.to_string()))?;
    let key = NewApiKey::new().map_err(|error| loaded.wrong("name", error.to_string()))?;
    let table = key.table(&name, &tenants, &scopes);
    Ok((key, table))
}
