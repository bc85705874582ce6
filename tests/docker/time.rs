//! Production serves again in time.

use std::time::{Duration, Instant};

use super::common_docker::{Scene, Service, inspected};
use super::numbered_configs;

#[test]
fn a_night_that_is_short_leaves_production_alone_or_has_it_back_in_time() {
    let Some(scene) = Scene::new("time") else { return };
    scene.deploy(&Service::sim().with_flags("--sim-speed 1"));
    scene.grid(&format!(
        "{}suite:\n  load: {{ concurrency: [1], requests_per_user: 2000, prompt_tokens: 32, output_tokens: 64 }}\n\
         limits: {{ startup: 8s }}\nrepeats: off\n",
        numbered_configs(2)
    ));
    let production = scene.production();
    let started_at = || inspected(&production.id, ".State.StartedAt");
    let before = started_at();
    // A start may take 8 s, and as much is kept for production, beside the grace of the stop.
    let ended = scene.start(&["run", "grid.yaml", "--for", "20s"]).end().expect_code(3);
    assert!(ended.says(&["no further trial would be over by", "8.0 s"]), "{}", ended.stderr());
    assert_eq!(started_at(), before, "production was touched");

    let began = Instant::now();
    let ended = scene.start(&["run", "grid.yaml", "--for", "40s"]).end().expect_code(3);
    assert!(ended.says(&["was ended to be over in time"]), "{}", ended.stderr());
    scene.assert_restored(&production);
    assert!(began.elapsed() < Duration::from_secs(40), "late: {:?}\n{}", began.elapsed(), ended.stderr());
}
