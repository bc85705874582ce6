//! Production that dies again and again is no production that serves.

use super::common_docker::{Scene, Service, await_that, docker, inspected};
use super::{SUITE, numbered_configs};

#[test]
fn production_that_restarts_again_and_again_is_told_before_anything_is_touched_and_a_stopped_one_stays_stopped() {
    let Some(scene) = Scene::new("crash-loop") else { return };
    scene.deploy(&Service::sim().with_restart("always"));
    scene.grid(&format!("{}{SUITE}", numbered_configs(1)));
    let name = format!("{}-vllm-1", scene.project);
    let labels =
        [("project", scene.project.as_str()), ("service", "vllm"), ("oneoff", "False"), ("container-number", "1")];
    let labels: Vec<String> = labels
        .iter()
        .flat_map(|(key, value)| ["--label".to_owned(), format!("com.docker.compose.{key}={value}")])
        .collect();
    let mut words: Vec<&str> = vec!["run", "--detach", "--restart", "always", "--name", &name];
    words.extend(labels.iter().map(String::as_str));
    let image = Service::sim().image;
    words.extend([image.as_str(), "sim/tiny", "--no-such-flag-at-all"]);
    let id = docker(&words);
    await_that("it restarts again and again", || {
        let count: u32 = inspected(&id, ".RestartCount").parse().ok()?;
        (count >= 4).then_some(())
    });
    for verb in ["check", "run"] {
        let ended = scene.start(&[verb, "grid.yaml"]).end().expect_code(4);
        let all = format!("{}{}", ended.stdout, ended.stderr());
        assert!(all.contains("restarting again and again") && all.contains("docker stop"), "{verb}: {all}");
    }
    assert!(!scene.db().exists());
    // The way out that was named.
    docker(&["stop", &id]);
    let ended = scene.run().end().expect_code(0);
    assert!(ended.says(&["is back under its name, and stopped"]), "{}", ended.stderr());
    assert!(!ended.stderr().contains("runs again"), "{}", ended.stderr());
    assert_eq!(inspected(&id, ".State.Status"), "exited");
    docker(&["rm", "--force", &id]);
}
