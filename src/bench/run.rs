//! One run of one scenario: the counters around it, the replies in it, and what becomes of them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use crate::cases::CaseSet;
use crate::domain::{
    CaseOutcome, CounterDelta, PointWindow, RequestRecord, Role, ScenarioResult, ScenarioSpec, Validity,
    ValidityReason, Verdict,
};

use super::chat::{AnswerLength, ChatParts, ChatRequest, Delivery, Keep, Reply};
use super::client::Client;
use super::context::{Activity, Context};
use super::figures::Figures;
use super::prompt::{Prompt, PromptWriter, data_sha256};
use super::selfcheck::{SelfCheck, SelfReport};
use super::sender::{Purpose, Sender, Stop};
use super::{
    BenchError, canary, conversation, kv_cache, load, long_context, profile, reasoning, smoke, stability, standstill,
    tool_calling, usual, validity,
};
use crate::prometheus::Scrape;

/// The prefix of the engine's own series.
const ENGINE_PREFIX: &str = "vllm:";

/// SHA-256 of the prompts that a scenario sends, the nonce apart, first 16 hexadecimal digits: known before any server is.
/// `cases` are the data of the suite.
#[must_use]
pub fn data_sha256_of(seed: u64, spec: &ScenarioSpec, cases: &CaseSet) -> String {
    // Plain data; if it could not be written, the error's text would still be a function of the content.
    let json = serde_json::to_string(spec).unwrap_or_else(|e| e.to_string());
    data_sha256(seed, &json, &texts_of(spec, cases))
}

/// What a scenario sends besides seeded words: its texts, or the hash of the data that hold them.
fn texts_of<'c>(spec: &ScenarioSpec, cases: &'c CaseSet) -> Vec<&'c str> {
    match spec {
        ScenarioSpec::Conversation(_) => conversation::TEXTS.to_vec(),
        ScenarioSpec::ToolCalling(_) | ScenarioSpec::Reasoning(_) | ScenarioSpec::Canary(_) => {
            cases.sha256_for(spec).into_iter().collect()
        }
        ScenarioSpec::Smoke(_)
        | ScenarioSpec::KvCache(_)
        | ScenarioSpec::Load(_)
        | ScenarioSpec::Stability(_)
        | ScenarioSpec::LongContext(_)
        | ScenarioSpec::Profile(_) => Vec::new(),
    }
}

/// Runs one scenario to its end.
///
/// # Errors
/// [`BenchError::ServerUnusable`] when the server died or hangs, [`BenchError::Cancelled`] on the context's cancel, both with what was
/// measured before; [`BenchError::Internal`] for a bug of ours. A request that fails on a live server is no error but a record.
pub async fn run_scenario(client: &Client, spec: &ScenarioSpec, ctx: &Context) -> Result<ScenarioResult, BenchError> {
    let mut run = Run::begin(client, spec, ctx).await?;
    let sender = Arc::clone(&run.sender);
    let outcome = tokio::select! {
        biased;
        outcome = work(&mut run, spec) => outcome,
        (how, evidence) = standstill::watch(client, &sender, ctx.timeouts.standstill) => Err(Stop::Unusable(how, evidence)),
    };
    match outcome {
        Ok(()) => Ok(run.finish().await),
        Err(Stop::Internal(error)) => Err(error),
        Err(Stop::Cancelled) => {
            run.validity.add(Verdict::Invalid, ValidityReason::TooFewSamples, "the scenario was cancelled");
            Err(BenchError::Cancelled { partial: Box::new(run.close(Vec::new())) })
        }
        Err(Stop::Unusable(how, evidence)) => {
            let sentence = format!("the server became unusable ({how}): {evidence}");
            run.validity.add(Verdict::Invalid, ValidityReason::RequestsFailed, sentence);
            Err(BenchError::ServerUnusable { how, evidence, partial: Box::new(run.close(Vec::new())) })
        }
    }
}

async fn work(run: &mut Run<'_>, spec: &ScenarioSpec) -> Result<(), Stop> {
    match spec {
        ScenarioSpec::Smoke(spec) => smoke::run(run, spec).await,
        ScenarioSpec::KvCache(spec) => kv_cache::run(run, spec).await,
        ScenarioSpec::Load(spec) => load::run(run, spec).await,
        ScenarioSpec::Conversation(spec) => conversation::run(run, spec).await,
        ScenarioSpec::Stability(spec) => stability::run(run, spec).await,
        ScenarioSpec::LongContext(spec) => long_context::run(run, spec).await,
        ScenarioSpec::Profile(spec) => profile::run(run, spec).await,
        ScenarioSpec::ToolCalling(spec) => tool_calling::run(run, spec).await,
        ScenarioSpec::Reasoning(spec) => reasoning::run(run, spec).await,
        ScenarioSpec::Canary(spec) => canary::run(run, spec).await,
    }
}

