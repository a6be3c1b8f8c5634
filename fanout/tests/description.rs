//! The description of the API says what the API does: every route, and every way in which it fails.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::collections::BTreeSet;

use axum::body::Body;
use broker::{Directory, REVOKED_MAX};
use http::{Method, Request};
use proto::Timestamp;
use serde_json::{Value, json};
use support::{Answer, Api, Behaviour, credential};
use switchboard_fanout::FanoutConfig;

async fn description() -> Value {
    Api::new().call(Request::get("/openapi.json").body(Body::empty()).unwrap()).await.json
}

/// Every object of the description.
fn objects(description: &Value) -> Vec<&Value> {
    let mut found = vec![description];
    let mut next = 0;
    while let Some(value) = found.get(next).copied() {
        next += 1;
        found.extend(value.as_object().into_iter().flat_map(|object| object.values()));
        found.extend(value.as_array().into_iter().flatten());
    }
    found
}

#[tokio::test]
async fn it_is_openapi_3_1_and_every_reference_leads_somewhere() {
    let description = description().await;
    assert!(description["openapi"].as_str().unwrap().starts_with("3.1."));
    let references: BTreeSet<_> =
        objects(&description).into_iter().filter_map(|value| value["$ref"].as_str()).collect();
    assert!(references.contains("#/components/schemas/Problem"), "{references:?}");
    for reference in references {
        assert!(description.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
}

#[tokio::test]
async fn every_described_route_takes_the_described_methods_and_no_others() {
    let description = description().await;
    let paths = description["paths"].as_object().unwrap();
    assert!(paths.contains_key("/v1/publish") && paths.contains_key("/v1/publish/batch"));
    for (path, item) in paths {
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let request = Request::builder().method(method.clone()).uri(filled(path)).body(Body::empty());
            let answer = Api::new().call(request.unwrap()).await;
            if item.get(method.as_str().to_lowercase()).is_some() {
                // Without a credential, each that exists refuses.
                assert!([401, 415].contains(&answer.status), "{method} {path}: {}", answer.text);
            } else {
                answer.problem(405, "unknown");
                let allowed = answer.header("allow").to_lowercase();
                assert!(
                    allowed.split(',').any(|it| item.get(it.trim()).is_some()),
                    "{method} {path}: {allowed}"
                );
            }
        }
    }
    Api::new().post("/v1/publish/none", "{}").await.problem(404, "unknown");
}

#[tokio::test(start_paused = true)]
async fn every_described_failure_can_be_had_and_looks_as_described() {
    let description = description().await;
    let mut seen = 0;
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let responses = operation["responses"].as_object().unwrap();
            for (status, response) in responses.iter().filter(|(status, _)| !status.starts_with('2')) {
                let status: u16 = status.parse().unwrap();
                let answer = provoke(path, method, operation, status).await;
                assert_eq!(answer.status, status, "{method} {path}: {}", answer.text);
                assert_eq!(
                    response["content"].as_object().unwrap().keys().collect::<Vec<_>>(),
                    [answer.header("content-type")]
                );
                for name in ["Retry-After", "WWW-Authenticate"] {
                    let (described, told) = (&response["headers"][name], answer.header(name));
                    assert_eq!(
                        described.is_object(),
                        !told.is_empty(),
                        "{method} {path} {status}: {name} {told}"
                    );
                }
                looks_like(&description["components"]["schemas"]["Problem"], &answer.json);
                seen += 1;
            }
        }
    }
    assert!(seen >= 44, "{seen}");
}

/// A problem has the keys that it must have, and no others.
fn looks_like(schema: &Value, problem: &Value) {
    let problem_keys: BTreeSet<_> = problem.as_object().unwrap().keys().map(String::as_str).collect();
    let described: BTreeSet<_> =
        schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    let required: BTreeSet<_> =
        schema["required"].as_array().unwrap().iter().map(|key| key.as_str().unwrap()).collect();
    assert!(problem_keys.is_subset(&described) && required.is_subset(&problem_keys), "{problem}");
    assert!(schema["properties"]["code"]["enum"].as_array().unwrap().contains(&problem["code"]), "{problem}");
}

/// A path with names in the places of its parameters.
fn filled(path: &str) -> String {
    path.replace("{user}", "42")
        .replace("{room}", "lobby")
        .replace("{session}", "s")
        .replace("{channel}", "room:lobby")
        .replace("{letter}", "msg_1")
}

/// A body that fits: the example of the description.
fn example(description: &Value, operation: &Value) -> Option<Value> {
    let content = operation["requestBody"]["content"].as_object()?.values().next()?;
    let name = content["schema"]["$ref"].as_str()?.rsplit('/').next()?;
    Some(description["components"]["schemas"][name]["examples"][0].clone())
}

