//! What a request of Engine.IO says in its query. Everything else there belongs to the application.

use proto::framing::engineio::REVISION;

/// How a client wants to talk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    /// Requests that wait for something to be sent, and requests that send something.
    Polling,
    /// A WebSocket.
    WebSocket,
}

/// See the module's documentation. Of a key that is there twice the first counts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) transport: Option<Transport>,
    pub(super) is_current_revision: bool,
    /// The session, if one is named.
    pub(super) sid: Option<Sid>,
}

/// The name of a session.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sid {
    /// Its secret; `None` when it cannot be one of ours.
    pub(super) id: Option<u128>,
    /// The tag of its node, where nodes have one.
    pub(super) node: Option<String>,
}

impl Query {
    pub(super) fn parse(query: &str) -> Self {
        let value = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
        };
        Self {
            transport: match value("transport") {
                Some("polling") => Some(Transport::Polling),
                Some("websocket") => Some(Transport::WebSocket),
                _ => None,
            },
            is_current_revision: value("EIO") == Some(REVISION),
            sid: value("sid").map(Sid::parse),
        }
    }
}

impl Sid {
    /// How a session's id is written.
    pub(super) fn write(id: u128, node: Option<&str>) -> String {
        match node {
            Some(node) => format!("{id:032x}.{node}"),
            None => format!("{id:032x}"),
        }
    }

    fn parse(text: &str) -> Self {
        let (secret, node) = text.split_once('.').map_or((text, None), |(secret, node)| (secret, Some(node)));
        let id = u128::from_str_radix(secret, 16).ok().filter(|id| Self::write(*id, None) == secret);
        Self { id, node: node.map(str::to_owned) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sid(id: Option<u128>, node: Option<&str>) -> Option<Sid> {
        Some(Sid { id, node: node.map(str::to_owned) })
    }

    #[test]
    fn a_query_names_the_transport_the_revision_and_the_session() {
        let query =
            Query::parse("EIO=4&transport=polling&t=abc&sid=000000000000000000000000000000ff&token=x");
        let expected = Query {
            transport: Some(Transport::Polling),
            is_current_revision: true,
            sid: sid(Some(255), None),
        };
        assert_eq!(query, expected);
        let text = Sid::write(255, Some("ab"));
        assert_eq!(Query::parse(&format!("sid={text}")).sid, sid(Some(255), Some("ab")));
        let query = Query::parse("transport=websocket&EIO=3&transport=polling");
        assert_eq!((query.transport, query.is_current_revision), (Some(Transport::WebSocket), false));
        assert_eq!(query.sid, None);
        for other in
            ["sid=", "sid=ff", "sid=+00000000000000000000000000000ff", "sid=000000000000000000000000000000FF"]
        {
            assert_eq!(Query::parse(other).sid, sid(None, None), "{other}");
        }
    }
}
