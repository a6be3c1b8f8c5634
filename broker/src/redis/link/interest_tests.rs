use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::super::pulse::{PROBE_AFTER, SILENCE};
use super::super::resp::{Item, Parser};
use super::*;

/// A connection between an interest and a small model of the server.
struct Pair {
    interest: Interest,
    now: Instant,
    /// Commands on their way to the server.
    sent: BytesMut,
    /// What the server sent and we have not read yet.
    pushes: VecDeque<(&'static str, String)>,
    server: BTreeSet<String>,
    forbidden: BTreeSet<String>,
    moved: BTreeSet<String>,
    /// What the sink believes.
    told: BTreeMap<String, bool>,
    told_order: Vec<Effect>,
    rounds: Vec<usize>,
}

fn channel(name: &str) -> Channel {
    Channel::parse(&format!("t/r/{name}")).unwrap()
}

fn hello(role: &str) -> Value<'_> {
    Value::Map(vec![(Value::Text(b"role"), Value::Text(role.as_bytes()))])
}

impl Pair {
    fn new(style: Style) -> Self {
        let naming: Naming = Arc::new(|channel: &Channel| channel.name().to_owned());
        let now = Instant::now();
        let mut interest = Interest::new(style, naming);
        interest.handle_connected(now);
        Self {
            interest,
            now,
            sent: BytesMut::new(),
            pushes: VecDeque::new(),
            server: BTreeSet::new(),
            forbidden: BTreeSet::new(),
            moved: BTreeSet::new(),
            told: BTreeMap::new(),
            told_order: Vec::new(),
            rounds: Vec::new(),
        }
    }

    fn want<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) {
        names.into_iter().for_each(|name| self.interest.want(&channel(name)));
    }

    fn write(&mut self) {
        self.interest.poll_write(self.now, &mut self.sent).unwrap();
    }

    /// The server carries out what it received.
    fn serve(&mut self) {
        let (mut parser, sent) = (Parser::default(), std::mem::take(&mut self.sent));
        let (mut rest, mut round) = (&sent[..], 0);
        while let Some((Item::Reply(Value::Array(words)), used)) = parser.next(rest).unwrap() {
            rest = &rest[used..];
            let words: Vec<String> =
                words.iter().map(|word| String::from_utf8(word.text().unwrap().to_vec()).unwrap()).collect();
            let (verb, names) = words.split_first().unwrap();
            assert!(!names.is_empty(), "no command may be empty");
            assert!(names.len() <= CHUNK);
            match verb.as_str() {
                "HELLO" => self.pushes.push_back(("hello", "master".to_owned())),
                "SUBSCRIBE" | "SSUBSCRIBE" => {
                    round += names.len();
                    if verb == "SSUBSCRIBE" {
                        assert!(names.iter().all(|name| slot(name.as_bytes()) == slot(names[0].as_bytes())));
                    }
                    if names.iter().any(|name| self.forbidden.contains(name)) {
                        self.pushes.push_back(("error", "NOPERM no".to_owned()));
                    } else if names.iter().any(|name| self.moved.contains(name)) {
                        self.pushes.push_back(("error", "MOVED 1 h:1".to_owned()));
                    } else {
                        for name in names {
                            self.server.insert(name.clone());
                            self.pushes.push_back(("subscribe", name.clone()));
                        }
                    }
                }
                _ => {
                    for name in names {
                        self.server.remove(name);
                        self.pushes.push_back(("unsubscribe", name.clone()));
                    }
                }
            }
        }
        assert!(rest.is_empty());
        if round > 0 {
            self.rounds.push(round);
        }
    }

    /// We read up to `most` of what the server sent.
    fn read(&mut self, most: usize) {
        for _ in 0..most {
            let Some((kind, name)) = self.pushes.pop_front() else { break };
            self.interest.handle_heard(self.now);
            match kind {
                "hello" => self.interest.handle_reply(&hello(&name), self.now).unwrap(),
                "error" => self.interest.handle_reply(&Value::Error(name.as_bytes()), self.now).unwrap(),
                _ => {
                    let push =
                        [Value::Text(kind.as_bytes()), Value::Text(name.as_bytes()), Value::Integer(1)];
                    self.interest.handle_push(&push, self.now).unwrap();
                }
            }
        }
        self.effects();
    }

    fn effects(&mut self) {
        while let Some(effect) = self.interest.poll_effect() {
            match &effect {
                Effect::Subscribed(channels) => {
                    channels.iter().for_each(|channel| _ = self.told.insert(channel.name().to_owned(), true));
                }
                Effect::Interrupted(channels) => {
                    for channel in channels {
                        let before = self.told.insert(channel.name().to_owned(), false);
                        assert_eq!(before, Some(true), "only what is in force can be interrupted");
                    }
                }
                Effect::Refused { .. } | Effect::Moved => {}
            }
            self.told_order.push(effect);
        }
    }

    fn lose(&mut self) {
        self.interest.handle_lost();
        self.server.clear();
        self.pushes.clear();
        self.sent.clear();
        self.effects();
    }

    fn settle(&mut self) {
        loop {
            self.write();
            if self.sent.is_empty() && self.pushes.is_empty() {
                break;
            }
            self.serve();
            self.read(usize::MAX);
        }
    }

    fn on(&self, name: &str) -> bool {
        self.interest.recipient(name.as_bytes()).is_some()
    }
}

