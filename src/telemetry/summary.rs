//! From samples to the metrics of a scenario: one point per source, statistics that mean something for each series.

use std::collections::BTreeMap;

use super::series::{Moment, Series, Source};
use crate::domain::{CounterDelta, Metric, MetricPath, ScenarioKind, Unit};
use crate::stats;

/// How a series is shown as a metric: its name beside the source, its unit, its statistics. `None`: not at all.
const fn shown(series: Series) -> Option<(&'static str, Unit, &'static [&'static str])> {
    const LEVEL: &[&str] = &["mean", "max"];
    const CLOCK: &[&str] = &["min", "mean", "max"];
    match series {
        Series::Running => Some(("requests_running", Unit::Count, LEVEL)),
        Series::Waiting => Some(("requests_waiting", Unit::Count, LEVEL)),
        Series::KvCacheUsage => Some(("kv_cache_usage_ratio", Unit::Ratio, LEVEL)),
        Series::GpuMemoryUsed => Some(("memory_used_bytes", Unit::Bytes, CLOCK)),
        Series::GpuUtilization => Some(("utilization_ratio", Unit::Ratio, CLOCK)),
        Series::GpuMemoryUtilization => Some(("memory_utilization_ratio", Unit::Ratio, LEVEL)),
        Series::GpuPower => Some(("power_w", Unit::W, LEVEL)),
        Series::GpuTemperature => Some(("temperature_c", Unit::C, LEVEL)),
        Series::GpuSmClock => Some(("sm_clock_mhz", Unit::Mhz, CLOCK)),
        Series::GpuMemoryClock => Some(("memory_clock_mhz", Unit::Mhz, CLOCK)),
        Series::ContainerCpu => Some(("cpu_cores", Unit::Cores, LEVEL)),
        Series::ContainerMemory | Series::HostMemoryUsed => Some(("memory_used_bytes", Unit::Bytes, LEVEL)),
        Series::HostCpu => Some(("cpu_ratio", Unit::Ratio, LEVEL)),
        Series::HostLoad => Some(("load_1m", Unit::Count, LEVEL)),
        // Counters are shown as what they grew by; the rest is for the judgement.
        Series::Preemptions
        | Series::PrefixQueries
        | Series::PrefixHits
        | Series::DraftTokens
        | Series::AcceptedTokens
        | Series::GpuMemoryTotal
        | Series::GpuThrottleReasons
        | Series::GpuForeignMemory
        | Series::GpuForeignUtilization
        | Series::HostOwnCpu
        | Series::HostCpuCount
        | Series::HostMemoryTotal => None,
    }
}

/// Values of each series of each source, in time.
pub(super) fn by_series(moments: &[&Moment]) -> BTreeMap<(Source, Series), Vec<f64>> {
    let mut all: BTreeMap<(Source, Series), Vec<f64>> = BTreeMap::new();
    for reading in moments.iter().flat_map(|m| &m.readings) {
        all.entry((reading.source, reading.series)).or_default().push(reading.value);
    }
    all
}

/// The metrics of these moments. The point is the source, and `window` behind it where the scenario has several (`gpu0_busy`).
/// Samples in time depend on each other: there is no interval.
#[must_use]
pub fn metrics(kind: ScenarioKind, window: Option<&str>, moments: &[&Moment]) -> Vec<Metric> {
    let mut out = Vec::new();
    for ((source, series), values) in by_series(moments) {
        let Some((name, unit, statistics)) = shown(series) else { continue };
        let point = window.map_or_else(|| source.to_string(), |window| format!("{source}_{window}"));
        for statistic in statistics {
            let value = match *statistic {
                "min" => values.iter().copied().fold(f64::INFINITY, f64::min),
                "max" => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                _ => match stats::mean(&values) {
                    Some(mean) => mean,
                    None => continue,
                },
            };
            let path = MetricPath {
                scenario: kind,
                point: Some(point.clone()),
                name: name.to_owned(),
                statistic: Some((*statistic).to_owned()),
            };
            let unit = unit.to_string();
            out.push(Metric { path, value, unit, n: values.len() as u64, failed_n: 0, ci_low: None, ci_high: None });
        }
    }
    out
}

/// Points in time that a slope is taken over: more make it no better, and their pairs grow with the square.
const SLOPE_POINTS: usize = 240;

/// How fast memory grew over these moments, of five minutes or more: Theil and Sen's slope of what the container and the host used. Of many samples, neighbours are
/// represented by their medians. Samples in time depend on each other: there is no interval.
#[must_use]
pub fn memory_slopes(kind: ScenarioKind, moments: &[&Moment]) -> Vec<Metric> {
    let of = |source: Source, series: Series| {
        let reading = |m: &&Moment| {
            let reading = m.readings.iter().find(|r| r.source == source && r.series == series)?;
            Some((m.at_ms / MS_PER_H, reading.value))
        };
        let samples: Vec<(f64, f64)> = moments.iter().filter_map(reading).collect();
        let value = stats::slope_per_h(stats::thinned(&samples, SLOPE_POINTS))?.value;
        let path = MetricPath {
            scenario: kind,
            point: Some(source.to_string()),
            name: "memory_slope_bytes_per_h".to_owned(),
            statistic: None,
        };
        let (unit, n) = (Unit::BytesPerH.to_string(), samples.len() as u64);
        Some(Metric { path, value, unit, n, failed_n: 0, ci_low: None, ci_high: None })
    };
    [of(Source::Container, Series::ContainerMemory), of(Source::Host, Series::HostMemoryUsed)]
        .into_iter()
        .flatten()
        .collect()
}

const MS_PER_H: f64 = 3_600_000.0;

/// Ratios of the engine's counters over the scenario, where their denominators moved; exact, not sampled.
#[must_use]
pub fn counter_ratios(kind: ScenarioKind, counters: &[CounterDelta]) -> Vec<Metric> {
    let grew = |series: Series| {
        let counter = counters.iter().find(|c| c.name == series.as_str())?;
        Some(counter.after - counter.before).filter(|n| *n >= 0.0)
    };
    let ratio = |name: &str, part: Series, whole: Series| {
        let (part, whole) = (grew(part)?, grew(whole).filter(|n| *n > 0.0)?);
        let path = MetricPath {
            scenario: kind,
            point: Some(Source::Engine.to_string()),
            name: name.to_owned(),
            statistic: None,
        };
        let value = part / whole;
        Some(Metric {
            path,
            value,
            unit: Unit::Ratio.to_string(),
            n: whole as u64,
            failed_n: 0,
            ci_low: None,
            ci_high: None,
        })
    };
    let ratios = [
        ratio("prefix_hit_ratio", Series::PrefixHits, Series::PrefixQueries),
        ratio("draft_acceptance_ratio", Series::AcceptedTokens, Series::DraftTokens),
    ];
    ratios.into_iter().flatten().collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::telemetry::series::{Reading, Tag};

    pub(in crate::telemetry) fn moment(tag: Tag, readings: &[(Source, Series, f64)]) -> Moment {
        let readings =
            readings.iter().map(|(source, series, value)| Reading { source: *source, series: *series, value: *value });
        Moment { at_ms: 0.0, tag, readings: readings.collect(), foreign: Vec::new() }
    }

    #[test]
    fn a_window_is_summarised_per_source_and_what_was_not_sampled_has_no_metric() {
        let tag = Tag::Scenario(ScenarioKind::Load);
        let gpu = Source::Gpu(0);
        let moments = [
            moment(tag, &[(gpu, Series::GpuMemoryUsed, 10.0), (gpu, Series::GpuThrottleReasons, 0.0)]),
            moment(tag, &[(gpu, Series::GpuMemoryUsed, 30.0), (Source::Host, Series::HostCpu, 0.5)]),
        ];
        let moments: Vec<&Moment> = moments.iter().collect();
        let figures: Vec<(String, f64, u64)> =
            metrics(ScenarioKind::Load, None, &moments).iter().map(|m| (m.path.to_string(), m.value, m.n)).collect();
        let figure = |path: &str, value: f64, n: u64| (path.to_owned(), value, n);
        assert_eq!(
            figures,
            [
                figure("load.host.cpu_ratio.mean", 0.5, 1),
                figure("load.host.cpu_ratio.max", 0.5, 1),
                figure("load.gpu0.memory_used_bytes.min", 10.0, 2),
                figure("load.gpu0.memory_used_bytes.mean", 20.0, 2),
                figure("load.gpu0.memory_used_bytes.max", 30.0, 2),
            ]
        );
        for (path, ..) in figures {
            assert!(path.parse::<MetricPath>().is_ok(), "{path}");
        }
        assert_eq!(
            metrics(ScenarioKind::Profile, Some("busy"), &moments)[0].path.to_string(),
            "profile.host_busy.cpu_ratio.mean"
        );
        assert_eq!(metrics(ScenarioKind::Load, None, &[]), []);
    }

    #[test]
    fn ratios_of_counters_exist_where_their_denominator_moved() {
        let counter = |name: &str, before: f64, after: f64| CounterDelta { name: name.to_owned(), before, after };
        let counters = [
            counter("vllm:prefix_cache_queries_total", 100.0, 300.0),
            counter("vllm:prefix_cache_hits_total", 0.0, 50.0),
            counter("vllm:spec_decode_num_draft_tokens_total", 7.0, 7.0),
            counter("vllm:spec_decode_num_accepted_tokens_total", 7.0, 7.0),
        ];
        let ratios = counter_ratios(ScenarioKind::Load, &counters);
        assert_eq!(ratios.len(), 1);
        assert_eq!((ratios[0].path.to_string().as_str(), ratios[0].value), ("load.engine.prefix_hit_ratio", 0.25));
    }

    #[test]
    fn memory_that_grows_beside_a_scenario_is_a_slope_of_the_container_and_of_the_host() {
        // one sample a second for an hour: 2 GiB/h in the container under noise of 100 MiB that comes back, and a host that keeps its level
        let tag = Tag::Scenario(ScenarioKind::Stability);
        let moments: Vec<Moment> = (0..3_600)
            .map(|second| {
                let noise = f64::from(second % 7) * 100.0 * 1_048_576.0;
                let container = 5e9 + 2.0 * 1_073_741_824.0 * f64::from(second) / 3_600.0 + noise;
                let readings = [
                    (Source::Container, Series::ContainerMemory, container),
                    (Source::Host, Series::HostMemoryUsed, 7e9 + noise),
                ];
                Moment { at_ms: f64::from(second) * 1e3, ..moment(tag, &readings) }
            })
            .collect();
        let moments: Vec<&Moment> = moments.iter().collect();
        let slopes = memory_slopes(ScenarioKind::Stability, &moments);
        let paths: Vec<String> = slopes.iter().map(|m| m.path.to_string()).collect();
        assert_eq!(paths, ["stability.container.memory_slope_bytes_per_h", "stability.host.memory_slope_bytes_per_h"]);
        assert!((slopes[0].value / (2.0 * 1_073_741_824.0) - 1.0).abs() < 0.05, "{}", slopes[0].value);
        assert!(slopes[1].value.abs() < 0.05 * 1_073_741_824.0, "{}", slopes[1].value);
        assert_eq!(slopes[0].n, 3_600);
        assert_eq!(memory_slopes(ScenarioKind::Stability, &moments[..4]), [], "too few for a slope");
        assert_eq!(memory_slopes(ScenarioKind::Stability, &moments[..48]), [], "48 s say nothing of an hour");
        assert_eq!(memory_slopes(ScenarioKind::Stability, &moments[..320]).len(), 2);
    }
}
