//! The whole binary on the real vLLM, on a CPU, in real containers: the shipped sweep from start to champions, and a sweep that is
//! killed in a boot and in a scenario.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests: a failure is what they are for"
)]

mod common_docker;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use common_docker::{Scene, there_or_skipped, try_docker};

/// Two engines at once would only slow each other down.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The shipped suite with fewer and shorter requests: it takes minutes more, and shows no more of vgrid.
const SUITE: &str = "suite:\n  smoke: { long_prompt_tokens: 200, output_tokens: 4 }\n  \
                     kv_cache: { prefix_tokens: [1024], repeats: 5, output_tokens: 4 }\n  \
                     load: { concurrency: [1, 4], requests_per_user: 5, turns_per_user: 2, prompt_tokens: 64, output_tokens: 8 }\nrepeats: off\n";

/// The shipped deployment and grid as a project of the test's own; `None` (said aloud) where the image is not.
fn scene(name: &str) -> Option<(Scene, MutexGuard<'static, ()>)> {
    let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut scene = Scene::without_image(name)?;
    let image = try_docker(&["image", "inspect", "vllm-cpu:0.32.0"]).is_some();
    if !there_or_skipped(image, "VGRID_REQUIRE_VLLM", "image vllm-cpu:0.32.0: bash compose/vllm-cpu/build.sh") {
        return None;
    }
    scene.model = "tiny-qwen3".to_owned();
    let published = format!("127.0.0.1:{}:8000", scene.port);
    let compose =
        [("name: vllm-cpu", format!("name: {}", scene.project)), ("127.0.0.1:${VLLM_CPU_PORT:-18001}:8000", published)];
    scene.write("compose.yml", &shipped("compose/vllm-cpu.yml", &compose));
    let grid = shipped("grids/vllm-cpu.yaml", &[("../compose/vllm-cpu.yml", "compose.yml".to_owned())]);
    let (before, rest) = grid.split_once("\nsuite:").expect("the grid has a suite in place");
    let (_, after) = rest.split_once("\n\n").expect("a blank line ends the suite");
    scene.write("grid.yaml", &format!("{before}\n{SUITE}\n{after}"));
    Some((scene, turn))
}

/// A shipped file with these parts replaced, each of which it must have.
fn shipped(file: &str, replacements: &[(&str, String)]) -> String {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    replacements.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{file} has no {from:?} any more");
        text.replace(from, to)
    })
}

#[test]
fn the_shipped_sweep_of_the_real_vllm_goes_from_start_to_champions_and_production_serves_again() {
    let Some((scene, _turn)) = scene("vllm") else { return };
    let production = scene.production();
    let began = Instant::now();
    let ended = scene.run().end_within(Duration::from_secs(20 * 60)).expect_code(2);
    println!("the sweep took {:.0} s:\n{}\n{}", began.elapsed().as_secs_f64(), ended.stderr(), ended.stdout);
    scene.assert_restored(&production);

    let states = scene.states();
    let expected = [
        ("kv_too_small", "failed kv_cache_too_small"),
        ("parser_typo", "failed bad_argument"),
        ("prefix-off_seqs2", "measured"),
        ("prefix-off_seqs8", "measured"),
        ("prefix-on_seqs2", "measured"),
        ("prefix-on_seqs8", "measured"),
    ];
    let states: Vec<(&str, &str)> = states.iter().map(|(name, state)| (name.as_str(), state.as_str())).collect();
    assert_eq!(states, expected);
    let evidence = scene.rows("SELECT config, evidence, remedy FROM failures ORDER BY config");
    assert!(evidence[0][1].contains("KV cache") && !evidence[0][2].is_empty(), "{evidence:?}");
    assert!(evidence[1][1].contains("hermess") && !evidence[1][2].is_empty(), "{evidence:?}");

    prefix_caching_is_what_was_asked_for(&scene);
    let champions =
        scene.rows("SELECT objective, config, value > 0, gain_percent IS NOT NULL FROM champions ORDER BY 1");
    let objectives: Vec<&str> = champions.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(objectives, ["chat", "returning", "throughput"], "{champions:?}");
    assert!(champions[1][1].starts_with("prefix-on"), "a cached prefix answers sooner: {champions:?}");
    assert!(champions.iter().all(|row| row[2..] == ["1", "1"]), "{champions:?}");
    assert!(ended.stdout.contains("returning") && ended.stdout.contains(&champions[1][1]), "{}", ended.stdout);
}