/// Makes a route fail with a status.
async fn provoke(path: &str, method: &str, operation: &Value, status: u16) -> Answer {
    let description = description().await;
    let body = example(&description, operation);
    let publishes = operation["tags"][0] == "publish";
    let who = if publishes { "acme" } else { "admin" };
    let json = if path.ends_with("/stream") { "application/x-ndjson" } else { "application/json" };
    let api = Api::new();
    let request = |token: &str, kind: &str, target: &str, body: Body| {
        let request = Request::builder().method(method.to_uppercase().as_str()).uri(target);
        let request = request.header("authorization", format!("Bearer {}", credential(token)));
        request.header("content-type", kind).body(body).unwrap()
    };
    let good = || body.as_ref().map_or_else(Body::empty, |body| body.to_string().into());
    let target = filled(path);
    match status {
        400 if path.ends_with("/stream") => {
            let mut request = request(who, json, &target, good());
            request.headers_mut().insert("idempotency-key", "1".parse().unwrap());
            api.call(request).await
        }
        400 if body.is_some() => api.call(request(who, json, &target, "{".into())).await,
        400 => api.call(request(who, json, &format!("{target}?tenant="), Body::empty())).await,
        401 => api.call(request("nobody", json, &target, good())).await,
        403 => api.call(request("reader", json, &target, good())).await,
        404 => api.call(request(who, json, &target, good())).await,
        408 => {
            let never = Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>());
            api.call(request(who, json, &target, never)).await
        }
        413 => api.call(request(who, json, &target, "x".repeat(2 * 1024 * 1024).into())).await,
        415 => api.call(request(who, "text/plain", &target, good())).await,
        422 if publishes => {
            let mut other = body.clone().unwrap();
            other["data"] = json!("another");
            api.call(request(who, json, &target, good())).await;
            api.call(request(who, json, &target, other.to_string().into())).await
        }
        422 if path.ends_with("/revocations") => {
            for number in 0..REVOKED_MAX {
                let noted = api.broker.rest.revoke(&number.to_string(), Timestamp(u64::MAX)).await;
                assert!(noted.unwrap());
            }
            api.call(request(who, json, &target, good())).await
        }
        422 => {
            let rooms: Vec<_> = (0..10_000).map(|room| format!("room-{room}")).collect();
            let full = json!({"changes": [{"user": "42", "join": rooms}]});
            assert_eq!(api.ask("POST", "/v1/memberships", Some(&full)).await.status, 200);
            api.call(request(who, json, &target, good())).await
        }
        429 => {
            let config = FanoutConfig { publish_rate: 1, admin_rate: 1, ..FanoutConfig::default() };
            let api = Api::configured(Behaviour::Works, config);
            if publishes {
                let item = json!({"to": {"room": "lobby"}, "event": "e", "data": 1});
                api.post("/v1/publish/batch", &json!({"items": vec![item; 1000]}).to_string()).await;
            }
            for _ in 0..50 {
                let answer = api.call(request(who, json, &target, good())).await;
                if answer.status == 429 {
                    return answer;
                }
            }
            panic!("{path} is called as often as one likes")
        }
        501 => {
            let durable = json!({"to": {"room": "lobby"}, "event": "e", "data": 1, "durability": "fsync"});
            api.post(path, &durable.to_string()).await
        }
        503 => {
            let config = FanoutConfig { max_in_flight: 0, ..FanoutConfig::default() };
            let api = Api::configured(Behaviour::Works, config);
            api.call(request(who, json, &target, good())).await
        }
        other => panic!("{path} describes {other}, which no test provokes"),
    }
}

#[tokio::test]
async fn the_page_brings_all_it_needs_and_runs_nothing_else() {
    let get = async |path: &str| Api::new().call(Request::get(path).body(Body::empty()).unwrap()).await;
    let page = get("/docs").await;
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(page.header("content-security-policy").starts_with("default-src 'none'; script-src 'self';"));
    for (mark, kind) in [("src=\"", "text/javascript"), ("rel=\"stylesheet\" href=\"", "text/css")] {
        let path = page.text.split(mark).nth(1).unwrap().split('"').next().unwrap();
        let part = get(&format!("/{path}")).await;
        assert_eq!((part.status, part.header("content-type").starts_with(kind)), (200, true), "{path}");
        assert!(!part.text.contains("http"), "{path} names another place");
    }
    assert!(!page.text.contains("http") && !page.text.contains("<style") && !page.text.contains("onclick"));
}
