//! One Engine.IO session as a value: which transport it uses, and when it is to be pinged. Without I/O and without a
//! clock; who drives it tells the time.

use std::time::{Duration, Instant};

use proto::framing::engineio::{PROBE, Packet};

use super::config::Config;

/// How often a polling request that waits is answered while a client is about to change the transport: it cannot
/// finish that before its request is answered.
const NOOP_PAUSE: Duration = Duration::from_millis(100);

/// Up to here a timer that fires late is the jitter of a busy machine, and the next deadline follows from the exact
/// moment. Past that the machine stood still, which is not the client's fault.
const JITTER: Duration = Duration::from_secs(1);

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Engine {
    transport: Transport,
    heartbeat: Heartbeat,
}

#[derive(Debug, Clone, Copy)]
enum Transport {
    Polling,
    /// A WebSocket is there, and did not say anything yet.
    Candidate {
        until: Instant,
    },
    /// The WebSocket was found to work; the client lets polling run dry.
    Probed {
        until: Instant,
        noop: Instant,
    },
    WebSocket,
}

#[derive(Debug, Clone, Copy)]
enum Heartbeat {
    /// When to ping next.
    Ping(Instant),
    /// Until when the answer has to come.
    Pong(Instant),
}

/// What a packet means for the session.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Receipt<'a> {
    /// It was for the session itself.
    Nothing,
    /// A text for the layer above.
    Text(&'a str),
    /// Bytes for the layer above.
    Binary(bytes::Bytes),
    /// The client answered a ping.
    Pong,
    /// The client ends the session.
    Close,
    /// Clients do not send this.
    Violation,
}

/// What a packet on a WebSocket that is not the transport yet means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Probe {
    /// Answer that it works.
    Answer,
    /// It is the transport from here on.
    Switch,
    /// This is no attempt to change the transport.
    Refuse,
}

/// What is due.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Send a ping.
    Ping,
    /// The client did not answer the last one.
    Dead,
    /// Answer the polling request that waits.
    Noop,
    /// The client did not finish the change of transport.
    CandidateTooSlow,
}

impl Engine {
    /// A session that opens by polling, or at once over a WebSocket.
    pub(super) fn new(is_websocket: bool, config: &Config, now: Instant) -> Self {
        let transport = if is_websocket { Transport::WebSocket } else { Transport::Polling };
        Self { transport, heartbeat: Heartbeat::Ping(now + config.ping_interval) }
    }

