//! One run: a cluster, clients and publishers, and something that breaks it, up to the verdict.

use std::cell::RefCell;
use std::num::NonZero;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use proto::Position;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::checker::Limits;
use super::control::{Control, Ledger, Notes, SharedNotes};
use super::fault::{Fault, Plan, Topology};
use super::history::{Client, History, Sample, Span};
use super::outcome::Outcome;
use super::world::{self, World};
use super::{auditor, client, nemesis, publisher};
use crate::connection::Endpoint;
use crate::process::{open_files, resident_bytes};
use crate::server::new_secret;
use crate::token::Mint;

/// How long clients may take to get into their rooms before anything is broken.
const ENTER: Duration = Duration::from_secs(20);

/// What to break, how long, and of what size.
#[derive(Debug, Clone, Args)]
pub struct ChaosOptions {
    /// What all choices follow from; drawn, and printed, if absent.
    #[arg(long)]
    pub seed: Option<u64>,
    /// How Redis is organised.
    #[arg(long, value_enum, default_value = "standalone")]
    pub topology: Topology,
    /// What to break, separated by commas; by default all that is usual for the topology.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub faults: Vec<Fault>,
    /// How long to break things, seconds; every fault has its turn in any case.
    #[arg(long, default_value = "20")]
    pub seconds: u64,
    /// How many gateways.
    #[arg(long, default_value = "3")]
    pub gateways: NonZero<usize>,
    /// How many fanouts.
    #[arg(long, default_value = "2")]
    pub fanouts: usize,
    /// How many clients.
    #[arg(long, default_value = "12")]
    pub clients: usize,
    /// How many publishers.
    #[arg(long, default_value = "4")]
    pub publishers: usize,
    /// How many rooms; each client is in half of them.
    #[arg(long, default_value = "6")]
    pub rooms: usize,
    /// How long clients may take to be complete after everything is mended, seconds.
    #[arg(long, default_value = "10")]
    pub catch_up: u64,
    /// Where gateway and fanout are; by default beside this program.
    #[arg(long, value_name = "DIRECTORY")]
    pub programs: Option<PathBuf>,
    /// One more argument for the gateways.
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    pub gateway_arg: Vec<String>,
    /// Keep the logs of gateways and fanouts there.
    #[arg(long, value_name = "DIRECTORY")]
    pub logs: Option<PathBuf>,
    /// Write the timeline there, as HTML.
    #[arg(long, value_name = "FILE")]
    pub timeline: Option<PathBuf>,
    /// Write everything that was seen there, as JSON.
    #[arg(long, value_name = "FILE")]
    pub history: Option<PathBuf>,
}

impl ChaosOptions {
    fn faults(&self) -> Result<Vec<Fault>> {
        if self.faults.is_empty() {
            return Ok(Fault::usual(self.topology));
        }
        for fault in &self.faults {
            let fits = fault.applies_to(self.topology);
            ensure!(fits, "{} cannot be done to {:?}", fault.name(), self.topology);
        }
        Ok(self.faults.clone())
    }
}

/// Carries a run out and judges it.
///
/// # Errors
/// The run could not be carried out, which says nothing about the cluster.
pub async fn run(options: &ChaosOptions, seed: u64) -> Result<Outcome> {
    let faults = options.faults()?;
    let beside = || Some(std::env::current_exe().ok()?.parent()?.to_owned());
    let programs = options.programs.clone().or_else(beside).context("finding gateway and fanout")?;
    let secret = new_secret()?;
    // A queue that the first burst fills, so that whoever reads slowly lags.
    let mut gateway_arguments = vec!["--gateway-queue-size".to_owned(), "32KiB".to_owned()];
    gateway_arguments.extend_from_slice(&options.gateway_arg);
    let plan = world::Plan {
        topology: options.topology,
        gateways: options.gateways.get(),
        fanouts: options.fanouts,
        programs,
        gateway_arguments,
        secret: secret.clone(),
        logs: options.logs.clone(),
        wires: true,
        channels: String::new(),
    };
    let mut world = World::start(&plan).await?;
    let control = Control::start();
    let mut crowd = Crowd::start(options, &world, &control, &Mint::new(&secret, None), seed)?;
    crowd.all_in().await?;

    let mut samples = Vec::new();
    let spans =
        break_things(options, &mut world, &control, Plan::new(seed, faults.clone()), &mut samples).await?;
    while crowd.publishers.join_next().await.is_some() {}
    let healed = control.now();
    let streams = auditor::streams(&crowd.gateways, &crowd.token, &crowd.rooms).await?;
    let tops = streams.iter().filter_map(|(room, entries)| Some((room.clone(), entries.last()?.position)));
    crowd.wait_for(&tops.collect::<Vec<_>>(), Duration::from_secs(options.catch_up)).await;
    samples.extend(look(&world, &control));
    control.order(|orders| orders.over = true);
    while crowd.clients.join_next().await.is_some() {}

    let history = History {
        lossless: !faults.iter().any(|fault| fault.loses()),
        clients: crowd.notes.iter().map(|notes| notes.borrow().client.clone()).collect(),
        publications: crowd.ledger.take(),
        streams,
        faults: spans,
        samples,
        healed,
    };
    let limits = Limits { catch_up: options.catch_up * 1000, resident: 400 << 20, files: 512 };
    Ok(Outcome::judge(seed, options.topology, history, &limits))
}

