//! The report as Markdown: verdict, tables, failures, limitations.

use std::fmt::Write;

use crate::domain::reading::{bare_figure, difference, figure, gain, interval, judged_gain, unit_text};

use super::model::{Cell, ReportModel};

/// Rows of a long table; the rest is in the other formats.
const ROWS: usize = 40;

/// The report as Markdown.
#[must_use]
pub fn markdown(model: &ReportModel) -> String {
    let mut out = String::new();
    let s = &model.sweep;
    let _ = writeln!(out, "# {}\n\n**{}**\n", text(&s.grid_name), text(&model.verdict.headline));
    let _ = writeln!(
        out,
        "Sweep {}, {}: {} configs, {} measured, {} failed, {} skipped, {} left. Made by vgrid {} at {}.\n",
        s.id, s.state, s.trials, s.measured, s.failed, s.skipped, s.remaining, model.vgrid_version, model.generated_at
    );
    for line in &model.verdict.lines {
        let _ = writeln!(
            out,
            "- **{}** ({} `{}`): {}",
            text(&line.objective),
            line.direction,
            line.metric,
            text(&line.sentence)
        );
        for sentence in &line.confidence {
            let _ = writeln!(out, "  - {}", text(sentence));
        }
    }
    configs(&mut out, model);
    effects(&mut out, model);
    failures(&mut out, model);
    expectations(&mut out, model);
    if !model.findings.is_empty() {
        out.push_str("\n## Findings\n\n");
        for f in &model.findings {
            let configs = if f.configs.len() > 1 { format!(" ({} configs)", f.configs.len()) } else { String::new() };
            let _ = writeln!(out, "- {}: {}{configs}", text(&f.topic), text(&f.sentence));
        }
    }
    if !model.limitations.is_empty() {
        out.push_str("\n## Limitations\n\n");
        for limitation in &model.limitations {
            let _ = writeln!(out, "- {}", text(limitation));
        }
    }
    out.push_str("\n## Setup\n\n");
    for (label, value) in &model.setup.facts {
        let _ = writeln!(out, "- {label}: {}", text(value));
    }
    for gate in &model.setup.gates {
        let _ = writeln!(out, "- Gate: {}", code(gate));
    }
    out
}

/// The table of configs.
fn configs(out: &mut String, model: &ReportModel) {
    let lines = super::table::best_first(model);
    out.push_str("\n## Configs\n\n");
    let mut header = vec!["config".to_owned(), "state".to_owned()];
    header.extend(model.columns.iter().map(|c| match unit_text(&c.metric.name, &c.unit) {
        "" => c.title.clone(),
        unit => format!("{} ({unit})", c.title),
    }));
    row(out, header.iter().cloned());
    row(out, header.iter().map(|_| "---".to_owned()));
    for line in lines.iter().take(ROWS) {
        let name = if line.is_baseline { format!("{} (baseline)", text(&line.name)) } else { text(&line.name) };
        let figures = model.columns.iter().zip(&line.figures);
        let figures = figures.map(|(c, f)| f.as_ref().map(|f| cell(&c.metric.name, f)).unwrap_or_default());
        row(out, [name, line.state.to_string()].into_iter().chain(figures));
    }
    if lines.len() > ROWS {
        let _ = writeln!(out, "\n{} more configs are in the other formats.", lines.len() - ROWS);
    }
}

fn bracketed(name: &str, (low, high): (Option<f64>, Option<f64>), unit: &str) -> String {
    interval(name, low, high, unit).map(|interval| format!(" [{interval}]")).unwrap_or_default()
}

/// `2,042 [2,005 .. 2,076], +50.3 %`.
fn cell(name: &str, cell: &Cell) -> String {
    let bare = |value| bare_figure(name, value, &cell.unit);
    let interval = bracketed(name, (cell.ci_low, cell.ci_high), &cell.unit);
    let gained = cell.gain_percent.map(|p| format!(", {}", judged_gain(p, cell.gain_is_real))).unwrap_or_default();
    format!("{}{interval}{gained}", bare(cell.value))
}

