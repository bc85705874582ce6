//! Pruning: which configs a failure says will fail too, so that the night is not spent on them.
//!
//! Only what follows from how vLLM divides memory, and only between configs that are equal in everything else: image, environment,
//! model, and every other flag. Each rule names the flags in which the other config may differ, and in which direction:
//!
//! - Less memory is free than utilisation `u` claims: so it is for every `u' >= u`. vLLM compares the two before it loads anything
//!   (`request_memory` in `v1/worker/utils.py`), so flags that matter only later may differ at will.
//! - The KV cache that utilisation `u` leaves does not hold one sequence of length `L`: nor does a smaller budget `u' <= u` hold a
//!   longer one, `L' >= L`.
//! - The weights, or the profiling run beside them, do not fit on the GPU: utilisation does not matter to either, and no larger
//!   batch or length makes them smaller.
//! - CUDA graphs found no room beside a KV cache that fills the budget `u`: nor do they beside `u' >= u`.
//!
//! A failure that another tenant of the GPU caused may pass; the caller asks only when it was tried as often as it may be. One
//! that the classifier calls transient and no rule expects implies nothing.

use crate::domain::{Cause, Failure, FlagName, FlagValue, Settings, Stage};

const UTILIZATION: &str = "gpu-memory-utilization";
const LENGTH: &str = "max-model-len";
const SEQS: &str = "max-num-seqs";
const TOKENS: &str = "max-num-batched-tokens";

/// In which way a flag of the other config may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// As large or larger, as a number.
    AtLeast,
    /// As small or smaller, as a number.
    AtMost,
    /// In any way.
    Any,
}

/// The flags in which the other config may differ.
type Ways = &'static [(&'static str, Way)];

const FREE_MEMORY: Ways = &[
    (UTILIZATION, Way::AtLeast),
    (LENGTH, Way::Any),
    (SEQS, Way::Any),
    (TOKENS, Way::Any),
    ("enable-prefix-caching", Way::Any),
    ("enable-chunked-prefill", Way::Any),
    ("enforce-eager", Way::Any),
];
const KV_CACHE: Ways = &[(UTILIZATION, Way::AtMost), (LENGTH, Way::AtLeast)];
const WEIGHTS: Ways = &[(UTILIZATION, Way::Any), (LENGTH, Way::AtLeast), (SEQS, Way::AtLeast), (TOKENS, Way::AtLeast)];
const GRAPHS: Ways = &[(UTILIZATION, Way::AtLeast)];

/// Why the failure of a config with the settings `failed` implies that one with `other` fails too, as the end of a sentence; None where
/// it does not. Both are settings of the whole service, as [`crate::compose::settings_of`] reads them.
#[must_use]
pub fn implied(failure: &Failure, failed: &Settings, other: &Settings) -> Option<String> {
    let (ways, what) = rule(failure)?;
    if (&failed.image, &failed.env, &failed.model) != (&other.image, &other.env, &other.model) {
        return None;
    }
    let names: std::collections::BTreeSet<&FlagName> = failed.flags.keys().chain(other.flags.keys()).collect();
    let mut differences = Vec::new();
    for name in names {
        let (ours, theirs) = (failed.flags.get(name), other.flags.get(name));
        if ours == theirs {
            continue;
        }
        let (_, way) = ways.iter().find(|(flag, _)| *flag == name.as_str())?;
        let known = known_number(failure, name.as_str());
        if !goes(*way, number(ours).or(known.filter(|_| ours.is_none())), number(theirs)) {
            return None;
        }
        differences.push(format!("{name} {}", text(theirs)));
    }
    // Nothing differs: it is the same config, and what became of it is known.
    (!differences.is_empty()).then(|| format!("{what}; {} cannot change that", differences.join(", ")))
}

