//! Lint, gates, suites, limits: what a good grid means and what it probably does not.

use std::time::Duration;

use super::*;
use crate::domain::{Direction, FlagName, FlagValue, ScenarioKind, ScenarioSpec, Settings, Suite};
use crate::grid::gate::GateMetric;

fn linted(rest: &str) -> Vec<(String, String)> {
    linted_over(rest, &Settings::default())
}

fn linted_over(rest: &str, deployed: &Settings) -> Vec<(String, String)> {
    let g = grid(&format!("objectives: {{ a: minimize load.ttft_ms.p50 }}\n{rest}"));
    lint_of(&g, deployed).0.into_iter().map(|d| (d.code, d.message)).collect()
}

fn one(code: &str, message: &str) -> Vec<(String, String)> {
    vec![(code.to_owned(), message.to_owned())]
}

#[test]
fn identical_and_twin_configs_are_found() {
    assert_eq!(
        linted("configs: [{ name: a, flags: { tp: 2 } }, { name: b, flags: { tensor-parallel-size: 2 } }]\n"),
        one("identical-points", "`b` sets exactly the same as `a` (line 4)")
    );
    assert_eq!(
        linted(
            "configs:\n  - { name: a, flags: { enable-prefix-caching: on } }\n  - { name: b, flags: { enable-chunked-prefill: default } }\n"
        ),
        one("twin-points", "`b` gives the same engine in vLLM V1 as `a` (line 5)")
    );
    assert_eq!(linted("configs: [{ name: a }, { name: b, flags: { enable-prefix-caching: off } }]\n"), []);
    assert_eq!(
        linted(
            "configs: [{ name: a, flags: { max-model-len: 131072 } }, { name: b, flags: { max-model-len: 128K } }]\n"
        ),
        one("twin-points", "`b` gives the same engine in vLLM V1 as `a` (line 4)")
    );
}

#[test]
fn what_the_deployment_sets_counts_for_twins() {
    let configs = "configs: [{ name: a }, { name: b, flags: { max-num-seqs: 32 } }]\n";
    assert_eq!(linted(configs), []);
    let flags = [(FlagName::new("max-num-seqs"), FlagValue::Value("32".into()))].into();
    let deployed = Settings { flags, ..Settings::default() };
    assert_eq!(linted_over(configs, &deployed), one("identical-points", "`b` sets exactly the same as `a` (line 4)"));
}

#[test]
fn values_of_an_axis_that_give_one_engine_are_found() {
    assert_eq!(
        linted("axes: { enable-prefix-caching: [on, off, default], max-num-seqs: [1, 2] }\n"),
        one(
            "twin-values",
            "`on` and `default` of the axis `enable-prefix-caching` give the same engine: vLLM V1 has `on` when the flag is left out"
        )
    );
    let deployed = Settings { image: Some("i:1".into()), ..Settings::default() };
    assert_eq!(linted_over("axes: { image: [default, i:1] }\n", &deployed)[0].0, "twin-values");
}

#[test]
fn a_named_config_that_repeats_a_point_of_the_axes_is_found() {
    let axes = "axes: { enable-prefix-caching: [on, off], max-num-seqs: [1, 2] }\n";
    assert_eq!(
        linted(&format!("{axes}configs: [{{ name: a, flags: {{ max-num-seqs: 2 }} }}]\n")),
        one("twin-points", "`a` gives the same engine in vLLM V1 as `prefix-on_seqs2` of the axes")
    );
    assert_eq!(
        linted(&format!("{axes}configs: [{{ name: a, flags: {{ max-num-seqs: 2, enable-prefix-caching: off }} }}]\n")),
        one("identical-points", "`a` sets exactly the same as `prefix-off_seqs2` of the axes")
    );
    assert_eq!(linted(&format!("{axes}configs: [{{ name: a, flags: {{ max-num-seqs: 3 }} }}]\n")), []);
    assert_eq!(linted(&format!("{axes}configs: [{{ name: a, flags: {{ max-num-seqs: 2, seed: 5 }} }}]\n")), []);
}

