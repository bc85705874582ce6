//! The Docker launcher against the real engine.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::error::LaunchStep;
use super::fake_server::{ARGUMENTS, now_ms, stamp};
use super::image::ImageInfo;
use super::pack::pack_program;
use super::serving::FoundBy;
use super::*;
use crate::domain::{BootMilestone, ConfigKey, SweepId};

const IMAGE: &str = "vgrid-test-server";

/// A launcher, or `None` (said aloud) where no daemon runs; with `VGRID_REQUIRE_DOCKER` that is a failure.
async fn docker() -> Option<DockerLauncher> {
    match DockerLauncher::connect().await {
        Ok(launcher) => Some(launcher),
        Err(error) if std::env::var_os("VGRID_REQUIRE_DOCKER").is_none() => {
            println!("SKIPPED: {error}");
            None
        }
        Err(error) => panic!("VGRID_REQUIRE_DOCKER is set: {error}"),
    }
}

/// A project of its own for each test, so that they do not see each other; cleaned up by [`Scene::end`].
struct Scene {
    launcher: DockerLauncher,
    image: ImageInfo,
    dir: tempfile::TempDir,
    project: String,
}

impl Scene {
    async fn new(name: &str) -> Option<Self> {
        let launcher = docker().await?;
        // Tests run side by side; the image is made once.
        static MADE: tokio::sync::OnceCell<ImageInfo> = tokio::sync::OnceCell::const_new();
        let make = || async {
            let began = Instant::now();
            let image = pack_program(&launcher, &std::env::current_exe().unwrap(), IMAGE, &ARGUMENTS).await.unwrap();
            println!("image of {:?} bytes made in {:.2} s", image.size_bytes, began.elapsed().as_secs_f64());
            image
        };
        let image = MADE.get_or_init(make).await.clone();
        let scene = Self { launcher, image, dir: tempfile::tempdir().unwrap(), project: format!("vgrid-test-{name}") };
        scene.sweep_up().await;
        Some(scene)
    }

    fn spec(&self, environment: &[(&str, &str)]) -> LaunchSpec {
        let environment: serde_json::Map<_, _> =
            environment.iter().map(|(k, v)| (format!("FAKE_{k}"), json!(v))).collect();
        let service = json!({"environment": environment, "init": true, "stop_grace_period": "2s",
            "ports": [{"mode": "ingress", "host_ip": "127.0.0.1", "target": 8000, "protocol": "tcp"}]});
        let mut service: crate::compose::Service = serde_json::from_value(service).unwrap();
        service.environment.entry("FAKE_PORT".into()).or_insert(Some("8000".into()));
        LaunchSpec {
            project: ProjectPart {
                name: self.project.clone(),
                working_dir: self.dir.path().into(),
                ..ProjectPart::default()
            },
            service_name: "vllm".into(),
            service,
            labels: TrialLabels {
                db: self.project.clone(),
                sweep: SweepId(1),
                trial_id: 1,
                attempt: 1,
                key: ConfigKey("key".into()),
            },
            image: self.image.id.clone(),
            container_name: format!("{}-trial", self.project),
            log_path: self.dir.path().join("1.log"),
            redactor: crate::domain::Redactor::default(),
            server_port: None,
        }
    }

    async fn wait(&self, running: &Running, policy: &ReadyPolicy) -> Readiness {
        let mut read = |line: &str| {
            let percent = line.strip_prefix("Loading weights: ")?.trim_end_matches('%').parse().ok();
            Some((BootMilestone::LoadingWeights, percent))
        };
        self.launcher.wait_ready(running, policy, &CancellationToken::new(), &mut read, &mut |_| {}).await
    }

    async fn sweep_up(&self) {
        let filter = ("label", format!("com.docker.compose.project={}", self.project));
        for container in self.launcher.list(&[filter]).await.unwrap() {
            self.launcher.remove(&container.id.unwrap()).await.unwrap();
        }
        self.launcher.connection.docker.remove_network(&format!("{}_default", self.project)).await.ok();
    }

