//! Watches the client itself while it measures: a tired client must not pass its own slowness off as the server's.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::task::AbortOnDropHandle;

use crate::stats;

/// How often the runtime is asked to be punctual.
const PROBE_EVERY: Duration = Duration::from_millis(10);

/// A task may run so late at the 95th percentile before times are doubted, ms. The timer's own grain is 1 ms.
const MAX_LAG_P95_MS: f64 = 10.0;

/// Share of all cores that the client may use.
const MAX_CPU_RATIO: f64 = 0.85;

/// The signature of a saturated reader: most gaps are nothing, because several events were read at once...
const BURST_MEDIAN_MS: f64 = 0.05;

/// ...and a few are huge.
const BURST_P99_MS: f64 = 50.0;

/// A watch that is running.
#[derive(Debug)]
pub(super) struct SelfCheck {
    began: Instant,
    cpu_s: f64,
    lags_ms: Arc<Mutex<Vec<f64>>>,
    _probe: AbortOnDropHandle<()>,
}

/// What one watch saw, or several one after the other.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct SelfReport {
    /// CPU time of this process, s.
    cpu_s: f64,
    /// CPU time that there was: wall time x cores, s.
    available_s: f64,
    /// How late a punctual task ran, ms, one sample per probe.
    pub(super) lags_ms: Vec<f64>,
}

impl SelfCheck {
    pub(super) fn start() -> Self {
        let lags_ms = Arc::new(Mutex::new(Vec::new()));
        let probe = AbortOnDropHandle::new(tokio::spawn(probe(lags_ms.clone())));
        Self { began: Instant::now(), cpu_s: process_cpu_s(), lags_ms, _probe: probe }
    }

    pub(super) fn finish(self) -> SelfReport {
        let wall_s = self.began.elapsed().as_secs_f64();
        let cores = std::thread::available_parallelism().map_or(1.0, |n| n.get() as f64);
        let cpu_s = process_cpu_s() - self.cpu_s;
        let lags_ms = std::mem::take(&mut *self.lags_ms.lock().unwrap_or_else(PoisonError::into_inner));
        SelfReport { cpu_s, available_s: wall_s * cores, lags_ms }
    }
}

impl SelfReport {
    /// CPU time of this process over wall time and cores, 0 to 1; `None` of no watch.
    pub(super) fn cpu_ratio(&self) -> Option<f64> {
        (self.available_s > 0.0).then(|| self.cpu_s / self.available_s)
    }

    /// Adds what a later watch saw.
    pub(super) fn add(&mut self, later: Self) {
        self.cpu_s += later.cpu_s;
        self.available_s += later.available_s;
        self.lags_ms.extend(later.lags_ms);
    }

    /// Why the client's times are doubtful, with the gaps between tokens that it saw; empty when they are not.
    pub(super) fn doubts(&self, gaps_ms: &[f64]) -> Vec<String> {
        let mut doubts = Vec::new();
        if let Some(share) = self.cpu_ratio().filter(|share| *share > MAX_CPU_RATIO) {
            doubts.push(format!("the client used {:.0} % of all cores", share * 100.0));
        }
        if let Some(lag) = self.lag_p95_ms().filter(|lag| *lag > MAX_LAG_P95_MS) {
            doubts.push(format!(
                "the client's tasks ran {lag:.1} ms late (95th percentile): its machine is too busy to keep time"
            ));
        }
        let (middle, tail) = (stats::median(gaps_ms), stats::quantile(gaps_ms, 0.99));
        if let (Some(middle), Some(tail), true) = (middle, tail, gaps_ms.len() >= 100)
            && middle < BURST_MEDIAN_MS
            && tail > BURST_P99_MS
        {
            doubts.push(format!(
                "tokens arrived in bursts (median gap {middle:.3} ms, 99th percentile {tail:.0} ms): the client, or a proxy, holds them back"
            ));
        }
        doubts
    }

    /// 95th percentile of the lag, with at least 20 samples.
    pub(super) fn lag_p95_ms(&self) -> Option<f64> {
        stats::quantile(&self.lags_ms, 0.95).filter(|_| self.lags_ms.len() >= 20)
    }
}

/// Samples how late a task runs that wants to run now, until it is dropped.
async fn probe(lags_ms: Arc<Mutex<Vec<f64>>>) {
    loop {
        let due = Instant::now() + PROBE_EVERY;
        tokio::time::sleep_until(due.into()).await;
        let late_ms = Instant::now().saturating_duration_since(due).as_secs_f64() * 1_000.0;
        lags_ms.lock().unwrap_or_else(PoisonError::into_inner).push(late_ms);
    }
}

/// CPU time of this process so far, ended threads included, s. The kernel counts it in ns; the ticks of `/proc` are 10 ms, which
/// is nothing at all in a short point.
fn process_cpu_s() -> f64 {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(cpu: f64, lag: f64) -> SelfReport {
        SelfReport { cpu_s: cpu, available_s: 1.0, lags_ms: vec![lag; 30] }
    }

    #[test]
    fn each_sign_of_saturation_raises_its_own_doubt() {
        let steady = vec![20.0; 200];
        assert!(report(0.2, 1.5).doubts(&steady).is_empty());
        assert!(report(0.95, 1.5).doubts(&steady)[0].contains("95 %"));
        assert!(report(0.2, 40.0).doubts(&steady)[0].contains("late"));
        let mut bursts = vec![0.001; 200];
        bursts[..10].fill(300.0);
        assert!(report(0.2, 1.5).doubts(&bursts)[0].contains("bursts"));
    }

    #[test]
    fn several_watches_are_one_report() {
        let mut both = SelfReport::default();
        assert_eq!((both.cpu_ratio(), both.lag_p95_ms()), (None, None));
        both.add(report(0.9, 1.0));
        both.add(SelfReport { cpu_s: 0.3, available_s: 3.0, lags_ms: vec![40.0; 90] });
        assert_eq!(both.cpu_ratio(), Some(0.3));
        assert_eq!(both.lag_p95_ms(), Some(40.0));
    }

    /// The kernel's account of this thread, s.
    fn thread_cpu_s() -> f64 {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
    }

    /// Works until this thread has used so much CPU time.
    fn burn(seconds: f64) {
        let until = thread_cpu_s() + seconds;
        while thread_cpu_s() < until {}
    }

    #[test]
    fn the_cpu_clock_counts_what_is_burnt_to_a_tenth_of_a_tick_of_proc() {
        // what a thread burns is a part of what the process does, of which nothing is lost when the thread ends
        let before = process_cpu_s();
        std::thread::spawn(|| burn(0.003)).join().unwrap();
        burn(0.003);
        let said = process_cpu_s() - before;
        assert!(said >= 0.006 - 0.001, "{said}");
    }

    #[tokio::test]
    async fn the_share_of_the_cores_is_what_was_used_of_them_and_a_short_watch_sees_it_too() {
        let cores = std::thread::available_parallelism().unwrap().get() as f64;
        let (check, began, before) = (SelfCheck::start(), Instant::now(), process_cpu_s());
        burn(0.004);
        tokio::time::sleep(PROBE_EVERY * 2).await;
        let (spent, wall) = (process_cpu_s() - before, began.elapsed().as_secs_f64());
        let report = check.finish();
        let said = report.cpu_ratio().unwrap();
        // the watch began a little earlier and ended a little later than the two looks
        assert!(said * wall * cores > 0.003, "{said} of {wall} s");
        assert!(said <= 1.0 + 1e-3 && report.available_s >= wall * cores, "{said}");
        assert!(report.cpu_s >= spent, "{report:?} and {spent}");
        assert!(!report.lags_ms.is_empty());
    }
}
