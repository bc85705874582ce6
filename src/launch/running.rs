//! A server that was started: who it is, where it answers, its log, and the news of its death.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::domain::ExitFacts;

use super::log::{AttemptLog, LogReader};

/// What the server is for the operating system.
#[derive(Clone, Debug)]
pub(super) enum Body {
    /// A container.
    Container,
    /// A process and its group.
    Process {
        /// Process id, which is the id of its group too.
        pid: u32,
        /// The file by which it is found after a crash of vgrid.
        pid_file: PathBuf,
        /// What it was started with, secrets masked.
        facts: serde_json::Value,
    },
}

/// A started server. Ends with [`super::Launcher::stop`]; when it is dropped, its tasks end and the server stays.
#[derive(Debug)]
pub struct Running {
    /// Container id, or `pid:<n>`.
    pub id: String,
    /// Container name, or the name given to the process.
    pub name: String,
    /// When it started: Docker's `State.StartedAt`, or our own clock for a process; RFC 3339.
    pub started_at: String,
    /// Taken just before it was asked to start; the zero of all its durations.
    pub started: Instant,
    /// What creating it took, s.
    pub create_s: f64,
    /// What Docker's start call or the spawn took, s.
    pub start_s: f64,
    /// Where it may answer, best first: published port, then the container's own address.
    pub base_urls: Vec<String>,
    /// The port it listens on inside.
    pub server_port: u16,
    pub(super) log: AttemptLog,
    pub(super) death: watch::Receiver<Option<ExitFacts>>,
    pub(super) tasks: Tasks,
    pub(super) marks: Arc<Marks>,
    pub(super) body: Body,
}

/// What the tasks of a running server tell each other.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// We asked for the stop while it lived: its end is ours.
    pub asked_to_stop: AtomicBool,
    /// When our own stop began, ns since 1970; 0 before. What is done to it from then on may be ours, also where it was dead before.
    pub stopping_ns: AtomicI64,
    /// The kernel killed something in it for memory.
    pub oom_seen: AtomicBool,
    /// What strangers did to it, in the order of Docker's events.
    pub deeds: Mutex<Vec<String>>,
}

/// The tasks that belong to one server, and the one way to end them.
#[derive(Debug)]
pub(super) struct Tasks {
    tracker: TaskTracker,
    pub cancel: CancellationToken,
    _ends_with_it: DropGuard,
}

impl Tasks {
    pub(super) fn new() -> Self {
        let cancel = CancellationToken::new();
        Self { tracker: TaskTracker::new(), _ends_with_it: cancel.clone().drop_guard(), cancel }
    }

    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn(task);
    }

    /// Ends all tasks and waits for them.
    pub(super) async fn end(&self) {
        self.cancel.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

impl Running {
    /// The log of this attempt.
    #[must_use]
    pub fn log(&self) -> &AttemptLog {
        &self.log
    }

    /// A reader of the log's lines, from the first.
    #[must_use]
    pub fn lines(&self) -> LogReader {
        self.log.reader()
    }

    /// What somebody else did to it since its start, as Docker's events tell it: `restarted it at 2026-...`. Docker does not say who.
    #[must_use]
    pub fn deeds_of_strangers(&self) -> Vec<String> {
        self.marks.deeds.lock().map(|deeds| deeds.clone()).unwrap_or_default()
    }

    /// How it ended, when it has ended.
    #[must_use]
    pub fn exit(&self) -> Option<ExitFacts> {
        self.death.borrow().clone()
    }

    /// Resolves when it dies, with what is known of the death; at once when it is dead already. Waits for ever when its tasks
    /// were ended before.
    pub fn watch_death(&self) -> impl Future<Output = ExitFacts> + Send + 'static {
        let mut death = self.death.clone();
        async move {
            match death.wait_for(Option::is_some).await.map(|facts| facts.clone()) {
                Ok(Some(facts)) => facts,
                Ok(None) | Err(_) => std::future::pending().await,
            }
        }
    }
}
