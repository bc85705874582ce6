//! The requests of one point, built before any clock runs.

use std::collections::HashMap;

use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};

use crate::domain::{LoadSpec, TracePrompt, TraceRequest};

use super::super::BenchError;
use super::super::chat::{ChatRequest, Keep};
use super::super::run::Run;
use super::super::sender::Stop;
use super::arrivals::arrivals;
use super::closed::Feed;
use super::stage::{Shape, Stage, conversations, turns};
use super::turns::Conversation;

/// Prompts that are tokenized at once.
const PROMPTS_AT_ONCE: usize = 8;

/// What is ready to be sent.
pub(super) enum Prepared {
    /// One feed per user, of about `each` requests.
    Users { feeds: Vec<Feed>, each: usize },
    /// One script per user.
    Conversations(Vec<Vec<Conversation>>),
    /// Requests with their arrivals, s from the start.
    Arrivals { requests: Vec<ChatRequest>, arrivals_s: Vec<f64> },
}

/// Builds one point's requests.
pub(super) struct Preparation<'a, 'r> {
    pub(super) run: &'a Run<'r>,
    pub(super) spec: &'a LoadSpec,
    pub(super) stage: &'a Stage,
    /// Where the length of each answer of a trace is noted, by the body of its request.
    pub(super) answer_tokens: &'a mut HashMap<String, u32>,
}

impl Preparation<'_, '_> {
    pub(super) async fn prepare(mut self) -> Result<Prepared, Stop> {
        let (spec, point) = (self.spec, &self.stage.point);
        match self.stage.shape {
            Shape::Users(users) => {
                let each = spec.requests_per_user as usize;
                let keys = (0..users).flat_map(|u| (0..each).map(move |n| (u, n)));
                let keys = keys.map(|(u, n)| format!("load/{point}/u{u}/{n}")).collect();
                let requests = self.written(keys).await?;
                let feeds = requests.chunks(each.max(1)).map(|own| Feed::new(own.to_vec())).collect();
                Ok(Prepared::Users { feeds, each })
            }
            Shape::Conversations(users) => Ok(Prepared::Conversations(self.scripts(users).await?)),
            Shape::Rate(rate) => {
                let n = self.stage.requests(spec);
                let requests = self.written((0..n).map(|i| format!("load/{point}/{i}")).collect()).await?;
                let seed = arrival_seed(self.run.ctx.seed, rate);
                Ok(Prepared::Arrivals { requests, arrivals_s: arrivals(seed, rate, spec.burstiness, n) })
            }
            Shape::Share(share) => {
                let text = format!("{point}: a share of {share} is no rate yet");
                Err(Stop::Internal(BenchError::Internal(text)))
            }
            Shape::TraceUsers(users) => {
                let requests = self.traced().await?;
                let users = (users as usize).min(requests.len());
                let each = requests.len() / users.max(1);
                Ok(Prepared::Users { feeds: vec![Feed::new(requests); users], each })
            }
            Shape::TraceArrivals => {
                let arrivals_s = self.lines().iter().map(|line| line.arrival_s.unwrap_or(0.0)).collect();
                Ok(Prepared::Arrivals { requests: self.traced().await?, arrivals_s })
            }
        }
    }

    /// One request per key, at the point's length.
    async fn written(&self, keys: Vec<String>) -> Result<Vec<ChatRequest>, Stop> {
        let tokens = self.stage.prompt_tokens;
        let timed = self.run.timed();
        let built = |messages| Ok(timed.request(messages, self.spec.output_tokens, Keep::Timing)?);
        self.messages(keys.into_iter().map(|key| (key, tokens)).collect()).await?.into_iter().map(built).collect()
    }

    /// The messages of prompts with these keys and lengths.
    async fn messages(&self, prompts: Vec<(String, u32)>) -> Result<Vec<Value>, Stop> {
        let run = self.run;
        stream::iter(prompts)
            .map(|(key, tokens)| async move { Ok(run.prompt(&key, tokens).await?.messages) })
            .buffered(PROMPTS_AT_ONCE)
            .try_collect()
            .await
    }

    async fn scripts(&self, users: u32) -> Result<Vec<Vec<Conversation>>, Stop> {
        let (spec, point) = (self.spec, &self.stage.point);
        let (count, turns) = (conversations(spec), turns(spec));
        let mut prompts = Vec::new();
        for (user, number) in (0..users).flat_map(|u| (0..count).map(move |c| (u, c))) {
            for turn in 0..turns {
                let tokens = if turn == 0 { self.stage.prompt_tokens } else { spec.turn_tokens };
                prompts.push((format!("load/{point}/u{user}/{number}/{turn}"), tokens));
            }
        }
        let mut texts = self.messages(prompts).await?.into_iter().map(|messages| match messages {
            Value::Array(messages) => messages,
            other => vec![other],
        });
        let mut script = || -> Vec<Conversation> {
            let conversation = |_| {
                let opening = texts.next().unwrap_or_default();
                Conversation { opening, follow_ups: texts.by_ref().take(turns - 1).flatten().collect() }
            };
            (0..count).map(conversation).collect()
        };
        Ok((0..users).map(|_| script()).collect())
    }

    fn lines(&self) -> &[TraceRequest] {
        self.spec.trace.as_ref().map_or(&[], |trace| &trace.requests)
    }

    /// The trace's requests. What vgrid writes has a nonce of its own; the user's messages get one that is the same on every
    /// line of the point, so that what they share stays shared, and no point or run is served from another's prefix.
    async fn traced(&mut self) -> Result<Vec<ChatRequest>, Stop> {
        let point = self.stage.point.clone();
        let nonce = self.run.prompts.nonce(&format!("load/{point}"));
        let mut requests = Vec::new();
        for (number, line) in self.lines().to_vec().into_iter().enumerate() {
            let messages = match line.prompt {
                TracePrompt::Tokens(tokens) => {
                    self.run.prompt(&format!("load/{point}/{number}"), tokens).await?.messages
                }
                TracePrompt::Messages(mut messages) => {
                    mark(&mut messages, &nonce);
                    Value::Array(messages)
                }
            };
            let output_tokens = line.output_tokens.unwrap_or(self.spec.output_tokens);
            let request = self.run.timed().request(messages, output_tokens, Keep::Timing)?;
            self.answer_tokens.insert(request.body_sha256.clone(), output_tokens);
            requests.push(request);
        }
        Ok(requests)
    }
}

/// Puts the nonce before the first message's text.
fn mark(messages: &mut [Value], nonce: &str) {
    let Some(content) = messages.first_mut().and_then(|m| m.get_mut("content")) else { return };
    match content {
        Value::String(text) => text.insert_str(0, &format!("{nonce} ")),
        Value::Array(parts) => parts.insert(0, json!({"type": "text", "text": nonce})),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {}
    }
}

/// Each rate has its own arrivals.
const fn arrival_seed(seed: u64, rate: f64) -> u64 {
    seed ^ rate.to_bits().rotate_left(17)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nonce_stands_before_the_first_text_and_nowhere_else() {
        let mut plain = vec![json!({"role": "system", "content": "s"}), json!({"role": "user", "content": "u"})];
        mark(&mut plain, "00ff");
        assert_eq!(plain, [json!({"role": "system", "content": "00ff s"}), json!({"role": "user", "content": "u"})]);
        let mut parts = vec![json!({"role": "user", "content": [{"type": "text", "text": "u"}]})];
        mark(&mut parts, "00ff");
        assert_eq!(parts[0]["content"][0]["text"], "00ff");
    }
}
