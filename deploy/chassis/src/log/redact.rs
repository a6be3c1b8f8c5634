//! Takes secrets out of text that is about to be written.
//!
//! What is written is looked at, not who wrote it: a token in a URL, in a header, in the debug output of a struct
//! or in the message of somebody else's error is found all the same. Where it is not clear how far a secret goes,
//! too much is taken out rather than too little. One pass, without backtracking over what was seen.

use std::borrow::Cow;

/// What stands in the place of a secret.
pub(super) const MASK: &str = "[redacted]";

/// Names end with one of these, in lower case and without `-` and `_`, when their values are secret.
const SECRET_NAMES: &[&str] = &[
    "accesskey",
    "apikey",
    "authorization",
    "cookie",
    "cookies",
    "credential",
    "credentials",
    "jwt",
    "passphrase",
    "passwd",
    "password",
    "passwords",
    "privatekey",
    "secret",
    "secretkey",
    "secrets",
    "secwebsocketprotocol",
    "sig",
    "signature",
    "signatureed25519",
    "ticket",
    "token",
    "tokens",
];

/// Of the secret names, those of header fields whose values have spaces in them.
const LONG_VALUES: &[&str] = &["authorization", "cookie", "secwebsocketprotocol"];

/// Whether a field or parameter of this name holds a secret.
pub(super) fn is_secret_name(name: &str) -> bool {
    ends_with_any(name, SECRET_NAMES)
}

/// The text without its secrets, and telephone numbers without all but their last digits.
pub(super) fn redact(text: &str) -> Cow<'_, str> {
    let mut scanner = Scanner { text, at: 0, copied: 0, no_at_before: 0, output: String::new() };
    while scanner.at < text.len() {
        if !scanner.step() {
            scanner.at += 1;
        }
    }
    if scanner.copied == 0 {
        return Cow::Borrowed(text);
    }
    scanner.output.push_str(scanner.slice(scanner.copied, text.len()));
    Cow::Owned(scanner.output)
}

/// All positions are in bytes, and all that is looked for is ASCII, so no character is ever cut in two.
struct Scanner<'a> {
    text: &'a str,
    at: usize,
    /// Up to here the text is in the output already.
    copied: usize,
    /// Up to here it is known that no `@` follows in the same word.
    no_at_before: usize,
    output: String,
}

impl<'a> Scanner<'a> {
    /// Looks for a secret that is announced here. Moves on only if there is one.
    fn step(&mut self) -> bool {
        match self.byte(self.at) {
            Some(b'e') if self.rest(self.at).starts_with("eyJ") => self.token(),
            Some(b':') if self.rest(self.at).starts_with("://") => self.user_info(),
            Some(b'+') => self.telephone(self.at + 1),
            Some(b'%') if starts_with_ignoring_case(self.rest(self.at), "%2b") => self.telephone(self.at + 3),
            Some(byte)
                if is_name(byte) && !self.at.checked_sub(1).is_some_and(|before| self.is_name(before)) =>
            {
                self.scheme() || self.named()
            }
            _ => false,
        }
    }

    /// A JSON object in base64url, which is how every JWT begins.
    fn token(&mut self) -> bool {
        let end = self.run(self.at, |byte| is_name(byte) || matches!(byte, b'.' | b'='));
        end - self.at >= 8 && self.mask(self.at, end)
    }

    /// What stands before the last `@` of a URL.
    fn user_info(&mut self) -> bool {
        if self.at < self.no_at_before {
            return false;
        }
        let start = self.at + 3;
        let end = self.run(start, |byte| !byte.is_ascii_whitespace());
        match self.slice(start, end).rfind('@') {
            Some(at) => at > 0 && self.mask(start, start + at),
            None => {
                self.no_at_before = end;
                false
            }
        }
    }

    /// An international number (E.164); its last four digits stay, which is enough to tell two apart.
    fn telephone(&mut self, start: usize) -> bool {
        let end = self.run(start, |byte| byte.is_ascii_digit());
        let is_number = (7..=15).contains(&(end - start)) && self.byte(start) != Some(b'0');
        is_number && self.mask(start, end - 4)
    }

    /// Credentials after the name of their scheme (RFC 9110, section 11.4).
    fn scheme(&mut self) -> bool {
        let Some(start) = self.after_scheme(self.at) else { return false };
        let end = self.run(start, is_credential);
        end - start >= 8 && self.mask(start, end)
    }

    fn after_scheme(&self, at: usize) -> Option<usize> {
        let name_end = self.run(at, is_name);
        let is_scheme =
            ["bearer", "basic"].iter().any(|name| self.slice(at, name_end).eq_ignore_ascii_case(name));
        let start = self.run(name_end, |byte| byte == b' ');
        (is_scheme && start > name_end).then_some(start)
    }

