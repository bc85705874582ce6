//! What the samples say against a scenario's result: throttled clocks, somebody else on the GPUs, a machine at its limits.

use std::collections::BTreeSet;

use super::gpu::MIB;
use super::series::{Moment, Series, Source, Tag};
use super::summary::{by_series, counter_ratios, memory_slopes, metrics};
use crate::domain::{ProfileSpec, ScenarioKind, ScenarioResult, ScenarioSpec, Validity, ValidityReason, Verdict};

/// NVML's reasons for lowered clocks that are a fault of cooling or supply; `nvml.h`, `nvmlClocksThrottleReason*`. Not among them: the
/// power cap (0x4), at which a GPU under full load often runs by design.
const THROTTLES: [(u64, &str); 4] = [
    (0x08, "hw_slowdown"),
    (0x20, "sw_thermal_slowdown"),
    (0x40, "hw_thermal_slowdown"),
    (0x80, "hw_power_brake_slowdown"),
];

/// Less than this of somebody else's memory is a desktop, not a neighbour, MiB.
const FOREIGN_MIB: f64 = 512.0;

/// Less than this share of somebody else's use does not move a figure.
const FOREIGN_USE_RATIO: f64 = 0.05;

/// Above this share of its memory a GPU is nearly full.
const NEARLY_FULL_RATIO: f64 = 0.95;

/// Above this a GPU is hot, °C.
const HOT_C: f64 = 85.0;

/// From this share of the host's processors on, on average, whoever wants one more may have to wait for it.
const BUSY_RATIO: f64 = 0.8;

/// Less than this share of the host's processors, used by others, does not move a figure.
const OTHERS_RATIO: f64 = 0.1;

/// Adds the telemetry's figures to a result, and its reasons to the result's validity. `moments`: what was sampled since the scenario
/// began.
pub fn judge(result: &mut ScenarioResult, moments: &[Moment]) {
    let kind = result.spec.kind();
    let during: Vec<&Moment> = moments.iter().filter(|m| m.tag == Tag::Scenario(kind)).collect();
    let ratios = counter_ratios(kind, &result.counters);
    result.metrics.extend(ratios);
    if let ScenarioSpec::Profile(spec) = result.spec.clone() {
        let idle: Vec<&Moment> = moments.iter().filter(|m| m.tag == Tag::Idle).collect();
        result.metrics.extend(metrics(kind, Some("idle"), &idle));
        result.metrics.extend(metrics(kind, Some("busy"), &during));
        alerts(&mut result.validity, &spec, &idle, &during);
    } else {
        result.metrics.extend(metrics(kind, None, &during));
    }
    if let ScenarioSpec::Stability(_) = result.spec {
        result.metrics.extend(memory_slopes(kind, &during));
    }
    throttled(&mut result.validity, &during);
    foreign(&mut result.validity, &during);
    if rests_on_the_clock(kind) {
        busy_host(&mut result.validity, &during);
    }
}

/// Whether figures of the scenario are times or rates, which a busy host spoils.
const fn rests_on_the_clock(kind: ScenarioKind) -> bool {
    match kind {
        ScenarioKind::KvCache
        | ScenarioKind::Conversation
        | ScenarioKind::Reasoning
        | ScenarioKind::Stability
        | ScenarioKind::Load
        | ScenarioKind::LongContext
        | ScenarioKind::Profile => true,
        ScenarioKind::Smoke | ScenarioKind::ToolCalling | ScenarioKind::Canary => false,
    }
}

/// The GPUs that were sampled.
fn gpus(moments: &[&Moment]) -> BTreeSet<Source> {
    let sources = moments.iter().flat_map(|m| &m.readings).map(|r| r.source);
    sources.filter(|source| matches!(source, Source::Gpu(_))).collect()
}

fn values(moments: &[&Moment], source: Source, series: Series) -> Vec<f64> {
    by_series(moments).remove(&(source, series)).unwrap_or_default()
}

fn largest(values: &[f64]) -> Option<f64> {
    values.iter().copied().reduce(f64::max)
}

