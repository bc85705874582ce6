//! Foreign results on the screen: their order and gains, and everything that is doubtful about them.

use owo_colors::OwoColorize;

use crate::domain::reading::number;
use crate::foreign::{self, ForeignLine, ForeignRanking};
use crate::store::{Store, StoredForeign};

use super::exit::Stop;
use super::print;
use super::run::store_stop;

/// Prints every foreign table, by the figure `by` where a table has it, else by its own objective.
pub(crate) fn print_all(store: &Store, by: Option<&str>) -> Result<(), Stop> {
    let tables = store.foreign_tables().map_err(store_stop)?;
    if tables.is_empty() {
        print::out("\nno foreign results were imported");
    }
    for table in &tables {
        print::out(format!("\n{}", render(table, by)));
    }
    Ok(())
}

/// The tables with their rankings, for JSON.
pub(crate) fn described(store: &Store, by: Option<&str>) -> Result<serde_json::Value, Stop> {
    let tables = store.foreign_tables().map_err(store_stop)?;
    let all: Vec<_> = tables.iter().map(|t| serde_json::json!({ "foreign": t, "ranking": ranking(t, by) })).collect();
    Ok(all.into())
}

fn ranking(stored: &StoredForeign, by: Option<&str>) -> Option<ForeignRanking> {
    foreign::rank(&stored.table, by).or_else(|| foreign::rank(&stored.table, None))
}

/// A table as text: the order, what the first gains by its other figures, and the doubts.
pub(crate) fn render(stored: &StoredForeign, by: Option<&str>) -> String {
    let table = &stored.table;
    let title = format!("{} {} ({}; not measured by vgrid)", "FOREIGN".yellow().bold(), table.name.bold(), stored.path);
    let mut parts = vec![title];
    match ranking(stored, by) {
        None => parts.push("  no figure of it can be ranked".to_owned()),
        Some(ranking) => {
            let leader = ranking.lines.first();
            parts.extend(leader.map(|first| leads(first, &ranking.figure)));
            parts.push(lines(&ranking, table.baseline.as_deref()));
            let other = leader.filter(|first| table.baseline.as_ref() != Some(&first.config));
            parts.extend(other.and_then(|first| other_gains(first, table.baseline.as_deref())));
        }
    }
    if !table.doubts.is_empty() {
        let mut doubts = print::table(&["doubt", "what is doubtful"]);
        for doubt in &table.doubts {
            doubts.add_row([doubt.doubt.to_string(), doubt.text.clone()]);
        }
        parts.push(print::text_of(&doubts));
    }
    parts.join("\n")
}

fn leads(first: &ForeignLine, figure: &str) -> String {
    let estimate = if first.estimated { ", by an estimate" } else { "" };
    format!("  {} leads by {figure}{estimate}; no champion: foreign numbers have no intervals", first.config)
}

fn other_gains(first: &ForeignLine, baseline: Option<&str>) -> Option<String> {
    let gains: Vec<String> =
        first.other_gains_percent.iter().map(|(name, percent)| format!("{name} {}", gain(*percent))).collect();
    (!gains.is_empty()).then(|| {
        let mut table = print::table(&["leader", "its other gains against the baseline"]);
        table.add_row([format!("{} against {}", first.config, baseline.unwrap_or_default()), gains.join(", ")]);
        print::text_of(&table)
    })
}

fn lines(ranking: &ForeignRanking, baseline: Option<&str>) -> String {
    let mut table = print::table(&["", "config", ranking.figure.as_str(), "gain"]);
    for line in &ranking.lines {
        let mark = if line.estimated { " (estimated)" } else { "" };
        let own = match line.gain_percent {
            _ if baseline == Some(line.config.as_str()) => "baseline".to_owned(),
            Some(percent) => gain(percent),
            None => String::new(),
        };
        table.add_row([line.place.to_string(), format!("{}{mark}", line.config), number(line.value), own]);
    }
    print::keep_whole(&mut table, 1);
    print::text_of(&table)
}

/// Percent with one decimal, as such tables print their gains.
fn gain(percent: f64) -> String {
    let sign = if percent < 0.0 { "−" } else { "+" };
    format!("{sign}{:.1} %", percent.abs())
}
