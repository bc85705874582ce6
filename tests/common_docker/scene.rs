//! A compose project, a grid and a database of a test's own, removed with all their containers when the test is over.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, PoisonError};

use super::{Vgrid, at_our_daemon, await_that, complete, docker, engine_answers, there_or_skipped, try_docker};

/// The simulated engine's image under a name of these tests: `vgrid-sim:local` is made anew whenever another vgrid runs on this
/// engine, and an image that changes is another sweep.
pub const SIM_IMAGE: &str = "tests-docker-sim:local";

/// The model that the scenes serve.
pub const MODEL: &str = "tiny";

/// The one service of a scene's compose file.
pub struct Service {
    /// The image.
    pub image: String,
    /// More flags of the engine.
    pub flags: String,
    /// The restart policy.
    pub restart: &'static str,
    /// More lines of YAML, each a key of the service.
    pub more: Vec<String>,
}

impl Service {
    /// The simulated engine that boots at once and answers fast.
    pub fn sim() -> Self {
        Self { image: SIM_IMAGE.to_owned(), flags: String::new(), restart: "unless-stopped", more: Vec::new() }
    }

    /// With these flags too.
    pub fn with_flags(self, flags: &str) -> Self {
        Self { flags: flags.to_owned(), ..self }
    }

    /// With this restart policy.
    pub fn with_image(self, image: &str) -> Self {
        Self { image: image.to_owned(), ..self }
    }

    pub fn with_restart(self, restart: &'static str) -> Self {
        Self { restart, ..self }
    }

    /// With this line of YAML.
    pub fn with(mut self, line: &str) -> Self {
        self.more.push(line.to_owned());
        self
    }

    fn command(&self) -> String {
        format!(
            "sim/tiny --served-model-name {MODEL} --host 0.0.0.0 --port 8000 --max-model-len 4096 --max-num-seqs 8 \
             --enable-prompt-tokens-details --sim-boot-seconds 0 --sim-first-request-ms 0 --sim-speed 50 {}",
            self.flags
        )
        .trim_end()
        .to_owned()
    }
}

/// What served before a sweep.
#[derive(Debug)]
pub struct Production {
    /// Its container.
    pub id: String,
    /// Its container's name.
    pub name: String,
    /// Its restart policy.
    pub restart: String,
}

/// A project of its own in a folder of its own on a port of its own.
pub struct Scene {
    /// The folder of its files.
    pub dir: tempfile::TempDir,
    /// The compose project.
    pub project: String,
    /// The port of this host that it publishes.
    pub port: u16,
    /// The model that it serves.
    pub model: String,
}

impl Scene {
    /// A scene of the simulated engine; `None` (said aloud) where no Docker engine answers.
    pub fn new(name: &str) -> Option<Self> {
        let scene = Self::without_image(name)?;
        sim_image();
        Some(scene)
    }

    /// A scene whose image is the test's affair.
    pub fn without_image(name: &str) -> Option<Self> {
        if !there_or_skipped(engine_answers(), "VGRID_REQUIRE_DOCKER", "Docker engine") {
            return None;
        }
        Some(Self {
            dir: tempfile::tempdir().unwrap(),
            project: format!("tests-docker-{name}-{}", std::process::id()),
            port: free_port(),
            model: MODEL.to_owned(),
        })
    }

    /// A file of the scene.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file of the scene.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Writes `compose.yml` with this service.
    pub fn deploy(&self, service: &Service) -> &Self {
        let Self { project, port, .. } = self;
        let (image, command, restart) = (&service.image, service.command(), service.restart);
        let more: String = service.more.iter().map(|line| format!("    {line}\n")).collect();
        self.write(
            "compose.yml",
            &format!(
                "name: {project}\nservices:\n  vllm:\n    image: {image}\n    command: >-\n      {command}\n    \
                 ports: [\"127.0.0.1:{port}:8000\"]\n    stop_grace_period: 5s\n    restart: {restart}\n{more}"
            ),
        );
        self
    }

    /// Writes `grid.yaml`: these lines behind the name and the deployment.
    pub fn grid(&self, lines: &str) -> &Self {
        let name = &self.project;
        self.write(
            "grid.yaml",
            &format!("name: {name}\ndeployment: {{ compose: [compose.yml], service: vllm }}\n{lines}"),
        );
        self
    }

    /// The database.
    pub fn db(&self) -> PathBuf {
        self.path("runs.db")
    }

