//! The command line that follows from the tables of options.

use clap::builder::ValueHint;
use clap::{Arg, ArgAction, Command};

use super::{Kind, OptionSpec};

/// Names that are taken by the flags that every binary has.
pub(super) const RESERVED: [&str; 4] = ["config", "check", "help", "version"];

/// Builds the command line.
pub(super) fn command(name: &str, about: &str, specs: &[OptionSpec]) -> Command {
    let mut command = Command::new(name.to_owned())
        .about(about.to_owned())
        .version(env!("CARGO_PKG_VERSION"))
        .after_help(teaching(name, specs))
        .arg(
            Arg::new("config")
                .long("config")
                .value_name("FILE")
                .value_hint(ValueHint::FilePath)
                .help("Read options from this TOML file [env: SWITCHBOARD_CONFIG]"),
        )
        .arg(
            Arg::new("check")
                .long("check")
                .action(ArgAction::SetTrue)
                .help("Check the configuration, say what is wrong with it, and end"),
        );
    for spec in specs {
        if let Some(argument) = argument(spec) {
            command = command.arg(argument);
        }
    }
    command
}

fn argument(spec: &OptionSpec) -> Option<Arg> {
    let flag = spec.flag()?;
    let mut help = spec.help.to_owned();
    if !spec.default.is_empty() {
        help = format!("{help} [default: {}]", spec.default);
    }
    if let Some(variable) = spec.variable() {
        help = format!("{help} [env: {variable}]");
    }
    let argument = Arg::new(spec.key).long(flag).value_name(spec.kind.placeholder()).help(help);
    let argument = match spec.group() {
        "" => argument,
        group => argument.help_heading(heading(group)),
    };
    Some(match spec.kind {
        // `--flag` alone means true; a value needs the equals sign, so that it does not swallow the next word.
        Kind::Boolean => argument.num_args(0..=1).require_equals(true).default_missing_value("true"),
        Kind::List => argument.action(ArgAction::Append),
        _ => argument.allow_hyphen_values(true),
    })
}

/// `auth.jwt` becomes `Auth jwt`.
pub(super) fn heading(group: &str) -> String {
    let words = group.replace(['.', '_'], " ");
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn teaching(name: &str, specs: &[OptionSpec]) -> String {
    let is_table = |spec: &&OptionSpec| matches!(spec.kind, Kind::Tables(fields) if !fields.is_empty());
    let tables: Vec<&str> = specs.iter().filter(is_table).map(|spec| spec.key).collect();
    let tables = match tables.as_slice() {
        [] => String::new(),
        names => format!(
            "Only the file holds tables: {}. What stands in them: `standalone reference`.\n\n",
            names.join(", ")
        ),
    };
    format!(
        "\
{tables}Every option can be written in three places; a flag wins over the environment, which wins over the file:
  --log-level debug
  SWITCHBOARD_LOG_LEVEL=debug
  [log]
  level = \"debug\"

Durations need a unit (250ms, 25s, 1h 30m), sizes may have one (512, 64KiB, 1MiB).
Secrets are no flags. The file says where they are: secret = {{ env = \"JWT_SECRET\" }} or
{{ file = \"/run/secrets/jwt\" }}; in the environment, SWITCHBOARD_<NAME> holds the secret itself and
SWITCHBOARD_<NAME>_FILE the path of a file that does.

Examples:
  {name}                                        with defaults
  {name} --config /etc/switchboard.toml         with a file
  {name} --config new.toml --check              is this file right?
  SWITCHBOARD_CONFIG=/etc/switchboard.toml {name} --log-format pretty"
    )
}
