//! What a grid probably does not mean: points measured twice, rules without effect, metrics that nobody measures.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::judge::Judge;
use super::settings::{Setting, Target};
use super::{Axis, Grid};
use crate::domain::{
    Diagnostic, Diagnostics, FlagKind, FlagName, FlagValue, KNOWN_FLAGS, MetricPath, ScenarioKind, ScenarioSpec,
    Settings, Suite, did_you_mean, known_flag,
};
use crate::yaml::Span;

/// Above this many points the rules are not counted out; a plan of that size is not run anyway.
const COUNTED_POINTS: usize = 2_000_000;

/// Flags that say how much of a GPU the KV cache takes, and so how little is left for everything else: the engine starts, and may run out
/// of memory when the cache is full.
const FILLS_THE_GPU: &[&str] = &["gpu-memory-utilization", "kv-cache-memory-bytes", "num-gpu-blocks-override"];

/// Findings about `grid`, which measures `suite`, on top of a deployment whose command, environment, image and model are `deployed`.
///
/// Errors stop a sweep (nothing left to run, an excluded baseline, a rule that cannot be decided); the rest are warnings.
/// One pass over the points, with 16 bytes kept for each named config and nothing for the product.
#[must_use]
pub fn lint(grid: &Grid, suite: &Suite, deployed: &Settings) -> Diagnostics {
    let mut found = Diagnostics::default();
    flags(grid, &mut found);
    base(grid, &mut found);
    metrics(grid, suite, &mut found);
    fit(grid, suite, &mut found);
    rules(grid, &mut found);
    twin_values(grid, deployed, &mut found);
    twin_points(grid, deployed, &mut found);
    found
}

/// Whether two sets of settings (the deployment's included) give the same engine in vLLM V1: a flag that is left out counts as its default.
#[must_use]
pub fn same_engine(a: &Settings, b: &Settings) -> bool {
    canonical(a) == canonical(b)
}

/// Flags that no vLLM has, near one that it has.
fn flags(grid: &Grid, found: &mut Diagnostics) {
    let assigned = grid.base.iter().chain(grid.configs.iter().flat_map(|config| &config.settings));
    let keys = assigned.map(|a| (a.setting.target(), &a.key_span));
    let mut seen = BTreeSet::new();
    for (target, span) in keys.chain(grid.axes.iter().map(|axis| (axis.target.clone(), &axis.span))) {
        let Target::Flag(name) = target else { continue };
        if seen.insert(name.clone())
            && let Some(near) = near_flag(&name)
        {
            let warning = span.warning("unknown-flag", format!("vgrid knows no vLLM flag `{name}`"));
            found.push(warning.help(format!("did you mean `{near}`? Unknown flags are sent as they are")));
        }
    }
}

/// The known flag that an unknown name is probably meant to be.
pub(super) fn near_flag(name: &FlagName) -> Option<&'static str> {
    if known_flag(name.as_str()).is_some() {
        return None;
    }
    did_you_mean(name.as_str(), KNOWN_FLAGS.iter().map(|known| known.name))
}

/// Settings of `base` that no point keeps.
fn base(grid: &Grid, found: &mut Diagnostics) {
    for assignment in &grid.base {
        let target = assignment.setting.target();
        let by_axis = grid.axes.iter().any(|axis| axis.target == target);
        let by_all = grid.configs.iter().all(|c| c.settings.iter().any(|a| a.setting.target() == target));
        let replaced = if grid.axes.is_empty() { !grid.configs.is_empty() && by_all } else { by_axis && by_all };
        if replaced {
            let message = format!("`base` sets `{target}`, and every point replaces it");
            let warning = assignment.key_span.warning("base-without-effect", message);
            found.push(warning.help("remove it from `base`, or take the axis away"));
        }
    }
}

