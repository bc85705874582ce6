//! Foreign results on the screen: their order and gains, and everything that is doubtful about them.

use owo_colors::OwoColorize;

use crate::foreign::{self, ForeignRanking};
use crate::store::{Store, StoredForeign};
use crate::ui::format::{gain, number};

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

/// A table as text.
pub(crate) fn render(stored: &StoredForeign, by: Option<&str>) -> String {
    let table = &stored.table;
    let mut text =
        format!("{} {} ({}; not measured by vgrid)\n", "FOREIGN".yellow().bold(), table.name.bold(), stored.path);
    match ranking(stored, by) {
        None => text.push_str("  no figure of it can be ranked\n"),
        Some(ranking) => {
            if let Some(first) = ranking.lines.first() {
                let gained = first.gain_percent.filter(|_| table.baseline.as_ref() != Some(&first.config));
                let gained =
                    gained.map(|g| format!(", {} against {}", gain(g), table.baseline.as_deref().unwrap_or_default()));
                let figure = &ranking.figure;
                text.push_str(&format!(
                    "  {} leads by {figure}{}; no champion: foreign numbers have no intervals\n",
                    first.config,
                    gained.unwrap_or_default()
                ));
            }
            text.push_str(&lines(&ranking, table.baseline.as_deref()));
            text.push('\n');
        }
    }
    for doubt in &table.doubts {
        text.push_str(&format!("  {} {}: {}\n", "doubt".yellow(), doubt.doubt, doubt.text));
    }
    text.trim_end().to_owned()
}

fn lines(ranking: &ForeignRanking, baseline: Option<&str>) -> String {
    let others: Vec<&str> = ranking
        .lines
        .first()
        .map(|l| l.other_gains_percent.iter().map(|(n, _)| n.as_str()).collect())
        .unwrap_or_default();
    let mut header = vec!["", "config", ranking.figure.as_str(), "gain"];
    let named: Vec<String> = others.iter().map(|name| format!("gain {name}")).collect();
    header.extend(named.iter().map(String::as_str));
    let mut table = print::table(&header);
    for line in &ranking.lines {
        let is_baseline = baseline == Some(line.config.as_str());
        let mark = if line.estimated { " (estimated)" } else { "" };
        let own = match line.gain_percent {
            _ if is_baseline => "baseline".to_owned(),
            Some(percent) => gain(percent),
            None => String::new(),
        };
        let mut cells = vec![line.place.to_string(), format!("{}{mark}", line.config), number(line.value), own];
        cells.extend(others.iter().map(|name| {
            let of = line.other_gains_percent.iter().find(|(n, _)| n == name).filter(|_| !is_baseline);
            of.map(|(_, percent)| gain(*percent)).unwrap_or_default()
        }));
        table.add_row(cells);
    }
    print::text_of(&table)
}
