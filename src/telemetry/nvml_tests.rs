//! NVML's loader against a stand-in library whose answers are scripted; no GPU was there to test it with.

use std::path::{Path, PathBuf};
use std::process::Command;

use futures_util::FutureExt;

use super::gpu::{Gpu, GpuSnapshot, MIB, seen};
use super::gpu_set::GpuSet;
use super::nvml::{NvmlProblem, NvmlReader};
use super::owner::Trial;
use super::readers::{GpuReader, GpuWays};
use super::sampler::Reader;
use super::series::{Series, Source};

/// A compiled stand-in with its script.
pub(crate) struct StandIn {
    folder: tempfile::TempDir,
}

impl StandIn {
    pub(crate) fn new(script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let it = Self { folder };
        it.write(script);
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/nvml/nvml.c");
        let define = format!("-DSCRIPT=\"{}\"", it.folder.path().join("script").display());
        let output = Command::new("cc")
            .args(["-shared", "-fPIC", "-Wall", "-Werror", "-o"])
            .arg(it.library())
            .arg(define)
            .arg(source)
            .output()
            .expect("`cc` is needed to build the stand-in");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        it
    }

    /// What it answers from now on.
    pub(crate) fn write(&self, script: &str) {
        // Renamed into place: a half-written script is never read.
        let new = self.folder.path().join("new");
        std::fs::write(&new, script).unwrap();
        std::fs::rename(new, self.folder.path().join("script")).unwrap();
    }

    pub(crate) fn library(&self) -> PathBuf {
        self.folder.path().join("libnvidia-ml.so")
    }

    fn open(&self) -> NvmlReader {
        NvmlReader::start(Some(&self.library())).unwrap()
    }
}

const FULL: &str = "count 2\n0.uuid GPU-aa\n0.used 22548578304\n0.total 25769803776\n0.gpu 97\n0.memory 61\n0.mw 347210\n0.c 71\n\
                    0.sm 1695\n0.mem 9501\n0.throttle 0x24\n1.uuid GPU-bb\n1.used 1048576\n1.total 25769803776\n";

async fn look(nvml: &mut NvmlReader) -> GpuSnapshot {
    nvml.snapshot().await.unwrap()
}

#[tokio::test]
async fn every_figure_comes_through_in_its_unit_and_what_a_gpu_lacks_is_absent() {
    let stand_in = StandIn::new(FULL);
    let mut nvml = stand_in.open();
    let snapshot = look(&mut nvml).await;
    assert_eq!(snapshot.problems, [] as [String; 0]);
    let full = Gpu {
        index: 0,
        uuid: "GPU-aa".to_owned(),
        memory_used_bytes: Some(21.0 * 1024.0 * MIB),
        memory_total_bytes: Some(24.0 * 1024.0 * MIB),
        utilization_ratio: Some(0.97),
        memory_utilization_ratio: Some(0.61),
        power_w: Some(347.21),
        temperature_c: Some(71.0),
        sm_clock_mhz: Some(1_695.0),
        memory_clock_mhz: Some(9_501.0),
        throttle_bits: Some(0x24),
        processes: Some(Vec::new()),
    };
    let bare = Gpu {
        index: 1,
        uuid: "GPU-bb".to_owned(),
        memory_used_bytes: Some(MIB),
        memory_total_bytes: full.memory_total_bytes,
        processes: Some(Vec::new()),
        ..Gpu::default()
    };
    assert_eq!(snapshot.gpus, [full, bare]);
    nvml.close().await;
}

#[tokio::test]
async fn a_gpu_that_is_lost_in_the_middle_is_a_problem_and_the_other_is_measured_on() {
    let stand_in = StandIn::new(FULL);
    let mut nvml = stand_in.open();
    assert_eq!(look(&mut nvml).await.gpus.len(), 2);
    stand_in.write(&format!("{FULL}0.lost 1\n"));
    let snapshot = look(&mut nvml).await;
    assert_eq!(snapshot.gpus.iter().map(|g| g.index).collect::<Vec<_>>(), [1]);
    assert!(snapshot.problems[0].starts_with("GPU 0 is not measured: device fell off the bus"), "{snapshot:?}");
    stand_in.write(FULL);
    assert_eq!(look(&mut nvml).await.gpus.len(), 2);
    nvml.close().await;
}

#[tokio::test]
async fn a_driver_that_was_updated_under_its_library_refuses_and_no_library_is_another_problem() {
    let stand_in = StandIn::new("init 18\ncount 1\n");
    let refused = stand_in.open().snapshot().await.unwrap_err();
    assert!(refused.to_string().contains("driver/library version mismatch"), "{refused}");
    let mut missing = NvmlReader::start(Some(Path::new("/no/such/libnvidia-ml.so"))).unwrap();
    assert!(matches!(missing.snapshot().await, Err(NvmlProblem::NoLibrary(_))));
    missing.close().await;
}