    /// A secret name, something that says that its value follows, and the value.
    fn named(&mut self) -> bool {
        let name_end = self.run(self.at, is_name);
        let name = self.slice(self.at, name_end);
        if !is_secret_name(name) {
            return false;
        }
        let Some(start) = self.value_start(name_end) else { return false };
        let has_long_value = ends_with_any(name, LONG_VALUES);
        if let Some((inside, end)) = self.quoted(start) {
            return end > inside && self.mask(inside, end);
        }
        let end = if has_long_value {
            self.run(start, |byte| !matches!(byte, b'\r' | b'\n'))
        } else {
            self.bare_end(start)
        };
        end > start && self.mask(start, end)
    }

    /// `name=`, `name: `, `"name": `, `name => `, `name%3D` and `("name", ` are followed by a value.
    fn value_start(&self, name_end: usize) -> Option<usize> {
        let after_quote = match self.quote(name_end) {
            Some((_, _, after)) => after,
            None => name_end,
        };
        let at = self.run(after_quote, is_blank);
        let rest = self.rest(at);
        let separator = if rest.starts_with("=>") {
            2
        } else if rest.starts_with(['=', ':']) && !rest.starts_with("::") {
            1
        } else if starts_with_ignoring_case(rest, "%3d") || starts_with_ignoring_case(rest, "%3a") {
            3
        } else if rest.starts_with(',') && after_quote > name_end && self.is_in_tuple() {
            1
        } else {
            return None;
        };
        Some(self.run(at + separator, is_blank))
    }

    /// Whether the name here is the first of a pair, as in `("authorization", "Basic …")`.
    fn is_in_tuple(&self) -> bool {
        let before = self.slice(0, self.at).trim_end_matches(['"', '\'', '\\']);
        before.len() < self.at && before.ends_with('(')
    }

    /// The quotation mark at a position: how many backslashes stand before it, the mark, and where it ends. Text
    /// that was quoted twice has one backslash, thrice three.
    fn quote(&self, at: usize) -> Option<(usize, u8, usize)> {
        let mark = self.run(at, |byte| byte == b'\\');
        match self.byte(mark) {
            Some(byte @ (b'"' | b'\'')) => Some((mark - at, byte, mark + 1)),
            _ => None,
        }
    }

    /// From where to where a quoted value goes, without its marks. One that does not end goes to the end.
    fn quoted(&self, start: usize) -> Option<(usize, usize)> {
        let prefix = self.run(start, |byte| matches!(byte, b'b' | b'c' | b'r'));
        let (depth, mark, inside) = self.quote(prefix)?;
        let mut backslashes = 0;
        for (offset, byte) in self.rest(inside).bytes().enumerate() {
            match byte {
                b'\\' => backslashes += 1,
                _ if byte == mark && backslashes <= depth => {
                    return Some((inside, inside + offset - backslashes));
                }
                _ => backslashes = 0,
            }
        }
        Some((inside, self.text.len()))
    }

    /// Where a value without quotes ends. Brackets belong to it with all that is in them, as in `Some("…")` and
    /// `Token { raw: "…" }`.
    fn bare_end(&self, start: usize) -> usize {
        let start = self.after_scheme(start).unwrap_or(start);
        let word = self.run(start, |byte| is_name(byte) || byte == b':');
        let bracket = self.run(word, is_blank);
        match self.byte(bracket) {
            Some(b'{') => self.bracket_end(bracket),
            Some(b'(' | b'[') if bracket == word => self.bracket_end(bracket),
            _ => self.run(start, |byte| {
                !byte.is_ascii_whitespace() && !matches!(byte, b'&' | b'"' | b'\'' | b'\\')
            }),
        }
    }

    fn bracket_end(&self, start: usize) -> usize {
        let mut depth = 0_usize;
        for (offset, byte) in self.rest(start).bytes().enumerate() {
            match byte {
                b'(' | b'[' | b'{' => depth += 1,
                b')' | b']' | b'}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return start + offset + 1;
            }
        }
        self.text.len()
    }

    /// Takes out what is between two positions and goes on after it.
    fn mask(&mut self, from: usize, to: usize) -> bool {
        self.output.push_str(self.slice(self.copied, from));
        self.output.push_str(MASK);
        self.copied = to;
        self.at = to;
        true
    }

    /// Where the bytes of a kind that begin at a position end.
    fn run(&self, at: usize, belongs: impl Fn(u8) -> bool) -> usize {
        at + self.rest(at).bytes().take_while(|byte| belongs(*byte)).count()
    }

    fn rest(&self, at: usize) -> &'a str {
        self.slice(at, self.text.len())
    }

    fn slice(&self, from: usize, to: usize) -> &'a str {
        self.text.get(from..to).unwrap_or_default()
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.text.as_bytes().get(at).copied()
    }

    fn is_name(&self, at: usize) -> bool {
        self.byte(at).is_some_and(is_name)
    }
}

const fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// What credentials without quotes are made of: `token68` (RFC 9110, section 11.2).
const fn is_credential(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=')
}

fn starts_with_ignoring_case(text: &str, start: &str) -> bool {
    text.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start))
}

