//! From a table of the configuration to a call that can be served.

use std::collections::HashSet;

use axum::routing::MethodFilter;
use chassis::options::{Field, Loaded, Mistake, OptionsError};
use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use super::{Answer, Call, Deed};
use crate::mapping::{self, Mapping, Wrong, template};

/// What stands in a table of `[[calls]]`.
pub(super) const CALL: &[Field] = &[
    Field::new("path", "path", "", "Where it is served; parts such as `{userId}` have names."),
    Field::new("method", "method", "POST", "`POST`, `PUT`, `PATCH`, `DELETE` or `GET`."),
    Field::new("scope", "text", "", "The scope that a caller needs. Any good credential will do, if absent."),
    Field::new("require", "list of templates", "", "What must have a value; otherwise the answer is 400."),
    Field::new("rest_without", "list of texts", "", "The fields of the body that `$rest` leaves out."),
    Field::new("id", "template", "", "The id of the message, by which a repetition is recognised."),
    mapping::TO,
    mapping::EVENT,
    mapping::DATA,
    mapping::EPHEMERAL,
    Field::new(
        "only_if_connected",
        "template",
        "",
        "A user without whom nothing is published: the answer is 404 while they are not connected.",
    ),
    Field::new(
        "action",
        "action",
        "publish",
        "`publish`; or, and then nothing is published: `connected` (who is connected), `status` and `disconnect` (of a \
         `user`) or `stats`.",
    ),
    Field::new("user", "template", "", "The user of the actions `status` and `disconnect`."),
    Field::new(
        "answer",
        "table",
        "",
        "What is answered. The places of the message, or the result, if absent.",
    ),
    Field::new("answer.status", "number", "200", "The status, from 200 to 299, and not 204."),
    Field::new("answer.body", "template", "", "The body."),
];

/// One table of `[[calls]]`, as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    path: String,
    #[serde(default)]
    method: Method,
    scope: Option<String>,
    #[serde(default)]
    require: Vec<Value>,
    #[serde(default)]
    rest_without: Vec<String>,
    id: Option<Value>,
    to: Option<Value>,
    event: Option<Value>,
    data: Option<Value>,
    #[serde(default)]
    ephemeral: bool,
    only_if_connected: Option<Value>,
    #[serde(default)]
    action: Action,
    user: Option<Value>,
    answer: Option<WrittenAnswer>,
}

/// What calls can do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    #[default]
    Publish,
    Connected,
    Status,
    Disconnect,
    Stats,
}

/// The methods of calls. What changes something is not asked for with `GET`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Method {
    #[default]
    Post,
    Put,
    Patch,
    Delete,
    Get,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenAnswer {
    status: Option<u16>,
    body: Value,
}

/// Compiles all tables. All mistakes are told at once. `taken` are paths that something else is posted to.
pub(super) fn compile(
    loaded: &Loaded,
    tables: Vec<Table>,
    taken: &HashSet<&str>,
) -> Result<Vec<Call>, OptionsError> {
    let mut calls = Vec::with_capacity(tables.len());
    let mut places = HashSet::new();
    let mut mistakes: Vec<Mistake> = Vec::new();
    for (index, table) in tables.into_iter().enumerate() {
        let key = format!("calls[{index}]");
        match call(&key, &table) {
            Ok(call) if taken.contains(call.route.as_str()) => {
                mistakes.push(loaded.mistake(format!("{key}.path"), "is the path of a webhook"));
            }
            Ok(call) if !places.insert((call.route.clone(), table.method)) => {
                mistakes.push(loaded.mistake(format!("{key}.path"), "is the path of another call"));
            }
            Ok(call) => calls.push(call),
            Err((key, message)) => mistakes.push(loaded.mistake(key, message)),
        }
    }
    if mistakes.is_empty() { Ok(calls) } else { Err(OptionsError::Invalid(mistakes)) }
}

fn call(key: &str, table: &Table) -> Result<Call, Wrong> {
    let wrong = |field: &str, message: &str| (format!("{key}.{field}"), message.to_owned());
    let (route, names) = route(&table.path).ok_or_else(|| {
        wrong(
            "path",
            "must begin with / and hold letters, digits, any of - _ . ~, and parts such as {userId}",
        )
    })?;
    if mapping::is_own_path(&table.path) {
        return Err(wrong("path", "is a path of fanout's own"));
    }
    if table.scope.as_deref() == Some("") {
        return Err(wrong("scope", "must not be empty"));
    }
    let mut required = Vec::with_capacity(table.require.len());
    for (index, written) in table.require.iter().enumerate() {
        required.push(template(&format!("{key}.require[{index}]"), written)?);
    }
    let changes = matches!(table.action, Action::Publish | Action::Disconnect);
    if (table.method == Method::Get) == changes {
        let expected =
            if changes { "must not be GET for this action" } else { "must be GET for this action" };
        return Err(wrong("method", expected));
    }
    if table.action == Action::Disconnect && table.scope.is_none() {
        return Err(wrong("scope", "must be given for this action"));
    }
    Ok(Call {
        route,
        names,
        method: match table.method {
            Method::Post => MethodFilter::POST,
            Method::Put => MethodFilter::PUT,
            Method::Patch => MethodFilter::PATCH,
            Method::Delete => MethodFilter::DELETE,
            Method::Get => MethodFilter::GET,
        },
        has_body: !matches!(table.method, Method::Delete | Method::Get),
        scope: table.scope.clone(),
        required,
        rest_without: table.rest_without.clone(),
        deed: deed(key, table)?,
        answer: table.answer.as_ref().map(|written| answer(key, written)).transpose()?,
    })
}

