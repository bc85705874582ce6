//! The judgement itself: candidates and an objective in, a ranking out.

use std::cmp::Ordering;

use super::critical::{MOST_DEGREES, Z_975, apart, critical_factor, welch_degrees};
use super::night::ASSUMED_START_DEVIATION;
use super::{Answer, Candidate, Figure, GateOutcome, GateResult, Ranking, Row, Spread, Standing, StartNoise};
use crate::domain::{Direction, Objective, Verdict};

/// One ranking per objective, in the grid's order. `baseline` names the config that gains are counted against.
#[must_use]
pub fn rank_all(candidates: &[Candidate], objectives: &[Objective], baseline: Option<&str>) -> Vec<Ranking> {
    objectives.iter().map(|objective| rank(candidates, objective, baseline)).collect()
}

/// All candidates by one objective. The order of `candidates` does not matter.
#[must_use]
pub fn rank(candidates: &[Candidate], objective: &Objective, baseline: Option<&str>) -> Ranking {
    let mut entries: Vec<Entry<'_>> = candidates.iter().map(|c| Entry::new(c, objective)).collect();
    entries.sort_by(Entry::order);
    let eligible = entries.iter().filter(|e| e.bar.is_none()).count() as u64;
    let control = entries
        .iter()
        .filter(|e| baseline == Some(e.candidate.name.as_str()))
        .filter(|e| e.figure.is_some_and(|f| f.verdict != Verdict::Invalid))
        .max_by_key(|e| e.candidate.trial_id);

    let noise = entries.iter().find_map(|e| e.figure).map(|f| f.noise).unwrap_or_default();
    let others = || entries.iter().skip(1).filter(|e| e.bar.is_none());
    let leader = entries.first().filter(|e| e.bar.is_none());
    let is_best = leader.is_some_and(|leader| others().all(|other| leader.is_apart_from(other, PAIR)));

    let rows: Vec<Row> = entries
        .iter()
        .enumerate()
        .map(|(index, entry)| {
            let standing = entry.bar.unwrap_or_else(|| {
                if index == 0 {
                    Standing::Leader
                } else if is_best || leader.is_some_and(|leader| leader.is_apart_from(entry, eligible)) {
                    Standing::Behind
                } else {
                    Standing::Tied
                }
            });
            let place = standing.ranks().then(|| 1 + entries.iter().filter(|e| e.beats(entry)).count());
            entry.row(standing, place, control, (is_best, eligible))
        })
        .collect();
    let answer = answer(&rows);
    Ranking {
        objective: objective.clone(),
        baseline: baseline.map(str::to_owned),
        baseline_value: control.and_then(|c| c.figure).map(|f| f.metric.value),
        sentence: answer.sentence(),
        noise,
        drift: noise.sentence(),
        answer,
        rows,
    }
}

/// A night of two configs: what the best of a sample must be apart by from each other one to be called best.
const PAIR: u64 = 2;

/// A candidate as one objective sees it.
struct Entry<'a> {
    candidate: &'a Candidate,
    figure: Option<&'a Figure>,
    direction: Direction,
    /// Why it may not rank.
    bar: Option<Standing>,
}

impl<'a> Entry<'a> {
    fn new(candidate: &'a Candidate, objective: &Objective) -> Self {
        let figure = candidate.figure(&objective.metric);
        let bar = match (figure.map(|f| f.verdict), candidate.gates_outcome()) {
            (None, GateOutcome::Pass | GateOutcome::Fail | GateOutcome::NotMeasured) => Some(Standing::NotMeasured),
            (Some(Verdict::Invalid), GateOutcome::Pass | GateOutcome::Fail | GateOutcome::NotMeasured) => {
                Some(Standing::Invalid)
            }
            (Some(Verdict::Valid | Verdict::Suspect), GateOutcome::Fail) => Some(Standing::GateFailed),
            (Some(Verdict::Valid | Verdict::Suspect), GateOutcome::NotMeasured) => Some(Standing::GateNotMeasured),
            (Some(Verdict::Valid | Verdict::Suspect), GateOutcome::Pass) => None,
        };
        Self { candidate, figure, direction: objective.direction, bar }
    }