fn throttled(validity: &mut Validity, during: &[&Moment]) {
    for gpu in gpus(during) {
        let reasons: Vec<u64> = values(during, gpu, Series::GpuThrottleReasons).iter().map(|v| *v as u64).collect();
        let slowed = reasons.iter().filter(|bits| THROTTLES.iter().any(|(bit, _)| *bits & bit != 0)).count();
        if slowed == 0 {
            continue;
        }
        let names = THROTTLES.iter().filter(|(bit, _)| reasons.iter().any(|bits| bits & bit != 0));
        let names: Vec<&str> = names.map(|(_, name)| *name).collect();
        let clocks = values(during, gpu, Series::GpuSmClock);
        let clocks = clocks.iter().copied().reduce(f64::min).zip(largest(&clocks));
        let clocks = clocks.map(|(low, high)| format!(", SM clock {low:.0} to {high:.0} MHz")).unwrap_or_default();
        let hottest = largest(&values(during, gpu, Series::GpuTemperature));
        let hottest = hottest.map(|c| format!(", up to {c:.0} °C")).unwrap_or_default();
        let sentence = format!(
            "{gpu} was throttled in {slowed} of {} samples ({}){clocks}{hottest}",
            reasons.len(),
            names.join(", ")
        );
        validity.add(Verdict::Suspect, ValidityReason::Throttled, sentence);
    }
}

fn foreign(validity: &mut Validity, during: &[&Moment]) {
    for gpu in gpus(during) {
        let held = largest(&values(during, gpu, Series::GpuForeignMemory)).filter(|b| *b >= FOREIGN_MIB * MIB);
        let used =
            largest(&values(during, gpu, Series::GpuForeignUtilization)).filter(|ratio| *ratio >= FOREIGN_USE_RATIO);
        if held.is_none() && used.is_none() {
            continue;
        }
        let held = held.map(|b| format!("held up to {:.0} MiB", b / MIB));
        let used = used.map(|ratio| format!("used up to {:.0} % of its multiprocessors", ratio * 100.0));
        let what: Vec<String> = held.into_iter().chain(used).collect();
        let Source::Gpu(index) = gpu else { continue };
        let who = during.iter().rev().find_map(|m| {
            let who: Vec<&str> = m.foreign.iter().filter(|f| f.gpu == index).map(|f| f.who.as_str()).collect();
            (!who.is_empty()).then(|| format!(": {}", who.join("; ")))
        });
        let sentence =
            format!("somebody else on {gpu} {} during the scenario{}", what.join(" and "), who.unwrap_or_default());
        validity.add(Verdict::Suspect, ValidityReason::ForeignGpuUse, sentence);
    }
}

/// Somebody else took the host's processors while the engine and vgrid wanted them. Only where the server's own use is known: else its work
/// would be called somebody else's.
fn busy_host(validity: &mut Validity, during: &[&Moment]) {
    let mean = |source, series| crate::stats::mean(&values(during, source, series));
    let of_host = |series| mean(Source::Host, series);
    let (Some(busy), Some(own), Some(cpus)) =
        (of_host(Series::HostCpu), of_host(Series::HostOwnCpu), of_host(Series::HostCpuCount))
    else {
        return;
    };
    let Some(server_cores) = mean(Source::Container, Series::ContainerCpu) else { return };
    let server = server_cores / cpus;
    let others = busy - own - server;
    if busy < BUSY_RATIO || others < OTHERS_RATIO {
        return;
    }
    let share = |ratio: f64| format!("{:.0} %", 100.0 * ratio);
    let sentence = format!(
        "the host's processors were {} busy on average: {} by others than the server ({}) and vgrid ({})",
        share(busy),
        share(others),
        share(server),
        share(own)
    );
    validity.add(Verdict::Suspect, ValidityReason::HostBusy, sentence);
}

