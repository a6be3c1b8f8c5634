//! A run as a picture: one HTML file that needs nothing else.
//!
//! Time goes from left to right. At the top the faults; then a row for each room with what was published in it, then one
//! for each client with what it was given. Deliveries are counted in bins, so that the file stays small whatever the run.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use super::history::{Client, History, Millis, What};
use super::outcome::Outcome;

/// Width of the time axis, pixels.
const WIDTH: u64 = 1200;
/// Room for the names at the left, pixels.
const LEFT: u64 = 140;
/// Height of a row, pixels.
const ROW: u64 = 16;
/// How much time a bin of deliveries or publications covers.
const BIN: Millis = 100;
/// How much time lies between two marks of the axis.
const MARK: Millis = 5000;

const HEAD: &str = r#"<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Chaos run</title><style>
body { font: 13px/1.4 system-ui, sans-serif; margin: 24px; color: #222; background: #fff }
svg text { font: 11px system-ui, sans-serif; fill: #444 }
.fault { fill: #e8590c; fill-opacity: .18 } .grid { stroke: #ddd } .up { fill: #e7f5ff }
.seen { fill: #1971c2 } .sent { fill: #2f9e44 } .unsure { fill: #e03131 } .gap { fill: #e8590c } .end { stroke: #868e96 }
.violation { stroke: #e03131; stroke-width: 1.5 } pre { white-space: pre-wrap }
</style></head><body>
"#;

const LEGEND: &str = "<p>Green: published and acknowledged; red: given up. Blue: delivered; light blue: connected. \
                      Grey bar: a connection ended. Orange triangle: a gap was told. Orange band: something was broken. \
                      Red line: a promise was broken.</p>\n";

/// The page.
#[must_use]
pub fn page(outcome: &Outcome) -> String {
    let mut page = String::from(HEAD);
    // Writing to a string does not fail.
    let _ = draw(outcome, &mut page);
    page
}

fn draw(outcome: &Outcome, out: &mut String) -> fmt::Result {
    let history = &outcome.history;
    writeln!(out, "<h1>Chaos run {} on {:?}</h1>", outcome.seed, outcome.topology)?;
    writeln!(out, "<pre>{}</pre>{LEGEND}", escaped(&outcome.to_string()))?;
    let canvas = Canvas::of(history);
    canvas.frame(history, out)?;
    let mut row = 2;
    let mut rooms: BTreeMap<&str, Vec<(Millis, &str)>> = BTreeMap::new();
    for publication in &history.publications {
        let class = if publication.acknowledged.is_some() { "sent" } else { "unsure" };
        rooms.entry(&publication.room).or_default().push((publication.ended, class));
    }
    for (room, published) in &rooms {
        canvas.label(room, row, out)?;
        for class in ["sent", "unsure"] {
            let times = published.iter().filter(|(_, is)| *is == class).map(|(at, _)| *at);
            canvas.bins(times, class, row, out)?;
        }
        row += 1;
    }
    for client in &history.clients {
        canvas.client(client, row + 1, out)?;
        row += 1;
    }
    for violation in &outcome.violations {
        let x = canvas.x(violation.at);
        let what = escaped(&violation.to_string());
        writeln!(
            out,
            r#"<line class="violation" x1="{x}" x2="{x}" y1="0" y2="{}"><title>{what}</title></line>"#,
            canvas.height
        )?;
    }
    out.push_str("</svg></body></html>\n");
    Ok(())
}

/// How times and rows become places.
struct Canvas {
    end: Millis,
    height: u64,
}

impl Canvas {
    fn of(history: &History) -> Self {
        let seen = history.clients.iter().filter_map(|client| Some(client.events.last()?.at));
        let broken = history.faults.iter().map(|span| span.ended);
        let end = seen.chain(broken).chain([history.healed, 1]).max().unwrap_or(1);
        let rooms: std::collections::BTreeSet<_> = history.publications.iter().map(|one| &one.room).collect();
        let rows = 4 + rooms.len() + history.clients.len();
        Self { end, height: ROW * u64::try_from(rows).unwrap_or(u64::from(u16::MAX)) }
    }

    fn x(&self, at: Millis) -> u64 {
        LEFT + at.min(self.end) * WIDTH / self.end
    }

    fn frame(&self, history: &History, out: &mut String) -> fmt::Result {
        let (width, height) = (LEFT + WIDTH + 20, self.height);
        writeln!(out, r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">"#)?;
        for at in (0..=self.end).step_by(usize::try_from(MARK).unwrap_or(1)) {
            let x = self.x(at);
            writeln!(out, r#"<line class="grid" x1="{x}" x2="{x}" y1="{ROW}" y2="{height}"/>"#)?;
            writeln!(out, r#"<text x="{x}" y="{}">{} s</text>"#, height - 2, at / 1000)?;
        }
        for (index, span) in (0..).zip(&history.faults) {
            let (x, end) = (self.x(span.begun), self.x(span.ended));
            // Neighbours' names stand on two lines, so that they do not overlap.
            let (width, y) = ((end - x).max(2), if index % 2 == 0 { 11 } else { 11 + ROW });
            let name = escaped(&span.fault);
            writeln!(out, r#"<rect class="fault" x="{x}" y="0" width="{width}" height="{height}"/>"#)?;
            writeln!(out, r#"<text x="{x}" y="{y}">{name}</text>"#)?;
        }
        Ok(())
    }

    fn label(&self, name: &str, row: u64, out: &mut String) -> fmt::Result {
        writeln!(out, r#"<text x="4" y="{}">{}</text>"#, row * ROW + ROW - 4, escaped(name))
    }

    /// Bars as strong as there are many in their bin.
    fn bins(
        &self,
        times: impl Iterator<Item = Millis>,
        class: &str,
        row: u64,
        out: &mut String,
    ) -> fmt::Result {
        let mut bins: BTreeMap<Millis, u64> = BTreeMap::new();
        for at in times {
            *bins.entry(at / BIN).or_default() += 1;
        }
        for (bin, count) in bins {
            let (x, y, height) = (self.x(bin * BIN), row * ROW + 2, ROW - 4);
            let width = (BIN * WIDTH / self.end).max(1);
            let strength = (20 + count * 10).min(100);
            writeln!(
                out,
                r#"<rect class="{class}" x="{x}" y="{y}" width="{width}" height="{height}" opacity="{strength}%"/>"#
            )?;
        }
        Ok(())
    }

    fn client(&self, client: &Client, row: u64, out: &mut String) -> fmt::Result {
        self.label(&client.name, row, out)?;
        let (top, bottom) = (row * ROW, row * ROW + ROW);
        let mut connected = None;
        for event in &client.events {
            let x = self.x(event.at);
            match &event.what {
                What::Connected { .. } => connected = Some(x),
                What::Closed { .. } => {
                    if let Some(from) = connected.take() {
                        let width = x - from;
                        writeln!(
                            out,
                            r#"<rect class="up" x="{from}" y="{top}" width="{width}" height="{ROW}"/>"#
                        )?;
                    }
                    writeln!(out, r#"<line class="end" x1="{x}" x2="{x}" y1="{top}" y2="{bottom}"/>"#)?;
                }
                What::Joined { .. } | What::Message { .. } | What::Gap { .. } => {}
            }
        }
        let deliveries = client.events.iter().filter(|event| matches!(event.what, What::Message { .. }));
        self.bins(deliveries.map(|event| event.at), "seen", row, out)?;
        for event in &client.events {
            if let What::Gap { room, reason, position } = &event.what {
                let (x, what) =
                    (self.x(event.at), escaped(&format!("{room}: {reason:?}, on from {position}")));
                let (left, right) = (x.saturating_sub(4), x + 4);
                writeln!(
                    out,
                    r#"<polygon class="gap" points="{left},{bottom} {right},{bottom} {x},{top}"><title>{what}</title></polygon>"#
                )?;
            }
        }
        Ok(())
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use proto::{Epoch, Nonce, Position};

    use super::super::checker::Limits;
    use super::super::fault::Topology;
    use super::super::history::{Event, Publication, Reason, Span};
    use super::*;

    fn run(events: Vec<Event>) -> Outcome {
        let position = Position { epoch: Epoch(1), offset: 1, nonce: Nonce(1) };
        let publication = |id: &str, acknowledged| Publication {
            id: id.into(),
            room: "<room>".into(),
            begun: 1,
            ended: 10,
            attempts: 1,
            acknowledged,
        };
        let history = History {
            clients: vec![Client { name: "client-0".into(), rooms: vec!["<room>".into()], events }],
            publications: vec![publication("a", Some(position)), publication("b", None)],
            faults: vec![Span { fault: "kill-redis 0".into(), begun: 3, ended: 8000 }],
            healed: 9000,
            ..History::default()
        };
        let limits = Limits { catch_up: 1, resident: 1, files: 1 };
        Outcome::judge(42, Topology::Standalone, history, &limits)
    }

    #[test]
    fn everything_that_happened_has_its_shape() {
        let position = Position { epoch: Epoch(1), offset: 1, nonce: Nonce(1) };
        let room = "<room>".to_owned();
        let events = vec![
            Event { at: 1, what: What::Connected { gateway: 0 } },
            Event { at: 2, what: What::Gap { room: room.clone(), reason: Reason::Fork, position } },
            Event {
                at: 10,
                what: What::Message { room: room.clone(), meant_for: room, position, id: "a".into() },
            },
            Event { at: 20, what: What::Closed { code: None } },
        ];
        let page = page(&run(events));
        for shape in ["fault", "sent", "unsure", "seen", "gap", "up", "end", "violation"] {
            assert!(page.contains(&format!("class=\"{shape}\"")), "{shape}");
        }
        assert!(page.contains("kill-redis") && page.contains("&lt;room&gt;") && !page.contains("<room>"));
        assert!(!page.contains("src=") && !page.contains("href="), "it needs nothing else");
    }

    #[test]
    fn the_size_follows_from_the_time_not_from_the_messages() {
        let position = Position { epoch: Epoch(1), offset: 1, nonce: Nonce(1) };
        let message =
            || What::Message { room: "<room>".into(), meant_for: "<room>".into(), position, id: "a".into() };
        let events =
            |count: u64| (0..count).map(|index| Event { at: index % 100, what: message() }).collect();
        let bars = |count| page(&run(events(count))).matches("class=\"seen\"").count();
        assert_eq!((bars(100), bars(10_000)), (1, 1));
    }
}