#[test]
fn nothing_is_in_force_before_it_is_confirmed() {
    let mut pair = Pair::new(Style::Plain);
    pair.want(["a", "b"]);
    pair.write();
    pair.serve();
    assert!(!pair.on("a") && pair.told.is_empty());
    pair.read(1);
    assert_eq!(pair.told_order, [Effect::Subscribed(vec![channel("a")])]);
    assert!(pair.on("a") && !pair.on("b"));
    pair.read(1);
    assert_eq!(pair.interest.confirmed(), 2);
}

#[test]
fn a_chunk_waits_for_the_one_before() {
    let names: Vec<String> = (0..1300).map(|at| format!("c{at}")).collect();
    let mut pair = Pair::new(Style::Plain);
    pair.want(names.iter().map(String::as_str));
    pair.write();
    pair.serve();
    pair.read(511);
    pair.write();
    assert!(pair.sent.is_empty(), "one confirmation is still missing");
    pair.settle();
    assert_eq!(pair.rounds, [512, 512, 276]);
    assert_eq!(pair.interest.confirmed(), 1300);
}

#[test]
fn sharded_commands_name_one_slot_each() {
    let names: Vec<String> = (0..700).map(|at| format!("{{{}}}{at}", at % 7)).collect();
    let naming: Naming = Arc::new(|channel: &Channel| {
        let (tag, rest) = channel.name().split_once('|').unwrap();
        format!("{{{tag}}}{rest}")
    });
    let mut pair = Pair::new(Style::Sharded);
    pair.interest.naming = naming;
    for name in &names {
        pair.interest.want(&channel(&name.replace('{', "").replace('}', "|")));
    }
    pair.settle();
    assert_eq!(pair.server.len(), 700);
    assert_eq!(pair.rounds.iter().sum::<usize>(), 700);
    assert!(pair.rounds.len() <= 3, "several slots share a round");
}

#[test]
fn one_forbidden_channel_does_not_keep_the_others_out() {
    let names: Vec<String> = (0..512).map(|at| format!("c{at}")).collect();
    let mut pair = Pair::new(Style::Plain);
    pair.forbidden.insert("c77".to_owned());
    pair.want(names.iter().map(String::as_str));
    pair.settle();
    assert_eq!(pair.interest.confirmed(), 511);
    let refusals = pair.told_order.iter().filter(|effect| matches!(effect, Effect::Refused { .. })).count();
    assert_eq!(refusals, 1);
    pair.forbidden.clear();
    pair.now += Duration::from_secs(11);
    pair.settle();
    assert!(pair.on("c77"), "asked again later");
}