#[test]
fn rules_without_effect_or_with_too_much_are_found() {
    let axes = "axes: { max-num-seqs: [1, 2] }\n";
    let with = |when: &str| linted(&format!("{axes}exclude: [{{ when: '{when}' }}]\n"));
    assert_eq!(with(r#"flags["max-num-seqs"] > 5"#), one("rule-never-holds", "this rule takes no point out"));
    assert_eq!(with(r#"flags["max-num-seqs"] > 1"#), []);
    let all: Vec<String> = with(r#"flags["max-num-seqs"] > 0"#).into_iter().map(|(code, _)| code).collect();
    assert_eq!(all, ["baseline-excluded", "rule-always-holds", "nothing-left"]);
    assert_eq!(
        with(r#"flags["max-num-seqs"] == 1"#),
        one("baseline-excluded", "a rule of `exclude` takes the baseline `seqs1` out")
    );
    assert_eq!(with(r#"flags["seed"] > 1"#)[0].0, "bad-rule");
}

#[test]
fn misspelt_flags_useless_base_values_and_unmeasured_metrics_are_found() {
    assert_eq!(linted("base: { flags: { max-num-sequences: 3 } }\n"), []);
    assert_eq!(
        linted("base: { flags: { max-nums-seqs: 3 } }\n"),
        one("unknown-flag", "vgrid knows no vLLM flag `max-nums-seqs`")
    );
    assert_eq!(
        linted("base: { flags: { max-num-seqs: 3 } }\naxes: { max-num-seqs: [1, 2] }\n"),
        one("base-without-effect", "`base` sets `max-num-seqs`, and every point replaces it")
    );
    assert_eq!(
        linted("base: { flags: { max-num-seqs: 3 } }\naxes: { max-num-seqs: [1, 2] }\nconfigs: [{ name: a }]\n"),
        []
    );
    assert_eq!(
        linted("suite: [load]\ngates: [tool_calling.success_ratio >= 0.95]\n"),
        one(
            "metric-not-in-suite",
            "`tool_calling.success_ratio` is never measured: the suite `custom` has no tool_calling"
        )
    );
    assert_eq!(
        linted("suite: quick\ngates: [kv_cache.ttft_miss_ms.p95 <= 4000]\n"),
        one("too-few-samples", "`kv_cache.ttft_miss_ms.p95` is never measured: it needs 20 samples, the suite gives 5")
    );
    assert_eq!(
        linted("suite: { base: quick, kv_cache: { repeats: 20 } }\ngates: [kv_cache.ttft_miss_ms.p95 <= 4000]\n"),
        []
    );
    let g = grid("");
    assert_eq!(lint_of(&g, &Settings::default()).0[0].code, "no-objective");
}

#[test]
fn memory_given_away_by_a_suite_that_never_fills_it_is_found() {
    let axis = "axes: { gpu-memory-utilization: [0.9, 0.98] }\n";
    let message =
        "`gpu-memory-utilization` says how much memory the KV cache takes, and the suite `custom` never fills it";
    assert_eq!(linted(&format!("{axis}suite: [smoke, load]\n")), one("fit-not-checked", message));
    assert_eq!(linted(&format!("{axis}suite: [load]\n")), one("fit-not-checked", message));
    assert_eq!(linted(&format!("{axis}suite: [smoke: {{ fit: true }}, load]\n")), []);
    assert_eq!(linted(&format!("{axis}suite: [smoke: {{ fit: false }}, load]\n")), [], "who says so knows");
    assert_eq!(linted(axis), [], "the suites of the house check it");
    assert_eq!(linted("base: { flags: { kv-cache-memory-bytes: 8388608 } }\nsuite: [load]\n")[0].0, "fit-not-checked");
    assert_eq!(
        linted("configs: [{ name: a, flags: { num-gpu-blocks-override: 9 } }]\nsuite: [load]\n")[0].0,
        "fit-not-checked"
    );
    assert_eq!(linted("axes: { max-num-seqs: [1, 2] }\nsuite: [load]\n"), [], "vLLM reckons with these when it starts");
}

#[test]
fn a_gate_passes_fails_with_its_figures_or_names_what_is_not_measured() {
    let g = grid(
        "gates: ['kv_cache.ttft_miss_ms.p50 <= 1.2 * baseline.kv_cache.ttft_miss_ms.p50', 'load.c4.ttft_ms.p95 < 500 or load.ttft_ms.p95 < 100']\n",
    );
    let metric = |text: &str| GateMetric {
        of_baseline: text.starts_with("baseline."),
        path: text.trim_start_matches("baseline.").parse().unwrap(),
    };
    assert_eq!(g.gates[0].metrics()[1], metric("baseline.kv_cache.ttft_miss_ms.p50"));
    let gate = |own: Option<f64>, base: Option<f64>| g.gates[0].evaluate(|_| own, |_| base);
    assert_eq!(gate(Some(120.0), Some(100.0)), GateResult::Pass);
    assert_eq!(
        gate(Some(121.0), Some(100.0)),
        GateResult::Fail {
            values: vec![
                (metric("kv_cache.ttft_miss_ms.p50"), 121.0),
                (metric("baseline.kv_cache.ttft_miss_ms.p50"), 100.0)
            ]
        }
    );
    assert_eq!(gate(None, Some(1.0)), GateResult::NotMeasured { metric: metric("kv_cache.ttft_miss_ms.p50") });
    assert_eq!(gate(Some(1.0), None), GateResult::NotMeasured { metric: metric("baseline.kv_cache.ttft_miss_ms.p50") });
    assert_eq!(
        gate(Some(f64::NAN), Some(1.0)),
        GateResult::NotMeasured { metric: metric("kv_cache.ttft_miss_ms.p50") }
    );
    let either = |point: Option<f64>, head: Option<f64>| {
        g.gates[1].evaluate(|m| if m.point.is_some() { point } else { head }, |_| None)
    };
    assert_eq!(either(Some(100.0), None), GateResult::Pass, "the second figure is not needed");
    assert_eq!(either(Some(600.0), None), GateResult::NotMeasured { metric: metric("load.ttft_ms.p95") });
    assert_eq!(either(Some(600.0), Some(99.0)), GateResult::Pass);
}

#[test]
fn objectives_and_limits_are_read() {
    let g = grid(
        "objectives: { throughput: maximize load.output_tokens_per_s }\nlimits: { startup: 5m, stall: 30s, gpu_free: 40s, trial: 1h, until: '07:00', budget: 8h, identical_failures: 2, retries: 0, deaths: 5, daemon: 20s }\n",
    );
    assert_eq!(g.objectives[0].direction, Direction::Maximize);
    assert_eq!(g.objectives[0].metric.to_string(), "load.output_tokens_per_s");
    assert_eq!(
        g.limits,
        Limits {
            startup: Duration::from_secs(300),
            stall: Duration::from_secs(30),
            trial: Duration::from_secs(3600),
            until: Some(TimeOfDay { hour: 7, minute: 0 }),
            budget: Some(Duration::from_secs(8 * 3600)),
            gpu_free: std::time::Duration::from_secs(40),
            identical_failures: 2,
            retries: 0,
            deaths: 5,
            daemon: Duration::from_secs(20),
        }
    );
    assert_eq!(grid("").limits, Limits::default());
}

fn suite(rest: &str) -> Suite {
    match grid(rest).suite {
        SuiteRef::Inline(suite) => suite,
        SuiteRef::File(file) => panic!("{file:?}"),
    }
}

#[test]
fn a_suite_is_a_word_a_file_a_list_or_a_mapping() {
    assert_eq!(suite(""), Suite::quick());
    assert_eq!(suite("suite: full\nseed: 9\n"), Suite { seed: 9, ..Suite::full() });
    let SuiteRef::File(file) = grid("suite: ../suites/night.yaml\n").suite else { panic!("no file") };
    assert_eq!(file.value, Path::new("grids/../suites/night.yaml"));
    let kinds = |s: &Suite| s.scenarios.iter().map(ScenarioSpec::kind).collect::<Vec<_>>();
    assert_eq!(kinds(&suite("suite: [load, kv-cache: { repeats: 3 }]\n")), [ScenarioKind::Load, ScenarioKind::KvCache]);
    let adjusted = suite(
        "suite:\n  base: quick\n  kv_cache: off\n  canary: off\n  tool_calling: off\n  load: { concurrency: [1, 2], slo_ttft_ms: 200 }\n",
    );
    assert_eq!(kinds(&adjusted), [ScenarioKind::Smoke, ScenarioKind::Load]);
    assert_eq!(adjusted.name, "quick (adjusted)");
    let ScenarioSpec::Load(load) = &adjusted.scenarios[1] else { panic!("{adjusted:?}") };
    assert_eq!((load.concurrency.clone(), load.slo_ttft_ms, load.output_tokens), (vec![1, 2], Some(200.0), 128));
    let open = suite("suite: { load: { concurrency: [], rates: [0.5, 2], prompt_tokens: [256, 1024] } }\n");
    let ScenarioSpec::Load(load) = &open.scenarios[0] else { panic!("{open:?}") };
    assert_eq!((load.rates.clone(), load.prompt_tokens.0.clone()), (vec![0.5, 2.0], vec![256, 1_024]));
}

#[test]
fn a_wrong_suite_says_what_there_is() {
    for (written, code, way_out) in [
        ("quik", "unknown-suite", "did you mean `quick`?"),
        ("{ laod: {} }", "unknown-scenario", "did you mean `load`?"),
        ("{ load: { concurency: [1] } }", "unknown-key", "did you mean `concurrency`?"),
        ("{ load: { concurrency: 1 } }", "wrong-type", "docs/grid.md"),
        ("{ load: { concurrency: [0] } }", "out-of-range", "each from 1"),
        ("{ load: { concurrency: [-1] } }", "out-of-range", "each from 1"),
        ("{ load: { rate_shares: [80] } }", "out-of-range", "each above 0, at most 2"),
        ("{ load: { scenario: load } }", "unknown-key", "keys allowed here"),
        ("{ load: { prompt_tokens: [] } }", "out-of-range", "a list of them, each from 1"),
        ("{ load: { burstiness: .nan } }", "out-of-range", "above 0"),
        ("{ profile: { min_utilization_ratio: 2 } }", "out-of-range", "at most 1"),
        ("{ load: { prompt_tokens: short } }", "wrong-type", "docs/grid.md"),
        ("{ load: { rates: [-1] } }", "out-of-range", "above 0"),
        ("{ load: { rates: [20000] } }", "out-of-range", "at most 10000"),
        ("{ load: { concurrency: [] } }", "contradiction", "write `concurrency`, `rates` or `trace`"),
        ("{ load: { trace: a.jsonl, rates: [1] } }", "contradiction", "remove one of the two"),
        ("{ marathon: {} }", "unknown-scenario", "smoke, kv_cache"),
        ("{ canary: { thinking: maybe } }", "wrong-type", "docs/grid.md"),
        ("[]", "empty-suite", "quick, full"),
    ] {
        let rest = format!("suite: {written}\n");
        assert_eq!(codes(&rest)[0], code, "{written}");
        assert!(help(&rest).contains(way_out), "{written}: {}", help(&rest));
    }
}

#[test]
fn a_number_that_is_too_large_for_a_parameter_says_the_range() {
    let found = parse_suite(Path::new("s.yaml"), "load: { concurrency: [5000000000] }\n", 0).unwrap_err();
    assert!(found.0[0].message.contains("from 1 to 4294967295") && !found.0[0].message.contains("u32"), "{found}");
}

#[test]
fn a_suite_file_holds_what_stands_under_suite() {
    let read = |text: &str| parse_suite(Path::new("suites/night.yaml"), text, 5);
    assert_eq!(read("- load\n").unwrap().name, "night");
    assert_eq!(read("base: full\nname: mine\n").unwrap().name, "mine");
    assert_eq!(read("quick\n").unwrap(), Suite { seed: 5, ..Suite::quick() });
    assert_eq!(read("base: quick\nseed: 9\n").unwrap().seed, 9, "a suite may have a seed of its own");
    assert_eq!(read("seed: -1\nload: {}\n").unwrap_err().0[0].code, "out-of-range");
    let wrapped = read("suite:\n  load: { concurrency: [1] }\n").unwrap_err();
    assert!(wrapped.0[0].help.as_deref().unwrap().contains("what stands under `suite:`"), "{wrapped}");
    assert_eq!(read("other.yaml\n").unwrap_err().0[0].code, "suite-of-suite");
    assert_eq!(read("").unwrap_err().0[0].code, "empty-file");
}
