//! RESP3 as a client reads it, without I/O.
//!
//! [`Parser::next`] looks at the unread bytes and has three answers: an item with the number of bytes that it took, "need
//! more", or a violation after which the connection is of no use. Items borrow from the input; nothing is copied and
//! nothing is allocated but the lists of aggregates, which never grow past what the input really holds.
//!
//! Published messages, nearly all that a subscription connection receives, take a path of their own that allocates
//! nothing. Protocol: <https://github.com/redis/redis-specifications/blob/master/protocol/RESP3.md>.

use bytes::BufMut;

/// What a parser accepts. Anything beyond is a violation.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The longest string, in bytes.
    pub string: usize,
    /// The longest line (simple strings, errors, numbers, lengths), in bytes.
    pub line: usize,
    /// How many values one item may hold, over all its levels.
    pub values: usize,
    /// How deep aggregates may nest.
    pub depth: usize,
}

impl Default for Limits {
    /// Sixteen times the largest publication, and room for the slot map of a large, fragmented cluster.
    fn default() -> Self {
        Self { string: 16 << 20, line: 64 << 10, values: 1 << 18, depth: 8 }
    }
}

/// One value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value<'a> {
    /// A string of any kind, or a number that does not fit [`Value::Integer`] (double, big number) in its text form.
    Text(&'a [u8]),
    /// An error: a code in capitals, a space, a text for humans.
    Error(&'a [u8]),
    /// An integer.
    Integer(i64),
    /// A truth value.
    Boolean(bool),
    /// Nothing, in any of its three spellings.
    Null,
    /// An array or a set.
    Array(Vec<Value<'a>>),
    /// A map, in the order received.
    Map(Vec<(Value<'a>, Value<'a>)>),
}

impl<'a> Value<'a> {
    /// The bytes of a string.
    pub const fn text(&self) -> Option<&'a [u8]> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// An integer, also when it is spelled as a string.
    pub fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            Self::Text(text) => integer(text).ok(),
            _ => None,
        }
    }

    /// The value under a name, in a map or in a list of names and values.
    pub fn field(&self, name: &[u8]) -> Option<&Value<'a>> {
        match self {
            Self::Map(pairs) => {
                pairs.iter().find(|(key, _)| key.text() == Some(name)).map(|(_, value)| value)
            }
            Self::Array(values) => values.chunks_exact(2).find_map(|pair| match pair {
                [key, value] if key.text() == Some(name) => Some(value),
                _ => None,
            }),
            _ => None,
        }
    }

    /// The elements of an array or set.
    pub fn array(&self) -> Option<&[Value<'a>]> {
        match self {
            Self::Array(values) => Some(values),
            _ => None,
        }
    }
}

/// What stands at the top level of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item<'a> {
    /// A published message.
    Message {
        /// The channel as it was subscribed to.
        channel: &'a [u8],
        /// What was published.
        payload: &'a [u8],
    },
    /// Any other out-of-band push; the first element is its kind.
    Push(Vec<Value<'a>>),
    /// The answer to a command.
    Reply(Value<'a>),
}

/// The peer does not speak RESP3, or sends more than we accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A type byte that has no meaning at its place.
    #[error("unexpected type byte {0:#04x}")]
    Type(u8),
    /// A number, length or truth value that is not one.
    #[error("malformed number")]
    Number,
    /// A carriage return and line feed are missing where they must be.
    #[error("missing line end")]
    LineEnd,
    /// A verbatim string without its format.
    #[error("malformed verbatim string")]
    Verbatim,
    /// A line, string, item or nesting beyond [`Limits`].
    #[error("beyond the limit of {0}")]
    Limit(&'static str),
}

/// Reads items from the front of a growing buffer.
///
/// The caller keeps the unread bytes together and drops those that an item took. The parser remembers only how many bytes
/// are needed at least, so that a long item that arrives in small pieces is not parsed again for each of them.
#[derive(Debug, Default)]
pub struct Parser {
    limits: Limits,
    needed: usize,
}

/// Why parsing stopped: not an answer of its own, but `?` through the recursion needs one type.
enum Stop {
    /// At least this many bytes, counted from the start of the item.
    NeedMore(usize),
    Violation(Violation),
}

impl From<Violation> for Stop {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

impl Parser {
    /// A parser with limits of its own.
    pub const fn new(limits: Limits) -> Self {
        Self { limits, needed: 0 }
    }

    /// The next item and how many bytes it took; `None` means that the input ends within it.
    pub fn next<'a>(&mut self, input: &'a [u8]) -> Result<Option<(Item<'a>, usize)>, Violation> {
        if input.len() < self.needed {
            return Ok(None);
        }
        let mut cursor = Cursor { input, at: 0, values: 0, limits: self.limits };
        match cursor.item() {
            Ok(item) => {
                self.needed = 0;
                Ok(Some((item, cursor.at)))
            }
            Err(Stop::NeedMore(needed)) => {
                self.needed = needed;
                Ok(None)
            }
            Err(Stop::Violation(violation)) => Err(violation),
        }
    }
}

/// A place in the input while one item is parsed.
struct Cursor<'a> {
    input: &'a [u8],
    at: usize,
    values: usize,
    limits: Limits,
}

