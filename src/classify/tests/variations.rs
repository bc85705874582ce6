//! The same failure written by other processes, versions and tools keeps its cause.

use std::path::Path;
use std::sync::LazyLock;

use proptest::prelude::*;

use super::super::*;
use super::corpus::{Sample, samples};
use crate::domain::Cause;

/// The project's own samples, with the cause each gets unchanged.
static SAMPLES: LazyLock<Vec<(Sample, Cause)>> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // The shared samples where they are at hand.
    let folders = ["tests/fixtures/logs", "../shared/corpus", "../../shared/corpus"];
    let all = folders.iter().flat_map(|f| samples(&root.join(f)));
    all.map(|s| (cause_of(&s, &s.log), s)).map(|(cause, s)| (s, cause)).collect()
});

fn cause_of(sample: &Sample, log: &str) -> Cause {
    diagnose(log, sample.state().as_ref(), sample.phase()).cause
}

/// One way in which the same log may look different.
#[derive(Clone, Copy, Debug)]
enum Variation {
    Colours,
    NoColours,
    ComposePrefix,
    DockerTimes,
    OtherProcesses,
    OtherVersion,
    WindowsLineEnds,
    NulBytes,
    OtherWorkersBetween,
    EarlierBoot,
    BlankLines,
}

impl Variation {
    const ALL: [Self; 11] = [
        Self::Colours,
        Self::NoColours,
        Self::ComposePrefix,
        Self::DockerTimes,
        Self::OtherProcesses,
        Self::OtherVersion,
        Self::WindowsLineEnds,
        Self::NulBytes,
        Self::OtherWorkersBetween,
        Self::EarlierBoot,
        Self::BlankLines,
    ];

    fn apply(self, log: &str, seed: u32) -> String {
        let each = |f: &dyn Fn(usize, &str) -> String| {
            log.lines().enumerate().map(|(i, l)| f(i, l) + "\n").collect::<String>()
        };
        match self {
            Self::Colours => each(&|_, l| match l.split_once(')') {
                Some((head, tail)) if head.starts_with('(') => format!("\u{1b}[1;36m{head})\u{1b}[0;0m{tail}"),
                _ => l.to_owned(),
            }),
            Self::NoColours => each(&|_, l| crate::domain::engine_log::clean(l).into_owned()),
            Self::ComposePrefix => each(&|_, l| format!("my-vllm-1  | {l}")),
            Self::DockerTimes => each(&|i, l| format!("2026-11-24T02:38:{:02}.605835428Z {l}", i % 60)),
            Self::OtherProcesses => log
                .replace("pid=", &format!("pid={seed}"))
                .replace("(EngineCore ", "(EngineCore_DP3 ")
                .replace("(Worker ", "(Worker_TP7 "),
            Self::OtherVersion => log.replace("0.32.0", "0.11.2rc1").replace("core.py:1510", "core.py:708"),
            Self::WindowsLineEnds => log.replace('\n', "\r\n"),
            Self::NulBytes => each(&|i, l| if i % 7 == 3 { format!("\0\0{l}\0") } else { l.to_owned() }),
            Self::OtherWorkersBetween => each(&|i, l| {
                // Not inside a message of several lines of one process.
                let own = l.starts_with('(') && l.contains(" INFO ");
                let other = format!(
                    "(Worker_TP5 pid={seed}) INFO 11-24 02:38:40 [parallel_state.py:1445] rank {i} in world size 8 is assigned"
                );
                if own { format!("{l}\n{other}") } else { l.to_owned() }
            }),
            Self::EarlierBoot if log.contains("vLLM API server version") || log.contains("  version ") => {
                format!(
                    "INFO 11-24 02:00:00 [api_server.py:1] vLLM API server version 0.9.1\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB.\n{log}"
                )
            }
            Self::EarlierBoot => log.to_owned(),
            Self::BlankLines => each(&|i, l| if i % 5 == 0 { format!("\n{l}\n") } else { l.to_owned() }),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 96 } else { 512 }))]
    #[test]
    fn a_log_that_looks_different_keeps_its_cause(
        which in any::<prop::sample::Index>(),
        variations in prop::collection::vec(prop::sample::select(&Variation::ALL[..]), 1..4),
        seed in 10_u32..99_999,
    ) {
        let (sample, cause) = which.get(&SAMPLES);
        let log = variations.iter().fold(sample.log.clone(), |log, v| v.apply(&log, seed));
        prop_assert_eq!(cause_of(sample, &log), *cause, "{} with {:?}", sample.name, variations);
    }

    #[test]
    fn a_log_cut_before_or_behind_its_evidence_keeps_its_cause(which in any::<prop::sample::Index>(), cut in 0.0_f64..1.0, behind in 3_usize..40) {
        let (sample, cause) = which.get(&SAMPLES);
        let failure = diagnose(&sample.log, sample.state().as_ref(), sample.phase());
        // What the text decides stays; what state or the end decides needs the end.
        let by_text = !matches!(cause, Cause::Healthy | Cause::Stopped | Cause::EngineDead | Cause::HostOom | Cause::Unknown);
        prop_assume!(by_text);
        let lines: Vec<&str> = sample.log.lines().collect();
        let first = failure.evidence.iter().filter_map(|e| e.line_number).min();
        let last = failure.evidence.iter().filter_map(|e| e.line_number).max();
        prop_assume!(first.is_some());
        let (first, last) = (first.unwrap(), last.unwrap());
        let from = ((first - 1) as f64 * cut) as usize;
        let to = (last + behind).min(lines.len());
        let log = lines[from..to].join("\n");
        prop_assert_eq!(cause_of(sample, &log), *cause, "{} lines {} to {}", sample.name, from + 1, to);
    }

    #[test]
    fn no_text_and_no_state_makes_it_panic(
        log in "\\PC*|(CUDA out of memory|Process [0-9]+ has |vLLM API server version|KeyboardInterrupt|\r|\n|\u{1b}\\[|INFO 01-01 00:00:00 \\[a.py:1\\] |Tried to allocate|-?[0-9]{1,9}|--- Logging error ---|Arguments: )*",
        status in prop::option::of("created|running|exited|dead"),
        code in prop::option::of(-20_i64..260),
        oom in prop::option::of(any::<bool>()),
        error in "|\\PC{0,40}|bind: address already in use",
    ) {
        let state = serde_json::json!({ "Status": status, "ExitCode": code, "OOMKilled": oom, "Error": error });
        let failure = diagnose(&log, Some(&state), None);
        prop_assert!(!failure.remedy.is_empty() && !failure.remedy.contains('{'), "{}", failure.remedy);
        prop_assert_eq!(diagnose(&log, Some(&state), None), failure);
    }

    #[test]
    fn harmless_text_is_never_given_a_cause(words in "[a-z ]{0,80}(\n[a-z ]{0,80}){0,20}") {
        let cause = diagnose(&words, None, None).cause;
        prop_assert_eq!(cause, Cause::Unknown);
    }
}

