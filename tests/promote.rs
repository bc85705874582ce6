//! The whole binary on a real Docker engine: a measured config into production and back, broken on the way, killed on the way.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests: a failure is what they are for"
)]

mod common_docker;
#[path = "common/documented.rs"]
mod documented;

use std::path::Path;
use std::process::Command;

use common_docker::{Production, Scene, Service, docker, inspected};

/// Two configs, the second of them to be promoted; a suite of a second.
const GRID: &str = "configs:\n  - name: as_deployed\n  - name: better\n    flags: { max-num-seqs: 32, enable-prefix-caching: off }\n    \
                    env: { NOTE: 'a $5 \"note\", kept' }\nbaseline: as_deployed\n\
                    suite:\n  smoke: { long_prompt_tokens: 64, output_tokens: 4 }\n  \
                    load: { concurrency: [1], requests_per_user: 4, prompt_tokens: 32, output_tokens: 8 }\n  \
                    canary: { limit: 4, repeats: 1 }\n\
                    objectives: { throughput: maximize load.output_tokens_per_s }\nrepeats: off\nlimits: { startup: 90s, trial: 3m }\n";

/// A health check as a compose file has it: every field of it counts in Compose's hash of the service.
const HEALTHCHECK: &str = "healthcheck: { test: [CMD, /usr/bin/vgrid, sim, --health-check], interval: 10s, timeout: 5s, retries: 3, start_period: 30s }";

/// A scene whose grid was swept, and what serves in it.
fn swept(name: &str, service: &Service) -> Option<(Scene, Production)> {
    let scene = Scene::new(name)?;
    scene.deploy(service);
    scene.grid(GRID);
    let production = scene.production();
    scene.run().end().expect_code(0);
    scene.assert_restored(&production);
    Some((scene, production))
}

fn secret_service() -> Service {
    Service::sim().with("environment: { HF_TOKEN: '${HF_TOKEN:-hf_test_secret}', PLAIN: 'yes' }")
}

