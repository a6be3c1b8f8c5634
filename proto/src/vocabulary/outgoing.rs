//! From what a client is told to an application's event.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::kind::{Kind, Said, Telling};
use super::{Audience, Told, VocabularyError, WILDCARD, rule};
use crate::error::ErrorCode;
use crate::message::{Action, Outgoing};
use crate::publication::Publication;
use crate::template::Template;

/// A rule as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    event: Value,
    body: Option<Value>,
    when: Option<Value>,
    #[serde(default)]
    to: Audience,
    also: Option<Value>,
}

/// The rules by what they are for.
#[derive(Debug, Default)]
pub(super) struct OutgoingRules {
    kinds: HashMap<Kind, Rule>,
    publications: HashMap<String, Rule>,
    codes: HashMap<ErrorCode, Rule>,
    actions: HashMap<Action, Rule>,
}

#[derive(Debug)]
struct Rule {
    /// Where it was written.
    key: String,
    event: Template<Said>,
    body: Option<Template<Said>>,
    /// It is told only where this is there.
    when: Option<Template<Said>>,
    audience: Audience,
    /// What is told after it.
    also: Option<Box<Rule>>,
}

impl OutgoingRules {
    pub(super) fn compile_kinds(
        &mut self,
        key: &str,
        written: &Map<String, Value>,
    ) -> Result<(), VocabularyError> {
        for (word, written) in written {
            let key = format!("{key}.{word}");
            let Some((_, kind)) = Kind::ALL.iter().find(|(known, _)| known == word) else {
                let known: Vec<_> = Kind::ALL.iter().map(|(word, _)| *word).collect();
                return Err(VocabularyError::new(key, format!("is none of {}", known.join(", "))));
            };
            self.kinds.insert(*kind, Rule::compile(key, written, *kind)?);
        }
        Ok(())
    }

    pub(super) fn compile_publications(
        &mut self,
        key: &str,
        written: &Map<String, Value>,
    ) -> Result<(), VocabularyError> {
        for (event, written) in written {
            let rule = Rule::compile(format!("{key}.{event}"), written, Kind::Message)?;
            self.publications.insert(event.clone(), rule);
        }
        Ok(())
    }

    pub(super) fn compile_errors(
        &mut self,
        key: &str,
        written: &Map<String, Value>,
    ) -> Result<(), VocabularyError> {
        for (word, written) in written {
            let key = format!("{key}.{word}");
            if let Some(code) = ErrorCode::from_word(word) {
                self.codes.insert(code, Rule::compile(key, written, Kind::Error)?);
            } else if let Some((_, action)) = Action::ALL.iter().find(|(known, _)| known == word) {
                self.actions.insert(*action, Rule::compile(key, written, Kind::Error)?);
            } else {
                return Err(VocabularyError::new(key, "is no error code and no action"));
            }
        }
        Ok(())
    }

    /// Says it in the application's words; `None` where the application has none for it.
    pub(super) fn encode(&self, telling: &Telling<'_>) -> Option<Told> {
        self.rule(telling.outgoing)?.tell(telling)
    }

    /// Says what is told after it.
    pub(super) fn encode_also(&self, telling: &Telling<'_>) -> Option<Told> {
        self.rule(telling.outgoing)?.also.as_ref()?.tell(telling)
    }

    /// The most particular rule: of an error its code, then the command that failed; of a publication its event.
    fn rule(&self, outgoing: &Outgoing<'_>) -> Option<&Rule> {
        let particular = match outgoing {
            Outgoing::Message { publication, .. } => return self.publication(publication),
            Outgoing::Error { code, about, .. } => {
                self.codes.get(code).or_else(|| about.and_then(|about| self.actions.get(&about.action)))
            }
            _ => None,
        };
        particular.or_else(|| self.kinds.get(&Kind::of(outgoing)))
    }

    fn publication(&self, publication: &Publication) -> Option<&Rule> {
        self.publications
            .get(publication.event.as_str())
            .or_else(|| self.publications.get(WILDCARD))
            .or_else(|| self.kinds.get(&Kind::Message))
    }

    pub(super) fn audience(&self, publication: &Publication) -> Audience {
        self.publication(publication).map_or(Audience::Everyone, |rule| rule.audience)
    }

    /// Each rule's key with the fields of its body, where the body is an object and not a placeholder.
    pub(super) fn bodies(&self) -> impl Iterator<Item = (&str, Option<Vec<String>>)> {
        let errors = self.codes.values().chain(self.actions.values());
        let rules = self.kinds.values().chain(self.publications.values()).chain(errors);
        let rules = rules.flat_map(|rule| std::iter::once(rule).chain(rule.also.as_deref()));
        rules.filter_map(|rule| {
            let fields = rule.body.as_ref()?.keys().map(|keys| keys.map(Cow::into_owned).collect());
            Some((rule.key.as_str(), fields))
        })
    }
}

impl Rule {
    fn compile(key: String, written: &Value, kind: Kind) -> Result<Self, VocabularyError> {
        let Written { event, body, when, to, also } = rule(&key, written)?;
        let also = match also {
            Some(_) if !matches!(kind, Kind::MemberJoined | Kind::MemberLeft) => {
                let only = "means something only to member_joined and member_left";
                return Err(VocabularyError::new(format!("{key}.also"), only));
            }
            Some(also) => Some(Box::new(Self::compile(format!("{key}.also"), &also, kind)?)),
            None => None,
        };
        if to != Audience::Everyone && kind != Kind::Message {
            return Err(VocabularyError::new(format!("{key}.to"), "means something only to publications"));
        }
        let compile = |field: &str, written: &Value| {
            Template::compile_with(&format!("{key}.{field}"), written, |said| kind.has(said))
        };
        let event = compile("event", &event)?;
        let body = body.map(|body| compile("body", &body)).transpose()?;
        let when = when.map(|when| compile("when", &when)).transpose()?;
        Ok(Self { event, body, when, audience: to, also, key })
    }

    fn tell(&self, telling: &Telling<'_>) -> Option<Told> {
        if let Some(when) = &self.when {
            when.render(telling)?;
        }
        let body = self.body.as_ref().map(|body| body.render(telling).unwrap_or_else(|| "null".to_owned()));
        Some(Told { event: self.event.text(telling)?, body })
    }
}
