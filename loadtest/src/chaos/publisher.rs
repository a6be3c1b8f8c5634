//! A publisher that does not give up soon: it repeats a message under its id until somebody acknowledges it.

use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use proto::Position;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use super::control::{Control, Ledger, Load};
use super::history::Publication;
use crate::connection::Endpoint;
use crate::http;

/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(2);

/// How long a message is tried. Well within the time for which ids are remembered.
const PATIENCE: Duration = Duration::from_secs(12);

/// Who a publisher is.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    /// What the ids of its messages begin with.
    pub(super) name: String,
    /// Its token.
    pub(super) token: String,
    /// Where it publishes.
    pub(super) rooms: Rc<[String]>,
    /// Whom it asks to.
    pub(super) fanouts: Rc<[Endpoint]>,
    /// What its choices follow from.
    pub(super) seed: u64,
}

/// Publishes for as long as the orders name a load.
pub(super) async fn run(terms: Terms, control: Control, ledger: Ledger) {
    let mut random = StdRng::seed_from_u64(terms.seed);
    let mut connection = None;
    let mut orders = control.orders();
    let mut number = 0;
    loop {
        let Some(load) = orders.borrow_and_update().load else { return };
        number += 1;
        let room = random.random_range(0..terms.rooms.len());
        let Some(room) = terms.rooms.get(room) else { return };
        let id = format!("{}-{number}", terms.name);
        let publication = publish(&terms, &control, &mut random, &mut connection, room, &id, load).await;
        ledger.borrow_mut().push(publication);
        tokio::select! {
            () = sleep(load.rest) => {}
            changed = orders.changed() => if changed.is_err() { return },
        }
    }
}

async fn publish(
    terms: &Terms,
    control: &Control,
    random: &mut StdRng,
    connection: &mut Option<http::Client>,
    room: &str,
    id: &str,
    load: Load,
) -> Publication {
    let pad = "x".repeat(load.size);
    let data = json!({ "room": room, "pad": pad });
    let body = json!({ "to": { "room": room }, "event": "chaos", "id": id, "data": data }).to_string();
    let (begun, began) = (control.now(), Instant::now());
    let (mut attempts, mut acknowledged) = (0, None);
    while acknowledged.is_none() && began.elapsed() < PATIENCE {
        attempts += 1;
        let tried = timeout(ATTEMPT, attempt(terms, random, connection, body.as_bytes())).await;
        match tried {
            Ok(Ok(position)) => acknowledged = Some(position),
            // What was not answered may still be; on this connection nothing can be asked any more.
            Ok(Err(_)) | Err(_) => {
                *connection = None;
                sleep(Duration::from_millis(random.random_range(20..150))).await;
            }
        }
    }
    let (id, room) = (id.to_owned(), room.to_owned());
    Publication { id, room, begun, ended: control.now(), attempts, acknowledged }
}

async fn attempt(
    terms: &Terms,
    random: &mut StdRng,
    connection: &mut Option<http::Client>,
    body: &[u8],
) -> Result<Position> {
    let client = match connection {
        Some(client) => client,
        None => {
            let fanout = random.random_range(0..terms.fanouts.len());
            let fanout = terms.fanouts.get(fanout).context("no fanout")?;
            connection.insert(http::Client::open(fanout, &terms.token).await?)
        }
    };
    client.publish(body).await
}
