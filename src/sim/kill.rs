//! The end that leaves no word: SIGKILL, by ourselves or by the kernel's OOM killer.

use rustix::process::{Signal, getpid, kill_process};

use super::fault::FaultKind;

/// The exit code of a process that SIGKILL ended, as a shell and Docker report it.
pub(super) const KILLED: i32 = 137;

/// Kills this process. Returns [`KILLED`] where the kernel does not: PID 1 of a container is immune to its own signals.
pub(super) fn die(kind: Option<FaultKind>) -> i32 {
    if kind == Some(FaultKind::HostOom)
        && let Some(limit) = cgroup_limit_bytes()
    {
        eat(limit);
    }
    let _ = kill_process(getpid(), Signal::KILL);
    KILLED
}

/// The memory limit of our cgroup (v2, then v1), when there is one.
fn cgroup_limit_bytes() -> Option<u64> {
    // v1 spells "no limit" as a number near 2^63.
    const NO_LIMIT: u64 = 1 << 46;
    ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .iter()
        .find_map(|path| std::fs::read_to_string(path).ok()?.trim().parse().ok())
        .filter(|limit| *limit < NO_LIMIT)
}

/// Fills memory up to twice the limit (swap may take some of it).
fn eat(limit_bytes: u64) {
    const CHUNK: usize = 16 << 20;
    let mut eaten = Vec::new();
    for i in 0..2 * limit_bytes / CHUNK as u64 + 1 {
        // A value that is not zero: zero pages cost nothing.
        eaten.push(vec![u8::try_from(i % 255).unwrap_or(0) + 1; CHUNK]);
    }
    drop(std::hint::black_box(eaten));
}
