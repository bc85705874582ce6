//! The keys of `--json`, and whether `docs/json.md` explains them.

use std::collections::BTreeSet;

use serde_json::Value;

/// Keys whose own keys are names of settings, facts or figures rather than words of the format.
const BY_NAME: &[&str] = &[
    "flags",
    "env",
    "facts",
    "figures",
    "numbers",
    "requests_by_end",
    "simplest",
    "spec",
    "images",
    "expected",
    "ends",
    "body",
];

/// All keys of the format, with the places where they were found.
fn keys(value: &Value, path: &str, by_name: bool, found: &mut BTreeSet<(String, String)>) {
    match value {
        Value::Object(object) => {
            for (key, inner) in object {
                if !by_name {
                    found.insert((key.clone(), path.to_owned()));
                }
                // A suite's parameters are explained with the grid's.
                if key == "suite" {
                    continue;
                }
                let names = BY_NAME.contains(&key.as_str()) && !by_name && inner.is_object();
                keys(inner, &format!("{path}.{key}"), names, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| keys(item, path, by_name, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What the document says of one command, and of the commands that this section refers to.
pub fn section_of(command: &str) -> String {
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/json.md")).unwrap();
    let alone = |command: &str| {
        let found = document.split("\n## ").find(|section| section.starts_with(&format!("`vgrid {command}")));
        found.unwrap_or_else(|| panic!("no section on {command}")).to_owned()
    };
    let own = alone(command);
    let others: BTreeSet<&str> =
        own.split("`vgrid ").skip(1).filter_map(|rest| rest.split([' ', '`']).next()).collect();
    others.into_iter().filter(|other| *other != command).map(alone).chain([own.clone()]).collect()
}

/// How many keys a command printed, and those of them, with their places, that its section does not explain.
pub fn lacking(command: &str, json: &Value, section: &str) -> (usize, Vec<(String, String)>) {
    let mut found = BTreeSet::new();
    keys(json, command, false, &mut found);
    let count = found.len();
    (count, found.into_iter().filter(|(key, _)| !section.contains(&format!("`{key}`"))).collect())
}
