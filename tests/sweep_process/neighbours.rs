//! While a sweep runs: who may read, who must wait, and who must leave it alone.

use super::common::{Live, Scene, free_port, sims_on};
use super::{SUITE, configs};

/// A sweep that is measuring its first config, and goes on for long.
fn busy(scene: &Scene) -> Live {
    let body = format!(
        "{}suite:
  - smoke
  - load: {{ concurrency: [1], requests_per_user: 400, prompt_tokens: 64, output_tokens: 32 }}
objectives: {{ speed: maximize load.output_tokens_per_s }}
repeats: off
",
        configs(2)
    );
    scene.grid(&["--sim-speed=3"], &body);
    let sweep = scene.start(&["run", "grid.yaml"]);
    sweep.wait_for("c1: smoke done");
    sweep
}

/// Ends a sweep that must still be measuring its first config.
#[track_caller]
fn end_undisturbed(scene: &Scene, sweep: Live) {
    assert_eq!(sims_on(scene.port).len(), 1, "the engine of the trial still runs");
    sweep.signal("INT");
    let done = sweep.finish().code(130);
    assert!(!done.stderr.contains(": failed ("), "the trial was disturbed:\n{}", done.stderr);
    scene.assert_no_sim_is_left();
}

#[test]
fn readers_see_a_sweep_that_runs_and_do_not_disturb_it() {
    let scene = Scene::new();
    let sweep = busy(&scene);
    let status = scene.run(["status", "--json"]).ok().json();
    assert_eq!((&status["sweep"]["state"], &status["trials"][0]["state"]), (&"running".into(), &"running".into()));
    assert!(status["process"].as_str().unwrap().contains(&sweep.pid().to_string()), "{status}");
    scene.run(["status"]).ok().says(&["is running", &format!("process {}", sweep.pid())]);
    let show = scene.run(["show", "c1", "--json"]).ok().json();
    assert_eq!(show["attempt_reports"][0]["scenarios"][0]["spec"]["scenario"], "smoke");
    scene.run(["logs", "c1", "--tail", "1"]).ok();
    scene.run(["champions"]).ok();
    assert_eq!(scene.sql("SELECT scenario FROM results"), ["smoke"], "plain SQL sees what is saved");
    end_undisturbed(&scene, sweep);
}

#[test]
fn a_second_vgrid_on_the_same_database_and_deployment_is_told_who_is_there() {
    let scene = Scene::new();
    let sweep = busy(&scene);
    for verb in [&["run", "grid.yaml"][..], &["run", "grid.yaml", "--new"], &["resume"]] {
        let done = scene.run(verb).code(4);
        done.says(&["another vgrid", &format!("process {}", sweep.pid()), "vgrid status"]);
    }
    assert_eq!(scene.count("SELECT count(*) FROM sweep"), 1);
    assert_eq!(scene.count("SELECT count(*) FROM sweep_run"), 1);
    end_undisturbed(&scene, sweep);
}

#[test]
fn clean_and_restore_leave_a_running_trial_alone() {
    let scene = Scene::new();
    let sweep = busy(&scene);
    for verb in ["clean", "restore"] {
        let done = scene.run([verb]);
        assert!(done.code == Some(0) || done.code == Some(4), "{done:?}");
        assert_eq!(sims_on(scene.port).len(), 1, "`vgrid {verb}` ended the engine of a running trial");
    }
    end_undisturbed(&scene, sweep);
}

#[test]
fn two_deployments_share_a_database_and_leave_each_other_s_trials_alone() {
    let scene = Scene::new();
    let sweep = busy(&scene);
    let other = free_port();
    let grid = format!("{}{}{SUITE}", scene.head(&[]), configs(2)).replace(&scene.port.to_string(), &other.to_string());
    scene.write("other.yaml", &grid);
    scene.run(["run", "other.yaml"]).ok().says(&["2 measured"]);
    assert_eq!(sims_on(other), Vec::<u32>::new());
    end_undisturbed(&scene, sweep);
}

#[test]
fn clean_removes_what_a_kill_left_and_says_so() {
    let scene = Scene::new();
    let sweep = busy(&scene);
    sweep.kill();
    assert_eq!(sims_on(scene.port).len(), 1, "the engine outlives its vgrid");
    scene.run(["clean", "--dry-run"]).ok().says(&["would remove"]);
    assert_eq!(sims_on(scene.port).len(), 1);
    scene.run(["clean"]).ok().says(&["removed"]);
    scene.assert_no_sim_is_left();
    scene.run(["clean"]).ok().says(&["no leftovers"]);
}