/// Gates and objectives over what the suite does not measure.
fn metrics(grid: &Grid, suite: &Suite, found: &mut Diagnostics) {
    if grid.objectives.is_empty() {
        let warning = Diagnostic::warning("no-objective", format!("{} has no objectives", grid.file.display()));
        found.push(
            warning.help("without one no champion is named; e.g. objectives: { speed: minimize load.ttft_ms.p50 }"),
        );
    }
    let measured: Vec<ScenarioKind> = suite.scenarios.iter().map(|spec| spec.kind()).collect();
    let names = measured.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ");
    let mut check = |path: &MetricPath, span: &Span, consequence: &str| {
        if !measured.contains(&path.scenario) {
            let message = format!("`{path}` is never measured: the suite `{}` has no {}", suite.name, path.scenario);
            let warning = span.warning("metric-not-in-suite", message);
            found.push(warning.help(format!("{consequence}; scenarios of the suite: {names}")));
        } else if let Some((needs, gives)) = lacking_samples(path, &suite.scenarios) {
            let message = format!("`{path}` is never measured: it needs {needs} samples, the suite gives {gives}");
            let help = format!(
                "{consequence}; write kv_cache: {{ repeats: {needs} }} in the suite, or take another statistic"
            );
            found.push(span.warning("too-few-samples", message).help(help));
        }
    };
    for gate in &grid.gates {
        for metric in gate.metrics() {
            check(&metric.path, gate.span(), "no config can meet this gate");
        }
    }
    for (objective, span) in grid.objectives.iter().zip(&grid.objective_spans) {
        check(&objective.metric, span, "this objective ranks nothing");
    }
}

/// Memory that is given away to the brim, and a suite that never fills it: what starts need not fit.
fn fit(grid: &Grid, suite: &Suite, found: &mut Diagnostics) {
    if suite.scenarios.iter().any(|spec| matches!(spec, ScenarioSpec::Smoke(smoke) if smoke.fit.is_some())) {
        return;
    }
    let assigned = grid.configs.iter().flat_map(|config| &config.settings).chain(&grid.base);
    let axes = grid.axes.iter().map(|axis| (axis.target.clone(), &axis.span));
    let mut set = axes.chain(assigned.map(|a| (a.setting.target(), &a.key_span)));
    let fills = |target: &Target| matches!(target, Target::Flag(name) if FILLS_THE_GPU.contains(&name.as_str()));
    if let Some((target, span)) = set.find(|(target, _)| fills(target)) {
        let message = format!(
            "`{target}` says how much memory the KV cache takes, and the suite `{}` never fills it",
            suite.name
        );
        let help = "what starts need not fit, and then dies under load: write smoke: { fit: true } in the suite, or fit: false where you know";
        found.push(span.warning("fit-not-checked", message).help(help));
    }
}

/// How many samples a figure of the kv-cache scenario needs and has, when it has too few. Other scenarios choose their samples themselves.
fn lacking_samples(path: &MetricPath, scenarios: &[ScenarioSpec]) -> Option<(u32, u32)> {
    // As docs/metrics.md states them.
    let needs = match path.statistic.as_deref()? {
        "stddev" => 2,
        "p50" => 3,
        "p90" => 10,
        "p95" => 20,
        "p99" => 100,
        _ => 1,
    };
    scenarios.iter().find_map(|spec| match spec {
        ScenarioSpec::KvCache(spec) if path.scenario == ScenarioKind::KvCache && spec.repeats < needs => {
            Some((needs, spec.repeats))
        }
        ScenarioSpec::KvCache(_)
        | ScenarioSpec::Smoke(_)
        | ScenarioSpec::Load(_)
        | ScenarioSpec::Conversation(_)
        | ScenarioSpec::Stability(_)
        | ScenarioSpec::LongContext(_)
        | ScenarioSpec::Profile(_)
        | ScenarioSpec::ToolCalling(_)
        | ScenarioSpec::Reasoning(_)
        | ScenarioSpec::Canary(_) => None,
    })
}

/// Rules that hold nowhere or everywhere, and what the rules leave.
fn rules(grid: &Grid, found: &mut Diagnostics) {
    let count = grid.count();
    if grid.exclude.is_empty() || count > COUNTED_POINTS {
        return;
    }
    let mut holds = vec![0_usize; grid.exclude.len()];
    let mut left = 0_usize;
    let mut judge = Judge::new(grid);
    for index in 0..count {
        let Some(origin) = grid.origin(index) else { continue };
        let mut out = false;
        for (number, held) in holds.iter_mut().enumerate() {
            match judge.holds(number, &origin) {
                Ok(true) => (out, *held) = (true, *held + 1),
                Ok(false) => {}
                // A rule that cannot be decided at one point stops the sweep; one message is enough.
                Err(error) => return found.0.extend(error.0),
            }
        }
        left += usize::from(!out);
        if out && index == grid.baseline_index() {
            found.push(excluded_baseline(grid, index));
        }
    }
    for (rule, held) in grid.exclude.iter().zip(holds) {
        if held == 0 {
            let warning = rule.program.span.warning("rule-never-holds", "this rule takes no point out");
            found.push(warning.help("check the names and values in it, or remove it"));
        } else if held == count {
            let warning = rule.program.span.warning("rule-always-holds", "this rule takes every point out");
            found.push(warning.help("check the names and values in it"));
        }
    }
    if left == 0 {
        let error = Diagnostic::error("nothing-left", "the rules of `exclude` leave no point to run");
        found.push(error.help("loosen a rule, or add a value to an axis"));
    }
}

