use super::*;
use proptest::prelude::*;

fn one(input: &[u8]) -> Item<'_> {
    let (item, used) = Parser::default().next(input).unwrap().unwrap();
    assert_eq!(used, input.len());
    item
}

fn violation(input: &[u8]) -> Violation {
    Parser::default().next(input).unwrap_err()
}

#[test]
fn messages_of_both_kinds_are_read() {
    let message = Item::Message { channel: b"c", payload: b"a\r\nb" };
    assert_eq!(one(b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$4\r\na\r\nb\r\n"), message);
    assert_eq!(one(b">3\r\n$8\r\nsmessage\r\n$1\r\nc\r\n$4\r\na\r\nb\r\n"), message);
    assert_eq!(one(b">3\r\n+message\r\n$1\r\nc\r\n$4\r\na\r\nb\r\n"), message, "however it is spelled");
    assert_eq!(one(b">3\r\n$7\r\nmessage\r\n+c\r\n$4\r\na\r\nb\r\n"), message);
}

#[test]
fn other_pushes_are_lists() {
    assert_eq!(
        one(b">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n"),
        Item::Push(vec![Value::Text(b"subscribe"), Value::Text(b"c"), Value::Integer(1)])
    );
    assert_eq!(
        one(b">3\r\n$7\r\nmessage\r\n:1\r\n$-1\r\n"),
        Item::Push(vec![Value::Text(b"message"), Value::Integer(1), Value::Null])
    );
}

#[test]
fn every_type_is_read() {
    let read = |input| match one(input) {
        Item::Reply(value) => value,
        other => panic!("{other:?}"),
    };
    assert_eq!(read(b"+OK\r\n"), Value::Text(b"OK"));
    assert_eq!(read(b"-ERR no\r\n"), Value::Error(b"ERR no"));
    assert_eq!(read(b":-12\r\n"), Value::Integer(-12));
    assert_eq!(read(b",1.5\r\n"), Value::Text(b"1.5"));
    assert_eq!(read(b"(12345678901234567890\r\n"), Value::Text(b"12345678901234567890"));
    assert_eq!(read(b"#t\r\n"), Value::Boolean(true));
    assert_eq!(read(b"_\r\n"), Value::Null);
    assert_eq!(read(b"$-1\r\n"), Value::Null);
    assert_eq!(read(b"*-1\r\n"), Value::Null);
    assert_eq!(read(b"=7\r\ntxt:abc\r\n"), Value::Text(b"abc"));
    assert_eq!(read(b"!3\r\nERR\r\n"), Value::Error(b"ERR"));
    assert_eq!(read(b"~1\r\n*0\r\n"), Value::Array(vec![Value::Array(vec![])]));
    assert_eq!(read(b"%1\r\n+a\r\n:1\r\n"), Value::Map(vec![(Value::Text(b"a"), Value::Integer(1))]));
    assert_eq!(read(b"|1\r\n+ttl\r\n:1\r\n+x\r\n"), Value::Text(b"x"), "attributes are passed over");
}

#[test]
fn fields_are_found_in_both_forms_of_a_map() {
    for text in [&b"%2\r\n+a\r\n:1\r\n+b\r\n+2\r\n"[..], b"*4\r\n+a\r\n:1\r\n+b\r\n+2\r\n"] {
        let Item::Reply(value) = one(text) else { panic!() };
        assert_eq!(value.field(b"b").and_then(Value::integer), Some(2));
        assert_eq!(value.field(b"2"), None, "a value is no name");
    }
}

#[test]
fn what_is_too_much_is_refused_before_it_is_there() {
    assert_eq!(violation(b"$99999999999\r\n"), Violation::Limit("string"));
    assert_eq!(violation(b"*99999999\r\n"), Violation::Limit("values"));
    assert_eq!(violation(&b"*1\r\n".repeat(9)), Violation::Limit("depth"));
    assert_eq!(violation(&[b"+", &b"x".repeat(70_000)[..]].concat()), Violation::Limit("line"));
    let nested = b"*2000\r\n*200\r\n";
    assert_eq!(Parser::default().next(nested), Ok(None), "a promise that may yet be kept");
}

#[test]
fn a_line_is_as_long_at_once_as_in_pieces() {
    let limits = Limits { line: 4, ..Limits::default() };
    let longest = b"+abcd\r\n";
    assert_eq!(Parser::new(limits).next(longest), Ok(Some((Item::Reply(Value::Text(b"abcd")), 7))));
    assert_eq!(Parser::new(limits).next(&longest[..6]), Ok(None), "the line end may yet come");
    for input in [&b"+abcde\r\n"[..], b"+abcde"] {
        assert_eq!(Parser::new(limits).next(input), Err(Violation::Limit("line")));
    }
}

#[test]
fn nonsense_is_a_violation() {
    assert_eq!(violation(b"HTTP/1.1 400\r\n"), Violation::Type(b'H'));
    assert_eq!(violation(b":1x\r\n"), Violation::Number);
    assert_eq!(violation(b"$-2\r\n"), Violation::Number);
    assert_eq!(violation(b"$?\r\n"), Violation::Number);
    assert_eq!(violation(b"$1\r\nab\r\n"), Violation::LineEnd);
    assert_eq!(violation(b"+a\rb\n"), Violation::LineEnd);
    assert_eq!(violation(b"=2\r\nab\r\n"), Violation::Verbatim);
    assert_eq!(violation(b"*1\r\n>1\r\n"), Violation::Type(b'>'), "pushes do not nest");
}

#[test]
fn commands_are_arrays_of_strings() {
    let mut out = Vec::new();
    write_command(&mut out, [&b"SUBSCRIBE"[..], b"a", b""].into_iter());
    assert_eq!(out, &b"*3\r\n$9\r\nSUBSCRIBE\r\n$1\r\na\r\n$0\r\n\r\n"[..]);
}

/// The wire form of some value.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let bulk = |kind: &'static str| {
        prop::collection::vec(any::<u8>(), 0..40)
            .prop_map(move |text| [format!("{kind}{}\r\n", text.len()).as_bytes(), &text, b"\r\n"].concat())
    };
    let leaf = prop_oneof![
        bulk("$"),
        bulk("!"),
        any::<i64>().prop_map(|number| format!(":{number}\r\n").into_bytes()),
        "[ -~]{0,20}".prop_map(|text| format!("+{text}\r\n").into_bytes()),
        Just(b"_\r\n".to_vec()),
        Just(b"#f\r\n".to_vec()),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        (prop::sample::select(vec!['*', '~', '%']), prop::collection::vec(inner, 0..4)).prop_map(
            |(kind, parts)| {
                let count = if kind == '%' { parts.len() / 2 } else { parts.len() };
                let kept = if kind == '%' { count * 2 } else { count };
                [format!("{kind}{count}\r\n").into_bytes(), parts[..kept].concat()].concat()
            },
        )
    })
}