    /// What is compared: the figure, or its share of the baseline around it when the baseline moved.
    fn judged(&self) -> Option<f64> {
        self.figure.and_then(|f| if f.noise.moved { f.relative } else { Some(f.metric.value) })
    }

    /// What is compared, turned so that smaller is better.
    fn cost(&self) -> Option<f64> {
        self.judged().map(|value| match self.direction {
            Direction::Minimize => value,
            Direction::Maximize => -value,
        })
    }

    /// The uncertainty of the figure toward better and toward worse values.
    fn uncertainty(&self) -> (Uncertainty, Uncertainty) {
        let Some(figure) = self.figure else { return (Uncertainty::UNKNOWN, Uncertainty::UNKNOWN) };
        let metric = &figure.metric;
        let below = metric.ci_low.filter(|c| c.is_finite()).map(|low| metric.value - low);
        let above = metric.ci_high.filter(|c| c.is_finite()).map(|high| high - metric.value);
        let (better, worse) = match self.direction {
            Direction::Minimize => (below, above),
            Direction::Maximize => (above, below),
        };
        (Uncertainty::of(figure, better), Uncertainty::of(figure, worse))
    }

    /// Its own 95 % interval, the noise between starts included where it was measured.
    fn interval(&self) -> (Option<f64>, Option<f64>) {
        let Some(figure) = self.figure else { return (None, None) };
        let metric = &figure.metric;
        let Some(factor) = critical_factor(figure.noise.degrees as f64, 1) else {
            return (metric.ci_low, metric.ci_high);
        };
        let (better, worse) = self.uncertainty();
        let half = |u: Uncertainty| u.joint.map(|v| factor * v.sqrt() / scale(figure));
        let (below, above) = match self.direction {
            Direction::Minimize => (half(better), half(worse)),
            Direction::Maximize => (half(worse), half(better)),
        };
        (below.map(|half| metric.value - half), above.map(|half| metric.value + half))
    }

    /// Those that may rank first, then by value, those without a figure last; name and trial make the order total.
    fn order(a: &Self, b: &Self) -> Ordering {
        let by_cost = match (a.cost(), b.cost()) {
            // Adding 0.0 makes -0.0 and 0.0 one value.
            (Some(x), Some(y)) => (x + 0.0).total_cmp(&(y + 0.0)),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        };
        (a.bar.is_some().cmp(&b.bar.is_some()))
            .then(by_cost)
            .then_with(|| a.candidate.name.cmp(&b.candidate.name))
            .then_with(|| a.candidate.trial_id.cmp(&b.candidate.trial_id))
    }

    fn beats(&self, other: &Self) -> bool {
        self.bar.is_none() && matches!((self.cost(), other.cost()), (Some(mine), Some(theirs)) if mine < theirs)
    }

    /// Whether `other`, which is no better, is worse beyond the noise of a night of `candidates` configs.
    fn is_apart_from(&self, other: &Self, candidates: u64) -> bool {
        let (Some(mine), Some(theirs)) = (self.cost(), other.cost()) else { return false };
        let (worse, better) = (self.uncertainty().1, other.uncertainty().0);
        let (Some(v1), Some(v2)) = (worse.joint, better.joint) else { return false };
        let degrees = match self.figure.map_or(0, |f| f.noise.degrees) {
            0 => welch_degrees((v1, worse.degrees), (v2, better.degrees)),
            degrees => degrees as f64,
        };
        apart(theirs - mine, v1 + v2, degrees, candidates)
    }

    fn row(
        &self,
        standing: Standing,
        place: Option<usize>,
        control: Option<&Entry<'_>>,
        (is_best, candidates): (bool, u64),
    ) -> Row {
        let (ci_low, ci_high) = self.interval();
        let metric = self.figure.map(|f| &f.metric);
        let gain_percent = control.and_then(Entry::cost).zip(self.cost()).and_then(|(base, mine)| {
            let gain = 100.0 * (base - mine) / base.abs();
            gain.is_finite().then_some(gain + 0.0)
        });
        let gain_is_real =
            control.filter(|c| c.candidate.trial_id != self.candidate.trial_id && gain_percent.is_some());
        Row {
            place,
            name: self.candidate.name.clone(),
            trial_id: self.candidate.trial_id,
            standing,
            verdict: self.figure.map(|f| f.verdict),
            value: metric.map(|m| m.value),
            unit: metric.map(|m| m.unit.clone()),
            n: metric.map(|m| m.n),
            starts: self.figure.map(|f| f.starts),
            ci_low,
            ci_high,
            gain_percent,
            gain_is_real: gain_is_real.map(|c| {
                let (better, worse) = if self.cost() < c.cost() { (self, c) } else { (c, self) };
                let named = is_best && c.bar.is_none() && standing == Standing::Leader;
                // The baseline may not rank itself; it is one more config of the comparison then.
                named || better.is_apart_from(worse, candidates.max(2))
            }),
            gates_missed: missed(&self.candidate.gates),
        }
    }
}

