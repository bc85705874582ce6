//! The simulated engine: an OpenAI-compatible server whose speed, cache, memory and failures follow its flags.
//!
//! `docs/sim.md` documents the flags, the formulas and the faults. [`run`] is the command `vgrid sim`; tests start a
//! server inside their own process, with access to its [`truth::TruthEntry`]s: what really happened to each request.
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
mod key;
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
mod in_process;
#[cfg(test)]
mod prune_tests;
#[cfg(test)]
mod scheduler_tests;
#[cfg(test)]
mod serving_tests;
#[cfg(test)]
mod test_client;
#[cfg(test)]
pub(crate) mod virtual_start;
#[cfg(test)]
mod vllm_tests;

#[cfg(test)]
pub use in_process::{Running, spawn};
#[cfg(test)]
pub use truth::TruthEntry;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use args::SimArgs;
use console::Console;
use flags::UsageError;
use server::LifeEnd;

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
