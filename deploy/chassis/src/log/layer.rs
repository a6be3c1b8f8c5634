//! Turns events of `tracing` into lines.

use std::time::SystemTime;

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::line::{Fields, Line, Style};

/// Writes each event as one line, with one call of `write`.
pub(super) struct LineLayer<W> {
    style: Style,
    write: W,
}

impl<W: Fn(&[u8])> LineLayer<W> {
    pub(super) const fn new(style: Style, write: W) -> Self {
        Self { style, write }
    }
}

impl<S, W> Layer<S> for LineLayer<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: Fn(&[u8]) + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().replace(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let spans: Vec<Fields> = context
            .event_scope(event)
            .into_iter()
            .flatten()
            .filter_map(|span| span.extensions().get::<Fields>().cloned())
            .collect();
        let metadata = event.metadata();
        let line = Line {
            time: SystemTime::now(),
            level: *metadata.level(),
            target: metadata.target(),
            fields: &fields,
            spans: &spans,
        };
        (self.write)(line.write(&self.style).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;
    use serde_json::{Value, json};
    use tracing_subscriber::Registry;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// What is written while a function runs.
    fn written(style: Style, log: impl FnOnce()) -> String {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        let layer = LineLayer::new(style, move |line: &[u8]| sink.lock().extend_from_slice(line));
        tracing::subscriber::with_default(Registry::default().with(layer), log);
        let bytes = lines.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn json(log: impl FnOnce()) -> Vec<Value> {
        let labels = vec![("node", "n1".to_owned())];
        let text = written(Style::Json { labels }, log);
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The styles that lines can have.
    fn styles() -> [Style; 2] {
        [Style::Json { labels: Vec::new() }, Style::Pretty { colour: true }]
    }

    #[test]
    fn a_line_of_json_tells_the_event_and_the_spans_around_it() {
        let lines = json(|| {
            let _outer = tracing::info_span!("connection", peer = "127.0.0.1:1", code = 1).entered();
            let inner = tracing::info_span!("session", user = tracing::field::Empty, code = 2).entered();
            inner.record("user", "ann");
            tracing::warn!(bytes = 7_u64, ok = false, ratio = 0.5, node = "fake", "closed {}", "it");
        });
        let mut line = lines[0].clone();
        let time = line.as_object_mut().unwrap().remove("time").unwrap();
        assert!(time.as_str().unwrap().parse::<humantime::Timestamp>().is_ok(), "{time}");
        assert_eq!(
            line,
            json!({
                "level": "WARN", "target": module_path!(), "message": "closed it", "node": "n1",
                "bytes": 7, "ok": false, "ratio": 0.5, "peer": "127.0.0.1:1", "user": "ann", "code": 2,
            })
        );
    }

    #[test]
    fn a_line_for_people_begins_with_what_matters() {
        let text = written(Style::Pretty { colour: false }, || {
            tracing::info!(address = "127.0.0.1:1", text = "a b", count = 3, "listening");
        });
        let (time, rest) = text.split_at(12);
        assert!(time.chars().all(|letter| letter.is_ascii_digit() || matches!(letter, ':' | '.')), "{time}");
        assert_eq!(rest, " INFO  listening  address=127.0.0.1:1  text=\"a b\"  count=3\n");
    }

    #[test]
    fn no_secret_is_written_whatever_it_stands_in() {
        #[derive(Debug)]
        #[expect(dead_code, reason = "read by its debug output alone")]
        struct Hello {
            token: Option<&'static str>,
        }
        #[derive(Debug, thiserror::Error)]
        #[error("cannot log in")]
        struct Outer(#[source] std::io::Error);

        for style in styles() {
            let text = written(style, || {
                let _span =
                    tracing::info_span!("login", token = "canary", url = "redis://:canary@h").entered();
                tracing::info!("message with eyJhbGciOi.canary.canary and token=canary");
                tracing::info!(password = 12_345_678, "a number");
                tracing::info!(hello = ?Hello { token: Some("canary") }, "a struct");
                tracing::info!(frame = r#"{"type":"auth","token":"canary"}"#, "a frame");
                tracing::info!(uri = %"/ws?access_token=canary", "a path");
                tracing::info!(headers = ?[("authorization", "Bearer canary")], "headers");
                let error = Outer(std::io::Error::other("redis://user:canary@host refused"));
                tracing::info!(error = &error as &dyn std::error::Error, "an error with a source");
            });
            assert_eq!(text.lines().count(), 7, "{text}");
            assert!(!text.contains("canary") && !text.contains("12345678"), "{text}");
            assert!(text.contains("cannot log in: redis://[redacted]@host refused"), "{text}");
        }
    }

    #[test]
    fn no_value_makes_a_second_line_or_one_without_end() {
        let long = "é".repeat(100_000);
        for style in styles() {
            let text = written(style, || {
                tracing::info!(name = "a\nERROR", "b\r\n\u{1b}[2Jc");
                tracing::info!(long, "end");
            });
            assert_eq!(text.lines().count(), 2, "{text}");
            assert!(!text.contains("\u{1b}[2J"), "{text}");
            assert!(text.len() < 5000);
        }
    }
}