/// The flags in which a config may differ and still fail, and what the failure showed.
fn rule(failure: &Failure) -> Option<(Ways, String)> {
    let get = |name: &str| failure.numbers.get(name).copied();
    match (failure.cause, failure.stage) {
        (Cause::GpuMemoryBusy, _) => {
            let (free, wanted, u) = (get("free_gib")?, get("wanted_gib")?, get("gpu_memory_utilization")?);
            (wanted > free).then(|| {
                (FREE_MEMORY, format!("{free} GiB of the GPU were free and {UTILIZATION} {u} wants {wanted} GiB"))
            })
        }
        (Cause::KvCacheTooSmall, _) if !failure.transient => Some((KV_CACHE, "the KV cache was too small".to_owned())),
        (Cause::GpuOom, Some(Stage::Weights)) if own_memory(failure) => {
            Some((WEIGHTS, "the weights did not fit on the GPU".to_owned()))
        }
        (Cause::GpuOom, Some(Stage::Profile)) if own_memory(failure) => {
            Some((WEIGHTS, "the profiling run did not fit on the GPU".to_owned()))
        }
        (Cause::GpuOom, Some(Stage::GraphCapture)) if own_memory(failure) => {
            Some((GRAPHS, "the CUDA graphs did not fit beside the KV cache".to_owned()))
        }
        (
            Cause::GpuOom,
            Some(Stage::Compile | Stage::Runtime | Stage::Weights | Stage::Profile | Stage::GraphCapture) | None,
        )
        | (Cause::KvCacheTooSmall, _)
        | (
            Cause::Healthy
            | Cause::HostOom
            | Cause::ShmTooSmall
            | Cause::BadArgument
            | Cause::Unsupported
            | Cause::ModelUnavailable
            | Cause::ModelBroken
            | Cause::NoGpu
            | Cause::GpuFault
            | Cause::Communication
            | Cause::CompileFailed
            | Cause::Environment
            | Cause::PortInUse
            | Cause::Docker
            | Cause::EngineDead
            | Cause::Stopped
            | Cause::Timeout
            | Cause::Stalled
            | Cause::Hung
            | Cause::BadResponses
            | Cause::Unknown,
            _,
        ) => None,
    }
}

/// Whether the engine itself took the memory that ran out, as far as the log shows.
fn own_memory(failure: &Failure) -> bool {
    !failure.transient && !failure.numbers.contains_key("other_process_pid")
}

/// The number that a flag had which the command did not set, where the failure's own line says it.
fn known_number(failure: &Failure, flag: &str) -> Option<f64> {
    let name = match flag {
        UTILIZATION => "gpu_memory_utilization",
        LENGTH => "max_model_len",
        _ => return None,
    };
    failure.numbers.get(name).copied()
}

fn goes(way: Way, ours: Option<f64>, theirs: Option<f64>) -> bool {
    match way {
        Way::Any => true,
        Way::AtLeast => ours.zip(theirs).is_some_and(|(ours, theirs)| theirs >= ours),
        Way::AtMost => ours.zip(theirs).is_some_and(|(ours, theirs)| theirs <= ours),
    }
}

/// A plain positive number. `32k`, `auto` and `-1` (let vLLM choose) are none: they are not compared.
fn number(value: Option<&FlagValue>) -> Option<f64> {
    match value? {
        FlagValue::Value(text) => text.trim().parse::<f64>().ok().filter(|n| n.is_finite() && *n > 0.0),
        FlagValue::Default | FlagValue::On | FlagValue::Off | FlagValue::Many(_) => None,
    }
}

