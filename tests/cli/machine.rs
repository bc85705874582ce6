//! A machine that is not ready, databases that are none, and commands that only read.

use std::path::Path;

use super::common::{Scene, root};
use super::{SERVICE, grid_over_compose};

/// Names of the files in the scene's folder.
fn files(scene: &Scene) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(scene.folder())
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn without_a_docker_daemon_a_run_is_exit_code_4_says_how_to_start_it_and_touches_nothing() {
    let scene = Scene::new();
    grid_over_compose(&scene, SERVICE, "");
    for verb in ["run", "check"] {
        let mut command = scene.vgrid([verb, "grid.yaml"]);
        command.env("DOCKER_HOST", "unix:///nonexistent/docker.sock").env_remove("DOCKER_CONTEXT");
        super::run(command).code(4).says(&["unix:///nonexistent/docker.sock", "DOCKER_HOST", "->"]);
    }
    assert_eq!(files(&scene), ["compose.yml", "grid.yaml"]);
}

#[test]
fn a_program_that_is_not_there_is_exit_code_4_before_anything_is_written() {
    let scene = Scene::new();
    let text = scene.head(&[]).replace(super::common::exe(), "/nonexistent/vllm");
    scene.write("grid.yaml", &text);
    scene.run(["run", "grid.yaml"]).code(4).says(&["/nonexistent/vllm", "nothing was touched"]);
    assert_eq!(files(&scene), ["grid.yaml"]);
}

#[test]
fn a_database_in_a_folder_that_does_not_exist_is_exit_code_4() {
    let scene = Scene::new();
    scene.grid(&[], "");
    scene.run(["--db", "absent/runs.db", "run", "grid.yaml"]).code(4).says(&["absent", "does not exist", "--db"]);
    assert_eq!(files(&scene), ["grid.yaml"]);
}

#[test]
fn a_file_that_is_no_database_is_named_and_left_as_it_is() {
    let scene = Scene::new();
    scene.grid(&[], "suite: [smoke]\n");
    let text = "these are somebody's notes, and no database at all\n".repeat(100);
    scene.write("runs.db", &text);
    for verb in [&["run", "grid.yaml"][..], &["status"], &["champions"], &["show", "base"]] {
        scene.run(verb).code(70).says(&["runs.db", "not a SQLite database", "--db"]);
    }
    assert_eq!(std::fs::read_to_string(scene.db()).unwrap(), text);
    scene.assert_no_sim_is_left();
}

#[test]
fn a_database_of_another_program_is_named_and_left_as_it_is() {
    let scene = Scene::new();
    scene.grid(&[], "suite: [smoke]\n");
    rusqlite::Connection::open(scene.db()).unwrap().execute_batch("CREATE TABLE songs (title TEXT)").unwrap();
    let before = std::fs::read(scene.db()).unwrap();
    for verb in [&["run", "grid.yaml"][..], &["status"]] {
        scene.run(verb).code(70).says(&["runs.db", "not one of vgrid"]);
    }
    assert_eq!(std::fs::read(scene.db()).unwrap(), before);
}

#[test]
fn commands_that_read_say_that_there_is_no_database_and_make_none() {
    let scene = Scene::new();
    for verb in
        [&["status"][..], &["champions"], &["show", "base"], &["logs", "base"], &["resume"], &["status", "--json"]]
    {
        scene.run(verb).code(1).says(&["no database", "runs.db", "vgrid run"]);
    }
    assert_eq!(files(&scene), Vec::<String>::new());
}

#[test]
fn the_grid_of_the_two_gpus_is_right_and_does_not_run_on_a_machine_without_them() {
    let scene = Scene::new();
    let grid = root().join("grids/qwen3-32b-awq.yaml");
    let grid = grid.to_str().unwrap();
    scene.run(["check", grid, "--files-only"]).ok().says(&["16 configs", "2 files, service vllm"]);
    scene.run(["plan", grid]).ok().says(&["16 configs, 14 to run, 2 skipped by rules"]);
    if Path::new("/dev/nvidiactl").exists() {
        println!("skipped: this machine has NVIDIA GPUs");
        return;
    }
    scene.run(["run", grid]).code(4).says(&["not ready", "->"]);
    assert_eq!(files(&scene), Vec::<String>::new());
}
