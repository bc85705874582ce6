//! The same requests again and again: what a request took on each visit, and how that drifts.

use crate::domain::{RequestRecord, Validity, ValidityReason, Verdict};
use crate::stats::{self, Change, Slope};

use super::figures::{Figures, Single};

/// A figure of one request.
pub(super) type Figure = fn(&RequestRecord) -> Option<f64>;

/// What drifts: first part of a metric's name, and the figure. A slower engine has a positive drift of times and a negative one of
/// the decode rate.
pub(super) const DRIFTING: [(&str, Figure); 3] = [
    ("ttft", RequestRecord::ttft_ms),
    ("decode", RequestRecord::decode_tokens_per_s),
    ("e2e", |record| Some(record.e2e_ms())),
];

/// One request of a series that is sent several times.
#[derive(Clone, Debug)]
pub(super) struct Visit {
    /// Which request it is: equal numbers are the same request.
    pub(super) thing: u32,
    /// The how-manieth time, from 1.
    pub(super) round: u32,
    /// What came of it.
    pub(super) record: RequestRecord,
}

impl Visit {
    /// The figure, of a complete request.
    fn value(&self, figure: Figure) -> Option<f64> {
        figure(&self.record).filter(|_| self.record.end.is_complete())
    }
}

/// The figure of every complete request, and how many gave none.
pub(super) fn samples<'v>(visits: impl Iterator<Item = &'v Visit>, figure: Figure) -> (Vec<f64>, usize) {
    let (mut samples, mut failed) = (Vec::new(), 0);
    for visit in visits {
        samples.extend(visit.value(figure));
        failed += usize::from(!visit.record.end.is_complete());
    }
    (samples, failed)
}

/// What a series of points belongs to, and what runs along it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Along {
    /// One series per request, over the rounds.
    Rounds,
    /// One series per round, over the requests in their order.
    Things,
}

/// Points (x, figure) of complete requests, one series for each request or round.
fn series(visits: &[Visit], along: Along, figure: Figure) -> Vec<Vec<(f64, f64)>> {
    let mut found: std::collections::BTreeMap<u32, Vec<(f64, f64)>> = std::collections::BTreeMap::new();
    for visit in visits {
        let (of, x) = match along {
            Along::Rounds => (visit.thing, visit.round),
            Along::Things => (visit.round, visit.thing),
        };
        if let Some(value) = visit.value(figure) {
            found.entry(of).or_default().push((f64::from(x), value));
        }
    }
    found.into_values().collect()
}

/// Slope of a figure, per request or round.
pub(super) fn slope(visits: &[Visit], along: Along, figure: Figure) -> Option<Slope> {
    stats::matched_slope(&series(visits, along, figure))
}

/// The figure of each request that is complete in both rounds, as (earlier, later).
fn pairs(visits: &[Visit], earlier: u32, later: u32, figure: Figure) -> Vec<(f64, f64)> {
    let of = |round: u32, thing: u32| {
        visits.iter().find(|v| v.round == round && v.thing == thing).and_then(|v| v.value(figure))
    };
    let things = visits.iter().filter(|v| v.round == earlier).map(|v| v.thing);
    things.filter_map(|thing| Some((of(earlier, thing)?, of(later, thing)?))).collect()
}

/// Writes `NAME_drift_ratio` for everything that drifts.
pub(super) fn write_drifts(figures: &mut Figures, visits: &[Visit], along: Along) {
    for (name, figure) in DRIFTING {
        let (samples, failed_n) = samples(visits.iter(), figure);
        let drift = stats::drift_across(&series(visits, along, figure));
        write(figures, None, &format!("{name}_drift_ratio"), drift, samples.len(), failed_n);
    }
}

/// Says that drifts were left out because too few requests were complete: no doubt about the other figures.
pub(super) fn say_too_few_for_drift(validity: &mut Validity, visits: &[Visit]) {
    let complete = visits.iter().filter(|v| v.record.end.is_complete()).count();
    if complete < stats::MIN_DRIFT_POINTS {
        let sentence = format!("no drift: {complete} complete requests, {} are needed", stats::MIN_DRIFT_POINTS);
        validity.add(Verdict::Valid, ValidityReason::TooFewSamples, sentence);
    }
}

