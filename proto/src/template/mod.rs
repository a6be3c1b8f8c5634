//! Shapes with placeholders, written in the configuration: `{ userId = "$user.id", text = "$data.text" }`.
//!
//! | written | becomes |
//! | --- | --- |
//! | `"$user.id"` | the value, with its JSON type and as it was written: a number stays that number |
//! | `"Hello ${user.name}!"` | a text; `"${user.id}"` makes a text of a number |
//! | `"$user.name ?? $user.id ?? \"nobody\""` | the first that is there and not `null`; a JSON literal can be the last |
//! | `"$body.text \| escape"` | the value after a filter: `string`, `filled`, `number`, `escape`, `iso` |
//! | `"$data.list[0]"`, `"$data[\"odd key\"]"` | what stands at this place of a list, or under any key |
//! | `{ "$each" = "$users", "$item" = { id = "$item.id" } }` | a list, made of each item of another one |
//! | `"$$5"` | the text `$5` |
//!
//! A field whose value is missing is left out; a missing item of a list is `null`; a text with a missing part is itself
//! missing. What the variables are depends on the place of the template; a name that is unknown there is an error when
//! the template is compiled.

mod expression;
mod filter;
mod reach;

use std::borrow::Cow;
use std::fmt::Debug;

use serde_json::Value;

use expression::{Expression, Parser};
pub(crate) use reach::quote;
pub use reach::{Step, reach, scalar};

/// What a variable holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// A text, a number or a boolean.
    Scalar,
    /// Any JSON value: a placeholder may reach into it.
    Json,
}

/// The variables of one sort of template.
pub trait Variable: Debug + Copy + PartialEq + 'static {
    /// Each of them with the name that is written after `$`.
    const ALL: &'static [(&'static str, Self, Holds)];
}

/// Where the values of variables come from.
pub trait Values<V> {
    /// The JSON text of what stands at `path` in a variable (see [`reach`]), if there is something.
    fn get(&self, variable: V, path: &[Step]) -> Option<Cow<'_, str>>;
}

/// What is wrong with a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A variable that does not exist here.
    #[error("there is no ${name} here; there are ${known}")]
    Unknown {
        /// As written.
        name: String,
        /// Those that exist.
        known: String,
    },
    /// A filter that does not exist.
    #[error("there is no filter {0}; there are string, filled, number, escape, iso")]
    UnknownFilter(String),
    /// A path into a variable that holds a single value.
    #[error("${0} has nothing inside")]
    NothingInside(String),
    /// Not of the form that the module's documentation shows.
    #[error("is not a placeholder: write $name.path, ${{name.path}} inside a text, and $$ for a dollar sign")]
    Syntax,
    /// `$each` and `$item` belong together and stand alone.
    #[error("a list has just the keys $each (a placeholder) and $item")]
    List,
}

/// Where in the configuration something is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct TemplateError {
    /// The path of the key, such as `outgoing.joined.body.userCount`.
    pub key: String,
    /// What is wrong there.
    pub problem: Problem,
}

/// What was missing when a template that needs every value was evaluated: the placeholder as written, without `$`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing(pub String);

/// A compiled template. See the module's documentation.
#[derive(Debug, Clone)]
pub struct Template<V> {
    node: Node<V>,
}

#[derive(Debug, Clone)]
enum Node<V> {
    /// JSON text.
    Literal(String),
    Place(Expression<V>),
    Text(Vec<Part<V>>),
    /// Keys are JSON text.
    Object(Vec<(String, Self)>),
    Array(Vec<Self>),
    Each(Expression<V>, Box<Self>),
}

/// What a placeholder may name.
struct Place<'a, V> {
    known: &'a dyn Fn(V) -> bool,
    /// Whether `$item` has a meaning.
    in_list: bool,
}

impl<V> Clone for Place<'_, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for Place<'_, V> {}

#[derive(Debug, Clone)]
enum Part<V> {
    Literal(String),
    Place(Expression<V>),
}

impl<V: Variable> Template<V> {
    /// Compiles what was written under `key`.
    ///
    /// # Errors
    /// Names the key below `key` that is wrong, and why.
    pub fn compile(key: &str, written: &Value) -> Result<Self, TemplateError> {
        Self::compile_with(key, written, |_| true)
    }

    /// The same where only the variables that `known` admits have a value.
    ///
    /// # Errors
    /// Names the key below `key` that is wrong, and why.
    pub fn compile_with(
        key: &str,
        written: &Value,
        known: impl Fn(V) -> bool,
    ) -> Result<Self, TemplateError> {
        Ok(Self { node: Node::compile(key, written, Place { known: &known, in_list: false })? })
    }

    /// The JSON text; `None` where the whole value is missing.
    pub fn render(&self, values: &impl Values<V>) -> Option<String> {
        let mut text = String::with_capacity(128);
        let mut missing = None;
        self.node.render(values, None, &mut text, &mut missing).then_some(text)
    }

    /// The JSON text, with every value that it names.
    ///
    /// # Errors
    /// Names the first placeholder that has no value.
    pub fn render_whole(&self, values: &impl Values<V>) -> Result<String, Missing> {
        let mut text = String::with_capacity(128);
        let mut missing = None;
        let there = self.node.render(values, None, &mut text, &mut missing);
        match missing {
            None if there => Ok(text),
            missing => Err(Missing(missing.unwrap_or_default().to_owned())),
        }
    }