fn ends_with_any(name: &str, endings: &[&str]) -> bool {
    // From the end, so that a long name costs no more than a short one.
    endings.iter().any(|ending| {
        let mut letters = name
            .bytes()
            .rev()
            .filter(|byte| !matches!(byte, b'-' | b'_'))
            .map(|byte| byte.to_ascii_lowercase());
        ending.bytes().rev().all(|byte| letters.next() == Some(byte))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const JWT: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl";

    #[test]
    fn secrets_are_found_wherever_they_stand() {
        let texts = [
            "GET /ws?token=canary&room=a HTTP/1.1",
            "GET /ws?room=a&access_token=canary",
            "/login?next=%2Fws%3Ftoken%3Dcanary",
            "redis://user:canary@host:6379/0",
            "rediss://:canary@[::1]:6379",
            "redis://u:ca@canary@host",
            "redis-sentinel://a:1?sentinelPassword=canary",
            "Authorization: Basic canary",
            "Authorization: Digest username=\"a\", response=\"canary\"",
            "{\"authorization\": \"Bearer canary\", \"host\": \"a\"}",
            "Cookie: a=1; session=canary",
            "sec-websocket-protocol: switchboard, canary",
            "[(\"Authorization\", \"canary\")]",
            "X-Twilio-Signature: canary",
            "telnyx-signature-ed25519: canary",
            "Auth { token: \"canary\" }",
            "Auth { token: Some(\"canary\") }",
            "Auth { token: Token { raw: \"canary\", kind: 1 }, room: 2 }",
            "Auth { token: b\"canary\" }",
            "password: [1, \"canary\"]",
            "{\"type\":\"auth\",\"token\":\"canary\"}",
            "{\"token\":\"a\\\"canary\"}",
            "\"{\\\"token\\\":\\\"canary\\\"}\"",
            "\"{\\\"token\\\":\\\"a\\\\\\\"canary\\\"}\"",
            "token = 'canary'",
            "apiKey => canary",
            "JWT_SECRET=canary",
            "password=a,canary",
            "token: Bearer canary",
            "token=\"canary",
            "refresh-token\t:\tcanary",
        ];
        for text in texts {
            let safe = redact(text);
            assert!(!safe.contains("canary"), "{text} became {safe}");
            assert!(safe.contains(MASK), "{safe}");
        }
    }

    #[test]
    fn tokens_are_known_by_their_looks() {
        for text in [
            format!("refused {JWT}: expired"),
            format!("x{JWT}"),
            format!("bearer {JWT}"),
            format!("[\"{JWT}\"]"),
            format!("é{JWT}é"),
        ] {
            let safe = redact(&text);
            assert!(!safe.contains("eyJ") && !safe.contains("c2lnbm"), "{safe}");
        }
        assert_eq!(redact(&format!("refused {JWT}: expired")), "refused [redacted]: expired");
        assert_eq!(redact("bearer abcdefgh01 x"), "bearer [redacted] x");
    }

    #[test]
    fn what_stands_around_a_secret_stays() {
        assert_eq!(redact("GET /ws?token=a&room=b HTTP/1.1"), "GET /ws?token=[redacted]&room=b HTTP/1.1");
        assert_eq!(redact("{\"token\":\"a\",\"room\":\"b\"}"), "{\"token\":\"[redacted]\",\"room\":\"b\"}");
        assert_eq!(redact("{\\\"token\\\":\\\"a\\\",1}"), "{\\\"token\\\":\\\"[redacted]\\\",1}");
        assert_eq!(redact("redis://u:p@host:6379/0 is away"), "redis://[redacted]@host:6379/0 is away");
        assert_eq!(redact("Auth { token: Some(\"a\"), room: 2 }"), "Auth { token: [redacted], room: 2 }");
        assert_eq!(redact("called by +14155550123"), "called by +[redacted]0123");
        assert_eq!(redact("to=%2B14155550123"), "to=%2B[redacted]0123");
    }

    #[test]
    fn harmless_text_is_left_alone() {
        for text in [
            "",
            "listening on 127.0.0.1:8080",
            "the token has expired",
            "token_expired",
            "switchboard_chassis::auth::token::verify",
            "connect to http://host:80/path?x=1",
            "key=channels[0].join",
            "2026-01-01T00:00:00+00:00",
            "signature_failures=3",
            "größer als 1 µs",
        ] {
            assert!(matches!(redact(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_can_be_looked_at(text in "(token|://|@|eyJ|[=:\"'\\\\(){}\\[\\] é+%0-9a-zA-Z]){0,40}") {
            let safe = redact(&text).into_owned();
            prop_assert!(safe.len() <= text.len() + text.len() * MASK.len());
        }

        #[test]
        fn a_password_in_an_address_never_stays(
            before in "[a-z :=\"]{0,12}",
            password in "[^\\s]{0,20}",
            after in "[a-z ]{0,12}",
        ) {
            let text = format!("{before}redis://user:{password}canary@host{after}");
            prop_assert!(!redact(&text).contains("canary"));
        }
    }
}
