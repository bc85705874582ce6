//! The engine's counters and their Prometheus text, with vLLM's names, types and labels.

use std::fmt::Write;

/// A histogram with vLLM's bucket bounds.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    bounds: Vec<f64>,
    counts: Vec<u64>,
    sum: f64,
    count: u64,
}

impl Histogram {
    fn new(bounds: &[f64]) -> Self {
        Self { bounds: bounds.to_vec(), counts: vec![0; bounds.len()], sum: 0.0, count: 0 }
    }

    /// Bounds 1, 2, 5, 10, ... up to `most`: vLLM's for numbers of tokens.
    fn of_tokens(most: usize) -> Self {
        let bounds: Vec<f64> = (0..12)
            .flat_map(|power| [1.0, 2.0, 5.0].map(|m| m * 10f64.powi(power)))
            .take_while(|bound| *bound <= most as f64)
            .collect();
        Self::new(&bounds)
    }

    /// Adds one observation.
    pub(super) fn observe(&mut self, value: f64) {
        if let Some(i) = self.bounds.iter().position(|bound| value <= *bound) {
            self.counts[i] += 1;
        }
        self.sum += value;
        self.count += 1;
    }
}

const TTFT: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
    160.0, 640.0, 2560.0,
];
const ITL: &[f64] =
    &[0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0];
const LATENCY: &[f64] = &[
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
    1920.0, 7680.0,
];
const ITERATION: &[f64] = &[1.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16_384.0];

/// How requests ended, as vLLM labels them.
pub(super) const FINISHED_REASONS: [&str; 5] = ["stop", "length", "abort", "error", "repetition"];

/// Every figure that the engine keeps while it serves.
#[derive(Clone, Debug)]
pub(super) struct Stats {
    pub(super) running: usize,
    pub(super) waiting: usize,
    pub(super) kv_usage: f64,
    pub(super) prefix_queries: u64,
    pub(super) prefix_hits: u64,
    pub(super) preemptions: u64,
    pub(super) prompt_tokens: u64,
    pub(super) generation_tokens: u64,
    /// In the order of [`FINISHED_REASONS`].
    pub(super) finished: [u64; 5],
    pub(super) ttft_s: Histogram,
    pub(super) itl_s: Histogram,
    pub(super) tpot_s: Histogram,
    pub(super) e2e_s: Histogram,
    pub(super) queue_s: Histogram,
    pub(super) prefill_s: Histogram,
    pub(super) decode_s: Histogram,
    pub(super) inference_s: Histogram,
    pub(super) request_prompt_tokens: Histogram,
    pub(super) request_generation_tokens: Histogram,
    pub(super) iteration_tokens: Histogram,
    /// Answers to requests with tools by way (streamed, not) and outcome (calls, none).
    pub(super) tool_answers: [[u64; 2]; 2],
}

impl Stats {
    /// All zero; `max_model_len` sets the buckets of token counts.
    pub(super) fn new(max_model_len: usize) -> Self {
        Self {
            running: 0,
            waiting: 0,
            kv_usage: 0.0,
            prefix_queries: 0,
            prefix_hits: 0,
            preemptions: 0,
            prompt_tokens: 0,
            generation_tokens: 0,
            finished: [0; 5],
            ttft_s: Histogram::new(TTFT),
            itl_s: Histogram::new(ITL),
            tpot_s: Histogram::new(ITL),
            e2e_s: Histogram::new(LATENCY),
            queue_s: Histogram::new(LATENCY),
            prefill_s: Histogram::new(LATENCY),
            decode_s: Histogram::new(LATENCY),
            inference_s: Histogram::new(LATENCY),
            request_prompt_tokens: Histogram::of_tokens(max_model_len),
            request_generation_tokens: Histogram::of_tokens(max_model_len),
            iteration_tokens: Histogram::new(ITERATION),
            tool_answers: [[0; 2]; 2],
        }
    }
}

/// What the metrics page says beside the counters.
#[derive(Clone, Debug)]
pub(super) struct MetricsInfo {
    pub(super) model_name: String,
    /// Labels of `vllm:cache_config_info`.
    pub(super) cache_config: Vec<(&'static str, String)>,
    /// Seconds since the epoch at the engine's start.
    pub(super) started_unix_s: f64,
}

struct Page<'a> {
    text: String,
    info: &'a MetricsInfo,
}

/// Labels beside `engine` and `model_name`.
type Extra<'a> = [(&'a str, &'a str)];

