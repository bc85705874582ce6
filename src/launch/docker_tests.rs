//! The Docker launcher against the real engine.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::fake_server::ARGUMENTS;
use super::pack::pack_program;
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
        let exe = std::env::current_exe().unwrap();
        // Tests run side by side; the image is made once.
        static MADE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        let made = MADE.lock().await;
        let began = Instant::now();
        let image = pack_program(&launcher, &exe, IMAGE, &ARGUMENTS).await.unwrap();
        println!("image {} of {:?} bytes in {:.2} s", image.id, image.size_bytes, began.elapsed().as_secs_f64());
        drop(made);
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

fn now_ms() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()
}

fn stamp(log: &str, name: &str) -> u128 {
    log.lines()
        .find_map(|line| line.strip_prefix(name))
        .unwrap_or_else(|| panic!("no {name} in {log}"))
        .trim()
        .parse()
        .unwrap()
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
    let log = std::fs::read_to_string(running.log().path()).unwrap();
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
    let log = std::fs::read_to_string(running.log().path()).unwrap();
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
    let log = std::fs::read_to_string(running.log().path()).unwrap();
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
