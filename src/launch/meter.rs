//! What a running server uses of the machine, and commands inside its container.

use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use bollard::models::ContainerStatsResponse;
use bollard::query_parameters::StatsOptions;
use futures_util::StreamExt;

use super::docker::DockerLauncher;
use super::error::{LaunchError, LaunchStep};
use super::launcher::Launcher;
use super::procfs;
use super::running::{Body, Running};

/// Ticks per second of the times in `/proc/<pid>/stat`: fixed in Linux's interface (`USER_HZ`).
const TICKS_PER_S: u64 = 100;

/// Output of a command in a container is kept up to here, bytes.
const MAX_OUTPUT_BYTES: usize = 1 << 20;

/// What a server has used so far and holds now; absent where the system does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time since its start, ns.
    pub cpu_ns: Option<u64>,
    /// Memory without file pages that the kernel may drop, bytes.
    pub memory_bytes: Option<u64>,
}

/// Looks at one running server again and again. Cheap to clone.
#[derive(Clone)]
pub struct Meter(Of);

#[derive(Clone)]
enum Of {
    Container { docker: DockerLauncher, id: String },
    Group(u32),
}

impl Launcher {
    /// A meter of a server that this launcher started.
    #[must_use]
    pub fn meter(&self, running: &Running) -> Option<Meter> {
        match (self, &running.body) {
            (Self::Docker(docker), _) => Some(Meter(Of::Container { docker: docker.clone(), id: running.id.clone() })),
            (Self::Process(_), Body::Process { pid, .. }) => Some(Meter(Of::Group(*pid))),
            (Self::Process(_), Body::Container) => None,
        }
    }

    /// Whether what it starts runs on this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Docker(docker) => docker.connection.address.is_local(),
            Self::Process(_) => true,
        }
    }
}

impl Meter {
    /// What the server uses now.
    ///
    /// # Errors
    /// The daemon does not answer, or the container is gone. A process that is gone uses nothing that could be said.
    pub async fn usage(&self) -> Result<Usage, LaunchError> {
        match &self.0 {
            Of::Container { docker, id } => docker.usage(id).await,
            Of::Group(group) => Ok(group_usage(*group)),
        }
    }

    /// The standard output of a command in the server's container.
    ///
    /// # Errors
    /// The container lacks the command, the command fails, or the server is no container.
    pub async fn output_inside(&self, command: &[&str]) -> Result<String, LaunchError> {
        match &self.0 {
            Of::Container { docker, id } => docker.output_inside(id, command).await,
            Of::Group(_) => Err(LaunchError::new(LaunchStep::Inspect, "the server is no container")),
        }
    }
}

impl DockerLauncher {
    async fn usage(&self, id: &str) -> Result<Usage, LaunchError> {
        let options = StatsOptions { stream: false, one_shot: true };
        let mut answers = Box::pin(self.connection.docker.stats(id, Some(options)));
        match answers.next().await {
            Some(Ok(stats)) => Ok(usage_of(&stats)),
            Some(Err(error)) => Err(LaunchError::api(LaunchStep::Inspect, &error)),
            None => Ok(Usage::default()),
        }
    }