impl<'a> Cursor<'a> {
    fn item(&mut self) -> Result<Item<'a>, Stop> {
        for start in [&b">3\r\n$7\r\nmessage\r\n"[..], b">3\r\n$8\r\nsmessage\r\n"] {
            if self.input.starts_with(start) {
                self.at = start.len();
                return self.message();
            }
        }
        while self.peek()? == b'|' {
            // Attributes are hints about the next value; none concerns us.
            self.at += 1;
            let count = self.count()?.unwrap_or(0);
            self.pairs(count, 1)?;
        }
        if self.peek()? != b'>' {
            return self.value(0).map(Item::Reply);
        }
        self.at += 1;
        let count = self.count()?.ok_or(Violation::Number)?;
        let values = self.list(count, 1)?;
        if let [Value::Text(b"message" | b"smessage"), Value::Text(channel), Value::Text(payload)] = *values {
            return Ok(Item::Message { channel, payload });
        }
        Ok(Item::Push(values))
    }

    /// The rest of a message after its kind. Anything but two strings takes the general path.
    fn message(&mut self) -> Result<Item<'a>, Stop> {
        let start = self.at;
        if let (Some(channel), Some(payload)) = (self.bulk()?, self.bulk()?) {
            return Ok(Item::Message { channel, payload });
        }
        self.at = start;
        let kind = if self.input.get(5) == Some(&b'7') { &b"message"[..] } else { b"smessage" };
        let (channel, payload) = (self.value(1)?, self.value(1)?);
        Ok(match (&channel, &payload) {
            (Value::Text(channel), Value::Text(payload)) => Item::Message { channel, payload },
            _ => Item::Push(vec![Value::Text(kind), channel, payload]),
        })
    }

    /// A bulk string if one stands here.
    fn bulk(&mut self) -> Result<Option<&'a [u8]>, Stop> {
        if self.peek()? != b'$' {
            return Ok(None);
        }
        self.at += 1;
        match self.length()? {
            Some(length) => self.string(length).map(Some),
            None => Ok(None),
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value<'a>, Stop> {
        self.values += 1;
        if self.values > self.limits.values {
            return Err(Violation::Limit("values").into());
        }
        let kind = self.peek()?;
        self.at += 1;
        Ok(match kind {
            b'$' => {
                self.length()?.map(|length| self.string(length)).transpose()?.map_or(Value::Null, Value::Text)
            }
            b'+' | b',' | b'(' => Value::Text(self.line()?),
            b'-' => Value::Error(self.line()?),
            b':' => Value::Integer(integer(self.line()?)?),
            b'#' => match self.line()? {
                b"t" => Value::Boolean(true),
                b"f" => Value::Boolean(false),
                _ => return Err(Violation::Number.into()),
            },
            b'_' => match self.line()? {
                b"" => Value::Null,
                _ => return Err(Violation::Number.into()),
            },
            b'=' => {
                let length = self.length()?.ok_or(Violation::Number)?;
                let text = self.string(length)?;
                match text.split_at_checked(4) {
                    Some((format, text)) if format.ends_with(b":") => Value::Text(text),
                    _ => return Err(Violation::Verbatim.into()),
                }
            }
            b'!' => {
                let length = self.length()?.ok_or(Violation::Number)?;
                Value::Error(self.string(length)?)
            }
            b'*' | b'~' => match self.count()? {
                Some(count) => Value::Array(self.list(count, depth + 1)?),
                None => Value::Null,
            },
            b'%' => {
                let count = self.count()?.ok_or(Violation::Number)?;
                Value::Map(self.pairs(count, depth + 1)?)
            }
            other => return Err(Violation::Type(other).into()),
        })
    }

    fn list(&mut self, count: usize, depth: usize) -> Result<Vec<Value<'a>>, Stop> {
        let mut values = Vec::with_capacity(self.room_for(count, depth)?);
        for _ in 0..count {
            values.push(self.value(depth)?);
        }
        Ok(values)
    }

    fn pairs(&mut self, count: usize, depth: usize) -> Result<Vec<(Value<'a>, Value<'a>)>, Stop> {
        let mut pairs = Vec::with_capacity(self.room_for(count, depth)?);
        for _ in 0..count {
            pairs.push((self.value(depth)?, self.value(depth)?));
        }
        Ok(pairs)
    }

    /// Checks what an aggregate claims, and how much of it can be in the input: no value is shorter than three bytes.
    fn room_for(&self, count: usize, depth: usize) -> Result<usize, Violation> {
        if depth > self.limits.depth {
            return Err(Violation::Limit("depth"));
        }
        if count > self.limits.values.saturating_sub(self.values) {
            return Err(Violation::Limit("values"));
        }
        Ok(count.min(self.input.len().saturating_sub(self.at) / 3))
    }

    fn peek(&self) -> Result<u8, Stop> {
        self.input.get(self.at).copied().ok_or(Stop::NeedMore(self.at + 1))
    }

    /// Up to the next line end, which is taken too.
    fn line(&mut self) -> Result<&'a [u8], Stop> {
        let rest = self.input.get(self.at..).unwrap_or_default();
        let within = rest.get(..self.limits.line.saturating_add(1)).unwrap_or(rest);
        match within.iter().position(|byte| *byte == b'\r') {
            Some(end) => match rest.get(end + 1) {
                Some(b'\n') => {
                    self.at += end + 2;
                    Ok(rest.get(..end).unwrap_or_default())
                }
                Some(_) => Err(Violation::LineEnd.into()),
                None => Err(Stop::NeedMore(self.at + end + 2)),
            },
            None if rest.len() > self.limits.line => Err(Violation::Limit("line").into()),
            None => Err(Stop::NeedMore(self.input.len() + 1)),
        }
    }

    /// The length of a string; `None` for the null of RESP2.
    fn length(&mut self) -> Result<Option<usize>, Stop> {
        match integer(self.line()?)? {
            -1 => Ok(None),
            length => match usize::try_from(length) {
                Ok(length) if length <= self.limits.string => Ok(Some(length)),
                Ok(_) => Err(Violation::Limit("string").into()),
                Err(_) => Err(Violation::Number.into()),
            },
        }
    }

    /// The number of elements of an aggregate; `None` for the null of RESP2.
    fn count(&mut self) -> Result<Option<usize>, Stop> {
        match integer(self.line()?)? {
            -1 => Ok(None),
            count => usize::try_from(count).map(Some).map_err(|_| Violation::Number.into()),
        }
    }

    fn string(&mut self, length: usize) -> Result<&'a [u8], Stop> {
        let end = self.at + length;
        let Some(text) = self.input.get(self.at..end) else {
            return Err(Stop::NeedMore(end + 2));
        };
        match self.input.get(end..end + 2) {
            Some(b"\r\n") => {
                self.at = end + 2;
                Ok(text)
            }
            Some(_) => Err(Violation::LineEnd.into()),
            None => Err(Stop::NeedMore(end + 2)),
        }
    }
}