    /// The value as a plain text; `None` where it is missing, `null`, an object or a list.
    pub fn text(&self, values: &impl Values<V>) -> Option<String> {
        scalar(&self.render(values)?).map(Cow::into_owned)
    }

    /// The fields that the template always writes itself, where it is an object.
    pub fn keys(&self) -> Option<impl Iterator<Item = Cow<'_, str>>> {
        match &self.node {
            Node::Object(fields) => Some(fields.iter().filter_map(|(key, _)| scalar(key))),
            _ => None,
        }
    }
}

impl<V: Variable> Node<V> {
    fn compile(key: &str, written: &Value, place: Place<'_, V>) -> Result<Self, TemplateError> {
        let wrong = |problem| TemplateError { key: key.to_owned(), problem };
        Ok(match written {
            Value::String(text) => Self::compile_text(text, place).map_err(wrong)?,
            Value::Array(items) => {
                let compile = |(index, item)| Self::compile(&format!("{key}[{index}]"), item, place);
                Self::Array(items.iter().enumerate().map(compile).collect::<Result<_, _>>()?)
            }
            Value::Object(fields) if fields.contains_key("$each") || fields.contains_key("$item") => {
                let (Some(Value::String(list)), Some(item), 2) =
                    (fields.get("$each"), fields.get("$item"), fields.len())
                else {
                    return Err(wrong(Problem::List));
                };
                let Self::Place(list) = Self::compile_text(list, place).map_err(wrong)? else {
                    return Err(wrong(Problem::List));
                };
                Self::Each(
                    list,
                    Box::new(Self::compile(&format!("{key}.$item"), item, Place { in_list: true, ..place })?),
                )
            }
            Value::Object(fields) => {
                let compile = |(name, field): (&String, &Value)| {
                    Ok((quote(name), Self::compile(&format!("{key}.{name}"), field, place)?))
                };
                Self::Object(fields.iter().map(compile).collect::<Result<_, _>>()?)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => Self::Literal(written.to_string()),
        })
    }

    fn compile_text(text: &str, place: Place<'_, V>) -> Result<Self, Problem> {
        if let Some(placeholder) = text.strip_prefix('$')
            && placeholder.starts_with(|c: char| c.is_ascii_alphabetic())
        {
            let mut parser = Parser::new(placeholder, place);
            let expression = parser.expression()?;
            return if parser.rest().is_empty() { Ok(Self::Place(expression)) } else { Err(Problem::Syntax) };
        }
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            literal.push_str(before);
            rest = after;
            if let Some(after) = rest.strip_prefix('$') {
                literal.push('$');
                rest = after;
            } else if let Some(inside) = rest.strip_prefix('{') {
                let mut parser = Parser::new(inside, place);
                let expression = parser.expression()?;
                rest = parser.rest().strip_prefix('}').ok_or(Problem::Syntax)?;
                parts.push(Part::Literal(std::mem::take(&mut literal)));
                parts.push(Part::Place(expression));
            } else {
                literal.push('$');
            }
        }
        literal.push_str(rest);
        if parts.is_empty() {
            return Ok(Self::Literal(quote(&literal)));
        }
        parts.push(Part::Literal(literal));
        Ok(Self::Text(parts))
    }

    /// Writes the value, or nothing and answers false where it is missing. Notes the first placeholder without a value.
    fn render<'a>(
        &'a self,
        values: &'a impl Values<V>,
        item: Option<&'a str>,
        out: &mut String,
        missing: &mut Option<&'a str>,
    ) -> bool {
        match self {
            Self::Literal(json) => out.push_str(json),
            Self::Place(expression) => {
                let Some(json) = expression.evaluate(values, item) else {
                    missing.get_or_insert(&expression.name);
                    return false;
                };
                out.push_str(&json);
            }
            Self::Text(parts) => {
                let mut text = String::new();
                for part in parts {
                    match part {
                        Part::Literal(literal) => text.push_str(literal),
                        Part::Place(expression) => {
                            let value = expression.evaluate(values, item);
                            let Some(value) = value.as_deref().and_then(scalar) else {
                                missing.get_or_insert(&expression.name);
                                return false;
                            };
                            text.push_str(&value);
                        }
                    }
                }
                out.push_str(&quote(&text));
            }
            Self::Object(fields) => {
                out.push('{');
                let mut separator = "";
                for (key, field) in fields {
                    let before = out.len();
                    out.push_str(separator);
                    out.push_str(key);
                    out.push(':');
                    if field.render(values, item, out, missing) {
                        separator = ",";
                    } else {
                        out.truncate(before);
                    }
                }
                out.push('}');
            }
            Self::Array(items) => {
                out.push('[');
                for (index, node) in items.iter().enumerate() {
                    out.push_str(if index == 0 { "" } else { "," });
                    if !node.render(values, item, out, missing) {
                        out.push_str("null");
                    }
                }
                out.push(']');
            }
            Self::Each(list, node) => {
                let Some(list_json) = list.evaluate(values, item) else {
                    missing.get_or_insert(&list.name);
                    return false;
                };
                let Some(elements) = reach::items(&list_json) else {
                    missing.get_or_insert(&list.name);
                    return false;
                };
                out.push('[');
                for (index, element) in elements.into_iter().enumerate() {
                    out.push_str(if index == 0 { "" } else { "," });
                    // What an item lacks is no fault of the template's values as a whole.
                    if !node.render(values, Some(element), out, &mut None) {
                        out.push_str("null");
                    }
                }
                out.push(']');
            }
        }
        true
    }
}

#[cfg(test)]
mod tests;
