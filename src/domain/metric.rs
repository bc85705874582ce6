//! A measured number: its path, unit, sample counts, interval and validity.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ScenarioKind;
use super::text_enum::text_enum;

/// The name of a metric, `scenario[.point].name[.statistic]`: `kv_cache.ttft_hit_ms.p50`,
/// `load.c4.ttft_ms.p95`, `load.output_tokens_per_s`.
///
/// A point is one setting of the scenario (`c4`: concurrency 4; `p1024`: prefix of 1,024 tokens). A path without a
/// point is the scenario's headline figure, whose rule `docs/metrics.md` states.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MetricPath {
    /// First part.
    pub scenario: ScenarioKind,
    /// Optional point, e.g. `c4`.
    pub point: Option<String>,
    /// Metric with its unit last, e.g. `ttft_hit_ms`.
    pub name: String,
    /// Optional statistic: `mean`, `min`, `max`, `p50`, `p90`, `p95`, `p99`.
    pub statistic: Option<String>,
}

impl MetricPath {
    /// Whether it is a change or a slope, which may lie on either side of 0. All others are sizes, shares and rates: never below it.
    #[must_use]
    pub(crate) fn is_change(&self) -> bool {
        const CHANGES: &[&str] =
            &["_drift_ratio", "_change_ratio", "_growth_ratio", "_growth", "_ms_per_turn", "_per_h"];
        CHANGES.iter().any(|end| self.name.ends_with(end))
    }

    /// Whether its point is a load whose requests arrive whatever becomes of the ones before them: a rate, or a trace's own times.
    #[must_use]
    pub(crate) fn is_of_open_loop(&self) -> bool {
        let rate =
            |p: &str| p.strip_prefix(['r', 's']).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        self.point.as_deref().is_some_and(|point| point == "trace" || rate(point))
    }

    /// Whether it only repeats what is measured from the sending: where nothing arrives by itself, nothing is late.
    #[must_use]
    pub(crate) fn repeats_what_was_sent<'p>(&self, mut all: impl Iterator<Item = &'p Self>) -> bool {
        self.name.ends_with("_from_intended_ms") && !all.any(Self::is_of_open_loop)
    }
}

/// The number in a point's name: 16 of `c16`, 0.5 of `r0_5`.
#[must_use]
pub(crate) fn point_number(point: &str) -> Option<f64> {
    let number = point.trim_start_matches(|c: char| c.is_ascii_alphabetic() || c == '_');
    number.replacen('_', ".", 1).parse().ok()
}

/// The statistics that may stand last in a metric's path.
pub(crate) const STATISTICS: &[&str] = &["mean", "min", "max", "stddev", "p50", "p90", "p95", "p99"];

/// Why a text is no metric path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no metric: {why}")]
pub struct MetricPathError {
    text: String,
    why: String,
}

impl FromStr for MetricPath {
    type Err = MetricPathError;

    fn from_str(text: &str) -> Result<Self, MetricPathError> {
        let fail = |why: String| MetricPathError { text: text.to_owned(), why };
        let mut parts: Vec<&str> = text.split('.').collect();
        if parts.len() < 2 || parts.iter().any(|p| p.is_empty()) {
            return Err(fail("write scenario.name or scenario.name.statistic".to_owned()));
        }
        let scenario = parts.remove(0).replace('-', "_").parse().map_err(fail)?;
        let statistic = match parts.last() {
            Some(last) if parts.len() > 1 && STATISTICS.contains(last) => parts.pop().map(str::to_owned),
            Some(_) | None => None,
        };
        let name = parts.pop().unwrap_or_default().to_owned();
        let point = parts.pop().map(str::to_owned);
        if !parts.is_empty() {
            return Err(fail("too many parts".to_owned()));
        }
        Ok(Self { scenario, point, name, statistic })
    }
}

impl fmt::Display for MetricPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.scenario)?;
        for part in [self.point.as_ref(), Some(&self.name), self.statistic.as_ref()].into_iter().flatten() {
            write!(f, ".{part}")?;
        }
        Ok(())
    }
}

