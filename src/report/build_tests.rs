//! The model of a small sweep whose answers are known, and its renderings.

use std::collections::BTreeMap;

use super::*;
use crate::domain::{
    Cause, ConfigKey, Evidence, ExitFacts, Fact, FactSource, Failure, FlagName, FlagValue, Metric, Objective, Outcome,
    Phase, ResolvedConfig, ScenarioSpec, Settings, Suite, SweepId as Id, Validity, Verdict,
};
use crate::rank::{Candidate, Figure, Standing};
use crate::report::chart::Body;
use crate::report::model::Tone;
use crate::resume::ResultKey;
use crate::store::{
    AttemptId, AttemptReport, ScenarioReport, ScenarioResultId, SweepRow, SweepState, Timings, TrialId, TrialReport,
    TrialRow,
};

/// A name that breaks out of whatever does not escape it.
const HOSTILE: &str = "</script><img src=x onerror=alert(1)>\"'&{{ 7*7 }}|`*";

fn metric(path: &str, value: f64, unit: &str) -> Metric {
    let (low, high) = (Some(value * 0.99), Some(value * 1.01));
    Metric { path: path.parse().unwrap(), value, unit: unit.into(), n: 40, failed_n: 0, ci_low: low, ci_high: high }
}

/// Throughput doubles with `seqs`, caching takes 100 ms off a repeated prompt and nothing else.
fn metrics(seqs: f64, cache: bool) -> Vec<Metric> {
    let hit = if cache { 20.0 } else { 120.0 };
    vec![
        metric("load.output_tokens_per_s", 100.0 * seqs, "tokens_per_s"),
        metric("load.c1.ttft_ms.p50", 10.0 + seqs, "ms"),
        metric("load.c16.ttft_ms.p50", 900.0 / seqs, "ms"),
        metric("load.c1.output_tokens_per_s", 60.0, "tokens_per_s"),
        metric("load.c16.output_tokens_per_s", 100.0 * seqs, "tokens_per_s"),
        metric("kv_cache.ttft_hit_ms.p50", hit, "ms"),
        metric("kv_cache.p1024.ttft_hit_ms.p50", hit / 2.0, "ms"),
        metric("kv_cache.p4096.ttft_hit_ms.p50", hit, "ms"),
        metric("kv_cache.p1024.ttft_miss_ms.p50", 60.0, "ms"),
        metric("kv_cache.p4096.ttft_miss_ms.p50", 120.0, "ms"),
    ]
}

