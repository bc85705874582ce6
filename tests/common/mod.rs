//! What the tests of the whole binary share: a scene with its own folder, port and database, and a vgrid that runs in it.

// Each test crate uses a part of it.
#![allow(dead_code, unused_imports)]

pub mod documented;
mod live;
mod sims;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

pub use live::Live;
pub use sims::{processes_with, sims_on};

/// A command that takes longer hangs. Generous: the machine may be busy with something else.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The binary under test.
pub fn exe() -> &'static str {
    env!("CARGO_BIN_EXE_vgrid")
}

/// The project's folder.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A folder of its own with a database, a port that nobody listens on, and a grid; what it started is ended with it.
pub struct Scene {
    folder: tempfile::TempDir,
    /// The port of its simulated engine.
    pub port: u16,
}

impl Scene {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), port: free_port() }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn db(&self) -> PathBuf {
        self.folder().join("runs.db")
    }

    /// Writes a file of the scene.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The head of a grid whose deployment is the simulated engine as a process of the scene's port.
    pub fn head(&self, sim_flags: &[&str]) -> String {
        let mut words =
            vec![exe().to_owned(), "sim".into(), "/models/m".into(), "--port".into(), self.port.to_string()];
        let given = |flag: &&str| sim_flags.iter().any(|own| own.split('=').next() == flag.split('=').next());
        let usual = ["--sim-boot-seconds=0", "--sim-speed=20", "--max-model-len=4096"];
        words.extend(usual.iter().filter(|flag| !given(flag)).chain(sim_flags).map(|flag| (*flag).to_owned()));
        let command = serde_json::to_string(&words).unwrap();
        format!("name: scene\ndeployment:\n  process:\n    command: {command}\n    port: {}\n", self.port)
    }

    /// Writes `grid.yaml`: the simulated engine with `sim_flags`, then `body`.
    pub fn grid(&self, sim_flags: &[&str], body: &str) -> PathBuf {
        self.write("grid.yaml", &format!("{}{body}", self.head(sim_flags)))
    }

    /// vgrid in the scene's folder, with the scene's database and nothing of the tester's environment that it would read.
    pub fn vgrid<I, S>(&self, args: I) -> Command
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = Command::new(exe());
        command.current_dir(self.folder()).args(args).stdin(Stdio::null()).env("VGRID_DB", self.db());
        for name in ["NO_COLOR", "CLICOLOR_FORCE", "COMPOSE_FILE", "COMPOSE_PROFILES", "COMPOSE_PROJECT_NAME"] {
            command.env_remove(name);
        }
        command
    }

    /// Runs vgrid to its end.
    pub fn run<I, S>(&self, args: I) -> Done
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        run(self.vgrid(args))
    }

    /// Runs `vgrid run grid.yaml` with more arguments to its end.
    pub fn sweep(&self, more: &[&str]) -> Done {
        self.run(["run", "grid.yaml"].iter().chain(more))
    }

    /// Starts vgrid and goes on.
    pub fn start(&self, args: &[&str]) -> Live {
        Live::start(self.vgrid(args))
    }

    /// The first column of a query, as text.
    pub fn sql(&self, query: &str) -> Vec<String> {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let db = rusqlite::Connection::open_with_flags(self.db(), flags).unwrap();
        db.busy_timeout(Duration::from_secs(10)).unwrap();
        let mut statement = db.prepare(query).unwrap_or_else(|e| panic!("{query}: {e}"));
        let text = |row: &rusqlite::Row<'_>| {
            let value: rusqlite::types::Value = row.get(0)?;
            Ok(match value {
                rusqlite::types::Value::Null => "null".to_owned(),
                rusqlite::types::Value::Integer(n) => n.to_string(),
                rusqlite::types::Value::Real(x) => x.to_string(),
                rusqlite::types::Value::Text(text) => text,
                rusqlite::types::Value::Blob(bytes) => format!("{} bytes", bytes.len()),
            })
        };
        statement.query_map([], text).unwrap().map(Result::unwrap).collect()
    }

    /// The one number that a query gives.
    pub fn count(&self, query: &str) -> i64 {
        self.sql(query)[0].parse().unwrap()
    }

    /// `name: state (cause)` of every trial of the newest sweep, in the plan's order.
    pub fn states(&self) -> Vec<String> {
        let status = self.run(["status", "--json"]).ok().json();
        let text = |v: &Value| v.as_str().map(str::to_owned);
        let trials = status["trials"].as_array().unwrap();
        let line = |t: &Value| {
            let why = text(&t["cause"]).or_else(|| text(&t["skip"])).map(|c| format!(" ({c})")).unwrap_or_default();
            format!("{}: {}{why}", text(&t["name"]).unwrap(), text(&t["state"]).unwrap())
        };
        trials.iter().map(line).collect()
    }

    /// Everything that is stored of finished scenarios, one line each: what must never be lost or repeated.
    pub fn results(&self) -> Vec<String> {
        if !self.db_has_tables() {
            return Vec::new();
        }
        self.sql(
            "SELECT id || ' ' || trial_id || ' ' || result_key || ' ' || saved_at FROM scenario_result ORDER BY id",
        )
    }

    /// Whether there is a database to ask: a kill may have come before its tables were made.
    pub fn db_has_tables(&self) -> bool {
        self.db().exists() && self.sql("SELECT count(*) FROM sqlite_master WHERE name = 'scenario_result'") == ["1"]
    }

    /// Fails unless no process of the scene's engine is left.
    pub fn assert_no_sim_is_left(&self) {
        assert_eq!(sims_on(self.port), Vec::<u32>::new(), "simulated engines are left on port {}", self.port);
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        for pid in sims_on(self.port) {
            signal(pid, "KILL");
        }
    }
}

