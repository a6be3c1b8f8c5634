//! The catalogue of endings: every way in which the server closes a connection.
//!
//! A client decides by the number alone whether to come back: RFC 6455 codes (section 7.4.1 and the IANA registry) keep
//! their meaning, 4000 to 4499 say "connect again", 4500 to 4999 say "do not, before something has changed".

/// What a client should do after a close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Connect again, with the usual backoff.
    Reconnect,
    /// Connect again after a random delay: the node restarts or is full, and so are others in a moment.
    Later,
    /// Do not connect again in the same way; it would end in the same way.
    Never,
}

macro_rules! catalogue {
    ($($(#[$doc:meta])+ $name:ident = $code:literal, $label:literal, $reason:literal;)+) => {
        /// Why the server closes a connection.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Close {
            $($(#[$doc])+ $name,)+
        }

        impl Close {
            /// The whole catalogue, in order of the codes.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The WebSocket close code.
            pub const fn code(self) -> u16 {
                match self { $(Self::$name => $code,)+ }
            }

            /// The value of the metric's label `reason`, and the name used in logs.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)+ }
            }

            /// The reason that is sent with the close frame, for people; at most 123 bytes.
            pub const fn reason(self) -> &'static str {
                match self { $(Self::$name => $reason,)+ }
            }
        }
    };
}

catalogue! {
    /// The client said goodbye.
    Normal = 1000, "normal", "bye";
    /// A frame breaks RFC 6455.
    ProtocolError = 1002, "protocol_error", "protocol error";
    /// A binary frame on an endpoint that speaks text.
    UnsupportedData = 1003, "unsupported_data", "this endpoint takes text frames";
    /// Text that is not UTF-8.
    InvalidPayload = 1007, "invalid_payload", "text is not UTF-8";
    /// The endpoint closes what it does not admit with the code that browsers show best.
    PolicyViolation = 1008, "policy_violation", "not admitted";
    /// A frame or message is larger than the endpoint takes.
    TooBig = 1009, "too_big", "message too big";
    /// A fault of ours.
    Internal = 1011, "internal", "internal error";
    /// This node drains: come back after the advised delay, to another node.
    Restart = 1012, "restart", "service restart";
    /// This node is full.
    Overload = 1013, "overload", "try again later";
    /// The token ran out and was not refreshed: come back with a new one.
    TokenExpired = 4001, "token_expired", "token expired";
    /// No sign of life within the time limit.
    Timeout = 4002, "timeout", "no sign of life";
    /// No token came within the time limit.
    AuthTimeout = 4003, "auth_timeout", "not authenticated in time";
    /// The client reads more slowly than it is sent to, past every limit. Its positions still resume.
    Slow = 4008, "slow", "reads too slowly; resume from your last position";
    /// The token is missing or was refused.
    Unauthorized = 4500, "unauthorized", "unauthorized";
    /// A newer session of the same user took this one's place.
    Replaced = 4501, "replaced", "replaced by a newer connection";
    /// An administrator disconnected this session.
    Disconnected = 4502, "disconnected", "disconnected by an administrator";
    /// The client went on breaking a limit after it was told.
    Abuse = 4503, "abuse", "limits ignored";
    /// The token that this session has, or its user, was revoked.
    Revoked = 4504, "revoked", "token revoked";
}

impl Close {
    /// What the client should do. Follows from the code's range, so that a client needs no table.
    pub const fn retry(self) -> Retry {
        match self.code() {
            1001 | 1011 | 4000..=4499 => Retry::Reconnect,
            1012 | 1013 => Retry::Later,
            _ => Retry::Never,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_labels_are_unique_and_in_order() {
        let codes: Vec<_> = Close::ALL.iter().map(|close| close.code()).collect();
        assert!(codes.is_sorted_by(|a, b| a < b), "{codes:?}");
        let mut labels: Vec<_> = Close::ALL.iter().map(|close| close.label()).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), Close::ALL.len());
    }

    #[test]
    fn reasons_fit_a_control_frame() {
        // RFC 6455, section 5.5: a control frame carries at most 125 bytes, two of which are the code.
        assert!(Close::ALL.iter().all(|close| close.reason().len() <= 123));
    }

    #[test]
    fn a_slow_or_drained_client_comes_back_and_a_refused_one_does_not() {
        assert_eq!(Close::Slow.retry(), Retry::Reconnect);
        assert_eq!(Close::TokenExpired.retry(), Retry::Reconnect);
        assert_eq!(Close::Restart.retry(), Retry::Later);
        assert_eq!(Close::Unauthorized.retry(), Retry::Never);
        assert_eq!(Close::Replaced.retry(), Retry::Never);
        assert_eq!(Close::Revoked.retry(), Retry::Never);
    }
}
