//! The telemetry: what engine, container, GPUs and host say while an attempt runs, sampled beside it and never in its way.

mod dcgm;
pub mod gpu;
pub mod gpu_set;
mod host;
mod judgement;
mod nvml;
mod owner;
mod readers;
mod sampler;
mod series;
mod smi;
mod summary;
mod vllm;

#[cfg(test)]
mod nvml_tests;

pub use host::HostReader;
pub use judgement::judge;
pub use nvml::{NvmlProblem, NvmlReader};
pub use owner::Trial;
pub use readers::{ContainerReader, EngineReader, Fetch, GpuReader, GpuWays, Usage};
pub use sampler::Sampler;
pub use series::{Moment, Reading, Series, Tag};
pub use smi::COMMAND as SMI_COMMAND;
