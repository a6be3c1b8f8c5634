//! A publish that is stored, as a command for a server: a call of one script, or of one for several together.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use fred::types::scripts::Script;
use proto::{Channel, Durability, Nonce};

use super::super::keys::Keys;
use super::super::link::resp::{Decimal, write_length, write_word};
use crate::{IdempotencyKey, Retention};

static PUBLISH: LazyLock<Script> = LazyLock::new(|| {
    Script::from_lua(concat!(include_str!("../scripts/enqueue.lua"), include_str!("../scripts/publish.lua")))
});

/// How much longer a channel's meta lives than its stream, at least: while the epoch is known, a position that was given
/// out is judged by what is in the stream, not by the stream's absence.
pub(in crate::redis) const META_MARGIN: Duration = Duration::from_secs(24 * 3600);

/// A publish.
#[derive(Debug, Clone)]
pub(in crate::redis) struct Call {
    pub(in crate::redis) channel: Channel,
    pub(in crate::redis) retention: Retention,
    /// Which publication of the channel it will be.
    pub(in crate::redis) nonce: Nonce,
    pub(in crate::redis) payload: Bytes,
    /// Where the publisher gave an id: that, and the message's fingerprint.
    pub(in crate::redis) id: Option<(IdempotencyKey, String)>,
    pub(in crate::redis) outbox: Option<Letter>,
    /// Whether it may have been carried out before.
    pub(in crate::redis) again: bool,
}

/// How a publish goes to the channel's outbox too.
#[derive(Debug, Clone)]
pub(in crate::redis) struct Letter {
    /// How much may wait there.
    pub(in crate::redis) most: u32,
    /// What it got when it came before; empty at first.
    pub(in crate::redis) ticket: String,
}

impl Call {
    /// What others for its channel must keep to be one with it; nothing for a call that stays alone: whether an id, an
    /// earlier try or the outbox stands in the way is for each message by itself.
    pub(super) fn shared(&self) -> Option<Retention> {
        let joins = self.id.is_none() && self.outbox.is_none() && !self.again;
        joins.then_some(self.retention)
    }
}

/// How a server is told which script to run.
#[derive(Debug, Clone, Copy)]
pub(super) enum By {
    /// To one that knows it.
    Hash,
    /// To one that does not.
    Text,
}

/// Writes commands.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    keys: Keys,
    /// On a cluster PUB/SUB is sharded by slot.
    sharded: bool,
}

impl Writer {
    pub(super) const fn new(keys: Keys, sharded: bool) -> Self {
        Self { keys, sharded }
    }

    /// Appends one command for a call, and for others that may be one with it.
    pub(super) fn write<'a>(
        &self,
        by: By,
        first: &'a Call,
        more: impl Iterator<Item = &'a Call> + Clone,
        out: &mut Vec<u8>,
    ) {
        const SCRIPT: usize = 3;
        const ARGUMENTS: usize = 11;
        let Call { channel, retention, id, outbox, .. } = first;
        let keys = 2 + usize::from(id.is_some()) + 2 * usize::from(outbox.is_some());
        let messages = 1 + more.clone().count();
        write_length(out, b'*', SCRIPT + keys + ARGUMENTS + 2 * messages);
        let (command, script) = match by {
            By::Hash => (&b"EVALSHA"[..], &**PUBLISH.sha1()),
            By::Text => (&b"EVAL"[..], PUBLISH.lua().map_or("", |text| text)),
        };
        write_word(out, command);
        write_word(out, script.as_bytes());
        number(out, keys as u64);
        write_word(out, self.keys.meta(channel).as_bytes());
        write_word(out, self.keys.stream(channel).as_bytes());
        if let Some((id, _)) = id {
            write_word(out, self.keys.record(channel, *id).as_bytes());
        }
        if outbox.is_some() {
            write_word(out, self.keys.outbox(channel).as_bytes());
            write_word(out, self.keys.mark(channel).as_bytes());
        }

        write_word(out, self.keys.channel(channel).as_bytes());
        write_word(out, if self.sharded { b"SPUBLISH" } else { b"PUBLISH" });
        number(out, retention.size.into());
        millis(out, retention.age);
        millis(out, (retention.age * 2).max(retention.age.saturating_add(META_MARGIN)));
        flag(out, first.again);
        write_word(out, id.as_ref().map_or(b"", |(_, fingerprint)| fingerprint.as_bytes()));
        millis(out, id.as_ref().map_or(Duration::ZERO, |(id, _)| id.window()));
        write_word(out, outbox.as_ref().map(|letter| letter.most.to_string()).unwrap_or_default().as_bytes());
        write_word(out, outbox.as_ref().map_or(b"", |letter| letter.ticket.as_bytes()));
        flag(out, retention.durability != Durability::Memory);
        for call in std::iter::once(first).chain(more) {
            number(out, call.nonce.0);
            write_word(out, &call.payload);
        }
    }
}

