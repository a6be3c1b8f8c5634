//! From a table of the configuration to a webhook that can be served.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use chassis::options::{HumanDuration, Loaded, Mistake, OptionsError};
use http::{HeaderName, HeaderValue, StatusCode};
use proto::Tenant;
use serde_json::Value;

use super::answer::Answer;
use super::event::Fact;
use super::gate::Gate;
use super::lookup::Lookup;
use super::written::{self, EncodingName, Exception, HashName, SchemeName, Table};
use super::{Choice, Enrichment, Hook};
use crate::enrich::{Enricher, Range};
use crate::mapping::{self, Mapping, Wrong, template};
use crate::webhook::{
    Bearer, Encoding, Hash, Rotation, Scheme, SignedBody, SignedBodyConfig, StandardWebhooks, Stripe, Telnyx,
    Tolerance, Twilio, github,
};

/// The largest body where the table does not say otherwise. Providers send a few kilobytes.
const MAX_BODY: usize = 64 * 1024;
/// The largest body that can be allowed.
const LARGEST_BODY: usize = 1024 * 1024;
/// How many webhooks of one provider are worked on at a time where the table does not say otherwise.
const MAX_IN_FLIGHT: usize = 64;
/// How long a webhook is remembered where nothing in it tells its age and the table does not say: as long as a request that
/// somebody recorded is likely to be of use.
const UNTIMED_REPLAY_WINDOW: Duration = Duration::from_secs(24 * 60 * 60);
/// How long it can be remembered at most.
const LONGEST_REPLAY_WINDOW: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How long the application may take where the table does not say otherwise.
const ENRICH_WITHIN: Duration = Duration::from_secs(1);
/// How long it can be given at most, so that there is time left to publish.
const LONGEST_ENRICHMENT: Duration = Duration::from_millis(1500);

/// Compiles all tables. All mistakes are told at once.
pub(super) fn compile(
    loaded: &Loaded,
    tables: Vec<Table>,
    public_url: &str,
    tenant: &Tenant,
) -> Result<Vec<Hook>, OptionsError> {
    let mut hooks: Vec<Hook> = Vec::with_capacity(tables.len());
    let mut mistakes: Vec<Mistake> = Vec::new();
    for (index, table) in tables.into_iter().enumerate() {
        let key = format!("webhooks[{index}]");
        match hook(&key, &table, public_url, tenant) {
            Ok(hook) if hooks.iter().any(|other| other.path == hook.path) => {
                mistakes.push(loaded.mistake(format!("{key}.path"), "is the path of another webhook"));
            }
            Ok(hook) if hooks.iter().any(|other| other.name == hook.name) => {
                mistakes.push(loaded.mistake(format!("{key}.name"), "is the name of another webhook"));
            }
            Ok(hook) => hooks.push(hook),
            Err((key, message)) => mistakes.push(loaded.mistake(key, message)),
        }
    }
    if mistakes.is_empty() { Ok(hooks) } else { Err(OptionsError::Invalid(mistakes)) }
}

fn hook(key: &str, table: &Table, public_url: &str, tenant: &Tenant) -> Result<Hook, Wrong> {
    let wrong = |field: &str, message: &str| (format!("{key}.{field}"), message.to_owned());
    if !is_path(&table.path) {
        return Err(wrong("path", "must begin with / and hold letters, digits and any of / - _ . ~ alone"));
    }
    if mapping::is_own_path(&table.path) {
        return Err(wrong("path", "is a path of fanout's own"));
    }
    let name = table.name.as_deref().unwrap_or(table.path.trim_matches('/'));
    let max_body = table.max_body.map_or(MAX_BODY, chassis::options::ByteSize::as_usize);
    if !(1..=LARGEST_BODY).contains(&max_body) {
        return Err(wrong("max_body", "must be between 1 and 1MiB"));
    }
    let max_in_flight = table.max_in_flight.unwrap_or(MAX_IN_FLIGHT);
    if !(1..=10_000).contains(&max_in_flight) {
        return Err(wrong("max_in_flight", "must be between 1 and 10000"));
    }
    let tolerance = tolerance(key, table)?;
    let id = match (&table.id, table.scheme.id()) {
        (Some(written), _) => Some(template(&format!("{key}.id"), written)?),
        (None, Some(usual)) => Some(template(&format!("{key}.id"), &Value::from(usual))?),
        (None, None) => None,
    };
    Ok(Hook {
        name: name.to_owned(),
        path: table.path.clone(),
        url: public_url.trim_end_matches('/').to_owned(),
        scheme: scheme(key, table, tolerance.unwrap_or_default())?,
        signs_id: table.scheme == SchemeName::Standard,
        body: table.body.unwrap_or(table.scheme.body()),
        max_body,
        gate: Gate::new(max_in_flight),
        id,
        replay_window: replay_window(key, table, tolerance)?,
        tenant: tenant.clone(),
        lookup: table
            .lookup
            .as_ref()
            .map(|written| Lookup::compile(&format!("{key}.lookup"), written))
            .transpose()?,
        enrichment: match &table.enrich {
            Some(written) => enrichment(&format!("{key}.enrich"), written)?,
            None => None,
        },
        choice: choice(key, table)?,
        answer: answer(key, table.answer.as_ref())?,
    })
}

