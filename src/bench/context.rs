//! What a scenario needs to know besides its parameters, and how it tells where it is.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::cases::CaseSet;
use crate::domain::ResolvedConfig;

use super::Timeouts;

/// Surroundings of one scenario of one attempt.
#[derive(Clone, Debug)]
pub struct Context {
    /// The suite's seed: the words of prompts and the resampling follow from it, so that all configs get the same work.
    pub seed: u64,
    /// Unique per attempt (e.g. a UUID): stands at the start of each prompt, so that no run is served from another's prefix.
    pub run_nonce: String,
    /// Whether prefix caching really is on, as the engine was read back; `None` where it did not say.
    pub prefix_caching: Option<bool>,
    /// The engine's context length, tokens; `None`: what `/v1/models` says counts.
    pub max_model_len: Option<u32>,
    /// Tokens that the KV cache holds, as the engine was read back; `None` where it did not say.
    pub kv_cache_tokens: Option<u64>,
    /// How many requests may run at once; `None` where neither the command nor the engine says.
    pub max_num_seqs: Option<u64>,
    /// The data of the scenarios that judge answers.
    pub cases: CaseSet,
    /// Patience per request.
    pub timeouts: Timeouts,
    /// Ends every request in flight at once.
    pub cancel: CancellationToken,
    /// Told after each request.
    pub progress: watch::Sender<Progress>,
}

impl Context {
    /// Default patience, shipped data, nobody watching.
    #[must_use]
    pub fn new(seed: u64, run_nonce: impl Into<String>, cancel: CancellationToken) -> Self {
        Self {
            seed,
            run_nonce: run_nonce.into(),
            prefix_caching: None,
            max_model_len: None,
            kv_cache_tokens: None,
            max_num_seqs: None,
            cases: CaseSet::shipped(),
            timeouts: Timeouts::default(),
            cancel,
            progress: watch::Sender::new(Progress::default()),
        }
    }

    /// Takes what the engine says of itself, as it was read back.
    pub fn learn(&mut self, engine: &ResolvedConfig) {
        self.prefix_caching = engine.get("enable-prefix-caching").map(|value| value == "on");
        self.max_model_len = engine.get("max-model-len").and_then(|value| value.parse().ok());
        self.kv_cache_tokens = engine.figures.get(ResolvedConfig::KV_CACHE_TOKENS).map(|tokens| *tokens as u64);
        self.max_num_seqs = engine.get("max-num-seqs").and_then(|value| value.parse().ok());
    }
}

/// What the scenario does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Activity {
    /// Prompts are being built.
    #[default]
    Preparing,
    /// Requests that are stored and never measured.
    WarmingUp,
    /// Nothing is asked, on purpose.
    Idle,
    /// Measured requests.
    Measuring,
}

/// Where a scenario is.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Progress {
    /// What it does.
    pub activity: Activity,
    /// Requests that ended, warm-up included.
    pub requests_done: u64,
    /// Requests that the scenario will send, warm-up included, where known.
    pub requests_total: Option<u64>,
    /// Completion tokens of ended requests since the scenario's current point began, per second.
    pub output_tokens_per_s: Option<f64>,
}
