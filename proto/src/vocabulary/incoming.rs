//! From a client's event to a command.

use std::borrow::Cow;
use std::collections::HashMap;
use std::str::FromStr;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::{VocabularyError, WILDCARD, rule};
use crate::binary::BinaryPlaces;
use crate::error::ErrorCode;
use crate::message::{Command, Invalid, Request, RequestId};
use crate::name::{DeviceId, EventName, MessageId, NameError, Room};
use crate::position::PositionError;
use crate::template::{Holds, Missing, Step, Template, Values, Variable, quote, reach};

/// What a framing found in a client's frame.
#[derive(Debug, Clone, Copy)]
pub struct Heard<'a> {
    /// The event's name.
    pub event: &'a str,
    /// What came with it, as JSON text.
    pub body: &'a str,
}

/// What the placeholders of incoming rules name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Place {
    Event,
    Body,
}

impl Variable for Place {
    const ALL: &'static [(&'static str, Self, Holds)] =
        &[("event", Self::Event, Holds::Scalar), ("body", Self::Body, Holds::Json)];
}

impl Values<Place> for Heard<'_> {
    fn get(&self, place: Place, path: &[Step]) -> Option<Cow<'_, str>> {
        match place {
            Place::Event => Some(Cow::Owned(quote(self.event))),
            Place::Body => reach(self.body, path).map(Cow::Borrowed),
        }
    }
}

/// A rule as it is written.
#[derive(Deserialize)]
struct Written {
    action: Action,
    #[serde(flatten)]
    places: HashMap<Field, Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    Auth,
    Refresh,
    Join,
    Leave,
    Publish,
    Signal,
    Presence,
    Online,
    History,
    Ping,
}

/// What a rule can say a place for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Field {
    Id,
    Token,
    Room,
    Since,
    Device,
    Event,
    Data,
    MessageId,
    Limit,
}

impl Field {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Token => "token",
            Self::Room => "room",
            Self::Since => "since",
            Self::Device => "device",
            Self::Event => "event",
            Self::Data => "data",
            Self::MessageId => "message_id",
            Self::Limit => "limit",
        }
    }
}

impl Action {
    /// The fields that a rule must and may have, `id` apart.
    const fn fields(self) -> (&'static [Field], &'static [Field]) {
        match self {
            Self::Auth => (&[Field::Token], &[Field::Since, Field::Device]),
            Self::Refresh => (&[Field::Token], &[]),
            Self::Join => (&[Field::Room], &[Field::Since]),
            Self::Leave | Self::Presence => (&[Field::Room], &[]),
            Self::Publish => (&[Field::Room], &[Field::Event, Field::Data, Field::MessageId]),
            Self::Signal => (&[Field::Room], &[Field::Event, Field::Data]),
            Self::History => (&[Field::Room], &[Field::Since, Field::Limit]),
            Self::Online | Self::Ping => (&[], &[]),
        }
    }
}

/// The rules by the names of events.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    rules: HashMap<String, Rule>,
    /// For any other event.
    rest: Option<Rule>,
}

#[derive(Debug)]
struct Rule {
    action: Action,
    fields: HashMap<Field, Template<Place>>,
}

type Refusal = (ErrorCode, String);

impl Incoming {
    pub(super) fn compile(key: &str, written: &Map<String, Value>) -> Result<Self, VocabularyError> {
        let mut incoming = Self::default();
        for (event, written) in written {
            let rule = Rule::compile(&format!("{key}.{event}"), written)?;
            if event == WILDCARD {
                incoming.rest = Some(rule);
            } else {
                incoming.rules.insert(event.clone(), rule);
            }
        }
        Ok(incoming)
    }

    /// Makes a command of an event.
    pub(super) fn decode(&self, heard: Heard<'_>) -> Result<Request, Invalid> {
        let rule = self.rules.get(heard.event).or(self.rest.as_ref());
        let Some(rule) = rule else {
            let message = "there is no such event here".to_owned();
            return Err(Invalid { id: None, code: ErrorCode::Unknown, message });
        };
        let id = rule.id(heard);
        match rule.command(heard) {
            Ok(command) => Ok(Request { id, command }),
            Err((code, message)) => Err(Invalid { id, code, message }),
        }
    }
}

