//! The judgement itself: candidates and an objective in, a ranking out.

use std::cmp::Ordering;

use super::uncertainty::differ;
use super::{Answer, Candidate, Figure, GateOutcome, GateResult, Ranking, Row, Standing};
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
    let leader = entries.first().filter(|e| e.bar.is_none() && !e.achieves_nothing());
    let is_best = leader.is_some_and(|leader| others().all(|other| leader.is_apart_from(other, PAIR)));
    let control_leads = leader.zip(control).is_some_and(|(l, c)| l.candidate.trial_id == c.candidate.trial_id);
    let night = Night { is_best, control_leads, eligible };

    let mut place = 0;
    let rows: Vec<Row> = entries
        .iter()
        .enumerate()
        .map(|(index, entry)| {
            if index == 0 || entries[index - 1].beats(entry) {
                place = index + 1;
            }
            let standing = entry.bar.unwrap_or_else(|| {
                if index == 0 && leader.is_some() {
                    Standing::Leader
                } else if is_best || leader.is_some_and(|leader| leader.is_apart_from(entry, eligible)) {
                    Standing::Behind
                } else {
                    Standing::Tied
                }
            });
            entry.row(standing, standing.ranks().then_some(place), control, &night)
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

/// What was found of the leader before each row is judged.
struct Night {
    /// Whether the leader is apart from each other one that may rank.
    is_best: bool,
    /// Whether the leader is the baseline.
    control_leads: bool,
    /// How many may rank.
    eligible: u64,
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

    /// What is compared, turned so that smaller is better.
    fn cost(&self) -> Option<f64> {
        self.figure.and_then(Figure::judged).map(|value| self.direction.cost(value))
    }

    /// Whether it has nothing of what is to be as much as possible: the best of such leads nobody.
    fn achieves_nothing(&self) -> bool {
        let nothing = self.figure.is_some_and(|f| f.metric.value == 0.0);
        match self.direction {
            Direction::Maximize => nothing,
            Direction::Minimize => false,
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
        self.bar.is_none() && self.cost().is_some_and(|mine| other.cost().is_none_or(|theirs| mine < theirs))
    }

    /// Whether both differ beyond the noise of a night of `candidates` configs; `None` where that is not known.
    fn differs_from(&self, other: &Self, candidates: u64) -> Option<bool> {
        differ(self.figure?, other.figure?, candidates)
    }

    /// As [`Self::differs_from`]; what is not known is not apart.
    fn is_apart_from(&self, other: &Self, candidates: u64) -> bool {
        self.differs_from(other, candidates) == Some(true)
    }

    fn row(&self, standing: Standing, place: Option<usize>, control: Option<&Entry<'_>>, night: &Night) -> Row {
        let (ci_low, ci_high) = self.figure.map_or((None, None), Figure::interval);
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
            gain_is_real: gain_is_real.and_then(|c| {
                // The baseline may not rank itself; it is one more config of the comparison then.
                let differs = || self.differs_from(c, night.eligible.max(2));
                match standing {
                    // Where the leader and the baseline are compared, the ranking has said it.
                    Standing::Leader if night.is_best && c.bar.is_none() => Some(true),
                    Standing::Behind if night.control_leads => Some(true),
                    Standing::Leader
                    | Standing::Tied
                    | Standing::Behind
                    | Standing::GateFailed
                    | Standing::GateNotMeasured
                    | Standing::Invalid
                    | Standing::NotMeasured => differs(),
                }
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
            confirmed: leader.confirmed(),
        };
    }
    let ranked = count(Standing::Tied);
    if ranked > 0 {
        return Answer::AllZero { configs: ranked };
    }
    let (failed, not_measured) = (count(Standing::GateFailed), count(Standing::GateNotMeasured));
    if failed + not_measured > 0 {
        let invalid = rows.iter().filter(|r| r.standing == Standing::Invalid && r.gates_missed.is_empty()).count();
        return Answer::NoneMeetsGates { failed, not_measured, invalid };
    }
    Answer::NotMeasured
}
