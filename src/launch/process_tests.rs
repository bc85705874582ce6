//! The process launcher against real processes: the test binary itself as the server.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::fake_server::{ARGUMENTS, now_ms, stamp};
use super::*;
use crate::domain::{ConfigKey, SweepId};

struct Scene {
    launcher: Launcher,
    dir: tempfile::TempDir,
    port: u16,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { launcher: Launcher::Process(ProcessLauncher::new(dir.path().join("processes"))), dir, port }
    }

    fn spec(&self, environment: &[(&str, &str)]) -> LaunchSpec {
        let program = std::env::current_exe().unwrap().to_string_lossy().into_owned();
        let mut service = crate::compose::Service {
            entrypoint: Some(vec![program]),
            command: Some(ARGUMENTS.map(str::to_owned).to_vec()),
            environment: environment.iter().map(|(k, v)| (format!("FAKE_{k}"), Some((*v).to_owned()))).collect(),
            ..Default::default()
        };
        service.environment.insert("FAKE_PORT".into(), Some(self.port.to_string()));
        LaunchSpec {
            project: ProjectPart { name: "p".into(), working_dir: self.dir.path().into(), ..ProjectPart::default() },
            service_name: "vllm".into(),
            service,
            labels: TrialLabels {
                db: "db".into(),
                sweep: SweepId(1),
                trial_id: 2,
                attempt: 3,
                key: ConfigKey("k".into()),
            },
            image: String::new(),
            container_name: "trial-2".into(),
            log_path: self.dir.path().join("2.log"),
            redactor: crate::domain::Redactor::new(["hf_quite_secret".to_owned()]),
            server_port: Some(self.port),
        }
    }

    async fn wait(&self, running: &Running, policy: &ReadyPolicy) -> Readiness {
        self.launcher.wait_ready(running, policy, &CancellationToken::new(), &mut |_| None, &mut |_| {}).await
    }
}