/// A plain path: no pattern, nothing that could be written in two ways.
fn is_path(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte);
    path.len() > 1 && path.len() <= 128 && path.starts_with('/') && path.bytes().all(plain)
}

/// How old a webhook may be; `None` where no time is signed.
fn tolerance(key: &str, table: &Table) -> Result<Option<Tolerance>, Wrong> {
    let wrong = |message: &str| (format!("{key}.tolerance"), message.to_owned());
    let timed = table.scheme.has_time()
        && (table.scheme != SchemeName::Hmac
            || table.signature.as_ref().is_some_and(|written| written.timestamp.is_some()));
    match table.tolerance {
        None => Ok(timed.then(Tolerance::default)),
        Some(_) if !timed => Err(wrong("has no meaning: no time is signed")),
        Some(HumanDuration(tolerance)) => {
            Tolerance::new(tolerance).map(Some).ok_or_else(|| wrong("must be at least a second"))
        }
    }
}

/// What comes again is refused by its age, or known until then.
fn replay_window(key: &str, table: &Table, tolerance: Option<Tolerance>) -> Result<Duration, Wrong> {
    let least = tolerance.map_or(Duration::from_secs(1), Tolerance::span);
    let usual = if tolerance.is_some() { least } else { UNTIMED_REPLAY_WINDOW };
    let window = table.replay_window.map_or(usual, |HumanDuration(written)| written);
    if (least..=LONGEST_REPLAY_WINDOW).contains(&window) {
        return Ok(window);
    }
    let message =
        format!("must be between {}s (twice the tolerance, where a time is signed) and 7d", least.as_secs());
    Err((format!("{key}.replay_window"), message))
}

fn scheme(key: &str, table: &Table, tolerance: Tolerance) -> Result<Scheme, Wrong> {
    let wrong = |field: &str, message: String| (format!("{key}.{field}"), message);
    let secrets = Rotation::new(table.secret.clone(), table.previous_secret.clone());
    if table.signature.is_some() && table.scheme != SchemeName::Hmac {
        return Err(wrong("signature", "belongs to the scheme hmac alone".into()));
    }
    let secret = |error: crate::webhook::KeyError| wrong("secret", error.to_string());
    Ok(match table.scheme {
        SchemeName::Telnyx => Scheme::Telnyx(Telnyx::new(&secrets, tolerance).map_err(secret)?),
        SchemeName::Twilio => Scheme::Twilio(Twilio::new(&secrets).map_err(secret)?),
        SchemeName::Standard => {
            Scheme::StandardWebhooks(StandardWebhooks::new(&secrets, tolerance).map_err(secret)?)
        }
        SchemeName::Stripe => Scheme::Stripe(Stripe::new(&secrets, tolerance).map_err(secret)?),
        SchemeName::Bearer => Scheme::Bearer(Bearer::new(&secrets).map_err(secret)?),
        SchemeName::Github => {
            Scheme::SignedBody(github(&secrets).map_err(|error| wrong("secret", error.to_string()))?)
        }
        SchemeName::Hmac => {
            let written = table
                .signature
                .as_ref()
                .ok_or_else(|| wrong("signature", "must be given: the header at least".into()))?;
            let config = signed_body(written, tolerance)
                .map_err(|(field, message)| wrong(&format!("signature.{field}"), message.to_owned()))?;
            let body = SignedBody::new(&secrets, config);
            Scheme::SignedBody(body.map_err(|error| wrong("signature", error.to_string()))?)
        }
    })
}

fn signed_body(
    written: &written::Signature,
    tolerance: Tolerance,
) -> Result<SignedBodyConfig, (&'static str, &'static str)> {
    let header = |field, name: &str| {
        HeaderName::from_bytes(name.as_bytes()).map_err(|_| (field, "is no name of a header"))
    };
    let timestamp = match &written.timestamp {
        Some(name) => Some((header("timestamp", name)?, tolerance)),
        None => None,
    };
    Ok(SignedBodyConfig {
        header: header("header", &written.header)?,
        prefix: written.prefix.clone(),
        hash: match written.hash {
            HashName::Sha1 => Hash::Sha1,
            HashName::Sha256 => Hash::Sha256,
            HashName::Sha384 => Hash::Sha384,
            HashName::Sha512 => Hash::Sha512,
        },
        encoding: match written.encoding {
            EncodingName::Hex => Encoding::Hex,
            EncodingName::Base64 => Encoding::Base64,
            EncodingName::Base64Url => Encoding::Base64Url,
        },
        content: written.content.clone().unwrap_or_else(|| "{body}".to_owned()),
        timestamp,
    })
}

