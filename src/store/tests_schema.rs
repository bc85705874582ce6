//! `docs/schema.md` names every table, view and column, and its worked queries run.

use std::collections::{BTreeMap, BTreeSet};

use super::tests::bench;

const DOCUMENT: &str = include_str!("../../docs/schema.md");

/// The document's sections (### and a name in backticks), each with the first cell of every table row.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let mut sections: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut current = None;
    for line in DOCUMENT.lines() {
        if line.starts_with('#') {
            current = line.strip_prefix("### `").and_then(|n| n.split_once('`')).map(|(n, _)| n.to_owned());
            if let Some(name) = &current {
                sections.entry(name.clone()).or_default();
            }
        }
        let cell = line.strip_prefix("| `").and_then(|rest| rest.split_once('`')).map(|(cell, _)| cell.to_owned());
        if let (Some(section), Some(cell)) = (&current, cell) {
            sections.entry(section.clone()).or_default().insert(cell);
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
        assert_eq!(documented[&name], columns, "columns of {name}");
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
