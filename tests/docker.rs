//! The whole binary on a real Docker engine: sweeps of the simulated engine beside a production deployment, and everything that
//! strangers, signals and kills do to them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests: a failure is what they are for"
)]

mod common_docker;

#[path = "docker/also_stop.rs"]
mod also_stop;
#[path = "docker/crash_loop.rs"]
mod crash_loop;
#[path = "docker/images.rs"]
mod images;
#[path = "docker/paused.rs"]
mod paused;
#[path = "docker/restorable.rs"]
mod restorable;
#[path = "docker/telemetry.rs"]
mod telemetry;
#[path = "docker/time.rs"]
mod time;
#[path = "docker/unwritable.rs"]
mod unwritable;

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use common_docker::{
    MODEL, Production, SIM_IMAGE, Scene, Service, Stranger, await_that, docker, inspected, try_docker,
};
use rand::{Rng, SeedableRng};

/// A suite of a second: a smoke test, then a little load.
const SUITE: &str = "suite:\n  smoke: { long_prompt_tokens: 64, output_tokens: 4 }\n  \
                     load: { concurrency: [1], requests_per_user: 4, prompt_tokens: 32, output_tokens: 8 }\n\
                     objectives: { throughput: maximize load.output_tokens_per_s }\nrepeats: off\n\
                     limits: { startup: 90s, trial: 3m }\n";

/// A load that lasts until somebody ends it.
const LONG_SUITE: &str = "suite:\n  smoke: { long_prompt_tokens: 64, output_tokens: 4 }\n  \
                          load: { concurrency: [1], requests_per_user: 4000, prompt_tokens: 32, output_tokens: 256 }\n\
                          limits: { startup: 90s, trial: 3m }\n";

fn numbered_configs(count: usize) -> String {
    let config = |i: usize| format!("  - {{ name: c{i}, flags: {{ max-num-seqs: {} }} }}\n", i + 8);
    format!("configs:\n{}", (0..count).map(config).collect::<String>())
}

#[test]
fn a_sweep_with_a_config_that_runs_out_of_memory_names_a_champion_and_the_same_production_container_serves_again() {
    let Some(scene) = Scene::new("night") else { return };
    // The image that vgrid makes by itself.
    let service = Service { image: "vgrid-sim:local".to_owned(), ..Service::sim() };
    scene.deploy(&service.with_flags("--max-model-len 8192 --sim-boot-seconds 2"));
    scene.grid(&format!(
        "configs:\n  - name: as_deployed\n  - {{ name: too_little, flags: {{ gpu-memory-utilization: 0.7, max-num-seqs: 32 }} }}\n  \
         - {{ name: prefix_off, flags: {{ enable-prefix-caching: off }} }}\nbaseline: as_deployed\n{SUITE}"
    ));
    let production = scene.production();
    let vgrid = scene.run();
    let trial = scene.await_trial();
    // It stands where production stood, for everybody who looks: name, labels, port; and Docker does not revive it.
    assert_eq!(inspected(&trial, ".Name"), format!("/{}", production.name));
    assert_eq!(inspected(&trial, ".HostConfig.RestartPolicy.Name"), "no");
    for (label, value) in [
        ("com.docker.compose.project", scene.project.as_str()),
        ("com.docker.compose.service", "vllm"),
        ("com.docker.compose.oneoff", "False"),
        ("com.docker.compose.container-number", "1"),
        ("io.vgrid.role", "trial"),
    ] {
        assert_eq!(inspected(&trial, &format!("index .Config.Labels {label:?}")), value, "{label}");
    }
    if let Some(listed) = scene.compose(&["ps", "--quiet", "--no-trunc"]) {
        assert!(listed.contains(&trial), "docker compose ps does not show the trial: {listed}");
    }
    let ended = vgrid.end().expect_code(2);
    scene.assert_restored(&production);
    let states = scene.states();
    assert_eq!(states["as_deployed"], "measured");
    assert_eq!(states["prefix_off"], "measured");
    assert_eq!(states["too_little"], "failed kv_cache_too_small");
    assert!(ended.says(&["too_little: failed (kv_cache_too_small)", "KV cache", "->"]), "{}", ended.stderr());
    assert!(ended.says(&["serves again, verified by a real completion", MODEL]), "{}", ended.stderr());
    assert!(ended.stdout.contains("throughput") && ended.stdout.contains("as_deployed"), "{}", ended.stdout);
    let evidence = scene.rows("SELECT evidence FROM failures WHERE config = 'too_little'");
    assert!(evidence[0][0].contains("KV cache"), "{evidence:?}");
    // For Compose nothing has changed.
    if scene.compose(&["up", "-d"]).is_some() {
        scene.assert_restored(&production);
    }
}

