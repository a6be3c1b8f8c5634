//! What stands after a `$`: a variable with a path into it, filters, and alternatives for where there is no value.
//!
//! ```text
//! expression  = term *( "??" term )
//! term        = ( "$" path / JSON ) *( "|" filter )
//! path        = name *( "." name / "[" JSON string or number "]" )
//! ```

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::filter::Filter;
use super::reach::{Step, reach};
use super::{Holds, Place, Problem, Values, Variable};

/// See the module's documentation.
#[derive(Debug, Clone)]
pub(super) struct Expression<V> {
    terms: Vec<Term<V>>,
    /// As written, without alternatives and filters, to say what is missing.
    pub(super) name: String,
}

#[derive(Debug, Clone)]
struct Term<V> {
    source: Source<V>,
    filters: Vec<Filter>,
}

#[derive(Debug, Clone)]
enum Source<V> {
    Variable(V, Vec<Step>),
    /// The item of the innermost list.
    Item(Vec<Step>),
    Literal(String),
}

impl<V: Variable> Expression<V> {
    /// The JSON text of the first term that has a value other than `null`, else whatever the last one has.
    pub(super) fn evaluate<'a>(
        &'a self,
        values: &'a impl Values<V>,
        item: Option<&'a str>,
    ) -> Option<Cow<'a, str>> {
        let mut value = None;
        for term in &self.terms {
            value = term.evaluate(values, item);
            if value.as_deref().is_some_and(|json| json != "null") {
                break;
            }
        }
        value
    }
}

impl<V: Variable> Term<V> {
    fn evaluate<'a>(&'a self, values: &'a impl Values<V>, item: Option<&'a str>) -> Option<Cow<'a, str>> {
        let value = match &self.source {
            Source::Variable(variable, path) => values.get(*variable, path),
            Source::Item(path) => reach(item?, path).map(Cow::Borrowed),
            Source::Literal(json) => Some(Cow::Borrowed(json.as_str())),
        };
        self.filters.iter().try_fold(value?, |value, filter| filter.apply(value))
    }
}

/// Reads expressions from a text, from its front.
pub(super) struct Parser<'a, V> {
    rest: &'a str,
    place: Place<'a, V>,
}

impl<'a, V: Variable> Parser<'a, V> {
    pub(super) const fn new(rest: &'a str, place: Place<'a, V>) -> Self {
        Self { rest, place }
    }

    /// What was not read.
    pub(super) const fn rest(&self) -> &'a str {
        self.rest
    }

    /// Reads an expression whose first `$` was read already.
    pub(super) fn expression(&mut self) -> Result<Expression<V>, Problem> {
        let start = self.rest;
        let source = self.place()?;
        let name = start.get(..start.len() - self.rest.len()).unwrap_or("").to_owned();
        let mut terms = vec![Term { source, filters: self.filters()? }];
        while self.take("??") {
            self.skip_space();
            let source =
                if self.take("$") { self.place()? } else { Source::Literal(self.json()?.to_owned()) };
            terms.push(Term { source, filters: self.filters()? });
        }
        Ok(Expression { terms, name })
    }

    fn place(&mut self) -> Result<Source<V>, Problem> {
        let mut path = vec![self.name()?];
        loop {
            if self.take(".") {
                path.push(self.name()?);
            } else if self.take("[") {
                let step = self.json()?;
                path.push(super::scalar(step).ok_or(Problem::Syntax)?.into_owned());
                if !self.take("]") {
                    return Err(Problem::Syntax);
                }
            } else {
                break;
            }
        }
        let mut steps = path.into_iter();
        let root = steps.next().unwrap_or_default();
        let path: Vec<_> = steps.collect();
        if root == "item" && self.place.in_list {
            return Ok(Source::Item(path));
        }
        let known = || V::ALL.iter().filter(|(_, variable, _)| (self.place.known)(*variable));
        match known().find(|(name, _, _)| *name == root) {
            Some((_, variable, Holds::Json)) => Ok(Source::Variable(*variable, path)),
            Some((_, variable, Holds::Scalar)) if path.is_empty() => Ok(Source::Variable(*variable, path)),
            Some((_, _, Holds::Scalar)) => Err(Problem::NothingInside(root)),
            None => Err(Problem::Unknown {
                name: root,
                known: known().map(|(name, _, _)| *name).collect::<Vec<_>>().join(", $"),
            }),
        }
    }

    fn filters(&mut self) -> Result<Vec<Filter>, Problem> {
        let mut filters = Vec::new();
        loop {
            let before = self.rest;
            self.skip_space();
            if !self.take("|") {
                // White space belongs to the expression only before an alternative.
                if !self.rest.starts_with("??") {
                    self.rest = before;
                }
                return Ok(filters);
            }
            self.skip_space();
            let name = self.name()?;
            match Filter::ALL.iter().find(|(known, _)| *known == name) {
                Some((_, filter)) => filters.push(*filter),
                None => return Err(Problem::UnknownFilter(name)),
            }
        }
    }

    fn name(&mut self) -> Result<String, Problem> {
        let end = self.rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-')));
        let (name, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        if name.is_empty() { Err(Problem::Syntax) } else { Ok(name.to_owned()) }
    }

    fn json(&mut self) -> Result<&'a str, Problem> {
        let mut values = serde_json::Deserializer::from_str(self.rest).into_iter::<&'a RawValue>();
        let value = values.next().and_then(Result::ok).ok_or(Problem::Syntax)?.get();
        self.rest = self.rest.get(values.byte_offset()..).unwrap_or("");
        Ok(value)
    }

    fn take(&mut self, token: &str) -> bool {
        let taken = self.rest.strip_prefix(token);
        self.rest = taken.unwrap_or(self.rest);
        taken.is_some()
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }
}
