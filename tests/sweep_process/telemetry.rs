//! Telemetry of a local process, with a stand-in for NVML's library in the place of a GPU.

use std::path::PathBuf;
use std::process::Command;

use super::common::{Scene, root};

/// Builds the stand-in that answers what the scene's file `script` says.
fn stand_in(scene: &Scene, script: &str) -> PathBuf {
    let script = scene.write("script", script);
    let library = scene.folder().join("libnvidia-ml.so");
    let output = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(format!("-DSCRIPT=\"{}\"", script.display()))
        .arg(root().join("tests/fixtures/nvml/nvml.c"))
        .output()
        .expect("`cc` is needed to build the stand-in");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    library
}

const PROFILE: &str =
    "suite:\n  profile: { idle_s: 1, busy_s: 2, concurrency: 2, prompt_tokens: 64, output_tokens: 32 }\n";

const GPU: &str = "count 1\n0.uuid GPU-aa\n0.used 25239224320\n0.total 25769803776\n0.gpu 97\n0.memory 61\n0.mw 347210\n0.c 88\n\
                   0.sm 1305\n0.mem 9501\n0.throttle 0x20\n";

#[test]
fn a_gpus_figures_are_stored_by_phase_and_a_hot_full_throttled_one_makes_its_result_suspect() {
    let scene = Scene::new();
    let library = stand_in(&scene, GPU);
    let telemetry = format!("telemetry: {{ interval: 100ms, nvml_library: {} }}\n", library.display());
    scene.grid(&["--sim-boot-seconds=1"], &format!("{telemetry}{PROFILE}"));
    scene.sweep(&[]).ok();
    let tags = scene.sql("SELECT DISTINCT tag FROM telemetry WHERE source = 'gpu0' ORDER BY tag");
    for tag in ["boot", "idle", "profile"] {
        assert!(tags.iter().any(|t| t == tag), "{tag} is not in {tags:?}");
    }
    assert_eq!(scene.sql("SELECT median FROM telemetry WHERE series = 'gpu_power_w' AND tag = 'boot'"), ["347.21"]);
    let reasons = scene.sql("SELECT reason FROM validity_reason ORDER BY reason");
    for reason in ["gpu_hot", "gpu_memory_nearly_full", "throttled"] {
        assert!(reasons.iter().any(|r| r == reason), "{reason} is not in {reasons:?}");
    }
    assert_eq!(scene.sql("SELECT value FROM metrics WHERE path = 'profile.gpu0_busy.temperature_c.max'"), ["88"]);
    assert_eq!(scene.count("SELECT count(*) FROM telemetry WHERE source = 'container' AND tag = 'profile'"), 2);
    scene.run(["show", "base", "--all"]).ok().says(&[
        "telemetry (min / median / max)",
        "gpu0 gpu_memory_used_bytes",
        "GiB",
    ]);
}

#[test]
fn a_library_that_refuses_is_said_once_and_stops_nothing() {
    let scene = Scene::new();
    let library = stand_in(&scene, "init 18\n");
    let telemetry = format!("telemetry: {{ interval: 100ms, nvml_library: {} }}\n", library.display());
    scene.grid(&[], &format!("{telemetry}suite: [smoke]\n"));
    let done = scene.sweep(&[]).ok().says(&["telemetry: NVML cannot be used", "driver/library version mismatch"]);
    for sentence in
        ["telemetry: NVML cannot be used", "memory is free before a start is not checked: NVML cannot be used"]
    {
        assert_eq!(done.stderr.matches(sentence).count(), 1, "{}", done.stderr);
    }
    assert_eq!(scene.count("SELECT count(*) FROM telemetry_sample WHERE source LIKE 'gpu%'"), 0);
}

#[test]
fn a_trial_whose_gpu_memory_is_taken_fails_by_the_holder_s_name_and_one_whose_memory_comes_back_runs() {
    let scene = Scene::new();
    let gpu = |mib: u64| format!("count 1\n0.uuid GPU-aa\n0.used {}\n0.total 25769803776\n", mib << 20);
    let mut holder = Command::new("sleep").arg("600").spawn().unwrap();
    let held = format!("{}0.process {} 9663676416 5\n", gpu(9_516), holder.id());
    let library = stand_in(&scene, &gpu(300));
    let telemetry = format!("telemetry: {{ interval: 100ms, nvml_library: {} }}\n", library.display());
    scene.grid(
        &["--sim-boot-seconds=1"],
        &format!("{telemetry}{}limits: {{ gpu_free: 3s, retries: 0 }}\nsuite: [smoke]\n", super::configs(2)),
    );
    // While the first trial starts somebody takes the memory, and keeps it for as long as the second one waits.
    let live = scene.start(&["run", "grid.yaml"]);
    live.wait_for("starting the server");
    scene.write("script", &held);
    live.wait_for("failed (gpu_memory_busy)");
    scene.write("script", &gpu(300));
    let done = live.finish().code(2);
    holder.kill().unwrap();
    holder.wait().unwrap();
    let sleeper = format!("sleep (pid {}) holds 9216 MiB", holder.id());
    done.says(&[": waits up to 3 s for the GPUs' memory: GPU 0: 9.3 of 24.0 GiB are in use, 0.3 before", &sleeper]);
}

#[test]
fn telemetry_that_is_off_stores_nothing_and_a_profile_then_is_invalid() {
    let scene = Scene::new();
    scene.grid(&[], &format!("telemetry: off\n{PROFILE}"));
    scene.sweep(&[]);
    assert_eq!(scene.count("SELECT count(*) FROM telemetry_sample"), 0);
    assert_eq!(scene.sql("SELECT verdict FROM results WHERE scenario = 'profile'"), ["invalid"]);
}