/// `NAME: SCENARIO ` of a line of progress or of a scenario's end.
fn scenario_of(line: &str) -> Option<(String, String)> {
    let (_, rest) = line.split_once("] ")?;
    let (name, what) = rest.split_once(": ")?;
    let (scenario, _) = what.split_once(' ')?;
    ["smoke", "load"].contains(&scenario).then(|| (name.to_owned(), scenario.to_owned()))
}

/// Every stored result: config, scenario, id, moment of saving.
fn stored(scene: &Scene) -> BTreeSet<Vec<String>> {
    if !scene.db().exists() {
        return BTreeSet::new();
    }
    let rows = common_docker::try_rows(
        &scene.db(),
        "SELECT t.name, r.scenario, r.id, r.saved_at FROM scenario_result r JOIN trial t ON t.id = r.trial_id",
    );
    rows.unwrap_or_default().into_iter().collect()
}

#[test]
fn a_sweep_killed_at_twenty_random_moments_measures_everything_once_and_brings_production_back() {
    const KILLS: usize = 20;
    const CONFIGS: usize = 12;
    let Some(scene) = Scene::new("kill") else { return };
    scene.deploy(&Service::sim().with_restart("always"));
    // A kill is no fault of the config, however often it hits the same one.
    let suite = SUITE.replace("limits: {", "limits: { deaths: 1000,");
    scene.grid(&format!("{}{suite}", numbered_configs(CONFIGS)));
    let production = scene.production();
    let seed = std::env::var("VGRID_TEST_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(20_261_124);
    println!("VGRID_TEST_SEED={seed}");
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let began = Instant::now();
    let mut before = BTreeSet::new();
    let mut moments = Vec::new();
    while moments.len() < KILLS {
        let done: BTreeSet<(String, String)> =
            before.iter().map(|r: &Vec<String>| (r[0].clone(), r[1].clone())).collect();
        let vgrid = scene.run();
        // A moment is a number of lines and a little more, so that it means the same on a slow machine.
        if !vgrid.await_lines(random.random_range(0..24)) {
            vgrid.end().expect_code(0);
            break;
        }
        std::thread::sleep(Duration::from_millis(random.random_range(0..150)));
        let (ended, was_running) = vgrid.kill();
        for line in &ended.lines {
            let repeated = scenario_of(line).filter(|which| done.contains(which));
            assert_eq!(repeated, None, "measured again although it was stored: {line}");
        }
        let after = stored(&scene);
        assert!(after.is_superset(&before), "results were lost or replaced: {:?}", before.difference(&after));
        before = after;
        if was_running {
            // No trial of the last moment is left when the next run has begun; production comes back when it ends.
            moments.push(ended.lines.last().and_then(|l| l.split_once(' ')).map_or(String::new(), |l| l.1.to_owned()));
        }
    }
    println!("{} kills in {:.0} s, after:\n  {}", moments.len(), began.elapsed().as_secs_f64(), moments.join("\n  "));
    assert!(moments.len() >= KILLS, "the sweep was over too early: {} kills", moments.len());
    let ended = scene.run().end().expect_code(0);
    scene.assert_restored(&production);
    assert_eq!(scene.states().values().filter(|state| *state == "measured").count(), CONFIGS, "{:?}", scene.states());
    let results = stored(&scene);
    assert!(results.is_superset(&before));
    assert_eq!(results.len(), CONFIGS * 2, "each scenario of each config is stored once");
    let wasted = scene.rows(
        "SELECT count(*) FROM attempt a WHERE EXISTS
           (SELECT 1 FROM attempt m WHERE m.trial_id = a.trial_id AND m.outcome = 'measured' AND m.number < a.number)",
    );
    assert_eq!(wasted, [["0"]], "a measured config was started again");
    assert_eq!(scene.rows("SELECT count(*) FROM attempt WHERE outcome IS NULL"), [["0"]]);
    assert_eq!(scene.rows("SELECT count(*) FROM restoration WHERE state <> 'restored'"), [["0"]]);
    assert!(ended.stdout.contains("throughput"), "{}", ended.stdout);
}

#[test]
fn ctrl_c_in_a_boot_and_in_a_scenario_ends_the_trial_and_brings_production_back() {
    let Some(scene) = Scene::new("ctrl-c") else { return };
    scene.deploy(&Service::sim());
    scene.grid(&format!(
        "configs:\n  - {{ name: slow_boot, flags: {{ sim-boot-seconds: 100 }} }}\n  - {{ name: long_load, flags: {{ sim-speed: 1 }} }}\n{LONG_SUITE}"
    ));
    let production = scene.production();
    for (only, moment) in [("slow_boot", "loading weights"), ("long_load", "long_load: load ")] {
        let vgrid = scene.start(&["run", "grid.yaml", "--only", only]);
        vgrid.await_line(&[moment]);
        let asked = Instant::now();
        vgrid.signal("INT");
        let ended = vgrid.end().expect_code(130);
        println!("Ctrl-C in {only}: ended after {:.1} s", asked.elapsed().as_secs_f64());
        assert!(ended.says(&["Ctrl-C", "once more"]), "{}", ended.stderr());
        assert!(ended.says(&["serves again, verified by a real completion"]), "{}", ended.stderr());
        scene.assert_restored(&production);
    }
    let outcomes =
        scene.rows("SELECT t.name, a.outcome FROM attempt a JOIN trial t ON t.id = a.trial_id ORDER BY a.id");
    assert_eq!(outcomes, [["slow_boot", "interrupted"], ["long_load", "interrupted"]]);
    // What was measured before Ctrl-C is kept.
    assert_eq!(scene.rows("SELECT config, scenario, verdict FROM results"), [["long_load", "smoke", "valid"]]);
}

#[test]
fn ctrl_c_while_production_is_put_back_waits_for_it_and_a_second_one_leaves_it_to_vgrid_restore() {
    let Some(scene) = Scene::new("ctrl-c-restore") else { return };
    // Production boots slowly, the trials do not.
    scene.deploy(&Service::sim().with_flags("--sim-boot-seconds 4"));
    scene.grid(&format!("base: {{ flags: {{ sim-boot-seconds: 0 }} }}\n{}{SUITE}", numbered_configs(1)));
    let production = scene.production();
    let vgrid = scene.run();
    vgrid.await_line(&["putting back"]);
    vgrid.signal("INT");
    let ended = vgrid.end().expect_code(0);
    assert!(ended.says(&["serves again, verified by a real completion"]), "{}", ended.stderr());
    scene.assert_restored(&production);

    let vgrid = scene.start(&["run", "grid.yaml", "--new"]);
    vgrid.await_line(&["putting back"]);
    vgrid.signal("INT");
    vgrid.await_line(&["Ctrl-C"]);
    vgrid.signal("INT");
    let ended = vgrid.end().expect_code(130);
    assert!(ended.says(&["vgrid restore"]), "{}", ended.stderr());
    let ended = scene.start(&["restore"]).end().expect_code(0);
    assert!(ended.says(&["serves again, verified by a real completion"]), "{}", ended.stderr());
    scene.assert_restored(&production);
}

#[test]
fn a_trial_that_a_stranger_removes_restarts_or_kills_is_told_and_tried_again_and_the_sweep_goes_on() {
    let Some(scene) = Scene::new("stranger") else { return };
    scene.deploy(&Service::sim().with_flags("--sim-speed 4"));
    scene.grid(&format!(
        "{}suite:\n  load: {{ concurrency: [1], requests_per_user: 24, prompt_tokens: 32, output_tokens: 64 }}\n",
        numbered_configs(4)
    ));
    let production = scene.production();
    // What could have done it: a watchdog holds Docker's socket.
    let watchdog = format!("{}-watchdog", scene.project);
    let socket = "/var/run/docker.sock:/var/run/docker.sock";
    let _watchdog = Stranger::run(&["--name", &watchdog, "--volume", socket, &Service::sim().image, "sim/tiny"]);
    let check = scene.start(&["check", "grid.yaml"]).end().expect_code(0);
    assert!(check.stdout.contains(&format!("container {watchdog}")), "{}", check.stdout);
    let vgrid = scene.run();
    let deeds: [(&str, &[&str]); 3] = [("c0", &["rm", "--force"]), ("c1", &["restart"]), ("c2", &["kill"])];
    for (config, deed) in deeds {
        vgrid.await_line(&[&format!("{config}: load ")]);
        let trial = scene.await_trial();
        docker(&[deed, &[&trial]].concat());
        let told = vgrid.await_line(&[&format!("{config}: failed")]);
        println!("docker {}: {told}", deed.join(" "));
        let signal = if deed[0] == "restart" { "sent it signal 15" } else { "sent it signal 9" };
        let sentence = format!("somebody else acted on the trial's container: {signal}");
        assert!(told.contains(&sentence), "it does not say what was done: {told}");
        vgrid.await_line(&[&format!("warning: {config}: {sentence}")]);
    }
    let ended = vgrid.end().expect_code(0);
    scene.assert_restored(&production);
    let attempts = scene.rows(
        "SELECT t.name, a.number, a.outcome, coalesce(a.cause, ''), coalesce(a.phase, '') FROM attempt a
         JOIN trial t ON t.id = a.trial_id ORDER BY t.name, a.number",
    );
    let expected = |config: &'static str| {
        [[config, "1", "failed", "stopped", "serving"], [config, "2", "measured", "", "serving"]]
    };
    let evidence = scene.rows(
        "SELECT t.name, group_concat(e.text, ' | ') FROM attempt_evidence e JOIN attempt a ON a.id = e.attempt_id
         JOIN trial t ON t.id = a.trial_id GROUP BY t.name ORDER BY t.name",
    );
    for row in &evidence {
        assert!(row[1].contains(&format!("hold Docker's socket: {watchdog}")), "{row:?}");
    }
    let restart = &evidence[1][1];
    assert_eq!(restart.matches("sent it signal").count(), 1, "vgrid's own stop is told as a stranger's: {restart}");
    assert!(restart.contains("restarted it"), "{restart}");
    let mut all: Vec<[&str; 5]> = ["c0", "c1", "c2"].into_iter().flat_map(expected).collect();
    all.push(["c3", "1", "measured", "", "serving"]);
    assert_eq!(attempts, all, "{}", ended.stderr());
}

