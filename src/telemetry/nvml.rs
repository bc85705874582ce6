//! NVML, NVIDIA's own library, loaded at run time in a thread of its own: a driver that hangs then holds up nobody else.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};
use tokio::sync::{mpsc, oneshot};

use super::gpu::{Gpu, GpuProcess, GpuSnapshot};
use super::owner::Owner;

/// Names of the library, the driver's own first; the other one comes with development files.
const NAMES: [&str; 2] = ["libnvidia-ml.so.1", "libnvidia-ml.so"];

/// How long the thread may take to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why NVML is of no use here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NvmlProblem {
    /// There is no such library: a host without an NVIDIA driver.
    #[error("NVML is not there: {0}")]
    NoLibrary(String),
    /// The library is there and refuses, e.g. because the driver was updated and is not loaded yet.
    #[error("NVML cannot be used: {0}")]
    Refused(String),
    /// The thread does not answer: the driver hangs.
    #[error("NVML does not answer")]
    Hangs,
}

/// NVML at work.
#[derive(Debug)]
pub struct NvmlReader {
    ask: mpsc::Sender<oneshot::Sender<GpuSnapshot>>,
    /// Until it is known how the loading ended.
    opened: Option<oneshot::Receiver<Result<(), NvmlProblem>>>,
    thread: JoinHandle<()>,
    ended: oneshot::Receiver<()>,
}

impl NvmlReader {
    /// Begins to load and initialise the library: this file, or the driver's own. The first snapshot says how that went; without
    /// persistence mode a driver takes seconds.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(library: Option<&Path>) -> Result<Self, NvmlProblem> {
        let names: Vec<OsString> = match library {
            Some(path) => vec![path.as_os_str().to_owned()],
            None => NAMES.iter().map(OsString::from).collect(),
        };
        let (ask, asked) = mpsc::channel(1);
        let (tell_opened, opened) = oneshot::channel();
        let (tell_ended, ended) = oneshot::channel();
        let body = move || {
            match load(&names) {
                Ok(nvml) => {
                    let _ = tell_opened.send(Ok(()));
                    answer(&nvml, asked);
                }
                Err(problem) => {
                    let _ = tell_opened.send(Err(problem));
                }
            }
            let _ = tell_ended.send(());
        };
        let thread = std::thread::Builder::new()
            .name("nvml".to_owned())
            .spawn(body)
            .map_err(|e| NvmlProblem::Refused(format!("no thread for it: {e}")))?;
        Ok(Self { ask, opened: Some(opened), thread, ended })
    }

    /// All GPUs now. May be dropped; the thread then ends what it does and waits for the next question.
    ///
    /// # Errors
    /// The library cannot be used; the thread is still busy with an earlier question, or has died.
    pub async fn snapshot(&mut self) -> Result<GpuSnapshot, NvmlProblem> {
        if let Some(opened) = &mut self.opened {
            let result = opened.await.map_err(|_| NvmlProblem::Hangs)?;
            self.opened = None;
            result?;
        }
        let (tell, told) = oneshot::channel();
        self.ask.try_send(tell).map_err(|_| NvmlProblem::Hangs)?;
        told.await.map_err(|_| NvmlProblem::Hangs)
    }

    /// Ends the thread and waits for its end; one that hangs in the driver is left behind and ends with vgrid.
    pub async fn close(self) {
        drop(self.ask);
        if let Ok(Ok(())) = tokio::time::timeout(PATIENCE, self.ended).await {
            let _ = self.thread.join();
        }
    }
}

fn load(names: &[OsString]) -> Result<Nvml, NvmlProblem> {
    let mut missing = Vec::new();
    for name in names {
        match Nvml::builder().lib_path(name).init() {
            Ok(nvml) => return Ok(nvml),
            Err(NvmlError::LibloadingError(error)) => missing.push(error.to_string()),
            Err(error) => return Err(NvmlProblem::Refused(error.to_string())),
        }
    }
    Err(NvmlProblem::NoLibrary(missing.into_iter().next().unwrap_or_default()))
}

