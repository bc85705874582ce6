//! The few figures of a result that a line on the screen has room for.

use crate::domain::{Metric, ScenarioKind, ScenarioResult};

/// The headline figures of a result, most telling first; only those that were measured.
#[must_use]
pub fn headline(result: &ScenarioResult) -> Vec<&Metric> {
    let wanted: &[&str] = match result.spec.kind() {
        ScenarioKind::Smoke => &["smoke.passed"],
        ScenarioKind::KvCache => {
            &["kv_cache.ttft_miss_ms.p50", "kv_cache.ttft_hit_ms.p50", "kv_cache.acceleration_ratio"]
        }
        ScenarioKind::Load => &["load.output_tokens_per_s", "load.ttft_ms.p50", "load.tpot_ms.p50"],
        ScenarioKind::Conversation => {
            &["conversation.ttft_ms.p50", "conversation.e2e_drift_ratio", "conversation.success_ratio"]
        }
        ScenarioKind::Stability => {
            &["stability.error_ratio", "stability.e2e_drift_ratio", "stability.e2e_change_ratio"]
        }
        ScenarioKind::LongContext => {
            &["long_context.survived_ratio", "long_context.ttft_ms.p50", "long_context.prefill_tokens_per_s.p50"]
        }
        ScenarioKind::Profile => &[
            "profile.gpu0_busy.utilization_ratio.mean",
            "profile.gpu0_busy.memory_used_bytes.max",
            "profile.host_busy.cpu_ratio.mean",
        ],
        ScenarioKind::Reasoning => &["reasoning.score", "reasoning.truncation_rate", "reasoning.ttfc_ms.p50"],
        ScenarioKind::ToolCalling => {
            &["tool_calling.success_rate", "tool_calling.call_rate", "tool_calling.agreement_rate"]
        }
        ScenarioKind::Canary => &["canary.passed"],
    };
    wanted.iter().filter_map(|path| result.metrics.iter().find(|m| m.path.to_string() == *path)).collect()
}
