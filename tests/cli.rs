//! The whole binary, command by command: exit codes, messages, JSON, and that nothing is touched without need.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests: a failure is what they are for"
)]

mod common;

#[path = "cli/bench.rs"]
mod bench;
#[path = "cli/compose.rs"]
mod compose;
#[path = "cli/diagnose.rs"]
mod diagnose;
#[path = "cli/foreign.rs"]
mod foreign;
#[path = "cli/init.rs"]
mod init;
#[path = "cli/json.rs"]
mod json;
#[path = "cli/machine.rs"]
mod machine;
#[path = "cli/plan.rs"]
mod plan;
#[path = "cli/secrets.rs"]
mod secrets;
#[path = "cli/units.rs"]
mod units;

use common::{Done, Scene, run};

/// `check --files-only` of a grid that is wrong.
fn wrong(scene: &Scene) -> Done {
    scene.run(["check", "grid.yaml", "--files-only"]).code(1)
}

/// A grid over the compose file `compose.yml` of the scene.
fn grid_over_compose(scene: &Scene, compose: &str, tail: &str) {
    scene.write("compose.yml", compose);
    scene.write("grid.yaml", &format!("name: t\ndeployment: {{ compose: compose.yml, service: vllm }}\n{tail}"));
}

const SERVICE: &str = "services:\n  vllm:\n    image: x\n    command: [--model, m]\n";

#[test]
fn an_unknown_key_is_named_with_its_place_and_the_key_that_was_meant() {
    let scene = Scene::new();
    scene.grid(&[], "axis: { max-num-seqs: [1, 2] }\n");
    wrong(&scene).says(&["error[unknown-key]", "`axis`", "grid.yaml:6:1", "did you mean `axes`?"]);
}

#[test]
fn broken_yaml_is_named_with_its_place() {
    let scene = Scene::new();
    scene.grid(&[], "base: { flags: { x: [ }\n");
    wrong(&scene).says(&["error[yaml-syntax]", "grid.yaml:6:"]);
}

#[test]
fn a_key_that_stands_twice_is_an_error_that_names_both_places() {
    let scene = Scene::new();
    scene.grid(&[], "name: again\n");
    wrong(&scene).says(&["error[duplicate-key]", "grid.yaml:6:1", "line 1"]);
}

#[test]
fn true_for_a_flag_is_an_error_that_names_the_three_states() {
    let scene = Scene::new();
    scene.grid(&[], "base: { flags: { enable-prefix-caching: true } }\n");
    wrong(&scene).says(&["error[boolean-flag]", "grid.yaml:6:41", "`on`", "`off`", "`default`"]);
}

#[test]
fn all_errors_of_a_grid_are_said_at_once() {
    let scene = Scene::new();
    scene.grid(&[], "base: { flags: { enforce-eager: false } }\nobjective: {}\nseed: many\n");
    wrong(&scene).says(&["grid.yaml:6:", "grid.yaml:7:1", "grid.yaml:8:"]);
}

#[test]
fn a_service_that_the_compose_files_do_not_have_is_an_error_that_names_those_they_have() {
    let scene = Scene::new();
    scene.write("compose.yml", SERVICE);
    scene.write("grid.yaml", "name: t\ndeployment: { compose: compose.yml, service: vlm }\n");
    wrong(&scene).says(&["unknown-service", "`vlm`", "did you mean `vllm`?"]);
}

#[test]
fn a_compose_file_that_is_not_there_is_an_error_that_names_it() {
    let scene = Scene::new();
    scene.write("grid.yaml", "name: t\ndeployment: { compose: absent.yml, service: vllm }\n");
    wrong(&scene).says(&["absent.yml", "No such file"]);
}

#[test]
fn a_wrong_key_in_a_compose_file_is_named_with_its_place_in_that_file() {
    let scene = Scene::new();
    grid_over_compose(&scene, "services:\n  vllm:\n    image: x\n    comand: [a]\n", "");
    wrong(&scene).says(&["compose.yml:4:5", "`comand`", "did you mean `command`?"]);
}

#[test]
fn an_unset_variable_in_a_flag_s_value_is_an_error_before_anything_starts() {
    for command in ["--model m --api-key ${VGRID_TEST_UNSET}", "[--model, m, --api-key, \"${VGRID_TEST_UNSET}\"]"] {
        let scene = Scene::new();
        grid_over_compose(&scene, &format!("services:\n  vllm:\n    image: x\n    command: {command}\n"), "");
        for verb in [&["check", "grid.yaml", "--files-only"][..], &["plan", "grid.yaml"], &["run", "grid.yaml"]] {
            let done = scene.run(verb).code(1);
            done.says(&["compose.yml:4:", "VGRID_TEST_UNSET", "`--api-key`"]);
        }
        assert!(!scene.db().exists(), "nothing was started");
    }
}

