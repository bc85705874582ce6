//! Containers that the grid wants stopped meanwhile: a watchdog, another server on the same GPU.

use super::common_docker::{Scene, Service, Stranger, docker, inspected};
use super::{LONG_SUITE, numbered_configs};

/// Starts a container beside the deployment that runs until it is stopped.
fn beside(scene: &Scene, name: &str, more: &[&str]) -> Stranger {
    let name = format!("{}-{name}", scene.project);
    let image = Service::sim().image;
    let words = [&["--name", name.as_str(), "--restart", "always"][..], more, &[image.as_str(), "sim/tiny"][..]];
    Stranger::run(&words.concat())
}

fn grid(scene: &Scene, after: &str, rest: &str) {
    let name = &scene.project;
    scene.write(
        "grid.yaml",
        &format!(
            "name: {name}\ndeployment:\n  compose: [compose.yml]\n  service: vllm\n  after: {after}\n  \
             also_stop: [{name}-watchdog, {name}-embeddings, embeddings, nobody]\n{rest}"
        ),
    );
}

/// Both run under their own names, and Docker revives them as before.
fn assert_run_again(scene: &Scene, all: [(&Stranger, &str); 2]) {
    for (one, name) in all {
        assert_eq!(inspected(&one.0, ".State.Running"), "true", "{name}");
        assert_eq!(inspected(&one.0, ".Name"), format!("/{}-{name}", scene.project));
        assert_eq!(inspected(&one.0, ".HostConfig.RestartPolicy.Name"), "always", "{name}");
    }
}

#[test]
fn what_the_grid_wants_stopped_is_stopped_in_trials_and_runs_again_after_a_kill_too() {
    let Some(scene) = Scene::new("also-stop") else { return };
    scene.deploy(&Service::sim().with_flags("--sim-speed 4"));
    grid(&scene, "restore", &format!("{}{LONG_SUITE}", numbered_configs(1)));
    let production = scene.production();
    let watchdog = beside(&scene, "watchdog", &["--volume", "/var/run/docker.sock:/var/run/docker.sock"]);
    // A service of the project, by Compose's labels.
    let project = format!("com.docker.compose.project={}", scene.project);
    let embeddings =
        beside(&scene, "embeddings", &["--label", &project, "--label", "com.docker.compose.service=embeddings"]);
    let both = [(&watchdog, "watchdog"), (&embeddings, "embeddings")];

    let check = scene.start(&["check", "grid.yaml"]).end().expect_code(0);
    for (_, name) in both {
        let container = format!("container {}-{name} ", scene.project);
        let told = check.stdout.lines().any(|line| line.contains(&container) && line.contains("is stopped meanwhile"));
        assert!(told, "{}", check.stdout);
    }
    assert!(check.stdout.contains("`also_stop` names `nobody`"), "{}", check.stdout);
    let suspected = format!("{}-watchdog (", scene.project);
    let suspected = |line: &str| line.contains(&suspected) && line.contains("may restart a trial");
    assert!(!check.stdout.lines().any(suspected), "what is stopped restarts nothing: {}", check.stdout);
    assert_run_again(&scene, both);

    let vgrid = scene.run();
    vgrid.await_line(&["stopping", "watchdog", "embeddings"]);
    vgrid.await_line(&["c0: load "]);
    let running = |one: &Stranger| inspected(&one.0, ".State.Running");
    assert_eq!(both.map(|(one, _)| running(one)), ["false", "false"]);
    assert!(vgrid.kill().1);
    let vgrid = scene.run();
    vgrid.await_line(&["c0: load "]);
    assert_eq!(both.map(|(one, _)| running(one)), ["false", "false"], "they stay stopped while the sweep goes on");
    vgrid.signal("INT");
    let ended = vgrid.end().expect_code(130);
    assert_run_again(&scene, both);
    assert!(scene.serves());
    assert_eq!(inspected(&production.id, ".Name"), format!("/{}", production.name));
    let line = |parts: &[&str]| ended.lines.iter().position(|line| parts.iter().all(|part| line.contains(part)));
    let served = line(&["serves again, verified by a real completion"]).unwrap();
    assert!(line(&["watchdog runs again"]).unwrap() > served, "first what serves: {}", ended.stderr());
    assert_eq!(scene.rows("SELECT count(*) FROM restoration WHERE state <> 'restored'"), [["0"]]);
}

#[test]
fn what_was_stopped_runs_again_beside_a_champion_and_when_nothing_serves_afterwards() {
    let Some(scene) = Scene::new("also-after") else { return };
    scene.deploy(&Service::sim().with_flags("--sim-speed 5"));
    let production = scene.production();
    let watchdog = beside(&scene, "watchdog", &[]);
    let embeddings = beside(&scene, "embeddings", &[]);
    let both = [(&watchdog, "watchdog"), (&embeddings, "embeddings")];
    // Without telemetry: a champion on figures that a busy machine makes suspect is not promoted by itself.
    let night = "configs:\n  - name: as_deployed\n  - { name: fast, flags: { sim-speed: 15 } }\nbaseline: as_deployed\n\
                 suite:\n  load: { concurrency: [2], requests_per_user: 12, prompt_tokens: 32, output_tokens: 64 }\n\
                 objectives: { best: maximize load.output_tokens_per_s }\nrepeats: {}\ntelemetry: off\n\
                 limits: { startup: 90s, trial: 3m }\n";
    grid(&scene, "champion", night);
    let ended = scene.run().end().expect_code(0);
    assert!(ended.says(&["fast serves as"]), "{}", ended.stderr());
    assert_run_again(&scene, both);
    assert!(scene.serves());
    let promoted = scene.containers(&[]);
    assert!(promoted.len() == 1 && promoted[0] != production.id, "{promoted:?}");

    let text = std::fs::read_to_string(scene.path("grid.yaml")).unwrap();
    let text = text.replace("after: champion", "after: stop").replace("repeats: {}", "repeats: off");
    scene.write("grid.yaml", &text);
    scene.run().end().expect_code(0);
    assert_run_again(&scene, both);
    assert_eq!(inspected(&promoted[0], ".State.Running"), "false");
    docker(&["rm", "--force", &promoted[0]]);
}
