//! What serves and could not be put back: found before the first trial, and then nothing is touched.

use super::common_docker::{Scene, Service, docker, inspected};
use super::{SUITE, numbered_configs};

/// The sweep does not begin, and production serves on undisturbed.
fn is_refused(scene: &Scene, production: &str, says: &[&str]) {
    let started_at = inspected(production, ".State.StartedAt");
    for verb in ["check", "run"] {
        let ended = scene.start(&[verb, "grid.yaml"]).end().expect_code(4);
        let all = format!("{}{}", ended.stdout, ended.stderr());
        assert!(says.iter().all(|part| all.contains(part)), "{verb}: {all}");
    }
    assert!(!scene.db().exists(), "a database was made");
    assert_eq!(inspected(production, ".State.StartedAt"), started_at, "it was touched");
    assert!(scene.serves());
}

#[test]
fn production_that_could_not_come_back_is_found_before_the_first_trial() {
    let Some(scene) = Scene::new("restorable") else { return };
    let models = scene.path("models");
    std::fs::create_dir(&models).unwrap();
    scene.deploy(&Service::sim().with(&format!("volumes: [\"{}:/models:ro\"]", models.display())));
    scene.grid(&format!("{}{SUITE}", numbered_configs(1)));
    let production = scene.production();
    // It serves on without its folder, and could not be started again. The files ask for no such mount any more.
    std::fs::remove_dir(&models).unwrap();
    scene.deploy(&Service::sim());
    is_refused(&scene, &production.id, &["could not come back", &models.display().to_string(), "docker compose up -d"]);
    std::fs::create_dir(&models).unwrap();

    let aside = format!("{}-vgrid-displaced", production.name);
    let squatter = docker(&[
        "create",
        "--name",
        &aside,
        "--label",
        &format!("com.docker.compose.project={}", scene.project),
        &Service::sim().image,
    ]);
    is_refused(&scene, &production.id, &["could not come back", &aside, "docker rename"]);
    docker(&["rm", &squatter]);

    scene.run().end().expect_code(0);
    scene.assert_restored(&production);
}