fn answer(nvml: &Nvml, mut asked: mpsc::Receiver<oneshot::Sender<GpuSnapshot>>) {
    let mut last_seen: HashMap<u32, u64> = HashMap::new();
    while let Some(tell) = asked.blocking_recv() {
        let _ = tell.send(look(nvml, &mut last_seen));
    }
}

fn look(nvml: &Nvml, last_seen: &mut HashMap<u32, u64>) -> GpuSnapshot {
    let mut snapshot = GpuSnapshot::default();
    let count = match nvml.device_count() {
        Ok(count) => count,
        Err(error) => {
            snapshot.problems.push(format!("NVML does not count the GPUs: {error}"));
            return snapshot;
        }
    };
    for index in 0..count {
        let looked = nvml.device_by_index(index).and_then(|device| look_at(&device, index, last_seen));
        match looked {
            Ok(gpu) => snapshot.gpus.push(gpu),
            Err(error) => snapshot.problems.push(format!("GPU {index} is not measured: {error}")),
        }
    }
    snapshot
}

/// A value that this GPU, driver or user has; absent when it is not supported, not permitted or not in this library.
fn supported<T>(result: Result<T, NvmlError>) -> Result<Option<T>, NvmlError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(
            NvmlError::NotSupported
            | NvmlError::NoPermission
            | NvmlError::NotFound
            | NvmlError::FailedToLoadSymbol(_)
            | NvmlError::FunctionNotFound,
        ) => Ok(None),
        Err(error) => Err(error),
    }
}

fn look_at(device: &Device<'_>, index: u32, last_seen: &mut HashMap<u32, u64>) -> Result<Gpu, NvmlError> {
    let memory = supported(device.memory_info())?;
    let utilization = supported(device.utilization_rates())?;
    let ratio = |percent: u32| f64::from(percent) / 100.0;
    Ok(Gpu {
        index,
        uuid: supported(device.uuid())?.unwrap_or_default(),
        memory_used_bytes: memory.as_ref().map(|m| m.used as f64),
        memory_total_bytes: memory.as_ref().map(|m| m.total as f64),
        utilization_ratio: utilization.as_ref().map(|u| ratio(u.gpu)),
        memory_utilization_ratio: utilization.as_ref().map(|u| ratio(u.memory)),
        power_w: supported(device.power_usage())?.map(|mw| f64::from(mw) / 1_000.0),
        temperature_c: supported(device.temperature(TemperatureSensor::Gpu))?.map(f64::from),
        sm_clock_mhz: supported(device.clock_info(Clock::SM))?.map(f64::from),
        memory_clock_mhz: supported(device.clock_info(Clock::Memory))?.map(f64::from),
        throttle_bits: supported(device.current_throttle_reasons())?.map(|reasons| reasons.bits()),
        // A list that fails costs the list: a GPU that is lost has failed above.
        processes: processes(device, index, last_seen).unwrap_or(None),
    })
}

/// Everybody with a compute or a graphics context; absent when the driver lists neither.
fn processes(
    device: &Device<'_>,
    index: u32,
    last_seen: &mut HashMap<u32, u64>,
) -> Result<Option<Vec<GpuProcess>>, NvmlError> {
    let compute = supported(device.running_compute_processes())?;
    let graphics = supported(device.running_graphics_processes())?;
    if compute.is_none() && graphics.is_none() {
        return Ok(None);
    }
    let since = last_seen.get(&index).copied();
    let used = supported(device.process_utilization_stats(since))?.unwrap_or_default();
    if let Some(latest) = used.iter().map(|sample| sample.timestamp).max() {
        last_seen.insert(index, latest);
    }
    let mut found: Vec<GpuProcess> = Vec::new();
    for info in compute.into_iter().chain(graphics).flatten() {
        if found.iter().any(|p| p.pid == info.pid) {
            continue; // it computes and draws
        }
        let sm = used.iter().filter(|s| s.pid == info.pid).map(|s| s.sm_util).max();
        found.push(GpuProcess {
            pid: info.pid,
            owner: Owner::of(info.pid),
            memory_bytes: match info.used_gpu_memory {
                UsedGpuMemory::Used(bytes) => Some(bytes),
                UsedGpuMemory::Unavailable => None,
            },
            sm_ratio: sm.map(|percent| f64::from(percent) / 100.0),
        });
    }
    Ok(Some(found))
}