    /// vgrid in the scene's folder.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = at_our_daemon(Command::new(env!("CARGO_BIN_EXE_vgrid")));
        command.current_dir(self.dir.path()).args(arguments).env_remove("VGRID_DB").env("NO_COLOR", "1");
        command
    }

    /// Starts vgrid in the scene's folder.
    pub fn start(&self, arguments: &[&str]) -> Vgrid {
        Vgrid::start(self.command(arguments))
    }

    /// Starts `vgrid run grid.yaml`.
    pub fn run(&self) -> Vgrid {
        self.start(&["run", "grid.yaml"])
    }

    /// Brings the deployment up as its owner does, and waits until it serves: by the real Compose where it is, else by
    /// `docker run` with Compose's labels.
    pub fn production(&self) -> Production {
        if self.compose(&["up", "-d"]).is_none() {
            self.production_without_compose();
        }
        let id = self.containers(&[]).pop().expect("the deployment has a container");
        self.await_serving();
        Production { name: inspected(&id, ".Name").trim_start_matches('/').to_owned(), restart: restart_of(&id), id }
    }

    /// `docker run` of the service as vgrid resolves it, with the labels by which Compose knows its containers.
    fn production_without_compose(&self) {
        let output = self.command(&["compose", "-f", "compose.yml", "--service", "vllm", "--json"]).output().unwrap();
        let service: serde_json::Value = serde_json::from_slice(&output.stdout).expect("vgrid compose prints JSON");
        let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let name = service["container_name"].as_str().map_or(format!("{}-vllm-1", self.project), str::to_owned);
        let mut words: Vec<String> = ["run", "--detach", "--name", &name].map(str::to_owned).to_vec();
        for (key, value) in
            [("project", self.project.as_str()), ("service", "vllm"), ("oneoff", "False"), ("container-number", "1")]
        {
            words.extend(["--label".to_owned(), format!("com.docker.compose.{key}={value}")]);
        }
        for (key, value) in service["environment"].as_object().into_iter().flatten() {
            words.extend(["--env".to_owned(), format!("{key}={}", text(value))]);
        }
        if !service["mem_limit"].is_null() {
            words.extend(["--memory".to_owned(), text(&service["mem_limit"])]);
        }
        words.extend(["--restart".to_owned(), text(&service["restart"])]);
        words.extend(["--publish".to_owned(), format!("127.0.0.1:{}:8000", self.port), text(&service["image"])]);
        words.extend(service["command"].as_array().into_iter().flatten().map(text));
        docker(&words.iter().map(String::as_str).collect::<Vec<_>>());
    }

    /// Runs the real Compose on the scene's file; `None` where it is not. Panics when it fails.
    pub fn compose(&self, arguments: &[&str]) -> Option<String> {
        let oracle = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/oracle/docker-compose");
        if !there_or_skipped(oracle.exists(), "VGRID_REQUIRE_ORACLE", "target/oracle/docker-compose") {
            return None;
        }
        let mut command = at_our_daemon(Command::new(oracle));
        command.current_dir(self.dir.path()).args(["-f", "compose.yml", "--ansi", "never"]).args(arguments);
        let output = command.output().unwrap();
        assert!(output.status.success(), "compose {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Waits until a real completion comes from the scene's port.
    pub fn await_serving(&self) {
        await_that("the deployment answers a completion", || complete(self.port, &self.model));
    }

    /// Whether a real completion comes from the scene's port.
    pub fn serves(&self) -> bool {
        complete(self.port, &self.model).is_some()
    }

    /// Containers of the project, running or not, by their full ids; with more filters for `docker ps`.
    pub fn containers(&self, filters: &[&str]) -> Vec<String> {
        let project = format!("label=com.docker.compose.project={}", self.project);
        let mut words = vec!["ps", "--all", "--quiet", "--no-trunc", "--filter", &project];
        for filter in filters {
            words.extend(["--filter", filter]);
        }
        docker(&words).lines().map(str::to_owned).collect()
    }

    /// Trial containers of the project, running or not.
    pub fn trials(&self) -> Vec<String> {
        self.containers(&["label=io.vgrid.role=trial"])
    }

    /// The one trial container of the project, as soon as it runs.
    pub fn await_trial(&self) -> String {
        await_that("a trial's container runs", || {
            self.containers(&["label=io.vgrid.role=trial", "status=running"]).pop()
        })
    }

    /// Nothing of vgrid's is left, and the very same container serves as before.
    pub fn assert_restored(&self, production: &Production) {
        assert_eq!(self.trials(), Vec::<String>::new(), "a trial's container is left over");
        assert_eq!(self.containers(&[]), [production.id.as_str()], "the project has other containers than before");
        assert_eq!(inspected(&production.id, ".Name"), format!("/{}", production.name));
        assert_eq!(inspected(&production.id, ".State.Running"), "true");
        assert_eq!(restart_of(&production.id), production.restart);
        assert!(self.serves(), "what served before does not serve");
    }

    /// The rows of a query on the scene's database, all values as text.
    pub fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        rows(&self.db(), sql)
    }

    /// State of each trial by its config's name, with the cause of a failure behind a blank.
    pub fn states(&self) -> BTreeMap<String, String> {
        let rows = self.rows("SELECT config, state, coalesce(cause, '') FROM trials");
        rows.into_iter().map(|r| (r[0].clone(), format!("{} {}", r[1], r[2]).trim_end().to_owned())).collect()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let project = format!("label=com.docker.compose.project={}", self.project);
        for kind in ["container", "network"] {
            let all: &[&str] = if kind == "container" { &["--all"] } else { &[] };
            let words = [&[kind, "ls", "--quiet", "--filter", &project], all].concat();
            for id in try_docker(&words).unwrap_or_default().lines() {
                let force: &[&str] = if kind == "container" { &["--force", "--volumes"] } else { &[] };
                try_docker(&[&[kind, "rm"], force, &[id]].concat());
            }
        }
    }
}