fn quick() -> ReadyPolicy {
    ReadyPolicy { startup: Duration::from_secs(30), stall: Duration::from_secs(20), ..ReadyPolicy::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_serves_its_death_is_noticed_and_its_log_is_whole() {
    let scene = Scene::new();
    let running = scene.launcher.start(&scene.spec(&[("BOOT_MS", "200")])).await.unwrap();
    let Readiness::Ready(ready) = scene.wait(&running, &quick()).await else { panic!("not ready") };
    let noticed = now_ms();
    assert_eq!(ready.model_id, "fake-model");
    let log = std::fs::read_to_string(&running.log().path).unwrap();
    println!("process: readiness noticed after {} ms", noticed - stamp(&log, "READY_AT "));
    assert!(log.contains("fake server boots") && log.contains("and says so on stderr"));
    let facts = scene.launcher.inspect_json(&running).await.unwrap();
    assert!(facts["argv"].as_array().unwrap().len() > 3);
    let address = ready.base_url.trim_start_matches("http://").to_owned();
    let ask = tokio::task::spawn_blocking(move || {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /die HTTP/1.1\r\n\r\n").unwrap();
        stream.read_to_end(&mut Vec::new()).ok();
    });
    let facts = tokio::time::timeout(Duration::from_secs(5), running.watch_death()).await.unwrap();
    let noticed = now_ms();
    ask.await.unwrap();
    assert_eq!((facts.exit_code, facts.asked_to_stop), (Some(7), false));
    let facts = scene.launcher.stop(&running, Duration::from_secs(1)).await.unwrap();
    assert_eq!((facts.exit_code, facts.asked_to_stop), (Some(7), false));
    scene.launcher.stop(&running, Duration::from_secs(1)).await.unwrap();
    let log = std::fs::read_to_string(&running.log().path).unwrap();
    println!("process: death noticed after {} ms", noticed - stamp(&log, "DIED_AT "));
    assert!(scene.launcher.leftovers("db").await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_death_has_its_exit_code_and_last_words() {
    let scene = Scene::new();
    let running = scene
        .launcher
        .start(&scene.spec(&[("EXIT_MS", "50"), ("EXIT_CODE", "3"), ("SAY", "token hf_quite_secret")]))
        .await
        .unwrap();
    let Readiness::Exited(facts) = scene.wait(&running, &quick()).await else { panic!("it must exit") };
    assert_eq!(facts.exit_code, Some(3));
    scene.launcher.stop(&running, Duration::from_secs(1)).await.unwrap();
    let log = std::fs::read_to_string(&running.log().path).unwrap();
    assert!(log.contains("last words") && log.contains("token ***") && !log.contains("hf_quite"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_group_is_killed_when_it_ignores_the_request_to_end() {
    let scene = Scene::new();
    let running = scene.launcher.start(&scene.spec(&[("STUBBORN", "1"), ("CHILD", "1")])).await.unwrap();
    let Readiness::Ready(_) = scene.wait(&running, &quick()).await else { panic!("not ready") };
    let log = std::fs::read_to_string(&running.log().path).unwrap();
    let child = u32::try_from(stamp(&log, "child ")).unwrap();
    assert!(super::procfs::process(child).is_some());
    let began = Instant::now();
    let facts = scene.launcher.stop(&running, Duration::from_millis(300)).await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert_eq!((facts.exit_code, facts.asked_to_stop), (Some(137), true));
    assert!(super::procfs::process(child).is_none_or(|process| process.state == 'Z'), "the child lives on");
    assert!(std::fs::read_to_string(&running.log().path).unwrap().contains("SIGTERM ignored"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_outlived_its_vgrid_is_found_and_ended_by_its_own_database_only() {
    let scene = Scene::new();
    let running = scene.launcher.start(&scene.spec(&[("CHILD", "1")])).await.unwrap();
    let Readiness::Ready(_) = scene.wait(&running, &quick()).await else { panic!("not ready") };
    let pid: u32 = running.id.trim_start_matches("pid:").parse().unwrap();
    drop(running); // as a crash would
    assert!(scene.launcher.remove_leftovers("other", &|_| false).await.unwrap().is_empty());
    let found = scene.launcher.leftovers("db").await.unwrap();
    assert_eq!((found.len(), found[0].running, found[0].trial.as_str()), (1, true, "2"));
    let query = ServingQuery::of("p", "vllm", &scene.spec(&[]).service, None);
    let error = scene.launcher.serving_now(&ServingQuery { server_port: scene.port, ..query }).await.unwrap_err();
    assert!(error.message.contains("already in use"), "{error}");
    let error = scene.launcher.start(&scene.spec(&[])).await.unwrap_err();
    assert!(error.message.contains(&format!("pid {pid}")), "{error}");
    scene.launcher.remove_leftovers("db", &|_| false).await.unwrap();
    assert!(super::procfs::process(pid).is_none_or(|process| process.state == 'Z'));
    assert!(scene.launcher.leftovers("db").await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pid_that_means_another_process_by_now_is_never_killed() {
    let scene = Scene::new();
    let mut bystander = tokio::process::Command::new("sleep").arg("600").process_group(0).spawn().unwrap();
    let pid = bystander.id().unwrap();
    let labels = scene.spec(&[]).labels;
    let folder = scene.dir.path().join("processes");
    let (file, path) = super::pid_file::PidFile::announce(&folder, "token", "old", &labels).unwrap();
    file.started(&path, pid).unwrap();
    let mut file: super::pid_file::PidFile = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    file.start_ticks = file.start_ticks.map(|ticks| ticks - 1);
    std::fs::write(&path, serde_json::to_vec(&file).unwrap()).unwrap();
    let removed = scene.launcher.remove_leftovers("db", &|_| false).await.unwrap();
    assert!(!removed[0].running);
    assert!(bystander.try_wait().unwrap().is_none(), "a stranger was killed");
    bystander.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_whose_vgrid_died_before_it_could_note_its_number_is_found_by_its_token() {
    let scene = Scene::new();
    let (folder, labels) = (scene.dir.path().join("processes"), scene.spec(&[]).labels);
    let token = uuid::Uuid::now_v7().to_string();
    super::pid_file::PidFile::announce(&folder, &token, "just started", &labels).unwrap();
    assert!(!scene.launcher.leftovers("db").await.unwrap()[0].running, "it is announced, and not started");
    let mut command = tokio::process::Command::new("sleep");
    let mut child = command.arg("600").env(super::pid_file::TOKEN_VARIABLE, &token).process_group(0).spawn().unwrap();
    let removed = scene.launcher.remove_leftovers("db", &|_| false).await.unwrap();
    assert!(removed[0].running);
    assert_eq!(removed[0].id, format!("pid:{}", child.id().unwrap()));
    assert!(child.wait().await.unwrap().code().is_none(), "a signal ended it");
    assert!(scene.launcher.leftovers("db").await.unwrap().is_empty());
}

#[tokio::test]
async fn an_absent_program_is_an_error_before_anything_is_touched() {
    let scene = Scene::new();
    let mut spec = scene.spec(&[]);
    spec.service.entrypoint = Some(vec!["no-such-vllm".into()]);
    let error = scene.launcher.check(&spec).await.unwrap_err();
    assert!(error.message.contains("no-such-vllm") && error.help.is_some());
    assert!(scene.launcher.start(&spec).await.is_err());
    assert!(!spec.log_path.exists());
}
