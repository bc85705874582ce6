//! Readers that ask somebody else: the engine, the container, the GPUs by whichever way works here.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::gpu::{GpuSnapshot, seen};
use super::gpu_set::GpuSet;
use super::nvml::{NvmlProblem, NvmlReader};
use super::owner::Trial;
use super::sampler::{Reader, Seen};
use super::series::{Reading, Series, Source};
use super::{dcgm, smi, vllm};

/// Asks for something again and again; the error is a sentence.
pub type Fetch<T> = Box<dyn Fn() -> BoxFuture<'static, Result<T, String>> + Send + Sync>;

/// So many refusals in a row end a way of asking that costs something.
const REFUSALS: u32 = 3;

/// Running `nvidia-smi` takes the container's own processors: not more often than this.
const SMI_INTERVAL: Duration = Duration::from_secs(5);

/// The engine's series, by the text of its `/metrics`. An engine that does not answer has no readings.
pub struct EngineReader(pub Fetch<String>);

impl Reader for EngineReader {
    fn read(&mut self) -> BoxFuture<'_, Seen> {
        async {
            let readings = (self.0)().await.map(|text| vllm::readings(&text)).unwrap_or_default();
            Seen { readings, ..Seen::default() }
        }
        .boxed()
    }
}

/// What a server has used so far and holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time since its start, ns.
    pub cpu_ns: Option<u64>,
    /// Memory without what the kernel may drop, bytes.
    pub memory_bytes: Option<u64>,
}

/// The container, or the local process's group.
pub struct ContainerReader {
    fetch: Fetch<Usage>,
    before: Option<(Instant, u64)>,
}

impl ContainerReader {
    /// Reads by `fetch`.
    #[must_use]
    pub fn new(fetch: Fetch<Usage>) -> Self {
        Self { fetch, before: None }
    }
}

impl Reader for ContainerReader {
    fn read(&mut self) -> BoxFuture<'_, Seen> {
        async {
            // A container that is gone has no usage.
            let usage = (self.fetch)().await.unwrap_or_default();
            let now = usage.cpu_ns.map(|ns| (Instant::now(), ns));
            let cores = self.before.zip(now).and_then(|(before, now)| cores(before, now));
            self.before = now;
            let memory = usage.memory_bytes.map(|bytes| bytes as f64);
            let of = |series, value| Reading::of(Source::Container, series, value);
            let readings = [of(Series::ContainerCpu, cores), of(Series::ContainerMemory, memory)];
            Seen { readings: readings.into_iter().flatten().collect(), ..Seen::default() }
        }
        .boxed()
    }
}

/// Processors kept busy between two looks; none when the time used fell: processes ended, or it is another container.
fn cores(before: (Instant, u64), now: (Instant, u64)) -> Option<f64> {
    let elapsed_s = now.0.duration_since(before.0).as_secs_f64();
    let used_s = now.1.checked_sub(before.1)? as f64 / 1e9;
    (elapsed_s > 0.0).then(|| used_s / elapsed_s)
}

/// The ways to the GPUs' figures.
#[derive(Default)]
pub struct GpuWays {
    /// A DCGM exporter: asked and nothing else, when it is given.
    pub dcgm: Option<Fetch<String>>,
    /// Whether NVML is looked for on this machine.
    pub nvml: bool,
    /// The library, instead of the driver's own.
    pub nvml_library: Option<PathBuf>,
    /// `nvidia-smi` in the server's container: asked when NVML is of no use.
    pub smi: Option<Fetch<String>>,
}

/// The GPUs that a trial uses.
pub struct GpuReader {
    ways: GpuWays,
    set: GpuSet,
    trial: Trial,
    state: State,
    refusals: u32,
    asked: Option<Instant>,
}

enum State {
    Undecided,
    Nvml(NvmlReader),
    Dcgm,
    Smi,
    Nothing,
}

impl GpuReader {
    /// Reads the GPUs of `set`; processes of `trial` are not foreign.
    #[must_use]
    pub fn new(ways: GpuWays, set: GpuSet, trial: Trial) -> Self {
        Self { ways, set, trial, state: State::Undecided, refusals: 0, asked: None }
    }

    async fn look(&mut self) -> Seen {
        if matches!(self.state, State::Undecided) {
            self.state = self.decide();
        }
        match &mut self.state {
            State::Undecided | State::Nothing => Seen::default(),
            State::Nvml(nvml) => match nvml.snapshot().await {
                Ok(snapshot) => self.seen(snapshot),
                Err(problem) => self.without_nvml(&problem),
            },
            State::Dcgm => match &self.ways.dcgm {
                Some(fetch) => match fetch().await {
                    Ok(text) => self.seen(dcgm::parse(&text)),
                    Err(why) => problem(format!("the DCGM exporter does not answer: {why}")),
                },
                None => Seen::default(),
            },
            State::Smi => self.ask_smi().await,
        }
    }

    fn decide(&self) -> State {
        if self.set == GpuSet::None {
            return State::Nothing;
        }
        if self.ways.dcgm.is_some() {
            return State::Dcgm;
        }
        if self.ways.nvml
            && let Ok(nvml) = NvmlReader::start(self.ways.nvml_library.as_deref())
        {
            return State::Nvml(nvml);
        }
        if self.ways.smi.is_some() { State::Smi } else { State::Nothing }
    }

    /// A thread that hangs is asked again; a library that cannot be used is not.
    fn without_nvml(&mut self, why: &NvmlProblem) -> Seen {
        if *why == NvmlProblem::Hangs {
            return problem(why.to_string());
        }
        self.state = if self.ways.smi.is_some() { State::Smi } else { State::Nothing };
        let is_named = self.ways.nvml_library.is_some();
        match why {
            // A host without a driver, and nobody said there was one.
            NvmlProblem::NoLibrary(_) if !is_named => Seen::default(),
            NvmlProblem::NoLibrary(_) | NvmlProblem::Refused(_) | NvmlProblem::Hangs => problem(why.to_string()),
        }
    }

    async fn ask_smi(&mut self) -> Seen {
        let Some(fetch) = &self.ways.smi else { return Seen::default() };
        if self.asked.is_some_and(|at| at.elapsed() < SMI_INTERVAL) {
            return Seen::default();
        }
        self.asked = Some(Instant::now());
        match fetch().await {
            Ok(text) => {
                self.refusals = 0;
                // The container sees its own GPUs only, numbered anew.
                let trial = Trial::Unknown;
                seen(smi::parse(&text), &trial)
            }
            Err(why) => {
                self.refusals += 1;
                if self.refusals >= REFUSALS {
                    self.state = State::Nothing;
                    return problem(format!("no GPU figures: nvidia-smi in the container: {why}"));
                }
                Seen::default()
            }
        }
    }

    fn seen(&self, mut snapshot: GpuSnapshot) -> Seen {
        let positions = self.set.positions(&snapshot.gpus);
        let mut at = 0;
        snapshot.gpus.retain(|_| {
            at += 1;
            positions.contains(&(at - 1))
        });
        seen(snapshot, &self.trial)
    }
}

fn problem(sentence: String) -> Seen {
    Seen { problems: vec![sentence], ..Seen::default() }
}

impl Reader for GpuReader {
    fn read(&mut self) -> BoxFuture<'_, Seen> {
        self.look().boxed()
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        async move {
            if let State::Nvml(nvml) = self.state {
                nvml.close().await;
            }
        }
        .boxed()
    }
}
