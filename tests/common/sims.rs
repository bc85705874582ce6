//! Which simulated engines run on this machine, as `/proc` tells it.

/// Process ids whose command line has all of these words.
pub fn processes_with(words: &[&str]) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    let matching = pids.filter(|pid| {
        // A zombie has an empty command line, and a process that ended meanwhile none.
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line: Vec<&[u8]> = line.split(|b| *b == 0).collect();
        words.iter().all(|word| line.contains(&word.as_bytes()))
    });
    matching.collect()
}

/// The simulated engines of this port.
pub fn sims_on(port: u16) -> Vec<u32> {
    processes_with(&["sim", "--port", &port.to_string()])
}
