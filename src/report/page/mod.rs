//! The report as one HTML page that loads nothing.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, context};

use super::chart::{draw, quantile_axis, quantile_strip};
use super::model::ReportModel;
use super::table::best_first;
use crate::domain::{MetricPath, RequestEnd, reading};
use crate::rank::Standing;

/// The most sections of configs that are all opened on paper.
const PRINTED: usize = 30;

/// The page. Everything that comes from outside is escaped by the template.
///
/// # Errors
/// The template is wrong: a fault of vgrid.
pub fn html(model: &ReportModel) -> anyhow::Result<String> {
    let mut env = Environment::new();
    env.set_auto_escape_callback(|_| AutoEscape::Html);
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    env.set_syntax(syntax.context("the report's template")?);
    env.add_filter("number", reading::number);
    env.add_filter("duration", reading::duration);
    env.add_filter("gain", reading::gain);
    env.add_filter("figure", |value: f64, metric: &str, unit: &str| reading::figure(&name_of(metric), value, unit));
    env.add_filter("difference", |value: f64, metric: &str, unit: &str| {
        reading::difference(&name_of(metric), value, unit)
    });
    env.add_filter("bare", |value: f64, metric: &str, unit: &str| reading::bare_figure(&name_of(metric), value, unit));
    env.add_filter("unit", |unit: &str, metric: &str| reading::unit_text(&name_of(metric), unit).to_owned());
    env.add_filter("shorten", |text: &str, width: usize| reading::shorten(text, width));
    env.add_filter("moment", |rfc3339: &str| reading::moment(rfc3339));
    env.add_filter("ended", |end: &str| RequestEnd::words(end));
    env.add_filter("title", |name: &str| reading::title(name));
    env.add_function("strip", strip);
    env.add_function("strip_axis", strip_axis);
    env.add_template("page", include_str!("report.html")).context("the report's template")?;
    let svg: BTreeMap<&str, Value> =
        model.charts.iter().map(|c| (c.id.as_str(), Value::from_safe_string(draw(c)))).collect();
    let lines = best_first(model);
    let states: BTreeSet<&str> = model.configs.iter().map(|c| c.state.as_str()).collect();
    let sections: BTreeSet<i64> = model.trials.iter().map(|t| t.trial_id).collect();
    // On paper a sweep of many configs would be hundreds of pages.
    let best = model.verdict.lines.iter().flat_map(|line| &line.best);
    let at_length: BTreeSet<i64> = if model.trials.len() <= PRINTED {
        sections.clone()
    } else {
        best.filter(|b| b.is_baseline || b.standing == Standing::Leader).map(|b| b.trial_id).collect()
    };
    let page = env.get_template("page").context("the report's template")?;
    page.render(context! {
        m => Value::from(Serde(model)),
        lines => Value::from(Serde(&lines)),
        svg => svg,
        states => states,
        sections => Value::from(Serde(&sections)),
        at_length => Value::from(Serde(&at_length)),
        took => took(model),
        css => Value::from_safe_string(include_str!("report.css").to_owned()),
        js => Value::from_safe_string(include_str!("report.js").to_owned()),
    })
    .context("the report's template")
}

/// The name in a metric's path, or the name before a statistic in `name statistic`.
fn name_of(metric: &str) -> String {
    match metric.parse::<MetricPath>() {
        Ok(path) => path.name,
        Err(_) => metric.split(' ').next().unwrap_or_default().to_owned(),
    }
}

/// From the start of the first run to the end of the last; `None` while one runs.
fn took(model: &ReportModel) -> Option<String> {
    let runs = &model.setup.runs;
    let start: jiff::Timestamp = runs.first()?.started_at.parse().ok()?;
    let end: jiff::Timestamp = runs.last()?.ended_at.as_deref()?.parse().ok()?;
    Some(reading::duration(end.duration_since(start).as_secs_f64()))
}

/// The strip of one distribution, on the scale of all of its kind in the scenario.
fn strip(d: &Value, all: &Value) -> Result<Value, minijinja::Error> {
    let (what, of) = (d.get_attr("what")?, d.get_attr("of")?);
    Ok(Value::from_safe_string(quantile_strip(&format!("{what} {of}"), &quantiles(d)?, slowest(&what, all)?)))
}

/// The axis of the strips of one kind.
fn strip_axis(what: &Value, all: &Value) -> Result<Value, minijinja::Error> {
    Ok(Value::from_safe_string(quantile_axis(slowest(what, all)?)))
}

/// The largest latency of one kind in a scenario, ms.
fn slowest(what: &Value, all: &Value) -> Result<f64, minijinja::Error> {
    let mut most = 0.0_f64;
    for other in all.try_iter()? {
        if other.get_attr("what")? == *what {
            most = most.max(quantiles(&other)?[6]);
        }
    }
    Ok(most)
}

fn quantiles(d: &Value) -> Result<[f64; 7], minijinja::Error> {
    let list = d.get_attr("quantiles")?.try_iter()?.map(f64::try_from).collect::<Result<Vec<f64>, _>>()?;
    let wrong = |_| minijinja::Error::new(minijinja::ErrorKind::InvalidOperation, "a distribution has seven quantiles");
    list.try_into().map_err(wrong)
}
