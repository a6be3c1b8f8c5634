//! One file for a whole cluster: what another process reads of it is known here by its name, and passed over.
//!
//! A process that serves one part alone adds the tables of the other; `standalone`, which is all of them, adds none.

use super::{Kind, OptionSpec};

/// The tables that only the gateway reads.
pub const OF_GATEWAY: &[OptionSpec] =
    &[passed_over("gateway"), passed_over("endpoints"), passed_over("vocabularies")];

/// The tables that only fanout reads.
pub const OF_FANOUT: &[OptionSpec] = &[
    passed_over("publish"),
    passed_over("fanout"),
    passed_over("webhooks"),
    passed_over("calls"),
    passed_over("outbox"),
    passed_over("api_keys"),
];

const fn passed_over(key: &'static str) -> OptionSpec {
    OptionSpec {
        key,
        kind: Kind::Tables(&[]),
        default: "",
        help: "Read by another process; passed over by this one.",
    }
}
