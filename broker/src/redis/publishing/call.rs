//! A call of a script, as bytes for a server.

use std::time::Duration;

use bytes::BytesMut;
use fred::types::scripts::Script;

use super::super::link::resp::{Decimal, write_length, write_word};

/// A script with its keys and arguments.
#[derive(Debug)]
pub(in crate::redis) struct Call {
    script: &'static Script,
    /// How many words there are besides the command and the script.
    count: usize,
    /// They themselves.
    words: BytesMut,
}

impl Call {
    /// A call with these keys. Arguments are added one by one.
    pub(in crate::redis) fn new(script: &'static Script, keys: &[String]) -> Self {
        let call = Self { script, count: 0, words: BytesMut::with_capacity(512) }.number(keys.len() as u64);
        keys.iter().fold(call, |call, key| call.text(key.as_bytes()))
    }

    /// Adds any bytes.
    pub(in crate::redis) fn text(mut self, text: &[u8]) -> Self {
        self.count += 1;
        write_word(&mut self.words, text);
        self
    }

    /// Adds a number.
    pub(in crate::redis) fn number(self, number: u64) -> Self {
        self.text(Decimal::of(number).as_bytes())
    }

    /// Adds a time in milliseconds, at least one.
    pub(in crate::redis) fn millis(self, time: Duration) -> Self {
        let millis = time.as_millis().clamp(1, i64::MAX as u128);
        self.number(u64::try_from(millis).unwrap_or(u64::MAX))
    }

    /// Adds `1` or nothing.
    pub(in crate::redis) fn flag(self, is_set: bool) -> Self {
        self.text(if is_set { b"1" } else { b"" })
    }

    /// Writes the command for a server that knows the script.
    pub(super) fn write_with_hash(&self, out: &mut BytesMut) {
        self.write(out, b"EVALSHA", self.script.sha1());
    }

    /// Writes it for one that does not.
    pub(super) fn write_with_text(&self, out: &mut BytesMut) {
        self.write(out, b"EVAL", self.script.lua().map_or("", |text| text));
    }

    fn write(&self, out: &mut BytesMut, command: &[u8], script: &str) {
        write_length(out, b'*', self.count + 2);
        write_word(out, command);
        write_word(out, script.as_bytes());
        out.extend_from_slice(&self.words);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::LazyLock;

    static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::from_lua("return 1"));

    #[test]
    fn a_call_is_a_command_by_the_hash_of_its_script_or_with_its_text() {
        let call = Call::new(&SCRIPT, &["k".to_owned()]).text(b"a\r\n").millis(Duration::ZERO).flag(false);
        let words = "$1\r\n1\r\n$1\r\nk\r\n$3\r\na\r\n\r\n$1\r\n1\r\n$0\r\n\r\n";
        let (mut by_hash, mut with_text) = (BytesMut::new(), BytesMut::new());
        call.write_with_hash(&mut by_hash);
        call.write_with_text(&mut with_text);
        let sha = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db";
        assert_eq!(by_hash, format!("*7\r\n$7\r\nEVALSHA\r\n$40\r\n{sha}\r\n{words}"));
        assert_eq!(with_text, format!("*7\r\n$4\r\nEVAL\r\n$8\r\nreturn 1\r\n{words}"));
    }
}
