//! What is doubtful about a foreign table, by what it says itself: no number is corrected, none is left out.

use std::collections::BTreeMap;

use super::read::{Head, engine_of};
use super::{Doubt, ForeignDoubt, ForeignRow, ForeignTable};
use crate::domain::{Diagnostic, Diagnostics, FlagName, FlagValue};

/// Rounded figures may miss a bound by this share without contradicting it.
const ROUNDING: f64 = 0.02;

/// Latency and rate of the same requests.
const PAIRS: &[(&str, &str)] =
    &[("ttft_miss_ms", "tokens_per_s_miss"), ("ttft_hit_ms", "tokens_per_s_hit"), ("e2e_ms", "output_tokens_per_s")];

/// All doubts, each once.
///
/// # Errors
/// A criterion that cannot be read.
pub(super) fn doubts(table: &ForeignTable, head: &Head) -> Result<Vec<ForeignDoubt>, Diagnostics> {
    let mut found = Vec::new();
    let mut add = |doubt, configs: Vec<String>, text: String| found.push(ForeignDoubt { doubt, configs, text });
    let rows = &table.rows;
    let estimated: Vec<String> = rows.iter().filter(|r| r.estimated).map(|r| r.config.clone()).collect();
    if !estimated.is_empty() {
        let text = format!(
            "{} of {} rows are estimates, never measured: {}",
            estimated.len(),
            rows.len(),
            estimated.join(", ")
        );
        add(Doubt::Estimated, estimated, text);
    }
    if head.ttft_is.as_deref() == Some("e2e") {
        let text = "what is called TTFT is the time of the whole answer (E2E): it is no time to first token, and its ratio is no \
                    cache acceleration of the prefill";
        add(Doubt::TtftIsE2e, Vec::new(), text.to_owned());
    }
    let single: Vec<String> =
        rows.iter().filter(|r| !r.estimated && r.n.is_none_or(|n| n < 2)).map(|r| r.config.clone()).collect();
    if !single.is_empty() {
        let text = "n = 1 or not said: no interval is known, so no difference can be told from noise".to_owned();
        add(Doubt::SingleSample, single, text);
    }
    for row in rows {
        if let Some(text) = head.max_tokens.and_then(|limit| too_many_tokens(row, limit)) {
            add(Doubt::ThroughputInconsistent, vec![row.config.clone()], text);
        }
    }
    for row in rows {
        if let Some(text) = head.gpu_total_mib.and_then(|total| too_little_memory(row, total)) {
            add(Doubt::MemoryContradicted, vec![row.config.clone()], text);
        }
    }
    for group in same_engines(rows) {
        let how = if head.off_means.as_deref() == Some("no_flag") {
            "the same settings"
        } else {
            "a `false` that leaves the flag out leaves the feature on, as vLLM V1 has it"
        };
        let text =
            format!("{} make the same engine ({how}): their difference is noise or something else", group.join(", "));
        add(Doubt::SameEngine, group, text);
    }
    for criterion in &head.criteria {
        let (name, holds) = condition(criterion)?;
        let judged: Vec<&ForeignRow> = rows.iter().filter(|row| row.figure(&name).is_some()).collect();
        let failed: Vec<String> =
            judged.iter().filter(|row| !row.figure(&name).is_some_and(&holds)).map(|r| r.config.clone()).collect();
        if !failed.is_empty() {
            let nobody = failed.len() == judged.len();
            let text = if nobody {
                format!("no config meets the criterion {criterion}: what follows is the best of those that fail")
            } else {
                format!("{} do not meet the criterion {criterion}", failed.join(", "))
            };
            add(Doubt::CriterionFailed, failed, text);
        }
    }
    Ok(found)
}

/// Tokens that follow from a rate and the time that it is said to have lasted, when they are more than the limit.
fn too_many_tokens(row: &ForeignRow, limit: f64) -> Option<String> {
    let over: Vec<String> = PAIRS
        .iter()
        .filter_map(|(latency, rate)| {
            let (ms, per_s) = (row.figure(latency)?, row.figure(rate)?);
            let tokens = ms / 1_000.0 * per_s;
            (tokens > limit * (1.0 + ROUNDING)).then(|| format!("{per_s} tokens/s over {ms} ms are {tokens:.0} tokens"))
        })
        .collect();
    let text = format!("{}: {}, and no answer has more than {limit}", row.config, over.join("; "));
    (!over.is_empty()).then_some(text)
}

/// vLLM takes its share of the GPU at the start: less than that was not measured while it served.
fn too_little_memory(row: &ForeignRow, total_mib: f64) -> Option<String> {
    let used = row.figure("vram_mib")?;
    let share = match row.settings.flags.get(&FlagName::new("gpu-memory-utilization"))? {
        FlagValue::Value(text) => text.parse::<f64>().ok()?,
        FlagValue::Default | FlagValue::On | FlagValue::Off | FlagValue::Many(_) => return None,
    };
    let taken = share * total_mib;
    (used < taken * (1.0 - ROUNDING)).then(|| {
        format!(
            "{}: {used:.0} MiB are said to be used, and vLLM takes {taken:.0} MiB ({share} of {total_mib:.0}) when it starts",
            row.config
        )
    })
}

fn same_engines(rows: &[ForeignRow]) -> Vec<Vec<String>> {
    let mut groups: BTreeMap<Vec<(String, String)>, Vec<String>> = BTreeMap::new();
    for row in rows.iter().filter(|row| !row.settings.flags.is_empty()) {
        groups.entry(engine_of(&row.settings).into_iter().collect()).or_default().push(row.config.clone());
    }
    groups.into_values().filter(|names| names.len() > 1).collect()
}

type Holds = Box<dyn Fn(f64) -> bool>;

/// `ttft_miss_ms <= 2193.6`.
fn condition(text: &str) -> Result<(String, Holds), Diagnostics> {
    let wrong = || {
        Diagnostics::from(
            Diagnostic::error("bad-criterion", format!("`{text}` is no criterion"))
                .help("write a figure, one of < <= > >=, and a number: ttft_miss_ms <= 2193.6"),
        )
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    let [name, operator, bound] = words.as_slice() else { return Err(wrong()) };
    let bound: f64 = bound.parse().map_err(|_| wrong())?;
    if !super::read::FIGURES.iter().any(|(known, _)| known == name) {
        return Err(wrong());
    }
    let holds: Holds = match *operator {
        "<" => Box::new(move |v| v < bound),
        "<=" => Box::new(move |v| v <= bound),
        ">" => Box::new(move |v| v > bound),
        ">=" => Box::new(move |v| v >= bound),
        _ => return Err(wrong()),
    };
    Ok(((*name).to_owned(), holds))
}