fn text(value: Option<&FlagValue>) -> String {
    value.map_or_else(|| "left out".to_owned(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::{ExitFacts, Phase};

    fn failure(cause: Cause, stage: Option<Stage>, numbers: &[(&str, f64)]) -> Failure {
        Failure {
            phase: Phase::Startup,
            stage,
            cause,
            evidence: Vec::new(),
            numbers: numbers.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
            remedy: String::new(),
            transient: cause == Cause::GpuMemoryBusy,
            exit: ExitFacts::default(),
        }
    }

    fn settings(flags: &str) -> Settings {
        let flags: BTreeMap<FlagName, FlagValue> = flags
            .split_whitespace()
            .map(|flag| {
                let (name, value) = flag.split_once('=').unwrap();
                (FlagName::new(name), FlagValue::from_text(value))
            })
            .collect();
        Settings { flags, ..Settings::default() }
    }

    const BUSY: &[(&str, f64)] = &[("free_gib", 20.0), ("wanted_gib", 21.3), ("gpu_memory_utilization", 0.9)];

    #[test]
    fn too_little_free_memory_implies_every_higher_utilisation_and_no_lower_one() {
        let busy = failure(Cause::GpuMemoryBusy, None, BUSY);
        let from = settings("gpu-memory-utilization=0.9 max-model-len=4096");
        let why = implied(&busy, &from, &settings("gpu-memory-utilization=0.95 max-model-len=8192")).unwrap();
        assert!(why.starts_with("20 GiB of the GPU were free and gpu-memory-utilization 0.9 wants 21.3 GiB"), "{why}");
        assert_eq!(implied(&busy, &from, &settings("gpu-memory-utilization=0.85 max-model-len=4096")), None);
        // Left out, vLLM's own default counts, which differs between versions.
        assert_eq!(implied(&busy, &from, &settings("max-model-len=4096")), None);
        assert!(implied(&busy, &settings(""), &settings("gpu-memory-utilization=0.9")).is_some(), "its line says 0.9");
        // A profiling run that a neighbour disturbed compares nothing.
        let disturbed = failure(Cause::GpuMemoryBusy, None, &[("initial_free_gib", 15.0)]);
        assert_eq!(implied(&disturbed, &from, &settings("gpu-memory-utilization=0.95 max-model-len=4096")), None);
    }

    #[test]
    fn a_kv_cache_too_small_implies_longer_lengths_and_lower_utilisations_alone() {
        let small = failure(Cause::KvCacheTooSmall, None, &[("max_model_len", 32768.0)]);
        let from = settings("gpu-memory-utilization=0.9 max-model-len=32768 kv-cache-dtype=auto");
        for (flags, fails) in [
            ("gpu-memory-utilization=0.9 max-model-len=40960 kv-cache-dtype=auto", true),
            ("gpu-memory-utilization=0.8 max-model-len=32768 kv-cache-dtype=auto", true),
            ("gpu-memory-utilization=0.8 max-model-len=40960 kv-cache-dtype=auto", true),
            ("gpu-memory-utilization=0.8 max-model-len=16384 kv-cache-dtype=auto", false),
            ("gpu-memory-utilization=0.95 max-model-len=40960 kv-cache-dtype=auto", false),
            ("gpu-memory-utilization=0.9 max-model-len=40960 kv-cache-dtype=fp8", false),
            ("gpu-memory-utilization=0.9 max-model-len=40960 kv-cache-dtype=auto tensor-parallel-size=2", false),
            ("gpu-memory-utilization=0.9 max-model-len=40k kv-cache-dtype=auto", false),
            ("gpu-memory-utilization=0.9 max-model-len=-1 kv-cache-dtype=auto", false),
            ("gpu-memory-utilization=0.9 max-model-len=32768 kv-cache-dtype=auto", false),
        ] {
            assert_eq!(implied(&small, &from, &settings(flags)).is_some(), fails, "{flags}");
        }
        let other_image = Settings {
            image: Some("vllm:next".into()),
            ..settings("gpu-memory-utilization=0.8 max-model-len=32768 kv-cache-dtype=auto")
        };
        assert_eq!(implied(&small, &from, &other_image), None);
        let other_env = Settings {
            env: BTreeMap::from([("VLLM_X".to_owned(), Some("1".to_owned()))]),
            ..settings("gpu-memory-utilization=0.8 max-model-len=32768 kv-cache-dtype=auto")
        };
        assert_eq!(implied(&small, &from, &other_env), None);
    }

    #[test]
    fn out_of_memory_implies_by_its_stage_and_nothing_when_somebody_else_was_there() {
        let from = settings("gpu-memory-utilization=0.9 max-num-seqs=64");
        let oom = |stage, numbers: &[(&str, f64)]| failure(Cause::GpuOom, stage, numbers);
        let lower = settings("gpu-memory-utilization=0.8 max-num-seqs=128");
        assert!(implied(&oom(Some(Stage::Weights), &[]), &from, &lower).is_some());
        assert_eq!(implied(&oom(Some(Stage::Weights), &[("other_process_pid", 7.0)]), &from, &lower), None);
        assert_eq!(
            implied(&oom(Some(Stage::Weights), &[]), &from, &settings("gpu-memory-utilization=0.9 max-num-seqs=32")),
            None
        );
        assert_eq!(implied(&oom(Some(Stage::GraphCapture), &[]), &from, &lower), None);
        let higher = settings("gpu-memory-utilization=0.95 max-num-seqs=64");
        assert!(implied(&oom(Some(Stage::GraphCapture), &[]), &from, &higher).is_some());
        for stage in [Some(Stage::Runtime), Some(Stage::Compile), None] {
            assert_eq!(implied(&oom(stage, &[]), &from, &higher), None, "{stage:?}");
        }
        assert_eq!(implied(&failure(Cause::BadArgument, None, &[]), &from, &higher), None);
    }
}
