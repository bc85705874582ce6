//! The reference explains every key; the grids that the project ships mean what they say.

use std::time::Duration;

use super::*;
use crate::domain::{ScenarioKind, Settings};
use crate::grid::limits::parse_duration;
use crate::grid::{Limits, keys, suite};

const REFERENCE: &str = include_str!("../../../docs/grid.md");
const QWEN: &str = include_str!("../../../grids/qwen3-32b-awq.yaml");

/// The text of one section of the reference.
fn section(name: &str) -> &'static str {
    let heading = format!("\n## `{name}`\n");
    let at = REFERENCE.find(&heading).unwrap_or_else(|| panic!("docs/grid.md has no section {name}"));
    let rest = &REFERENCE[at + heading.len()..];
    rest.find("\n## ").map_or(rest, |end| &rest[..end])
}

#[test]
fn the_reference_has_a_row_for_every_key() {
    for (name, keys) in keys::SECTIONS {
        for key in *keys {
            assert!(section(name).contains(&format!("\n| `{key}` |")), "docs/grid.md: {name} lacks {key}");
        }
    }
}

#[test]
fn the_reference_has_no_row_for_a_key_that_a_grid_may_not_have() {
    let mut checked = 0;
    for (name, keys) in keys::SECTIONS {
        for row in section(name).lines().filter_map(|line| line.strip_prefix("| `")) {
            let cells: Vec<&str> = row.split(" | ").map(|cell| cell.trim_matches('`')).collect();
            let scenario = cells[0].parse::<ScenarioKind>().ok().filter(|_| *name == "suite");
            let known = match scenario {
                Some(kind) => suite::parameter_names(kind).iter().any(|p| *p == cells[1]),
                None => keys.contains(&cells[0]),
            };
            assert!(known, "docs/grid.md: {name} explains {} {}, which no grid may have", cells[0], cells[1]);
            checked += 1;
        }
    }
    assert!(checked > 80, "only {checked} rows were found");
}

#[test]
fn the_reference_has_a_row_for_every_parameter_of_every_scenario() {
    let mut found = 0;
    for kind in ScenarioKind::ALL {
        for parameter in suite::parameter_names(*kind) {
            found += 1;
            let row = format!("\n| `{kind}` | `{parameter}` |");
            assert!(section("suite").contains(&row), "docs/grid.md: the suite lacks {kind}.{parameter}");
        }
    }
    assert!(found >= 11, "only {found} parameters were found");
}

/// How the reference writes a default that a type has; None where words must say what absence means.
fn default_text(value: &serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::Null => None,
        serde_json::Value::Array(items) if items.is_empty() => None,
        serde_json::Value::Number(number) => Some(number.as_f64()?.to_string()),
        serde_json::Value::String(text) => Some(format!("`{text}`")),
        serde_json::Value::Bool(_) | serde_json::Value::Array(_) | serde_json::Value::Object(_) => {
            Some(format!("`{}`", value.to_string().replace('"', "").replace(',', ", ")))
        }
    }
}

/// Whether the default's cell of a row begins with what the type says; what follows `;` or `(` is a word on it.
fn states(cell: &str, value: Option<&serde_json::Value>) -> bool {
    let written = cell.split([';', '(']).next().unwrap_or_default().trim();
    match value.and_then(default_text) {
        Some(text) => written == text,
        // A type leaves out what is none, and a switch that is off.
        None => ["none", "all", "shipped", "`false`"].contains(&written),
    }
}

#[test]
fn the_defaults_in_the_reference_are_those_of_the_types() {
    let mut checked = 0;
    for kind in ScenarioKind::ALL {
        let bare = serde_json::json!({ "scenario": kind.as_str() });
        let spec: crate::domain::ScenarioSpec = serde_json::from_value(bare).unwrap();
        let defaults = serde_json::to_value(&spec).unwrap();
        for row in section("suite").lines().filter_map(|line| line.strip_prefix(&format!("| `{kind}` | `"))) {
            let cells: Vec<&str> = row.split(" | ").collect();
            let value = defaults.get(cells[0].trim_end_matches('`'));
            assert!(states(cells[2], value), "docs/grid.md: {kind} {row}: the type has {value:?}");
            checked += 1;
        }
    }
    let repeats = serde_json::to_value(crate::domain::Repeats::default()).unwrap();
    let limits = Limits::default();
    let durations = [limits.startup, limits.stall, limits.gpu_free, limits.trial, limits.daemon];
    let rows = |name: &'static str| section(name).lines().filter_map(|line| line.strip_prefix("| `"));
    for row in rows("repeats") {
        let cells: Vec<&str> = row.split(" | ").collect();
        assert!(states(cells[2], repeats.get(cells[0].trim_end_matches('`'))), "docs/grid.md: repeats {row}");
        checked += 1;
    }
    let written: Vec<Vec<&str>> = rows("limits").map(|row| row.split(" | ").collect()).collect();
    let of_type = |what: &str| {
        written.iter().filter(|c| c[1] == what && c[2] != "none").map(|c| c[2].trim_matches('`')).collect::<Vec<_>>()
    };
    let read: Vec<Duration> = of_type("duration").into_iter().map(|text| parse_duration(text).unwrap()).collect();
    assert_eq!(read, durations, "docs/grid.md: durations of limits");
    assert_eq!(
        [of_type("1 to 1000"), of_type("0 to 1000")].concat(),
        [limits.identical_failures, limits.deaths, limits.retries].map(|n| n.to_string()),
        "docs/grid.md: counts of limits"
    );
    assert!(checked > 50, "only {checked} defaults were found");
}

