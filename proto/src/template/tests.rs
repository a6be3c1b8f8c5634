use super::*;
use proptest::prelude::*;
use serde_json::json;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Sample {
    Data,
    Room,
    Nothing,
}

impl Variable for Sample {
    const ALL: &'static [(&'static str, Self, Holds)] = &[
        ("data", Self::Data, Holds::Json),
        ("room", Self::Room, Holds::Scalar),
        ("nothing", Self::Nothing, Holds::Json),
    ];
}

struct Given(&'static str);

impl Values<Sample> for Given {
    fn get(&self, variable: Sample, path: &[Step]) -> Option<Cow<'_, str>> {
        match variable {
            Sample::Data => reach(self.0, path).map(Cow::Borrowed),
            Sample::Room => Some(Cow::Borrowed(r#""lobby""#)),
            Sample::Nothing => None,
        }
    }
}

const DATA: Given = Given(
    r#"{"n":1.50,"big":12345678901234567890123,"s":"a\"b","no":null,"yes":true,"list":[{"id":1},{"id":2,"x":"y"}],"odd key":{"k":7}}"#,
);

fn compile(written: &Value) -> Result<Template<Sample>, TemplateError> {
    Template::compile("body", written)
}

fn render(written: &Value) -> Option<String> {
    compile(written).unwrap().render(&DATA)
}

#[test]
fn a_placeholder_keeps_the_type_and_the_spelling() {
    assert_eq!(render(&json!("$data.n")).unwrap(), "1.50");
    assert_eq!(render(&json!("$data.big")).unwrap(), "12345678901234567890123");
    assert_eq!(render(&json!("$room")).unwrap(), r#""lobby""#);
    assert_eq!(render(&json!("$data.no")).unwrap(), "null");
    assert_eq!(render(&json!("$data.list[1].x")).unwrap(), r#""y""#);
    assert_eq!(render(&json!("$data.list.0.id")).unwrap(), "1");
    assert_eq!(render(&json!("$data[\"odd key\"].k")).unwrap(), "7");
    assert_eq!(
        render(&json!({"a": {"b": ["$data.yes", 1, "x"]}, "c": null})).unwrap(),
        r#"{"a":{"b":[true,1,"x"]},"c":null}"#
    );
}

#[test]
fn a_text_is_put_together_of_scalars() {
    assert_eq!(render(&json!("Joined ${room}, ${data.n}")).unwrap(), r#""Joined lobby, 1.50""#);
    assert_eq!(render(&json!("${data.s}")).unwrap(), r#""a\"b""#);
    assert_eq!(render(&json!("${nothing ?? \"}\"}!")).unwrap(), r#""}!""#);
    for missing in ["a ${nothing}", "${data.list}", "${data.no}"] {
        assert_eq!(render(&json!(missing)), None, "{missing}");
    }
}

#[test]
fn a_dollar_sign_can_be_written() {
    assert_eq!(render(&json!("$$room")).unwrap(), r#""$room""#);
    assert_eq!(render(&json!("5 $ and $5, $${room}")).unwrap(), r#""5 $ and $5, ${room}""#);
    assert_eq!(render(&json!("$")).unwrap(), r#""$""#);
}

#[test]
fn alternatives_stand_in_for_what_is_missing_or_null() {
    assert_eq!(render(&json!("$nothing ?? $data.no ?? $data.n")).unwrap(), "1.50");
    assert_eq!(render(&json!("$nothing ?? null")).unwrap(), "null");
    assert_eq!(render(&json!("$nothing.a ?? {\"a\": [1]}")).unwrap(), r#"{"a": [1]}"#);
    assert_eq!(render(&json!("$data.n ?? \"??\"")).unwrap(), "1.50");
    assert_eq!(render(&json!("$nothing ?? \"a | b\"")).unwrap(), r#""a | b""#);
}

#[test]
fn filters_change_the_value() {
    assert_eq!(render(&json!("$data.n | string")), None);
    assert_eq!(render(&json!("$data.n | string ?? $data.s|string")).unwrap(), r#""a\"b""#);
    assert_eq!(render(&json!("${data.s | escape}!")).unwrap(), r#""a&quot;b!""#);
    assert_eq!(render(&json!("$nothing ?? 1760776800000 | iso")).unwrap(), r#""2025-10-18T08:40:00.000Z""#);
}

#[test]
fn what_is_missing_is_left_out() {
    assert_eq!(
        render(&json!({"a": "$nothing", "b": "$data.n", "c": "$data.zzz", "d": ["$nothing"]})).unwrap(),
        r#"{"b":1.50,"d":[null]}"#
    );
    assert_eq!(render(&json!("$nothing")), None);
    assert_eq!(render(&json!({"a": "$nothing"})).unwrap(), "{}");
}

#[test]
fn a_template_that_needs_every_value_names_what_is_missing() {
    let whole = |written: &Value| compile(written).unwrap().render_whole(&DATA);
    assert_eq!(whole(&json!({"a": "$data.n"})).unwrap(), r#"{"a":1.50}"#);
    assert_eq!(whole(&json!({"a": {"b": "$data.text | string"}})), Err(Missing("data.text".into())));
    assert_eq!(whole(&json!("x${data.list[3].id}")), Err(Missing("data.list[3].id".into())));
    assert_eq!(whole(&json!("$data.text ?? null")).unwrap(), "null");
}

#[test]
fn a_list_is_made_of_each_item_of_another() {
    let each = json!({"users": {"$each": "$data.list", "$item": {"userId": "$item.id", "in": "$room", "x": "$item.x"}}});
    assert_eq!(
        render(&each).unwrap(),
        r#"{"users":[{"in":"lobby","userId":1},{"in":"lobby","userId":2,"x":"y"}]}"#
    );
    assert_eq!(render(&json!({"$each": "$data.n", "$item": 1})), None);
    assert_eq!(render(&json!({"$each": "$nothing ?? []", "$item": "$item"})).unwrap(), "[]");
}

#[test]
fn an_error_names_the_key_and_the_reason() {
    let wrong = |written: Value| compile(&written).unwrap_err().to_string();
    assert_eq!(
        wrong(json!({"a": {"b": [1, "$rom"]}})),
        "body.a.b[1]: there is no $rom here; there are $data, $room, $nothing"
    );
    assert_eq!(wrong(json!({"a": "$room.x"})), "body.a: $room has nothing inside");
    assert_eq!(
        wrong(json!("${data.n | upper}")),
        "body: there is no filter upper; there are string, filled, number, escape, iso"
    );
    assert_eq!(wrong(json!("$item")), "body: there is no $item here; there are $data, $room, $nothing");
    for syntax in
        ["$room lobby", "$data.", "${room", "$data[x]", "$data ??", "$data[0", "${ room}", "$data |"]
    {
        let error = compile(&json!(syntax)).unwrap_err();
        assert_eq!(error.problem, Problem::Syntax, "{syntax}");
    }
    for list in [
        json!({"$each": "$data"}),
        json!({"$each": "x", "$item": 1}),
        json!({"$each": "$data", "$item": 1, "a": 2}),
    ] {
        assert_eq!(compile(&list).unwrap_err().problem, Problem::List);
    }
}

proptest! {
    #[test]
    fn any_text_compiles_or_not_and_what_it_renders_is_json(
        text in r#"(\$|\$\{|data|room|\.list|\[0\]|\}| |\?\?|\||escape|null|"x"|nothing|é){0,8}"#,
    ) {
        if let Ok(template) = compile(&json!({ "a": text }))
            && let Some(json) = template.render(&DATA)
        {
            prop_assert!(serde_json::from_str::<Value>(&json).is_ok(), "{}", json);
        }
    }

    #[test]
    fn a_text_without_a_dollar_sign_is_itself(text in "[^$]*") {
        prop_assert_eq!(render(&json!(text)).unwrap(), json!(text).to_string());
    }
}
