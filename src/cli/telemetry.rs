//! The telemetry of one attempt as `vgrid show` prints it: the main series of each phase.

use crate::domain::reading::figure;
use crate::store::TelemetryRow;

/// Series that are shown, with their unit; the others are in the database and in `--json`.
const SHOWN: [(&str, &str); 14] = [
    ("vllm:num_requests_running", "count"),
    ("vllm:num_requests_waiting", "count"),
    ("vllm:kv_cache_usage_perc", "ratio"),
    ("gpu_memory_used_bytes", "bytes"),
    ("gpu_utilization_ratio", "ratio"),
    ("gpu_power_w", "w"),
    ("gpu_temperature_c", "c"),
    ("gpu_sm_clock_mhz", "mhz"),
    ("gpu_foreign_memory_bytes", "bytes"),
    ("container_cpu_cores", "cores"),
    ("container_memory_bytes", "bytes"),
    ("host_cpu_ratio", "ratio"),
    ("host_memory_used_bytes", "bytes"),
    ("host_load_1m", "count"),
];

/// The section's lines; none when nothing was sampled.
pub(super) fn lines(rows: &[TelemetryRow]) -> Vec<String> {
    if rows.is_empty() {
        return Vec::new();
    }
    let mut out = vec!["  telemetry (min / median / max):".to_owned()];
    let mut phase = None;
    for row in rows {
        let Some((_, unit)) = SHOWN.iter().find(|(series, _)| *series == row.series) else { continue };
        let tag = row.tag.as_deref().unwrap_or("untagged");
        if phase != Some(tag) {
            phase = Some(tag);
            out.push(format!("    {tag}"));
        }
        let shown = |value: f64| figure(&row.series, value, unit);
        let name = format!("{} {}", row.source, row.series);
        out.push(format!(
            "      {name:<40} {} / {} / {}  n={}",
            shown(row.minimum),
            shown(row.median),
            shown(row.maximum),
            row.samples
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(tag: &str, source: &str, series: &str, value: f64) -> TelemetryRow {
        TelemetryRow {
            tag: Some(tag.to_owned()),
            source: source.to_owned(),
            series: series.to_owned(),
            samples: 3,
            first_ms: 0.0,
            last_ms: 1.0,
            minimum: value,
            median: value * 2.0,
            maximum: value * 4.0,
        }
    }

    #[test]
    fn each_phase_has_its_main_series_with_units_and_the_rest_is_left_out() {
        let rows = [
            row("boot", "host", "host_cpu_ratio", 0.1),
            row("load", "gpu0", "gpu_memory_used_bytes", 1_073_741_824.0),
            row("load", "gpu0", "gpu_throttle_reasons_bits", 4.0),
        ];
        assert_eq!(
            lines(&rows),
            [
                "  telemetry (min / median / max):",
                "    boot",
                "      host host_cpu_ratio                      10 % / 20 % / 40 %  n=3",
                "    load",
                "      gpu0 gpu_memory_used_bytes               1 GiB / 2 GiB / 4 GiB  n=3",
            ]
        );
        assert_eq!(lines(&[]), [] as [String; 0]);
    }
}
