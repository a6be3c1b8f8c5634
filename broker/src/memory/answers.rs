//! Answers of nodes to each other's questions.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::Question;
use crate::control::ANSWERS_KEPT;

/// What was answered lately.
#[derive(Default)]
pub(super) struct Answers {
    kept: Mutex<HashMap<Question, (Instant, Vec<Bytes>)>>,
    news: Notify,
}

impl Answers {
    /// Leaves an answer.
    pub(super) fn leave(&self, question: &Question, answer: Bytes) {
        let now = Instant::now();
        {
            let mut kept = self.kept.lock();
            kept.retain(|_, (since, _)| now.duration_since(*since) < ANSWERS_KEPT);
            kept.entry(question.clone()).or_insert_with(|| (now, Vec::new())).1.push(answer);
        }
        self.news.notify_waiters();
    }

    /// Waits for so many answers, and takes those that came.
    pub(super) async fn gather(&self, question: &Question, count: u64, patience: Duration) -> Vec<Bytes> {
        let deadline = Instant::now() + patience;
        loop {
            let news = self.news.notified();
            let enough = {
                let kept = self.kept.lock();
                kept.get(question).map_or(0, |(_, answers)| answers.len() as u64) >= count
            };
            if enough || timeout_at(deadline, news).await.is_err() {
                return self.kept.lock().remove(question).map(|(_, answers)| answers).unwrap_or_default();
            }
        }
    }
}
