//! From a table of the configuration to a receiver.

use std::sync::Arc;
use std::time::Duration;

use chassis::options::{Field, HumanDuration, Loaded, Mistake, OptionsError, Secret};
use http::StatusCode;
use proto::Pattern;
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::OUTBOX;
use super::course::Policy;
use super::receiver::{Post, Receiver, Target};
use super::signer::Signer;
use crate::enrich::{Range, caller};
use crate::mapping::Wrong;
use crate::webhook::Rotation;

/// How long the backend may take to answer.
const TIMEOUT: Duration = Duration::from_secs(15);
/// The longest time that it can be given.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest rest that can be configured. Longer ones would seem to be a delivery that hangs.
const LONGEST_REST: Duration = Duration::from_secs(24 * 3600);
/// With rests of up to two minutes that is most of a working day.
const ATTEMPTS: u32 = 500;
/// How many channels are worked on at a time.
const PLACES: usize = 64;
/// How many entries may stand in a relayed stream.
const STREAM: u32 = 100_000;
/// What says that a repetition will be refused as well. Not 404, which is met while a backend is being deployed.
const GIVE_UP_ON: [u16; 4] = [400, 410, 413, 422];

/// What stands in one table.
pub(super) const RECEIVER: &[Field] = &[
    Field::new("match", "pattern", "", "Which channels: such as `room:*`."),
    Field::new("name", "text", "", "What it is called in the API and in metrics. The pattern, if absent."),
    Field::new("url", "URL", "", "Where deliveries are posted to; or:"),
    Field::new(
        "url_env",
        "text",
        "",
        "the variable with the address. The table is left out where it is not set.",
    ),
    Field::new("secret", "secret", "", "What deliveries are signed with (Standard Webhooks): `whsec_…`."),
    Field::new(
        "previous_secret",
        "secret",
        "",
        "One that they are signed with as well while it is replaced.",
    ),
    Field::new("timeout", "duration", "15s", "How long the backend may take to answer; at most `1m`."),
    Field::new("allow_private", "boolean", "false", "Whether the address may be of a private network."),
    Field::new(
        "give_up_on",
        "list of numbers",
        "[400, 410, 413, 422]",
        "Statuses that say that a repetition will be refused as well.",
    ),
    Field::new(
        "stream",
        "text",
        "",
        "In place of an address: the stream of Redis that deliveries are added to.",
    ),
    Field::new("stream_size", "number", "100000", "How many entries it keeps."),
    Field::new(
        "first_rest",
        "duration",
        "1s",
        "How long after a first failure it is tried again; then twice as long.",
    ),
    Field::new("longest_rest", "duration", "2m", "The longest rest; at most `1d`."),
    Field::new(
        "attempts",
        "number",
        "500",
        "After how many a delivery is put aside, to be listed and replayed.",
    ),
    Field::new("max_in_flight", "number", "64", "How many channels are worked on at a time."),
];

/// One table, as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(rename = "match")]
    channels: String,
    name: Option<String>,
    url: Option<String>,
    /// The variable with the address; the table is left out where it is not set.
    url_env: Option<String>,
    secret: Option<Secret>,
    previous_secret: Option<Secret>,
    timeout: Option<HumanDuration>,
    #[serde(default)]
    allow_private: bool,
    give_up_on: Option<Vec<u16>>,
    stream: Option<String>,
    stream_size: Option<u32>,
    first_rest: Option<HumanDuration>,
    longest_rest: Option<HumanDuration>,
    attempts: Option<u32>,
    max_in_flight: Option<usize>,
}