#[test]
fn what_the_server_ends_is_told_and_asked_for_again() {
    let mut pair = Pair::new(Style::Sharded);
    pair.want(["a"]);
    pair.settle();
    pair.server.remove("a");
    pair.moved.insert("a".to_owned());
    pair.pushes.push_back(("sunsubscribe", "a".to_owned()));
    pair.read(1);
    assert_eq!(pair.told_order[1..], [Effect::Interrupted(vec![channel("a")]), Effect::Moved]);
    pair.now += Duration::from_secs(1);
    pair.settle();
    assert!(!pair.on("a"));
    pair.moved.clear();
    pair.now += Duration::from_secs(1);
    pair.settle();
    assert!(pair.on("a"));
}

#[test]
fn a_lost_connection_interrupts_all_at_once_and_the_next_one_brings_all_back() {
    let mut pair = Pair::new(Style::Plain);
    pair.want(["a", "b", "c"]);
    pair.settle();
    pair.told_order.clear();
    pair.interest.forget(&channel("c"));
    pair.lose();
    assert_eq!(pair.told_order.len(), 1);
    assert!(matches!(&pair.told_order[0], Effect::Interrupted(channels) if channels.len() == 2));
    pair.interest.handle_connected(pair.now);
    pair.settle();
    assert!(pair.on("a") && pair.on("b") && !pair.on("c"));
}

#[test]
fn who_wants_it_anew_is_told_anew() {
    let mut pair = Pair::new(Style::Plain);
    pair.want(["a"]);
    pair.settle();
    pair.interest.forget(&channel("a"));
    pair.want(["a"]);
    pair.effects();
    let subscribed = Effect::Subscribed(vec![channel("a")]);
    assert_eq!(pair.told_order, [subscribed.clone(), subscribed.clone()]);
    pair.interest.forget(&channel("a"));
    pair.write();
    pair.want(["a"]);
    pair.settle();
    assert_eq!(
        pair.told_order,
        [subscribed.clone(), subscribed.clone(), subscribed],
        "after it really ended"
    );
    assert!(pair.server.contains("a"));
}

#[test]
fn only_what_was_in_force_is_interrupted_by_handing_over() {
    let mut pair = Pair::new(Style::Sharded);
    pair.want(["a"]);
    pair.settle();
    pair.want(["b"]);
    pair.interest.hand_over(&channel("a"));
    pair.interest.hand_over(&channel("b"));
    pair.settle();
    assert_eq!(pair.told_order[1..], [Effect::Interrupted(vec![channel("a")])]);
    assert!(pair.server.is_empty() && pair.interest.channels.sizes() == (0, 0));
}

