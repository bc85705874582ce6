//! Words of the telemetry: what is sampled, of whom, and what went on meanwhile.

use std::fmt;

use crate::domain::{ScenarioKind, text_enum};

text_enum! {
    /// What is sampled, the unit last; the engine's own series have their own names. `docs/metrics.md` has a row for each.
    pub enum Series {
        /// Requests that the engine works on.
        Running = "vllm:num_requests_running",
        /// Requests that wait in the engine.
        Waiting = "vllm:num_requests_waiting",
        /// Share of the KV cache in use, 0 to 1; the largest over the engines.
        KvCacheUsage = "vllm:kv_cache_usage_perc",
        /// Requests thrown out of the KV cache so far.
        Preemptions = "vllm:num_preemptions_total",
        /// Tokens looked up in the prefix cache so far.
        PrefixQueries = "vllm:prefix_cache_queries_total",
        /// Tokens found in the prefix cache so far.
        PrefixHits = "vllm:prefix_cache_hits_total",
        /// Tokens that speculative decoding drafted so far.
        DraftTokens = "vllm:spec_decode_num_draft_tokens_total",
        /// Drafted tokens that were accepted so far.
        AcceptedTokens = "vllm:spec_decode_num_accepted_tokens_total",
        /// Memory in use on a GPU, by anyone.
        GpuMemoryUsed = "gpu_memory_used_bytes",
        /// Memory of a GPU.
        GpuMemoryTotal = "gpu_memory_total_bytes",
        /// Share of the time in which a kernel ran.
        GpuUtilization = "gpu_utilization_ratio",
        /// Share of the time in which the GPU's memory was read or written.
        GpuMemoryUtilization = "gpu_memory_utilization_ratio",
        /// Power drawn.
        GpuPower = "gpu_power_w",
        /// Temperature of the GPU.
        GpuTemperature = "gpu_temperature_c",
        /// Clock of the multiprocessors.
        GpuSmClock = "gpu_sm_clock_mhz",
        /// Clock of the memory.
        GpuMemoryClock = "gpu_memory_clock_mhz",
        /// Why the clocks are lowered: NVML's bit mask.
        GpuThrottleReasons = "gpu_throttle_reasons_bits",
        /// Memory held by processes that are not of the trial.
        GpuForeignMemory = "gpu_foreign_memory_bytes",
        /// Use of the multiprocessors by processes that are not of the trial.
        GpuForeignUtilization = "gpu_foreign_utilization_ratio",
        /// Processors that the server kept busy since the sample before.
        ContainerCpu = "container_cpu_cores",
        /// Memory of the server, without what the kernel may drop.
        ContainerMemory = "container_memory_bytes",
        /// Share of all the host's processors that was busy since the sample before.
        HostCpu = "host_cpu_ratio",
        /// Share of all the host's processors that vgrid itself used since the sample before.
        HostOwnCpu = "host_vgrid_cpu_ratio",
        /// Processors of the host.
        HostCpuCount = "host_cpus",
        /// Memory of the host that is not available.
        HostMemoryUsed = "host_memory_used_bytes",
        /// Memory of the host.
        HostMemoryTotal = "host_memory_total_bytes",
        /// Load average over one minute.
        HostLoad = "host_load_1m",
    }
}

impl Series {
    /// Whether a sample covers the time since the sample before, so that it belongs to nothing when something else began meanwhile.
    #[must_use]
    pub const fn is_rate(self) -> bool {
        matches!(self, Self::ContainerCpu | Self::HostCpu | Self::HostOwnCpu)
    }
}

/// Of whom a sample is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// The engine, by its `/metrics`.
    Engine,
    /// The server's container, or the group of a local process.
    Container,
    /// The machine that vgrid runs on.
    Host,
    /// A GPU by its index.
    Gpu(u32),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine => f.write_str("engine"),
            Self::Container => f.write_str("container"),
            Self::Host => f.write_str("host"),
            Self::Gpu(index) => write!(f, "gpu{index}"),
        }
    }
}

/// What went on when a sample was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tag {
    /// The server starts.
    Boot,
    /// It serves, and nobody asks.
    Idle,
    /// Prompts are being built; the engine is asked to count tokens.
    Preparing,
    /// Requests that are not measured.
    WarmUp,
    /// Measured requests of this scenario.
    Scenario(ScenarioKind),
    /// The server is being stopped.
    Teardown,
}

impl Tag {
    /// Its one text spelling: a scenario has its own.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::Idle => "idle",
            Self::Preparing => "preparing",
            Self::WarmUp => "warmup",
            Self::Scenario(kind) => kind.as_str(),
            Self::Teardown => "teardown",
        }
    }
}

/// One figure of one moment. What was not measured is no reading: never 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// Of whom.
    pub source: Source,
    /// What.
    pub series: Series,
    /// The figure, in the unit that the series' name ends with.
    pub value: f64,
}

impl Reading {
    /// A reading, when there is a finite figure.
    pub(super) fn of(source: Source, series: Series, value: Option<f64>) -> Option<Self> {
        value.filter(|v| v.is_finite()).map(|value| Self { source, series, value })
    }
}

/// Somebody else on a GPU that the trial uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignUse {
    /// The GPU's index.
    pub gpu: u32,
    /// Who, in words: name, process id, container.
    pub who: String,
}

/// What was seen at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Moment {
    /// Since the start of the attempt, ms.
    pub at_ms: f64,
    /// What went on.
    pub tag: Tag,
    /// The figures.
    pub readings: Vec<Reading>,
    /// Who else was on the GPUs.
    pub foreign: Vec<ForeignUse>,
}

#[cfg(test)]
impl Moment {
    pub fn value(&self, source: Source, series: Series) -> Option<f64> {
        self.readings.iter().find(|r| r.source == source && r.series == series).map(|r| r.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_has_a_row_in_the_document() {
        let document = include_str!("../../docs/metrics.md");
        for series in Series::ALL {
            assert!(document.contains(&format!("\n| `{series}` |")), "docs/metrics.md lacks {series}");
        }
    }

    #[test]
    fn what_is_not_a_number_is_no_reading() {
        assert_eq!(Reading::of(Source::Host, Series::HostLoad, Some(f64::NAN)), None);
        assert_eq!(Reading::of(Source::Host, Series::HostLoad, None), None);
        assert_eq!(Source::Gpu(3).to_string(), "gpu3");
        assert_eq!(Tag::Scenario(ScenarioKind::KvCache).as_str(), "kv_cache");
    }
}
