//! The event log's reference names every event and every field; no free text keeps a secret.

use super::*;
use crate::domain::{ConfigKey, Start};

const REFERENCE: &str = include_str!("../../docs/events.md");

const SECRET: &str = "sk-planted";

/// One of each kind, the secret in every text. A new kind does not compile until it is in here.
fn one_of_each() -> Vec<Event> {
    let trial = || TrialRef {
        trial_id: 1,
        name: "c".into(),
        key: ConfigKey("k".into()),
        position: 1,
        of: 2,
        attempt: 1,
        start: Start::FIRST,
    };
    let text = || format!("of {SECRET}");
    let all = vec![
        Event::SweepStarted { sweep: SweepId(1), grid: "g".into(), trials: 2, settled: 0, further: 0, resumed: false },
        Event::Notice { text: text() },
        Event::Warning { text: text() },
        Event::TrialStarted { trial: trial() },
        Event::TrialReady { trial: trial(), ready_s: 1.0 },
        Event::TrialProgressed { trial: trial(), progress: TrialProgress::Stopping },
        Event::ScenarioFinished {
            trial: trial(),
            scenario: ScenarioKind::Smoke,
            elapsed_s: 1.0,
            requests: 1,
            failed: 0,
            headline: vec![("smoke.passed".into(), 1.0, "ratio".into())],
        },
        Event::TrialFinished {
            trial: trial(),
            outcome: "failed".into(),
            cause: Some(Cause::GpuOom),
            detail: text(),
            remedy: Some(text()),
            failed: Some(FailedIn {
                phase: Phase::Startup,
                stage: Some(Stage::Weights),
                numbers: BTreeMap::from([("free_gib".into(), 1.5)]),
                exit_code: Some(1),
            }),
            log: text(),
            elapsed_s: 1.0,
            ready_s: None,
        },
        Event::TrialSkipped { name: "c".into(), why: text() },
        Event::BreakerTripped { failures: 3, cause: Cause::GpuOom, evidence: text(), remedy: text() },
        Event::BestSoFar { name: "c".into(), metric: "m".into(), value: 1.0, gain_percent: None, tied: 0 },
        Event::Restoring { what: text() },
        Event::Restored { what: text(), elapsed_s: 1.0 },
        Event::RestoreFailed { what: text(), why: text() },
        Event::SweepFailed { sweep: SweepId(1), why: text() },
        Event::SweepFinished {
            sweep: SweepId(1),
            ended: "complete".into(),
            why: Some(text()),
            measured: 1,
            failed: 0,
            skipped: 0,
            left: 0,
            elapsed_s: 1.0,
        },
    ];
    let position = |event: &Event| match event {
        Event::SweepStarted { .. } => 0,
        Event::Notice { .. } => 1,
        Event::Warning { .. } => 2,
        Event::TrialStarted { .. } => 3,
        Event::TrialReady { .. } => 4,
        Event::TrialProgressed { .. } => 5,
        Event::ScenarioFinished { .. } => 6,
        Event::TrialFinished { .. } => 7,
        Event::TrialSkipped { .. } => 8,
        Event::BreakerTripped { .. } => 9,
        Event::BestSoFar { .. } => 10,
        Event::Restoring { .. } => 11,
        Event::Restored { .. } => 12,
        Event::RestoreFailed { .. } => 13,
        Event::SweepFailed { .. } => 14,
        Event::SweepFinished { .. } => 15,
    };
    assert_eq!(all.iter().map(position).collect::<Vec<_>>(), (0..all.len()).collect::<Vec<_>>());
    all
}

/// The reference's text on one kind.
fn section(kind: &str) -> Option<&'static str> {
    let heading = format!("\n### `{kind}`\n");
    let rest = &REFERENCE[REFERENCE.find(&heading)? + heading.len()..];
    Some(rest.find("\n#").map_or(rest, |end| &rest[..end]))
}

#[test]
fn the_reference_has_a_section_for_every_kept_event_and_a_row_for_every_field() {
    for event in one_of_each() {
        let json = serde_json::to_value(&event).unwrap();
        let kind = json["event"].as_str().unwrap();
        let kept = !matches!(event, Event::TrialProgressed { .. });
        assert_eq!(section(kind).is_some(), kept, "docs/events.md: {kind}");
        let Some(section) = section(kind) else { continue };
        for field in json.as_object().unwrap().keys().filter(|name| *name != "event") {
            assert!(section.contains(&format!("\n| `{field}` |")), "docs/events.md: {kind} lacks {field}");
        }
        for row in section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()) {
            assert!(json.get(row).is_some(), "docs/events.md: {kind} has no field {row}");
        }
    }
}

#[test]
fn the_reference_explains_what_a_trial_is_told_by() {
    let trial = TrialRef {
        trial_id: 1,
        name: "c".into(),
        key: ConfigKey("k".into()),
        position: 1,
        of: 2,
        attempt: 1,
        start: Start::FIRST,
    };
    let section = &REFERENCE[REFERENCE.find("\n## A trial\n").unwrap()..];
    for field in serde_json::to_value(trial).unwrap().as_object().unwrap().keys() {
        assert!(section.contains(&format!("\n| `{field}` |")), "docs/events.md: a trial lacks {field}");
    }
}

#[test]
fn no_free_text_of_an_event_keeps_a_secret() {
    let redactor = Redactor::new([SECRET.to_owned()]);
    for event in one_of_each() {
        let json = serde_json::to_string(&event.redacted(&redactor)).unwrap();
        assert!(!json.contains(SECRET), "{json}");
    }
}
