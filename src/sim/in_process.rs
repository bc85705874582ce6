//! A simulated server inside a test's own process, with the truth about each request.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::args::SimArgs;
use super::console::Console;
use super::flags::UsageError;
use super::kill;
use super::server::{self, LifeEnd, Up};
use super::truth::{Truth, TruthEntry};

/// A simulated server inside this process.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    truth: Arc<Truth>,
    pub(super) console: Console,
    stop: CancellationToken,
    life: JoinHandle<LifeEnd>,
}

/// Starts a server inside this process on a free port of 127.0.0.1, and waits until it listens. Its log is kept in memory.
///
/// `args` are as for [`super::run`]; host and port are set here, boot takes no time unless they say so. On failure: the exit
/// code and the log.
pub async fn spawn(args: &[&str]) -> Result<Running, (i32, String)> {
    let mut words: Vec<String> = args.iter().map(|s| (*s).to_owned()).collect();
    words.extend(["--host", "127.0.0.1", "--port", "0"].map(str::to_owned));
    if !args.iter().any(|a| a.starts_with("--sim-boot-seconds")) {
        words.push("--sim-boot-seconds=0".to_owned());
    }
    let args = SimArgs::parse(words).map_err(|UsageError(text)| (2, text))?;
    let console = Console::memory();
    let stop = CancellationToken::new();
    let (sender, receiver) = oneshot::channel();
    let life = tokio::spawn(server::live(args, console.clone(), stop.clone(), Some(sender)));
    match receiver.await {
        Ok(Up { address, truth }) => Ok(Running { address, truth, console, stop, life }),
        Err(_) => {
            let code = exit_code(life.await.unwrap_or(LifeEnd::Exit(1)));
            Err((code, console.lines().join("\n")))
        }
    }
}

fn exit_code(end: LifeEnd) -> i32 {
    match end {
        LifeEnd::Exit(code) => code,
        LifeEnd::Killed => kill::KILLED,
    }
}

impl Running {
    /// `http://127.0.0.1:PORT`, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What really happened to each generation request so far, oldest first.
    #[must_use]
    pub fn truth(&self) -> Vec<TruthEntry> {
        self.truth.snapshot()
    }

    /// Stops it in an orderly way, as SIGTERM does; the exit code.
    pub async fn stop(self) -> i32 {
        self.stop.cancel();
        self.wait().await
    }

    /// Waits for its end; the exit code.
    pub async fn wait(self) -> i32 {
        exit_code(self.life.await.unwrap_or(LifeEnd::Exit(1)))
    }
}
