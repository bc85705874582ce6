//! Axes: what varies, over which values, and the short names that points are called by.

use std::collections::HashSet;

use super::reader::Reader;
use super::settings::{self, Setting, Target};
use crate::domain::{FlagValue, Redactor};
use crate::yaml::{Node, Span};

/// One axis of the grid.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What it varies.
    pub target: Target,
    /// The same as text: a flag's name, `env.NAME`, `image`, `model`.
    pub title: String,
    /// Whether its values are secret by its name, or one holds a secret; then only their labels are shown.
    pub secret: bool,
    /// Its short name, unique among the grid's axes.
    pub short: String,
    /// Its values, in the grid's order; at least one, all different.
    pub values: Vec<AxisValue>,
    /// Its key in the file.
    pub span: Span,
}

/// One value of an axis.
#[derive(Clone, Debug)]
pub struct AxisValue {
    /// What it sets.
    pub setting: Setting,
    /// Its part of a point's name (`gmu0.9`), unique within its axis.
    pub label: String,
    /// Where it stands.
    pub span: Span,
}

/// Short names of the flags that people sweep most.
const SHORT: &[(&str, &str)] = &[
    ("gpu-memory-utilization", "gmu"),
    ("enable-prefix-caching", "prefix"),
    ("enable-chunked-prefill", "chunked"),
    ("enable-expert-parallel", "ep"),
    ("max-num-seqs", "seqs"),
    ("max-num-batched-tokens", "batched"),
    ("max-model-len", "len"),
    ("block-size", "block"),
    ("kv-cache-dtype", "kv"),
    ("kv-cache-memory-bytes", "kvbytes"),
    ("tensor-parallel-size", "tp"),
    ("pipeline-parallel-size", "pp"),
    ("data-parallel-size", "dp"),
    ("tool-call-parser", "tool"),
    ("reasoning-parser", "reasoning"),
    ("attention-backend", "attn"),
    ("enforce-eager", "eager"),
    ("async-scheduling", "async"),
    ("speculative-config", "spec"),
    ("compilation-config", "compile"),
    ("quantization", "quant"),
    ("scheduling-policy", "policy"),
    ("performance-mode", "mode"),
    ("optimization-level", "opt"),
];

/// Longest text of one value inside a name, characters.
const LABEL_MAX: usize = 24;

/// Reads `axes`.
pub(super) fn read(reader: &mut Reader, node: &Node) -> Vec<Axis> {
    let mut axes: Vec<Axis> = Vec::new();
    for (key, values) in reader.entries(node, "`axes`", "e.g. axes: { max-num-seqs: [16, 32] }") {
        let Some(target) = settings::target(reader, key) else { continue };
        if let Some(first) = axes.iter().find(|axis| axis.target == target) {
            let line = first.span.place().line;
            let error = key.span.error("duplicate-axis", format!("`{target}` is already an axis on line {line}"));
            reader.error(error.help("two spellings of one flag count as one; join the two lists"));
            continue;
        }
        let values = read_values(reader, &target, values);
        if !values.is_empty() {
            let title = target.to_string();
            let secret = Redactor::is_secret_name(&title) || values.iter().any(|v| !v.setting.secrets().is_empty());
            axes.push(Axis { target, title, secret, short: String::new(), values, span: key.span.clone() });
        }
    }
    name_axes(&mut axes);
    axes
}

fn read_values(reader: &mut Reader, target: &Target, node: &Node) -> Vec<AxisValue> {
    let what = format!("the axis `{target}`");
    let items =
        reader.items(node, &what, "write its values in brackets, e.g. [16, 32]; a fixed value belongs into `base`");
    if items.is_empty() && node.seq().is_some() {
        let error = node.span.error("empty-axis", format!("{what} has no values"));
        reader.error(error.help("give it at least one value, or remove it"));
    }
    let mut values: Vec<AxisValue> = Vec::new();
    for item in items {
        let Some(setting) = settings::setting(reader, target, item) else { continue };
        if values.iter().any(|v| v.setting == setting) {
            let error = item.span.error("duplicate-value", format!("{what} has `{}` twice", setting.shown()));
            reader.error(error.help("remove one of the two; 0.9 and 0.90 are the same value"));
            continue;
        }
        values.push(AxisValue { setting, label: String::new(), span: item.span.clone() });
    }
    values
}

