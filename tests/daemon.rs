//! The whole binary while the Docker daemon is restarted, killed or away, on a daemon of the test's own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests: a failure is what they are for"
)]

mod common_docker;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use common_docker::{Daemon, Scene, Service, inspected, there_or_skipped};

/// A load of a few seconds on a simulated engine at a speed of 4.
const SUITE: &str = "suite:\n  smoke: { long_prompt_tokens: 64, output_tokens: 4 }\n  \
                     load: { concurrency: [1], requests_per_user: 16, prompt_tokens: 32, output_tokens: 64 }\n";

fn configs(names: &[&str]) -> String {
    let config = |(n, name): (usize, &&str)| format!("  - {{ name: {name}, flags: {{ max-num-seqs: {} }} }}\n", n + 8);
    format!("configs:\n{}", names.iter().enumerate().map(config).collect::<String>())
}

#[test]
fn a_restart_of_the_daemon_in_any_phase_costs_a_try_and_not_the_night() {
    let Some(mut daemon) = Daemon::start() else { return };
    let Some(scene) = Scene::new("restart") else { return };
    scene.deploy(&Service::sim().with_flags("--sim-speed 4 --sim-boot-seconds 2"));
    // The moment, how the daemon is ended, and how long it is away.
    let moments = [
        ("create", "create: starting the server", "TERM", 0),
        ("boot", "boot: loading weights", "TERM", 1),
        ("load", "load: load ", "TERM", 0),
        ("killed", "killed: load ", "KILL", 8),
        ("stop", "stop: stopping", "TERM", 1),
    ];
    let names = moments.map(|(name, ..)| name);
    scene.grid(&format!("{}{SUITE}limits: {{ retries: 2, identical_failures: 10 }}\nrepeats: off\n", configs(&names)));
    let production = scene.production();
    let began = Instant::now();
    let vgrid = scene.run();
    for (name, line, signal, away_s) in moments {
        vgrid.await_line(&[line]);
        daemon.restart(signal, Duration::from_secs(away_s));
        println!("{name}: the daemon was restarted after {:.0} s", began.elapsed().as_secs_f64());
    }
    vgrid.await_line(&["putting back"]);
    daemon.restart("TERM", Duration::from_secs(1));
    let ended = vgrid.end().expect_code(0);
    scene.assert_restored(&production);
    assert!(ended.says(&["serves again, verified by a real completion"]), "{}", ended.stderr());
    let states = scene.states();
    assert!(names.iter().all(|name| states[*name] == "measured"), "{states:?}");
    let failed = scene.rows(
        "SELECT t.name, a.cause, a.phase FROM attempt a JOIN trial t ON t.id = a.trial_id WHERE a.outcome = 'failed' ORDER BY a.id",
    );
    println!("{failed:?}");
    let causes = ["docker", "stopped"];
    assert!(
        failed.iter().all(|row| causes.contains(&row[1].as_str())),
        "a restart was taken for a fault of the config: {failed:?}"
    );
    assert_eq!(scene.rows("SELECT count(*) FROM attempt WHERE outcome IS NULL"), [["0"]]);
    assert_eq!(scene.rows("SELECT count(*) FROM restoration WHERE state <> 'restored'"), [["0"]]);
    let results = scene.rows("SELECT count(*), count(DISTINCT trial_id || result_key) FROM scenario_result");
    assert_eq!(results, [["10", "10"]], "each scenario is stored once");
}

#[test]
fn a_daemon_that_does_not_come_back_ends_the_sweep_and_later_production_comes_back_and_the_sweep_goes_on() {
    let Some(mut daemon) = Daemon::start() else { return };
    let Some(scene) = Scene::new("away") else { return };
    scene.deploy(&Service::sim().with_flags("--sim-speed 4").with_restart("always"));
    scene.grid(&format!("{}{SUITE}limits: {{ daemon: 2s }}\nrepeats: off\n", configs(&["a", "b"])));
    let production = scene.production();
    let vgrid = scene.run();
    vgrid.await_line(&["a: load "]);
    daemon.down("TERM");
    let ended = vgrid.end();
    assert!(ended.says(&["the Docker daemon does not answer; waiting for it, 2 s at most"]), "{}", ended.stderr());
    assert!(ended.says(&["vgrid restore"]), "{}", ended.stderr());
    assert!(![Some(0), Some(2), Some(130)].contains(&ended.code), "{:?}", ended.code);
    // Readers need no daemon.
    scene.start(&["status"]).end().expect_code(0);
    daemon.up();
    let aside = format!("/{}-vgrid-displaced", production.name);
    assert_eq!(
        inspected(&production.id, ".Name"),
        aside,
        "the daemon's start does not bring it up in the way of a trial"
    );
    let ended = scene.start(&["restore"]).end().expect_code(0);
    assert!(ended.says(&["serves again, verified by a real completion"]), "{}", ended.stderr());
    scene.assert_restored(&production);
    scene.run().end().expect_code(0);
    scene.assert_restored(&production);
    assert!(scene.states().values().all(|state| state == "measured"), "{:?}", scene.states());
}

/// What the machine's own daemon says, not the test's.
fn of_the_machine(arguments: &[&str]) -> Option<String> {
    let output = Command::new("docker").args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[test]
fn a_restart_of_the_daemon_under_the_real_vllm_fails_that_trial_as_docker_and_the_other_is_measured() {
    const IMAGE: &str = "vllm-cpu:0.32.0";
    let there = of_the_machine(&["image", "inspect", IMAGE]).is_some();
    if !there_or_skipped(there, "VGRID_REQUIRE_VLLM", "image vllm-cpu:0.32.0: bash compose/vllm-cpu/build.sh") {
        return;
    }
    let storage = of_the_machine(&["info", "--format", "{{.Driver}}"]).unwrap();
    let began = Instant::now();
    let Some(mut daemon) = Daemon::start_with(&storage) else { return };
    let Some(mut scene) = Scene::without_image("vllm-restart") else { return };
    daemon.load(IMAGE);
    println!("{storage}: the image was loaded after {:.0} s", began.elapsed().as_secs_f64());
    scene.model = "tiny-qwen3".to_owned();
    let compose = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("compose/vllm-cpu.yml")).unwrap();
    let compose = compose
        .replace("name: vllm-cpu\n", &format!("name: {}\n", scene.project))
        .replace("${VLLM_CPU_PORT:-18001}", &scene.port.to_string());
    scene.write("compose.yml", &compose);
    scene.grid(
        "configs:\n  - { name: restarted, flags: { max-num-seqs: 4 } }\n  - { name: works, flags: { max-num-seqs: 2 } }\n\
         suite:\n  load: { concurrency: [1], requests_per_user: 24, prompt_tokens: 32, output_tokens: 32 }\n\
         repeats: off\nlimits: { startup: 8m, retries: 0 }\n",
    );
    let vgrid = scene.run();
    vgrid.await_line(&["restarted: load ", "tokens/s"]);
    println!("restarted after {:.0} s", began.elapsed().as_secs_f64());
    daemon.restart("TERM", Duration::from_secs(1));
    let ended = vgrid.end_within(Duration::from_secs(10 * 60)).expect_code(2);
    println!("all took {:.0} s:\n{}", began.elapsed().as_secs_f64(), ended.stderr());
    let states = scene.states();
    assert_eq!((states["restarted"].as_str(), states["works"].as_str()), ("failed docker", "measured"));
    assert_eq!(scene.trials(), Vec::<String>::new());
    assert!(scene.rows("SELECT remedy FROM failures")[0][0].contains("live-restore"));
}
