//! The profile scenario: a window in which nobody asks, then one in which users ask without a pause.
//!
//! It only makes the two windows; what the machine does in them is sampled beside every scenario, and put into this one's result by
//! the telemetry.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::time::sleep;

use crate::domain::{ProfileSpec, Role, ValidityReason, Verdict};

use super::chat::Reply;
use super::context::Activity;
use super::figures::Single;
use super::run::Run;
use super::sender::{Purpose, Stop};
use super::validity;
use super::window::Window;

/// The point of its own figures.
const POINT: &str = "busy";

pub(super) async fn run(run: &mut Run<'_>, spec: &ProfileSpec) -> Result<(), Stop> {
    let needed = spec.prompt_tokens.saturating_add(spec.output_tokens);
    if let Some(limit) = run.max_model_len().await?.filter(|limit| needed > *limit) {
        let sentence = format!(
            "nothing was sent: {} + {} tokens do not fit the engine's {limit}",
            spec.prompt_tokens, spec.output_tokens
        );
        run.validity.add(Verdict::Invalid, ValidityReason::SizeLeftOut, sentence);
        return Ok(());
    }
    let prompt = run.prompt("profile/warmup", spec.prompt_tokens).await?;
    run.begin_point(Activity::WarmingUp);
    run.warm_up(&prompt, spec.output_tokens, None).await?;

    run.begin_point(Activity::Idle);
    run.or_cancelled(sleep(Duration::from_secs(spec.idle_s.into()))).await?;

    run.begin_point(Activity::Measuring);
    let until = Instant::now() + Duration::from_secs(spec.busy_s.into());
    let shared: &Run<'_> = run;
    let users = join_all((0..spec.concurrency).map(|user| ask_until(shared, spec, user, until))).await;
    run.begin_point(Activity::Preparing);
    let (users, ends): (Vec<Vec<Reply>>, Vec<Result<(), Stop>>) = users.into_iter().unzip();
    throughput(run, &users);
    run.replies.extend(users.into_iter().flatten());
    // when one user finds the server dead, the others end as cancelled: the first finding counts
    let mut stops: Vec<Stop> = ends.into_iter().filter_map(Result::err).collect();
    let found = stops.iter().position(|stop| !matches!(stop, Stop::Cancelled)).unwrap_or(0);
    if !stops.is_empty() {
        return Err(stops.swap_remove(found));
    }
    validity::of_failures(&mut run.validity, &run.replies);
    validity::of_tokens(&mut run.validity, &run.replies, spec.output_tokens);
    Ok(())
}

/// One user: builds a prompt, asks, and again, until the window is over. The request in flight then is waited for.
async fn ask_until(run: &Run<'_>, spec: &ProfileSpec, user: u32, until: Instant) -> (Vec<Reply>, Result<(), Stop>) {
    let mut replies = Vec::new();
    let mut turn: u32 = 0;
    while Instant::now() < until {
        let asked = async {
            let prompt = run.prompt(&format!("profile/u{user}/{turn}"), spec.prompt_tokens).await?;
            let request = run.timed_request(&prompt, spec.output_tokens)?;
            let purpose = Purpose {
                point: Some(POINT.to_owned()),
                role: Role::Profile,
                user_number: Some(user),
                measured: true,
                intended_ms: None,
            };
            Ok::<Reply, Stop>(run.sender.send(&request, &purpose, &run.ctx.cancel).await)
        };
        let reply = match asked.await {
            Ok(reply) => reply,
            Err(stop) => return (replies, Err(stop)),
        };
        let record = reply.record.clone();
        replies.push(reply);
        if let Err(stop) = run.sender.check(&record).await {
            return (replies, Err(stop));
        }
        turn += 1;
    }
    (replies, Ok(()))
}

/// What the users got out of it, as the context of the machine's figures: over the whole window, for no comparison.
fn throughput(run: &mut Run<'_>, users: &[Vec<Reply>]) {
    let all = || users.iter().flatten();
    let complete: Vec<&Reply> = all().filter(|r| r.record.end.is_complete()).collect();
    let (n, failed_n) = (complete.len(), all().count() - complete.len());
    if let Some(value) = Window::whole(users).filter(|_| n > 0).and_then(|whole| whole.tokens_per_s(&complete)) {
        let single = Single { value, n, failed_n, interval: None };
        run.figures.single(Some(POINT), "whole_run_output_tokens_per_s", single);
    }
}
