//! The process launcher: the same contract over a local process and its group, for hosts without a daemon.

use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::compose::Service;
use crate::domain::ExitFacts;

use super::error::{LaunchError, LaunchStep};
use super::log::{self, LogWriter};
use super::pid_file::{PidFile, TOKEN_VARIABLE};
use super::procfs::{self, Signal, group_is_alive, signal_group};
use super::ready::{MilestoneReader, ProgressListener, Readiness, ReadyPolicy, race};
use super::running::{Body, Marks, Running, Tasks};
use super::secrets::{mask_arguments, mask_environment};
use super::spec::{LaunchSpec, effective_environment};

/// A killed group is gone within this; a process stuck in the GPU driver may take long.
const KILL: Duration = Duration::from_secs(60);

/// Between two looks at a group that is ending.
const LOOK: Duration = Duration::from_millis(20);

/// After the process's exit its last output is there within this.
const LOG_DRAIN: Duration = Duration::from_secs(2);

/// Fields of a service that mean something for a process; any other is refused.
const CARRIED_OVER: [&str; 8] =
    ["command", "entrypoint", "environment", "working_dir", "container_name", "labels", "restart", "stop_grace_period"];

/// Launches local processes.
#[derive(Clone, Debug)]
pub struct ProcessLauncher {
    state_dir: PathBuf,
}

impl ProcessLauncher {
    /// A launcher that keeps its pid files in `state_dir`, a folder beside the database.
    #[must_use]
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self { state_dir: state_dir.into() }
    }

    pub(super) fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// Whether the service can be a process at all, and its program exists. Touches nothing.
    ///
    /// # Errors
    /// Fields that only a container can have; no program; a program that is not there.
    pub fn check(&self, spec: &LaunchSpec) -> Result<(), LaunchError> {
        refuse_container_fields(&spec.service)?;
        let argv = argv(&spec.service)?;
        let program = &argv[0];
        let found = if program.contains('/') {
            working_dir(spec).join(program).exists()
        } else {
            let path = spec.service.environment.get("PATH").cloned().flatten().or_else(|| std::env::var("PATH").ok());
            std::env::split_paths(&path.unwrap_or_default()).any(|folder| folder.join(program).is_file())
        };
        if found {
            return Ok(());
        }
        Err(LaunchError::new(LaunchStep::Prepare, format!("the program `{program}` does not exist"))
            .help("install it, activate its environment, or name it by its full path"))
    }

    /// Starts the process in a group of its own, with both streams into the log.
    ///
    /// # Errors
    /// As [`Self::check`]; the port is taken; the system refuses the start.
    pub async fn start(&self, spec: &LaunchSpec) -> Result<Running, LaunchError> {
        self.check(spec)?;
        let port = spec.port();
        refuse_a_taken_port(port).await?;
        let failed = |step: LaunchStep, what: &str, error: &dyn std::fmt::Display| {
            LaunchError::new(step, format!("{what}: {error}"))
        };
        let (writer, attempt_log) = log::open(&spec.log_path, spec.redactor.clone()).map_err(|error| {
            failed(LaunchStep::Prepare, &format!("cannot write the log {}", spec.log_path.display()), &error)
        })?;
        let argv = argv(&spec.service)?;
        let token = uuid::Uuid::now_v7().to_string();
        let (reader, output) =
            std::io::pipe().map_err(|error| failed(LaunchStep::Start, "no pipe for its output", &error))?;
        let errors = output.try_clone().map_err(|error| failed(LaunchStep::Start, "no pipe for its output", &error))?;
        let mut command = Command::new(&argv[0]);
        command
            .args(&argv[1..])
            .current_dir(working_dir(spec))
            .envs(effective_environment(&spec.service, &|name| std::env::var(name).ok()))
            .env(TOKEN_VARIABLE, &token)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0);
        let oom_before = procfs::oom_kills();
        let no_file = |error| {
            failed(LaunchStep::Start, &format!("cannot write a pid file in {}", self.state_dir.display()), &error)
        };
        let (announced, pid_file) =
            PidFile::announce(&self.state_dir, &token, &spec.container_name, &spec.labels).map_err(no_file)?;
        let started = Instant::now();
        let child = command.spawn().map_err(|error| {
            PidFile::remove(&pid_file);
            failed(LaunchStep::Start, &argv.join(" "), &error)
        })?;
        // The command holds our copies of the pipe's writing end; the log would never end while it lives.
        drop(command);
        let pid = child.id().ok_or_else(|| LaunchError::new(LaunchStep::Start, "the process was gone at once"))?;
        announced.started(&pid_file, pid).map_err(|error| {
            signal_group(pid, Signal::Kill);
            no_file(error)
        })?;
        let facts = describe(spec, &argv, pid);
        let running =
            adopt(Adopted { child, pid, pid_file, facts, oom_before, reader: reader.into(), writer }, attempt_log)?;
        Ok(Running {
            name: spec.container_name.clone(),
            started,
            start_s: started.elapsed().as_secs_f64(),
            base_urls: vec![format!("http://127.0.0.1:{port}")],
            server_port: port,
            ..running
        })
    }

    /// As [`super::DockerLauncher::wait_ready`]; an answer counts only when a process of the group listens on the port.
    pub async fn wait_ready(
        &self,
        running: &Running,
        policy: &ReadyPolicy,
        cancel: &CancellationToken,
        milestones: MilestoneReader<'_>,
        progress: ProgressListener<'_>,
    ) -> Readiness {
        let readiness = race(running, policy, cancel, milestones, progress).await;
        let (Readiness::Ready(_), Body::Process { pid, .. }) = (&readiness, &running.body) else { return readiness };
        // Where it cannot be seen who listens, the port was free before the start, which is the next best proof.
        if procfs::group_listens(*pid, running.server_port) || procfs::listeners(running.server_port).is_empty() {
            return readiness;
        }
        Readiness::Replaced(format!(
            "port {} is served{}",
            running.server_port,
            procfs::describe_listeners(running.server_port)
        ))
    }

    /// Ends the whole group: SIGTERM, then SIGKILL when the grace is over; waits until no process of it is left.
    ///
    /// # Errors
    /// Something of the group cannot be killed.
    pub async fn stop(&self, running: &Running, grace: Duration) -> Result<ExitFacts, LaunchError> {
        let Body::Process { pid, pid_file, .. } = &running.body else {
            return Err(LaunchError::new(LaunchStep::Stop, format!("{} is no process", running.name)));
        };
        if running.exit().is_none() {
            running.marks.asked_to_stop.store(true, Ordering::Relaxed);
        }
        end_group(*pid, grace).await?;
        // The group is gone, so the reaper has its status at any moment.
        let facts = tokio::time::timeout(LOG_DRAIN, running.watch_death()).await.ok().or_else(|| running.exit());
        tokio::time::timeout(LOG_DRAIN, running.log.ended()).await.ok();
        running.tasks.end().await;
        PidFile::remove(pid_file);
        Ok(facts.unwrap_or_default())
    }
}