fn trial(id: i64, name: &str, seqs: &str, cache: FlagValue, outcome: Outcome) -> TrialReport {
    let measured = outcome == Outcome::Measured;
    let failure = if let Outcome::Failed(f) = &outcome { Some(f.clone()) } else { None };
    let on = cache == FlagValue::On;
    let flags = BTreeMap::from([
        (FlagName::new("max-num-seqs"), FlagValue::Value(seqs.into())),
        (FlagName::new("enable-prefix-caching"), cache),
    ]);
    let fact = |value: &str| Fact { value: value.into(), source: FactSource::Log };
    let resolved = ResolvedConfig {
        facts: BTreeMap::from([
            ("max-num-seqs".to_owned(), fact(seqs)),
            ("enable-prefix-caching".to_owned(), fact(if on { "on" } else { "off" })),
            ("model".to_owned(), fact(HOSTILE)),
        ]),
        figures: BTreeMap::from([("kv_cache_tokens".to_owned(), 44_560.0)]),
    };
    let scenario = ScenarioReport {
        id: ScenarioResultId(id),
        result_key: ResultKey("k".into()),
        spec: ScenarioSpec::Load(Default::default()),
        data_sha256: "d".into(),
        started_at: "2026-11-24T01:00:00.000Z".into(),
        elapsed_s: 5.0,
        validity: Validity::default(),
        metrics: metrics(seqs.parse().unwrap(), on),
        counters: vec![],
        requests_by_end: BTreeMap::from([("ok".to_owned(), 40)]),
        cases: vec![],
    };
    TrialReport {
        trial: TrialRow {
            trial_id: TrialId(id),
            sweep: Id(1),
            position: id as u64,
            name: name.into(),
            key: ConfigKey(format!("{id:016x}")),
            is_baseline: id == 1,
            state: if measured { TrialState::Measured } else { TrialState::Failed },
            cause: failure.as_ref().map(|f| f.cause),
            skip: None,
            detail: failure.as_ref().map(|f| f.remedy.clone()),
            attempts: 1,
            phase: Some(Phase::Teardown),
            started_at: None,
            ended_at: None,
            ready_s: Some(2.0),
            elapsed_s: Some(9.0),
        },
        settings: Settings { flags, ..Settings::default() },
        axis_values: vec![],
        argv: vec!["serve".into(), "--x".into(), HOSTILE.into()],
        image_digest: None,
        expected: if id == 1 {
            [("load.output_tokens_per_s", 1000.0), ("load.c2.ttft_ms.p50", 5.0)]
                .map(|(metric, value)| (metric.parse().unwrap(), value))
                .into()
        } else {
            BTreeMap::new()
        },
        gates: vec![],
        paired: vec![],
        attempt_reports: vec![AttemptReport {
            id: AttemptId(id),
            number: 1,
            start: crate::domain::Start::default(),
            started_at: format!("2026-11-24T01:0{id}:00.000Z"),
            ended_at: Some(format!("2026-11-24T01:0{id}:40.000Z")),
            phase: Phase::Teardown,
            outcome: Some(outcome),
            container_id: None,
            image_digest: None,
            log_path: None,
            ready_s: Some(2.0),
            elapsed_s: Some(9.0),
            timings: Timings::default(),
            resolved,
            mismatches: vec![],
            scenarios: if measured { vec![scenario] } else { vec![] },
            telemetry: vec![],
        }],
    }
}

fn out_of_memory() -> Outcome {
    Outcome::Failed(Failure {
        phase: Phase::Startup,
        stage: None,
        cause: Cause::GpuOom,
        evidence: vec![Evidence { line_number: Some(7), text: format!("CUDA out of memory {HOSTILE}") }],
        numbers: BTreeMap::new(),
        remedy: "lower gpu-memory-utilization".into(),
        transient: false,
        exit: ExitFacts::default(),
    })
}

fn source() -> Source {
    let trials = vec![
        trial(1, "base", "8", FlagValue::On, Outcome::Measured),
        trial(2, HOSTILE, "16", FlagValue::On, Outcome::Measured),
        trial(3, "uncached", "8", FlagValue::Off, Outcome::Measured),
        trial(4, "uncached_16", "16", FlagValue::Off, Outcome::Measured),
        trial(5, "too_much", "64", FlagValue::On, out_of_memory()),
    ];
    let candidates = trials.iter().filter(|t| t.trial.state == TrialState::Measured).map(|t| Candidate {
        trial_id: t.trial.trial_id.0,
        name: t.trial.name.clone(),
        gates: vec![],
        figures: t.attempt_reports[0].scenarios[0]
            .metrics
            .iter()
            .map(|m| Figure::of_one_start(m.clone(), Verdict::Valid))
            .collect(),
    });
    let objective = |name: &str, direction, metric: &str| Objective {
        name: name.into(),
        direction,
        metric: metric.parse().unwrap(),
    };
    Source {
        sweep: SweepRow {
            id: Id(1),
            uuid: "u".into(),
            kind: crate::store::SweepKind::Grid,
            grid_name: "t".into(),
            grid_path: "grid.yaml".into(),
            grid_sha256: "s".into(),
            deployment: "d".into(),
            baseline: Some("base".into()),
            state: SweepState::Finished,
            why: None,
            started_at: "2026-11-24T01:00:00.000Z".into(),
            ended_at: Some("2026-11-24T02:00:00.000Z".into()),
            deadline_at: None,
            runs: 1,
            trials: 5,
            measured: 4,
            failed: 1,
            skipped: 0,
            remaining: 0,
        },
        candidates: candidates.collect(),
        objectives: vec![
            objective("throughput", crate::domain::Direction::Maximize, "load.output_tokens_per_s"),
            objective("many_users", crate::domain::Direction::Minimize, "load.c16.ttft_ms.p50"),
        ],
        suite: Suite::quick(),
        plan: serde_json::json!({ "argv": ["serve", "--sim-speed", "4"] }),
        host: serde_json::json!({ "hostname": HOSTILE, "cpu_count": 2, "cpu_model": "c" }),
        images: BTreeMap::new(),
        grid_text: format!("# {HOSTILE}\nname: t\n"),
        runs: vec![],
        remarks: vec![],
        distributions: BTreeMap::from([(
            ScenarioResultId(1),
            crate::report::section::distributions(
                &(1..=9)
                    .map(|i| crate::store::RequestSample {
                        point: Some("c16".into()),
                        role: "load".into(),
                        ttft_ms: Some(f64::from(i)),
                        e2e_ms: f64::from(10 * i),
                        tpot_ms: None,
                    })
                    .collect::<Vec<_>>(),
            ),
        )]),
        memory: BTreeMap::new(),
        trials,
    }
}

