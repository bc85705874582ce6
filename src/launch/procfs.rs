//! Processes and their groups: signals, what `/proc` says of them, and who listens on a port.

use std::collections::HashSet;
use std::path::Path;

use rustix::process::{Pid, kill_process_group, test_kill_process_group};

/// One process as `/proc/<pid>/stat` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProcessStat {
    /// Process id.
    pub pid: u32,
    /// One letter: `R`, `S`, `Z`, ...
    pub state: char,
    /// Process group.
    pub group: u32,
    /// Start, clock ticks since boot: with the id it names a process for good.
    pub start_ticks: u64,
}

/// The process, when it exists.
pub(super) fn process(pid: u32) -> Option<ProcessStat> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Format: proc(5); the name in parentheses may hold anything, so the fields are counted from its last parenthesis.
fn parse_stat(text: &str) -> Option<ProcessStat> {
    let (head, tail) = text.rsplit_once(')')?;
    let fields: Vec<&str> = tail.split_whitespace().collect();
    Some(ProcessStat {
        pid: head.split_whitespace().next()?.parse().ok()?,
        state: fields.first()?.chars().next()?,
        group: fields.get(2)?.parse().ok()?,
        start_ticks: fields.get(19)?.parse().ok()?,
    })
}

/// All processes.
pub(super) fn all_processes() -> Vec<ProcessStat> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok().and_then(process)).collect()
}

/// Living processes (no zombies) of a group.
pub(super) fn group_members(group: u32) -> Vec<ProcessStat> {
    all_processes().into_iter().filter(|p| p.group == group && p.state != 'Z').collect()
}

/// A signal that ends a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// Please end.
    Term,
    /// End.
    Kill,
}

/// Sends a signal to a whole group; a group that is gone is fine.
pub(super) fn signal_group(group: u32, signal: Signal) {
    let signal = match signal {
        Signal::Term => rustix::process::Signal::TERM,
        Signal::Kill => rustix::process::Signal::KILL,
    };
    if let Some(group) = other_group(group) {
        let _ = kill_process_group(group, signal);
    }
}

/// Whether a group has a living process; zombies do not count where `/proc` tells them apart.
pub(super) fn group_is_alive(group: u32) -> bool {
    other_group(group).is_some_and(|group| test_kill_process_group(group).is_ok())
        && (!Path::new("/proc/self/stat").exists() || !group_members(group).is_empty())
}

/// A group that a signal may be sent to. Never 0 or 1: those are ourselves and everybody.
fn other_group(group: u32) -> Option<Pid> {
    i32::try_from(group).ok().filter(|group| *group > 1).and_then(Pid::from_raw)
}

/// How many processes the kernel has killed for memory since boot; `None` where it does not say. Source: `/proc/vmstat`.
pub(super) fn oom_kills() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/vmstat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

/// Whether the environment with which the process was started holds `NAME=value`; false when it may not be read.
pub(super) fn has_environment(pid: u32, name: &str, value: &str) -> bool {
    let wanted = format!("{name}={value}");
    std::fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|all| all.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes()))
}

/// Inodes of the sockets that listen on a TCP port. Format: `/proc/net/tcp`, proc(5); state 0A is LISTEN.
fn listening_inodes(port: u16) -> HashSet<u64> {
    let mut inodes = HashSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = std::fs::read_to_string(table).unwrap_or_default();
        inodes.extend(text.lines().skip(1).filter_map(|line| listening_inode(line, port)));
    }
    inodes
}

fn listening_inode(line: &str, port: u16) -> Option<u64> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (_, local_port) = fields.get(1)?.rsplit_once(':')?;
    let listens = *fields.get(3)? == "0A" && u16::from_str_radix(local_port, 16).ok()? == port;
    if listens { fields.get(9)?.parse().ok() } else { None }
}

/// Whether a process of the group listens on a TCP port; much cheaper than looking at everybody.
pub(super) fn group_listens(group: u32, port: u16) -> bool {
    let inodes = listening_inodes(port);
    !inodes.is_empty() && group_members(group).iter().any(|process| holds_socket(process.pid, &inodes))
}

/// Processes that listen on a TCP port, as far as this user may see them.
pub(super) fn listeners(port: u16) -> Vec<ProcessStat> {
    let inodes = listening_inodes(port);
    if inodes.is_empty() {
        return Vec::new();
    }
    all_processes().into_iter().filter(|process| holds_socket(process.pid, &inodes)).collect()
}

fn holds_socket(pid: u32, inodes: &HashSet<u64>) -> bool {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    entries.flatten().any(|entry| {
        let target = std::fs::read_link(entry.path()).unwrap_or_default();
        let text = target.to_string_lossy();
        let inode = text.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'));
        inode.and_then(|n| n.parse().ok()).is_some_and(|n: u64| inodes.contains(&n))
    })
}

/// ` by python3 (pid 12)`, or nothing when it cannot be seen who listens.
pub(super) fn describe_listeners(port: u16) -> String {
    let found: Vec<String> = listeners(port)
        .iter()
        .map(|process| {
            let name = std::fs::read_to_string(Path::new("/proc").join(process.pid.to_string()).join("comm"))
                .unwrap_or_default();
            format!("{} (pid {})", name.trim(), process.pid)
        })
        .collect();
    if found.is_empty() { String::new() } else { format!(" by {}", found.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_blanks_does_not_shift_the_fields() {
        let text = "42 (a) b (c) S 1 40 40 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987654 0 0";
        assert_eq!(parse_stat(text), Some(ProcessStat { pid: 42, state: 'S', group: 40, start_ticks: 987_654 }));
        assert_eq!(parse_stat("nonsense"), None);
    }

    #[test]
    fn this_very_process_is_seen_listening() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(listeners(port).iter().any(|p| p.pid == std::process::id()));
        assert!(describe_listeners(port).contains(&format!("pid {}", std::process::id())));
        drop(listener);
        assert!(listeners(port).is_empty());
    }
}