    /// A packet came by the transport of the session.
    pub(super) fn received<'a>(&mut self, packet: Packet<'a>, config: &Config, now: Instant) -> Receipt<'a> {
        match packet {
            Packet::Message(text) => Receipt::Text(text),
            Packet::Binary(bytes) => Receipt::Binary(bytes),
            Packet::Pong(_) => {
                // One that nobody asked for must not put off the next ping.
                if let Heartbeat::Ping(_) = self.heartbeat {
                    return Receipt::Nothing;
                }
                self.heartbeat = Heartbeat::Ping(now + config.ping_interval);
                Receipt::Pong
            }
            Packet::Close => Receipt::Close,
            Packet::Noop => Receipt::Nothing,
            Packet::Open(_) | Packet::Ping(_) | Packet::Upgrade => Receipt::Violation,
        }
    }

    /// Whether a ping may be sent before it is due: the last one is answered.
    pub(super) const fn may_ping(&self) -> bool {
        matches!(self.heartbeat, Heartbeat::Ping(_))
    }

    /// A ping is sent before it is due.
    pub(super) fn ping(&mut self, config: &Config, now: Instant) {
        self.heartbeat = Heartbeat::Pong(now + config.ping_timeout);
    }

    /// A WebSocket came for the session. Answers whether it may try.
    pub(super) fn propose(&mut self, config: &Config, now: Instant) -> bool {
        let may_try = matches!(self.transport, Transport::Polling);
        if may_try {
            self.transport = Transport::Candidate { until: now + config.upgrade_timeout };
        }
        may_try
    }

    /// A packet came on that WebSocket.
    pub(super) fn probed(&mut self, packet: &Packet<'_>, now: Instant) -> Probe {
        match (self.transport, packet) {
            (Transport::Candidate { until }, Packet::Ping(PROBE)) => {
                // Not at once: a client that does not wait for the answer has changed before that.
                self.transport = Transport::Probed { until, noop: now + NOOP_PAUSE };
                Probe::Answer
            }
            (Transport::Probed { .. }, Packet::Upgrade) => {
                self.transport = Transport::WebSocket;
                Probe::Switch
            }
            _ => Probe::Refuse,
        }
    }

    /// That WebSocket is gone; polling goes on as if nothing had been.
    pub(super) fn give_up_candidate(&mut self) {
        if !matches!(self.transport, Transport::WebSocket) {
            self.transport = Transport::Polling;
        }
    }

    /// When something is due next.
    pub(super) fn deadline(&self) -> Instant {
        let (Heartbeat::Ping(heartbeat) | Heartbeat::Pong(heartbeat)) = self.heartbeat;
        match self.transport {
            Transport::Polling | Transport::WebSocket => heartbeat,
            Transport::Candidate { until } => heartbeat.min(until),
            Transport::Probed { until, noop } => heartbeat.min(until).min(noop),
        }
    }

    /// What is due now; to be asked until nothing is.
    pub(super) fn expired(&mut self, config: &Config, now: Instant) -> Option<Due> {
        match self.heartbeat {
            Heartbeat::Ping(at) if at <= now => {
                let sent = if now - at < JITTER { at } else { now };
                self.heartbeat = Heartbeat::Pong(sent + config.ping_timeout);
                return Some(Due::Ping);
            }
            Heartbeat::Pong(until) if until <= now => return Some(Due::Dead),
            Heartbeat::Ping(_) | Heartbeat::Pong(_) => {}
        }
        match self.transport {
            Transport::Candidate { until } | Transport::Probed { until, .. } if until <= now => {
                self.transport = Transport::Polling;
                Some(Due::CandidateTooSlow)
            }
            Transport::Probed { until, noop } if noop <= now => {
                self.transport = Transport::Probed { until, noop: now + NOOP_PAUSE };
                Some(Due::Noop)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn opened(is_websocket: bool) -> (Engine, Config, Instant) {
        let config = Config { ping_interval: 300 * MS, ping_timeout: 200 * MS, ..Config::default() };
        let now = Instant::now();
        (Engine::new(is_websocket, &config, now), config, now)
    }

    #[test]
    fn a_client_that_answers_is_pinged_an_interval_after_its_answer() {
        let (mut engine, config, start) = opened(true);
        assert_eq!(engine.deadline(), start + 300 * MS);
        assert_eq!(engine.expired(&config, start + 299 * MS), None);
        assert_eq!(engine.expired(&config, start + 300 * MS), Some(Due::Ping));
        assert_eq!(engine.expired(&config, start + 300 * MS), None);
        assert_eq!(engine.received(Packet::Pong(""), &config, start + 310 * MS), Receipt::Pong);
        assert_eq!(engine.deadline(), start + 610 * MS);
    }

    #[test]
    fn a_client_may_be_pinged_early_and_one_ping_at_a_time() {
        let (mut engine, config, start) = opened(true);
        assert!(engine.may_ping());
        engine.ping(&config, start + 10 * MS);
        assert!(!engine.may_ping());
        assert_eq!(engine.deadline(), start + 210 * MS);
        assert_eq!(engine.received(Packet::Pong(""), &config, start + 20 * MS), Receipt::Pong);
        assert!(engine.may_ping());
        assert_eq!(engine.deadline(), start + 320 * MS);
    }

    #[test]
    fn a_client_that_does_not_answer_is_dead_at_the_exact_moment() {
        let (mut engine, config, start) = opened(false);
        // The timer was late; what the client may take is counted from when it should have been.
        assert_eq!(engine.expired(&config, start + 312 * MS), Some(Due::Ping));
        assert_eq!(engine.expired(&config, start + 499 * MS), None);
        assert_eq!(engine.expired(&config, start + 500 * MS), Some(Due::Dead));
    }

    #[test]
    fn a_machine_that_stood_still_does_not_blame_its_clients() {
        let (mut engine, config, start) = opened(true);
        let late = start + Duration::from_secs(60);
        assert_eq!(engine.expired(&config, late), Some(Due::Ping));
        assert_eq!(engine.expired(&config, late), None);
        assert_eq!(engine.deadline(), late + 200 * MS);
    }

    #[test]
    fn an_answer_that_nobody_asked_for_does_not_put_off_a_ping() {
        let (mut engine, config, start) = opened(true);
        engine.received(Packet::Pong(""), &config, start + 200 * MS);
        assert_eq!(engine.deadline(), start + 300 * MS);
    }

    #[test]
    fn clients_neither_ping_nor_open_nor_upgrade_their_transport() {
        let (mut engine, config, now) = opened(true);
        for packet in [Packet::Ping(""), Packet::Open("{}"), Packet::Upgrade] {
            assert_eq!(engine.received(packet, &config, now), Receipt::Violation);
        }
        assert_eq!(engine.received(Packet::Close, &config, now), Receipt::Close);
    }

    #[test]
    fn a_websocket_becomes_the_transport_after_its_probe() {
        let (mut engine, config, now) = opened(false);
        assert!(engine.propose(&config, now));
        assert!(!engine.propose(&config, now), "only one at a time");
        assert_eq!(engine.probed(&Packet::Ping(PROBE), now), Probe::Answer);
        // A request that waits is answered every now and then.
        assert_eq!(engine.expired(&config, now), None);
        assert_eq!(engine.expired(&config, now + NOOP_PAUSE), Some(Due::Noop));
        assert_eq!(engine.expired(&config, now + NOOP_PAUSE), None);
        assert_eq!(engine.expired(&config, now + 2 * NOOP_PAUSE), Some(Due::Noop));
        assert_eq!(engine.probed(&Packet::Upgrade, now), Probe::Switch);
        assert_eq!(engine.deadline(), now + 300 * MS);
        assert!(!engine.propose(&config, now), "there is nothing better");
    }

    #[test]
    fn polling_survives_whatever_a_candidate_does() {
        for packet in
            [Packet::Upgrade, Packet::Ping(""), Packet::Message("x"), Packet::Close, Packet::Pong(PROBE)]
        {
            let (mut engine, config, now) = opened(false);
            assert!(engine.propose(&config, now));
            assert_eq!(engine.probed(&packet, now), Probe::Refuse);
            engine.give_up_candidate();
            assert!(engine.propose(&config, now), "another may try");
        }
    }

    #[test]
    fn a_candidate_has_to_hurry() {
        let (mut engine, mut config, now) = opened(false);
        config.upgrade_timeout = 50 * MS;
        assert!(engine.propose(&config, now));
        assert_eq!(engine.probed(&Packet::Ping(PROBE), now + MS), Probe::Answer);
        assert_eq!(engine.expired(&config, now + 50 * MS), Some(Due::CandidateTooSlow));
        assert_eq!(engine.deadline(), now + 300 * MS);
    }
}