#[test]
fn a_champion_by_one_objective_and_a_tie_are_told_apart_in_the_verdict() {
    let model = build(&source());
    assert_eq!(model.verdict.tone, Tone::Mixed, "two configs of 16 sequences measure alike");
    assert!(model.verdict.headline.starts_with("No champion for throughput: 2 configs are tied"));
    let mut alone = source();
    alone.candidates.retain(|c| c.name != "uncached_16");
    let model = build(&alone);
    let expected = format!(
        "Use {HOSTILE} for throughput (and for many users): 1,600 tokens/s (95 % interval 1,442 to 1,758), +100.0 % against base."
    );
    assert_eq!(
        (model.verdict.headline, model.verdict.tone),
        (format!("{expected} It was measured on a single start and is not confirmed."), Tone::Mixed)
    );
    for figure in alone.candidates.iter_mut().flat_map(|c| &mut c.figures) {
        figure.starts = 2;
    }
    let model = build(&alone);
    let expected = expected.replace("1,442 to 1,758", "1,488 to 1,712");
    assert_eq!((model.verdict.headline, model.verdict.tone), (expected, Tone::Good));
}

#[test]
fn axes_effects_and_lines_are_those_of_the_configs() {
    let model = build(&source());
    let axes: Vec<(&str, Option<&str>)> = model.axes.iter().map(|a| (a.name.as_str(), a.baseline.as_deref())).collect();
    assert_eq!(axes, [("enable-prefix-caching", Some("on")), ("max-num-seqs", Some("8"))]);
    let throughput = &model.effects[0];
    let seqs = throughput.effects.iter().find(|e| e.change.axis == "max-num-seqs").unwrap();
    assert_eq!((seqs.change.to.as_str(), seqs.pairs, seqs.shift.difference), ("16", 2, 800.0));
    assert!(seqs.shift.real);
    let cache = throughput.effects.iter().find(|e| e.change.axis == "enable-prefix-caching").unwrap();
    assert!(!cache.shift.real && cache.shift.difference == 0.0);
    let failed = &model.configs[4];
    assert_eq!(failed.why.as_deref(), Some("gpu oom: lower gpu-memory-utilization"));
    assert!(failed.figures.iter().all(Option::is_none), "not measured is no figure");
    assert_eq!(model.configs[1].figures[0].as_ref().unwrap().standing, Standing::Leader);
}

#[test]
fn a_chart_without_data_is_absent_and_what_was_not_measured_is_said() {
    let model = build(&source());
    let ids: Vec<&str> = model.charts.iter().map(|c| c.id.as_str()).collect();
    for id in ["load-throughput", "load-ttft", "prompt-size", "night", "effects-throughput"] {
        assert!(ids.contains(&id), "{id} in {ids:?}");
    }
    for id in ["turns", "memory", "rate-ttft", "load-tpot"] {
        assert!(!ids.contains(&id), "{id} has no data");
    }
    let all = model.limitations.join("\n");
    for text in ["conversation", "one start of its server", "Memory was not sampled", "simulated"] {
        assert!(all.contains(text), "{text} in {all}");
    }
    assert!(!all.contains("(load)"), "load was measured");
}