/// A decimal integer with an optional sign, and nothing else.
fn integer(text: &[u8]) -> Result<i64, Violation> {
    let text = std::str::from_utf8(text).map_err(|_| Violation::Number)?;
    text.parse().map_err(|_| Violation::Number)
}

/// Appends a command in its wire form: an array of strings.
pub fn write_command<'a>(out: &mut impl BufMut, words: impl ExactSizeIterator<Item = &'a [u8]>) {
    write_length(out, b'*', words.len());
    words.for_each(|word| write_word(out, word));
}

/// Appends a string.
pub(in crate::redis) fn write_word(out: &mut impl BufMut, word: &[u8]) {
    write_length(out, b'$', word.len());
    out.put_slice(word);
    out.put_slice(b"\r\n");
}

/// Appends what begins an array (`*`) or a string (`$`).
pub(in crate::redis) fn write_length(out: &mut impl BufMut, kind: u8, length: usize) {
    out.put_slice(Decimal::of(length as u64).line(kind));
}

/// A number in decimal digits, with room for the kind before it, and the end of the line behind it.
pub(in crate::redis) struct Decimal {
    line: [u8; 1 + Self::DIGITS + 2],
    start: usize,
}

impl Decimal {
    const DIGITS: usize = 20;
    const END: usize = 1 + Self::DIGITS;

