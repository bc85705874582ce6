//! Clean GPUs: a server starts only when the memory of its GPUs is back to what it was before the first trial.
//!
//! What the desktop or a neighbour held then counts as given and is named once. Nobody's process is touched.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::domain::{Cause, Evidence, ExitFacts, Failure, Phase};
use crate::launch::{self, Launcher};
use crate::telemetry::gpu::{Gpu, GpuProcess, GpuSnapshot};
use crate::telemetry::{NvmlProblem, NvmlReader};

use super::EngineError;
use super::observe::gpus_of;
use super::plan::PlannedConfig;
use super::sweep::Sweep;

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(500);
/// How long the driver may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Memory above the baseline that is no obstacle: a desktop repaints, a driver keeps its books.
const TOLERANCE_BYTES: f64 = 256.0 * MIB;
/// A fall between two looks below which memory counts as settled.
const SETTLED_BYTES: f64 = 32.0 * MIB;
/// Memory held before the first trial that is worth a word.
const WORTH_A_WORD_BYTES: f64 = 1024.0 * MIB;
const MIB: f64 = 1_048_576.0;
const GIB: f64 = 1024.0 * MIB;

/// What a sweep remembers of its GPUs.
#[derive(Debug, Default)]
pub(super) struct GpuBaseline {
    /// Bytes in use before the first trial, the least that was seen since; by the GPU's identity.
    in_use: BTreeMap<String, f64>,
    /// It was said that nothing can be looked at.
    told: bool,
}

/// A GPU whose memory did not come back.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Busy {
    /// Its index.
    index: u32,
    /// Bytes in use now, before the first trial, and in all.
    in_use: f64,
    baseline: f64,
    total: Option<f64>,
    /// Who holds it, the most first.
    holders: Vec<GpuProcess>,
}

/// How the wait ended.
pub(super) enum GpuWait {
    /// The memory is free, or nothing can be looked at.
    Free,
    /// The limit passed; GPUs, and who holds them in words.
    Busy(Vec<Busy>, Vec<String>),
    /// We were told to stop.
    Cancelled,
}

impl GpuBaseline {
    /// What an earlier run of the sweep found, by the GPU's identity.
    pub(super) fn known(in_use: BTreeMap<String, f64>) -> Self {
        Self { in_use, told: false }
    }

    /// What stands in the way of a start: GPUs with more memory in use than before the first trial. A GPU that is seen for the first
    /// time sets its baseline.
    fn busy(&mut self, gpus: &[Gpu]) -> Vec<Busy> {
        let mut busy = Vec::new();
        for gpu in gpus {
            let Some(in_use) = gpu.memory_used_bytes else { continue };
            let baseline = self.in_use.entry(identity(gpu)).or_insert(in_use);
            *baseline = baseline.min(in_use);
            if in_use > *baseline + TOLERANCE_BYTES {
                let mut holders = gpu.processes.clone().unwrap_or_default();
                holders.retain(|p| p.pid != std::process::id());
                holders.sort_by_key(|p| std::cmp::Reverse(p.memory_bytes));
                let total = gpu.memory_total_bytes;
                busy.push(Busy { index: gpu.index, in_use, baseline: *baseline, total, holders });
            }
        }
        busy
    }

    fn knows_all(&self, gpus: &[Gpu]) -> bool {
        gpus.iter().all(|gpu| self.in_use.contains_key(&identity(gpu)))
    }
}

/// Its universal identity; its index where the driver does not say one.
fn identity(gpu: &Gpu) -> String {
    if gpu.uuid.is_empty() { gpu.index.to_string() } else { gpu.uuid.clone() }
}

impl Busy {
    /// `GPU 0: 9.0 of 24.0 GiB are in use, 1.0 before the first trial`, and who holds them.
    fn describe(&self, holders: &[String]) -> String {
        let mut text = format!("GPU {}: {:.1}", self.index, self.in_use / GIB);
        if let Some(total) = self.total {
            let _ = write!(text, " of {:.1}", total / GIB);
        }
        let _ = write!(text, " GiB are in use, {:.1} before the first trial", self.baseline / GIB);
        match holders {
            [] => text.push_str(
                "; the driver names no process: a context that is not torn down yet, or one in another machine",
            ),
            [..] => {
                let _ = write!(text, ": {}", holders.join(", "));
            }
        }
        text
    }
}

/// Waits until the GPUs of a config are as free as before the first trial, for the grid's `limits.gpu_free`.
///
/// # Errors
/// The database is gone.
pub(super) async fn wait(sweep: &mut Sweep, planned: &PlannedConfig, trial: &str) -> Result<GpuWait, EngineError> {
    let set = gpus_of(&sweep.launcher, &planned.service);
    if set == crate::telemetry::gpu_set::GpuSet::None || !sweep.launcher.is_local() {
        return Ok(GpuWait::Free);
    }
    let library = sweep.planner.grid.telemetry.nvml_library.as_ref().map(|file| file.value.clone());
    let expected = library.is_some() || launch::wants_gpu(&planned.service);
    let mut nvml = match NvmlReader::start(library.as_deref()) {
        Ok(nvml) => nvml,
        Err(problem) => return unchecked(sweep, expected, &problem.to_string()),
    };
    let waited = wait_with(&mut nvml, &set, sweep, trial).await;
    nvml.close().await;
    match waited? {
        Ok(wait) => Ok(wait),
        Err(problem) => unchecked(sweep, expected, &problem),
    }
}