#[test]
fn production_that_a_stranger_removes_while_it_is_aside_is_made_again() {
    let Some(scene) = Scene::new("removed") else { return };
    scene
        .deploy(&Service::sim().with("environment: { HF_TOKEN: hf_test_secret, PLAIN: 'yes' }").with_restart("always"));
    scene.grid(&format!("{}{SUITE}", numbered_configs(1)));
    let production = scene.production();
    let labels = inspected(&production.id, "json .Config.Labels");
    let vgrid = scene.run();
    scene.await_trial();
    docker(&["rm", "--force", &production.id]);
    vgrid.end().expect_code(0);
    assert_eq!(scene.trials(), Vec::<String>::new());
    let all = scene.containers(&[]);
    assert_eq!(all.len(), 1, "{all:?}");
    let again = Production { id: all[0].clone(), ..production };
    scene.assert_restored(&again);
    assert_eq!(inspected(&again.id, "json .Config.Labels"), labels);
    let environment = inspected(&again.id, "json .Config.Env");
    assert!(environment.contains("HF_TOKEN=hf_test_secret") && environment.contains("PLAIN=yes"), "{environment}");
    // The secret was needed to make it again, and stands in no file of ours.
    for file in common_docker::walk(scene.dir.path()).into_iter().filter(|path| !path.ends_with("compose.yml")) {
        let bytes = std::fs::read(&file).unwrap();
        let secret = bytes.windows(14).any(|window| window == b"hf_test_secret");
        assert!(!secret, "{} holds the secret", file.display());
    }
}

