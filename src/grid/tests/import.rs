//! The import of the campaign's own file, unchanged.

use super::*;
use crate::domain::{FlagName, FlagValue};

const TWELVE: &str = include_str!("../../../tests/fixtures/grid_search_configs.json");

#[test]
fn the_twelve_configs_become_a_grid_with_explicit_states() {
    let imported = import_json(TWELVE).unwrap_or_else(|e| panic!("{e}"));
    let g = parse(Path::new("i.yaml"), &imported.yaml).unwrap_or_else(|e| panic!("{e}\n{}", imported.yaml));
    let points = all_points(&g);
    assert_eq!(points.len(), 12);
    let value = |i: usize, flag: &str| points[i].config.settings.flags[&FlagName::new(flag)].clone();
    assert_eq!(points[6].config.name, "combined_optimized_high_tokens");
    assert_eq!(value(6, "gpu-memory-utilization"), FlagValue::Value("0.92".into()));
    assert_eq!(value(6, "enable-prefix-caching"), FlagValue::On);
    assert_eq!(value(0, "enable-prefix-caching"), FlagValue::Off);
    assert_eq!(value(0, "max-num-seqs"), FlagValue::Default);
    assert_eq!(value(6, "max-num-seqs"), FlagValue::Value("64".into()));
    assert_eq!(g.baseline.as_deref(), Some("baseline_reference"));
    let expected: Vec<(String, f64)> = points[0].expected.iter().map(|(m, v)| (m.to_string(), *v)).collect();
    assert_eq!(
        expected,
        [
            ("kv_cache.ttft_miss_ms.p50".to_owned(), 1828.0),
            ("kv_cache.ttft_hit_ms.p50".to_owned(), 1607.0),
            ("kv_cache.acceleration_ratio".to_owned(), 1.14)
        ]
    );
    let gates: Vec<&str> = g.gates.iter().map(Gate::text).collect();
    assert_eq!(
        gates,
        [
            "kv_cache.ttft_miss_ms.p50 <= 1.2 * baseline.kv_cache.ttft_miss_ms.p50",
            "kv_cache.ttft_hit_ms.p50 <= 0.7 * baseline.kv_cache.ttft_hit_ms.p50",
            "kv_cache.acceleration_ratio >= 1.5",
            "kv_cache.ttft_hit_ms.p50 <= 0.7 * kv_cache.ttft_miss_ms.p50"
        ]
    );
    assert!(imported.yaml.contains("# phase_2: chunked prefill alone"), "{}", imported.yaml);
    assert!(imported.yaml.contains("#   early_exit_condition: if config 2 or 3"), "{}", imported.yaml);
}

#[test]
fn the_import_finds_that_number_five_and_six_are_identical() {
    let found = import_json(TWELVE).unwrap().warnings;
    let identical: Vec<&str> =
        found.0.iter().filter(|d| d.code == "identical-points").map(|d| d.message.as_str()).collect();
    assert_eq!(identical.len(), 1, "{found}");
    assert!(
        identical[0].starts_with("`chunked_only_high_tokens` sets exactly the same as `chunked_only_default`")
            && identical[0].ends_with("and yet other figures are expected of it"),
        "{found}"
    );
}

#[test]
fn what_cannot_be_imported_is_said() {
    assert_eq!(import_json("{").unwrap_err().0[0].code, "json-syntax");
    assert_eq!(import_json("{}").unwrap_err().0[0].code, "no-configs");
    assert_eq!(import_json(r#"{"configs": [1, {"gpu_memory": 1}]}"#).unwrap_err().0.len(), 2);
    assert_eq!(
        import_json(r#"{"configs": [{"name": "a", "max_num_seqs": true}]}"#).unwrap_err().0[0].code,
        "value-needed"
    );
    let found = import_json(r#"{"configs": [{"name": "a", "foo": 1, "expected_x": 2}], "notes": 1}"#).unwrap();
    let skipped = found.warnings.0.iter().filter(|d| d.code == "not-imported").count();
    assert_eq!(skipped, 3, "{}", found.warnings);
    assert!(parse(Path::new("i.yaml"), &found.yaml).is_ok(), "{}", found.yaml);
    assert!(import_json(r#"{"configs": []}"#).is_ok());
}

proptest::proptest! {
    #[test]
    fn any_names_and_descriptions_survive_the_import(name in "[A-Za-z0-9][A-Za-z0-9_.-]{0,12}", description in "\\PC{0,30}") {
        let json = serde_json::json!({ "configs": [{ "name": name, "description": description, "gpu_memory": 0.9 }] });
        let imported = import_json(&json.to_string()).unwrap_or_else(|e| panic!("{e}"));
        let g = parse(Path::new("i.yaml"), &imported.yaml).unwrap_or_else(|e| panic!("{e}\n{}", imported.yaml));
        proptest::prop_assert_eq!(&g.configs[0].name, &name);
        if !description.trim().is_empty() {
            proptest::prop_assert_eq!(g.configs[0].description.as_ref(), Some(&description));
        }
    }
}