/// Nothing can be looked at: said once, where somebody counts on it.
fn unchecked(sweep: &mut Sweep, expected: bool, why: &str) -> Result<GpuWait, EngineError> {
    if expected && !sweep.gpu_baseline.told {
        sweep.gpu_baseline.told = true;
        sweep.warn(format!("whether the GPUs' memory is free before a start is not checked: {why}"))?;
    }
    Ok(GpuWait::Free)
}

/// The inner error is why nothing can be looked at.
async fn wait_with(
    nvml: &mut NvmlReader,
    set: &crate::telemetry::gpu_set::GpuSet,
    sweep: &mut Sweep,
    trial: &str,
) -> Result<Result<GpuWait, String>, EngineError> {
    let limit = sweep.planner.grid.limits.gpu_free;
    let until = Instant::now() + limit;
    let mut told = false;
    let mut before: Option<f64> = None;
    loop {
        let gpus = match look(nvml, set).await {
            Ok(gpus) => gpus,
            Err(why) => return Ok(Err(why)),
        };
        // The first look of the sweep comes right after production was taken aside: its memory may still be on its way back.
        if !sweep.gpu_baseline.knows_all(&gpus) {
            let sum: f64 = gpus.iter().filter_map(|g| g.memory_used_bytes).sum();
            let settled = before.is_some_and(|b| b - sum < SETTLED_BYTES);
            before = Some(sum);
            if !settled && Instant::now() < until {
                if pause(sweep).await {
                    return Ok(Ok(GpuWait::Cancelled));
                }
                continue;
            }
            tell_baseline(sweep, &gpus).await?;
        }
        let known = sweep.gpu_baseline.in_use.clone();
        let busy = sweep.gpu_baseline.busy(&gpus);
        if sweep.gpu_baseline.in_use != known {
            sweep.store.save_gpu_baseline(sweep.id, &sweep.gpu_baseline.in_use)?;
        }
        if busy.is_empty() {
            return Ok(Ok(GpuWait::Free));
        }
        let mut sentences = Vec::new();
        for gpu in &busy {
            sentences.push(gpu.describe(&holders(&sweep.launcher, &gpu.holders).await));
        }
        if Instant::now() >= until {
            return Ok(Ok(GpuWait::Busy(busy, sentences)));
        }
        if !told {
            told = true;
            let seconds = limit.as_secs_f64();
            sweep.warn(format!("{trial}: waits up to {seconds} s for the GPUs' memory: {}", sentences.join("; ")))?;
        }
        if pause(sweep).await {
            return Ok(Ok(GpuWait::Cancelled));
        }
    }
}

/// Waits a moment; whether we were told to stop.
async fn pause(sweep: &Sweep) -> bool {
    tokio::select! {
        () = sweep.cancel.cancelled() => true,
        () = tokio::time::sleep(INTERVAL) => false,
    }
}

/// The GPUs of the set, now.
async fn look(nvml: &mut NvmlReader, set: &crate::telemetry::gpu_set::GpuSet) -> Result<Vec<Gpu>, String> {
    let snapshot: GpuSnapshot = match tokio::time::timeout(PATIENCE, nvml.snapshot()).await {
        Ok(Ok(snapshot)) => snapshot,
        Ok(Err(problem)) => return Err(problem.to_string()),
        Err(_) => return Err(NvmlProblem::Hangs.to_string()),
    };
    let positions = set.positions(&snapshot.gpus);
    Ok(positions.iter().filter_map(|at| snapshot.gpus.get(*at)).cloned().collect())
}

/// Names who holds a good part of a GPU before the first trial: every trial will have that much less.
async fn tell_baseline(sweep: &mut Sweep, gpus: &[Gpu]) -> Result<(), EngineError> {
    for gpu in gpus.iter().filter(|g| g.memory_used_bytes.is_some_and(|b| b >= WORTH_A_WORD_BYTES)) {
        let who = holders(&sweep.launcher, gpu.processes.as_deref().unwrap_or_default()).await;
        let who = if who.is_empty() { String::new() } else { format!(": {}", who.join(", ")) };
        let (index, in_use) = (gpu.index, gpu.memory_used_bytes.unwrap_or_default() / GIB);
        sweep.warn(format!("GPU {index} is not empty before the first trial: {in_use:.1} GiB are in use{who}"))?;
    }
    Ok(())
}