#[test]
fn silence_is_probed_and_then_believed() {
    let mut pair = Pair::new(Style::Plain);
    assert_eq!(pair.interest.deadline(), Some(pair.now + PROBE_AFTER));
    pair.now += PROBE_AFTER;
    pair.write();
    assert_eq!(pair.sent, &b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n"[..]);
    pair.serve();
    pair.read(1);
    assert_eq!(pair.interest.deadline(), Some(pair.now + PROBE_AFTER));
    pair.now += PROBE_AFTER;
    pair.write();
    pair.now += SILENCE;
    assert_eq!(pair.interest.poll_write(pair.now, &mut BytesMut::new()), Err(Fault::Silent));
}

#[test]
fn a_server_that_became_a_replica_is_left() {
    let mut pair = Pair::new(Style::Plain);
    pair.now += PROBE_AFTER;
    pair.write();
    assert_eq!(pair.interest.handle_reply(&hello("replica"), pair.now), Err(Fault::Demoted));
}

#[test]
fn an_answer_that_never_comes_is_noticed_though_messages_do() {
    let mut pair = Pair::new(Style::Plain);
    pair.want(["a"]);
    pair.write();
    for _ in 0..29 {
        pair.now += Duration::from_secs(1);
        pair.interest.handle_heard(pair.now);
        pair.write();
    }
    pair.now += Duration::from_secs(1);
    pair.interest.handle_heard(pair.now);
    assert_eq!(pair.interest.poll_write(pair.now, &mut BytesMut::new()), Err(Fault::Silent));
}

#[test]
fn answers_that_nobody_asked_for_end_the_connection() {
    let mut pair = Pair::new(Style::Plain);
    let push = [Value::Text(b"subscribe"), Value::Text(b"a"), Value::Integer(1)];
    assert!(pair.interest.handle_push(&push, pair.now).is_err());
    assert!(pair.interest.handle_reply(&Value::Text(b"OK"), pair.now).is_err());
    pair.want(["a"]);
    pair.write();
    let logged_out = pair.interest.handle_reply(&Value::Error(b"NOAUTH no"), pair.now);
    assert!(matches!(logged_out, Err(Fault::LoggedOut(_))));
}

#[derive(Debug, Clone)]
enum Step {
    Want(u8),
    Forget(u8),
    HandOver(u8),
    Write,
    Serve,
    Read(usize),
    Lose,
    Migrate(u8),
    Forbid(u8),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u8..12).prop_map(Step::Want),
        2 => (0u8..12).prop_map(Step::Forget),
        1 => (0u8..12).prop_map(Step::HandOver),
        4 => Just(Step::Write),
        4 => Just(Step::Serve),
        4 => (1usize..6).prop_map(Step::Read),
        1 => Just(Step::Lose),
        1 => (0u8..12).prop_map(Step::Migrate),
        1 => (0u8..12).prop_map(Step::Forbid),
        1 => (0u64..900).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn in_force_is_true_whenever_it_is_told_and_wishes_come_true(
        steps in prop::collection::vec(step(), 0..120),
        sharded in any::<bool>(),
    ) {
        let mut pair = Pair::new(if sharded { Style::Sharded } else { Style::Plain });
        let mut wanted = BTreeSet::new();
        for step in steps {
            match step {
                Step::Want(at) => {
                    pair.want([format!("c{at}").as_str()]);
                    wanted.insert(format!("c{at}"));
                }
                Step::Forget(at) | Step::HandOver(at) => {
                    let name = format!("c{at}");
                    if matches!(step, Step::Forget(_)) {
                        pair.interest.forget(&channel(&name));
                        pair.effects();
                        pair.told.remove(&name);
                    } else {
                        pair.interest.hand_over(&channel(&name));
                        pair.effects();
                        prop_assert_ne!(pair.told.get(&name), Some(&true));
                    }
                    wanted.remove(&name);
                }
                Step::Write => pair.write(),
                Step::Serve => pair.serve(),
                Step::Read(most) => pair.read(most),
                Step::Lose => {
                    pair.lose();
                    pair.interest.handle_connected(pair.now);
                }
                Step::Migrate(at) => {
                    if pair.server.remove(&format!("c{at}")) {
                        pair.pushes.push_back(("sunsubscribe", format!("c{at}")));
                    }
                }
                Step::Forbid(at) => _ = pair.forbidden.insert(format!("c{at}")),
                Step::Wait(millis) => pair.now += Duration::from_millis(millis % 200),
            }
            pair.effects();
            if pair.pushes.is_empty() && pair.sent.is_empty() {
                for (name, told) in &pair.told {
                    prop_assert!(!told || !wanted.contains(name) || pair.server.contains(name), "{} is not in force", name);
                }
            }
        }
        pair.forbidden.clear();
        pair.settle();
        pair.now += Duration::from_secs(11);
        pair.settle();
        prop_assert_eq!(&pair.server, &wanted);
        prop_assert_eq!(pair.interest.confirmed(), wanted.len());
        for name in &wanted {
            prop_assert!(pair.on(name));
            prop_assert_eq!(pair.told.get(name), Some(&true));
        }
        prop_assert_eq!(pair.interest.channels.sizes(), (wanted.len(), 0), "nothing is kept of what is over");
    }
}
