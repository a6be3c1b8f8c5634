//! Whatever stands in a request: looking for its credential does not panic, and the protocol to answer with is one of
//! those that were offered. The lines of the input are the query, `Authorization` and the offered protocols.

#![no_main]

use chassis::auth::{ApiKeys, Places};
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderValue};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let mut lines = input.split(|byte| *byte == b'\n');
    let query = lines.next().and_then(|line| std::str::from_utf8(line).ok());
    let mut headers = HeaderMap::new();
    if let Some(value) = lines.next().and_then(|line| HeaderValue::from_bytes(line).ok()) {
        headers.append(AUTHORIZATION, value);
    }
    for value in lines.filter_map(|line| HeaderValue::from_bytes(line).ok()) {
        headers.append(SEC_WEBSOCKET_PROTOCOL, value);
    }
    let Ok(carried) = Places::default().find(&headers, query, &["switchboard.v1"]) else { return };
    if let Some(answer) = carried.subprotocol {
        let offers = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|line| line.to_str().ok());
        assert!(offers.flat_map(|line| line.split(',')).any(|offer| offer.trim() == answer));
    }
    if let Some(credential) = carried.credential {
        assert!(!credential.is_empty());
        assert!(ApiKeys::default().find(&credential).is_err());
    }
});