/// Everybody who uses the cluster.
struct Crowd {
    clients: JoinSet<()>,
    publishers: JoinSet<()>,
    notes: Vec<SharedNotes>,
    ledger: Ledger,
    rooms: Vec<String>,
    gateways: Rc<[Endpoint]>,
    token: String,
}

impl Crowd {
    fn start(
        options: &ChaosOptions,
        world: &World,
        control: &Control,
        mint: &Mint,
        seed: u64,
    ) -> Result<Self> {
        let mut random = StdRng::seed_from_u64(seed);
        let rooms: Vec<String> = (0..options.rooms).map(|index| format!("room-{index}")).collect();
        let endpoint =
            |node: &super::node::Node, path: &str| format!("http://{}{path}", node.address()).parse();
        let gateways =
            world.gateways.iter().map(|node| endpoint(node, "/ws")).collect::<Result<Rc<[_]>>>()?;
        let fanouts = world.fanouts.iter().map(|node| endpoint(node, "/v1/publish"));
        let fanouts = fanouts.collect::<Result<Rc<[_]>>>()?;
        let mut crowd = Self {
            clients: JoinSet::new(),
            publishers: JoinSet::new(),
            notes: Vec::new(),
            ledger: Ledger::default(),
            rooms: rooms.clone(),
            gateways: Rc::clone(&gateways),
            token: mint.token("auditor")?,
        };
        for index in 0..options.clients {
            let name = format!("client-{index}");
            let own = |room: &usize| room % 2 == index % 2;
            let listed: Vec<String> =
                rooms.iter().zip(0..).filter(|(_, at)| own(at)).map(|(r, _)| r.clone()).collect();
            let list: Vec<&str> = listed.iter().map(String::as_str).collect();
            let token = mint.token_for(&name, &list)?;
            // Every client also asks for what is not its own.
            let asks = rooms.clone();
            let notes =
                Notes { client: Client { name, rooms: listed, events: Vec::new() }, ..Notes::default() };
            let notes = Rc::new(RefCell::new(notes));
            crowd.notes.push(Rc::clone(&notes));
            let terms =
                client::Terms { index, token, asks, gateways: Rc::clone(&gateways), seed: random.random() };
            crowd.clients.spawn_local(client::run(terms, control.clone(), notes));
        }
        let rooms: Rc<[String]> = rooms.into();
        for index in 0..options.publishers {
            let terms = publisher::Terms {
                name: format!("p{index}"),
                token: mint.token("publisher")?,
                rooms: Rc::clone(&rooms),
                fanouts: Rc::clone(&fanouts),
                seed: random.random(),
            };
            crowd.publishers.spawn_local(publisher::run(terms, control.clone(), Rc::clone(&crowd.ledger)));
        }
        Ok(crowd)
    }

    /// Waits until every client is in all its rooms.
    async fn all_in(&self) -> Result<()> {
        let deadline = Instant::now() + ENTER;
        let is_in = |notes: &SharedNotes| {
            let notes = notes.borrow();
            notes.client.rooms.iter().all(|room| notes.places.contains_key(room))
        };
        while !self.notes.iter().all(is_in) {
            ensure!(Instant::now() < deadline, "the clients do not get into their rooms");
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Waits until every client stands at the top of each of its rooms, or the time is over.
    async fn wait_for(&self, tops: &[(String, Position)], limit: Duration) {
        let deadline = Instant::now() + limit;
        let complete = |notes: &SharedNotes| {
            let notes = notes.borrow();
            let mut own = tops.iter().filter(|(room, _)| notes.client.rooms.contains(room));
            own.all(|(room, top)| notes.places.get(room) == Some(top))
        };
        while !self.notes.iter().all(complete) && Instant::now() < deadline {
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Breaks one thing after the other until the time is over and each had its turn. Publishing ends while the last
/// one is broken: whoever missed the end of a stream must find out without another message.
async fn break_things(
    options: &ChaosOptions,
    world: &mut World,
    control: &Control,
    plan: Plan,
    samples: &mut Vec<Sample>,
) -> Result<Vec<Span>> {
    let wanted = options.faults()?.len();
    let end = Instant::now() + Duration::from_secs(options.seconds);
    let mut spans: Vec<Span> = Vec::new();
    for step in plan {
        sleep(step.pause).await;
        let last = spans.len() + 1 >= wanted && Instant::now() + step.hold >= end;
        let begun = control.now();
        let hold = async {
            sleep(step.hold).await;
            if last {
                control.order(|orders| orders.load = None);
                // What is under way is given up or comes through; a broken fanout may need the end of this fault.
                sleep(Duration::from_millis(300)).await;
            }
        };
        nemesis::strike(world, &step, control, hold).await.with_context(|| step.fault.name())?;
        let fault = format!("{} {}", step.fault.name(), step.target % options.gateways);
        spans.push(Span { fault, begun, ended: control.now() });
        samples.extend(look(world, control));
        if last {
            return Ok(spans);
        }
    }
    // Nothing to break: the cluster is left alone.
    sleep(end.saturating_duration_since(Instant::now())).await;
    control.order(|orders| orders.load = None);
    Ok(spans)
}

/// What the processes take now. One that just ended takes nothing.
fn look(world: &World, control: &Control) -> Vec<Sample> {
    let sample = |(process, pid): (String, u32)| {
        let (resident, files) = (resident_bytes(pid).ok()?, open_files(pid).ok()?);
        Some(Sample { process, at: control.now(), resident: resident as u64, files })
    };
    world.processes().into_iter().filter_map(sample).collect()
}
