//! The simulated engine: an OpenAI-compatible server whose speed, cache, memory and failures follow its flags.
//!
//! `docs/sim.md` documents the flags, the formulas and the faults. [`run`] is the command `vgrid sim`; [`spawn`] starts a
//! server inside this process, with access to its [`TruthEntry`]s: what really happened to each request.
// It plays a program whose log goes to stdout and stderr; `console` writes there, `help` prints.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod answer;
mod api;
mod args;
mod boot;
mod console;
mod engine;
mod failures;
mod fault;
mod flags;
mod help;
mod kill;
mod kv;
mod metrics;
mod model;
mod names;
mod request;
mod scheduler;
mod schema;
mod server;
mod stream;
mod tokenizer;
mod truth;

#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod scheduler_tests;
#[cfg(test)]
mod serving_tests;
#[cfg(test)]
mod test_client;
#[cfg(test)]
mod vllm_tests;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use args::SimArgs;
use console::Console;
use flags::UsageError;
use server::{LifeEnd, Up};
pub use truth::TruthEntry;

/// `vgrid sim ARGS`: serves until SIGTERM, SIGINT, `cancel` or a failure; the exit code is vLLM's: 0 after an orderly
/// stop and after the engine's death while serving, 1 for a failed start, 2 for a wrong command line.
pub async fn run(args: Vec<String>, cancel: CancellationToken) -> i32 {
    match args.first().map(String::as_str) {
        Some("--health-check") => return help::health_check(args.get(1).map(String::as_str)).await,
        Some("--help" | "-h") => {
            println!("{}", help::text());
            return 0;
        }
        Some(_) | None => {}
    }
    let args = match SimArgs::parse(args) {
        Ok(args) => args,
        Err(UsageError(text)) => {
            eprintln!("{text}");
            return 2;
        }
    };
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        eprintln!("error: cannot listen for SIGTERM and SIGINT, so the server could not be stopped in an orderly way");
        return 1;
    };
    let fault = args.sim.fault.map(|f| f.kind);
    let stop = cancel.child_token();
    let mut life = std::pin::pin!(server::live(args, Console::standard(), stop.clone(), None));
    loop {
        tokio::select! {
            end = &mut life => return match end {
                LifeEnd::Exit(code) => code,
                LifeEnd::Killed => kill::die(fault),
            },
            _ = terminate.recv() => stop.cancel(),
            _ = interrupt.recv() => stop.cancel(),
        }
    }
}

/// A simulated server inside this process.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    truth: Arc<truth::Truth>,
    console: Console,
    stop: CancellationToken,
    life: JoinHandle<LifeEnd>,
}

/// Starts a server inside this process on a free port of 127.0.0.1, and waits until it listens. Its log is kept in memory.
///
/// `args` are as for [`run`]; host and port are set here, boot takes no time unless they say so. On failure: the exit
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

    /// The log so far: stdout and stderr in the order of writing.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.console.lines()
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
