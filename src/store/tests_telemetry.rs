//! Samples and what the view makes of them.

use super::models::TelemetrySample;
use super::tests::bench;
use crate::domain::Start;

fn sample(tag: Option<&str>, source: &str, offset_ms: f64, value: f64) -> TelemetrySample {
    TelemetrySample {
        series: "gpu_power_w".into(),
        source: source.into(),
        offset_ms,
        tag: tag.map(str::to_owned),
        value,
    }
}

#[test]
fn a_phase_has_minimum_median_and_maximum_of_each_series_and_phases_come_in_time() {
    let mut b = bench(2);
    let (first, _) = b.store.begin_attempt(b.run, b.trials[0], Start::FIRST).unwrap();
    let (second, _) = b.store.begin_attempt(b.run, b.trials[1], Start::FIRST).unwrap();
    let idle = [40.0, 10.0, 30.0, 20.0].iter().zip(0..).map(|(v, i)| sample(Some("idle"), "gpu0", f64::from(i), *v));
    let busy = [300.0, 100.0, 200.0].iter().zip(9..).map(|(v, i)| sample(Some("busy"), "gpu0", f64::from(i), *v));
    let samples: Vec<TelemetrySample> = idle.chain(busy).chain([sample(None, "gpu1", 20.0, 7.0)]).collect();
    b.store.save_telemetry(first, &samples).unwrap();
    b.store.save_telemetry(second, &[sample(Some("idle"), "gpu0", 1.0, f64::NAN)]).unwrap();
    let mut report = b.store.show(b.trials[0]).unwrap();
    assert_eq!(report.attempt_reports[0].telemetry, []);
    b.store.add_telemetry(&mut report).unwrap();
    let rows = &report.attempt_reports[0].telemetry;
    let seen: Vec<_> = rows.iter().map(|r| (r.tag.as_deref(), r.samples, r.minimum, r.median, r.maximum)).collect();
    assert_eq!(
        seen,
        [(Some("idle"), 4, 10.0, 25.0, 40.0), (Some("busy"), 3, 100.0, 200.0, 300.0), (None, 1, 7.0, 7.0, 7.0),]
    );
    assert_eq!((rows[1].source.as_str(), rows[1].first_ms, rows[1].last_ms), ("gpu0", 9.0, 11.0));
    let mut other = b.store.show(b.trials[1]).unwrap();
    b.store.add_telemetry(&mut other).unwrap();
    assert_eq!(other.attempt_reports[0].telemetry, [], "what is not a number was not stored");
}
