//! An engine that says that it is healthy and makes no tokens.

use super::SUITE;
use super::common::Scene;

#[test]
fn an_engine_that_is_healthy_and_makes_no_tokens_hangs_and_the_sweep_goes_on() {
    let scene = Scene::new();
    let body = format!(
        "configs:
  - {{ name: in-its-start, flags: {{ sim-fail: \"hang_serving:0\" }} }}
  - {{ name: in-a-scenario, flags: {{ sim-fail: \"hang_serving:3\" }} }}
  - {{ name: works }}
limits: {{ stall: 4s, retries: 0 }}
{SUITE}"
    );
    scene.grid(&[], &body);
    let done = scene
        .sweep(&[])
        .code(2)
        .says(&["1 measured, 2 failed", "it answers health checks and makes no tokens: restart it"]);
    assert_eq!(
        scene.states(),
        ["in-its-start: failed (hung)", "in-a-scenario: failed (hung)", "works: measured"],
        "{}",
        done.stderr
    );
    assert_eq!(scene.sql("SELECT phase FROM failures ORDER BY position"), ["startup", "serving"]);
    assert_eq!(scene.count("SELECT count(*) FROM failures WHERE remedy LIKE '%enforce-eager%'"), 2);
    assert_eq!(scene.count("SELECT count(*) FROM attempt"), 3, "retries are off");
    scene.assert_no_sim_is_left();
}