/// Compiles all tables. All mistakes are told at once.
pub(super) fn receivers(loaded: &Loaded) -> Result<Vec<Receiver>, OptionsError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Section {
        #[serde(default)]
        outbox: Vec<Table>,
    }
    let Section { outbox } = loaded.section(&[OUTBOX])?;
    let mut receivers: Vec<Receiver> = Vec::with_capacity(outbox.len());
    let mut mistakes: Vec<Mistake> = Vec::new();
    for (index, table) in outbox.iter().enumerate() {
        let key = format!("outbox[{index}]");
        match receiver(&key, table) {
            Ok(Some(receiver)) if receivers.iter().any(|other| other.name == receiver.name) => {
                mistakes.push(loaded.mistake(format!("{key}.name"), "is the name of another outbox"));
            }
            Ok(receiver) => receivers.extend(receiver),
            Err((key, message)) => mistakes.push(loaded.mistake(key, message)),
        }
    }
    if mistakes.is_empty() { Ok(receivers) } else { Err(OptionsError::Invalid(mistakes)) }
}

fn receiver(key: &str, table: &Table) -> Result<Option<Receiver>, Wrong> {
    let wrong = |field: &str, message: &str| (format!("{key}.{field}"), message.to_owned());
    let channels =
        Pattern::new(table.channels.as_str()).map_err(|error| wrong("match", &error.to_string()))?;
    let policy = Policy {
        first_rest: table.first_rest.map_or(Duration::from_secs(1), |rest| rest.0),
        longest_rest: table.longest_rest.map_or(Duration::from_secs(120), |rest| rest.0),
        attempts: table.attempts.unwrap_or(ATTEMPTS),
    };
    if policy.first_rest.is_zero() || policy.first_rest > policy.longest_rest {
        return Err(wrong("first_rest", "must be more than nothing and not beyond longest_rest"));
    }
    if policy.longest_rest > LONGEST_REST {
        return Err(wrong("longest_rest", "must be at most 24h"));
    }
    if policy.attempts == 0 {
        return Err(wrong("attempts", "must be at least 1"));
    }
    let places = table.max_in_flight.unwrap_or(PLACES);
    if !(1..=512).contains(&places) {
        return Err(wrong("max_in_flight", "must be between 1 and 512"));
    }
    let Some(target) = target(key, table)? else { return Ok(None) };
    Ok(Some(Receiver {
        name: table.name.clone().unwrap_or_else(|| table.channels.clone()),
        channels,
        policy,
        places: Arc::new(Semaphore::new(places)),
        target,
    }))
}

fn target(key: &str, table: &Table) -> Result<Option<Target>, Wrong> {
    let wrong = |field: &str, message: &str| (format!("{key}.{field}"), message.to_owned());
    let (field, url) = match (&table.url, &table.url_env, &table.stream) {
        (Some(url), None, None) => ("url", url.clone()),
        (None, Some(name), None) => match std::env::var(name) {
            Ok(url) if !url.is_empty() => ("url_env", url),
            _ => return Ok(None),
        },
        (None, None, Some(name)) => return stream(key, table, name).map(Some),
        _ => return Err((key.to_owned(), "needs exactly one of url, url_env and stream".to_owned())),
    };
    if table.stream_size.is_some() {
        return Err(wrong("stream_size", "belongs to a stream"));
    }
    let secret =
        table.secret.clone().ok_or_else(|| wrong("secret", "must be given: deliveries are signed"))?;
    let signer = Signer::new(&Rotation::new(secret, table.previous_secret.clone()))
        .map_err(|error| wrong("secret", &error.to_string()))?;
    let timeout = table.timeout.map_or(TIMEOUT, |timeout| timeout.0);
    if timeout.is_zero() || timeout > LONGEST_TIMEOUT {
        return Err(wrong("timeout", "must be more than nothing and at most 1m"));
    }
    let status = |status: &u16| StatusCode::from_u16(*status).ok().filter(|status| !status.is_success());
    let statuses = table.give_up_on.as_deref().unwrap_or(&GIVE_UP_ON);
    let give_up_on = statuses
        .iter()
        .map(status)
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| wrong("give_up_on", "must hold statuses of HTTP, and none of success"))?;
    let range = if table.allow_private { Range::Private } else { Range::Public };
    let (url, client) = caller(&url, timeout, range).map_err(|error| wrong(field, &error.to_string()))?;
    Ok(Some(Target::Url(Box::new(Post { url, client, signer, give_up_on }))))
}