/// SIGTERM, SIGKILL, and the wait until the group is empty.
pub(super) async fn end_group(group: u32, grace: Duration) -> Result<(), LaunchError> {
    for (signal, limit) in [(Signal::Term, grace), (Signal::Kill, KILL)] {
        if !group_is_alive(group) {
            return Ok(());
        }
        signal_group(group, signal);
        let until = Instant::now() + limit;
        while group_is_alive(group) && Instant::now() < until {
            tokio::time::sleep(LOOK).await;
        }
    }
    if !group_is_alive(group) {
        return Ok(());
    }
    Err(LaunchError::new(LaunchStep::Stop, format!("processes of group {group} do not end, not even killed"))
        .help("one may be stuck in the GPU driver: `nvidia-smi`, `dmesg`; the last resort is a reboot"))
}

struct Adopted {
    child: Child,
    pid: u32,
    pid_file: PathBuf,
    facts: serde_json::Value,
    oom_before: Option<u64>,
    reader: OwnedFd,
    writer: LogWriter,
}

fn adopt(it: Adopted, attempt_log: log::AttemptLog) -> Result<Running, LaunchError> {
    let tasks = Tasks::new();
    let marks = Arc::new(Marks::default());
    let (tell, death) = watch::channel(None);
    let reader = pipe::Receiver::from_owned_fd(it.reader).map_err(|error| {
        signal_group(it.pid, Signal::Kill);
        LaunchError::new(LaunchStep::Start, format!("cannot read its output: {error}"))
    })?;
    tasks.spawn(copy_output(reader, it.writer, tasks.cancel.clone()));
    tasks.spawn(reap(it.child, it.oom_before, tell, Arc::clone(&marks), tasks.cancel.clone()));
    Ok(Running {
        id: format!("pid:{}", it.pid),
        name: String::new(),
        started_at: jiff::Timestamp::now().to_string(),
        started: Instant::now(),
        create_s: 0.0,
        start_s: 0.0,
        base_urls: Vec::new(),
        server_port: 0,
        log: attempt_log,
        death,
        tasks,
        marks,
        body: Body::Process { pid: it.pid, pid_file: it.pid_file, facts: it.facts },
    })
}

/// One pipe for both streams keeps their order. It ends when the last process of the group has closed it.
async fn copy_output(mut reader: pipe::Receiver, mut writer: LogWriter, cancel: CancellationToken) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = tokio::select! {
            biased;
            read = reader.read(&mut buffer) => read,
            () = cancel.cancelled() => return,
        };
        match read {
            Ok(0) | Err(_) => return,
            Ok(bytes) => writer.write(&buffer[..bytes]),
        }
    }
}

