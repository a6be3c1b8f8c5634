//! Reads the streams back, as any client may.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use proto::Position;
use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout};

use super::history::Entry;
use crate::connection::{Connection, Endpoint, SharedBuffer, prebuilt};

/// How long reading one room may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// How many publications to ask for at once: as many large ones as fit the buffer.
const PAGE: u32 = 10;

#[derive(Deserialize)]
struct Page {
    #[serde(rename = "type")]
    kind: String,
    /// What an error is called.
    code: Option<String>,
    #[serde(default)]
    messages: Vec<Item>,
    position: Option<Position>,
    #[serde(default)]
    more: bool,
}

#[derive(Deserialize)]
struct Item {
    position: Position,
    #[serde(rename = "messageId")]
    id: String,
}

/// The streams of these rooms, from whichever gateway answers.
///
/// # Errors
/// None of them does in time.
pub(super) async fn streams(
    gateways: &[Endpoint],
    token: &str,
    rooms: &[String],
) -> Result<BTreeMap<String, Vec<Entry>>> {
    let began = Instant::now();
    loop {
        for gateway in gateways {
            match timeout(PATIENCE, read_all(gateway, token, rooms)).await {
                Ok(Ok(streams)) => return Ok(streams),
                Ok(Err(error)) if began.elapsed() > PATIENCE => return Err(error),
                Err(_) if began.elapsed() > PATIENCE => bail!("no gateway tells what the streams hold"),
                Ok(Err(_)) | Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    }
}

async fn read_all(gateway: &Endpoint, token: &str, rooms: &[String]) -> Result<BTreeMap<String, Vec<Entry>>> {
    let mut connection = Connection::open(gateway, None, token).await?;
    let mut streams = BTreeMap::new();
    for room in rooms {
        streams.insert(room.clone(), read(&mut connection, room).await?);
    }
    Ok(streams)
}

async fn read(connection: &mut Connection, room: &str) -> Result<Vec<Entry>> {
    let buffer = SharedBuffer::default();
    let mut entries: Vec<Entry> = Vec::new();
    let mut since: Option<Position> = None;
    loop {
        let from = since.map_or_else(String::new, |since| format!(r#","since":"{since}""#));
        let request = format!(r#"{{"type":"history","room":"{room}","limit":{PAGE}{from}}}"#);
        connection.send(&prebuilt(&request)).await?;
        let (mut page, mut is_hasty) = (None, false);
        while page.is_none() && !is_hasty {
            let more = connection
                .receive(&buffer, |text| {
                    let said: Page = serde_json::from_slice(text)?;
                    is_hasty = said.code.as_deref() == Some("rate_limited");
                    ensure!(said.kind != "error" || is_hasty, "refused: {}", String::from_utf8_lossy(text));
                    page = (said.kind == "history").then_some(said);
                    Ok(())
                })
                .await?;
            ensure!(more, "the gateway hung up");
        }
        let Some(page) = page else {
            // A long stream has more pages than a session may ask for at once.
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        let items = page.messages.into_iter();
        entries.extend(items.map(|Item { position, id }| Entry { position, id }));
        if !page.more {
            return Ok(entries);
        }
        since = page.position;
    }
}