#[test]
fn after_a_kill_clean_removes_the_trial_alone_and_restore_brings_production_back() {
    let Some(scene) = Scene::new("recover") else { return };
    scene.deploy(&Service::sim());
    scene.grid(&format!("{}{LONG_SUITE}", numbered_configs(1)));
    let production = scene.production();
    let vgrid = scene.run();
    vgrid.await_line(&["c0: load "]);
    assert!(vgrid.kill().1);
    let trial = scene.trials();
    assert_eq!(trial.len(), 1);
    let aside = format!("{}-vgrid-displaced", production.name);
    assert_eq!(inspected(&production.id, ".Name"), format!("/{aside}"));

    let ended = scene.start(&["clean", "--dry-run"]).end().expect_code(0);
    assert!(ended.stdout.contains("would remove"), "{}", ended.stdout);
    assert_eq!(scene.trials(), trial, "--dry-run removes nothing");
    let ended = scene.start(&["status"]).end().expect_code(0);
    assert!(ended.stdout.contains("still taken aside"), "{}", ended.stdout);
    let ended = scene.start(&["clean"]).end().expect_code(0);
    assert!(ended.stdout.contains("removed"), "{}", ended.stdout);
    assert_eq!(scene.trials(), Vec::<String>::new());
    assert_eq!(inspected(&production.id, ".Name"), format!("/{aside}"), "clean touches nothing but trials");

    let ended = scene.start(&["restore"]).end().expect_code(0);
    assert!(ended.says(&["serves again, verified by a real completion"]), "{}", ended.stderr());
    scene.assert_restored(&production);
    let ended = scene.start(&["restore"]).end().expect_code(0);
    assert!(ended.stdout.contains("nothing to put back"), "{}", ended.stdout);
    scene.assert_restored(&production);

    // Once more, with the trial still there: restore alone does both.
    let vgrid = scene.run();
    vgrid.await_line(&["c0: load "]);
    assert!(vgrid.kill().1);
    assert_eq!(scene.trials().len(), 1);
    scene.start(&["restore"]).end().expect_code(0);
    scene.assert_restored(&production);
}