#[test]
fn an_unset_variable_in_the_grid_is_an_error_with_its_place() {
    let scene = Scene::new();
    scene.grid(&[], "base: { flags: { api-key: \"${VGRID_TEST_UNSET}\" } }\n");
    wrong(&scene).says(&["unset-variable", "VGRID_TEST_UNSET", "grid.yaml:6:27"]);
}

#[test]
fn a_grid_that_is_not_there_is_an_error_that_names_it() {
    let scene = Scene::new();
    for verb in ["check", "plan", "run"] {
        scene.run([verb, "absent.yaml"]).code(1).says(&["absent.yaml"]);
    }
}

#[test]
fn wrong_usage_is_exit_code_1_and_help_is_0() {
    let scene = Scene::new();
    scene.run(["rum"]).code(1).says(&["unrecognized subcommand"]);
    scene.run(["run"]).code(1).says(&["<GRID>"]);
    scene.run(["--help"]).ok().says(&["Exit codes:", "130"]);
    let version = scene.run(["--version"]).ok();
    assert_eq!(version.stdout.trim(), format!("vgrid {}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_simulated_engine_explains_its_own_flags() {
    Scene::new().run(["sim", "--help"]).ok().says(&["--sim-fail", "--sim-speed", "vgrid sim --health-check"]);
}

#[test]
fn completions_and_the_manual_name_every_command() {
    let scene = Scene::new();
    let commands = [
        "check",
        "plan",
        "run",
        "resume",
        "status",
        "champions",
        "compare",
        "effects",
        "pareto",
        "show",
        "logs",
        "diagnose",
        "bench",
        "compose",
        "import",
        "export",
        "report",
        "restore",
        "clean",
        "sim",
    ];
    scene.run(["completions", "bash"]).ok().says(&commands).says(&["complete -F _vgrid"]);
    scene.run(["man"]).ok().says(&commands).says(&[".TH vgrid 1"]);
    scene.run(["man", "champions"]).ok().says(&["vgrid\\-champions", "include\\-foreign", "criteria"]);
    scene.run(["man", "champion"]).code(1).says(&["no command `champion`"]);
    scene.run(["man", "--to", "pages"]).ok();
    for command in commands {
        assert!(scene.folder().join(format!("pages/vgrid-{command}.1")).exists(), "no page of {command}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let scene = Scene::new();
    scene.grid(&[], "axes: { max-num-seqs: [1, 2, 3, 4, 5, 6, 7, 8, 9] }\n");
    for verb in ["completions bash", "man", "plan grid.yaml --json", "plan grid.yaml", "check grid.yaml --json"] {
        // The reader is gone before a byte is written.
        let script = format!("{{ {} {verb}; echo \"ended with $?\" >&2; }} | true", common::exe());
        let mut command = std::process::Command::new("sh");
        command.arg("-c").arg(script).current_dir(scene.folder());
        let done = run(command);
        done.says(&["ended with 0"]);
    }
}

#[test]
fn every_grid_among_the_recipes_is_right() {
    let recipes = std::fs::read_to_string(common::root().join("docs/recipes.md")).unwrap();
    let grids: Vec<&str> = recipes.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(grids.len() >= 4);
    for grid in grids {
        let scene = Scene::new();
        scene.write(
            "compose.yml",
            "services: { vllm: { image: \"vllm/vllm-openai:v0.11.0\", command: [--model, m] } }\n",
        );
        scene.write("grid.yaml", grid);
        scene.run(["check", "grid.yaml", "--files-only"]).ok();
        scene
            .run(["plan", "grid.yaml"])
            .ok()
            .says(&["as_deployed"].map(|name| if grid.contains(name) { name } else { "" }));
    }
}

#[test]
fn every_page_of_the_book_is_in_its_index_and_every_link_of_it_leads_somewhere() {
    let docs = common::root().join("docs");
    let index = std::fs::read_to_string(docs.join("README.md")).unwrap();
    for entry in std::fs::read_dir(&docs).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".md") && name != "README.md" {
            assert!(index.contains(&format!("({name})")), "docs/README.md does not list {name}");
        }
    }
    for target in index.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
        assert!(docs.join(target).exists(), "docs/README.md leads to {target}");
    }
}