/// How uncertain what is compared is toward one side.
#[derive(Clone, Copy)]
struct Uncertainty {
    /// z^2 times the variance of the config's figure, in the square of what is compared; `None` when it is not known.
    joint: Option<f64>,
    /// Degrees of freedom, at most [`MOST_DEGREES`].
    degrees: f64,
}

impl Uncertainty {
    const UNKNOWN: Self = Self { joint: None, degrees: 0.0 };

    /// Of a figure whose own 95 % interval has this half-width toward the side.
    fn of(figure: &Figure, half_width: Option<f64>) -> Self {
        let starts = figure.starts.max(1) as f64;
        let samples = figure.metric.n as f64 / starts;
        // v of one start, from the joint half-width of all.
        let spread = Spread { half_width: half_width.map(|h| h * starts.sqrt()), samples: samples.floor() as u64 };
        let within = spread.variance();
        let StartNoise { degrees, start_variance, within_variance, moved, .. } = figure.noise;
        let scale = scale(figure);
        let squared = (figure.metric.value * scale * Z_975).powi(2);
        if degrees == 0 {
            // Across a night that drifted nothing is known.
            let Some((v, d)) = within.filter(|_| !moved) else { return Self::UNKNOWN };
            let total = v + squared * ASSUMED_START_DEVIATION * ASSUMED_START_DEVIATION;
            // What is assumed is not estimated: it has degrees without end (Satterthwaite 1946).
            let degrees = if v > 0.0 { (d * (total / v).powi(2)).min(MOST_DEGREES) } else { MOST_DEGREES };
            return Self { joint: Some(total / starts), degrees };
        }
        let own = within.map(|(v, _)| v * scale * scale);
        let total = (squared * start_variance + own.unwrap_or(0.0).max(squared * within_variance)) / starts;
        Self { joint: (own.is_some() || total > 0.0).then_some(total), degrees: degrees as f64 }
    }
}

/// From the figure to what is compared.
fn scale(figure: &Figure) -> f64 {
    let share = figure.relative.filter(|_| figure.noise.moved).map(|r| (r / figure.metric.value).abs());
    share.filter(|s| s.is_finite() && *s > 0.0).unwrap_or(1.0)
}

fn missed(gates: &[GateResult]) -> Vec<GateResult> {
    gates.iter().filter(|g| g.outcome != GateOutcome::Pass).cloned().collect()
}

fn answer(rows: &[Row]) -> Answer {
    let count = |wanted: Standing| rows.iter().filter(|r| r.standing == wanted).count();
    if let Some(leader) = rows.iter().find(|r| r.standing == Standing::Leader) {
        let tied = rows.iter().filter(|r| r.standing == Standing::Tied).map(|r| r.name.clone());
        let names: Vec<String> = std::iter::once(leader.name.clone()).chain(tied).collect();
        if names.len() > 1 {
            return Answer::Tied { names, leader_trial_id: leader.trial_id };
        }
        return Answer::Champion {
            name: leader.name.clone(),
            trial_id: leader.trial_id,
            suspect: leader.verdict == Some(Verdict::Suspect),
            confirmed: leader.confirmed(),
        };
    }
    let (failed, not_measured) = (count(Standing::GateFailed), count(Standing::GateNotMeasured));
    if failed + not_measured > 0 {
        let invalid = rows.iter().filter(|r| r.standing == Standing::Invalid && r.gates_missed.is_empty()).count();
        return Answer::NoneMeetsGates { failed, not_measured, invalid };
    }
    Answer::NotMeasured
}