/// The real Compose on the scene's file with the override behind it; None where it is not.
fn compose_with_champion(scene: &Scene, arguments: &[&str]) -> Option<String> {
    let oracle = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/oracle/docker-compose");
    if !common_docker::there_or_skipped(oracle.exists(), "VGRID_REQUIRE_ORACLE", "target/oracle/docker-compose") {
        return None;
    }
    let mut command = Command::new(oracle);
    command.current_dir(scene.dir.path()).args(["-f", "compose.yml", "-f", "champion.yml", "--ansi", "never"]);
    let output = command.args(arguments).output().unwrap();
    assert!(output.status.success(), "compose {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The promoted container of the project.
fn promoted(scene: &Scene) -> String {
    let all = scene.containers(&["label=io.vgrid.role=promoted"]);
    assert_eq!(all.len(), 1, "{all:?}");
    all[0].clone()
}

#[test]
fn a_promoted_config_serves_under_composes_eyes_and_a_rollback_brings_the_old_one_back() {
    let service = secret_service().with_restart("always").with(HEALTHCHECK);
    let Some((scene, production)) = swept("promote", &service) else { return };
    scene.write("champion.yml", "# mine\n");
    let ended = scene.start(&["promote", "better", "--apply"]).end().expect_code(0);
    assert!(ended.stdout.contains("better") && ended.stdout.contains("verified"), "{}", ended.stdout);
    assert!(ended.stdout.contains("all 4 that were right when it was measured are right"), "{}", ended.stdout);
    let id = promoted(&scene);
    assert_eq!(scene.containers(&[]), [id.as_str()], "nothing else of the project is left");
    assert_ne!(id, production.id);
    assert_eq!(inspected(&id, ".Name"), format!("/{}", production.name));
    assert_eq!(inspected(&id, ".State.Running"), "true");
    assert_eq!(inspected(&id, ".HostConfig.RestartPolicy.Name"), "always");
    let command = inspected(&id, "json .Config.Cmd");
    assert!(
        command.contains(r#""--max-num-seqs","32""#) && command.contains("--no-enable-prefix-caching"),
        "{command}"
    );
    let environment = inspected(&id, "json .Config.Env");
    assert!(environment.contains("HF_TOKEN=hf_test_secret") && environment.contains("a $5"), "{environment}");
    assert!(scene.serves());
    // The override holds no secret, and Compose reads the very words that run.
    let text = std::fs::read_to_string(scene.path("champion.yml")).unwrap();
    assert!(!text.contains("hf_test_secret"), "{text}");
    if let Some(config) = compose_with_champion(&scene, &["config", "--format", "json"]) {
        let config: serde_json::Value = serde_json::from_str(&config).unwrap();
        let words: serde_json::Value = serde_json::from_str(&command).unwrap();
        assert_eq!(config["services"]["vllm"]["command"], words);
        assert_eq!(config["services"]["vllm"]["environment"]["NOTE"], "a $$5 \"note\", kept");
        // For Compose with the override nothing is to be done: the container is its own.
        compose_with_champion(&scene, &["up", "-d"]);
        assert_eq!(promoted(&scene), id);
        assert_eq!(inspected(&id, ".State.Running"), "true");
    }
    let ended = scene.start(&["rollback"]).end().expect_code(0);
    assert!(ended.says(&["serves again, verified by a real completion"]), "{}", ended.stderr());
    let all = scene.containers(&[]);
    assert_eq!(all.len(), 1, "{all:?}");
    let again = Production { id: all[0].clone(), ..production };
    scene.assert_restored(&again);
    let environment = inspected(&again.id, "json .Config.Env");
    assert!(environment.contains("HF_TOKEN=hf_test_secret") && !environment.contains("NOTE"), "{environment}");
    assert_eq!(std::fs::read_to_string(scene.path("champion.yml")).unwrap(), "# mine\n");
    assert_eq!(scene.rows("SELECT config, state FROM promotion"), [["better", "rolled_back"]]);
    // Nothing is left to undo.
    scene.start(&["rollback"]).end().expect_code(1);
    for (table, column) in [("promotion", "serving_json"), ("promotion", "files_json"), ("promotion", "checklist_json")]
    {
        let rows = scene.rows(&format!("SELECT {column} FROM {table}"));
        assert!(!rows[0][0].contains("hf_test_secret"), "{table}.{column} holds the secret");
    }
}

#[test]
fn a_rollback_replaces_what_compose_made_of_the_override_and_leaves_alone_what_somebody_else_started() {
    let Some((scene, production)) = swept("promote-again", &Service::sim().with(HEALTHCHECK)) else { return };
    let applied = scene.start(&["promote", "better", "--apply", "--json"]).end().expect_code(0);
    let first = promoted(&scene);
    if compose_with_champion(&scene, &["up", "-d", "--force-recreate"]).is_none() {
        return;
    }
    let made_by_compose = scene.containers(&[]);
    assert!(made_by_compose.len() == 1 && made_by_compose[0] != first, "{made_by_compose:?}");
    assert!(inspected(&made_by_compose[0], "json .Config.Cmd").contains(r#""--max-num-seqs","32""#));
    let ended = scene.start(&["rollback", "--json"]).end().expect_code(0);
    assert!(ended.says(&["Compose had made it anew from the override"]), "{}", ended.stderr());
    for (command, printed) in [("promote", &applied.stdout), ("rollback", &ended.stdout)] {
        let json = serde_json::from_str(printed).unwrap();
        let (found, not_there) = documented::lacking(command, &json, &documented::section_of(command));
        assert!(found > 10 && not_there.is_empty(), "docs/json.md lacks {not_there:?}");
    }
    let all = scene.containers(&[]);
    assert_eq!(all.len(), 1, "{all:?}");
    let production = Production { id: all[0].clone(), ..production };
    scene.assert_restored(&production);
    assert!(!inspected(&production.id, "json .Config.Cmd").contains(r#""--max-num-seqs","32""#));
    assert!(!scene.path("champion.yml").exists());

    // Somebody removed the promoted container and started another one under its name.
    let image = inspected(&production.id, ".Image");
    scene.start(&["promote", "better", "--apply"]).end().expect_code(0);
    docker(&["rm", "-f", &promoted(&scene)]);
    let label = format!("com.docker.compose.project={}", scene.project);
    docker(&["run", "-d", "--name", &production.name, "--label", &label, &image, "sim/other", "--port", "8000"]);
    let ended = scene.start(&["rollback"]).end().expect_code(2);
    assert!(ended.says(&["is not undone", "started since by somebody else"]), "{}", ended.stderr());
    assert!(ended.says(&["docker rm -f", "vgrid rollback"]), "{}", ended.stderr());
    assert!(scene.path("champion.yml").exists());
    assert_eq!(scene.rows("SELECT state FROM promotion ORDER BY id"), [["rolled_back"], ["promoted"]]);
    docker(&["rm", "-f", &production.name]);
    scene.start(&["rollback"]).end().expect_code(0);
    let production = Production { id: scene.containers(&[])[0].clone(), ..production };
    scene.assert_restored(&production);
}

#[test]
fn a_promotion_that_breaks_rolls_back_by_itself_to_the_very_same_container() {
    let Some((scene, production)) = swept("promote-breaks", &Service::sim().with_flags("--sim-boot-seconds 3")) else {
        return;
    };
    let vgrid = scene.start(&["promote", "better", "--apply"]);
    vgrid.await_line(&["starting", &production.name]);
    let id = common_docker::await_that("the promoted container runs", || {
        scene.containers(&["label=io.vgrid.role=promoted", "status=running"]).pop()
    });
    docker(&["kill", &id]);
    let ended = vgrid.end().expect_code(2);
    assert!(ended.says(&["better is not promoted", "exited"]), "{}", ended.stderr());
    assert!(ended.stdout.contains("rolled back"), "{}", ended.stdout);
    scene.assert_restored(&production);
    assert!(!scene.path("champion.yml").exists());
    assert_eq!(scene.rows("SELECT state FROM promotion"), [["rolled_back"]]);
}

#[test]
fn a_promotion_whose_canaries_are_right_no_more_rolls_back_by_itself() {
    let Some(scene) = Scene::new("promote-canary") else { return };
    scene.deploy(&Service::sim());
    scene.grid(&GRID.replace("max-num-seqs: 32,", "max-num-seqs: 32, sim-quality: 0,"));
    let production = scene.production();
    scene.run().end().expect_code(0);
    // What never was right is no reason against it.
    let ended = scene.start(&["promote", "better", "--apply"]).end().expect_code(0);
    assert!(
        ended.stdout.contains("0 of 4 are right") && ended.stdout.contains("nothing to compare"),
        "{}",
        ended.stdout
    );
    scene.start(&["rollback"]).end().expect_code(0);
    let production = Production { id: scene.containers(&[])[0].clone(), ..production };
    // An engine that answered better when it was measured than it does now.
    let database = rusqlite::Connection::open(scene.db()).unwrap();
    let changed = database.execute("UPDATE case_outcome SET result = 'passed' WHERE result = 'wrong'", []).unwrap();
    assert_eq!(changed, 4, "of the baseline all were right");
    drop(database);
    let ended = scene.start(&["promote", "better", "--apply"]).end().expect_code(2);
    assert!(ended.says(&["better is not promoted", "4 of 4 that were right"]), "{}", ended.stderr());
    assert!(ended.stdout.contains("rolled back"), "{}", ended.stdout);
    scene.assert_restored(&production);
    assert!(!scene.path("champion.yml").exists());
    assert_eq!(scene.rows("SELECT state FROM promotion ORDER BY id"), [["rolled_back"], ["rolled_back"]]);
}

#[test]
fn a_promotion_killed_at_any_moment_is_undone_by_rollback_and_by_restore() {
    let Some((scene, production)) = swept("promote-killed", &Service::sim().with_flags("--sim-boot-seconds 2")) else {
        return;
    };
    scene.write("champion.yml", "# mine\n");
    for (moment, undo) in [
        ("taking aside", "rollback"),
        ("starting", "restore"),
        ("answers a completion", "rollback"),
        ("starting", "rollback"),
    ] {
        let vgrid = scene.start(&["promote", "better", "--apply"]);
        vgrid.await_line(&[moment]);
        let (_, was_running) = vgrid.kill();
        assert!(was_running, "it was over before it could be killed at `{moment}`");
        assert_eq!(scene.rows("SELECT state FROM promotion ORDER BY id DESC LIMIT 1"), [["applying"]]);
        // Another one is refused until this one is undone.
        scene.start(&["promote", "better", "--apply"]).end().expect_code(4);
        scene.start(&[undo]).end().expect_code(0);
        scene.assert_restored(&production);
        assert_eq!(std::fs::read_to_string(scene.path("champion.yml")).unwrap(), "# mine\n", "killed at `{moment}`");
    }
    assert_eq!(scene.rows("SELECT DISTINCT state FROM promotion"), [["rolled_back"]]);
}

#[test]
fn what_was_not_measured_or_would_not_be_what_was_measured_is_not_written() {
    let Some((scene, production)) = swept("promote-refused", &secret_service()) else { return };
    let text = std::fs::read_to_string(scene.path("compose.yml")).unwrap();
    let ended = scene.start(&["promote", "better", "-o", "compose.yml"]).end().expect_code(1);
    assert!(ended.says(&["own-file"]), "{}", ended.stderr());
    scene.write("compose.yml", &text.replace("--max-model-len 4096", "--max-model-len 2048"));
    let ended = scene.start(&["promote", "better"]).end().expect_code(1);
    assert!(ended.says(&["files-changed"]) && ended.stderr().contains("max-model-len"), "{}", ended.stderr());
    assert!(!scene.path("champion.yml").exists());
    // A change that the engine does not see is no obstacle, and is said.
    scene.write("compose.yml", &format!("# a comment\n{text}"));
    let ended = scene.start(&["promote", "better", "--dry-run"]).end().expect_code(0);
    assert!(ended.stdout.contains("in nothing that the engine sees"), "{}", ended.stdout);
    assert!(!scene.path("champion.yml").exists());
    // Without --apply no container is touched, and a rollback takes the file away again.
    scene.start(&["promote", "better"]).end().expect_code(0);
    assert!(scene.path("champion.yml").exists());
    scene.assert_restored(&production);
    scene.start(&["rollback"]).end().expect_code(0);
    assert!(!scene.path("champion.yml").exists());
    scene.assert_restored(&production);
}

#[test]
fn a_promotion_a_rollback_and_a_restore_that_are_refused_show_no_secret() {
    const PLANTED: [&str; 2] = ["hf_by_a_variable_of_the_files", "literal-password-of-the-files"];
    let Some(scene) = Scene::new("promote-echo") else { return };
    // While the switch is on, every answer is an error whose body repeats the environment of the server.
    std::fs::create_dir(scene.path("switch")).unwrap();
    let environment =
        format!("environment: {{ HF_TOKEN: '${{THE_TOKEN}}', NOTE: '${{NOTE}}', DB_PASSWORD: {} }}", PLANTED[1]);
    let flags = "--sim-boot-seconds 2 --sim-fail echo_secrets --sim-fail-while /switch/on";
    scene.write(".env", &format!("THE_TOKEN={}\nNOTE=old # mine\n", PLANTED[0]));
    scene.deploy(&Service::sim().with_flags(flags).with(&environment).with("volumes: [\"./switch:/switch\"]"));
    scene.grid(&GRID.replace("env: { ", "env: { MY_API_KEY: '${THE_TOKEN}', "));
    let production = scene.production();
    scene.run().end().expect_code(0);
    let mut said = String::new();
    let mut run = |arguments: &[&str]| {
        let ended = scene.start(arguments).end();
        said.push_str(&format!("$ vgrid {arguments:?}\n{}{}", ended.stdout, ended.stderr()));
        ended
    };
    run(&["promote", "better", "--dry-run"]).expect_code(0);
    let dry = run(&["promote", "better", "--dry-run", "--env-file", ".env"]).expect_code(0);
    assert!(
        dry.stdout.contains("NOTE=a $5") && std::fs::read_to_string(scene.path(".env")).unwrap().contains("NOTE=old")
    );
    scene.write("champion.yml", "# mine\n");
    run(&["promote", "better", "--json"]).expect_code(0);
    let backup =
        common_docker::walk(scene.dir.path()).iter().any(|path| path.extension().is_some_and(|end| end == "bak"));
    assert!(backup, "what the override replaced is kept");
    assert_eq!(files_with(&scene, &PLANTED), Vec::<String>::new());
    let text = std::fs::read_to_string(scene.path("champion.yml")).unwrap();
    assert!(text.contains("\"MY_API_KEY\": \"${THE_TOKEN"), "{text}");
    run(&["rollback"]).expect_code(0);
    scene.write("champion.yml", "# mine\n");
    scene.write("switch/on", "");
    let refused = run(&["promote", "better", "--apply"]);
    assert!(refused.stderr().contains("HF_TOKEN=***"), "what it was refused with is not told: {}", refused.stderr());
    let refused = run(&["rollback"]);
    assert!(refused.stderr().contains("DB_PASSWORD=***"), "{}", refused.stderr());
    std::fs::remove_file(scene.path("switch/on")).unwrap();
    run(&["rollback"]).expect_code(0);
    scene.assert_restored(&production);

    let vgrid = scene.start(&["run", "grid.yaml", "--new"]);
    vgrid.await_line(&["putting back"]);
    scene.write("switch/on", "");
    let ended = vgrid.end();
    assert!(ended.stderr().contains("DB_PASSWORD=***"), "{}", ended.stderr());
    // Without the grid nobody knows the secrets but the container itself.
    std::fs::rename(scene.path("grid.yaml"), scene.path("gone.yaml")).unwrap();
    std::fs::rename(scene.path("compose.yml"), scene.path("gone-compose.yml")).unwrap();
    let refused = run(&["restore"]);
    assert!(refused.stderr().contains("DB_PASSWORD=***"), "{}", refused.stderr());
    std::fs::rename(scene.path("gone.yaml"), scene.path("grid.yaml")).unwrap();
    std::fs::rename(scene.path("gone-compose.yml"), scene.path("compose.yml")).unwrap();
    run(&["status", "--json"]).expect_code(0);
    run(&["report", "--format", "json"]).expect_code(0);
    std::fs::remove_file(scene.path("switch/on")).unwrap();
    run(&["restore"]).expect_code(0);
    scene.assert_restored(&production);

    said.push_str(&format!("{}{}", ended.stdout, ended.stderr()));
    let printed = PLANTED.iter().filter(|secret| said.contains(&secret[..12]));
    assert_eq!(printed.count(), 0, "{said}");
    assert_eq!(files_with(&scene, &PLANTED), Vec::<String>::new());
}

/// The files of the scene, its own ones apart, in which a half of a secret stands.
fn files_with(scene: &Scene, secrets: &[&str]) -> Vec<String> {
    let own = ["compose.yml", ".env"];
    let holds = |path: &std::path::PathBuf| {
        let bytes = std::fs::read(path).unwrap();
        secrets.iter().any(|secret| bytes.windows(12).any(|window| window == &secret.as_bytes()[..12]))
    };
    let files = common_docker::walk(scene.dir.path()).into_iter();
    let files = files.filter(|path| !own.iter().any(|name| path.ends_with(name)) && holds(path));
    files.map(|path| path.display().to_string()).collect()
}

/// A grid whose night ends with its champion: `fast` is faster by far, `slow` is what is deployed. Without telemetry: the machine of a
/// test is busy with others, and a champion on figures that are suspect for it is not promoted by itself.
fn champion_grid(scene: &Scene, configs: &str, objective: &str) {
    scene.write(
        "grid.yaml",
        &format!(
            "name: {}\ndeployment: {{ compose: [compose.yml], service: vllm, after: champion }}\nconfigs:\n{configs}baseline: as_deployed\n\
             suite:\n  smoke: {{ long_prompt_tokens: 64, output_tokens: 4 }}\n  \
             load: {{ concurrency: [2], requests_per_user: 12, prompt_tokens: 32, output_tokens: 64 }}\n\
             objectives: {{ best: maximize {objective} }}\nrepeats: {{}}\ntelemetry: off\nlimits: {{ startup: 90s, trial: 3m }}\n",
            scene.project
        ),
    );
}

#[test]
fn a_night_ends_with_its_champion_in_production_and_a_second_run_leaves_it_there() {
    let Some(scene) = Scene::new("after-champion") else { return };
    scene.deploy(&Service::sim().with_flags("--sim-speed 5"));
    champion_grid(
        &scene,
        "  - name: as_deployed\n  - { name: fast, flags: { sim-speed: 15 } }\n",
        "load.output_tokens_per_s",
    );
    let production = scene.production();
    let ended = scene.run().end().expect_code(0);
    assert!(ended.says(&["fast serves as", "verified"]), "{}\n{}", ended.stderr(), ended.stdout);
    let id = promoted(&scene);
    assert_eq!(scene.containers(&[]), [id.as_str()]);
    assert_eq!(inspected(&id, ".Name"), format!("/{}", production.name));
    assert_eq!(inspected(&id, ".HostConfig.RestartPolicy.Name"), production.restart);
    assert!(scene.serves());
    assert!(scene.path("champion.yml").exists());
    assert_eq!(
        scene.rows("SELECT state, detail FROM restoration"),
        [["restored", "fast serves in its place (promotion 1)"]]
    );
    // Nothing is left to measure, so nothing is exchanged.
    let again = scene.run().end().expect_code(0);
    assert_eq!(scene.containers(&[]), [id.as_str()], "{}\n{}", again.stderr(), again.stdout);
    scene.start(&["rollback"]).end().expect_code(0);
    let again = Production { id: scene.containers(&[])[0].clone(), ..production };
    scene.assert_restored(&again);
    assert!(inspected(&again.id, "json .Config.Cmd").contains(r#""--sim-speed","5""#));
}

#[test]
fn without_a_champion_the_night_ends_with_what_served_before_and_says_why() {
    let Some(scene) = Scene::new("after-tied") else { return };
    scene.deploy(&Service::sim());
    champion_grid(&scene, "  - name: as_deployed\n  - { name: same, flags: { max-num-seqs: 9 } }\n", "smoke.passed");
    let production = scene.production();
    // What one start of each would show is never enough.
    let text = std::fs::read_to_string(scene.path("grid.yaml")).unwrap();
    scene.write("grid.yaml", &text.replace("repeats: {}\n", "repeats: off\n"));
    let ended = scene.run().end().expect_code(4);
    assert!(ended.says(&["after: champion", "confirmed on a second start"]), "{}", ended.stderr());
    scene.write("grid.yaml", &text);
    let ended = scene.run().end().expect_code(0);
    assert!(ended.says(&["no champion is put into production", "tied"]), "{}", ended.stderr());
    scene.assert_restored(&production);
    assert!(!scene.path("champion.yml").exists());
}

#[test]
fn a_night_killed_while_its_champion_boots_is_put_right_by_the_next_run_and_by_restore() {
    for (name, next, promoted_then) in [("after-killed", "run", true), ("after-killed-restore", "restore", false)] {
        let Some(scene) = Scene::new(name) else { return };
        scene.deploy(&Service::sim().with_flags("--sim-speed 5 --sim-boot-seconds 2"));
        champion_grid(
            &scene,
            "  - name: as_deployed\n  - { name: fast, flags: { sim-speed: 15 } }\n",
            "load.output_tokens_per_s",
        );
        let production = scene.production();
        let vgrid = scene.run();
        vgrid.await_line(&["starting", &production.name, "with fast"]);
        assert!(vgrid.kill().1);
        let arguments: &[&str] = if next == "run" { &["run", "grid.yaml"] } else { &["restore"] };
        scene.start(arguments).end().expect_code(0);
        if promoted_then {
            // The next run undoes what was cut short; the night's end comes again and promotes.
            let id = promoted(&scene);
            assert_eq!(scene.containers(&[]), [id.as_str()]);
            assert_eq!(scene.rows("SELECT state FROM promotion ORDER BY id"), [["rolled_back"], ["promoted"]]);
        } else {
            scene.assert_restored(&production);
        }
        assert_eq!(scene.rows("SELECT count(*) FROM restoration WHERE state <> 'restored'"), [["0"]]);
        assert!(scene.serves());
    }
}