#[test]
fn the_baseline_s_further_starts_show_how_the_machine_moved() {
    let mut source = source();
    assert!(build(&source).charts.iter().all(|c| c.id != "controls"), "one start shows nothing");
    let mut again = source.trials[0].attempt_reports[0].clone();
    again.started_at = "2026-11-24T01:30:00.000Z".into();
    again.start = crate::domain::Start { purpose: crate::domain::Purpose::Control, number: 1 };
    again.scenarios[0].metrics[0].value = 600.0;
    source.trials[0].attempt_reports.push(again);
    let model = build(&source);
    let chart = model.charts.iter().find(|c| c.id == "controls").unwrap();
    assert!(
        chart.caption.starts_with("base, measured at 2 starts: from the first to the last −25.0 %"),
        "{}",
        chart.caption
    );
    assert!(model.limitations.iter().any(|l| l.starts_with("3 of 4 measured configs ran on one start")));
    let base = &model.trials[0];
    let table = base.starts.as_ref().unwrap();
    assert_eq!(
        (table.starts.as_slice(), base.attempts[1].start.as_str()),
        (["trial", "control 1"].map(String::from).as_slice(), "control 1")
    );
    let values: Vec<f64> = table.rows[0].cells.iter().flatten().map(|c| c.value).collect();
    assert_eq!((table.rows[0].name.as_str(), values), ("load.output_tokens_per_s", vec![800.0, 600.0]));
    assert_eq!(model.trials[1].starts, None, "one start has nothing beside it");
}

#[test]
fn a_section_states_its_figures_over_all_starts_with_interval_and_n() {
    let mut source = source();
    let figure = source.candidates[0].figures.iter_mut().find(|f| f.metric.path.name == "output_tokens_per_s").unwrap();
    (figure.metric.value, figure.metric.n, figure.starts) = (700.0, 80, 2);
    let model = build(&source);
    let load = &model.trials[0].scenarios[0];
    let row = load.rows.iter().find(|r| r.name == "output_tokens_per_s").unwrap();
    let cell = row.cells[0].as_ref().unwrap();
    assert_eq!((load.starts, cell.value, cell.n, cell.ci_low.is_some()), (2, 700.0, 80, true));
    assert!(crate::report::html(&model).unwrap().contains("figures are means over 2 starts"));
}

#[test]
fn effects_without_intervals_say_why() {
    let caption = |s: &Source| build(s).charts.into_iter().find(|c| c.id == "effects-throughput").unwrap().caption;
    let mut moved = source();
    for figure in moved.candidates.iter_mut().flat_map(|c| &mut c.figures) {
        figure.noise.moved = true;
        figure.relative = Some(1.0);
    }
    let said = caption(&moved);
    assert!(said.contains("The baseline itself moved") && !said.contains("repeats"), "{said}");
    let mut single = source();
    for figure in single.candidates.iter_mut().flat_map(|c| &mut c.figures) {
        (figure.metric.ci_low, figure.metric.ci_high) = (None, None);
    }
    assert!(caption(&single).contains("No config was started twice"));
}

#[test]
fn the_start_that_found_a_twin_is_called_one_everywhere() {
    let mut source = source();
    let twin = &mut source.trials[3];
    let why = "resolves to the same engine as base, which was measured";
    (twin.trial.state, twin.trial.skip) = (TrialState::Skipped, Some(crate::domain::SkipReason::Twin));
    twin.trial.detail = Some(why.to_owned());
    twin.attempt_reports[0].outcome = Some(Outcome::Interrupted);
    source.candidates.retain(|c| c.trial_id != 4);
    let model = build(&source);
    let line = &model.trials[3].attempts[0];
    assert_eq!((line.outcome.as_str(), line.why.as_deref()), ("twin", Some(why)));
    let night = model.charts.iter().find(|c| c.id == "night").unwrap();
    let Body::Timeline { lanes, bars } = &night.body else { panic!("a timeline") };
    let lane = lanes.iter().position(|l| l == "twin").unwrap();
    assert!(bars.iter().any(|b| b.lane == lane && b.note.contains(why)), "{bars:?}");
}

