use super::*;
use proptest::prelude::*;

fn raw(json: &str) -> &RawValue {
    serde_json::from_str(json).unwrap()
}

fn refusal(text: &str) -> Malformed {
    Packet::decode(text, 2).map(|packet| format!("{packet:?}")).unwrap_err()
}

#[test]
fn packets_of_each_type_are_read_and_written_as_they_were() {
    for text in [
        "0",
        r#"0{"token":"123"}"#,
        r#"0/custom,{"sid":"x"}"#,
        "1",
        "1/custom,",
        r#"2["message",1,"2",{"3":[true]}]"#,
        r#"2/admin,12["project:delete",123]"#,
        "2[1]",
        "3/admin,456[]",
        r#"4{"message":"Not authorized"}"#,
        r#"4"no""#,
        r#"51-["hello",{"_placeholder":true,"num":0}]"#,
        r#"52-/admin,7["hello",{"a":[{"_placeholder":true,"num":1}]},{"_placeholder":true,"num":0}]"#,
        r#"61-/admin,456[{"_placeholder":true,"num":0}]"#,
    ] {
        assert_eq!(Packet::decode(text, 2).unwrap().to_text(), text);
    }
}

#[test]
fn the_comma_may_be_missing_when_nothing_follows() {
    for text in ["0/custom", "1/custom"] {
        assert_eq!(Packet::decode(text, 0).unwrap().namespace, "/custom");
    }
    assert_eq!(Packet::decode("0/,", 0).unwrap().namespace, MAIN);
}

#[test]
fn the_parts_of_an_event_are_told_apart() {
    let packet = Packet::decode(r#"51-/a,7["x",{"_placeholder":true,"num":0}]"#, 1).unwrap();
    let Body::Event { id, arguments, attachments } = packet.body else { panic!("{packet:?}") };
    assert_eq!((packet.namespace, id, attachments), ("/a", Some(7), 1));
    assert_eq!(event_name(arguments).unwrap(), "x");
    assert_eq!(event_name(raw("[42]")).unwrap(), "42");
    assert_eq!(event_name(raw(r#"["\u00e9\n"]"#)).unwrap(), "é\n");
}

#[test]
fn what_breaks_the_protocol_is_refused() {
    for text in ["", "a", "abc", "7", "é"] {
        assert_eq!(refusal(text), Malformed::UnknownType, "{text}");
    }
    for text in ["2", "2{}", r#"2"a""#, "2[", r#"2["a"]x"#, "2abc[]", "0[]", "01", "1{}", "3", "4", "41"] {
        let expected = if text == "3" { Malformed::Id } else { Malformed::Payload };
        assert_eq!(refusal(text), expected, "{text}");
    }
    for text in
        ["2[]", "2[null]", "2[{}]", r#"2["connect"]"#, r#"2["conn\u0065ct"]"#, r#"2["disconnecting"]"#]
    {
        assert_eq!(refusal(text), Malformed::EventName, "{text}");
    }
    for text in ["5", r#"5["a"]"#, r#"5-["a"]"#, r#"53-["a"]"#, r#"599999999999999999999-["a"]"#] {
        assert_eq!(refusal(text), Malformed::Attachments, "{text}");
    }
    for text in [
        r#"51-["a",{"_placeholder":true,"num":1}]"#,
        r#"51-["a",[{"b":{"_placeholder":true,"num":-1}}]]"#,
        r#"51-["a",{"_placeholder":true}]"#,
        r#"51-["a",{"_placeholder":true,"num":"0"}]"#,
        r#"52-["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]"#,
    ] {
        assert_eq!(refusal(text), Malformed::Placeholder, "{text}");
    }
    assert_eq!(refusal(r#"299999999999999999999["a"]"#), Malformed::Id);
    assert_eq!(refusal("3[]"), Malformed::Id);
    assert_eq!(refusal("0/a\u{1e}b"), Malformed::Namespace);
    assert_eq!(refusal(&format!("0/{}", "x".repeat(LONGEST_NAMESPACE))), Malformed::Namespace);
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".{0,4}", inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn events_come_out_as_they_went_in(
        namespace in prop_oneof![Just(MAIN.to_owned()), "/[a-zé0-9-]{0,12}"],
        id in any::<Option<u64>>(),
        name in "[a-z:é\"\\\\]{1,8}0",
        values in prop::collection::vec(value(), 0..4),
    ) {
        let mut arguments = vec![Value::from(name.clone())];
        arguments.extend(values);
        let arguments = Value::from(arguments).to_string();
        let body = Body::Event { id, arguments: raw(&arguments), attachments: 0 };
        let text = Packet { namespace: &namespace, body }.to_text();
        let packet = Packet::decode(&text, 0).unwrap();
        prop_assert_eq!(packet.namespace, namespace);
        let Body::Event { id: read, arguments: kept, attachments: 0 } = packet.body else { panic!("{text}") };
        prop_assert_eq!((read, kept.get()), (id, arguments.as_str()));
        prop_assert_eq!(event_name(kept).unwrap(), name);
    }
}
