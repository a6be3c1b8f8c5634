//! The parameters of a call: in its query, and in its path.

use std::collections::BTreeMap;
use std::str::FromStr;

use proto::NameError;
use url::form_urlencoded;

use crate::refusal::Refusal;

/// How long a page of a list is unless the caller asks for less or more.
const PAGE: usize = 100;
/// The longest page of a list.
pub(crate) const LONGEST_PAGE: usize = 1000;

/// The parameters of a query, each known and there once.
#[derive(Debug, Default)]
pub(crate) struct Params(BTreeMap<&'static str, String>);

impl Params {
    /// Reads a query that may hold `known` and `tenant`.
    pub(crate) fn read(query: Option<&str>, known: &'static [&'static str]) -> Result<Self, Refusal> {
        let mut params = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            let Some(known) = known.iter().chain(&["tenant"]).find(|known| **known == name) else {
                return Err(Refusal::Parameter(
                    "the query has a parameter that this call does not know".into(),
                ));
            };
            if params.insert(*known, value.into_owned()).is_some() {
                return Err(Refusal::Parameter(format!("the query has {known} more than once")));
            }
        }
        Ok(Self(params))
    }

    /// The text of a parameter, if it is there.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A parameter that must be a name.
    pub(crate) fn name<T: FromStr<Err = NameError>>(&self, name: &'static str) -> Result<Option<T>, Refusal> {
        self.text(name).map(|text| named(name, text)).transpose()
    }

    /// How many things of a list are asked for.
    pub(crate) fn limit(&self) -> Result<usize, Refusal> {
        self.limit_or(PAGE)
    }

    /// The same, with another default.
    pub(crate) fn limit_or(&self, default: usize) -> Result<usize, Refusal> {
        let Some(text) = self.text("limit") else { return Ok(default) };
        // Plain digits: what else `parse` takes, as a sign, is no limit.
        let number = text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
        number
            .filter(|number| (1..=LONGEST_PAGE).contains(number))
            .ok_or_else(|| Refusal::Parameter(format!("limit must be a number from 1 to {LONGEST_PAGE}")))
    }

    /// Where a list goes on.
    pub(crate) fn from(&self) -> Result<u64, Refusal> {
        let Some(text) = self.text("from") else { return Ok(0) };
        let number = text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
        number.ok_or_else(|| Refusal::Parameter("from must be the next of the page before".into()))
    }
}

/// Checks a name of the path or the query.
pub(crate) fn named<T: FromStr<Err = NameError>>(what: &'static str, text: &str) -> Result<T, Refusal> {
    text.parse().map_err(|error| Refusal::NamedParameter { what, error })
}

/// The descriptions of parameters that several calls have.
pub(crate) mod described {
    #![expect(dead_code, reason = "for the description alone")]

    use utoipa::IntoParams;

    /// A part of the path.
    #[derive(IntoParams)]
    #[into_params(parameter_in = Path)]
    pub(crate) struct OfUser {
        /// The user's id.
        #[param(min_length = 1, max_length = 128, pattern = r"^[A-Za-z0-9_.:@+=|~-]+$", example = "42")]
        user: String,
    }

    /// A part of the path.
    #[derive(IntoParams)]
    #[into_params(parameter_in = Path)]
    pub(crate) struct OfRoom {
        /// The room's name.
        #[param(min_length = 1, max_length = 128, pattern = r"^[A-Za-z0-9_.:@+=|~-]+$", example = "lobby")]
        room: String,
    }

    /// A parameter of every call of administration.
    #[derive(IntoParams)]
    #[into_params(parameter_in = Query)]
    pub(crate) struct InTenant {
        /// Another tenant than the caller's own, for callers that reach it.
        #[param(nullable = false, min_length = 1, max_length = 64, pattern = r"^[A-Za-z0-9_.:@+=|~-]+$")]
        tenant: Option<String>,
    }

    /// The parameters of a list.
    #[derive(IntoParams)]
    #[into_params(parameter_in = Query)]
    pub(crate) struct From {
        /// Where to go on: the `next` of the page before.
        #[param(nullable = false, pattern = r"^[0-9]{1,19}$")]
        from: Option<String>,
    }

    /// The parameters of a list.
    #[derive(IntoParams)]
    #[into_params(parameter_in = Query)]
    pub(crate) struct Limited {
        /// How many to list at most; 100 unless given.
        #[param(nullable = false, minimum = 1, maximum = 1000)]
        limit: Option<u32>,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::Room;

    #[test]
    fn a_query_holds_what_is_known_and_each_once() {
        let read = |query: &str| Params::read(Some(query), &["limit", "after"]);
        let params = read("after=a%40b&limit=7&tenant=t").unwrap();
        assert_eq!(
            (params.text("after"), params.limit(), params.text("tenant")),
            (Some("a@b"), Ok(7), Some("t"))
        );
        assert_eq!(Params::read(None, &[]).unwrap().limit(), Ok(PAGE));
        for wrong in ["limits=1", "limit=1&limit=1", "&limit=1&x", "tenant=a&tenant=a"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "0", "-1", "+1", "1001", "1.0", "x", "99999999999999999999"] {
            assert!(read(&format!("limit={wrong}")).unwrap().limit().is_err(), "{wrong}");
        }
        assert!(read("after=a%20b").unwrap().name::<Room>("after").is_err());
    }
}