/// An address that is in a variable which is not set is none.
fn enrichment(key: &str, written: &written::Enrich) -> Result<Option<Enrichment>, Wrong> {
    let wrong = |field: &str, message: &str| (format!("{key}.{field}"), message.to_owned());
    let (field, url) = match (&written.url, &written.env) {
        (Some(url), None) => ("url", url.clone()),
        (None, Some(name)) => ("env", std::env::var(name).unwrap_or_default()),
        _ => return Err((key.to_owned(), "needs exactly one of url and env".to_owned())),
    };
    let body = template(&format!("{key}.body"), &written.body)?;
    let timeout = written.timeout.map_or(ENRICH_WITHIN, Into::into);
    if timeout.is_zero() || timeout > LONGEST_ENRICHMENT {
        return Err(wrong("timeout", "must be between 1ms and 1500ms: providers wait 2s for their answer"));
    }
    if url.is_empty() && field == "env" {
        return Ok(None);
    }
    let range = if written.allow_private { Range::Private } else { Range::Public };
    let enricher = Enricher::new(&url, written.token.clone(), timeout, range)
        .map_err(|error| wrong(field, &error.to_string()))?;
    Ok(Some(Enrichment { enricher, question: body }))
}

/// The one mapping of a table without `events`, or one for each type.
fn choice(key: &str, table: &Table) -> Result<Choice, Wrong> {
    let Some(events) = &table.events else {
        if table.kind.is_some() {
            return Err((format!("{key}.type"), "needs events to choose from".to_owned()));
        }
        return Ok(Choice::One(Box::new(Mapping::compile(key, &mapping(table, None))?)));
    };
    let kind = table
        .kind
        .as_ref()
        .ok_or_else(|| (format!("{key}.type"), "must be given: events are chosen by it".to_owned()))?;
    let mut by_type: HashMap<String, Mapping<Fact>> = HashMap::with_capacity(events.len());
    for (name, written) in events {
        let key_of_event = format!("{key}.events.{name}");
        let exception = match written {
            Value::Object(_) => serde_json::from_value::<Exception>(written.clone())
                .map_err(|error| (key_of_event.clone(), error.to_string()))?,
            event => {
                Exception { tenant: None, to: None, event: Some(event.clone()), data: None, ephemeral: None }
            }
        };
        let compiled =
            Mapping::compile(key, &mapping(table, Some(&exception))).map_err(|(wrong, message)| {
                // What the event takes over from the table is named by the table's key, the rest by its own.
                let place = wrong.strip_prefix(key).unwrap_or_default();
                let field = place.trim_start_matches('.').split('.').next().unwrap_or_default();
                let is_tables = exception.part(field).is_none() && table.part(field).is_some();
                (if is_tables { wrong } else { format!("{key_of_event}{place}") }, message)
            })?;
        by_type.insert(name.clone(), compiled);
    }
    let other = by_type.remove("*").map(Box::new);
    Ok(Choice::ByType { kind: template(&format!("{key}.type"), kind)?, by_type, other })
}

fn mapping<'a>(table: &'a Table, exception: Option<&'a Exception>) -> mapping::Written<'a> {
    let part = |name| exception.and_then(|own| own.part(name)).or_else(|| table.part(name));
    mapping::Written {
        tenant: part("tenant"),
        to: part("to"),
        event: part("event"),
        data: part("data"),
        ephemeral: exception.and_then(|own| own.ephemeral).unwrap_or(table.ephemeral),
    }
}

fn answer(key: &str, written: Option<&written::Answer>) -> Result<Answer, Wrong> {
    let Some(written) = written else { return Ok(Answer::default()) };
    let wrong = |field: &str, message: &str| (format!("{key}.answer.{field}"), message.to_owned());
    let status = written.status.unwrap_or(200);
    let status = StatusCode::from_u16(status)
        .ok()
        .filter(StatusCode::is_success)
        .ok_or_else(|| wrong("status", "must be between 200 and 299"))?;
    let kind = written.kind.as_deref().map(HeaderValue::from_str).transpose();
    let body = Bytes::from(written.body.clone().unwrap_or_default());
    if status == StatusCode::NO_CONTENT && !body.is_empty() {
        return Err(wrong("body", "cannot go with status 204"));
    }
    Ok(Answer {
        status,
        kind: kind.map_err(|_| wrong("type", "is no media type"))?,
        body,
        always: written.always,
    })
}