fn excluded_baseline(grid: &Grid, index: usize) -> Diagnostic {
    let name = grid.point_at(index).map(|point| point.config.name).unwrap_or_default();
    Diagnostic::error("baseline-excluded", format!("a rule of `exclude` takes the baseline `{name}` out"))
        .help("name another baseline, or loosen the rule: without a baseline nothing can be compared")
}

/// Values of one axis that give the same engine.
fn twin_values(grid: &Grid, deployed: &Settings, found: &mut Diagnostics) {
    for axis in &grid.axes {
        let resolved: Vec<Option<String>> = axis.values.iter().map(|v| resolved(&v.setting, deployed)).collect();
        for (at, value) in axis.values.iter().enumerate() {
            if let Some(first) = resolved[..at].iter().position(|other| *other == resolved[at]) {
                let repeats = grid.product_count() / axis.values.len();
                let (a, b) = (axis.values[first].setting.text(), value.setting.text());
                let message = format!("`{a}` and `{b}` of the axis `{}` give the same engine", axis.target);
                let warning = value.span.warning("twin-values", format!("{message}{}", because(axis)));
                found.push(warning.help(format!(
                    "remove one of the two: {repeats} of {} points repeat others",
                    grid.product_count()
                )));
            }
        }
    }
}

fn because(axis: &Axis) -> String {
    let Target::Flag(name) = &axis.target else { return String::new() };
    match known_flag(name.as_str()).and_then(|known| known.v1_default) {
        Some(default) => format!(": vLLM V1 has `{default}` when the flag is left out"),
        None => String::new(),
    }
}

/// What a setting comes to; none when it leaves the engine its own, unknown default.
fn resolved(setting: &Setting, deployed: &Settings) -> Option<String> {
    match setting {
        Setting::Flag(name, value) => resolved_flag(name, value),
        Setting::Env(_, value) => value.clone(),
        Setting::Image(value) => value.clone().or_else(|| deployed.image.clone()),
        Setting::Model(value) => value.clone().or_else(|| deployed.model.clone()),
    }
}

/// What a flag comes to in vLLM V1; none when it is not sent and its default is not fixed.
fn resolved_flag(name: &FlagName, value: &FlagValue) -> Option<String> {
    let known = known_flag(name.as_str());
    let default = known.and_then(|known| known.v1_default).map(str::to_owned);
    match value {
        FlagValue::Default => default,
        FlagValue::Off if known.is_some_and(|known| known.kind == FlagKind::Switch) => default,
        FlagValue::On => Some("on".to_owned()),
        FlagValue::Off => Some("off".to_owned()),
        FlagValue::Value(text) => Some(plain_number(text)),
        FlagValue::Many(texts) => Some(texts.join("\u{1f}")),
    }
}

/// One text for one number: `0.90` and `0.9`, `131072` and `128K` (vLLM reads `k` as 1,000 and `K` as 1,024).
fn plain_number(text: &str) -> String {
    let factors = [("k", 1e3), ("K", 1024.0), ("m", 1e6), ("M", 1_048_576.0), ("g", 1e9), ("G", 1_073_741_824.0)];
    let (digits, factor) = factors
        .iter()
        .find_map(|(letter, factor)| text.strip_suffix(letter).map(|digits| (digits, *factor)))
        .unwrap_or((text, 1.0));
    match digits.parse::<f64>() {
        Ok(number)
            if number.is_finite() && digits.starts_with(|c: char| c.is_ascii_digit() || c == '.' || c == '-') =>
        {
            (number * factor).to_string()
        }
        Ok(_) | Err(_) => text.to_owned(),
    }
}

