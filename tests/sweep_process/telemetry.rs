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
    scene.run(["show", "base"]).ok().says(&["telemetry (min / median / max)", "gpu0 gpu_memory_used_bytes", "GiB"]);
}

#[test]
fn a_library_that_refuses_is_said_once_and_stops_nothing() {
    let scene = Scene::new();
    let library = stand_in(&scene, "init 18\n");
    let telemetry = format!("telemetry: {{ interval: 100ms, nvml_library: {} }}\n", library.display());
    scene.grid(&[], &format!("{telemetry}suite: [smoke]\n"));
    let done = scene.sweep(&[]).ok().says(&["telemetry: NVML cannot be used", "driver/library version mismatch"]);
    assert_eq!(done.stderr.matches("NVML cannot be used").count(), 1, "{}", done.stderr);
    assert_eq!(scene.count("SELECT count(*) FROM telemetry_sample WHERE source LIKE 'gpu%'"), 0);
}

#[test]
fn telemetry_that_is_off_stores_nothing_and_a_profile_then_is_invalid() {
    let scene = Scene::new();
    scene.grid(&[], &format!("telemetry: off\n{PROFILE}"));
    scene.sweep(&[]);
    assert_eq!(scene.count("SELECT count(*) FROM telemetry_sample"), 0);
    assert_eq!(scene.sql("SELECT verdict FROM results WHERE scenario = 'profile'"), ["invalid"]);
}