/// Sends a signal by name.
pub fn signal(pid: u32, name: &str) {
    Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).stderr(Stdio::null()).status().unwrap();
}

/// What a command came to.
#[derive(Debug)]
pub struct Done {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Done {
    pub fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Fails unless it ended with this code.
    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "exit code\nstdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Fails unless it ended with 0.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.code(0)
    }

    /// Fails unless the output, or what it said on standard error, has all of these.
    #[track_caller]
    pub fn says(self, texts: &[&str]) -> Self {
        let all = format!("{}{}", self.stdout, self.stderr);
        for text in texts {
            assert!(all.contains(text), "{text:?} is missing in\n{all}");
        }
        self
    }

    /// Standard output as one JSON value.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|e| panic!("no JSON ({e}):\n{}\n{}", self.stdout, self.stderr))
    }

    /// Standard output as JSON, one value a line.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<Value> {
        let value = |l: &str| serde_json::from_str(l).unwrap_or_else(|e| panic!("no JSON ({e}): {l}"));
        self.stdout.lines().map(value).collect()
    }
}

/// Runs a command to its end; one that hangs fails the test.
pub fn run(command: Command) -> Done {
    Live::start(command).finish()
}

/// Waits until `holds`, or fails after [`PATIENCE`].
#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "it never came to pass that {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A port that nobody listens on. Below the range that the system hands to outgoing connections, so that none of them takes it
/// between now and its use; tests that run at the same time begin at different places.
pub fn free_port() -> u16 {
    const FIRST: u16 = 12_000;
    const COUNT: u16 = 18_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() as u16).wrapping_mul(37) % COUNT;
    loop {
        let port = FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        if std::net::TcpListener::bind(("0.0.0.0", port)).is_ok() {
            return port;
        }
    }
}

/// Whether something that a test needs is there; an absent one is an error where the variable demands it, else it is said.
pub fn present(path: &Path, demanded_by: &str) -> bool {
    if path.exists() {
        return true;
    }
    let demanded = std::env::var(demanded_by).as_deref() == Ok("1");
    assert!(!demanded, "{} is absent and {demanded_by}=1", path.display());
    println!("skipped: {} is absent", path.display());
    false
}