#[test]
fn a_column_without_a_unit_has_no_empty_brackets() {
    let mut model = build(&source());
    model.columns[0].unit = "bytes".to_owned();
    let markdown = crate::report::markdown(&model);
    assert!(markdown.contains("| throughput |") && !markdown.contains("()"), "{markdown}");
}

#[test]
fn the_front_holds_what_nothing_beats_in_both() {
    let model = build(&source());
    let scatter = model.charts.iter().find(|c| c.id.starts_with("trade-")).unwrap();
    let Body::Scatter { dots, .. } = &scatter.body else { panic!("a scatter") };
    let mut front: Vec<&str> = dots.iter().filter(|d| d.on_front).map(|d| d.label.as_str()).collect();
    front.sort_unstable();
    assert_eq!(front, [HOSTILE, "uncached_16"], "equal figures stand there together");
    let mut numbers: Vec<usize> = dots.iter().filter(|d| d.on_front).filter_map(|d| d.number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2], "each has its number in the key");
}

#[test]
fn what_was_expected_is_confirmed_refuted_or_not_measured() {
    let model = build(&source());
    let of = |name: &str| model.expectations.iter().find(|e| e.metric.to_string() == name).unwrap();
    let (rate, latency) = (of("load.output_tokens_per_s"), of("load.c2.ttft_ms.p50"));
    assert_eq!((rate.off_percent, rate.inside), (Some(-20.0), Some(false)));
    assert_eq!((&latency.measured, latency.inside), (&None, None));
}

#[test]
fn no_rendering_lets_a_hostile_name_out() {
    let model = build(&source());
    let page = crate::report::html(&model).unwrap();
    assert!(!page.contains("<img"), "an element of the name");
    assert_eq!(page.matches("</script>").count(), 1, "the page's own script");
    assert!(page.contains("&lt;img src=x onerror=alert(1)&gt;") && page.contains("{{ 7*7 }}"));
    // In a block of code, which four blanks begin, it is text as it stands.
    let markdown = crate::report::markdown(&model);
    assert!(markdown.lines().filter(|l| !l.starts_with("    ")).all(|l| !l.contains("<img")));
    let sheet = crate::report::csv(&model).unwrap();
    let mut reader = csv::Reader::from_reader(sheet.as_bytes());
    let names: Vec<String> = reader.records().map(|r| r.unwrap()[1].to_owned()).collect();
    assert_eq!(names, ["base", HOSTILE, "uncached", "uncached_16", "too_much"]);
}

#[test]
fn the_page_loads_nothing() {
    let page = crate::report::html(&build(&source())).unwrap();
    let allowed = ["http://www.w3.org/2000/svg"];
    for (at, _) in page.match_indices("http") {
        let rest = &page[at..];
        assert!(rest.starts_with("http-equiv") || allowed.iter().any(|a| rest.starts_with(a)), "{}", &rest[..60]);
    }
    for word in ["<link rel=\"stylesheet\"", "@import", "<iframe", " src=\"", "url("] {
        assert!(!page.contains(word), "{word}");
    }
}

#[test]
fn a_sweep_of_nothing_has_a_page_too() {
    let mut empty = source();
    (empty.trials, empty.candidates, empty.objectives) = (vec![], vec![], vec![]);
    (empty.sweep.measured, empty.sweep.trials, empty.sweep.baseline) = (0, 0, None);
    let model = build(&empty);
    assert_eq!(model.verdict.headline, "Nothing was measured, so there is nothing to recommend.");
    assert!(model.charts.is_empty());
    assert!(crate::report::html(&model).unwrap().contains("nothing to recommend"));
}
