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

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use common_docker::{Scene, there_or_skipped, try_docker};

/// Two engines at once would only slow each other down.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The shipped suite with fewer and shorter requests: it takes minutes more, and shows no more of vgrid.
const SUITE: &str = "suite:\n  smoke: { long_prompt_tokens: 200, output_tokens: 4 }\n  \
                     kv_cache: { prefix_tokens: [1024], repeats: 5, output_tokens: 4 }\n  \
                     load: { concurrency: [1, 4], requests_per_user: 5, prompt_tokens: 64, output_tokens: 8 }\nrepeats: off\n";

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
    assert_eq!(champions.len(), 2, "{champions:?}");
    assert_eq!((champions[0][0].as_str(), champions[1][0].as_str()), ("conversational", "throughput"));
    assert!(champions[0][1].starts_with("prefix-on"), "a cached prefix answers sooner: {champions:?}");
    assert!(champions.iter().all(|row| row[2..] == ["1", "1"]), "{champions:?}");
    assert!(ended.stdout.contains("conversational") && ended.stdout.contains(&champions[0][1]), "{}", ended.stdout);
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
