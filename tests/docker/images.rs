//! An image that goes away between the preflight and a trial.

use super::SUITE;
use super::common_docker::{Scene, Service, docker};

#[test]
fn an_image_that_is_removed_in_the_night_fails_its_trials_as_docker_and_the_sweep_goes_on() {
    let Some(scene) = Scene::new("image-gone") else { return };
    scene.deploy(&Service::sim().with_flags("--sim-speed 4"));
    let production = scene.production();
    let tag = format!("vgrid-test-{}:gone", scene.project);
    let image = docker(&["commit", "--change", "LABEL other=yes", &production.id, &tag]);
    scene.grid(&format!(
        "configs:\n  - name: c0\n  - {{ name: c1, image: \"{tag}\" }}\n  - {{ name: c2, flags: {{ max-num-seqs: 16 }} }}\n{SUITE}"
    ));
    let vgrid = scene.run();
    vgrid.await_line(&["c0: load "]);
    docker(&["rmi", "--force", image.trim()]);
    let ended = vgrid.end().expect_code(2);
    scene.assert_restored(&production);
    let states = scene.states();
    assert_eq!((states["c0"].as_str(), states["c2"].as_str()), ("measured", "measured"), "{}", ended.stderr());
    assert_eq!(states["c1"], "failed docker", "{}", ended.stderr());
    let failure = scene.rows("SELECT evidence, remedy FROM failures WHERE config = 'c1'").remove(0);
    assert!(failure[0].contains(&format!("the sweep began with {tag} = {}", image.trim())), "{failure:?}");
    assert!(failure[1].contains("load that image again"), "{failure:?}");
    assert!(
        ended.says(&["c1: failed (docker)", "No such image any more", "load that image again"]),
        "{}",
        ended.stderr()
    );
}