/// How the length of an answer is fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FixedBy {
    MinTokens,
    IgnoreEosAlone,
}

impl FixedBy {
    const fn of(self, tokens: u32) -> AnswerLength {
        match self {
            Self::MinTokens => AnswerLength::Exactly(tokens),
            Self::IgnoreEosAlone => AnswerLength::ExactlyIgnoringEos(tokens),
        }
    }
}

/// Builds requests whose answers have a fixed length, as this engine takes them.
#[derive(Clone, Debug)]
pub(super) struct Timed {
    model: Arc<str>,
    fixed_length: FixedBy,
}

impl Timed {
    /// A streamed request whose answer has exactly `output_tokens`.
    pub(super) fn request(&self, messages: Value, output_tokens: u32, keep: Keep) -> Result<ChatRequest, BenchError> {
        ChatRequest::build(ChatParts {
            model: &self.model,
            messages,
            length: self.fixed_length.of(output_tokens),
            delivery: Delivery::Streamed,
            keep,
            extra: serde_json::Map::new(),
        })
    }
}

/// The run.
#[derive(Debug)]
pub(super) struct Run<'a> {
    pub(super) client: &'a Client,
    pub(super) ctx: &'a Context,
    pub(super) sender: Arc<Sender>,
    pub(super) prompts: PromptWriter<'a>,
    pub(super) figures: Figures,
    pub(super) validity: Validity,
    pub(super) replies: Vec<Reply>,
    /// Where the rates of its points were counted.
    pub(super) windows: Vec<PointWindow>,
    /// What became of each case.
    pub(super) cases: Vec<CaseOutcome>,
    /// How the length of an answer is fixed on this engine.
    fixed_length: FixedBy,
    /// Watches the client while something is measured.
    watch: Option<SelfCheck>,
    /// What the watches saw that the scenario did not take for itself.
    watched: SelfReport,
    spec: ScenarioSpec,
    data_sha256: String,
    started_at: String,
    started: Instant,
    before: Option<Scrape>,
}

impl<'a> Run<'a> {
    async fn begin(client: &'a Client, spec: &ScenarioSpec, ctx: &'a Context) -> Result<Self, BenchError> {
        ctx.progress.send_replace(super::Progress::default());
        let before = ctx.cancel.run_until_cancelled(scrape(client)).await.flatten();
        Ok(Self {
            client,
            ctx,
            sender: Arc::new(Sender::new(client, ctx)),
            prompts: PromptWriter::new(client, ctx.seed, &ctx.run_nonce),
            figures: Figures::new(spec.kind(), ctx.seed),
            validity: Validity::default(),
            replies: Vec::new(),
            windows: Vec::new(),
            cases: Vec::new(),
            fixed_length: FixedBy::MinTokens,
            watch: None,
            watched: SelfReport::default(),
            spec: spec.clone(),
            data_sha256: data_sha256_of(ctx.seed, spec, &ctx.cases),
            started_at: jiff::Timestamp::now().to_string(),
            started: Instant::now(),
            before,
        })
    }

    /// Something else is done from now on. While it is measured, the client watches itself.
    pub(super) fn begin_point(&mut self, activity: Activity) {
        let seen = self.end_watch();
        self.watched.add(seen);
        self.sender.begin_point(activity);
        self.watch = (activity == Activity::Measuring).then(SelfCheck::start);
    }

    /// What the client saw of itself since the measured point began, for a scenario that judges each of its points.
    pub(super) fn end_watch(&mut self) -> SelfReport {
        self.watch.take().map(SelfCheck::finish).unwrap_or_default()
    }

    /// Requests that will be sent, warm-up included.
    pub(super) fn expect_requests(&self, total: usize) {
        self.ctx.progress.send_modify(|p| p.requests_total = Some(total as u64));
    }

    /// Sends one request, keeps its reply (the last one in `replies`), and looks after the server when it failed.
    pub(super) async fn send(&mut self, request: &ChatRequest, purpose: &Purpose) -> Result<RequestRecord, Stop> {
        let (record, goes_on) = self.send_and_tell(request, purpose).await;
        goes_on.map(|()| record)
    }

    /// Like [`Self::send`], with the record also of the request that ends the run.
    pub(super) async fn send_and_tell(
        &mut self,
        request: &ChatRequest,
        purpose: &Purpose,
    ) -> (RequestRecord, Result<(), Stop>) {
        let reply = self.sender.send(request, purpose, &self.ctx.cancel).await;
        let record = reply.record.clone();
        self.replies.push(reply);
        let goes_on = self.sender.check(&record).await;
        (record, goes_on)
    }

    /// A prompt of `tokens` tokens; see [`PromptWriter::prompt`].
    pub(super) async fn prompt(&self, key: &str, tokens: u32) -> Result<Prompt, Stop> {
        Ok(self.or_cancelled(self.prompts.prompt(key, tokens)).await??)
    }