fn effects(out: &mut String, model: &ReportModel) {
    for table in model.effects.iter().filter(|t| !t.effects.is_empty()) {
        let name = table.metric.name.as_str();
        let _ = writeln!(out, "\n## What each setting does to {}\n", text(&table.objective));
        let _ = writeln!(
            out,
            "Mean change of `{}` over matched pairs: configs that differ in this setting alone.\n",
            table.metric
        );
        row(
            out,
            ["setting", "change", "pairs", "difference", "interval", "percent", ""].map(str::to_owned).into_iter(),
        );
        row(out, (0..7).map(|_| "---".to_owned()));
        for e in &table.effects {
            let interval = interval(name, e.shift.ci_low, e.shift.ci_high, &table.unit);
            let verdict = match (e.shift.real, &interval) {
                (true, _) => "real",
                (false, Some(_)) => "noise",
                (false, None) => "no interval",
            };
            let cells = [
                code(&e.change.axis),
                format!("{} to {}", text(&e.change.from), text(&e.change.to)),
                e.pairs.to_string(),
                difference(name, e.shift.difference, &table.unit),
                interval.unwrap_or_default(),
                e.shift.percent.map(gain).unwrap_or_default(),
                verdict.to_owned(),
            ];
            row(out, cells.into_iter());
        }
        for i in &table.interactions {
            let _ = writeln!(
                out,
                "\n- {} {} to {} changes it by {} where {} is {}, and by {} where it is {}.",
                code(&i.change.axis),
                text(&i.change.from),
                text(&i.change.to),
                figure(name, i.effect_before, &table.unit),
                code(&i.given.axis),
                text(&i.given.from),
                figure(name, i.effect_after, &table.unit),
                text(&i.given.to)
            );
        }
    }
}

fn failures(out: &mut String, model: &ReportModel) {
    if model.failures.is_empty() {
        return;
    }
    out.push_str("\n## Failures\n");
    for f in &model.failures {
        let stage = f.stage.as_ref().map(|s| format!(" during {s}")).unwrap_or_default();
        let count = match f.configs.len() {
            1 => "1 config".to_owned(),
            n => format!("{n} configs"),
        };
        let names: Vec<String> = f.configs.iter().take(6).map(|(name, _)| text(name)).collect();
        let more = if f.configs.len() > 6 { format!(" and {} more", f.configs.len() - 6) } else { String::new() };
        let _ = writeln!(out, "\n### {}{stage}: {count}\n\n{}{more}\n", f.cause, names.join(", "));
        for (_, line) in f.evidence.iter().take(3) {
            let _ = writeln!(out, "    {}", line.replace(['\n', '\r'], " "));
        }
        let _ = writeln!(out, "\nWhat to do: {}", text(&f.remedy));
    }
}

fn expectations(out: &mut String, model: &ReportModel) {
    if model.expectations.is_empty() {
        return;
    }
    out.push_str("\n## Expected against measured\n\n");
    row(out, ["config", "metric", "expected", "measured", "off"].map(str::to_owned).into_iter());
    row(out, (0..5).map(|_| "---".to_owned()));
    for e in &model.expectations {
        let name = e.metric.name.as_str();
        let unit = e.measured.as_ref().map(|m| m.unit.as_str()).unwrap_or_default();
        let measured = e.measured.as_ref().map_or_else(
            || "not measured".to_owned(),
            |m| format!("{}{}", bare_figure(name, m.value, unit), bracketed(name, (m.ci_low, m.ci_high), unit)),
        );
        let off = e.off_percent.map(gain).unwrap_or_default();
        row(
            out,
            [text(&e.config), code(&e.metric.to_string()), bare_figure(name, e.expected, unit), measured, off]
                .into_iter(),
        );
    }
}

fn row(out: &mut String, cells: impl Iterator<Item = String>) {
    let cells: Vec<String> = cells.collect();
    let _ = writeln!(out, "| {} |", cells.join(" | "));
}

/// Text in which nothing is Markdown or HTML.
fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '|' | '*' | '`' | '[' | ']' | '\\' | '_' => out.extend(['\\', c]),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// Text as code, which a bar or a backtick cannot break.
fn code(text: &str) -> String {
    format!("`{}`", text.replace('`', "'").replace('|', "\\|").replace(['\n', '\r'], " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_stays_text() {
        assert_eq!(text("<b>|*x*`"), "&lt;b&gt;\\|\\*x\\*\\`");
        assert_eq!(code("a`|b"), "`a'\\|b`");
    }
}
