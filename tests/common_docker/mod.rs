//! What whole-binary tests against a real Docker engine share: a scene that removes what it made, a vgrid whose lines can be awaited.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    unused_imports,
    reason = "each test file uses a part of it, and in a test a failure is what these are for"
)]

mod daemon;
mod http;
mod scene;
mod vgrid;

use std::process::{Command, Output};
use std::time::{Duration, Instant};

pub use daemon::Daemon;
pub use http::{Answer, complete, request};
pub use scene::{MODEL, Production, SIM_IMAGE, Scene, Service, Stranger, inspected, rows, try_rows};
pub use vgrid::{Ended, Vgrid};

/// On a loaded machine everything takes long; a wait that is over after this has failed.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// Runs the docker command; its output without the line's end. Panics with its words when it fails.
pub fn docker(arguments: &[&str]) -> String {
    let output = run_docker(arguments);
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "docker {}: {words}", arguments.join(" "));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// As [`docker`]; `None` when it fails.
pub fn try_docker(arguments: &[&str]) -> Option<String> {
    let output = run_docker(arguments);
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// The command, told of the daemon of this test process where there is one.
pub(crate) fn at_our_daemon(mut command: Command) -> Command {
    if let Some(host) = daemon::HOST.get() {
        command.env("DOCKER_HOST", host);
    }
    command
}

fn run_docker(arguments: &[&str]) -> Output {
    match at_our_daemon(Command::new("docker")).args(arguments).output() {
        Ok(output) => output,
        Err(error) => panic!("the command docker cannot be run ({error}); bash tests/setup.sh installs it"),
    }
}

/// Whether something that a test needs is there. Where it must be, its absence is a failure; else the test says that it is skipped.
pub fn there_or_skipped(there: bool, required_by: &str, what: &str) -> bool {
    if there {
        return true;
    }
    assert!(std::env::var_os(required_by).is_none(), "{required_by} is set, and there is no {what}");
    println!("SKIPPED: there is no {what}");
    false
}

/// Whether a Docker engine answers.
pub fn engine_answers() -> bool {
    let answer = at_our_daemon(Command::new("docker")).args(["version", "--format", "{{.Server.Version}}"]).output();
    answer.is_ok_and(|output| output.status.success())
}

/// Waits until `look` finds something.
pub fn await_that<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "in {} s it did not happen that {what}", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Every file of the folder and below.
pub fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}
