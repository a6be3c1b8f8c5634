//! The log: one line for each event, as JSON or for people, without secrets.
//!
//! Every value passes through `redact` on its way into a line, whichever crate it came from, so that no call site
//! has to remember it. Lines from `log` records of dependencies and from panics go the same way.

mod layer;
mod line;
mod redact;

use std::io::{self, IsTerminal, Write};
use std::panic::PanicHookInfo;

use serde::Deserialize;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry};

use crate::options::{Kind, Loaded, OptionSpec, OptionsError};
use layer::LineLayer;
use line::Style;

/// The options of the log.
pub const LOG: &[OptionSpec] = &[
    OptionSpec {
        key: "log.format",
        kind: Kind::Text,
        default: "auto",
        help: "json (one object a line), pretty (for people), or auto: pretty on a terminal, else json.",
    },
    OptionSpec {
        key: "log.level",
        kind: Kind::Text,
        default: "info",
        help: "error, warn, info, debug, trace or off; or by module, such as info,switchboard_gateway=debug.",
    },
];

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// For people.
    Pretty,
    /// [`Format::Pretty`] on a terminal, else [`Format::Json`].
    Auto,
}

/// What is logged, and how.
#[derive(Debug)]
pub struct LogConfig {
    format: Format,
    level: EnvFilter,
}

/// Somebody else set up a log before.
#[derive(Debug, thiserror::Error)]
#[error("the log is set up already")]
pub struct AlreadySetUp;

impl LogConfig {
    /// Reads the options of [`LOG`].
    pub fn from_options(options: &Loaded) -> Result<Self, OptionsError> {
        let written = options.section::<Section>(LOG)?.log;
        let level = EnvFilter::try_new(&written.level)
            .map_err(|error| options.wrong("log.level", format!("is not understood: {error}")))?;
        Ok(Self { format: written.format, level })
    }

    /// Sends events and panics of the whole process to the standard output from now on. `labels` stand in every
    /// JSON line, such as the name of the node.
    pub fn install(self, labels: Vec<(&'static str, String)>) -> Result<(), AlreadySetUp> {
        let is_terminal = io::stdout().is_terminal();
        let style = match self.format {
            Format::Json => Style::Json { labels },
            Format::Auto if !is_terminal => Style::Json { labels },
            Format::Pretty | Format::Auto => Style::Pretty { colour: is_terminal },
        };
        // A log that nobody can read any more must not end the process.
        let layer = LineLayer::new(style, |line| _ = io::stdout().lock().write_all(line));
        Registry::default().with(layer).with(self.level).try_init().map_err(|_| AlreadySetUp)?;
        std::panic::set_hook(Box::new(log_panic));
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    log: Written,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    format: Format,
    level: String,
}

/// A panic is a line like any other; the default hook would write its message as it is.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let payload = panic.payload_as_str().unwrap_or("not a text");
    let location = panic.location().map(ToString::to_string);
    tracing::error!(payload, location, "a task panicked");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::load;

    fn read(flags: &[&str]) -> Result<LogConfig, OptionsError> {
        let args = std::iter::once("gateway").chain(flags.iter().copied());
        LogConfig::from_options(&load("gateway", "", &[LOG], args).unwrap())
    }

    #[test]
    fn formats_and_levels_are_read() {
        assert_eq!(read(&[]).unwrap().format, Format::Auto);
        let config = read(&["--log-format=json", "--log-level=info,switchboard_gateway=debug"]).unwrap();
        assert_eq!(config.format, Format::Json);
        assert_eq!(config.level.to_string(), "switchboard_gateway=debug,info");
    }

    #[test]
    fn a_level_or_format_that_does_not_exist_is_refused_by_its_name() {
        let message = read(&["--log-level=switchboard=loud"]).unwrap_err().to_string();
        assert!(message.contains("log.level") && message.contains("--log-level"), "{message}");
        let message = read(&["--log-format=xml"]).unwrap_err().to_string();
        assert!(message.contains("log.format") && message.contains("`pretty`"), "{message}");
    }
}
