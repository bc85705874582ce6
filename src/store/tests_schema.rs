//! `docs/schema.md` names every table, view and column, and its worked queries run.

use std::collections::{BTreeMap, BTreeSet};

use super::tests::bench;

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
    let silent: Vec<_> = columns.iter().filter(|(table, column)| !documented[table][column].contains("NULL")).collect();
    assert!(silent.is_empty(), "docs/schema.md does not say when these are NULL: {silent:?}");
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
    assert!(ran >= 6, "{ran} queries");
}