impl Serialize for MetricPath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MetricPath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// One aggregated figure of one scenario of one attempt. What was not measured has no `Metric` at all: never 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// Its name.
    pub path: MetricPath,
    /// The figure, in `unit`.
    pub value: f64,
    /// The spelling of a [`Unit`]; `docs/metrics.md` names the unit of each metric.
    pub unit: String,
    /// Samples that the figure stands on.
    pub n: u64,
    /// Requests that failed and so gave no sample.
    pub failed_n: u64,
    /// Lower end of the 95 % interval, where n allows one.
    pub ci_low: Option<f64>,
    /// Upper end of the 95 % interval, where n allows one.
    pub ci_high: Option<f64>,
}

impl Metric {
    /// Whether it is a share of a whole, from 0 to 1: no change, and no quotient of two figures.
    #[must_use]
    pub(crate) fn is_share(&self) -> bool {
        self.unit == "ratio" && !self.path.is_change() && self.path.name != "acceleration_ratio"
    }

    /// Whether it is a share of cases that every start of a suite is asked alike: asking again makes no more cases of them.
    #[must_use]
    pub(crate) fn is_share_of_cases(&self) -> bool {
        self.is_share()
            && matches!(self.path.scenario, ScenarioKind::ToolCalling | ScenarioKind::Reasoning | ScenarioKind::Canary)
    }

    /// Where the figure can lie at all: a share from 0 to 1, a change anywhere, every other figure from 0 on.
    #[must_use]
    pub(crate) fn bounds(&self) -> (f64, f64) {
        let least = if self.path.is_change() || self.value < 0.0 { f64::NEG_INFINITY } else { 0.0 };
        (least, if self.is_share() && self.value <= 1.0 { 1.0 } else { f64::INFINITY })
    }
}

text_enum! {
    /// The unit of a figure that vgrid measures, spelt as in the endings of names.
    pub enum Unit {
        /// Milliseconds.
        Ms = "ms",
        /// Tokens per second.
        TokensPerS = "tokens_per_s",
        /// Requests per second.
        RequestsPerS = "requests_per_s",
        /// A share or a factor.
        Ratio = "ratio",
        /// A number of things.
        Count = "count",
        /// Bytes.
        Bytes = "bytes",
        /// Processors kept busy.
        Cores = "cores",
        /// Watts.
        W = "w",
        /// Degrees Celsius.
        C = "c",
        /// Megahertz.
        Mhz = "mhz",
        /// How latency grows, per turn of a conversation.
        MsPerTurn = "ms_per_turn",
        /// How memory grows.
        BytesPerH = "bytes_per_h",
        /// How a share grows.
        RatioPerH = "ratio_per_h",
    }
}

text_enum! {
    /// Whether a result may be used.
    pub enum Verdict {
        /// Ranks.
        Valid = "valid",
        /// Ranks, and is shown with its reasons.
        Suspect = "suspect",
        /// Never ranks.
        Invalid = "invalid",
    }
}

