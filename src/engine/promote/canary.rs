//! The quick canary of a promotion: some of the canaries of its sweep, asked of the new production, against what the trial answered.

use std::collections::BTreeMap;

use crate::bench::{self, Client};
use crate::domain::{CanarySpec, CaseOutcome, CaseResult, ScenarioSpec};
use crate::store::TrialReport;

use super::super::{Finding, FindingKind};
use super::standing::finding;

/// Canaries that are asked: enough to find a broken engine, in some seconds.
const CANARIES: u32 = 6;

/// How often each is asked. One wrong answer of two is chance; two are not.
const REPEATS: u32 = 2;

/// Asks the server, and says whether it answers as the trial did. Failed only where a canary that was right every time when it was
/// measured is right no more; where nothing can be compared, what came is a warning.
pub(super) async fn ask(client: &Client, context: &bench::Context, report: &TrialReport) -> Finding {
    let tested = tested(report);
    let spec = tested.as_ref().map(|(spec, _)| spec.clone()).unwrap_or_default();
    let limit = Some(spec.limit.map_or(CANARIES, |limit| limit.min(CANARIES)));
    let repeats = if tested.is_some() { REPEATS } else { 1 };
    let asked = ScenarioSpec::Canary(CanarySpec { limit, repeats, ..spec });
    let now = match bench::run_scenario(client, &asked, context).await {
        Ok(result) => result.cases,
        Err(error) => {
            let kind = if tested.is_some() { FindingKind::Failed } else { FindingKind::Warning };
            return finding("canary", kind, format!("it could not be asked: {error}"));
        }
    };
    judge(tested.map(|(_, cases)| cases).unwrap_or_default(), &now)
}

/// The canary scenario of the attempt whose figures count, and what became of its cases.
fn tested(report: &TrialReport) -> Option<(CanarySpec, &[CaseOutcome])> {
    super::measured_attempt(report)?.scenarios.iter().find_map(|result| match &result.spec {
        ScenarioSpec::Canary(spec) => Some((spec.clone(), result.cases.as_slice())),
        _ => None,
    })
}

/// `then` against `now`, by the canaries that were right every time.
fn judge(then: &[CaseOutcome], now: &[CaseOutcome]) -> Finding {
    let (then, now) = (by_case(then), by_case(now));
    let right_now = now.values().filter(|right| right.contains(&true)).count();
    let held: Vec<_> = now.iter().filter(|(case, _)| then.get(*case).is_some_and(|r| !r.contains(&false))).collect();
    let lost: Vec<&str> = held.iter().filter(|(_, right)| !right.contains(&true)).map(|((id, _), _)| *id).collect();
    if held.is_empty() {
        let text = format!(
            "{right_now} of {} are right, and none of them was right every time when it was measured: nothing to compare with",
            now.len()
        );
        return finding("canary", FindingKind::Warning, text);
    }
    let compared = held.len();
    if lost.is_empty() {
        let text = format!("all {compared} that were right when it was measured are right ({} were asked)", now.len());
        return finding("canary", FindingKind::Ok, text);
    }
    let text =
        format!("{} of {compared} that were right when it was measured are wrong now: {}", lost.len(), lost.join(", "));
    finding("canary", FindingKind::Failed, text)
}

/// Whether each answer was right, by the case and what was expected: in a file that changed, the same id may be another question.
fn by_case(outcomes: &[CaseOutcome]) -> BTreeMap<(&str, &str), Vec<bool>> {
    let mut cases: BTreeMap<_, Vec<bool>> = BTreeMap::new();
    for outcome in outcomes {
        let case = (outcome.case_id.as_str(), outcome.expected.as_str());
        cases.entry(case).or_default().push(outcome.result == CaseResult::Passed);
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::CaseDelivery;

    fn outcomes(of: &[(&str, bool)]) -> Vec<CaseOutcome> {
        let one = |&(id, right): &(&str, bool)| CaseOutcome {
            case_id: id.to_owned(),
            category: "canary".into(),
            language: "en".into(),
            repeat: 1,
            delivery: CaseDelivery::Streamed,
            result: if right { CaseResult::Passed } else { CaseResult::Wrong },
            expected: "42".into(),
            got: String::new(),
            request_index: 0,
        };
        of.iter().map(one).collect()
    }

    #[test]
    fn only_a_canary_that_was_right_every_time_and_is_right_no_more_fails() {
        let then = outcomes(&[("a", true), ("a", true), ("b", true), ("b", false), ("c", false)]);
        let kind = |now: &[(&str, bool)]| judge(&then, &outcomes(now)).kind;
        assert_eq!(kind(&[("a", true), ("b", false), ("c", false)]), FindingKind::Ok, "b and c never held");
        assert_eq!(kind(&[("a", false), ("a", true)]), FindingKind::Ok, "once wrong is chance");
        assert_eq!(kind(&[("a", false), ("a", false), ("c", true)]), FindingKind::Failed);
        assert_eq!(kind(&[("b", false), ("c", false), ("new", false)]), FindingKind::Warning, "nothing to compare");
        assert_eq!(judge(&[], &outcomes(&[("a", true)])).kind, FindingKind::Warning, "the sweep asked none");
        let mut other = outcomes(&[("a", false)]);
        other[0].expected = "43".into();
        assert_eq!(judge(&then, &other).kind, FindingKind::Warning, "the same id, another question");
    }
}
