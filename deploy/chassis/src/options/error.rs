//! What is wrong with a configuration, said so that it can be mended: which key, where it was written, and what
//! would be right.

use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: it is the default.
    Default,
    /// In the configuration file, in this line (from 1).
    File(PathBuf, usize),
    /// In this environment variable.
    Environment(String),
    /// In this flag, with its dashes.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("by default"),
            Self::File(path, line) => write!(f, "in {}, line {line}", path.display()),
            Self::Environment(name) => write!(f, "in the environment variable {name}"),
            Self::Flag(flag) => write!(f, "in the flag {flag}"),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The key, as it stands in the file.
    pub key: String,
    /// Where it was written.
    pub origin: Origin,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.key, self.message, self.origin)
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// The command line was refused, or asked for help or the version.
    #[error("{0}")]
    CommandLine(Box<clap::Error>),
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}: {error}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{path}, line {line}: {message}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the parser said, without the text of the line, which may hold a credential.
        message: String,
    },
    /// Keys that do not exist or do not hold what they should; all of them.
    #[error("{}", list(.0))]
    Invalid(Vec<Mistake>),
    /// Two components ask for the same name with different meanings. A mistake in the program.
    #[error("two options share the name {0}")]
    Ambiguous(String),
}

impl OptionsError {
    /// Tells the person at the terminal and says how the process should end.
    pub fn report(&self) -> ExitCode {
        // There is nobody left to tell if the terminal is gone.
        match self {
            Self::CommandLine(error) => _ = error.print(),
            _ => _ = writeln!(std::io::stderr(), "error: {self}"),
        }
        ExitCode::from(self.exit_code())
    }

    /// 0 after help or the version, else 2.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::CommandLine(error) => u8::try_from(error.exit_code()).unwrap_or(2),
            _ => 2,
        }
    }
}

fn list(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(Mistake::to_string).collect::<Vec<_>>().join("\n       ")
}