/// By the engine's own words, by its counters, by the figures.
fn prefix_caching_is_what_was_asked_for(scene: &Scene) {
    for (config, wanted) in
        [("prefix-on_seqs8", "on"), ("prefix-on_seqs2", "on"), ("prefix-off_seqs8", "off"), ("prefix-off_seqs2", "off")]
    {
        let of =
            format!("JOIN attempt a ON a.id = attempt_id JOIN trial t ON t.id = a.trial_id WHERE t.name = '{config}'");
        let fact =
            scene.rows(&format!("SELECT value, source FROM resolved_fact f {of} AND f.name = 'enable-prefix-caching'"));
        assert_eq!(fact.len(), 1, "the engine of {config} says nothing of prefix caching");
        assert_eq!(fact[0][0], wanted, "{config}");
        assert!(["log", "metrics"].contains(&fact[0][1].as_str()), "not from the engine: {fact:?}");
        let shown = scene.start(&["show", config]).end().expect_code(0).stdout;
        let line = shown.lines().find(|line| line.trim_start().starts_with("enable-prefix-caching"));
        assert!(line.is_some_and(|line| line.split_whitespace().nth(1) == Some(wanted)), "{shown}");

        let hits = scene.rows(&format!(
            "SELECT sum(c.after - c.before) FROM engine_counter c JOIN scenario_result r ON r.id = c.scenario_result_id
             JOIN trial t ON t.id = r.trial_id
             WHERE t.name = '{config}' AND r.scenario = 'kv_cache' AND c.name LIKE '%prefix_cache_hits%'"
        ));
        let hits: f64 = hits[0][0].parse().unwrap_or(0.0);
        assert_eq!(hits > 0.0, wanted == "on", "{config}: {hits} tokens were hits");
        let verdicts =
            scene.rows(&format!("SELECT scenario, verdict, reasons FROM results WHERE config = '{config}' ORDER BY 1"));
        assert_eq!(verdicts.iter().map(|row| row[0].as_str()).collect::<Vec<_>>(), ["kv_cache", "load", "smoke"]);
        assert!(verdicts.iter().all(|row| row[1] != "invalid"), "{config}: {verdicts:?}");
    }
}

/// Every scenario, at sizes that still fill its figures.
const FULL_SUITE: &str = "suite:
  base: full
  smoke: { long_prompt_tokens: 200, output_tokens: 4 }
  canary: { limit: 4, output_tokens: 32 }
  tool_calling: { data: tools.json, output_tokens: 64, thinking: off }
  reasoning: { limit: 4, output_tokens: 48 }
  kv_cache: { prefix_tokens: [1024, 2048], repeats: 5, output_tokens: 4 }
  load: { concurrency: [1, 2, 4], turns_per_user: 2, rates: [4], rate_shares: [0.5], duration_s: 5, requests_per_user: 5, prompt_tokens: 64, output_tokens: 16, slo_ttft_ms: 2000 }
  conversation: { turns: 5, iterations: 2, user_tokens: 64, output_tokens: 16 }
  stability: { cycles: 4, output_tokens: [8, 32] }
  long_context: { repeats: 1, first_tokens: 1024, output_tokens: 4, survival_tokens: 32 }
  profile: { idle_s: 3, busy_s: 5, concurrency: 2, prompt_tokens: 64, output_tokens: 32 }
gates: [canary.passed == 1, tool_calling.success_rate >= 0.95]
objectives: { thought: maximize reasoning.score, throughput: maximize load.output_tokens_per_s }
limits: { startup: 8m, stall: 4m, trial: 15m }
";