#[test]
fn a_process_on_the_port_ends_the_preflight_with_code_4_and_nothing_is_touched() {
    let Some(scene) = Scene::new("port") else { return };
    scene.deploy(&Service::sim());
    scene.grid(&format!("{}{SUITE}", numbered_configs(1)));
    let stranger = TcpListener::bind(("127.0.0.1", scene.port)).unwrap();
    let ended = scene.run().end().expect_code(4);
    let port = scene.port.to_string();
    assert!(ended.says(&[&port, "in use"]), "{}", ended.stderr());
    assert!(ended.says(&["nothing was touched"]), "{}", ended.stderr());
    assert_untouched(&scene);
    drop(stranger);
    scene.run().end().expect_code(0);
}

/// No container, no network, no database.
fn assert_untouched(scene: &Scene) {
    assert_eq!(scene.containers(&[]), Vec::<String>::new());
    assert_eq!(try_docker(&["network", "inspect", &format!("{}_default", scene.project)]), None);
    assert!(!scene.db().exists(), "a database was made");
}

#[test]
fn a_container_that_is_no_part_of_the_project_and_holds_the_port_is_taken_aside_and_put_back() {
    let Some(scene) = Scene::new("foreign") else { return };
    let service = Service::sim();
    scene.deploy(&service);
    scene.grid(&format!("{}{SUITE}", numbered_configs(1)));
    let published = format!("127.0.0.1:{}:8000", scene.port);
    let name = format!("{}-by-hand", scene.project);
    let flags = ["--served-model-name", MODEL, "--port", "8000", "--sim-boot-seconds", "0"];
    let run = ["--name", &name, "--restart", "on-failure:3", "--publish", &published, &service.image, "sim/tiny"];
    let stranger = Stranger::run(&[&run[..], &flags[..]].concat());
    scene.await_serving();
    let check = scene.start(&["check", "grid.yaml"]).end().expect_code(0);
    assert!(check.stdout.contains(&name), "check names what it would take aside: {}", check.stdout);
    let ended = scene.run().end().expect_code(0);
    assert!(ended.says(&["taking aside", &name]), "{}", ended.stderr());
    assert_eq!(scene.trials(), Vec::<String>::new());
    assert_eq!(inspected(&stranger.0, ".Name"), format!("/{name}"));
    assert_eq!(inspected(&stranger.0, ".State.Running"), "true");
    assert_eq!(
        inspected(&stranger.0, "json .HostConfig.RestartPolicy"),
        r#"{"Name":"on-failure","MaximumRetryCount":3}"#
    );
    assert!(scene.serves());
}

