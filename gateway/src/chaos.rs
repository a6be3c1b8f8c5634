//! The switches of test builds (feature `chaos`), as options: see [`broker::chaos`].

use broker::chaos::{Detector, Switches};
use chassis::options::{HumanDuration, Kind, Loaded, OptionSpec, OptionsError};
use serde::Deserialize;

/// The rows of the switches.
pub const CHAOS: &[OptionSpec] = &[
    OptionSpec {
        key: "chaos.disable",
        kind: Kind::List,
        default: "",
        help: "Detectors to switch off: hole, chain, interruption, audit.",
    },
    OptionSpec {
        key: "chaos.lose",
        kind: Kind::Integer,
        default: "0",
        help: "How many of a hundred frames to lose without a word.",
    },
    OptionSpec { key: "chaos.audit", kind: Kind::Duration, default: "30s", help: "How often to audit." },
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    chaos: Written,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    disable: Vec<String>,
    lose: u32,
    audit: HumanDuration,
}

/// Reads the switches and sets them for this process.
pub fn set_switches(loaded: &Loaded) -> Result<(), OptionsError> {
    let Section { chaos } = loaded.section(CHAOS)?;
    let mut off = Vec::new();
    for name in &chaos.disable {
        off.push(match name.as_str() {
            "hole" => Detector::Hole,
            "chain" => Detector::Chain,
            "interruption" => Detector::Interruption,
            "audit" => Detector::Audit,
            _ => {
                return Err(loaded.wrong("chaos.disable", "names hole, chain, interruption and audit"));
            }
        });
    }
    broker::chaos::set(Switches { off, lost: chaos.lose, audit: Some(chaos.audit.0) });
    Ok(())
}