/// The profile's alerts, and what it could not measure.
fn alerts(validity: &mut Validity, spec: &ProfileSpec, idle: &[&Moment], busy: &[&Moment]) {
    for (name, moments) in [("idle", idle), ("busy", busy)] {
        if moments.is_empty() {
            let sentence =
                format!("nothing was sampled in the {name} window: it is shorter than the telemetry's interval");
            validity.add(Verdict::Invalid, ValidityReason::TooFewSamples, sentence);
        }
    }
    let found = gpus(busy);
    if found.is_empty() && !busy.is_empty() {
        let sentence = "no GPU figure was measured: the profile is of the host, the container and the engine only";
        validity.add(Verdict::Valid, ValidityReason::NoGpuFigure, sentence);
    }
    for gpu in found {
        let total = largest(&values(busy, gpu, Series::GpuMemoryTotal));
        let used = largest(&values(busy, gpu, Series::GpuMemoryUsed));
        if let Some((used, total)) = used.zip(total).filter(|(used, total)| *used > NEARLY_FULL_RATIO * total) {
            let sentence = format!(
                "{gpu}: {:.0} of {:.0} MiB in use ({:.1} %), above {:.0} %",
                used / MIB,
                total / MIB,
                100.0 * used / total,
                100.0 * NEARLY_FULL_RATIO
            );
            validity.add(Verdict::Suspect, ValidityReason::GpuMemoryNearlyFull, sentence);
        }
        if let Some(c) = largest(&values(busy, gpu, Series::GpuTemperature)).filter(|c| *c > HOT_C) {
            let sentence = format!("{gpu}: up to {c:.0} °C, above {HOT_C:.0}");
            validity.add(Verdict::Suspect, ValidityReason::GpuHot, sentence);
        }
        let mean = crate::stats::mean(&values(busy, gpu, Series::GpuUtilization));
        if let Some(mean) = mean.filter(|mean| *mean < spec.min_utilization_ratio) {
            let sentence = format!(
                "{gpu}: {:.0} % busy on average while {} users asked, below {:.0} %: the engine waits for something else",
                100.0 * mean,
                spec.concurrency,
                100.0 * spec.min_utilization_ratio
            );
            validity.add(Verdict::Suspect, ValidityReason::UtilizationOutOfRange, sentence);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{CanarySpec, LoadSpec};
    use crate::telemetry::series::ForeignUse;
    use crate::telemetry::summary::tests::moment;

    const LOAD: Tag = Tag::Scenario(ScenarioKind::Load);
    const BUSY: Tag = Tag::Scenario(ScenarioKind::Profile);
    const GPU: Source = Source::Gpu(0);

    fn judged(spec: ScenarioSpec, moments: &[Moment]) -> ScenarioResult {
        let mut result = ScenarioResult::empty(spec);
        judge(&mut result, moments);
        result
    }

    fn load(moments: &[Moment]) -> Validity {
        judged(ScenarioSpec::Load(LoadSpec::default()), moments).validity
    }

    fn profile(moments: &[Moment]) -> ScenarioResult {
        judged(ScenarioSpec::Profile(ProfileSpec::default()), moments)
    }

    #[test]
    fn a_gpu_that_is_slowed_for_heat_makes_a_result_suspect_and_the_sentence_has_the_figures() {
        let sample = |bits: f64, mhz: f64| {
            moment(LOAD, &[(GPU, Series::GpuThrottleReasons, bits), (GPU, Series::GpuSmClock, mhz)])
        };
        let validity = load(&[sample(0.0, 1_980.0), sample(f64::from(0x20 | 0x8), 1_305.0), sample(4.0, 1_900.0)]);
        assert_eq!(validity.verdict, Verdict::Suspect);
        let sentence =
            "gpu0 was throttled in 1 of 3 samples (hw_slowdown, sw_thermal_slowdown), SM clock 1305 to 1980 MHz";
        assert_eq!(validity.reasons, [(ValidityReason::Throttled, sentence.to_owned())]);
    }

    #[test]
    fn the_power_cap_idle_clocks_and_another_scenarios_heat_are_no_reason() {
        let sample = |tag, bits: f64| moment(tag, &[(GPU, Series::GpuThrottleReasons, bits)]);
        assert_eq!(load(&[sample(LOAD, 5.0), sample(BUSY, 32.0), sample(Tag::Boot, 32.0)]), Validity::default());
        assert_eq!(load(&[]), Validity::default());
    }

    #[test]
    fn somebody_else_on_the_gpu_is_named_and_a_desktop_is_not() {
        let sample = |mib: f64, used: f64| {
            let mut m =
                moment(LOAD, &[(GPU, Series::GpuForeignMemory, mib * MIB), (GPU, Series::GpuForeignUtilization, used)]);
            m.foreign.push(ForeignUse { gpu: 0, who: "blender (pid 8) holds 2000 MiB".to_owned() });
            m
        };
        assert_eq!(load(&[sample(300.0, 0.01)]), Validity::default());
        let validity = load(&[sample(300.0, 0.0), sample(2_000.0, 0.4)]);
        let sentence = "somebody else on gpu0 held up to 2000 MiB and used up to 40 % of its multiprocessors during the \
                        scenario: blender (pid 8) holds 2000 MiB";
        assert_eq!(validity.reasons, [(ValidityReason::ForeignGpuUse, sentence.to_owned())]);
    }

    /// A host of four processors: how busy it was, how much of it was vgrid's, and how many processors the server used.
    fn host(busy: f64, own: f64, server_cores: Option<f64>) -> Moment {
        let mut readings = vec![
            (Source::Host, Series::HostCpu, busy),
            (Source::Host, Series::HostOwnCpu, own),
            (Source::Host, Series::HostCpuCount, 4.0),
        ];
        readings.extend(server_cores.map(|cores| (Source::Container, Series::ContainerCpu, cores)));
        moment(LOAD, &readings)
    }

    #[test]
    fn a_host_whose_processors_others_take_makes_a_result_suspect_and_says_who_used_what() {
        let validity = load(&[host(1.0, 0.05, Some(2.0)), host(0.9, 0.05, Some(1.6))]);
        let sentence =
            "the host's processors were 95 % busy on average: 45 % by others than the server (45 %) and vgrid (5 %)";
        assert_eq!(validity.verdict, Verdict::Suspect);
        assert_eq!(validity.reasons, [(ValidityReason::HostBusy, sentence.to_owned())]);
    }

    #[test]
    fn a_server_that_fills_the_host_itself_room_to_spare_and_an_unknown_server_are_no_reason() {
        assert_eq!(load(&[host(1.0, 0.05, Some(3.6))]), Validity::default(), "its own work");
        assert_eq!(load(&[host(0.7, 0.0, Some(0.4))]), Validity::default(), "nobody had to wait");
        assert_eq!(load(&[host(1.0, 0.0, None)]), Validity::default(), "whose work it was is not known");
        let mut other = host(1.0, 0.0, Some(0.4));
        other.tag = Tag::Preparing;
        assert_eq!(load(&[other]), Validity::default(), "nothing was measured then");
        let mut canary = host(1.0, 0.0, Some(0.4));
        canary.tag = Tag::Scenario(ScenarioKind::Canary);
        let validity = judged(ScenarioSpec::Canary(CanarySpec::default()), &[canary]).validity;
        assert_eq!(validity, Validity::default(), "answers are right or wrong at any speed");
    }

    #[test]
    fn a_profile_without_a_gpu_has_idle_and_busy_figures_of_the_host_and_says_so() {
        let sample = |tag, cpu: f64| moment(tag, &[(Source::Host, Series::HostCpu, cpu)]);
        let result = profile(&[sample(Tag::Idle, 0.1), sample(BUSY, 0.9)]);
        let value = |path: &str| result.metrics.iter().find(|m| m.path.to_string() == path).map(|m| m.value);
        assert_eq!(value("profile.host_idle.cpu_ratio.mean"), Some(0.1));
        assert_eq!(value("profile.host_busy.cpu_ratio.mean"), Some(0.9));
        assert_eq!(result.validity.verdict, Verdict::Valid);
        assert_eq!(result.validity.reasons[0].0, ValidityReason::NoGpuFigure);
    }

    #[test]
    fn a_full_a_hot_and_an_underused_gpu_are_alerts_with_figures() {
        let busy = moment(
            BUSY,
            &[
                (GPU, Series::GpuMemoryUsed, 96.0 * MIB),
                (GPU, Series::GpuMemoryTotal, 100.0 * MIB),
                (GPU, Series::GpuTemperature, 91.0),
                (GPU, Series::GpuUtilization, 0.2),
            ],
        );
        let idle = moment(Tag::Idle, &[(GPU, Series::GpuUtilization, 0.0)]);
        let validity = profile(&[idle, busy]).validity;
        let reasons: Vec<ValidityReason> = validity.reasons.iter().map(|(reason, _)| *reason).collect();
        assert_eq!(
            reasons,
            [ValidityReason::GpuMemoryNearlyFull, ValidityReason::GpuHot, ValidityReason::UtilizationOutOfRange]
        );
        assert_eq!(validity.reasons[0].1, "gpu0: 96 of 100 MiB in use (96.0 %), above 95 %");
        assert_eq!(validity.verdict, Verdict::Suspect);
    }

    #[test]
    fn a_profile_whose_windows_hold_no_sample_is_invalid() {
        let validity = profile(&[]).validity;
        assert_eq!((validity.verdict, validity.reasons.len()), (Verdict::Invalid, 2));
    }
}