/// What settings come to, without what leaves a default as it is.
fn canonical(settings: &Settings) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for (name, value) in &settings.flags {
        let default = resolved_flag(name, &FlagValue::Default).map(|text| plain_number(&text));
        let own = resolved_flag(name, value);
        if own != default
            && let Some(own) = own
        {
            all.insert(name.to_string(), own);
        }
    }
    for (name, value) in &settings.env {
        if let Some(value) = value {
            all.insert(format!("env.{name}"), value.clone());
        }
    }
    all.extend(settings.image.iter().map(|image| ("image".to_owned(), image.clone())));
    all.extend(settings.model.iter().map(|model| ("model".to_owned(), model.clone())));
    all
}

/// What settings send: the command and environment without what is taken out of them.
fn sent(settings: &Settings) -> BTreeMap<String, String> {
    let flags = settings.flags.iter().filter(|(_, value)| **value != FlagValue::Default);
    let mut all: BTreeMap<String, String> = flags.map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let env = settings.env.iter().filter_map(|(name, value)| Some((format!("env.{name}"), value.clone()?)));
    all.extend(env);
    all.extend(settings.image.iter().map(|image| ("image".to_owned(), image.clone())));
    all.extend(settings.model.iter().map(|model| ("model".to_owned(), model.clone())));
    all
}

/// 128 bits of a map's content: two SipHashes over different beginnings.
fn digest(map: &BTreeMap<String, String>) -> u128 {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, map).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    (half(0) << 64) | half(1)
}

/// Named configs that repeat each other or a point of the product.
fn twin_points(grid: &Grid, deployed: &Settings, found: &mut Diagnostics) {
    let mut by_sent: HashMap<u128, usize> = HashMap::new();
    let mut by_engine: HashMap<u128, usize> = HashMap::new();
    let product = grid.product_count();
    for (at, config) in grid.configs.iter().enumerate() {
        let Ok(point) = grid.point_at(product + at) else { return };
        if point.excluded.is_some() {
            continue;
        }
        let settings = deployed.overlaid(&point.config.settings);
        let (sent, engine) = (digest(&sent(&settings)), digest(&canonical(&settings)));
        let identical = by_sent.get(&sent).copied();
        let twin = identical.or_else(|| by_engine.get(&engine).copied());
        by_sent.entry(sent).or_insert(at);
        by_engine.entry(engine).or_insert(at);
        match twin {
            Some(first) => {
                let other = &grid.configs[first];
                let line = other.span.place().line;
                let unlike = other.expected != config.expected;
                let place = format!("`{}` (line {line})", other.name);
                found.push(repeated(&config.name, &config.span, &place, identical.is_some(), unlike));
            }
            None => {
                if let Some((name, identical)) = twin_in_product(grid, deployed, &settings) {
                    found.push(repeated(
                        &config.name,
                        &config.span,
                        &format!("`{name}` of the axes"),
                        identical,
                        false,
                    ));
                }
            }
        }
    }
}

fn repeated(name: &str, span: &Span, other: &str, identical: bool, expected_differ: bool) -> Diagnostic {
    let (code, how) = if identical {
        ("identical-points", "sets exactly the same as")
    } else {
        ("twin-points", "gives the same engine in vLLM V1 as")
    };
    let surprise = if expected_differ { ", and yet other figures are expected of it" } else { "" };
    let help = if identical {
        "change what should differ, or remove one of the two"
    } else {
        "a flag that is left out has its default; write `off` where off is meant, or remove one of the two"
    };
    span.warning(code, format!("`{name}` {how} {other}{surprise}")).help(help)
}

/// The point of the product that comes to the same as `settings`, found axis by axis; and whether it sends exactly the same.
fn twin_in_product(grid: &Grid, deployed: &Settings, settings: &Settings) -> Option<(String, bool)> {
    let mut index = 0;
    for axis in &grid.axes {
        let own = match &axis.target {
            Target::Flag(name) => resolved_flag(name, settings.flags.get(name).unwrap_or(&FlagValue::Default)),
            Target::Env(name) => settings.env.get(name).cloned().flatten(),
            Target::Image => settings.image.clone(),
            Target::Model => settings.model.clone(),
        };
        let same = |value: &super::AxisValue| {
            resolved(&value.setting, deployed).map(|t| plain_number(&t)) == own.as_deref().map(plain_number)
        };
        index = index * axis.values.len() + axis.values.iter().position(same)?;
    }
    if grid.axes.is_empty() {
        return None;
    }
    let point = grid.point_at(index).ok().filter(|point| point.excluded.is_none())?;
    let other = deployed.overlaid(&point.config.settings);
    same_engine(&other, settings).then(|| (point.config.name, sent(&other) == sent(settings)))
}
