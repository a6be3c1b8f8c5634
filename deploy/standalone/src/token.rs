//! `standalone token`: makes a token to try things with.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use chassis::auth::AuthConfig;
use chassis::options::{self, HumanDuration, Kind, Loaded, OptionSpec, OptionsError};
use chassis::process::{COMMON, Program};
use serde::Deserialize;
use serde_json::{Map, Value};

/// The word that asks for it.
pub(crate) const WORD: &str = "token";

/// The rows of its own options.
const TOKEN: &[OptionSpec] = &[
    OptionSpec {
        key: "claims",
        kind: Kind::Text,
        default: r#"{"sub":"dev"}"#,
        help: "What the token says, as a JSON object. Times, issuer and audience are added where they are missing.",
    },
    OptionSpec {
        key: "lifetime",
        kind: Kind::Duration,
        default: "1h",
        help: "How long the token is good, unless the claims have an `exp`.",
    },
];

#[derive(Deserialize)]
struct Section {
    claims: String,
    lifetime: HumanDuration,
}

/// Prints a token that is signed with the configured secret. `args` begins with the name of the program.
pub(crate) fn mint(program: &Program, args: impl Iterator<Item = OsString>) -> ExitCode {
    let tables: Vec<&[OptionSpec]> =
        COMMON.into_iter().chain(program.options.iter().copied()).chain([TOKEN]).collect();
    let about = "Makes a token that is signed with the configured secret, for trying things out.";
    let minted = options::load("standalone token", about, &tables, args).and_then(|loaded| token(&loaded));
    match minted {
        Ok(token) => {
            // Whoever closed the output does not want it.
            _ = writeln!(std::io::stdout(), "{token}");
            ExitCode::SUCCESS
        }
        Err(error) => error.report(),
    }
}

fn token(loaded: &Loaded) -> Result<String, OptionsError> {
    let Section { claims, lifetime } = loaded.section(TOKEN)?;
    // The text may hold what is nobody's business: it is not repeated.
    let claims: Map<String, Value> =
        serde_json::from_str(&claims).map_err(|_| loaded.wrong("claims", "must be a JSON object"))?;
    let minter = AuthConfig::from_options(loaded)?.minter().ok_or_else(|| {
        loaded.wrong("auth.secret", "is missing: only a secret can sign, and a public key cannot")
    })?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    minter
        .mint_claims(claims, lifetime.0, now)
        .map_err(|_| loaded.wrong("auth.algorithm", "cannot sign with this secret"))
}
