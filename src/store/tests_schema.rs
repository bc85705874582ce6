//! `docs/schema.md` names every table, view and column, and its worked queries run.

use std::collections::{BTreeMap, BTreeSet};

use super::tests::bench;
use super::{RunEnd, SweepKind, SweepState, TrialState};
use crate::domain::{
    CaseDelivery, CaseResult, Direction, FactSource, Phase, Purpose, RequestEnd, Role, STATISTICS, SkipReason, Stage,
    Unit, Verdict,
};

const DOCUMENT: &str = include_str!("../../docs/schema.md");

/// The document's sections (### and a name in backticks), each with its table: first cell to the rest of the row.
fn documented() -> BTreeMap<String, BTreeMap<String, String>> {
    let mut sections: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut current = None;
    for line in DOCUMENT.lines() {
        if line.starts_with('#') {
            current = line.strip_prefix("### `").and_then(|n| n.split_once('`')).map(|(n, _)| n.to_owned());
            if let Some(name) = &current {
                sections.entry(name.clone()).or_default();
            }
        }
        let row = line.strip_prefix("| `").and_then(|rest| rest.split_once('`'));
        if let (Some(section), Some((cell, meaning))) = (&current, row) {
            sections.entry(section.clone()).or_default().insert(cell.to_owned(), meaning.to_owned());
        }
    }
    sections
}

#[test]
fn every_table_view_and_column_is_documented_and_nothing_else_is() {
    let b = bench(1);
    let mut statement = b
        .store
        .conn
        .prepare("SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%'")
        .unwrap();
    let names: BTreeSet<String> = statement.query_map([], |r| r.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
    let documented = documented();
    assert_eq!(
        documented.keys().cloned().collect::<BTreeSet<_>>(),
        names,
        "sections of docs/schema.md against the schema"
    );
    for name in names {
        // table_xinfo also lists generated columns.
        let mut statement = b.store.conn.prepare("SELECT name FROM pragma_table_xinfo(?1)").unwrap();
        let columns: BTreeSet<String> =
            statement.query_map([&name], |r| r.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
        let described: BTreeSet<String> = documented[&name].keys().cloned().collect();
        assert_eq!(described, columns, "columns of {name}");
    }
}

#[test]
fn every_column_of_a_table_that_may_be_null_says_when_it_is() {
    let b = bench(1);
    let sql = "SELECT t.name, c.name FROM sqlite_schema t, pragma_table_xinfo(t.name) c
               WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%' AND c.\"notnull\" = 0 AND c.pk = 0";
    let mut statement = b.store.conn.prepare(sql).unwrap();
    let columns: Vec<(String, String)> =
        statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?))).unwrap().collect::<Result<_, _>>().unwrap();
    assert!(columns.len() > 40, "{columns:?}");
    let documented = documented();
    // the kept rows of a view have their meaning there: "as in `ranking`, like all columns"
    let says = |table: &str, column: &str| {
        let kept_of = documented[table].values().find_map(|meaning| meaning.split_once("as in `")?.1.split_once('`'));
        let view = kept_of.and_then(|(view, _)| documented.get(view)?.get(column));
        documented[table][column].contains("NULL") || view.is_some_and(|meaning| meaning.contains("NULL"))
    };
    let silent: Vec<_> = columns.iter().filter(|(table, column)| !says(table, column)).collect();
    assert!(silent.is_empty(), "docs/schema.md does not say when these are NULL: {silent:?}");
}

/// Every spelling of one of our enums.
fn words<T: Copy>(all: &[T], spelling: fn(T) -> &'static str) -> Vec<&'static str> {
    all.iter().map(|word| spelling(*word)).collect()
}

#[test]
fn every_list_of_words_in_the_document_is_the_enum_s() {
    let roles = words(Role::ALL, Role::as_str);
    let units = words(Unit::ALL, Unit::as_str);
    let ends = words(RequestEnd::ALL, RequestEnd::as_str);
    let phases = words(Phase::ALL, Phase::as_str);
    let purposes = words(Purpose::ALL, Purpose::as_str);
    let verdicts = words(Verdict::ALL, Verdict::as_str);
    let trial_states = words(TrialState::ALL, TrialState::as_str);
    let scenarios_that_judge = vec!["tool_calling", "reasoning", "canary"];
    let lists = [
        ("request", "role", roles),
        ("request", "ended", ends),
        ("metric", "unit", units),
        ("metric", "statistic", STATISTICS.to_vec()),
        ("case_outcome", "delivery", words(CaseDelivery::ALL, CaseDelivery::as_str)),
        ("case_outcome", "result", words(CaseResult::ALL, CaseResult::as_str)),
        ("paired_quality", "scenario", scenarios_that_judge),
        ("attempt", "phase", phases.clone()),
        ("trials", "phase", phases),
        ("attempt", "purpose", purposes.clone()),
        ("timeline", "purpose", purposes.clone()),
        ("controls", "purpose", purposes),
        ("failures", "stage", words(Stage::ALL, Stage::as_str)),
        ("trial_skip", "reason", words(SkipReason::ALL, SkipReason::as_str)),
        ("resolved_fact", "source", words(FactSource::ALL, FactSource::as_str)),
        ("scenario_result", "verdict", verdicts.clone()),
        ("results", "verdict", verdicts),
        ("trials", "state", trial_states),
        ("sweeps", "state", words(SweepState::ALL, SweepState::as_str)),
        ("sweep", "kind", words(SweepKind::ALL, SweepKind::as_str)),
        ("sweeps", "kind", words(SweepKind::ALL, SweepKind::as_str)),
        ("sweep_run", "ended", words(RunEnd::ALL, RunEnd::as_str)),
        ("objective", "direction", words(Direction::ALL, Direction::as_str)),
    ];
    let documented = documented();
    for (table, column, words) in lists {
        let text = &documented[table][column];
        let lacking: Vec<_> = words.iter().filter(|word| !text.contains(&format!("`{word}`"))).collect();
        assert!(lacking.is_empty(), "docs/schema.md lacks {lacking:?} in {table}.{column}: {text}");
        if matches!(column, "role" | "unit" | "ended" | "kind") {
            let quoted: Vec<&str> = text.split('`').skip(1).step_by(2).collect();
            let unknown: Vec<_> = quoted.iter().filter(|word| !words.contains(word)).collect();
            assert!(unknown.is_empty(), "docs/schema.md has {unknown:?} in {table}.{column}, which nothing writes");
        }
    }
}

#[test]
fn the_worked_queries_of_the_document_run() {
    let b = bench(2);
    let mut ran = 0;
    for block in DOCUMENT.split("```sql\n").skip(1) {
        let sql = block.split("```").next().unwrap();
        let mut statement = b.store.conn.prepare(sql).unwrap_or_else(|e| panic!("{e} in {sql}"));
        statement.query([]).unwrap().next().unwrap();
        ran += 1;
    }
    assert!(ran >= 10, "{ran} queries");
}