async fn reap(
    mut child: Child,
    oom_before: Option<u64>,
    tell: watch::Sender<Option<ExitFacts>>,
    marks: Arc<Marks>,
    cancel: CancellationToken,
) {
    let status = tokio::select! {
        biased;
        status = child.wait() => status,
        () = cancel.cancelled() => return,
    };
    let asked_to_stop = marks.asked_to_stop.load(Ordering::Relaxed);
    let facts = match status {
        Ok(status) => exit_facts(status, asked_to_stop, oom_before, procfs::oom_kills()),
        Err(error) => ExitFacts { error: Some(error.to_string()), asked_to_stop, ..ExitFacts::default() },
    };
    tell.send_replace(Some(facts));
}

/// A death by signal n has the exit code 128 + n, as shells and Docker have it. A SIGKILL that nobody asked for, while the kernel's
/// counter of kills for memory rose, is such a kill.
fn exit_facts(status: ExitStatus, asked_to_stop: bool, oom_before: Option<u64>, oom_after: Option<u64>) -> ExitFacts {
    const SIGKILL: i32 = 9;
    let killed = status.signal() == Some(SIGKILL) && !asked_to_stop;
    let oom_killed = oom_before.zip(oom_after).map(|(before, after)| killed && after > before);
    ExitFacts {
        status: Some("exited".to_owned()),
        exit_code: status.code().or(status.signal().map(|signal| 128 + signal)).map(i64::from),
        oom_killed,
        error: status.signal().map(|signal| format!("killed by signal {signal}")),
        asked_to_stop,
    }
}

fn refuse_container_fields(service: &Service) -> Result<(), LaunchError> {
    let json = serde_json::to_value(service).unwrap_or_default();
    let present = json.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    let refused: Vec<&str> =
        present.map(|(name, _)| name.as_str()).filter(|name| !CARRIED_OVER.contains(name)).collect();
    if refused.is_empty() {
        return Ok(());
    }
    Err(LaunchError::new(LaunchStep::Prepare, format!("a local process cannot have {}", refused.join(", ")))
        .help("take them out of the deployment, or run it in Docker"))
}

fn argv(service: &Service) -> Result<Vec<String>, LaunchError> {
    let words: Vec<String> = service.entrypoint.iter().chain(&service.command).flatten().cloned().collect();
    if words.is_empty() {
        return Err(LaunchError::new(LaunchStep::Prepare, "the deployment names no command")
            .help("give it one, e.g. `[vllm, serve, MODEL]`"));
    }
    Ok(words)
}

fn working_dir(spec: &LaunchSpec) -> PathBuf {
    spec.project.working_dir.join(spec.service.working_dir.as_deref().unwrap_or_default())
}

/// Nothing may answer on the port before the start: a stale server must not be taken for ours.
pub(super) async fn refuse_a_taken_port(port: u16) -> Result<(), LaunchError> {
    if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        return Ok(());
    }
    let who = procfs::describe_listeners(port);
    Err(LaunchError::new(LaunchStep::Prepare, format!("port {port} is already in use{who}; address already in use"))
        .help("stop that server, or give this one another --port"))
}

/// What the process was started with, secrets masked.
fn describe(spec: &LaunchSpec, argv: &[String], pid: u32) -> serde_json::Value {
    let mut words = argv.to_vec();
    mask_arguments(&mut words);
    let pairs = effective_environment(&spec.service, &|name| std::env::var(name).ok());
    let mut environment: Vec<String> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    mask_environment(&mut environment);
    serde_json::json!({"pid": pid, "argv": words, "environment": environment, "working_dir": working_dir(spec)})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_containers_are_refused_by_name() {
        let service = Service {
            ipc: Some("host".into()),
            shm_size: Some("1".into()),
            command: Some(vec!["x".into()]),
            ..Service::default()
        };
        let error = refuse_container_fields(&service).unwrap_err();
        assert!(
            error.message.contains("ipc") && error.message.contains("shm_size") && !error.message.contains("command"),
            "{error}"
        );
    }

    #[test]
    fn a_death_by_signal_counts_as_memory_only_when_the_kernel_says_so() {
        let killed = ExitStatus::from_raw(9);
        let facts = exit_facts(killed, false, Some(1), Some(2));
        assert_eq!((facts.exit_code, facts.oom_killed), (Some(137), Some(true)));
        assert_eq!(exit_facts(killed, false, Some(1), Some(1)).oom_killed, Some(false));
        assert_eq!(exit_facts(killed, true, Some(1), Some(2)).oom_killed, Some(false));
        assert_eq!(exit_facts(killed, false, None, None).oom_killed, None);
        assert_eq!(exit_facts(ExitStatus::from_raw(3 << 8), false, None, None).exit_code, Some(3));
    }
}
