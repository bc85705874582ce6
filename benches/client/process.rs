//! What the kernel says of a process's time.

use serde::{Deserialize, Serialize};

/// Sums over the threads that live.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Times {
    /// On a processor, in user or kernel mode, us.
    pub cpu_us: f64,
    /// Ready to run, while others had the processor, us.
    pub waited_us: f64,
}

/// This process's.
pub fn times() -> Times {
    times_of("self")
}

/// From `/proc/PROCESS/task/*/schedstat`; `process` is a number, or `self`.
pub fn times_of(process: &str) -> Times {
    let tasks = format!("/proc/{process}/task");
    let mut times = Times { cpu_us: 0.0, waited_us: 0.0 };
    for task in std::fs::read_dir(tasks).expect("Linux, and a process that lives") {
        let Ok(text) = std::fs::read_to_string(task.expect("a thread").path().join("schedstat")) else { continue };
        let mut ns = text.split_ascii_whitespace().map(|field| field.parse::<f64>().expect("a number"));
        times.cpu_us += ns.next().expect("two fields") / 1_000.0;
        times.waited_us += ns.next().expect("two fields") / 1_000.0;
    }
    times
}