    /// A control call's result, unless the run is cancelled before.
    pub(super) async fn or_cancelled<T>(&self, call: impl Future<Output = T>) -> Result<T, Stop> {
        tokio::select! {
            biased;
            () = self.ctx.cancel.cancelled() => Err(Stop::Cancelled),
            result = call => Ok(result),
        }
    }

    /// What builds requests of a fixed answer length, for those who send without the run.
    pub(super) fn timed(&self) -> Timed {
        Timed { model: self.client.model().into(), fixed_length: self.fixed_length }
    }

    /// A streamed request whose answer has exactly `output_tokens`.
    pub(super) fn timed_request(&self, prompt: &Prompt, output_tokens: u32) -> Result<ChatRequest, BenchError> {
        self.timed().request(prompt.messages.clone(), output_tokens, Keep::Timing)
    }

    /// Sends a request that is stored and not measured. Where the engine refuses `min_tokens`, it is sent again without, and so
    /// are all timed requests built afterwards.
    pub(super) async fn warm_up(
        &mut self,
        prompt: &Prompt,
        output_tokens: u32,
        point: Option<&str>,
    ) -> Result<(), Stop> {
        let purpose = Purpose {
            point: point.map(str::to_owned),
            role: Role::Warmup,
            user_number: None,
            measured: false,
            intended_ms: None,
        };
        let request = self.timed_request(prompt, output_tokens)?;
        let record = self.send(&request, &purpose).await?;
        let refused = !record.end.is_complete() && record.error.as_deref().is_some_and(|e| e.contains("min_tokens"));
        if refused && self.fixed_length == FixedBy::MinTokens {
            self.fixed_length = FixedBy::IgnoreEosAlone;
            let sentence = "the engine refuses `min_tokens`: answers were fixed by `ignore_eos` alone, so tokens without text may lie in them";
            self.validity.add(Verdict::Valid, ValidityReason::TokenCountsDisagree, sentence);
            let request = self.timed_request(prompt, output_tokens)?;
            self.send(&request, &purpose).await?;
        }
        Ok(())
    }

    /// The engine's context length: what the caller knows, else what the server says.
    pub(super) async fn max_model_len(&self) -> Result<Option<u32>, Stop> {
        match self.ctx.max_model_len {
            Some(limit) => Ok(Some(limit)),
            None => {
                let models = self.or_cancelled(self.client.models()).await?;
                Ok(models.ok().and_then(|(_, limit)| limit))
            }
        }
    }

    /// The engine's counters now; `None` where it shows none.
    pub(super) async fn scrape(&self) -> Result<Option<Scrape>, Stop> {
        self.or_cancelled(scrape(self.client)).await
    }

    async fn finish(mut self) -> ScenarioResult {
        let seen = self.end_watch();
        self.watched.add(seen);
        validity::of_times(&mut self.validity, &self.spec, &self.watched, &self.replies);
        let counters = match (&self.before, self.ctx.cancel.run_until_cancelled(scrape(self.client)).await.flatten()) {
            (Some(before), Some(after)) => {
                validity::restarted(&mut self.validity, before, &after);
                deltas(before, &after)
            }
            (None, _) | (_, None) => Vec::new(),
        };
        validity::of_counters(&mut self.validity, &counters, &self.replies);
        usual::judge(&mut self.validity, &self.figures.metrics, self.ctx.prefix_caching);
        self.close(counters)
    }

    fn close(mut self, counters: Vec<CounterDelta>) -> ScenarioResult {
        self.replies.sort_by_key(|r| r.record.index);
        ScenarioResult {
            spec: self.spec,
            data_sha256: self.data_sha256,
            started_at: self.started_at,
            elapsed_s: self.started.elapsed().as_secs_f64(),
            requests: self.replies.into_iter().map(|r| r.record).collect(),
            metrics: self.figures.metrics,
            windows: self.windows,
            counters,
            validity: self.validity,
            cases: self.cases,
        }
    }
}

async fn scrape(client: &Client) -> Option<Scrape> {
    client.metrics().await.ok().map(|text| Scrape::parse(&text)).filter(|s| !s.samples.is_empty())
}

/// The engine's counters that both scrapes show.
fn deltas(before: &Scrape, after: &Scrape) -> Vec<CounterDelta> {
    let is_counter = |name: &&str| name.starts_with(ENGINE_PREFIX) && name.ends_with("_total");
    let names: BTreeSet<&str> = after.samples.iter().map(|s| s.name.as_str()).filter(is_counter).collect();
    names
        .into_iter()
        .filter_map(|name| {
            // a counter with labels may appear with its first event: it was 0 before
            let (before, after) = (before.sum(name).unwrap_or(0.0), after.sum(name)?);
            Some(CounterDelta { name: name.to_owned(), before, after })
        })
        .collect()
}
