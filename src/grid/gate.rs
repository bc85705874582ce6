//! Gates: conditions over measured figures that a config must meet before it may rank; and objectives.

use std::fmt;

use minijinja::Value;
use serde::{Deserialize, Serialize};

use super::expr::{self, Chain, Evaluated, Program, Refusal};
use super::reader::{Reader, narrowed};
use crate::domain::{Direction, MetricPath, Objective, STATISTICS, ScenarioKind, did_you_mean};
use crate::yaml::{Node, Span};

/// A figure that a gate looks at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateMetric {
    /// Of the baseline (`baseline.load.ttft_ms.p50`) rather than of the config itself.
    pub of_baseline: bool,
    /// Which figure.
    pub path: MetricPath,
}

impl fmt::Display for GateMetric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.of_baseline { "baseline." } else { "" }, self.path)
    }
}

/// One gate of a grid.
#[derive(Debug)]
pub struct Gate {
    program: Program<GateMetric>,
}

/// Whether a config meets a gate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum GateResult {
    /// It does.
    Pass,
    /// It does not; the figures that it was judged by, in the gate's order.
    Fail {
        /// Figure and value.
        values: Vec<(GateMetric, f64)>,
    },
    /// A figure that decides is not there.
    NotMeasured {
        /// Which one.
        metric: GateMetric,
    },
}

impl Gate {
    /// The condition as written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.program.text
    }

    /// Where it stands in the grid's file.
    #[must_use]
    pub const fn span(&self) -> &Span {
        &self.program.span
    }

    /// The figures that it looks at, in order of appearance.
    #[must_use]
    pub fn metrics(&self) -> &[GateMetric] {
        &self.program.variables
    }

    /// Judges a config by its figures and those of the baseline; `None` is "not measured".
    pub fn evaluate(
        &self,
        lookup: impl Fn(&MetricPath) -> Option<f64>,
        baseline: impl Fn(&MetricPath) -> Option<f64>,
    ) -> GateResult {
        let figure = |metric: &GateMetric| {
            // What is no number was not measured.
            let value = if metric.of_baseline { baseline(&metric.path) } else { lookup(&metric.path) };
            value.filter(|v| v.is_finite())
        };
        let figures: Vec<Option<f64>> = self.metrics().iter().map(figure).collect();
        match self.program.evaluate(figures.iter().map(|f| f.map(Value::from)).collect()) {
            Evaluated::Bool(true) => GateResult::Pass,
            Evaluated::Missing(number) => match self.metrics().get(number) {
                Some(metric) => GateResult::NotMeasured { metric: metric.clone() },
                None => GateResult::Fail { values: Vec::new() },
            },
            // An operation that fails for these figures (a division by zero) does not let a config through.
            Evaluated::Bool(false) | Evaluated::Wrong(_) => GateResult::Fail {
                values: self.metrics().iter().cloned().zip(figures).filter_map(|(m, f)| Some((m, f?))).collect(),
            },
        }
    }
}

/// Reads `gates`.
pub(super) fn read_gates(reader: &mut Reader, node: &Node) -> Vec<Gate> {
    let help = "e.g. gates: [kv_cache.ttft_miss_ms.p95 <= 4000]";
    let mut gates = Vec::new();
    for item in reader.items(node, "`gates`", help) {
        let Some(text) = reader.text(item, "a gate") else { continue };
        match parse_gate(&text.value, &text.span) {
            Ok(gate) => gates.push(gate),
            Err(problems) => problems.into_iter().for_each(|problem| reader.error(problem)),
        }
    }
    gates
}

fn parse_gate(text: &str, span: &Span) -> Result<Gate, Vec<crate::domain::Diagnostic>> {
    let program = expr::compile(text, span, metric_of)?;
    let help = "compare figures, e.g. load.ttft_ms.p95 <= 500";
    if program.variables.is_empty() {
        let error = program.error("gate-without-metric", "this gate looks at no metric");
        return Err(vec![error.help(help)]);
    }
    // Different figures, so that no difference between two of them is zero.
    let trial = (0..program.variables.len()).map(|i| Some(Value::from(1.0 + 0.37 * i as f64))).collect();
    match program.evaluate(trial) {
        Evaluated::Bool(_) | Evaluated::Missing(_) => Ok(Gate { program }),
        Evaluated::Wrong(why) => {
            Err(vec![program.error("gate-not-boolean", format!("this gate is no condition: {why}")).help(help)])
        }
    }
}

fn metric_of(chain: &Chain) -> Result<GateMetric, Refusal> {
    let (of_baseline, parts) = match chain.parts.split_first() {
        Some((first, rest)) if first == "baseline" => (true, rest),
        Some(_) | None => (false, chain.parts.as_slice()),
    };
    if parts.is_empty() {
        let help = "write baseline.scenario.metric.p50";
        return Err(Refusal::new("unknown-metric", "`baseline` alone is no metric", help));
    }
    let path = metric_path(&parts.join("."))?;
    Ok(GateMetric { of_baseline, path })
}