impl Page<'_> {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// One sample; labels stand in alphabetical order.
    fn sample(&mut self, name: &str, extra: &Extra<'_>, value: f64) {
        let mut labels: Vec<(&str, &str)> = extra.to_vec();
        labels.push(("model_name", self.info.model_name.as_str()));
        // The API server counts its parsers' work; everything else comes from an engine.
        if !name.starts_with("vllm:tool_call_parser") {
            labels.push(("engine", "0"));
        }
        self.line(name, &mut labels, value);
    }

    fn line(&mut self, name: &str, labels: &mut [(&str, &str)], value: f64) {
        labels.sort_unstable();
        let escape = |v: &str| v.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let labels: Vec<String> = labels.iter().map(|(k, v)| format!("{k}=\"{}\"", escape(v))).collect();
        // `{:?}` prints 1.0 as Python does.
        let _ = writeln!(self.text, "{name}{{{}}} {value:?}", labels.join(","));
    }

    fn gauge(&mut self, name: &str, help: &str, samples: &[(&Extra<'_>, f64)]) {
        self.head(name, "gauge", help);
        for (extra, value) in samples {
            self.sample(name, extra, *value);
        }
    }

    /// A counter's samples, and the `_created` gauge that prometheus_client adds.
    fn counter(&mut self, name: &str, help: &str, samples: &[(&Extra<'_>, u64)]) {
        let total = format!("{name}_total");
        self.head(&total, "counter", help);
        for (extra, value) in samples {
            self.sample(&total, extra, *value as f64);
        }
        let created = self.info.started_unix_s;
        let samples: Vec<(&Extra<'_>, f64)> = samples.iter().map(|(extra, _)| (*extra, created)).collect();
        self.gauge(&format!("{name}_created"), help, &samples);
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.head(name, "histogram", help);
        let bucket = format!("{name}_bucket");
        let mut below = 0;
        for (bound, count) in histogram.bounds.iter().zip(&histogram.counts) {
            below += count;
            self.sample(&bucket, &[("le", &format!("{bound:?}"))], below as f64);
        }
        self.sample(&bucket, &[("le", "+Inf")], histogram.count as f64);
        self.sample(&format!("{name}_count"), &[], histogram.count as f64);
        self.sample(&format!("{name}_sum"), &[], histogram.sum);
        self.gauge(&format!("{name}_created"), help, &[(&[], self.info.started_unix_s)]);
    }
}

/// The text of `/metrics`.
pub(super) fn render(stats: &Stats, info: &MetricsInfo) -> String {
    let mut page = Page { text: String::with_capacity(32_768), info };
    gauges(&mut page, stats);
    counters(&mut page, stats);
    for (name, help, histogram) in histograms(stats) {
        page.histogram(name, help, histogram);
    }
    page.head("vllm:cache_config_info", "gauge", "Information of the LLMEngine CacheConfig");
    let mut config: Vec<(&str, &str)> = info.cache_config.iter().map(|(k, v)| (*k, v.as_str())).collect();
    config.push(("engine", "0"));
    page.line("vllm:cache_config_info", &mut config, 1.0);
    page.text
}

fn gauges(page: &mut Page<'_>, stats: &Stats) {
    let (running, waiting) = (stats.running as f64, stats.waiting as f64);
    page.gauge("vllm:num_requests_running", "Number of requests in model execution batches.", &[(&[], running)]);
    page.gauge("vllm:num_requests_waiting", "Number of requests waiting to be processed.", &[(&[], waiting)]);
    page.gauge(
        "vllm:num_requests_waiting_by_reason",
        "Number of waiting requests by reason.",
        &[(&[("reason", "capacity")], waiting), (&[("reason", "deferred")], 0.0)],
    );
    page.gauge(
        "vllm:engine_sleep_state",
        "Engine sleep state.",
        &[
            (&[("sleep_state", "awake")], 1.0),
            (&[("sleep_state", "weights_offloaded")], 0.0),
            (&[("sleep_state", "discard_all")], 0.0),
        ],
    );
    page.gauge("vllm:kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.", &[(&[], stats.kv_usage)]);
}

fn counters(page: &mut Page<'_>, stats: &Stats) {
    let plain = [
        (
            "vllm:prefix_cache_queries",
            "Prefix cache queries, in terms of number of queried tokens.",
            stats.prefix_queries,
        ),
        ("vllm:prefix_cache_hits", "Prefix cache hits, in terms of number of cached tokens.", stats.prefix_hits),
        ("vllm:num_preemptions", "Cumulative number of preemption from the engine.", stats.preemptions),
        ("vllm:prompt_tokens", "Number of prefill tokens processed.", stats.prompt_tokens),
        ("vllm:prompt_tokens_cached", "Number of cached prompt tokens (local + external).", stats.prefix_hits),
        ("vllm:generation_tokens", "Number of generation tokens processed.", stats.generation_tokens),
    ];
    for (name, help, value) in plain {
        page.counter(name, help, &[(&[], value)]);
    }
    let labels = FINISHED_REASONS.map(|reason| [("finished_reason", reason)]);
    let samples: Vec<(&Extra<'_>, u64)> = labels.iter().map(|l| l.as_slice()).zip(stats.finished).collect();
    page.counter("vllm:request_success", "Count of successfully processed requests.", &samples);
    let mut samples = Vec::new();
    for (mode, counts) in ["streaming", "non_streaming"].into_iter().zip(stats.tool_answers) {
        for (outcome, count) in ["tool_call", "no_tool_call"].into_iter().zip(counts) {
            samples.push(([("mode", mode), ("outcome", outcome), ("request_type", "chat_completions")], count));
        }
    }
    let samples: Vec<(&Extra<'_>, u64)> = samples.iter().map(|(l, n)| (l.as_slice(), *n)).collect();
    page.counter("vllm:tool_call_parser_invocations", "Total number of ToolParser invocations.", &samples);
}

fn histograms(stats: &Stats) -> [(&'static str, &'static str, &Histogram); 11] {
    [
        ("vllm:request_prompt_tokens", "Number of prefill tokens processed.", &stats.request_prompt_tokens),
        ("vllm:request_generation_tokens", "Number of generation tokens processed.", &stats.request_generation_tokens),
        ("vllm:iteration_tokens_total", "Histogram of number of tokens per engine_step.", &stats.iteration_tokens),
        ("vllm:time_to_first_token_seconds", "Histogram of time to first token in seconds.", &stats.ttft_s),
        ("vllm:inter_token_latency_seconds", "Histogram of inter-token latency in seconds.", &stats.itl_s),
        (
            "vllm:request_time_per_output_token_seconds",
            "Histogram of time_per_output_token_seconds per request.",
            &stats.tpot_s,
        ),
        ("vllm:e2e_request_latency_seconds", "Histogram of e2e request latency in seconds.", &stats.e2e_s),
        ("vllm:request_queue_time_seconds", "Histogram of time spent in WAITING phase for request.", &stats.queue_s),
        (
            "vllm:request_inference_time_seconds",
            "Histogram of time spent in RUNNING phase for request.",
            &stats.inference_s,
        ),
        (
            "vllm:request_prefill_time_seconds",
            "Histogram of time spent in PREFILL phase for request.",
            &stats.prefill_s,
        ),
        ("vllm:request_decode_time_seconds", "Histogram of time spent in DECODE phase for request.", &stats.decode_s),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_vllms_names_types_and_labels() {
        let mut stats = Stats { prefix_queries: 711, prefix_hits: 640, ..Stats::new(4_096) };
        stats.finished[0] = 3;
        stats.ttft_s.observe(0.03);
        let info = MetricsInfo {
            model_name: "m".into(),
            cache_config: vec![("block_size", "16".into()), ("enable_prefix_caching", "True".into())],
            started_unix_s: 1.5,
        };
        let page = render(&stats, &info);
        for line in [
            "# TYPE vllm:prefix_cache_hits_total counter",
            "vllm:prefix_cache_hits_total{engine=\"0\",model_name=\"m\"} 640.0",
            "vllm:request_success_total{engine=\"0\",finished_reason=\"stop\",model_name=\"m\"} 3.0",
            "# TYPE vllm:time_to_first_token_seconds histogram",
            "vllm:time_to_first_token_seconds_bucket{engine=\"0\",le=\"0.02\",model_name=\"m\"} 0.0",
            "vllm:time_to_first_token_seconds_bucket{engine=\"0\",le=\"0.04\",model_name=\"m\"} 1.0",
            "vllm:time_to_first_token_seconds_count{engine=\"0\",model_name=\"m\"} 1.0",
            "vllm:cache_config_info{block_size=\"16\",enable_prefix_caching=\"True\",engine=\"0\"} 1.0",
        ] {
            assert!(page.lines().any(|l| l == line), "{line}\n{page}");
        }
    }
}
