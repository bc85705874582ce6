//! A container that a stranger pauses while it serves.

use std::time::Duration;

use super::common_docker::{Scene, Service, docker};
use super::numbered_configs;

#[test]
fn a_trial_that_a_stranger_pauses_is_told_and_not_measured_as_slow() {
    let Some(scene) = Scene::new("paused") else { return };
    scene.deploy(&Service::sim().with_flags("--sim-speed 4"));
    scene.grid(&format!(
        "{}suite:\n  load: {{ concurrency: [1], requests_per_user: 24, prompt_tokens: 32, output_tokens: 64 }}\n\
         limits: {{ stall: 8s, retries: 1 }}\nrepeats: off\n",
        numbered_configs(3)
    ));
    let production = scene.production();
    let vgrid = scene.run();
    // For good: no token comes any more.
    vgrid.await_line(&["c0: load "]);
    docker(&["pause", &scene.await_trial()]);
    let told = vgrid.await_line(&["c0: failed"]);
    assert!(told.contains("(stopped)") && told.contains("acted on the trial's container: paused it"), "{told}");
    // For a moment: every request is answered in the end, and late.
    vgrid.await_line(&["c1: load "]);
    let trial = scene.await_trial();
    docker(&["pause", &trial]);
    std::thread::sleep(Duration::from_secs(2));
    docker(&["unpause", &trial]);
    let ended = vgrid.end();
    scene.assert_restored(&production);
    let attempts = scene.rows(
        "SELECT t.name, a.number, a.outcome, coalesce(a.cause, '') FROM attempt a JOIN trial t ON t.id = a.trial_id
         ORDER BY t.name, a.number",
    );
    let expected = [
        ["c0", "1", "failed", "stopped"],
        ["c0", "2", "measured", ""],
        ["c1", "1", "measured", ""],
        ["c2", "1", "measured", ""],
    ];
    assert_eq!(attempts, expected, "{}", ended.stderr());
    let invalid = scene.rows("SELECT config, verdict = 'invalid' FROM results ORDER BY config");
    assert_eq!(invalid, [["c0", "0"], ["c1", "1"], ["c2", "0"]], "{}", ended.stderr());
    assert!(ended.says(&["c1: load is invalid", "paused it at", "then let it go on"]), "{}", ended.stderr());
}
