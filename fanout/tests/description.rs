//! The description of the API says what the API does: every route, and every way in which it fails.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::collections::BTreeSet;

use axum::body::Body;
use http::{Method, Request};
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
            let request = Request::builder().method(method.clone()).uri(path).body(Body::empty()).unwrap();
            let answer = Api::new().call(request).await;
            if item.get(method.as_str().to_lowercase()).is_some() {
                assert!(![404, 405].contains(&answer.status), "{method} {path}: {}", answer.text);
            } else {
                answer.problem(405, "unknown");
                assert!(item.get(answer.header("allow").to_lowercase()).is_some(), "{method} {path}");
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
        let responses = item["post"]["responses"].as_object().unwrap();
        for (status, response) in responses.iter().filter(|(status, _)| *status != "200") {
            let status: u16 = status.parse().unwrap();
            let answer = provoke(path, status).await;
            assert_eq!(answer.status, status, "{path}: {}", answer.text);
            assert_eq!(
                response["content"].as_object().unwrap().keys().collect::<Vec<_>>(),
                [answer.header("content-type")]
            );
            for name in response["headers"].as_object().into_iter().flat_map(|headers| headers.keys()) {
                assert!(!answer.header(name).is_empty(), "{path} {status}: no {name}");
            }
            looks_like(&description["components"]["schemas"]["Problem"], &answer.json);
            seen += 1;
        }
    }
    assert!(seen >= 22, "{seen}");
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

/// Makes a route fail with a status.
async fn provoke(path: &str, status: u16) -> Answer {
    let is_batch = path.ends_with("/batch");
    let message = |data: Value| {
        let message = json!({"to": {"room": "lobby"}, "event": "e", "data": data, "id": "1"});
        (if is_batch { json!({"items": [message]}) } else { message }).to_string()
    };
    let is_stream = path.ends_with("/stream");
    let json = if is_stream { "application/x-ndjson" } else { "application/json" };
    let api = Api::new();
    let call = |token: &str, kind: &str, body: Body| {
        let request = Request::post(path).header("authorization", format!("Bearer {}", credential(token)));
        request.header("content-type", kind).body(body).unwrap()
    };
    match status {
        400 if is_stream => {
            let request = Request::post(path).header("content-type", json).header("idempotency-key", "1");
            let request = request.header("authorization", format!("Bearer {}", credential("acme")));
            api.call(request.body(Body::empty()).unwrap()).await
        }
        400 => api.post(path, "{").await,
        401 => api.call(call("nobody", json, message(json!(1)).into())).await,
        403 => api.call(call("reader", json, message(json!(1)).into())).await,
        408 => {
            let never = Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>());
            api.call(call("acme", json, never)).await
        }
        413 => api.call(call("acme", json, message("x".repeat(2 * 1024 * 1024).into()).into())).await,
        415 => api.call(call("acme", "text/plain", message(json!(1)).into())).await,
        422 => {
            api.post(path, &message(json!(1))).await;
            api.post(path, &message(json!(2))).await
        }
        503 => {
            let config = FanoutConfig { max_in_flight: 0, ..FanoutConfig::default() };
            Api::configured(Behaviour::Works, config).post(path, &message(json!(1))).await
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
