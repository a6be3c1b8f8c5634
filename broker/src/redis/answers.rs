//! Answers of nodes, left in Redis for whoever asked.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use fred::interfaces::HashesInterface;
use fred::types::Value;
use fred::types::scripts::Script;
use tokio::time::{Instant, sleep_until};

use super::commands::Commands;
use super::keys::Keys;
use super::retry::Repeat;
use crate::control::ANSWERS_KEPT;
use crate::{Question, Unavailable};

static ANSWER: LazyLock<Script> = LazyLock::new(|| Script::from_lua(include_str!("scripts/answer.lua")));

/// How often to look for answers: soon at first, since nodes answer at once, then ever more seldom.
const FIRST_LOOK: Duration = Duration::from_millis(2);
const LAST_LOOK: Duration = Duration::from_millis(100);

/// The answers to all questions.
#[derive(Clone)]
pub(super) struct Answers {
    commands: Commands,
    keys: Keys,
}

impl Answers {
    pub(super) const fn new(commands: Commands, keys: Keys) -> Self {
        Self { commands, keys }
    }

    /// Leaves an answer.
    pub(super) async fn leave(&self, question: &Question, answer: &Bytes) -> Result<(), Unavailable> {
        let keys = [self.keys.answers(question)];
        let name = format!("{:032x}", rand::random::<u128>());
        let kept = ANSWERS_KEPT.as_millis().to_string();
        let arguments: [Value; 3] = [name.into(), answer.clone().into(), kept.into()];
        let _: u64 = self.commands.script(Repeat::Harmless, &ANSWER, &keys, |_| arguments.to_vec()).await?;
        Ok(())
    }

    /// Waits for so many answers, and gives those that came.
    pub(super) async fn gather(
        &self,
        question: &Question,
        count: u64,
        patience: Duration,
    ) -> Result<Vec<Bytes>, Unavailable> {
        let (deadline, mut wait) = (Instant::now() + patience, FIRST_LOOK);
        loop {
            if count == 0 {
                return Ok(Vec::new());
            }
            let answers = self.look(question).await?;
            let now = Instant::now();
            if answers.len() as u64 >= count || now >= deadline {
                return Ok(answers);
            }
            sleep_until(deadline.min(now + wait)).await;
            wait = (wait * 2).min(LAST_LOOK);
        }
    }

    async fn look(&self, question: &Question) -> Result<Vec<Bytes>, Unavailable> {
        let key = self.keys.answers(question);
        self.commands
            .run(Repeat::Harmless, |client, _| {
                let key = key.clone();
                async move { client.hvals(key).await }
            })
            .await
    }
}
