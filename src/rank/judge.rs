//! The judgement itself: candidates and an objective in, a ranking out.

use std::cmp::Ordering;

use super::{Answer, Candidate, Figure, GateOutcome, GateResult, Ranking, Row, Spread, Standing, separated};
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

    let rows: Vec<Row> = entries
        .iter()
        .enumerate()
        .map(|(index, entry)| {
            let standing = entry.bar.unwrap_or_else(|| {
                if index == 0 {
                    Standing::Leader
                } else if entries.first().is_some_and(|leader| leader.is_apart_from(entry, eligible)) {
                    Standing::Behind
                } else {
                    Standing::Tied
                }
            });
            let place = standing.ranks().then(|| 1 + entries.iter().filter(|e| e.beats(entry)).count());
            entry.row(standing, place, control, eligible)
        })
        .collect();
    let answer = answer(&rows);
    Ranking {
        objective: objective.clone(),
        baseline: baseline.map(str::to_owned),
        baseline_value: control.and_then(|c| c.figure).map(|f| f.metric.value),
        sentence: answer.sentence(),
        answer,
        rows,
    }
}

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

    /// The value turned so that smaller is better.
    fn cost(&self) -> Option<f64> {
        self.figure.map(|f| match self.direction {
            Direction::Minimize => f.metric.value,
            Direction::Maximize => -f.metric.value,
        })
    }

    /// Half-widths of the interval toward better and toward worse values.
    fn half_widths(&self) -> (Option<f64>, Option<f64>) {
        let Some(metric) = self.figure.map(|f| &f.metric) else { return (None, None) };
        let below = metric.ci_low.filter(|c| c.is_finite()).map(|low| metric.value - low);
        let above = metric.ci_high.filter(|c| c.is_finite()).map(|high| high - metric.value);
        match self.direction {
            Direction::Minimize => (below, above),
            Direction::Maximize => (above, below),
        }
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
        let spread = |entry: &Self, half_width| Spread { half_width, samples: entry.figure.map_or(0, |f| f.metric.n) };
        let (better, worse) = (spread(self, self.half_widths().1), spread(other, other.half_widths().0));
        separated(theirs - mine, better, worse, candidates)
    }

    fn row(&self, standing: Standing, place: Option<usize>, control: Option<&Entry<'_>>, candidates: u64) -> Row {
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
            ci_low: metric.and_then(|m| m.ci_low),
            ci_high: metric.and_then(|m| m.ci_high),
            gain_percent,
            gain_is_real: gain_is_real.map(|c| {
                let (better, worse) = if self.cost() < c.cost() { (self, c) } else { (c, self) };
                // The baseline may not rank itself; it is one more config of the comparison then.
                better.is_apart_from(worse, candidates.max(2))
            }),
            gates_missed: missed(&self.candidate.gates),
        }
    }
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
        };
    }
    let (failed, not_measured) = (count(Standing::GateFailed), count(Standing::GateNotMeasured));
    if failed + not_measured > 0 {
        let invalid = rows.iter().filter(|r| r.standing == Standing::Invalid && r.gates_missed.is_empty()).count();
        return Answer::NoneMeetsGates { failed, not_measured, invalid };
    }
    Answer::NotMeasured
}