/// Gives every axis its short name and every value its label.
///
/// Rules: a known flag has a fixed short name, another loses `enable-`/`disable-`..., a variable loses `VLLM_`. Two axes
/// with one short name both keep the full one. A number follows directly (`gmu0.9`), a word after a dash (`prefix-off`).
/// Two values of an axis with one label get `-v1`, `-v2` by their position.
fn name_axes(axes: &mut [Axis]) {
    let shorts: Vec<String> = axes.iter().map(|axis| short_name(&axis.target)).collect();
    for (i, axis) in axes.iter_mut().enumerate() {
        let clash = shorts.iter().enumerate().any(|(j, other)| j != i && *other == shorts[i]);
        axis.short = if clash { clean(&axis.title, usize::MAX) } else { shorts[i].clone() };
        label_values(axis);
    }
}

fn short_name(target: &Target) -> String {
    match target {
        Target::Flag(name) => {
            let name = name.as_str();
            let known = SHORT.iter().find(|(long, _)| *long == name).map(|(_, short)| *short);
            clean(known.unwrap_or_else(|| name.strip_prefix("enable-").unwrap_or(name)), usize::MAX)
        }
        Target::Env(name) => clean(&name.strip_prefix("VLLM_").unwrap_or(name).to_lowercase(), usize::MAX),
        Target::Image => "image".to_owned(),
        Target::Model => "model".to_owned(),
    }
}

fn label_values(axis: &mut Axis) {
    let mut labels: Vec<String> = Vec::with_capacity(axis.values.len());
    for (position, value) in axis.values.iter().enumerate() {
        labels.push(if axis.secret {
            format!("{}-v{}", axis.short, position + 1)
        } else {
            label(&axis.short, &value.setting)
        });
    }
    let mut taken: HashSet<String> = HashSet::new();
    for (position, value) in axis.values.iter_mut().enumerate() {
        let repeated = labels.iter().filter(|l| **l == labels[position]).count() > 1;
        let mut label =
            if repeated { format!("{}-v{}", labels[position], position + 1) } else { labels[position].clone() };
        // `a-v1` may also be somebody's own value.
        while !taken.insert(label.clone()) {
            label.push('x');
        }
        value.label = label;
    }
}

fn label(short: &str, setting: &Setting) -> String {
    let text = setting.text();
    let shown = match setting {
        // A path or a repository: what follows the last slash tells the most.
        Setting::Image(Some(text)) | Setting::Model(Some(text)) => text.rsplit('/').next().unwrap_or(text),
        Setting::Image(None) | Setting::Model(None) | Setting::Env(..) | Setting::Flag(..) => &text,
    };
    let shown = clean(shown, LABEL_MAX);
    let number = match setting {
        Setting::Flag(_, FlagValue::Value(text)) | Setting::Env(_, Some(text)) => text.parse::<f64>().is_ok(),
        Setting::Flag(..) | Setting::Env(_, None) | Setting::Image(_) | Setting::Model(_) => false,
    };
    // `gmu0.9`, but `top5-3`, and never `seqs-1` for two values 1 and -1.
    if number && !short.ends_with(|c: char| c.is_ascii_digit()) && !text.starts_with(['-', '+']) {
        format!("{short}{shown}")
    } else if text.starts_with('-') {
        format!("{short}-minus{shown}")
    } else {
        format!("{short}-{shown}")
    }
}

/// `text` with only letters, digits, dots and single dashes, at most `most` characters. Never an underscore: it joins the parts of a name.
fn clean(text: &str, most: usize) -> String {
    let mut result = String::new();
    for c in text.chars() {
        if c.is_ascii_alphanumeric() || c == '.' {
            result.push(c);
        } else if !result.is_empty() && !result.ends_with('-') {
            result.push('-');
        }
        if result.len() >= most {
            break;
        }
    }
    let trimmed = result.trim_end_matches(['-', '.']);
    if trimmed.is_empty() { "x".to_owned() } else { trimmed.to_owned() }
}
