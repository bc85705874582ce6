//! The axes that make sense for a service, by what it is deployed with.

use std::collections::BTreeSet;

use crate::compose::Service;
use crate::domain::{FlagName, FlagValue, Settings};
use crate::launch;

/// One axis that makes sense.
pub(super) struct StarterAxis {
    pub(super) name: &'static str,
    pub(super) values: Vec<String>,
    /// The value of the deployment.
    pub(super) deployed: String,
    pub(super) why: &'static str,
    /// Part of the grid as it is, not a comment.
    pub(super) measured: bool,
}

/// The axes for a service that is deployed with `settings`.
pub(super) fn axes_for(service: &Service, settings: &Settings) -> Vec<StarterAxis> {
    let flag = |name: &str| settings.flags.get(&FlagName::new(name));
    let text = |name: &str| match flag(name) {
        Some(FlagValue::Value(value)) => Some(value.clone()),
        Some(FlagValue::Default | FlagValue::On | FlagValue::Off | FlagValue::Many(_)) | None => None,
    };
    let words = |values: &[&str]| values.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>();
    let number = |name: &str| text(name).and_then(|value| value.parse::<u64>().ok()).filter(|n| *n > 0);
    let around = |name: &str, unset: &[&str]| match number(name) {
        Some(n) => {
            let mut values = vec![(n / 2).max(1), n, n * 2];
            values.dedup();
            values.iter().map(u64::to_string).collect()
        }
        None => words(unset),
    };
    // Both are on in vLLM V1 where nobody says otherwise.
    let switch = |name: &str| if flag(name) == Some(&FlagValue::Off) { "off" } else { "on" }.to_owned();
    let counted = |name: &str| number(name).map_or_else(|| "default".to_owned(), |n| n.to_string());
    let offered = |name, values, deployed, why| StarterAxis { name, values, deployed, why, measured: false };
    let measured = |name, values, deployed, why| StarterAxis { measured: true, ..offered(name, values, deployed, why) };
    let mut axes = vec![
        measured(
            "enable-prefix-caching",
            words(&["on", "off"]),
            switch("enable-prefix-caching"),
            "Reuses the KV cache of a prompt's beginning that was seen before; on by default in vLLM V1.",
        ),
        measured(
            "enable-chunked-prefill",
            words(&["on", "off"]),
            switch("enable-chunked-prefill"),
            "Splits long prompts so that others' tokens keep flowing; on by default in vLLM V1.",
        ),
        measured(
            "max-num-seqs",
            around("max-num-seqs", &["default", "32", "128"]),
            counted("max-num-seqs"),
            "Sequences at once: throughput against the latency of each.",
        ),
        offered(
            "max-num-batched-tokens",
            around("max-num-batched-tokens", &["default", "4096", "16384"]),
            counted("max-num-batched-tokens"),
            "Tokens per step: time to first token against smooth decoding",
        ),
        offered(
            "kv-cache-dtype",
            words(&["auto", "fp8"]),
            text("kv-cache-dtype").unwrap_or_else(|| "auto".to_owned()),
            "fp8: twice the KV cache; check quality",
        ),
    ];
    if launch::wants_gpu(service) || flag("gpu-memory-utilization").is_some() {
        let now = text("gpu-memory-utilization").and_then(|v| v.parse::<f64>().ok()).unwrap_or(0.9);
        let values = [now - 0.05, now, now + 0.03].into_iter().filter(|v| *v > 0.0 && *v < 0.99);
        axes.push(offered(
            "gpu-memory-utilization",
            values.map(|v| format!("{v:.2}")).collect(),
            format!("{now:.2}"),
            "room for the KV cache against room for everything else",
        ));
    }
    if flag("enable-auto-tool-choice").is_some() {
        let parsers: BTreeSet<String> = text("tool-call-parser").into_iter().chain(["hermes".to_owned()]).collect();
        axes.push(offered(
            "tool-call-parser",
            parsers.into_iter().collect(),
            text("tool-call-parser").unwrap_or_default(),
            "how tool calls are read out of the text; it depends on the model",
        ));
    }
    axes
}
