//! What the GPUs say at one moment, from whatever source, and the readings that follow from it.

use super::owner::{Owner, Trial};
use super::sampler::Seen;
use super::series::{ForeignUse, Reading, Series, Source};

/// All GPUs at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GpuSnapshot {
    /// The GPUs that answered, by index.
    pub gpus: Vec<Gpu>,
    /// What is wrong, in sentences.
    pub problems: Vec<String>,
}

/// One GPU at one moment. What it does not say is absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gpu {
    /// Its index as the source numbers it: the order of the PCI bus.
    pub index: u32,
    /// Its universal identity, `GPU-...`; empty where the source does not say.
    pub uuid: String,
    /// Memory in use by anyone, bytes.
    pub memory_used_bytes: Option<f64>,
    /// Its memory, bytes.
    pub memory_total_bytes: Option<f64>,
    /// Share of the time in which a kernel ran, 0 to 1.
    pub utilization_ratio: Option<f64>,
    /// Share of the time in which its memory was read or written, 0 to 1.
    pub memory_utilization_ratio: Option<f64>,
    /// Power drawn, W.
    pub power_w: Option<f64>,
    /// Temperature, °C.
    pub temperature_c: Option<f64>,
    /// Clock of the multiprocessors, MHz.
    pub sm_clock_mhz: Option<f64>,
    /// Clock of the memory, MHz.
    pub memory_clock_mhz: Option<f64>,
    /// Why its clocks are lowered: NVML's bit mask.
    pub throttle_bits: Option<u64>,
    /// Who uses it; absent where the source does not say.
    pub processes: Option<Vec<GpuProcess>>,
}

/// A process on a GPU.
#[derive(Clone, Debug, PartialEq)]
pub struct GpuProcess {
    /// Its id on the host.
    pub pid: u32,
    /// Its name and container, as far as `/proc` shows them.
    pub owner: Owner,
    /// Memory that it holds, bytes.
    pub memory_bytes: Option<u64>,
    /// Share of the multiprocessors that it used, 0 to 1.
    pub sm_ratio: Option<f64>,
}

impl GpuProcess {
    /// `Xorg (pid 1200, container 0123456789ab) holds 300 MiB`.
    #[must_use]
    pub fn describe(&self) -> String {
        let name = self.owner.name.as_deref().unwrap_or("a process");
        let container = self.owner.container.as_deref().and_then(|id| id.get(..12));
        let container = container.map(|id| format!(", container {id}")).unwrap_or_default();
        let memory = self.memory_bytes.map(|b| format!(" holds {:.0} MiB", b as f64 / MIB)).unwrap_or_default();
        format!("{name} (pid {}{container}){memory}", self.pid)
    }
}

/// Bytes of a MiB.
pub(super) const MIB: f64 = 1_048_576.0;

/// The readings of a snapshot; who of the processes belongs to `trial` is not foreign.
#[must_use]
pub fn seen(snapshot: GpuSnapshot, trial: &Trial) -> Seen {
    let mut seen = Seen { problems: snapshot.problems, ..Seen::default() };
    for gpu in &snapshot.gpus {
        let of = |series, value| Reading::of(Source::Gpu(gpu.index), series, value);
        let own = [
            of(Series::GpuMemoryUsed, gpu.memory_used_bytes),
            of(Series::GpuMemoryTotal, gpu.memory_total_bytes),
            of(Series::GpuUtilization, gpu.utilization_ratio),
            of(Series::GpuMemoryUtilization, gpu.memory_utilization_ratio),
            of(Series::GpuPower, gpu.power_w),
            of(Series::GpuTemperature, gpu.temperature_c),
            of(Series::GpuSmClock, gpu.sm_clock_mhz),
            of(Series::GpuMemoryClock, gpu.memory_clock_mhz),
            of(Series::GpuThrottleReasons, gpu.throttle_bits.map(|bits| bits as f64)),
        ];
        seen.readings.extend(own.into_iter().flatten());
        let Some(processes) = &gpu.processes else { continue };
        let foreign: Vec<&GpuProcess> = processes.iter().filter(|p| trial.is_foreign(p.pid, &p.owner)).collect();
        let memory: u64 = foreign.iter().filter_map(|p| p.memory_bytes).sum();
        let used: f64 = foreign.iter().filter_map(|p| p.sm_ratio).sum();
        seen.readings.extend(of(Series::GpuForeignMemory, Some(memory as f64)));
        // That nobody else used it is known only where somebody's use is.
        let is_told = processes.iter().any(|p| p.sm_ratio.is_some());
        seen.readings.extend(of(Series::GpuForeignUtilization, is_told.then_some(used)));
        seen.foreign.extend(foreign.iter().map(|p| ForeignUse { gpu: gpu.index, who: p.describe() }));
    }
    seen
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::telemetry) fn process(pid: u32, name: &str, container: Option<&str>, mib: u64) -> GpuProcess {
        let owner = Owner { name: Some(name.into()), container: container.map(str::to_owned), group: None };
        GpuProcess { pid, owner, memory_bytes: Some(mib << 20), sm_ratio: None }
    }

    #[test]
    fn what_a_gpu_does_not_say_is_no_reading_and_foreign_processes_are_named() {
        let ours = "a".repeat(64);
        let theirs = "b".repeat(64);
        let processes = vec![process(7, "python3", Some(&ours), 20_000), process(8, "blender", Some(&theirs), 300)];
        let gpu = Gpu { index: 1, memory_used_bytes: Some(5.0), processes: Some(processes), ..Gpu::default() };
        let snapshot = GpuSnapshot { gpus: vec![gpu, Gpu::default()], problems: vec!["lost".to_owned()] };
        let seen = seen(snapshot, &Trial::Container(ours));
        let series: Vec<Series> = seen.readings.iter().map(|r| r.series).collect();
        assert_eq!(series, [Series::GpuMemoryUsed, Series::GpuForeignMemory]);
        assert_eq!(seen.readings[1].value, 300.0 * MIB);
        assert_eq!(seen.foreign.len(), 1);
        assert_eq!(seen.foreign[0].who, "blender (pid 8, container bbbbbbbbbbbb) holds 300 MiB");
        assert_eq!(seen.problems, ["lost"]);
    }
}