fn number(out: &mut Vec<u8>, number: u64) {
    write_word(out, Decimal::of(number).as_bytes());
}

/// At least one.
fn millis(out: &mut Vec<u8>, time: Duration) {
    let millis = time.as_millis().clamp(1, i64::MAX as u128);
    number(out, u64::try_from(millis).unwrap_or(u64::MAX));
}

/// `1` or nothing.
fn flag(out: &mut Vec<u8>, is_set: bool) {
    write_word(out, if is_set { b"1" } else { b"" });
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proto::{MessageId, Room, Tenant};

    pub(in super::super) fn call(room: &str, nonce: u64) -> Call {
        let channel = Channel::room(&Tenant::new("t").unwrap(), &Room::new(room).unwrap());
        let age = Duration::from_secs(60);
        let retention = Retention { size: 10, age, durability: Durability::Memory };
        let payload = Bytes::from_static(b"a\r\n");
        Call { channel, retention, nonce: Nonce(nonce), payload, id: None, outbox: None, again: false }
    }

    /// The words of a command, after a check of their number.
    fn words(by: By, calls: &[Call]) -> Vec<String> {
        let mut out = Vec::new();
        Writer::new(Keys::new("sb"), false).write(by, &calls[0], calls[1..].iter(), &mut out);
        let text = String::from_utf8(out).unwrap();
        let (count, mut rest) = text.split_once("\r\n").unwrap();
        let mut words = Vec::new();
        while let Some((length, after)) = rest.split_once("\r\n") {
            let (word, after) = after.split_at(length[1..].parse().unwrap());
            words.push(word.to_owned());
            rest = after.strip_prefix("\r\n").unwrap();
        }
        assert_eq!(count, format!("*{}", words.len()));
        words
    }

    #[test]
    fn a_call_is_a_command_by_the_hash_of_its_script_or_with_its_text() {
        let by_hash = words(By::Hash, &[call("r", 7)]);
        assert_eq!(by_hash[..2], ["EVALSHA", &**PUBLISH.sha1()]);
        let (keys, day) = (["2", "sb:{t/r/r}:m", "sb:{t/r/r}:s"], "86460000");
        assert_eq!(by_hash[2..5], keys);
        let arguments = ["sb:{t/r/r}", "PUBLISH", "10", "60000", day, "", "", "1", "", "", ""];
        assert_eq!(by_hash[5..16], arguments);
        assert_eq!(by_hash[16..], ["7", "a\r\n"]);
        let by_text = words(By::Text, &[call("r", 7)]);
        assert!(by_text[0] == "EVAL" && by_text[1].contains("XADD"));
        assert_eq!(by_text[2..], by_hash[2..]);
    }

    #[test]
    fn calls_for_a_channel_are_one_command_with_a_message_each() {
        assert_eq!(call("r", 1).shared(), Some(call("r", 2).retention));
        let together = words(By::Hash, &[call("r", 1), call("r", 2)]);
        assert_eq!(together[..16], words(By::Hash, &[call("r", 1)])[..16]);
        assert_eq!(together[16..], ["1", "a\r\n", "2", "a\r\n"]);
    }

    #[test]
    fn an_id_an_outbox_and_an_earlier_try_keep_a_call_alone() {
        let id = Some((IdempotencyKey::new("api", &MessageId::new("1").unwrap()), "f".to_owned()));
        let outbox = Some(Letter { most: 9, ticket: "t".to_owned() });
        let alone = [
            Call { id, ..call("r", 1) },
            Call { outbox, ..call("r", 1) },
            Call { again: true, ..call("r", 1) },
        ];
        assert!(alone.iter().all(|call| call.shared().is_none()));
        let [id, outbox, again] = alone.map(|call| words(By::Hash, &[call]));
        assert!(id[2] == "3" && id[5].starts_with("sb:{t/r/r}:i:") && id[12] == "f" && id[13] == "300000");
        assert_eq!(outbox[2..7], ["4", "sb:{t/r/r}:m", "sb:{t/r/r}:s", "sb:{t/r/r}:o", "sb:{t/r/r}:w"]);
        assert_eq!(outbox[15..17], ["9", "t"]);
        assert_eq!(again[10], "1");
    }
}