    async fn output_inside(&self, id: &str, command: &[&str]) -> Result<String, LaunchError> {
        let api = |error: bollard::errors::Error| LaunchError::api(LaunchStep::Inspect, &error);
        let options = CreateExecOptions {
            cmd: Some(command.iter().map(|word| (*word).to_owned()).collect()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..CreateExecOptions::<String>::default()
        };
        let docker = &self.connection.docker;
        let exec = docker.create_exec(id, options).await.map_err(api)?.id;
        let mut text = String::new();
        if let StartExecResults::Attached { mut output, .. } =
            docker.start_exec(&exec, None::<StartExecOptions>).await.map_err(api)?
        {
            while let Some(piece) = output.next().await {
                let piece = piece.map_err(api)?;
                if text.len() < MAX_OUTPUT_BYTES {
                    text.push_str(&String::from_utf8_lossy(piece.as_ref()));
                }
            }
        }
        match docker.inspect_exec(&exec).await.map_err(api)?.exit_code {
            Some(0) => Ok(text),
            code => {
                let first = text.lines().next().unwrap_or("no output").to_owned();
                let code = code.map_or_else(|| "no exit code".to_owned(), |code| format!("exit code {code}"));
                Err(LaunchError::new(LaunchStep::Inspect, format!("`{}`: {code}: {first}", command.join(" "))))
            }
        }
    }
}

/// As `docker stats` shows it: memory without inactive file pages, whose name differs between cgroup v2 and v1. A container that does
/// not run is answered with zeros, which are no figures.
fn usage_of(stats: &ContainerStatsResponse) -> Usage {
    let cpu = stats.cpu_stats.as_ref().and_then(|cpu| cpu.cpu_usage.as_ref()).and_then(|usage| usage.total_usage);
    let memory = stats.memory_stats.as_ref().and_then(|memory| {
        let of = |name: &str| memory.stats.as_ref().and_then(|stats| stats.get(name)).copied();
        let droppable = of("inactive_file").or_else(|| of("total_inactive_file")).unwrap_or(0);
        Some(memory.usage?.saturating_sub(droppable))
    });
    Usage { cpu_ns: cpu.filter(|ns| *ns > 0), memory_bytes: memory.filter(|bytes| *bytes > 0) }
}

/// The sum over the living processes of a group; memory that they share counts once for each.
fn group_usage(group: u32) -> Usage {
    let members = procfs::group_members(group);
    let read = |pid: u32, file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let ticks: Vec<u64> = members.iter().filter_map(|p| cpu_ticks(&read(p.pid, "stat"))).collect();
    let kib: Vec<u64> = members.iter().filter_map(|p| resident_kib(&read(p.pid, "status"))).collect();
    let sum = |values: &[u64], factor: u64| (!values.is_empty()).then(|| values.iter().sum::<u64>() * factor);
    Usage { cpu_ns: sum(&ticks, 1_000_000_000 / TICKS_PER_S), memory_bytes: sum(&kib, 1024) }
}

/// User and system time of `/proc/<pid>/stat`, with those of its ended children, clock ticks. Format: proc(5).
fn cpu_ticks(text: &str) -> Option<u64> {
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    fields.get(11..15)?.iter().map(|ticks| ticks.parse::<u64>().ok()).sum()
}

/// `VmRSS` of `/proc/<pid>/status`, KiB.
fn resident_kib(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(json: serde_json::Value) -> ContainerStatsResponse {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn memory_is_without_inactive_files_in_both_cgroup_versions_and_zeros_are_no_figures() {
        for name in ["inactive_file", "total_inactive_file"] {
            let stats = stats(serde_json::json!({
                "cpu_stats": {"cpu_usage": {"total_usage": 5_000_000_000_u64}},
                "memory_stats": {"usage": 1000, "stats": {name: 300}},
            }));
            assert_eq!(usage_of(&stats), Usage { cpu_ns: Some(5_000_000_000), memory_bytes: Some(700) });
        }
        let stopped = stats(serde_json::json!({"cpu_stats": {"cpu_usage": {"total_usage": 0}}, "memory_stats": {}}));
        assert_eq!(usage_of(&stopped), Usage::default());
    }

    #[test]
    fn a_process_and_its_ended_children_are_counted() {
        let text = "42 (a b) c) S 1 40 40 0 -1 4194560 1 0 0 0 100 20 3 4 20 0 1 0 987654 0 0";
        assert_eq!(cpu_ticks(text), Some(127));
        assert_eq!(cpu_ticks("nonsense"), None);
        assert_eq!(resident_kib("Name:\tx\nVmRSS:\t   1234 kB\n"), Some(1_234));
        assert_eq!(resident_kib("Name:\tkthread\n"), None);
    }

    #[test]
    fn a_group_that_is_gone_has_no_usage() {
        assert_eq!(group_usage(u32::MAX - 1), Usage::default());
        let own = procfs::process(std::process::id()).unwrap().group;
        assert!(group_usage(own).memory_bytes.is_some_and(|bytes| bytes > 0));
    }
}