    pub(in crate::redis) fn of(mut number: u64) -> Self {
        let mut decimal = Self { line: *b"000000000000000000000\r\n", start: Self::END };
        for digit in decimal.line.iter_mut().take(Self::END).rev() {
            *digit += (number % 10) as u8;
            decimal.start -= 1;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        decimal
    }

    pub(in crate::redis) fn as_bytes(&self) -> &[u8] {
        self.line.get(self.start..Self::END).unwrap_or_default()
    }

    fn line(&mut self, kind: u8) -> &[u8] {
        let start = self.start.saturating_sub(1);
        let line = self.line.get_mut(start..).unwrap_or_default();
        if let Some(first) = line.first_mut() {
            *first = kind;
        }
        line
    }
}

/// Exercises a parser with any input, whole and byte by byte, and panics when the two disagree. For the fuzz target and
/// the property tests.
#[doc(hidden)]
pub fn exercise(input: &[u8]) {
    let limits = Limits { string: 4096, line: 256, values: 256, depth: 4 };
    let (mut whole, mut ends) = (Parser::new(limits), Vec::new());
    let mut at = 0;
    let verdict = loop {
        match whole.next(input.get(at..).unwrap_or_default()) {
            Ok(Some((item, used))) => {
                assert!(used > 0, "an item takes bytes");
                at += used;
                ends.push((format!("{item:?}"), at));
            }
            Ok(None) => break None,
            Err(violation) => break Some(violation),
        }
    };
    let (mut piecewise, mut start, mut seen) = (Parser::new(limits), 0, 0);
    for end in 1..=input.len() {
        match piecewise.next(input.get(start..end).unwrap_or_default()) {
            Ok(Some((item, used))) => {
                let expected = ends.get(seen).map(|(text, at)| (text.as_str(), *at));
                assert_eq!(expected, Some((format!("{item:?}").as_str(), start + used)));
                start += used;
                seen += 1;
            }
            Ok(None) => {}
            Err(violation) => {
                assert_eq!(seen, ends.len(), "a violation comes after the same items");
                assert!(verdict.is_some(), "{violation} only when read in pieces");
                return;
            }
        }
    }
    assert_eq!(seen, ends.len(), "all items are found in pieces too");
    assert_eq!(verdict, None, "the violation is found in pieces too");
}

#[cfg(test)]
#[path = "resp_tests.rs"]
mod tests;
