//! What can be configured, with defaults that suit most.

use std::time::Duration;

/// The limits of one fanout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FanoutConfig {
    /// The most calls worked on at a time; more are answered 503 at once.
    pub max_in_flight: usize,
    /// The largest body of a call in bytes. Together with `max_in_flight` it bounds the memory that bodies take.
    pub max_body: usize,
    /// How long the broker may take for one call. Below a second, so that callers learn soon when Redis is away.
    pub publish_timeout: Duration,
    /// The scope without which a token may not publish.
    pub send_scope: String,
    /// The scope with which a token may publish to any tenant.
    pub any_tenant_scope: String,
}

impl Default for FanoutConfig {
    fn default() -> Self {
        Self {
            max_in_flight: 256,
            max_body: 1024 * 1024,
            publish_timeout: Duration::from_millis(900),
            send_scope: "send".into(),
            any_tenant_scope: "send:any-tenant".into(),
        }
    }
}