fn stream(key: &str, table: &Table, name: &str) -> Result<Target, Wrong> {
    let wrong = |field: &str, message: &str| (format!("{key}.{field}"), message.to_owned());
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    if !(1..=64).contains(&name.len()) || !name.bytes().all(plain) {
        return Err(wrong("stream", "takes 1 to 64 letters, digits and _ - ."));
    }
    if table.secret.is_some() || table.timeout.is_some() || table.give_up_on.is_some() || table.allow_private
    {
        return Err(wrong("stream", "goes without secret, timeout, give_up_on and allow_private"));
    }
    match table.stream_size.unwrap_or(STREAM) {
        0 => Err(wrong("stream_size", "must be at least 1")),
        most => Ok(Target::Stream(name.to_owned(), most)),
    }
}

#[cfg(test)]
mod tests {
    use serde_aux::serde_introspection::serde_introspect;

    use super::*;

    #[test]
    fn the_reference_names_every_key() {
        assert_eq!(Field::keys(RECEIVER, None), serde_introspect::<Table>());
    }

    fn read(table: &str) -> Result<Vec<Receiver>, String> {
        let file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
        std::fs::write(file.path(), format!("[[outbox]]\nmatch = \"room:*\"\n{table}")).unwrap();
        let args = ["fanout", "--config", file.path().to_str().unwrap()];
        let loaded =
            chassis::options::load("fanout", "", &[&[OUTBOX]], args).map_err(|error| error.to_string())?;
        receivers(&loaded).map_err(|error| error.to_string())
    }

    const SECRET: &str = "secret = { file = \"SECRET\" }";

    fn with_secret(table: &str) -> Result<Vec<Receiver>, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        read(&format!("{}\n{table}", SECRET.replace("SECRET", file.path().to_str().unwrap())))
    }

    #[test]
    fn a_table_names_an_address_or_a_stream() {
        let receivers = with_secret("url = \"https://app.example/hook\"").unwrap();
        assert_eq!((receivers.len(), receivers[0].name.as_str()), (1, "room:*"));
        let receivers = read("stream = \"chat\"\nname = \"chat\"").unwrap();
        assert!(matches!(&receivers[0].target, Target::Stream(name, 100_000) if name == "chat"));
        assert!(with_secret("url_env = \"SURELY_NOT_SET\"").unwrap().is_empty());
    }

    #[test]
    fn a_mistake_is_told_by_its_key() {
        const URL: &str = "url = \"https://app.example/hook\"\n";
        for (table, key) in [
            (String::new(), "outbox[0]"),
            (format!("{URL}stream = \"x\""), "outbox[0]"),
            ("url = \"ftp://a\"".to_owned(), "outbox[0].url"),
            ("url = \"http://127.0.0.1/\"".to_owned(), "outbox[0].url"),
            (format!("{URL}timeout = \"2m\""), "outbox[0].timeout"),
            (format!("{URL}attempts = 0"), "outbox[0].attempts"),
            (format!("{URL}first_rest = \"5m\""), "outbox[0].first_rest"),
            (format!("{URL}give_up_on = [200]"), "outbox[0].give_up_on"),
            (format!("{URL}max_in_flight = 0"), "outbox[0].max_in_flight"),
            (format!("{URL}stream_size = 5"), "outbox[0].stream_size"),
        ] {
            let message = with_secret(&table).unwrap_err();
            assert!(message.contains(key), "{table}: {message}");
        }
        for (table, key) in [
            (URL, "outbox[0].secret"),
            ("stream = \"a b\"", "outbox[0].stream"),
            ("stream = \"a\"\ntimeout = \"1s\"", "outbox[0].stream"),
        ] {
            let message = read(table).unwrap_err();
            assert!(message.contains(key), "{table}: {message}");
        }
    }
}