/// Who they are, with the name of their container where Docker knows it.
async fn holders(launcher: &Launcher, processes: &[GpuProcess]) -> Vec<String> {
    let mut out = Vec::new();
    for process in processes.iter().take(MOST_HOLDERS) {
        let mut text = process.describe();
        if let (Some(id), Some(docker)) = (&process.owner.container, launcher.docker())
            && let Some(name) = docker.container_name(id).await
        {
            text = text.replacen("container ", &format!("container {name} "), 1);
        }
        out.push(text);
    }
    out
}

/// Holders that are named; the rest hold less.
const MOST_HOLDERS: usize = 5;

/// The failure of a start that found no free GPU.
pub(super) fn failure(busy: &[Busy], sentences: &[String], waited: Duration) -> Failure {
    let mut numbers = BTreeMap::new();
    let mut who = "whoever holds it".to_owned();
    if let Some(gpu) = busy.first() {
        numbers.insert("gpu_index".to_owned(), f64::from(gpu.index));
        numbers.insert("gpu_in_use_gib".to_owned(), round(gpu.in_use / GIB));
        numbers.insert("gpu_baseline_gib".to_owned(), round(gpu.baseline / GIB));
        numbers.extend(gpu.total.map(|total| ("total_gib".to_owned(), round(total / GIB))));
        if let Some(holder) = gpu.holders.first() {
            who = format!("{} (pid {})", holder.owner.name.as_deref().unwrap_or("the process"), holder.pid);
            numbers.insert("other_process_pid".to_owned(), f64::from(holder.pid));
            let held = holder.memory_bytes.map(|bytes| round(bytes as f64 / GIB));
            numbers.extend(held.map(|gib| ("other_process_in_use_gib".to_owned(), gib)));
        }
    }
    numbers.insert("waited_s".to_owned(), waited.as_secs_f64().round());
    let text = |text: &String| Evidence { line_number: None, text: text.clone() };
    Failure {
        phase: Phase::Prepare,
        stage: None,
        cause: Cause::GpuMemoryBusy,
        evidence: sentences.iter().map(text).collect(),
        numbers,
        remedy: format!(
            "stop {who}, or wait until the memory is back; vgrid waited {} s (limits.gpu_free)",
            waited.as_secs()
        ),
        transient: true,
        exit: ExitFacts::default(),
    }
}

/// Two decimals, as vLLM writes GiB.
fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(index: u32, in_use_mib: f64) -> Gpu {
        Gpu {
            index,
            uuid: format!("GPU-{index}"),
            memory_used_bytes: Some(in_use_mib * MIB),
            memory_total_bytes: Some(24.0 * GIB),
            ..Gpu::default()
        }
    }

    #[test]
    fn memory_above_the_first_look_is_busy_and_the_least_that_was_seen_is_the_measure() {
        let mut baseline = GpuBaseline::default();
        assert!(!baseline.knows_all(&[gpu(0, 900.0)]));
        assert_eq!(baseline.busy(&[gpu(0, 900.0), gpu(1, 4.0)]), []);
        assert!(baseline.knows_all(&[gpu(1, 0.0), gpu(0, 0.0)]));
        assert_eq!(baseline.busy(&[gpu(0, 1_100.0)]), [], "a desktop may repaint");
        let busy = baseline.busy(&[gpu(0, 1_200.0), gpu(1, 5_000.0)]);
        assert_eq!(busy.iter().map(|b| b.index).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(baseline.busy(&[gpu(0, 300.0)]), [], "the desktop was closed");
        assert_eq!(baseline.busy(&[gpu(0, 900.0)]).len(), 1);
        let unknown = Gpu { memory_used_bytes: None, ..gpu(0, 0.0) };
        assert_eq!(baseline.busy(&[unknown]), [], "what is not measured is no number");
    }

    #[test]
    fn the_failure_names_gpu_holder_and_numbers_and_implies_nothing_for_other_configs() {
        let holder = GpuProcess { pid: 77, owner: Default::default(), memory_bytes: Some(8 << 30), sm_ratio: None };
        let busy = Busy { index: 1, in_use: 9.0 * GIB, baseline: GIB, total: Some(24.0 * GIB), holders: vec![holder] };
        let sentence = busy.describe(&["python3 (pid 77, container other 0123456789ab) holds 8192 MiB".to_owned()]);
        assert_eq!(
            sentence,
            "GPU 1: 9.0 of 24.0 GiB are in use, 1.0 before the first trial: python3 (pid 77, container other 0123456789ab) holds 8192 MiB"
        );
        let failure = failure(&[busy], &[sentence], Duration::from_secs(120));
        assert_eq!((failure.cause, failure.phase, failure.transient), (Cause::GpuMemoryBusy, Phase::Prepare, true));
        assert_eq!((failure.numbers["other_process_pid"], failure.numbers["gpu_in_use_gib"]), (77.0, 9.0));
        assert!(failure.remedy.contains("pid 77") && failure.remedy.contains("120 s"), "{}", failure.remedy);
        let settings = crate::domain::Settings::default();
        assert_eq!(crate::prune::implied(&failure, &settings, &settings), None);
    }
}