/// Writes `NAME_change_ratio` of each later round against the first, at the point `PREFIX` + round; the last one is the headline.
pub(super) fn write_changes(figures: &mut Figures, visits: &[Visit], prefix: &str) {
    let last = visits.iter().map(|v| v.round).max().unwrap_or(0);
    for round in 2..=last {
        let sent = visits.iter().filter(|v| v.round == round).count();
        for (name, figure) in DRIFTING {
            let both = pairs(visits, 1, round, figure);
            let change = stats::matched_change(&both, figures.seed());
            let name = format!("{name}_change_ratio");
            let failed_n = sent.saturating_sub(both.len());
            write(figures, Some(&format!("{prefix}{round}")), &name, change, both.len(), failed_n);
            if round == last {
                write(figures, None, &name, change, both.len(), failed_n);
            }
        }
    }
}

fn write(figures: &mut Figures, point: Option<&str>, name: &str, change: Option<Change>, n: usize, failed_n: usize) {
    if let Some(Change { value, interval }) = change {
        figures.single(point, name, Single { value, n, failed_n, interval });
    }
}

#[cfg(test)]
mod tests {
    use crate::domain::{RequestEnd, ScenarioKind};

    use super::super::window::tests::reply;
    use super::*;

    fn visit(thing: u32, round: u32, e2e_ms: f64) -> Visit {
        let record = reply(true, 0.0, &[e2e_ms / 4.0, e2e_ms / 2.0], e2e_ms).record;
        Visit { thing, round, record }
    }

    fn value(figures: &Figures, path: &str) -> Option<f64> {
        figures.metrics.iter().find(|m| m.path.to_string() == path).map(|m| m.value)
    }

    /// Two requests, three times: the first takes 10 ms more each time, the second is ten times as long and does not change.
    fn visits() -> Vec<Visit> {
        rounds(3)
    }

    fn rounds(n: u32) -> Vec<Visit> {
        (1..=n).flat_map(|round| [visit(1, round, 90.0 + 10.0 * f64::from(round)), visit(2, round, 1_000.0)]).collect()
    }

    #[test]
    fn a_change_compares_the_same_requests_and_leaves_out_what_failed_on_either_side() {
        let mut figures = Figures::new(ScenarioKind::Stability, 1);
        write_changes(&mut figures, &visits(), "k");
        assert!((value(&figures, "stability.k2.e2e_change_ratio").unwrap() - 10.0 / 1_100.0).abs() < 1e-12);
        assert!((value(&figures, "stability.e2e_change_ratio").unwrap() - 20.0 / 1_100.0).abs() < 1e-12);

        let mut one_failed = visits();
        one_failed[5].record.end = RequestEnd::StreamCut;
        let mut figures = Figures::new(ScenarioKind::Stability, 1);
        write_changes(&mut figures, &one_failed, "k");
        assert!((value(&figures, "stability.e2e_change_ratio").unwrap() - 0.2).abs() < 1e-12);
        let metric = figures.metrics.iter().find(|m| m.path.to_string() == "stability.e2e_change_ratio").unwrap();
        assert_eq!((metric.n, metric.failed_n), (1, 1));
    }

    #[test]
    fn a_drift_runs_along_the_rounds_or_along_the_requests() {
        assert_eq!(slope(&visits(), Along::Rounds, |r| Some(r.e2e_ms())).unwrap().value, 5.0, "between 0 and 10");
        let along_things = slope(&visits()[..5], Along::Things, |r| Some(r.e2e_ms()));
        assert_eq!(along_things, None, "two pairs are no slope");
        let mut figures = Figures::new(ScenarioKind::Stability, 1);
        write_drifts(&mut figures, &visits(), Along::Rounds);
        assert_eq!(value(&figures, "stability.e2e_drift_ratio"), None, "six requests are too few");
        let mut validity = Validity::default();
        say_too_few_for_drift(&mut validity, &visits());
        assert_eq!(validity.reasons[0].1, "no drift: 6 complete requests, 10 are needed");
        write_drifts(&mut figures, &rounds(5), Along::Rounds);
        assert!(value(&figures, "stability.e2e_drift_ratio").unwrap() > 0.0);
        let slower_decode = value(&figures, "stability.decode_drift_ratio").unwrap();
        assert!(slower_decode < 0.0, "a rate falls where a time grows");
    }
}