    async fn end(self) {
        self.sweep_up().await;
    }
}

fn quick() -> ReadyPolicy {
    ReadyPolicy { startup: Duration::from_secs(60), stall: Duration::from_secs(30), ..ReadyPolicy::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_is_created_serves_dies_and_leaves_nothing_behind() {
    let Some(scene) = Scene::new("life").await else { return };
    let running = scene.launcher.start(&scene.spec(&[("BOOT_MS", "400")])).await.unwrap();
    println!("create {:.3} s, start {:.3} s, urls {:?}", running.create_s, running.start_s, running.base_urls);
    let Readiness::Ready(ready) = scene.wait(&running, &quick()).await else { panic!("not ready") };
    let noticed = now_ms();
    assert_eq!(ready.model_id, "fake-model");
    assert!(ready.milestones.iter().any(|(m, _)| *m == BootMilestone::LoadingWeights), "{:?}", ready.milestones);
    let log = std::fs::read_to_string(&running.log().path).unwrap();
    println!("readiness noticed after {} ms; ready_s {:.3}", noticed - stamp(&log, "READY_AT "), ready.ready_s);
    assert!(log.contains("fake server boots") && log.contains("and says so on stderr"), "{log}");
    assert_eq!(scene.launcher.state(&running).await.unwrap().status.as_deref(), Some("running"));
    assert_eq!(scene.launcher.restarted(&running).await.unwrap(), None);
    // It dies of itself, and that is noticed.
    let death = running.watch_death();
    let url = format!("{}/die", ready.base_url);
    tokio::task::spawn_blocking(move || {
        use std::io::{Read, Write};
        let mut stream =
            std::net::TcpStream::connect(url.trim_start_matches("http://").trim_end_matches("/die")).unwrap();
        stream.write_all(b"GET /die HTTP/1.1\r\n\r\n").unwrap();
        stream.read_to_end(&mut Vec::new()).ok();
    });
    let facts = tokio::time::timeout(Duration::from_secs(10), death).await.unwrap();
    let noticed = now_ms();
    assert_eq!((facts.exit_code, facts.status.as_deref(), facts.asked_to_stop), (Some(7), Some("exited"), false));
    let facts = scene.launcher.stop(&running, Duration::from_secs(2)).await.unwrap();
    assert_eq!((facts.exit_code, facts.asked_to_stop), (Some(7), false));
    let log = std::fs::read_to_string(&running.log().path).unwrap();
    println!("death noticed after {} ms", noticed - stamp(&log, "DIED_AT "));
    // Stopping again is harmless, and the container is gone.
    scene.launcher.stop(&running, Duration::from_secs(2)).await.unwrap();
    assert!(scene.launcher.inspect(&running.id).await.unwrap_err().is_not_found());
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_death_ends_the_wait_with_its_exit_code_and_its_last_words() {
    let Some(scene) = Scene::new("death").await else { return };
    let running = scene.launcher.start(&scene.spec(&[("EXIT_MS", "300"), ("EXIT_CODE", "3")])).await.unwrap();
    let Readiness::Exited(facts) = scene.wait(&running, &quick()).await else { panic!("it must exit") };
    let noticed = now_ms();
    assert_eq!(facts.exit_code, Some(3));
    scene.launcher.stop(&running, Duration::from_secs(2)).await.unwrap();
    let log = std::fs::read_to_string(&running.log().path).unwrap();
    println!("death in the boot noticed after {} ms", noticed - stamp(&log, "last words "));
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hangs_wrong_models_refused_keys_and_deadlines_are_told_apart() {
    let Some(scene) = Scene::new("hang").await else { return };
    let short = ReadyPolicy { stall: Duration::from_secs(2), ..quick() };
    let end = |settings: &'static [(&'static str, &'static str)], policy: ReadyPolicy| {
        let scene = &scene;
        async move {
            let running = scene.launcher.start(&scene.spec(settings)).await.unwrap();
            let readiness = scene.wait(&running, &policy).await;
            let facts = scene.launcher.stop(&running, Duration::from_secs(1)).await.unwrap();
            assert!(facts.asked_to_stop);
            readiness
        }
    };
    let Readiness::Stalled(state) = end(&[("SILENT", "1")], short.clone()).await else { panic!("silent") };
    assert!(state.health_s.is_none() && state.silent_s >= 2.0, "{state:?}");
    let Readiness::Stalled(state) = end(&[("TOKENLESS", "1")], short.clone()).await else { panic!("tokenless") };
    assert!(state.health_s.is_some(), "{state:?}");
    let wrong = ReadyPolicy { model_id: Some("other".into()), ..short.clone() };
    let Readiness::Refused { why, .. } = end(&[], wrong).await else { panic!("wrong model") };
    assert!(why.contains("fake-model") && why.contains("other"), "{why}");
    let Readiness::Refused { why, .. } = end(&[("KEY", "k")], short.clone()).await else { panic!("key") };
    assert!(why.contains("401"), "{why}");
    let Readiness::Ready(_) = end(&[("KEY", "k")], ReadyPolicy { api_key: Some("k".into()), ..short.clone() }).await
    else {
        panic!("with key")
    };
    let late = ReadyPolicy { startup: Duration::from_secs(1), extension: Duration::ZERO, ..short };
    let Readiness::Deadline(state) = end(&[("BOOT_MS", "9000")], late).await else { panic!("late") };
    assert!(state.elapsed_s >= 1.0);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_cannot_start_is_removed_and_dockers_words_are_kept() {
    let Some(scene) = Scene::new("refused").await else { return };
    let mut spec = scene.spec(&[]);
    spec.service.gpus =
        vec![crate::compose::DeviceRequest { count: Some(-1), driver: Some("nvidia".into()), ..Default::default() }];
    let error = scene.launcher.start(&spec).await.unwrap_err();
    assert_eq!(error.step, LaunchStep::Start);
    assert!(error.message.contains("could not select device driver"), "{error}");
    // Two containers on one port.
    let mut first = scene.spec(&[]);
    first.service.ports[0].published = Some("38471".into());
    let running = scene.launcher.start(&first).await.unwrap();
    let second = LaunchSpec { container_name: format!("{}-second", first.container_name), ..first.clone() };
    let error = scene.launcher.start(&second).await.unwrap_err();
    assert!(
        error.message.contains("port is already allocated") || error.message.contains("address already in use"),
        "{error}"
    );
    let error = scene.launcher.start(&first).await.unwrap_err();
    assert_eq!((error.step, error.status), (LaunchStep::Create, Some(409)));
    let mut absent = scene.spec(&[]);
    absent.image = "vgrid-test-no-such-image".into();
    assert!(scene.launcher.check(&absent).await.unwrap_err().help.unwrap().contains("docker pull"));
    scene.launcher.stop(&running, Duration::from_secs(1)).await.unwrap();
    let filter = ("label", format!("com.docker.compose.project={}", scene.project));
    assert!(scene.launcher.list(&[filter]).await.unwrap().is_empty());
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_ends_the_wait_at_once_and_a_restart_by_a_stranger_is_noticed() {
    let Some(scene) = Scene::new("cancel").await else { return };
    let running = scene.launcher.start(&scene.spec(&[("SILENT", "1")])).await.unwrap();
    let cancel = CancellationToken::new();
    let later = cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(200)).await;
        later.cancel();
    });
    let readiness = scene.launcher.wait_ready(&running, &quick(), &cancel, &mut |_| None, &mut |_| {}).await;
    assert_eq!(readiness, Readiness::Cancelled);
    scene.launcher.connection.docker.restart_container(&running.id, None).await.unwrap();
    let why = scene.launcher.restarted(&running).await.unwrap().unwrap();
    assert!(why.contains("restarted by somebody else"), "{why}");
    scene.launcher.stop(&running, Duration::from_secs(1)).await.unwrap();
    scene.end().await;
}

/// Production as its users run it: a compose container with a fixed port, started by somebody else than vgrid.
async fn production(scene: &Scene, port: u16, policy: &str) -> (LaunchSpec, String) {
    let mut spec = scene.spec(&[("MODEL", "prod-model")]);
    spec.service.ports[0].published = Some(port.to_string());
    spec.service.environment.insert("HF_TOKEN".into(), Some("hf_verysecret".into()));
    spec.container_name = format!("{}-prod", scene.project);
    let running = scene.launcher.start(&spec).await.unwrap();
    let Readiness::Ready(_) = scene.wait(&running, &quick()).await else { panic!("production does not serve") };
    // The same container, without vgrid's labels and with a policy: made again as `docker compose` would have made it.
    let docker = &scene.launcher.connection.docker;
    let inspect = scene.launcher.inspect(&running.id).await.unwrap();
    scene.launcher.stop(&running, Duration::from_secs(2)).await.unwrap();
    let secrets = [("HF_TOKEN".to_owned(), "hf_verysecret".to_owned())].into();
    let mut body = super::recreate::Recreate::of(&inspect).call(&secrets).unwrap().body;
    body.labels.as_mut().unwrap().retain(|name, _| !name.starts_with("io.vgrid"));
    let name = policy.parse().unwrap();
    body.host_config.as_mut().unwrap().restart_policy =
        Some(bollard::models::RestartPolicy { name: Some(name), maximum_retry_count: None });
    let options = bollard::query_parameters::CreateContainerOptions {
        name: Some(spec.container_name.clone()),
        platform: String::new(),
    };
    let id = docker.create_container(Some(options), body).await.unwrap().id;
    docker.start_container(&id, None).await.unwrap();
    let urls = [format!("http://127.0.0.1:{port}")];
    let policy = ReadyPolicy::default();
    let answer = super::ready::ask_until_completion(&urls, &policy);
    tokio::time::timeout(Duration::from_secs(20), answer).await.unwrap().unwrap();
    (spec, id)
}

fn restore_plan() -> RestorePlan {
    let secrets = [("HF_TOKEN".to_owned(), "hf_verysecret".to_owned())].into();
    RestorePlan {
        server_port: 8000,
        model_id: None,
        api_key: None,
        redactor: crate::domain::Redactor::default(),
        deadline: Duration::from_secs(60),
        secrets,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn production_is_moved_aside_for_a_trial_and_the_very_same_container_serves_again() {
    let Some(scene) = Scene::new("prod").await else { return };
    let launcher = &scene.launcher;
    let (spec, id) = production(&scene, 38472, "always").await;
    let query = ServingQuery::of(&scene.project, "vllm", &spec.service, None);
    let serving = launcher.serving_now(&query).await.unwrap();
    assert_eq!(serving.len(), 1);
    let serving: Serving = serde_json::from_str(&serde_json::to_string(&serving[0]).unwrap()).unwrap();
    assert_eq!(
        (serving.found_by, serving.running, serving.models.as_slice()),
        (FoundBy::Labels, true, &["prod-model".to_owned()][..])
    );
    assert_eq!(serving.restart_policy.name, "always");
    assert!(!serde_json::to_string(&serving).unwrap().contains("hf_verysecret"));
    launcher.displace(&serving).await.unwrap();
    launcher.displace(&serving).await.unwrap();
    let aside = launcher.inspect(&id).await.unwrap();
    assert!(!super::docker::is_running(&aside));
    assert_eq!(super::docker::name_of(&aside), serving.displaced_name());
    let policy = aside.host_config.unwrap().restart_policy.unwrap().name.unwrap().to_string();
    assert_eq!(policy, "no");
    // The trial takes its name and port; vgrid is then killed and leaves it behind.
    let trial = launcher.start(&LaunchSpec { container_name: serving.name.clone(), ..spec.clone() }).await.unwrap();
    let Readiness::Ready(_) = scene.wait(&trial, &quick()).await else { panic!("trial") };
    drop(trial);
    // A stranger to this database sees the leftover and does not touch it; its own database removes it.
    assert!(launcher.remove_leftovers("another-db", &|_| false).await.unwrap().is_empty());
    assert_eq!(launcher.leftovers(&scene.project).await.unwrap().len(), 1);
    let noted_again = launcher.serving_now(&query).await;
    assert!(noted_again.is_err(), "the trial is in the way: {noted_again:?}");
    assert_eq!(launcher.remove_leftovers(&scene.project, &|_| false).await.unwrap().len(), 1);
    let restored = launcher.restore(&serving, &restore_plan(), &CancellationToken::new()).await.unwrap();
    println!("restored in {:.2} s", restored.elapsed_s);
    assert_eq!((restored.container_id.as_str(), restored.action), (id.as_str(), RestoreAction::Started));
    assert_eq!(restored.answered.unwrap().0, "prod-model");
    let back = launcher.inspect(&id).await.unwrap();
    assert_eq!(super::docker::name_of(&back), serving.name);
    assert_eq!(back.host_config.unwrap().restart_policy.unwrap().name.unwrap().to_string(), "always");
    let again = launcher.restore(&serving, &restore_plan(), &CancellationToken::new()).await.unwrap();
    assert_eq!(again.action, RestoreAction::AlreadyThere);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn production_that_a_stranger_removed_is_made_again_and_one_that_dies_is_an_error() {
    let Some(scene) = Scene::new("gone").await else { return };
    let launcher = &scene.launcher;
    let (spec, id) = production(&scene, 38473, "no").await;
    let query = ServingQuery::of(&scene.project, "vllm", &spec.service, None);
    let serving = launcher.serving_now(&query).await.unwrap().remove(0);
    launcher.displace(&serving).await.unwrap();
    launcher.remove(&id).await.unwrap();
    let without_secrets = RestorePlan { secrets: std::collections::BTreeMap::new(), ..restore_plan() };
    let error = launcher.restore(&serving, &without_secrets, &CancellationToken::new()).await.unwrap_err();
    assert!(error.message.contains("HF_TOKEN"), "{error}");
    let restored = launcher.restore(&serving, &restore_plan(), &CancellationToken::new()).await.unwrap();
    assert_eq!(restored.action, RestoreAction::Recreated);
    assert_eq!(restored.answered.clone().unwrap().0, "prod-model");
    let made = launcher.inspect(&restored.container_id).await.unwrap();
    let env = made.config.unwrap().env.unwrap();
    assert!(env.contains(&"HF_TOKEN=hf_verysecret".to_owned()));
    // Now the record names a container that is gone and another one bears its name.
    let again = launcher.restore(&serving, &restore_plan(), &CancellationToken::new()).await.unwrap();
    assert_eq!(again.action, RestoreAction::ReplacedByStranger);
    // A model that no longer answers is an error, and so is a cut wait.
    let other = RestorePlan { model_id: Some("gone-model".into()), ..restore_plan() };
    let error = launcher.restore(&serving, &other, &CancellationToken::new()).await.unwrap_err();
    assert!(error.message.contains("gone-model"), "{error}");
    let cancelled = CancellationToken::new();
    cancelled.cancel();
    assert!(launcher.restore(&serving, &restore_plan(), &cancelled).await.unwrap_err().message.contains("cut short"));
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn production_waits_for_its_port_until_who_holds_it_lets_go() {
    const PORT: u16 = 38476;
    let Some(scene) = Scene::new("port").await else { return };
    let launcher = &scene.launcher;
    let (spec, id) = production(&scene, PORT, "no").await;
    let query = ServingQuery::of(&scene.project, "vllm", &spec.service, None);
    let serving = launcher.serving_now(&query).await.unwrap().remove(0);
    launcher.displace(&serving).await.unwrap();
    let holder = std::net::TcpListener::bind(("0.0.0.0", PORT)).unwrap();
    let lets_go = async {
        // Docker has refused it once.
        while launcher.inspect(&id).await.unwrap().state.unwrap().error.unwrap_or_default().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        drop(holder);
    };
    let (plan, patient) = (restore_plan(), CancellationToken::new());
    let (restored, ()) = tokio::join!(launcher.restore(&serving, &plan, &patient), lets_go);
    assert_eq!(restored.unwrap().action, RestoreAction::Started);
    // Who is in a hurry is told at once.
    launcher.displace(&serving).await.unwrap();
    let holder = std::net::TcpListener::bind(("0.0.0.0", PORT)).unwrap();
    let cancelled = CancellationToken::new();
    cancelled.cancel();
    let error = launcher.restore(&serving, &plan, &cancelled).await.unwrap_err();
    assert!(error.help.unwrap().contains("free that port"), "{}", error.message);
    drop(holder);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn inspect_shows_no_secret() {
    let Some(scene) = Scene::new("mask").await else { return };
    let mut spec = scene.spec(&[("SILENT", "1")]);
    spec.service.environment.insert("VLLM_API_KEY".into(), Some("sk-secret".into()));
    spec.service.command = Some(vec!["--api-key".into(), "sk-secret".into()]);
    let running = scene.launcher.start(&spec).await.unwrap();
    let json = scene.launcher.inspect_json(&running).await.unwrap().to_string();
    assert!(!json.contains("sk-secret") && json.contains("VLLM_API_KEY=***"), "{json}");
    scene.launcher.stop(&running, Duration::from_secs(1)).await.unwrap();
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_for_memory_is_told_apart_from_other_kills() {
    let Some(scene) = Scene::new("oom").await else { return };
    let mut spec = scene.spec(&[("EAT_MIB", "512")]);
    spec.service.mem_limit = Some((96 << 20).to_string());
    spec.service.memswap_limit = Some((96 << 20).to_string());
    spec.service.init = Some(false);
    let running = scene.launcher.start(&spec).await.unwrap();
    let Readiness::Exited(facts) = scene.wait(&running, &quick()).await else { panic!("it must be killed") };
    assert_eq!((facts.exit_code, facts.oom_killed), (Some(137), Some(true)), "{facts:?}");
    scene.launcher.stop(&running, Duration::from_secs(1)).await.unwrap();
    scene.end().await;
}

/// `docker compose` as this machine has it, or `None`.
fn compose(scene: &Scene, arguments: &[&str]) -> Option<String> {
    let file = scene.dir.path().join("compose.yml");
    let yaml = format!("services:\n  vllm:\n    image: {IMAGE}\n    ports: [\"127.0.0.1::8000\"]\n");
    std::fs::write(&file, yaml).unwrap();
    let file = file.to_string_lossy().into_owned();
    let all = ["-p", &scene.project, "-f", &file].into_iter().chain(arguments.iter().copied()).collect::<Vec<_>>();
    let plugin =
        std::process::Command::new("docker").arg("compose").args(&all).output().ok().filter(|o| o.status.success());
    let output = plugin.or_else(|| std::process::Command::new("docker-compose").args(&all).output().ok())?;
    println!(
        "compose {arguments:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success());
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn compose_lists_a_trial_as_its_own_and_takes_it_down() {
    let Some(scene) = Scene::new("compose").await else { return };
    let Some(before) = compose(&scene, &["ps", "-q"]) else {
        println!("SKIPPED: no docker compose here");
        return;
    };
    assert_eq!(before.trim(), "");
    let running = scene.launcher.start(&scene.spec(&[])).await.unwrap();
    assert_eq!(compose(&scene, &["ps", "-q", "vllm"]).unwrap().trim(), running.id);
    compose(&scene, &["down", "--timeout", "1"]).unwrap();
    // Taken away by a stranger: the death is told, and stopping is still fine.
    let facts = tokio::time::timeout(Duration::from_secs(5), running.watch_death()).await.unwrap();
    assert!(facts.exit_code.is_some() || facts.status.as_deref() == Some("removed"), "{facts:?}");
    scene.launcher.stop(&running, Duration::from_secs(1)).await.unwrap();
    let network = scene.launcher.connection.docker.inspect_network(&format!("{}_default", scene.project), None).await;
    assert!(network.is_err(), "compose did not take the network for its own");
    scene.end().await;
}
