//! Whatever pruning says will fail does fail on the virtual GPU: its starts, its log, the classifier and the rules taken together.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tokio_util::sync::CancellationToken;

use super::args::SimArgs;
use super::boot::{BootEnd, banner, boot};
use super::console::Console;
use super::failures;
use crate::classify::{EvidenceInput, Observer, classify};
use crate::domain::{Cause, ExitFacts, Failure, FlagName, FlagValue, Phase, Settings, Stage};
use crate::prune::implied;

/// One start: None when it serves, else its failure as a sweep would store it.
async fn start(machine: &str, flags: &BTreeMap<&str, String>) -> Option<Failure> {
    let mut words: Vec<String> =
        format!("m {machine} --sim-boot-seconds=0").split_whitespace().map(str::to_owned).collect();
    words.extend(
        flags.iter().map(|(name, value)| if value == "on" { format!("--{name}") } else { format!("--{name}={value}") }),
    );
    let args = SimArgs::parse(words.clone()).unwrap();
    let console = Console::memory();
    let end = match banner(&args, &console) {
        Ok(()) => boot(&args, &console, &CancellationToken::new(), false).await.map(|_| ()),
        Err(failure) => Err(failure.into()),
    };
    let Err(BootEnd::Failed(failure)) = end else { return None };
    failures::print(&console, &failure);
    Some(classify(&EvidenceInput {
        log: &console.lines().join("\n"),
        phase: Some(Phase::Startup),
        exit: ExitFacts { status: Some("exited".into()), exit_code: Some(1), ..ExitFacts::default() },
        wait: None,
        argv: &words,
        observer: Observer::Sweep,
    }))
}

fn settings(flags: &BTreeMap<&str, String>) -> Settings {
    let flags = flags.iter().map(|(name, value)| {
        let value = if value == "on" { FlagValue::On } else { FlagValue::Value(value.clone()) };
        (FlagName::new(name), value)
    });
    Settings { flags: flags.collect(), ..Settings::default() }
}

/// What a grid may vary, with how often a config has it set.
const AXES: [(&str, &[&str], f64); 7] = [
    ("gpu-memory-utilization", &["0.5", "0.7", "0.8", "0.85", "0.9", "0.95", "0.96", "0.97", "0.98", "0.99"], 0.95),
    ("max-model-len", &["2048", "8192", "16384", "32768", "40960", "65536"], 0.9),
    ("max-num-seqs", &["16", "64", "256", "512"], 0.3),
    ("max-num-batched-tokens", &["2048", "8192"], 0.3),
    ("enforce-eager", &["on"], 0.2),
    ("kv-cache-dtype", &["auto", "fp8"], 0.2),
    ("tensor-parallel-size", &["1", "2"], 0.2),
];

/// `from` with some axes drawn anew: utilisation and length mostly, the others now and then.
fn varied(rng: &mut StdRng, from: &BTreeMap<&'static str, String>) -> BTreeMap<&'static str, String> {
    let mut flags = from.clone();
    for (i, (name, values, chance)) in AXES.into_iter().enumerate() {
        if !rng.random_bool(if i == 0 {
            0.8
        } else if i == 1 {
            0.4
        } else {
            0.08
        }) {
            continue;
        }
        flags.remove(name);
        if rng.random_bool(chance) {
            flags.insert(name, (*values.choose(rng).unwrap()).to_owned());
        }
    }
    flags
}

#[tokio::test]
async fn what_pruning_takes_away_would_have_failed() {
    let mut rng = StdRng::seed_from_u64(20_251_124);
    let mut implications: BTreeMap<(Cause, Option<Stage>), u32> = BTreeMap::new();
    for _ in 0..18 {
        let weights = [4.0, 12.0, 15.0, 18.0, 26.0, 40.0].choose(&mut rng).copied().unwrap();
        let used = [0.35, 0.35, 6.0].choose(&mut rng).copied().unwrap();
        let machine = format!("--sim-model-weights-gib={weights} --sim-gpu-used-gib={used}");
        let first =
            AXES.into_iter().filter(|(.., chance)| *chance > 0.5).map(|(name, values, _)| (name, values[4].to_owned()));
        let first = first.collect();
        let mut started: Vec<(BTreeMap<&str, String>, Option<Failure>)> = Vec::new();
        for _ in 0..20 {
            let flags = varied(&mut rng, started.last().map_or(&first, |(flags, _)| flags));
            let failure = start(&machine, &flags).await;
            started.push((flags, failure));
        }
        for (failed, failure) in started.iter().filter_map(|(flags, failure)| Some((flags, failure.as_ref()?))) {
            for (other, outcome) in &started {
                let Some(why) = implied(failure, &settings(failed), &settings(other)) else { continue };
                assert!(
                    outcome.is_some(),
                    "{machine}: {failed:?} failed, so {other:?} was pruned ({why}), and it serves"
                );
                *implications.entry((failure.cause, failure.stage)).or_default() += 1;
            }
        }
    }
    // A property that is never put to the test proves nothing.
    for kind in [
        (Cause::GpuMemoryBusy, None),
        (Cause::KvCacheTooSmall, None),
        (Cause::GpuOom, Some(Stage::Weights)),
        (Cause::GpuOom, Some(Stage::GraphCapture)),
    ] {
        let found = implications
            .iter()
            .filter(|((cause, stage), _)| (*cause, *stage) == kind || (kind.1.is_none() && *cause == kind.0));
        let found: u32 = found.map(|(_, n)| n).sum();
        assert!(found >= 10, "{kind:?} implied {found}: {implications:?}");
    }
}
