//! The options of channels, as tables of the file:
//!
//! ```toml
//! [[channels]]
//! match = "room:support-*"
//! history_size = 5000
//! join = "anyone"
//! ```

use proto::{Access, ChannelOptions, ChannelRules, Durability, Kind as ChannelKind, Pattern};
use serde::Deserialize;

use super::{ByteSize, Field, HumanDuration, Kind, Loaded, OptionSpec, OptionsError};

/// The row of the channels' options.
pub const CHANNELS: &[OptionSpec] = &[OptionSpec {
    key: "channels",
    kind: Kind::Tables(RULE),
    default: "",
    help: "What is kept of a channel, and who may do what. The first table that fits a channel decides; what it does not \
           say keeps the default of that sort of channel.",
}];

/// What stands in one table. Defaults are those of rooms; with others for users and for everyone, they are named.
const RULE: &[Field] = &[
    Field::new("match", "pattern", "", "Which channels: such as `room:chat-*`, `user:*`, `all` or `*`."),
    Field::new(
        "history_size",
        "number",
        "1000",
        "How many messages are kept; 100 for a user and for everyone. With 0 none is: what is published is delivered to who \
         is there, without a position.",
    ),
    Field::new(
        "history_age",
        "duration",
        "1h",
        "How long they are kept after the last one; `1d` for a user.",
    ),
    Field::new(
        "presence",
        "boolean",
        "true",
        "Whether it is known who is there, and others are told who comes and goes; `false` for a user and for everyone.",
    ),
    Field::new(
        "join",
        "who",
        "listed",
        "Who may join: `anyone`, `listed` (whose token lists the room, or whom the backend made a member) or `nobody`: \
         membership alone puts sessions in.",
    ),
    Field::new(
        "publish",
        "who",
        "members",
        "Which clients may publish: `anyone`, `listed`, `members` (who is in the room) or `nobody`, which is the default for \
         a user and for everyone. Backends are not held to this.",
    ),
    Field::new("max_message", "size", "32KiB", "The largest message."),
    Field::new(
        "outbox",
        "boolean",
        "false",
        "Whether what clients publish waits for the backend; see `outbox`.",
    ),
    Field::new("outbox_presence", "boolean", "false", "The same for who comes and goes. Needs `presence`."),
    Field::new(
        "outbox_size",
        "number",
        "10000",
        "How many messages of a channel may wait for the backend before clients are refused to publish more.",
    ),
    Field::new(
        "durability",
        "durability",
        "memory",
        "Where a message must be before its publisher is told that it is stored: in the `memory` of Redis, on a `replica`, \
         or on its disk (`fsync`).",
    ),
    Field::new(
        "latest",
        "boolean",
        "false",
        "Only the newest message matters: who falls behind, or comes back, is given that one alone.",
    ),
];

/// Reads the rules of the channels.
pub fn channels(loaded: &Loaded) -> Result<ChannelRules, OptionsError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Section {
        #[serde(default)]
        channels: Vec<Rule>,
    }
    let section: Section = loaded.section(CHANNELS)?;
    let mut rules = Vec::new();
    let mut mistakes = Vec::new();
    for (index, rule) in section.channels.into_iter().enumerate() {
        match rule.meaning() {
            Ok(meaning) => rules.extend(meaning),
            Err((field, message)) => {
                mistakes.push(loaded.mistake(format!("channels[{index}].{field}"), message));
            }
        }
    }
    if mistakes.is_empty() { Ok(ChannelRules::new(rules)) } else { Err(OptionsError::Invalid(mistakes)) }
}

/// One table, as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    #[serde(rename = "match")]
    pattern: String,
    history_size: Option<u32>,
    history_age: Option<HumanDuration>,
    presence: Option<bool>,
    join: Option<Who>,
    publish: Option<Who>,
    max_message: Option<ByteSize>,
    outbox: Option<bool>,
    outbox_presence: Option<bool>,
    outbox_size: Option<u32>,
    durability: Option<Durability>,
    latest: Option<bool>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Who {
    Anyone,
    Listed,
    Members,
    Nobody,
}

impl From<Who> for Access {
    fn from(who: Who) -> Self {
        match who {
            Who::Anyone => Self::Anyone,
            Who::Listed => Self::Listed,
            Who::Members => Self::Members,
            Who::Nobody => Self::Nobody,
        }
    }
}

impl Rule {
    /// What the table means: a rule, or for `*` one for each sort of channel, since their defaults differ. Or
    /// the field that is wrong, and why.
    fn meaning(&self) -> Result<Vec<(Pattern, ChannelOptions)>, (&'static str, String)> {
        let of = |text: &str, kind| {
            let pattern = Pattern::new(text).map_err(|error| ("match", error.to_string()))?;
            let options = self.over(&ChannelOptions::default_for(kind));
            if options.outbox && options.history_size == 0 {
                return Err((
                    "outbox",
                    "needs a history_size: what waits has a place in the history".to_owned(),
                ));
            }
            if options.latest && options.history_size == 0 {
                return Err(("latest", "needs a history_size: the newest message is kept there".to_owned()));
            }
            if options.outbox_presence && !options.presence {
                return Err(("outbox_presence", "needs presence".to_owned()));
            }
            if options.outbox_size == 0 {
                return Err(("outbox_size", "must be at least 1".to_owned()));
            }
            Ok((pattern, options))
        };
        match self.pattern.as_str() {
            "*" => {
                [("user:*", ChannelKind::User), ("room:*", ChannelKind::Room), ("all", ChannelKind::Everyone)]
                    .into_iter()
                    .map(|(text, kind)| of(text, kind))
                    .collect()
            }
            "all" => Ok(vec![of("all", ChannelKind::Everyone)?]),
            text if text.starts_with("user:") => Ok(vec![of(text, ChannelKind::User)?]),
            text if text.starts_with("room:") => Ok(vec![of(text, ChannelKind::Room)?]),
            text => {
                let shown: String = text.chars().take(40).collect();
                Err(("match", format!("{shown:?} must begin with room: or user:, or be all or *")))
            }
        }
    }

    fn over(&self, defaults: &ChannelOptions) -> ChannelOptions {
        ChannelOptions {
            history_size: self.history_size.unwrap_or(defaults.history_size),
            history_age: self.history_age.map_or(defaults.history_age, |age| age.0),
            presence: self.presence.unwrap_or(defaults.presence),
            join: self.join.map_or(defaults.join, Access::from),
            publish: self.publish.map_or(defaults.publish, Access::from),
            max_message: self.max_message.map_or(defaults.max_message, ByteSize::as_usize),
            outbox: self.outbox.unwrap_or(defaults.outbox),
            outbox_presence: self.outbox_presence.unwrap_or(defaults.outbox_presence),
            outbox_size: self.outbox_size.unwrap_or(defaults.outbox_size),
            durability: self.durability.unwrap_or(defaults.durability),
            latest: self.latest.unwrap_or(defaults.latest),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_aux::serde_introspection::serde_introspect;

    use super::*;

    #[test]
    fn the_reference_names_every_key() {
        assert_eq!(Field::keys(RULE, None), serde_introspect::<Rule>());
    }
}