#[test]
fn the_example_of_the_reference_is_a_grid() {
    let start = REFERENCE.find("```yaml\n").unwrap() + 8;
    let example = &REFERENCE[start..start + REFERENCE[start..].find("```").unwrap()];
    let g = parse(Path::new("g.yaml"), example).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(names(&g), ["gmu0.85_prefix-on", "gmu0.85_prefix-off", "gmu0.9_prefix-on", "gmu0.9_prefix-off"]);
    assert_eq!(lint_of(&g, &Settings::default()).0, []);
}

#[test]
fn every_finding_of_the_lint_is_in_the_reference() {
    let sources = [include_str!("../lint.rs"), include_str!("../argv.rs")];
    let mut found = 0;
    for call in sources.iter().flat_map(|source| source.split("warning(\"").chain(source.split("error(\"")).skip(1)) {
        let code = call.split('"').next().unwrap_or_default();
        if code.chars().all(|c| c.is_ascii_lowercase() || c == '-') && code.contains('-') {
            found += 1;
            assert!(REFERENCE.contains(&format!("`{code}`")), "docs/grid.md lacks the finding {code}");
        }
    }
    assert!(found > 10, "only {found} findings were found");
}

#[test]
fn the_campaigns_grid_has_sixteen_configs_and_two_pairs_that_are_identical() {
    let g = parse(Path::new("grids/qwen3-32b-awq.yaml"), QWEN).unwrap_or_else(|e| panic!("{e}"));
    let g = g.interpolated(&Variables::new()).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(g.count(), 16);
    assert_eq!(g.run_order().next(), g.find("safe_conservative"));
    let points = all_points(&g);
    assert!(points.iter().all(|p| p.expected.len() == 3 && p.excluded.is_none()));
    // Every state is explicit: nothing is left to a default by being left out.
    for flag in ["enable-prefix-caching", "enable-chunked-prefill", "gpu-memory-utilization", "max-num-seqs"] {
        let name = crate::domain::FlagName::new(flag);
        assert!(points.iter().all(|p| p.config.settings.flags.contains_key(&name)), "{flag}");
    }
    let found: Vec<(String, String)> =
        lint_of(&g, &Settings::default()).0.into_iter().map(|d| (d.code, d.message)).collect();
    let identical = |a: &str, b: &str, rest: &str| {
        let line = QWEN.lines().position(|l| l.ends_with(&format!("name: {b}"))).unwrap() + 1;
        ("identical-points".to_owned(), format!("`{a}` sets exactly the same as `{b}` (line {line}){rest}"))
    };
    assert_eq!(
        found,
        [
            identical("chunked_only_high_tokens", "chunked_only_default", ", and yet other figures are expected of it"),
            identical("optimized_balanced", "combined_conservative", ""),
        ]
    );
}

#[test]
fn the_campaigns_grid_holds_the_twelve_configs_of_its_file() {
    let g = parse(Path::new("grids/qwen3-32b-awq.yaml"), QWEN).unwrap_or_else(|e| panic!("{e}"));
    let imported = import_json(include_str!("../../../tests/fixtures/grid_search_configs.json")).unwrap();
    let file = parse(Path::new("i.yaml"), &imported.yaml).unwrap();
    for point in all_points(&file) {
        let own = g.point_at(g.find(&point.config.name).unwrap()).unwrap();
        for (flag, value) in &point.config.settings.flags {
            assert_eq!(own.config.settings.flags.get(flag), Some(value), "{flag} of {}", point.config.name);
        }
        assert_eq!(own.expected, point.expected, "{}", point.config.name);
    }
}