impl Rule {
    fn compile(key: &str, written: &Value) -> Result<Self, VocabularyError> {
        let Written { action, mut places } = rule(key, written)?;
        let (required, optional) = action.fields();
        if let Some(field) = required.iter().find(|field| !places.contains_key(field)) {
            return Err(VocabularyError::new(format!("{key}.{}", field.as_str()), "is missing"));
        }
        let fits =
            |field: &&Field| **field == Field::Id || required.contains(field) || optional.contains(field);
        if let Some(field) = places.keys().find(|field| !fits(field)) {
            return Err(VocabularyError::new(
                format!("{key}.{}", field.as_str()),
                "means nothing to this action",
            ));
        }
        if optional.contains(&Field::Event) {
            places.entry(Field::Event).or_insert_with(|| json!("$event"));
            places.entry(Field::Data).or_insert_with(|| json!("$body"));
        }
        let compile = |(field, written): (Field, Value)| {
            let template = Template::compile(&format!("{key}.{}", field.as_str()), &written)?;
            Ok((field, template))
        };
        let fields = places.into_iter().map(compile).collect::<Result<_, VocabularyError>>()?;
        Ok(Self { action, fields })
    }

    fn command(&self, heard: Heard<'_>) -> Result<Command, Refusal> {
        Ok(match self.action {
            Action::Auth => Command::Auth {
                token: self.required(Field::Token, heard)?,
                since: self.since(heard)?.unwrap_or_default(),
                device: match self.text(Field::Device, heard) {
                    Some(device) => Some(name("device", &device, DeviceId::new)?),
                    None => None,
                },
            },
            Action::Refresh => Command::Refresh { token: self.required(Field::Token, heard)? },
            Action::Join => Command::Join { room: self.room(heard)?, since: self.since(heard)? },
            Action::Leave => Command::Leave { room: self.room(heard)? },
            Action::Publish | Action::Signal => Command::Publish {
                room: self.room(heard)?,
                event: name("event", &self.required(Field::Event, heard)?, EventName::new)?,
                data: self.data(heard)?,
                binary: BinaryPlaces::default(),
                message_id: match self.text(Field::MessageId, heard) {
                    Some(id) => Some(name("message id", &id, MessageId::new)?),
                    None => None,
                },
                ephemeral: self.action == Action::Signal,
            },
            Action::Presence => Command::Presence { room: self.room(heard)? },
            Action::Online => Command::Online,
            Action::History => Command::History {
                room: self.room(heard)?,
                since: self.since(heard)?,
                limit: match self.text(Field::Limit, heard) {
                    Some(limit) => Some(limit.parse().map_err(|_| invalid("limit is not a count"))?),
                    None => None,
                },
            },
            Action::Ping => Command::Ping,
        })
    }

    /// The request's id, for the reply to repeat. What cannot be one is ignored: it is the application's own field.
    fn id(&self, heard: Heard<'_>) -> Option<RequestId> {
        let json = self.fields.get(&Field::Id)?.render(&heard)?;
        RequestId::new(&RawValue::from_string(json).ok()?)
    }

    fn text(&self, field: Field, heard: Heard<'_>) -> Option<String> {
        self.fields.get(&field)?.text(&heard)
    }

    fn required(&self, field: Field, heard: Heard<'_>) -> Result<String, Refusal> {
        self.text(field, heard).ok_or_else(|| invalid(&format!("the {} is missing", field.as_str())))
    }

    fn room(&self, heard: Heard<'_>) -> Result<Room, Refusal> {
        name("room", &self.required(Field::Room, heard)?, Room::new)
    }

    /// One position, or those of several channels.
    fn since<T: FromStr<Err = PositionError>>(&self, heard: Heard<'_>) -> Result<Option<T>, Refusal> {
        match self.text(Field::Since, heard).as_deref().map(str::parse) {
            None => Ok(None),
            Some(Ok(position)) => Ok(Some(position)),
            Some(Err(error)) => Err((ErrorCode::InvalidPosition, format!("since {error}"))),
        }
    }

    fn data(&self, heard: Heard<'_>) -> Result<Box<RawValue>, Refusal> {
        let Some(template) = self.fields.get(&Field::Data) else {
            return Err(invalid("the data is missing"));
        };
        let json = template
            .render_whole(&heard)
            .map_err(|Missing(place)| invalid(&format!("{place} is missing")))?;
        RawValue::from_string(json).map_err(|_| invalid("the data is not JSON"))
    }
}

fn invalid(message: &str) -> Refusal {
    (ErrorCode::InvalidMessage, message.to_owned())
}

fn name<'a, T>(what: &str, text: &'a str, new: fn(&'a str) -> Result<T, NameError>) -> Result<T, Refusal> {
    new(text).map_err(|error| (ErrorCode::InvalidName, format!("the {what} {error}")))
}