/// Offsets that a reader of fixed places counts in bytes meet characters of three. Found by fuzzing: a bar after a date.
#[test]
fn a_wide_character_anywhere_in_a_prefix_makes_no_reader_panic() {
    const LINES: [&str; 12] = [
        "WARNING 06-13 20:05:02 [config.py:70] Process 4711 has 20.1 GiB memory in use. Tried to allocate 2.00 GiB.",
        "(EngineCore_DP0 pid=228) ERROR 2026-06-13 20:05:05 [core.py:344] torch.OutOfMemoryError: CUDA out of memory.",
        "vllm-1  | 2026-11-24T02:38:13.605835428Z INFO 11-24 02:38:13 [api_server.py:1] vLLM API server version 0.32.0",
        "Aug 17 18:42:18 host vllm[8052]: ERROR 04-18 14:47:42 engine.py:389] ValueError: No available memory for the cache blocks.",
        "INFO 2026-11-24T02:38:13.6Z [resource.labels.containerName: vllm-0] (APIServer pid=1) INFO:     Application startup complete.",
        "2026-11-24 02:38:13.605 [Error] (Process) (EngineCore pid=1) ERROR 11-24 02:38:13 [core.py:1] RuntimeError: x",
        "[pod/vllm-0/vllm] [rank0]: [W701 12:00:10.123 socket.cpp:697] [c10d] The client socket has failed to connect",
        "W0701 12:00:25.000000 99 torch/_inductor/utils.py:1250] not enough SMs",
        "host:1:2 [0] NCCL INFO NET/Socket : Using [0]eth0",
        "\u{1b}[1;36m(EngineCore pid=7)\u{1b}[0;0m Capturing CUDA graphs: 54%|█████▍    | 6/11 [00:01<00:01]",
        "stderr F (RayWorkerWrapper pid=1, ip=10.0.0.1) INFO 01-01 00:00:00 [a.py:1] Loading weights took 1.0 seconds [repeated 3x across cluster]",
        "To serve at least one request with the model's max seq len (8192), (1.00 GiB KV cache is needed, which is larger than the available KV cache memory (0.50 GiB). Based on the available memory, the estimated maximum model length is 4096.",
    ];
    for line in LINES {
        for (at, character) in line.char_indices() {
            let (before, after) = line.split_at(at);
            for text in [
                format!("{before}▀{after}"),
                format!("{before}▀{}", &after[character.len_utf8()..]),
                format!("{before}▀"),
            ] {
                assert!(!diagnose(&text, None, None).remedy.is_empty(), "{text}");
            }
        }
    }
}

#[test]
fn a_log_of_fifty_megabytes_is_judged_quickly() {
    let sample = SAMPLES.iter().find(|(s, _)| s.name == "healthy__22").map(|(s, _)| s).unwrap();
    let (start, end) = sample.log.split_at(sample.log.find("INFO:     Waiting for application startup.").unwrap());
    let line = "(APIServer pid=22757) INFO 11-24 02:39:49 [loggers.py:335] Engine 000: Avg prompt throughput: 0.2 tokens/s, Avg generation throughput: 1.2 tokens/s, Running: 1 reqs\n";
    let death = "(EngineCore pid=1) ERROR 11-24 02:39:50 [core.py:1586] torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n";
    let (ready, orderly) = end.split_at(end.find("(APIServer pid=22757) INFO 11-24 02:39:50").unwrap());
    let log = [start, ready, &line.repeat(50_000_000 / line.len()), death, orderly].concat();
    let began = std::time::Instant::now();
    let failure = diagnose(&log, None, None);
    let took = began.elapsed();
    assert_eq!((failure.cause, failure.stage), (Cause::GpuOom, Some(crate::domain::Stage::Runtime)));
    // What is read is bounded; the clock is asked only of an optimised build, which a loaded machine does not stretch so far.
    assert!(super::super::view::LogView::new(&log).lines.len() < 60_000);
    assert!(cfg!(debug_assertions) || took.as_secs_f64() < 1.5, "{took:?}");
}
