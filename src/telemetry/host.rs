//! The machine's processors, memory and load, out of `/proc`.

use super::sampler::{Reader, Seen};
use super::series::{Reading, Series, Source};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

/// Reads the host. The busy shares are the difference to the reading before, so the first has none.
#[derive(Debug, Default)]
pub struct HostReader {
    before: Option<CpuTimes>,
    own_before: Option<u64>,
}

/// Clock ticks of all processors since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CpuTimes {
    busy: u64,
    total: u64,
}

impl Reader for HostReader {
    fn read(&mut self) -> BoxFuture<'_, Seen> {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let stat = text("/proc/stat");
        let (now, own_now) = (cpu_times(&stat), own_ticks(&text("/proc/self/stat")));
        let cpu = self.before.zip(now).and_then(|(before, now)| busy_share(before, now));
        let own = self.before.zip(now).zip(self.own_before.zip(own_now));
        let own = own.and_then(|((before, now), (own_before, own))| {
            share(own.checked_sub(own_before)?, now.total.checked_sub(before.total)?)
        });
        (self.before, self.own_before) = (now, own_now);
        let (used, total) = memory(&text("/proc/meminfo")).unzip();
        let of = |series, value| Reading::of(Source::Host, series, value);
        let readings = [
            of(Series::HostCpu, cpu),
            of(Series::HostOwnCpu, own),
            of(Series::HostCpuCount, cpu_count(&stat)),
            of(Series::HostMemoryUsed, used),
            of(Series::HostMemoryTotal, total),
            of(Series::HostLoad, load(&text("/proc/loadavg"))),
        ];
        let seen = Seen { readings: readings.into_iter().flatten().collect(), ..Seen::default() };
        std::future::ready(seen).boxed()
    }
}

/// First line of `/proc/stat`, proc(5): user, nice, system, idle, iowait, irq, softirq, steal; guest time is in user.
fn cpu_times(text: &str) -> Option<CpuTimes> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().take(8).map_while(|t| t.parse().ok()).collect();
    let idle = ticks.get(3)?.saturating_add(ticks.get(4).copied().unwrap_or(0));
    let total = ticks.iter().fold(0u64, |sum, t| sum.saturating_add(*t));
    Some(CpuTimes { busy: total.saturating_sub(idle), total })
}

/// The busy share between two readings; none when no time passed or a counter fell (waiting for a disk may do that).
fn busy_share(before: CpuTimes, now: CpuTimes) -> Option<f64> {
    share(now.busy.checked_sub(before.busy)?, now.total.checked_sub(before.total)?)
}

fn share(part: u64, total: u64) -> Option<f64> {
    (total > 0).then(|| (part as f64 / total as f64).min(1.0))
}

/// Processors: lines `cpu0`, `cpu1`, ... of `/proc/stat`.
fn cpu_count(text: &str) -> Option<f64> {
    let is_one =
        |line: &&str| line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let count = text.lines().filter(is_one).count();
    (count > 0).then_some(count as f64)
}

/// Clock ticks of this process so far, user and system: fields 14 and 15 of `/proc/self/stat`, proc(5), counted from behind the name,
/// which may hold anything.
fn own_ticks(text: &str) -> Option<u64> {
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some(ticks()?.saturating_add(ticks()?))
}

/// Memory in use (total - available) and in all, bytes, of `/proc/meminfo`.
fn memory(text: &str) -> Option<(f64, f64)> {
    let kib = |name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let (total, available) = (kib("MemTotal")?, kib("MemAvailable")?);
    Some((total.checked_sub(available)? as f64 * 1024.0, total as f64 * 1024.0))
}

/// The first figure of `/proc/loadavg`.
fn load(text: &str) -> Option<f64> {
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_busy_share_is_what_was_not_idle_between_two_readings() {
        let before = cpu_times("cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1 2 3 4\n").unwrap();
        let now = cpu_times("cpu  150 0 75 900 75 0 0 0 0 0\n").unwrap();
        assert_eq!(before, CpuTimes { busy: 150, total: 1_000 });
        assert!((busy_share(before, now).unwrap() - 75.0 / 200.0).abs() < 1e-12);
        assert_eq!(busy_share(now, now), None);
        assert_eq!(busy_share(now, before), None);
    }

    #[test]
    fn processors_and_the_ticks_of_this_process_are_counted() {
        assert_eq!(cpu_count("cpu  9 9\ncpu0 1 2\ncpu1 1 2\ncpu11 3\nintr 5\n"), Some(3.0));
        assert_eq!(cpu_count("cpu  9 9\n"), None);
        let stat = "42 (a ) b) R 1 2 3 4 5 6 7 8 9 10 150 25 7 8 20 0 1 0";
        assert_eq!(own_ticks(stat), Some(175));
        assert_eq!(own_ticks("42 (a) R 1"), None);
    }

    #[tokio::test]
    async fn the_load_is_what_the_kernel_says_at_that_moment() {
        let said = || load(&std::fs::read_to_string("/proc/loadavg").unwrap());
        let mut host = HostReader::default();
        // the kernel renews it every five seconds: between two equal looks it was the same
        let (truth, read) = loop {
            let before = said();
            let readings = host.read().await.readings;
            if said() == before {
                break (before.unwrap(), readings);
            }
        };
        let read = read.iter().find(|r| r.series == Series::HostLoad).unwrap();
        assert_eq!((read.source, read.value), (Source::Host, truth));
    }

    #[test]
    fn used_memory_is_what_is_not_available() {
        let text = "MemTotal:       1000 kB\nMemFree:         100 kB\nMemAvailable:    400 kB\n";
        assert_eq!(memory(text), Some((600.0 * 1024.0, 1000.0 * 1024.0)));
        assert_eq!(memory("MemTotal: 1000 kB\n"), None);
        assert_eq!(load("0.52 0.58 0.59 1/467 1\n"), Some(0.52));
    }

    #[tokio::test]
    async fn this_host_is_read_and_its_first_reading_has_no_busy_share() {
        let mut host = HostReader::default();
        let first = host.read().await.readings;
        assert!(first.iter().any(|r| r.series == Series::HostMemoryUsed && r.value > 0.0), "{first:?}");
        assert!(!first.iter().any(|r| r.series == Series::HostCpu));
    }

    proptest! {
        #[test]
        fn no_text_of_proc_makes_it_panic(text in "(cpu |MemTotal:|MemAvailable:)?[ 0-9a-z\n]{0,80}") {
            let _ = (cpu_times(&text), memory(&text), load(&text), cpu_count(&text), own_ticks(&text));
        }
    }
}
