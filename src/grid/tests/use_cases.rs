//! Shipped use cases: what a grid takes from them, and what its own words replace.

use super::*;
use crate::domain::Suite;

const ALL: &str = "use_cases: [conversational, reasoning, tool_calling, throughput, generic]\n";

fn taken(rest: &str, suite: &Suite) -> Grid {
    let mut grid = grid(rest);
    grid.take_use_cases(suite);
    grid
}

/// A suite that only measures speed.
fn without_judgement() -> Suite {
    let SuiteRef::Inline(suite) = grid("suite: [smoke, kv_cache, load]\n").suite else { panic!("no suite") };
    suite
}

fn objectives(grid: &Grid) -> Vec<String> {
    grid.objectives.iter().map(|o| format!("{}: {} {}", o.name, o.direction, o.metric)).collect()
}

fn gates(grid: &Grid) -> Vec<&str> {
    grid.gates.iter().map(Gate::text).collect()
}

#[test]
fn a_use_case_brings_its_gates_and_objectives_as_far_as_the_suite_measures_them() {
    let grid = taken("use_cases: throughput\n", &without_judgement());
    assert_eq!(
        objectives(&grid),
        ["throughput: maximize load.output_tokens_per_s", "throughput_requests: maximize load.requests_per_s"]
    );
    assert_eq!(gates(&grid), ["load.tpot_ms.p50 <= 2 * baseline.load.tpot_ms.p50"]);
    let said = grid.warnings.to_string();
    assert!(said.contains("use-case-not-measured") && said.contains("gate canary.passed == 1"), "{said}");
    let found = lint_of(&grid, &Settings::default()).to_string();
    assert!(!found.contains("canary"), "what was left out is no second finding: {found}");
}

#[test]
fn what_the_grid_writes_itself_stands_first_and_replaces_what_a_use_case_says_of_the_same() {
    let own = "use_cases: [throughput, conversational]\ngates: [load.tpot_ms.p50 <= 40]\n\
               objectives: { mine: minimize load.ttft_ms.p50, throughput: maximize load.goodput_requests_per_s }\n";
    let grid = taken(own, &without_judgement());
    let found = objectives(&grid);
    assert_eq!(found[..2], ["mine: minimize load.ttft_ms.p50", "throughput: maximize load.goodput_requests_per_s"]);
    assert_eq!(
        found[2..],
        ["throughput_requests: maximize load.requests_per_s", "conversational: minimize kv_cache.ttft_hit_ms.p50"]
    );
    assert_eq!(
        gates(&grid),
        ["load.tpot_ms.p50 <= 40", "kv_cache.ttft_miss_ms.p50 <= 1.2 * baseline.kv_cache.ttft_miss_ms.p50"]
    );
}

#[test]
fn every_shipped_use_case_can_be_read_and_goes_with_the_others() {
    let grid = grid(ALL);
    assert_eq!(grid.use_cases.len(), 5);
    let names: Vec<&str> =
        grid.use_cases.iter().flat_map(|c| c.objectives.iter().map(|(o, _)| o.name.as_str())).collect();
    let different: std::collections::BTreeSet<&&str> = names.iter().collect();
    assert_eq!(different.len(), names.len(), "{names:?}");
    let full = taken(ALL, &Suite::full());
    let doubled = gates(&full).iter().filter(|g| g.starts_with("kv_cache.ttft_miss_ms")).count();
    assert_eq!(doubled, 1, "a gate that several ask for is there once");
}

#[test]
fn an_unknown_use_case_is_refused_with_the_known_ones() {
    let said = problems("use_cases: [conversation]\n").to_string();
    assert!(said.contains("unknown-use-case") && said.contains("did you mean `conversational`?"), "{said}");
    assert!(said.contains("generic"), "{said}");
    // Naming one twice is harmless.
    assert_eq!(grid("use_cases: [generic, generic]\n").use_cases.len(), 1);
}

#[test]
fn the_reference_shows_every_use_case_as_it_is() {
    let reference = include_str!("../../../docs/grid.md");
    let grid = grid(ALL);
    for case in &grid.use_cases {
        assert!(reference.contains(&format!("\n| `{}` |", case.name.value)), "docs/grid.md lacks {}", case.name.value);
        for gate in &case.gates {
            assert!(reference.contains(&format!("`{}`", gate.text())), "docs/grid.md lacks {}", gate.text());
        }
        for (objective, _) in &case.objectives {
            let text = format!("`{}: {} {}`", objective.name, objective.direction, objective.metric);
            assert!(reference.contains(&text), "docs/grid.md lacks {text}");
        }
    }
}

#[test]
fn the_objectives_of_a_use_case_bring_the_starts_that_a_champion_needs() {
    assert_ne!(grid("use_cases: throughput\n").repeats, Repeats::OFF);
    assert_eq!(grid("").repeats, Repeats::OFF);
}