/// A metric's path, checked beyond its form: scenario, point and statistic must make sense.
fn metric_path(text: &str) -> Result<MetricPath, Refusal> {
    let path: MetricPath = text.parse().map_err(|error: crate::domain::MetricPathError| {
        let first = text.split('.').next().unwrap_or_default();
        let scenarios: Vec<&str> = ScenarioKind::ALL.iter().map(|k| k.as_str()).collect();
        let help = match did_you_mean(first, scenarios.iter().copied()) {
            Some(near) if near != first => format!("did you mean `{near}`?"),
            Some(_) => "write scenario.metric or scenario.metric.statistic, e.g. load.ttft_ms.p95".to_owned(),
            None => format!("scenarios: {}", scenarios.join(", ")),
        };
        Refusal::new("unknown-metric", error.to_string(), help)
    })?;
    // `load.ttft_ms.p59` reads as the metric `p59` at the point `ttft_ms`.
    if let Some(point) = &path.point
        && !is_point(point)
    {
        let help = match did_you_mean(&path.name, STATISTICS.iter().copied()) {
            Some(near) => format!("did you mean `{}.{point}.{near}`?", path.scenario),
            None => format!("statistics: {}; a point is written c4 or p1024", STATISTICS.join(", ")),
        };
        return Err(Refusal::new("unknown-statistic", format!("`{}` is no statistic", path.name), help));
    }
    if STATISTICS.contains(&path.name.as_str()) {
        let message = format!("`{text}` names a statistic and no metric");
        return Err(Refusal::new("unknown-metric", message, "write scenario.metric.statistic, e.g. load.ttft_ms.p95"));
    }
    Ok(path)
}

/// Letters, then digits: `c4`, `p1024`, `rate2`.
fn is_point(text: &str) -> bool {
    let digits = text.trim_start_matches(|c: char| c.is_ascii_lowercase());
    digits.len() < text.len() && digits.starts_with(|c: char| c.is_ascii_digit())
}

/// Reads `objectives`, each with the place of its value.
pub(super) fn read_objectives(reader: &mut Reader, node: &Node) -> Vec<(Objective, Span)> {
    let help = "e.g. objectives: { throughput: maximize load.output_tokens_per_s }";
    let mut objectives = Vec::new();
    for (key, value) in reader.entries(node, "`objectives`", help) {
        let Some(name) = reader.text(key, "an objective's name") else { continue };
        let Some(text) = reader.text(value, "an objective") else { continue };
        let mut words = text.value.split_whitespace();
        let (Some(direction), Some(metric), None) = (words.next(), words.next(), words.next()) else {
            let error = value.span.error("bad-objective", format!("`{}` is no objective", text.value));
            reader.error(
                error.help("write `minimize METRIC` or `maximize METRIC`, e.g. maximize load.output_tokens_per_s"),
            );
            continue;
        };
        let at = |part: &str| text.value.find(part).map_or(0, |byte| text.value[..byte].chars().count());
        let place = |error, part: &str| narrowed(error, &text.value, at(part), part.chars().count());
        let direction = match direction.parse::<Direction>() {
            Ok(direction) => direction,
            Err(why) => {
                let near = did_you_mean(direction, ["minimize", "maximize"]).or(match direction {
                    "min" | "minimise" | "lowest" => Some("minimize"),
                    "max" | "maximise" | "highest" => Some("maximize"),
                    _ => None,
                });
                let help =
                    near.map_or_else(|| "write minimize or maximize".to_owned(), |n| format!("did you mean `{n}`?"));
                reader.error(place(value.span.error("bad-objective", why), direction).help(help));
                continue;
            }
        };
        match metric_path(metric) {
            Ok(metric) => objectives.push((Objective { name: name.value, direction, metric }, value.span.clone())),
            Err(refusal) => {
                let error = place(value.span.error(refusal.code, refusal.message), metric);
                reader.error(error.help(refusal.help));
            }
        }
    }
    objectives
}

/// Reads `expected`: figures that the author predicts, as hypotheses to be checked against the measured ones.
pub(super) fn read_expected(reader: &mut Reader, node: &Node) -> Vec<(MetricPath, f64)> {
    use crate::yaml::Scalar;
    let mut expected = Vec::new();
    for (key, value) in reader.entries(node, "`expected`", "e.g. expected: { load.ttft_ms.p50: 120 }") {
        let number = match value.scalar() {
            Some(Scalar::Int(number)) => Some(number as f64),
            Some(Scalar::Float(number)) if number.is_finite() => Some(number),
            Some(Scalar::Float(_) | Scalar::Null | Scalar::Bool(_) | Scalar::Str(_)) | None => None,
        };
        let path = metric_path(key.text().unwrap_or_default());
        match (path, number) {
            (Ok(path), Some(number)) => expected.push((path, number)),
            (Err(refusal), _) => {
                let error = key.span.error(refusal.code, refusal.message);
                reader.error(error.help(refusal.help));
            }
            (Ok(path), None) => {
                let what = format!("the expected `{path}`");
                reader.wrong_type(value, &what, "a number", "write the figure in the metric's own unit");
            }
        }
    }
    expected
}