text_enum! {
    /// Why a result is not plainly valid.
    pub enum ValidityReason {
        /// The client could not read as fast as the server wrote.
        ClientSaturated = "client_saturated",
        /// Chunks of answers were sent on together: the pace between them is not the engine's.
        TokensInBursts = "tokens_in_bursts",
        /// Fewer requests in flight than asked for.
        ConcurrencyNotReached = "concurrency_not_reached",
        /// Requests piled up: the server did not answer them as fast as they arrived, or the client did not send them in time.
        RateNotReached = "rate_not_reached",
        /// The engine threw running requests out of the KV cache.
        Preemptions = "preemptions",
        /// The server was restarted while it was measured.
        ServerRestarted = "server_restarted",
        /// Prefix caching is off and a "hit" was faster than a "miss".
        HitWithoutCache = "hit_without_cache",
        /// Prefix caching is on and the engine's counters show no hit.
        CacheDidNotHit = "cache_did_not_hit",
        /// Client's and server's token counts disagree.
        TokenCountsDisagree = "token_counts_disagree",
        /// The server did not report usage, so token figures are missing.
        UsageMissing = "usage_missing",
        /// Fewer samples than the figure needs.
        TooFewSamples = "too_few_samples",
        /// A prompt that was to be new to the cache was served from it.
        MissWasCached = "miss_was_cached",
        /// A size was left out because it does not fit the engine's context length.
        SizeLeftOut = "size_left_out",
        /// Requests failed.
        RequestsFailed = "requests_failed",
        /// The engine was started without what tool calls need.
        ToolsNotEnabled = "tools_not_enabled",
        /// A case was called differently when streamed and when not.
        StreamingDiffers = "streaming_differs",
        /// A figure misses what is usually asked of it.
        ThresholdMissed = "threshold_missed",
        /// Answers have less room than was asked for, or no room at all.
        AnswersLimited = "answers_limited",
        /// The GPU throttled.
        Throttled = "throttled",
        /// Somebody else used the GPU.
        ForeignGpuUse = "foreign_gpu_use",
        /// The host's processors were taken by others.
        HostBusy = "host_busy",
        /// Nearly all of a GPU's memory was in use.
        GpuMemoryNearlyFull = "gpu_memory_nearly_full",
        /// A GPU was hot.
        GpuHot = "gpu_hot",
        /// A GPU had less to do than it should while requests came without a pause.
        UtilizationOutOfRange = "utilization_out_of_range",
        /// No GPU could be looked at.
        NoGpuFigure = "no_gpu_figure",
        /// The KV pool differs between starts of one config.
        KvPoolDiffers = "kv_pool_differs",
    }
}

/// Whether one scenario's result may be used, and why not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validity {
    /// The verdict: the worst of all reasons.
    pub verdict: Verdict,
    /// Reasons, each with a sentence that says what was seen.
    pub reasons: Vec<(ValidityReason, String)>,
}

impl Default for Validity {
    fn default() -> Self {
        Self { verdict: Verdict::Valid, reasons: Vec::new() }
    }
}

impl Validity {
    /// Adds a reason; the verdict only gets worse.
    pub fn add(&mut self, verdict: Verdict, reason: ValidityReason, sentence: impl Into<String>) {
        self.verdict = self.verdict.max(verdict);
        self.reasons.push((reason, sentence.into()));
    }
}

#[cfg(test)]
impl Validity {
    /// What was found beside a machine that is too busy to keep time, which no test can rule out.
    pub fn about_the_server(&self) -> Vec<&(ValidityReason, String)> {
        self.reasons.iter().filter(|(reason, _)| *reason != ValidityReason::ClientSaturated).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metric_paths_round_trip_with_and_without_point_and_statistic() {
        for text in ["kv_cache.ttft_hit_ms.p50", "load.c4.ttft_ms.p95", "load.output_tokens_per_s", "load.c4.n"] {
            let path: MetricPath = text.parse().unwrap();
            assert_eq!(path.to_string(), text);
        }
        let path: MetricPath = "kv-cache.p1024.ttft_hit_ms.mean".parse().unwrap();
        assert_eq!(path.to_string(), "kv_cache.p1024.ttft_hit_ms.mean");
        assert_eq!(path.point.as_deref(), Some("p1024"));
        assert_eq!(["p1024", "r0_5", "trace"].map(point_number), [Some(1024.0), Some(0.5), None]);
    }

    #[test]
    fn a_wrong_metric_path_says_what_is_allowed() {
        let err = "nothing.ttft_ms".parse::<MetricPath>().unwrap_err();
        assert!(err.to_string().contains("kv_cache"), "{err}");
        assert!("load".parse::<MetricPath>().is_err());
        assert!("load.a.b.c.d".parse::<MetricPath>().is_err());
    }

    #[test]
    fn a_verdict_only_gets_worse() {
        let mut v = Validity::default();
        v.add(Verdict::Invalid, ValidityReason::CacheDidNotHit, "no hit");
        v.add(Verdict::Suspect, ValidityReason::Preemptions, "2 preemptions");
        assert_eq!(v.verdict, Verdict::Invalid);
    }
}