#[tokio::test]
async fn processes_are_listed_with_name_memory_and_use() {
    let own = std::process::id();
    let stand_in = StandIn::new(&format!("count 1\n0.process {own} 1048576 30\n0.process 4294967 2097152 -1\n"));
    let mut nvml = stand_in.open();
    let processes = look(&mut nvml).await.gpus.remove(0).processes.unwrap();
    assert_eq!((processes[0].pid, processes[0].memory_bytes, processes[0].sm_ratio), (own, Some(1 << 20), Some(0.3)));
    assert!(processes[0].owner.name.is_some());
    assert_eq!((processes[1].memory_bytes, processes[1].sm_ratio), (Some(2 << 20), None));
    assert_eq!(processes[1].owner.name, None, "no such process here");
    nvml.close().await;
}

#[tokio::test]
async fn somebody_elses_process_is_foreign_and_the_trials_own_is_not() {
    let mut other = Command::new("sleep").arg("60").spawn().unwrap();
    let pid = other.id();
    let script = format!("count 1\n0.uuid GPU-aa\n0.process {pid} 2147483648 40\n");
    let stand_in = StandIn::new(&script);
    let mut nvml = stand_in.open();
    let snapshot = look(&mut nvml).await;
    let foreign = |trial: &Trial| {
        let seen = seen(snapshot.clone(), trial);
        let value = |series| seen.readings.iter().find(|r| r.series == series).map(|r| r.value);
        (value(Series::GpuForeignMemory), value(Series::GpuForeignUtilization), seen.foreign)
    };
    let (memory, used, who) = foreign(&Trial::Container("0".repeat(64)));
    assert_eq!((memory, used), (Some(2_048.0 * MIB), Some(0.4)));
    assert_eq!(who[0].who, format!("sleep (pid {pid}) holds 2048 MiB"));
    let group = super::owner::Owner::of(pid).group.unwrap();
    let (memory, used, who) = foreign(&Trial::Group(group));
    assert_eq!((memory, used, who.len()), (Some(0.0), Some(0.0), 0));
    other.kill().unwrap();
    other.wait().unwrap();
    nvml.close().await;
}

#[tokio::test]
async fn a_reader_keeps_to_the_gpus_of_its_set() {
    let stand_in = StandIn::new(FULL);
    let ways = GpuWays { nvml: true, nvml_library: Some(stand_in.library()), ..GpuWays::default() };
    let mut reader = GpuReader::new(ways, GpuSet::Named(vec!["GPU-bb".to_owned()]), Trial::Unknown);
    let sources: Vec<Source> = reader.read().await.readings.iter().map(|r| r.source).collect();
    assert!(!sources.is_empty() && sources.iter().all(|s| *s == Source::Gpu(1)), "{sources:?}");
    Box::new(reader).close().await;
}

#[tokio::test]
async fn without_nvml_the_container_is_asked_and_one_that_refuses_is_said_once() {
    let smi = |answer: Result<&'static str, &'static str>| GpuWays {
        nvml: true,
        nvml_library: Some(PathBuf::from("/no/such/libnvidia-ml.so")),
        smi: Some(Box::new(move || std::future::ready(answer.map(str::to_owned).map_err(str::to_owned)).boxed())),
        ..GpuWays::default()
    };
    let line = "0, GPU-aa, 10, 20, 50, 5, 100.0, 60, 1000, 2000, 0x0000000000000000\n";
    let mut reader = GpuReader::new(smi(Ok(line)), GpuSet::All, Trial::Unknown);
    let first = reader.read().await;
    assert!(first.readings.is_empty() && first.problems[0].starts_with("NVML is not there"), "{first:?}");
    let second = reader.read().await;
    assert!(second.readings.iter().any(|r| r.series == Series::GpuMemoryUsed && r.value == 10.0 * MIB), "{second:?}");
}

#[tokio::test]
async fn an_exporter_that_is_given_is_asked_and_nothing_else() {
    let ways = GpuWays {
        dcgm: Some(Box::new(|| {
            std::future::ready(Ok("DCGM_FI_DEV_GPU_TEMP{gpu=\"0\",UUID=\"GPU-aa\"} 61\n".to_owned())).boxed()
        })),
        nvml: true,
        nvml_library: Some(PathBuf::from("/no/such/libnvidia-ml.so")),
        smi: None,
    };
    let mut reader = GpuReader::new(ways, GpuSet::All, Trial::Unknown);
    let seen = reader.read().await;
    assert_eq!((seen.readings.len(), seen.problems.len()), (1, 0), "{seen:?}");
}

#[tokio::test]
async fn a_trial_without_gpus_asks_nobody() {
    let ways = GpuWays { nvml: true, nvml_library: Some(PathBuf::from("/no/such.so")), ..GpuWays::default() };
    let mut reader = GpuReader::new(ways, GpuSet::None, Trial::Unknown);
    assert_eq!(reader.read().await, super::sampler::Seen::default());
}
