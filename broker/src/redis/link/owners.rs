//! Who has which slot, as a value: read from what the nodes of a cluster say.

use super::resp::Value;
use super::slot::SLOTS;
use crate::redis::Address;

/// Which server each slot's channels are at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::redis) struct Owners {
    /// With how many slots each has.
    servers: Vec<(Address, u16)>,
    /// For each slot the index of its server, and the epoch of the claim.
    slots: Vec<Option<(usize, u64)>>,
}

impl Owners {
    /// Nobody is known to have anything.
    pub(super) fn none() -> Self {
        Self { servers: Vec::new(), slots: vec![None; usize::from(SLOTS)] }
    }

    /// One server has everything.
    pub(super) fn all(server: Address) -> Self {
        Self { servers: vec![(server, SLOTS)], slots: vec![Some((0, 0)); usize::from(SLOTS)] }
    }

    /// The server of a slot.
    pub(in crate::redis) fn of(&self, slot: u16) -> Option<&Address> {
        let (index, _) = (*self.slots.get(usize::from(slot))?)?;
        self.servers.get(index).map(|(server, _)| server)
    }

    /// The servers that have any slot, each once.
    pub(in crate::redis) fn servers(&self) -> impl Iterator<Item = &Address> {
        self.servers.iter().filter(|(_, slots)| *slots > 0).map(|(server, _)| server)
    }

    /// Whether each slot has the same server, whoever was asked and whatever the claims rest on.
    pub(super) fn agrees_with(&self, other: &Self) -> bool {
        (0..SLOTS).all(|slot| self.of(slot) == other.of(slot))
    }

    /// Takes in the answer of the server at `asked` to CLUSTER NODES. Claims to a slot are settled as the nodes settle
    /// them among themselves: by the highest epoch. So the word of a node that has been cut off from the others, and was
    /// replaced meanwhile, does not count against theirs.
    pub(super) fn add(&mut self, nodes: &str, asked: &Address, tls: bool) {
        for line in nodes.lines() {
            let Some(node) = Node::read(line, asked, tls) else { continue };
            let index = self.index_of(&node.address);
            for slot in node.slots {
                self.claim(slot, index, node.epoch);
            }
        }
    }

    fn claim(&mut self, slot: u16, server: usize, epoch: u64) {
        let Some(claim) = self.slots.get_mut(usize::from(slot)) else { return };
        let before = *claim;
        if before.is_some_and(|(_, other)| other >= epoch) {
            return;
        }
        *claim = Some((server, epoch));
        if let Some((_, slots)) = before.and_then(|(before, _)| self.servers.get_mut(before)) {
            *slots -= 1;
        }
        if let Some((_, slots)) = self.servers.get_mut(server) {
            *slots += 1;
        }
    }

    fn index_of(&mut self, address: &Address) -> usize {
        self.servers.iter().position(|(server, _)| server == address).unwrap_or_else(|| {
            self.servers.push((address.clone(), 0));
            self.servers.len() - 1
        })
    }
}

/// A node with slots, from a line of CLUSTER NODES:
/// `<id> <ip:port@bus[,hostname]> <flags> <primary> <ping> <pong> <epoch> <state> <slots> …`.
struct Node {
    address: Address,
    epoch: u64,
    slots: Vec<u16>,
}

impl Node {
    fn read(line: &str, asked: &Address, tls: bool) -> Option<Self> {
        let mut words = line.split(' ');
        let (endpoint, flags) = (words.nth(1)?, words.next()?);
        if flags.split(',').any(|flag| matches!(flag, "slave" | "noaddr" | "handshake")) {
            return None;
        }
        let epoch = words.nth(3)?.parse().ok()?;
        // Behind the state; slots that are on their way in or out stand in brackets.
        let slots = words.skip(1).filter(|word| !word.starts_with('[')).filter_map(range).flatten().collect();
        Some(Self { address: address(endpoint, asked, tls)?, epoch, slots })
    }
}

fn range(word: &str) -> Option<std::ops::RangeInclusive<u16>> {
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (last < SLOTS).then_some(first..=last)
}

/// A certificate is for a name, so with TLS that is preferred where nodes announce one. A node that nobody talked to yet
/// does not know its own IP address: it is where we asked it.
fn address(endpoint: &str, asked: &Address, tls: bool) -> Option<Address> {
    let mut parts = endpoint.split(',');
    let (ip, port) = parts.next()?.split('@').next()?.rsplit_once(':')?;
    let name = parts.next().filter(|name| tls && !name.is_empty() && !name.contains('='));
    let host = name.or_else(|| Some(ip).filter(|ip| !ip.is_empty())).unwrap_or(&asked.host);
    Some(Address { host: host.to_owned(), port: port.parse().ok()? })
}