/// A model of random numbers never ends a call of its own; one whose tool is named in the request is ended by the engine.
const TOOLS: &str = r#"{
  "vgrid_data": "tool_calling",
  "tools": { "set_light": { "description": "Switches the light.", "parameters": {
    "type": "object", "properties": { "state": { "type": "string", "enum": ["on", "off"] } },
    "required": ["state"], "additionalProperties": false } } },
  "cases": [
    { "id": "named", "language": "en", "category": "enum", "tools": ["set_light"], "tool_choice": "named", "user": "Switch the light on.",
      "steps": [{ "calls": [{ "name": "set_light", "arguments": { "state": "on" } }] }] },
    { "id": "free", "language": "fr", "category": "single", "tools": ["set_light"], "user": "Allume la lumière.",
      "steps": [{ "calls": [{ "name": "set_light", "arguments": { "state": "on" } }] }] },
    { "id": "none", "language": "en", "category": "no_tool", "tools": ["set_light"], "user": "What is the capital of Italy?" }
  ]
}"#;

#[test]
fn the_full_suite_on_the_real_vllm_is_stored_shown_and_exported_and_every_field_is_explained() {
    let Some((scene, _turn)) = scene("vllm-full") else { return };
    scene.write("tools.json", TOOLS);
    scene.grid(FULL_SUITE);
    let began = Instant::now();
    let ended = scene.run().end_within(Duration::from_secs(10 * 60)).expect_code(0);
    println!("the sweep took {:.0} s:\n{}\n{}", began.elapsed().as_secs_f64(), ended.stderr(), ended.stdout);

    let verdicts = scene.rows("SELECT scenario, verdict, reasons FROM results ORDER BY scenario_result_id");
    let order = "smoke canary tool_calling reasoning kv_cache load conversation stability long_context profile";
    assert_eq!(verdicts.iter().map(|row| row[0].as_str()).collect::<Vec<_>>().join(" "), order);
    assert!(verdicts.iter().all(|row| row[1] != "invalid"), "{verdicts:?}");
    nonsense_is_judged_as_nonsense(&scene);
    every_field_is_explained(&scene);
    let shown = scene.start(&["show", "base", "--all"]).end().expect_code(0).stdout;
    for part in
        ["tool_calling.success_rate >= 0.95: fail", "named wrong, streamed", "agreement_rate", "cut by its token limit"]
    {
        assert!(shown.contains(part), "`show` lacks {part:?}: {shown}");
    }
    assert!(ended.stdout.contains("no config meets the gates"), "{}", ended.stdout);
}

/// Low figures, none missing: what a case became, and whether streamed and whole calls agree.
fn nonsense_is_judged_as_nonsense(scene: &Scene) {
    let value = |path: &str| {
        let rows = scene.rows(&format!("SELECT value FROM metrics WHERE path = '{path}'"));
        rows.first().map(|row| row[0].parse::<f64>().unwrap())
    };
    for path in ["reasoning.score", "tool_calling.success_rate", "tool_calling.enum.success_rate"] {
        assert_eq!(value(path), Some(0.0), "{path}");
    }
    assert!(value("canary.passed").unwrap() < 0.5);
    for path in
        ["tool_calling.transport_success_rate", "reasoning.transport_success_rate", "canary.transport_success_rate"]
    {
        assert_eq!(value(path), Some(1.0), "{path}");
    }
    let named = scene.rows("SELECT delivery, result, got FROM case_outcome WHERE case_id = 'named' ORDER BY position");
    assert_eq!(
        named.iter().map(|row| [&*row[0], &*row[1]]).collect::<Vec<_>>(),
        [["streamed", "wrong"], ["whole", "wrong"]]
    );
    assert!(named.iter().all(|row| row[2].contains("set_light")), "{named:?}");
    let agreement = value("tool_calling.agreement_rate").expect("both ways were judged");
    let told = scene.rows("SELECT count(*) FROM validity_reason WHERE reason = 'streaming_differs'");
    assert_eq!(agreement < 1.0, told[0][0] != "0", "a difference is named, and only a difference");
    assert_eq!(value("tool_calling.right_tool_rate"), Some(1.0));
    assert!(value("tool_calling.schema_valid_rate").is_some() && value("tool_calling.json_valid_rate").is_some());
}

