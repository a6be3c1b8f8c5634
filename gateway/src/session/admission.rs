//! How a session begins and who it is: tokens, the rooms and the place that come with them, an earlier session to go on
//! with.

use std::time::Duration;

use broker::{PLACE_KEPT, Place};
use chassis::auth::{Identity, Scopes, TokenError};
use proto::{Channel, Close, Cursor, ErrorCode, Outgoing, Profile, Room, Timestamp};

use super::member::Member;
use super::operation::{Keep, Operation, Purpose, Resumed};
use super::{Effect, Session, State, Timer};
use crate::endpoint;
use crate::endpoint::offline::Device;
use crate::peer::standing::Record;

impl Session {
    pub(super) fn verify(&mut self, token: String, purpose: Purpose) {
        self.effects.push_back(Effect::Start(Operation::Verify { token, purpose }));
    }

    /// `rooms` are those that the endpoint puts the session into.
    pub(super) fn admit(&mut self, mut identity: Identity, rooms: Vec<Room>, now: Timestamp) {
        let profile = self.profile(&identity);
        let device = self.device(&identity);
        forget(&mut identity);
        self.set(Timer::Authentication, None);
        self.set(Timer::Token, Some(remaining(&identity, now)));
        let since = match &mut self.state {
            State::Anonymous(cursor) => std::mem::take(cursor),
            State::Admitted(_) | State::Closed => Cursor::default(),
        };
        let tenant = identity.tenant.clone();
        let member = Member::new(identity, profile, rooms.clone());
        let (user, place) = (member.entry(), self.place(&member));
        self.state = State::Admitted(Box::new(member));
        self.keep_place();
        // Only who is connected by its token knows by what to come back.
        let is_kept = self.terms.endpoint.recovery.is_some() && !self.is_accepted;
        let operation = match &self.resume {
            Some(resume) if is_kept => {
                self.device = device.map(|device| device.id);
                Operation::Recall { key: resume.key.clone() }
            }
            _ => {
                let keep = if is_kept { Keep::New } else { Keep::No };
                Operation::Admit { tenant, user, rooms, since, device, place, keep }
            }
        };
        self.effects.push_back(Effect::Start(operation));
    }

    /// A session was looked for. It is gone on with by the same user, in the rooms that the token still allows.
    pub(super) fn recalled(&mut self, record: Option<Box<Record>>) {
        let named = self.device.take();
        let device = self.terms.endpoint.offline.as_ref().and_then(|offline| offline.device(named, "{}"));
        let State::Admitted(member) = &self.state else { return };
        let (tenant, user) = (member.identity.tenant.clone(), member.entry());
        let place = self.place(member);
        let resumed = self.resume.take().zip(record).and_then(|(resume, record)| {
            if record.tenant != tenant || record.user != user.user {
                return None;
            }
            let since = record.cursor(resume.told.as_deref())?;
            let rooms = record.rooms().filter(|room| member.may_join(&self.terms, room)).collect();
            Some(Keep::Resumed(Box::new(Resumed { key: resume.key, record: *record, rooms, since })))
        });
        let (rooms, since) = (member.rooms.assigned().to_vec(), Cursor::default());
        let keep = resumed.unwrap_or(Keep::New);
        let admit = Operation::Admit { tenant, user, rooms, since, device, place, keep };
        self.effects.push_back(Effect::Start(admit));
    }

    pub(super) fn refresh(&mut self, mut identity: Identity, rooms: Vec<Room>, now: Timestamp) {
        let profile = self.profile(&identity);
        let State::Admitted(member) = &mut self.state else { return };
        if !member.identity.may_become(&identity) {
            return self.error(ErrorCode::Forbidden, "the new token is of another user");
        }
        forget(&mut identity);
        let moves = member.refresh(&self.terms, identity, profile, rooms);
        let (info, left) = (member.info(&self.id), remaining(&member.identity, now));
        self.set(Timer::Token, Some(left));
        self.reply(&Outgoing::AuthSuccess { session: &info, positions: &[] });
        self.go(moves);
    }

    /// A token was not accepted. A session that has a good one keeps it.
    pub(super) fn refuse(&mut self, purpose: Purpose, error: &TokenError) {
        let message = error.to_string();
        if self.is_accepted {
            self.error(error.code(), &message);
        } else if error.code() != ErrorCode::Unavailable {
            self.state = State::Closed;
            return self.effects.push_back(Effect::Refuse(error.code(), message));
        }
        match (purpose, error.code()) {
            (Purpose::Refresh, _) => {}
            (Purpose::Authenticate, ErrorCode::Unavailable) => self.close(Close::Overload, Some(message)),
            (Purpose::Authenticate, code) => {
                let close = match (self.terms.endpoint.refusal, code) {
                    (endpoint::Refusal::PolicyViolation, _) => Close::PolicyViolation,
                    (endpoint::Refusal::ByReason, ErrorCode::TokenExpired) => Close::TokenExpired,
                    (endpoint::Refusal::ByReason, _) => Close::Unauthorized,
                };
                self.close(close, Some(message));
            }
        }
    }

    /// The place among the user's sessions that this one has to have.
    pub(super) fn place(&self, member: &Member) -> Option<Place> {
        let endpoint = &self.terms.endpoint;
        (endpoint.max_sessions > 0).then(|| Place {
            user: Channel::user(&member.identity.tenant, &member.identity.user),
            circle: endpoint.path.clone(),
            session: self.connection.clone(),
            limit: endpoint.max_sessions,
        })
    }

    /// Claims the place again before it is given up.
    pub(super) fn keep_place(&mut self) {
        if self.terms.endpoint.max_sessions > 0 {
            self.set(Timer::Review, Some(PLACE_KEPT / 4));
        }
    }

    /// Which of the user's devices it is, where that counts.
    fn device(&mut self, identity: &Identity) -> Option<Device> {
        let offline = self.terms.endpoint.offline.as_ref()?;
        let claims = serde_json::to_string(&identity.claims).unwrap_or_default();
        offline.device(self.device.take(), &claims)
    }

    /// What the endpoint's vocabulary shows of a user. Without a usable one the session goes on without it.
    fn profile(&self, identity: &Identity) -> Option<Profile> {
        let claims = serde_json::to_string(&identity.claims).unwrap_or_default();
        match self.terms.endpoint.framing.profile(&claims) {
            Ok(profile) => profile,
            Err(error) => {
                tracing::warn!(%error, path = self.terms.endpoint.path, "a user's claims make no profile");
                None
            }
        }
    }
}

/// A connection that may live for days keeps what is needed later, not the whole token.
fn forget(identity: &mut Identity) {
    identity.claims.clear();
    identity.scopes = Scopes::default();
    identity.rooms.shrink_to_fit();
}

fn remaining(identity: &Identity, now: Timestamp) -> Duration {
    Duration::from_millis((identity.expires_at.saturating_mul(1000)).saturating_sub(now.0))
}