/// The primary's address from the answer to SENTINEL GET-MASTER-ADDR-BY-NAME.
pub(super) fn named_primary(reply: &Value<'_>) -> Option<Address> {
    let [host, port] = reply.array()? else { return None };
    let host = std::str::from_utf8(host.text()?).ok()?.to_owned();
    Some(Address { host, port: u16::try_from(port.integer()?).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ANSWER: &str = "\
07c 10.0.0.4:30004@31004,d.example slave e7d 0 1426238317239 4 connected
67e 10.0.0.2:30002@31002,b.example master - 0 1426238316232 2 connected 5461-10922
292 ::1:30003@31003,,shard-id=1 master - 0 1426238318243 3 disconnected 10923-16382 16383 [77-<-67e]
824 :0@0 master,noaddr - 1426238317741 1426238316232 9 disconnected 0-100
e7d :30001@31001 myself,master - 0 0 1 connected 0-5460 [5461->-292]
";

    fn address(host: &str, port: u16) -> Address {
        Address { host: host.to_owned(), port }
    }

    fn owners(answers: &[&str], tls: bool) -> Owners {
        let mut owners = Owners::none();
        answers.iter().for_each(|answer| owners.add(answer, &address("seed", 1), tls));
        owners
    }

    #[test]
    fn each_slot_has_the_server_that_claims_it() {
        let owners = owners(&[ANSWER], false);
        assert_eq!(owners.of(0), Some(&address("seed", 30001)), "it is where it was asked");
        assert_eq!(owners.of(5461), Some(&address("10.0.0.2", 30002)));
        assert_eq!(owners.of(16383), Some(&address("::1", 30003)));
        assert_eq!(owners.servers().count(), 3);
    }

    #[test]
    fn answers_agree_in_whatever_order_they_come() {
        let a = "a h:1@2 master - 0 0 1 connected 0-8000\nb h:2@3 master - 0 0 2 connected 8001-16383";
        let b = "b h:2@3 master - 0 0 7 connected 8001-16383\na h:1@2 master - 0 0 1 connected 0-8000";
        let c = "b h:2@3 master - 0 0 7 connected 8000-16383\na h:1@2 master - 0 0 1 connected 0-7999";
        assert!(owners(&[a], false).agrees_with(&owners(&[b], false)));
        assert!(!owners(&[a], false).agrees_with(&owners(&[c], false)));
    }

    #[test]
    fn a_name_is_preferred_where_certificates_are_checked() {
        let owners = owners(&[ANSWER], true);
        assert_eq!(owners.of(5461), Some(&address("b.example", 30002)));
        assert_eq!(owners.of(16383), Some(&address("::1", 30003)));
    }

    #[test]
    fn the_highest_epoch_wins_whoever_is_asked_first() {
        let cut_off = "a 10.0.0.1:1@2 myself,master - 0 0 4 connected 0-16383";
        let others = "a 10.0.0.1:1@2 master,fail - 0 0 4 disconnected\nb 10.0.0.2:1@2 master - 0 0 5 connected 0-16383";
        for answers in [[cut_off, others], [others, cut_off]] {
            let owners = owners(&answers, false);
            assert_eq!(owners.of(7), Some(&address("10.0.0.2", 1)));
            assert_eq!(owners.servers().count(), 1);
        }
    }

    #[test]
    fn nonsense_claims_nothing() {
        let owners =
            owners(&["", "\n", "a b c", "a 1:x@2 master - 0 0 1 connected 0-5 9-x 16384 7-99999"], false);
        assert_eq!(owners, Owners::none());
    }

    proptest! {
        #[test]
        fn any_answer_is_taken_without_a_panic(words in prop::collection::vec("[a-c0-9:@,\\[\\]-]{0,12}|master|slave", 0..12)) {
            owners(&[&words.join(" ")], true);
        }
    }

    #[test]
    fn a_primary_is_read_from_a_sentinel() {
        let reply = Value::Array(vec![Value::Text(b"10.0.0.1"), Value::Text(b"6379")]);
        assert_eq!(named_primary(&reply), Some(address("10.0.0.1", 6379)));
        assert_eq!(named_primary(&Value::Null), None);
    }
}