#[test]
fn a_bind_source_that_is_missing_ends_the_preflight_with_code_4_and_is_not_made() {
    let Some(scene) = Scene::new("bind") else { return };
    let missing = scene.path("no-such-models");
    scene.deploy(&Service::sim().with(&format!("volumes: [\"{}:/models:ro\"]", missing.display())));
    scene.grid(&format!("{}{SUITE}", numbered_configs(1)));
    let ended = scene.run().end().expect_code(4);
    assert!(ended.says(&[&missing.display().to_string()]), "{}", ended.stderr());
    assert!(!missing.exists(), "the missing folder was made");
    assert_untouched(&scene);
}

#[test]
fn an_image_tag_that_moves_in_the_night_is_told_once_and_all_trials_run_the_image_of_its_begin() {
    let Some(scene) = Scene::new("tags") else { return };
    let tag = format!("vgrid-test-{}:night", scene.project);
    docker(&["tag", SIM_IMAGE, &tag]);
    scene.deploy(&Service::sim().with_image(&tag).with_flags("--sim-speed 4"));
    scene.grid(&format!(
        "{}suite:\n  load: {{ concurrency: [1], requests_per_user: 12, prompt_tokens: 32, output_tokens: 64 }}\n",
        numbered_configs(3)
    ));
    let production = scene.production();
    let began = inspected(&production.id, ".Image");
    let vgrid = scene.run();
    vgrid.await_line(&["c0: load "]);
    // Somebody builds another image under the tag while the first trial is measured.
    let other = docker(&["commit", "--change", "LABEL moved=yes", &production.id, &tag]);
    let ended = vgrid.end().expect_code(0);
    let said = ended.stderr().matches(&format!("{tag} means ")).count();
    assert_eq!(said, 1, "{}", ended.stderr());
    assert!(ended.says(&[&format!("{tag} means {}", other.trim()), &format!("began with {}", began.trim())]));
    scene.assert_restored(&production);
    docker(&["rmi", "--force", &tag]);
}

#[test]
fn a_service_with_a_fixed_container_name_is_swept_under_that_name_and_has_it_again_afterwards() {
    let Some(scene) = Scene::new("named") else { return };
    let name = format!("{}-qwen", scene.project);
    scene.deploy(&Service::sim().with(&format!("container_name: {name}")));
    scene.grid(&format!("{}{SUITE}", numbered_configs(2)));
    let production = scene.production();
    assert_eq!(production.name, name);
    let vgrid = scene.run();
    let trial = scene.await_trial();
    assert_eq!(inspected(&trial, ".Name"), format!("/{name}"));
    // A second vgrid on this deployment is turned away, and the first goes on.
    let second = scene.run().end();
    assert_eq!(second.code, Some(4), "{}", second.stderr());
    vgrid.end().expect_code(0);
    scene.assert_restored(&production);
}

#[test]
fn production_that_was_stopped_before_the_sweep_stays_stopped_under_its_own_name() {
    let Some(scene) = Scene::new("stopped") else { return };
    scene.deploy(&Service::sim());
    scene.grid(&format!("{}{SUITE}", numbered_configs(1)));
    let production = scene.production();
    docker(&["stop", &production.id]);
    scene.run().end().expect_code(0);
    await_that("the container has its name again", || {
        (inspected(&production.id, ".Name") == format!("/{}", production.name)).then_some(())
    });
    assert_eq!(inspected(&production.id, ".State.Running"), "false");
    assert_eq!(scene.containers(&[]), [production.id.as_str()]);
}

#[test]
fn a_continued_sweep_that_cannot_even_begin_brings_production_back() {
    let Some(scene) = Scene::new("cannot-begin") else { return };
    scene.deploy(&Service::sim().with_flags("--sim-speed 4"));
    scene.grid(&format!("{}{SUITE}", numbered_configs(2)));
    let production = scene.production();
    let vgrid = scene.run();
    vgrid.await_line(&["c0: load "]);
    assert!(vgrid.kill().1);
    assert!(!scene.serves() || !scene.trials().is_empty(), "production is aside");
    // From now on no event can be kept, not even that the sweep begins.
    let database = rusqlite::Connection::open(scene.db()).unwrap();
    database
        .execute_batch("CREATE TRIGGER no_event BEFORE INSERT ON event BEGIN SELECT raise(FAIL, 'no event today'); END")
        .unwrap();
    drop(database);
    let ended = scene.run().end().expect_code(70);
    assert!(ended.stderr().contains("no event today"), "{}", ended.stderr());
    scene.assert_restored(&production);
}
