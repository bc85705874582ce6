//! The profile scenario against a small engine: its windows, its requests, its end.

use std::time::Instant;

use tokio_util::sync::CancellationToken;

use crate::domain::{ProfileSpec, ScenarioSpec, ValidityReason, Verdict};

use super::testserver::{Script, TestServer};
use super::{Activity, BenchError, Context, run_scenario};

fn spec() -> ProfileSpec {
    ProfileSpec { idle_s: 1, busy_s: 1, concurrency: 2, prompt_tokens: 64, output_tokens: 8, ..ProfileSpec::default() }
}

#[tokio::test]
async fn a_profile_is_idle_then_busy_and_its_windows_are_as_long_as_asked() {
    let server = TestServer::start(Script::default()).await;
    let context = Context::new(7, "attempt-1", CancellationToken::new());
    let mut progress = context.progress.subscribe();
    let client = server.client().await;
    let spec = ScenarioSpec::Profile(spec());
    let mut run = std::pin::pin!(run_scenario(&client, &spec, &context));
    let mut seen: Vec<(Activity, Instant)> = Vec::new();
    let result = loop {
        tokio::select! {
            biased;
            ended = &mut run => break ended.unwrap(),
            Ok(()) = progress.changed() => {
                let activity = progress.borrow_and_update().activity;
                if seen.last().is_none_or(|(last, _)| *last != activity) {
                    seen.push((activity, Instant::now()));
                }
            }
        }
    };
    let began = |wanted: Activity| seen.iter().find(|(activity, _)| *activity == wanted).map(|(_, at)| *at);
    let (idle, busy) = (began(Activity::Idle).unwrap(), began(Activity::Measuring).unwrap());
    assert!((busy - idle).as_secs_f64() >= 0.95, "{seen:?}");
    assert!(busy.elapsed().as_secs_f64() >= 0.95);
    let asked: Vec<_> = result.requests.iter().filter(|r| r.role == "profile").collect();
    assert!(asked.len() >= 2 && asked.iter().all(|r| r.measured && r.end.is_complete()), "{asked:?}");
    let bodies: std::collections::HashSet<_> = asked.iter().map(|r| &r.body_sha256).collect();
    assert_eq!(bodies.len(), asked.len(), "every prompt is new to the cache");
    let rate = result.metrics.iter().find(|m| m.path.to_string() == "profile.busy.whole_run_output_tokens_per_s");
    assert!(rate.is_some_and(|m| m.value > 0.0 && m.n == asked.len() as u64), "{:?}", result.metrics);
}

#[tokio::test]
async fn a_profile_that_does_not_fit_sends_nothing_and_a_cancel_ends_its_idle_window() {
    let server = TestServer::start(Script::default()).await;
    let client = server.client().await;
    let mut context = Context::new(7, "attempt-1", CancellationToken::new());
    context.max_model_len = Some(40);
    let result = run_scenario(&client, &ScenarioSpec::Profile(spec()), &context).await.unwrap();
    assert_eq!(
        (result.validity.verdict, result.validity.reasons[0].0),
        (Verdict::Invalid, ValidityReason::SizeLeftOut)
    );
    assert_eq!(result.requests, []);

    let context = Context::new(7, "attempt-2", CancellationToken::new());
    let mut progress = context.progress.subscribe();
    let cancel = context.cancel.clone();
    let long = ScenarioSpec::Profile(ProfileSpec { idle_s: 3_600, ..spec() });
    let meddle = async {
        progress.wait_for(|now| now.activity == Activity::Idle).await.unwrap();
        cancel.cancel();
    };
    let (ended, ()) = tokio::join!(run_scenario(&client, &long, &context), meddle);
    assert!(matches!(ended, Err(BenchError::Cancelled { .. })));
}