/// A container of a stranger's, removed when the test is over.
pub struct Stranger(pub String);

impl Stranger {
    /// Runs one with these arguments of `docker run`.
    pub fn run(arguments: &[&str]) -> Self {
        Self(docker(&[&["run", "--detach"], arguments].concat()))
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        try_docker(&["rm", "--force", "--volumes", &self.0]);
    }
}

/// The rows of a query on a database that may be in use, all values as text.
pub fn rows(db: &Path, sql: &str) -> Vec<Vec<String>> {
    try_rows(db, sql).unwrap()
}

/// As [`rows`]; an error when the database has no such tables yet.
pub fn try_rows(db: &Path, sql: &str) -> rusqlite::Result<Vec<Vec<String>>> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let connection = rusqlite::Connection::open_with_flags(db, flags)?;
    let mut statement = connection.prepare(sql)?;
    let columns = statement.column_count();
    let text = |value: rusqlite::types::Value| match value {
        rusqlite::types::Value::Null => String::new(),
        rusqlite::types::Value::Integer(n) => n.to_string(),
        rusqlite::types::Value::Real(x) => x.to_string(),
        rusqlite::types::Value::Text(t) => t,
        rusqlite::types::Value::Blob(b) => format!("{} bytes", b.len()),
    };
    let rows = statement.query_map([], |row| (0..columns).map(|i| row.get(i).map(text)).collect())?;
    rows.collect()
}

/// A value of `docker inspect` by its template path.
pub fn inspected(container: &str, path: &str) -> String {
    docker(&["inspect", "--format", &format!("{{{{{path}}}}}"), container])
}

fn restart_of(container: &str) -> String {
    inspected(container, ".HostConfig.RestartPolicy.Name")
}

/// Below the range from which the kernel takes ports for outgoing connections.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = 20_000 + (std::process::id() % 600) as u16 * 16;
    loop {
        let port = base + NEXT.fetch_add(1, Ordering::Relaxed) % 2_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Lets vgrid make the simulated engine's image, once per test process and daemon, and gives it the tests' own name.
fn sim_image() {
    static MADE: Mutex<Option<String>> = Mutex::new(None);
    let id = || try_docker(&["image", "inspect", "--format", "{{.Id}}", SIM_IMAGE]);
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if made.is_some() && *made == id() {
        return;
    }
    let scene = Scene::without_image("image").expect("the engine answered before");
    scene.deploy(&Service { image: "vgrid-sim:local".to_owned(), ..Service::sim() });
    scene.grid("suite: [smoke: {}]\n");
    scene.start(&["run", "grid.yaml", "--limit", "0"]).end().expect_code(3);
    docker(&["tag", "vgrid-sim:local", SIM_IMAGE]);
    *made = id();
}
