//! Facts about this machine that belong beside a sweep's numbers.

/// Host name, kernel, processors and memory, as far as the system says, and what starts the servers, in words.
pub(crate) fn facts(launcher: &str) -> serde_json::Value {
    let read = |path: &str| std::fs::read_to_string(path).ok().map(|t| t.trim().to_owned());
    let memory_kib = read("/proc/meminfo").and_then(|t| {
        let line = t.lines().find(|l| l.starts_with("MemTotal:"))?.to_owned();
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    });
    let model = read("/proc/cpuinfo").and_then(|t| {
        let line = t.lines().find(|l| l.starts_with("model name"))?.to_owned();
        Some(line.split(':').nth(1)?.trim().to_owned())
    });
    serde_json::json!({
        "hostname": read("/proc/sys/kernel/hostname"),
        "kernel": read("/proc/sys/kernel/osrelease"),
        "cpu_model": model,
        "cpu_count": std::thread::available_parallelism().ok().map(usize::from),
        "memory_bytes": memory_kib.map(|kib| kib * 1024),
        "launcher": launcher,
    })
}