/// The wire form of some item.
fn item() -> impl Strategy<Value = Vec<u8>> {
    let message = (any::<bool>(), "[a-z]{0,9}", prop::collection::vec(any::<u8>(), 0..60)).prop_map(
        |(sharded, channel, payload)| {
            let kind = if sharded { "$8\r\nsmessage" } else { "$7\r\nmessage" };
            let head = format!(">3\r\n{kind}\r\n${}\r\n{channel}\r\n${}\r\n", channel.len(), payload.len());
            [head.as_bytes(), &payload, b"\r\n"].concat()
        },
    );
    let push = prop::collection::vec(value(), 0..4)
        .prop_map(|parts| [format!(">{}\r\n", parts.len()).into_bytes(), parts.concat()].concat());
    prop_oneof![message, push, value()]
}

proptest! {
    #[test]
    fn any_split_gives_the_same_items(items in prop::collection::vec(item(), 0..8), sizes in prop::collection::vec(1usize..50, 1..20)) {
        let (input, mut parser, mut buffer, mut found) = (items.concat(), Parser::default(), Vec::new(), Vec::new());
        let (mut rest, mut sizes) = (&input[..], sizes.iter().cycle());
        while !rest.is_empty() {
            let (piece, after) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
            buffer.extend_from_slice(piece);
            rest = after;
            while let Some((_, used)) = parser.next(&buffer).unwrap() {
                found.push(buffer.drain(..used).collect::<Vec<u8>>());
            }
        }
        prop_assert_eq!(found, items);
        prop_assert!(buffer.is_empty());
        exercise(&input);
    }

    #[test]
    fn random_bytes_never_panic(input in prop::collection::vec(any::<u8>(), 0..300)) {
        exercise(&input);
    }

    #[test]
    fn damaged_items_never_panic(items in prop::collection::vec(item(), 1..4), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut input = items.concat();
        let at = at.index(input.len());
        input[at] = byte;
        exercise(&input);
    }

    #[test]
    fn protocol_characters_never_panic(input in "[-+:$*%~>|!=_#,(0-9a-c\r\n]{0,80}") {
        exercise(input.as_bytes());
    }
}
