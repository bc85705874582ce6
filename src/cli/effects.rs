//! `vgrid effects`: what each setting does by itself, and which settings depend on each other.

use std::path::Path;

use owo_colors::OwoColorize;

use crate::domain::SweepId;
use crate::domain::reading::{difference, gain, interval};
use crate::rank::Effect;
use crate::report::{EffectTable, effects_of};
use crate::store::Store;

use super::args::EffectsArgs;
use super::champions::{check_measured, objective_by};
use super::exit::{Exit, Stop};
use super::print;
use super::run::store_stop;

/// Prints the effects in a sweep.
pub(crate) fn effects(args: &EffectsArgs, db: &Path) -> Result<Exit, Stop> {
    let store = Store::open_read_only(db).map_err(store_stop)?;
    let sweep = store.sweep(args.sweep.map(SweepId)).map_err(store_stop)?;
    let objectives = match &args.by {
        Some(text) => vec![objective_by(text)?],
        None => store.objectives(sweep.id).map_err(store_stop)?,
    };
    let tables = effects_of(&store, sweep.id, &objectives).map_err(store_stop)?;
    if args.json {
        print::json(&serde_json::json!({
            "sweep": sweep.id,
            "grid": sweep.grid_name,
            "baseline": sweep.baseline,
            "effects": tables,
        }))?;
        return Ok(Exit::Ok);
    }
    if objectives.is_empty() {
        return Err(Stop::usage(
            "the grid states no objectives; name a metric with --by, e.g. --by kv_cache.ttft_hit_ms.p50",
        ));
    }
    if tables.is_empty() {
        if args.by.is_some() {
            check_measured(&store, sweep.id, &objectives[0].metric)?;
        }
        return Err(Stop::usage("no config has a figure of this metric; `vgrid champions` shows what was measured"));
    }
    print::out(tables.iter().map(render).collect::<Vec<_>>().join("\n\n"));
    Ok(Exit::Ok)
}

fn render(table: &EffectTable) -> String {
    let mut out = format!("{} ({} {})\n", table.objective.bold(), table.direction, table.metric);
    if table.effects.is_empty() {
        out.push_str("  no two measured configs differ in one setting alone: no effect can be told");
    } else {
        let caption = "mean change over pairs of configs that differ in this setting alone; the interval holds for the whole table";
        out.push_str(&format!("{}\n", print::sentence(caption, 2)));
        // Without room for all: what is measured before what follows from it.
        let header = ["setting", "from", "to", "change", "95 % interval", "percent", "pairs", ""];
        let shown = |column: &usize| !(print::is_narrow() && [5, 6].contains(column));
        let columns: Vec<usize> = (0..header.len()).filter(shown).collect();
        let mut rows = print::table(&columns.iter().map(|column| header[*column]).collect::<Vec<_>>());
        for effect in &table.effects {
            let row = row(table, effect);
            rows.add_row(columns.iter().map(|column| row[*column].as_str()));
        }
        print::keep_whole(&mut rows, 0);
        out.push_str(&print::text_of(&rows));
    }
    for name in &table.unmatched {
        let unknown = format!("{name}: no two measured configs differ in it alone, so its effect is not known");
        out.push_str(&format!("\n{}", print::sentence(&unknown, 2)));
    }
    if !table.interactions.is_empty() {
        out.push_str("\n\n  interactions beyond the noise, strongest first");
        for i in &table.interactions {
            let shown = |value: f64| difference(&table.metric.name, value, &table.unit);
            let line = format!(
                "{} {} to {} changes it by {} where {} is {}, and by {} where it is {}",
                i.change.axis,
                i.change.from,
                i.change.to,
                shown(i.effect_before),
                i.given.axis,
                i.given.from,
                shown(i.effect_after),
                i.given.to
            );
            out.push_str(&format!("\n{}", print::sentence(&line, 2)));
        }
    }
    out
}

fn row(table: &EffectTable, effect: &Effect) -> [String; 8] {
    let (name, unit) = (table.metric.name.as_str(), table.unit.as_str());
    let shift = &effect.shift;
    let interval = interval(name, shift.ci_low, shift.ci_high, unit).unwrap_or_default();
    let better = table.direction.cost(shift.difference) < 0.0;
    let verdict = match (shift.real, better) {
        (true, true) => "better".green().to_string(),
        (true, false) => "worse".red().to_string(),
        (false, _) if interval.is_empty() => "no interval".dimmed().to_string(),
        (false, _) => "noise".dimmed().to_string(),
    };
    [
        effect.change.axis.clone(),
        effect.change.from.clone(),
        effect.change.to.clone(),
        difference(&table.metric.name, shift.difference, &table.unit),
        interval,
        shift.percent.map(gain).unwrap_or_default(),
        effect.pairs.to_string(),
        verdict,
    ]
}