fn deed(key: &str, table: &Table) -> Result<Deed, Wrong> {
    let there = |name: &str, is_there: bool| {
        let message = || "does not go with this action".to_owned();
        if is_there { Err((format!("{key}.{name}"), message())) } else { Ok(()) }
    };
    let publishes = table.action == Action::Publish;
    for (name, value) in [
        ("to", &table.to),
        ("event", &table.event),
        ("data", &table.data),
        ("id", &table.id),
        ("only_if_connected", &table.only_if_connected),
    ] {
        there(name, !publishes && value.is_some())?;
    }
    there("ephemeral", !publishes && table.ephemeral)?;
    let of_user = matches!(table.action, Action::Status | Action::Disconnect);
    there("user", !of_user && table.user.is_some())?;
    let user = || match &table.user {
        Some(user) => template(&format!("{key}.user"), user),
        None => Err((format!("{key}.user"), "must be given".to_owned())),
    };
    Ok(match table.action {
        Action::Publish => {
            let written = mapping::Written {
                tenant: None,
                to: table.to.as_ref(),
                event: table.event.as_ref(),
                data: table.data.as_ref(),
                ephemeral: table.ephemeral,
            };
            let optional = |name: &str, value: &Option<Value>| {
                value.as_ref().map(|value| template(&format!("{key}.{name}"), value)).transpose()
            };
            Deed::Publish {
                mapping: Box::new(Mapping::compile(key, &written)?),
                id: optional("id", &table.id)?,
                only_if_connected: optional("only_if_connected", &table.only_if_connected)?,
            }
        }
        Action::Connected => Deed::Connected,
        Action::Status => Deed::Status(user()?),
        Action::Disconnect => Deed::Disconnect(user()?),
        Action::Stats => Deed::Stats,
    })
}

fn answer(key: &str, written: &WrittenAnswer) -> Result<Answer, Wrong> {
    let status = StatusCode::from_u16(written.status.unwrap_or(200))
        .ok()
        .filter(|status| status.is_success() && *status != StatusCode::NO_CONTENT)
        .ok_or_else(|| {
            (format!("{key}.answer.status"), "must be between 200 and 299, and not 204".to_owned())
        })?;
    Ok(Answer { status, body: template(&format!("{key}.answer.body"), &written.body)? })
}

/// A path as the router takes it, with the names of its parts apart: two paths that differ in these alone are one.
fn route(path: &str) -> Option<(String, Vec<String>)> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let mut route = String::with_capacity(path.len());
    let mut names = Vec::new();
    for segment in path.strip_prefix('/')?.split('/') {
        let name = segment.strip_prefix('{').and_then(|segment| segment.strip_suffix('}'));
        let text = name.unwrap_or(segment);
        if text.is_empty() || !text.bytes().all(plain) {
            return None;
        }
        route.push('/');
        match name {
            Some(name) => {
                route.push_str(&format!("{{p{}}}", names.len()));
                names.push(name.to_owned());
            }
            None => route.push_str(segment),
        }
    }
    (path.len() <= 128).then_some((route, names))
}

#[cfg(test)]
mod tests {
    use serde_aux::serde_introspection::serde_introspect;

    use super::*;

    #[test]
    fn the_reference_names_every_key() {
        assert_eq!(Field::keys(CALL, None), serde_introspect::<Table>());
        assert_eq!(Field::keys(CALL, Some("answer")), serde_introspect::<WrittenAnswer>());
    }

    #[test]
    fn parts_of_a_path_have_names() {
        let (path, names) = route("/a/{userId}/b/{x}").unwrap();
        assert_eq!((path.as_str(), names), ("/a/{p0}/b/{p1}", vec!["userId".to_owned(), "x".to_owned()]));
        for wrong in ["", "a", "/", "/a/", "//a", "/{}", "/{*x}", "/a{b}", "/a b", "/ä"] {
            assert_eq!(route(wrong), None, "{wrong}");
        }
    }
}