/// Every figure has a row in docs/metrics.md; every exported column one in docs/schema.md, which says so where it is empty.
fn every_field_is_explained(scene: &Scene) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = |name: &str| std::fs::read_to_string(root.join("docs").join(name)).unwrap();
    let metrics = document("metrics.md");
    let is_explained = |scenario: &str, name: &str| {
        let word = format!("`{name}`");
        let of_the_machine = ["| `engine`", "| `gpu0`", "| `container`", "| `host`"];
        metrics.lines().any(|line| {
            let own = line.starts_with(&format!("| `{scenario}` | {word} |"));
            own || of_the_machine.iter().any(|start| line.starts_with(start) && line.contains(&word))
        })
    };
    let names = scene
        .rows("SELECT DISTINCT r.scenario, m.name FROM metric m JOIN scenario_result r ON r.id = m.scenario_result_id");
    assert!(names.len() > 100, "{} figures", names.len());
    let unexplained: Vec<_> = names.iter().filter(|row| !is_explained(&row[0], &row[1])).collect();
    assert!(unexplained.is_empty(), "docs/metrics.md lacks {unexplained:?}");

    scene.start(&["export", "--to", "exported", "--format", "jsonl"]).end().expect_code(0);
    let schema = document("schema.md");
    let (mut filled, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for entry in std::fs::read_dir(scene.path("exported")).unwrap() {
        let path = entry.unwrap().path();
        let Some(table) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".jsonl")) else { continue };
        let (_, section) =
            schema.split_once(&format!("\n### `{table}`")).unwrap_or_else(|| panic!("docs/schema.md lacks {table}"));
        let section = section.split("\n### ").next().unwrap();
        for line in std::fs::read_to_string(&path).unwrap().lines() {
            filled.insert(table.to_owned());
            let row: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).unwrap();
            for (column, value) in row {
                let explained = section.lines().find(|line| line.starts_with(&format!("| `{column}` |")));
                let explained = explained.unwrap_or_else(|| panic!("docs/schema.md lacks {table}.{column}"));
                if value.is_null() && !["NULL", "as in `", "| |"].iter().any(|why| explained.contains(why)) {
                    silent.insert(format!("{table}.{column}"));
                }
            }
        }
    }
    assert!(silent.is_empty(), "docs/schema.md does not say why these are NULL: {silent:?}");
    for table in [
        "trial",
        "attempt",
        "resolved_fact",
        "scenario_result",
        "metric",
        "requests",
        "case_outcome",
        "engine_counter",
        "telemetry",
        "paired_quality",
    ] {
        assert!(filled.contains(table), "nothing of {table} was exported, only {filled:?}");
    }
}

#[test]
fn a_sweep_of_the_real_vllm_that_is_killed_in_a_boot_and_in_a_scenario_is_done_by_the_same_command() {
    let Some((scene, _turn)) = scene("vllm-kill") else { return };
    scene.grid(
        "suite:\n  smoke: { long_prompt_tokens: 100, output_tokens: 4 }\n  \
         load: { concurrency: [1], requests_per_user: 8, prompt_tokens: 64, output_tokens: 32 }\n\
         limits: { startup: 4m, stall: 2m, trial: 10m }\n",
    );
    for moment in ["initialising the engine", "base: load "] {
        let vgrid = scene.run();
        let line = vgrid.await_line(&[moment]);
        assert!(vgrid.kill().1, "it was over already");
        println!("killed after: {line}");
        assert_eq!(scene.trials().len(), 1, "the container outlives its vgrid");
    }
    let smoke = scene.rows("SELECT id, saved_at FROM scenario_result WHERE scenario = 'smoke'");
    assert_eq!(smoke.len(), 1, "what was finished before the kill is kept");
    scene.run().end_within(Duration::from_secs(600)).expect_code(0);
    assert_eq!(scene.containers(&[]), Vec::<String>::new());
    assert_eq!(scene.states().into_iter().collect::<Vec<_>>(), [("base".to_owned(), "measured".to_owned())]);
    assert_eq!(scene.rows("SELECT id, saved_at FROM scenario_result WHERE scenario = 'smoke'"), smoke);
    let attempts = scene.rows("SELECT number, outcome FROM attempt ORDER BY number");
    assert_eq!(attempts, [["1", "interrupted"], ["2", "interrupted"], ["3", "measured"]]);
    assert_eq!(
        scene.rows("SELECT scenario, verdict = 'invalid' FROM results ORDER BY 1"),
        [["load", "0"], ["smoke", "0"]]
    );
}
