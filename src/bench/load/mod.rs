//! The load scenario: closed loops, open loops, conversations or a trace, one point after the other on one start.

mod arrivals;
mod closed;
mod crew;
mod knee;
mod level;
mod open;
mod prepare;
mod stage;
mod turns;

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(super) use level::tokens_per_chunk;

use std::collections::HashMap;

use crate::domain::{LoadSpec, ValidityReason, Verdict};

use super::context::Activity;
use super::figures::Single;
use super::prompt::Counted;
use super::run::{Run, Stop};
use super::validity;
use crew::Crew;
use knee::Point;
use level::Level;
use prepare::{Preparation, Prepared};
use stage::{Shape, Stage};

/// Latencies that one point repeats as headline.
const HEADLINE_LATENCIES: [&str; 7] =
    ["ttft_ms", "tpot_ms", "itl_ms", "e2e_ms", "queue_ms", "ttft_from_intended_ms", "e2e_from_intended_ms"];

/// Rates that the point of the best throughput repeats as headline.
const HEADLINE_RATES: [&str; 4] =
    ["output_tokens_per_s", "input_tokens_per_s", "requests_per_s", "goodput_requests_per_s"];

/// Tokens of the warm-up prompt where a trace says the others' lengths.
const WARM_UP_TOKENS: u32 = 64;

pub(super) async fn run(run: &mut Run<'_>, spec: &LoadSpec) -> Result<(), Stop> {
    let stages = fitting(run, spec).await?;
    let Some(first) = stages.first() else { return Ok(()) };
    let requests: usize = stages.iter().map(|s| s.requests(spec)).sum();
    run.expect_requests(requests + 1);
    warm_up(run, spec, first.prompt_tokens).await?;
    let mut summary = Summary::default();
    for stage in stages {
        let level = measure(run, spec, stage, &mut summary.answer_tokens).await?;
        level.summarise(run, spec);
        let reached = level.judge(run, spec);
        summary.note(run, &level, reached);
        run.replies.extend(level.users.into_iter().flatten());
    }
    summary.close(run);
    validity::of_failures(&mut run.validity, &run.replies);
    validity::of_answers(&mut run.validity, run.replies.iter(), |record| match &spec.trace {
        Some(_) => summary.answer_tokens.get(&record.body_sha256).copied(),
        None => Some(spec.output_tokens),
    });
    Ok(())
}

/// The points whose prompts and answers fit the engine's context length.
async fn fitting(run: &mut Run<'_>, spec: &LoadSpec) -> Result<Vec<Stage>, Stop> {
    let all = stage::stages(spec);
    let Some(limit) = run.max_model_len().await? else { return Ok(all) };
    let (fits, left_out): (Vec<Stage>, Vec<Stage>) = all.into_iter().partition(|s| s.longest(spec) <= limit);
    if let Some(longest) = left_out.iter().map(|s| s.longest(spec)).max() {
        let points: Vec<&str> = left_out.iter().map(|s| s.point.as_str()).collect();
        let (verdict, what) = match fits.is_empty() {
            true => (Verdict::Invalid, "nothing was sent".to_owned()),
            false => (Verdict::Suspect, format!("left out: {}", points.join(", "))),
        };
        let sentence =
            format!("{what}: prompts with answers of up to {longest} tokens do not fit the engine's {limit}");
        run.validity.add(verdict, ValidityReason::SizeLeftOut, sentence);
    }
    Ok(fits)
}

/// One request of the same shape, so that the first level does not pay for what a first request costs.
async fn warm_up(run: &mut Run<'_>, spec: &LoadSpec, prompt_tokens: u32) -> Result<(), Stop> {
    let tokens = if prompt_tokens == 0 { WARM_UP_TOKENS } else { prompt_tokens };
    let prompt = run.prompt("load/warmup", tokens).await?;
    if prompt.counted == Counted::Estimated {
        validity::of_estimates(&mut run.validity);
    }
    run.begin_point(Activity::WarmingUp);
    run.warm_up(&prompt, spec.output_tokens, None).await
}

async fn measure(
    run: &mut Run<'_>,
    spec: &LoadSpec,
    stage: Stage,
    answer_tokens: &mut HashMap<String, u32>,
) -> Result<Level, Stop> {
    run.begin_point(Activity::Preparing);
    let prepared = Preparation { run, spec, stage: &stage, answer_tokens }.prepare().await?;
    let mut crew = Crew::new(run, &stage.point);
    run.begin_point(Activity::Measuring);
    match prepared {
        Prepared::Users { feeds, each } => closed::start(&mut crew, feeds, each),
        Prepared::Conversations(scripts) => turns::start(&mut crew, scripts, &run.timed(), spec.output_tokens),
        Prepared::Arrivals { requests, arrivals_s } => {
            if let Some(limit) = spec.max_concurrency {
                crew.limit(limit);
            }
            open::start(&mut crew, requests, &arrivals_s);
        }
    }
    let gathered = crew.gather().await;
    let client = run.end_watch();
    match gathered {
        Ok(users) => Ok(Level { stage, users, client }),
        Err((replies, found)) => {
            run.replies.extend(replies.into_iter().flatten());
            Err(found)
        }
    }
}

/// What the points say together.
#[derive(Default)]
struct Summary {
    /// Points in order, with their throughput; only those that measured something.
    points: Vec<(Stage, Option<f64>)>,
    /// Levels of closed loops with their prompts' length.
    closed: Vec<(u32, Point)>,
    /// The highest rate that was reached.
    sustained: Option<(f64, String)>,
    /// Tokens that each answer of a trace was asked to have, by the request's body.
    answer_tokens: HashMap<String, u32>,
}

impl Summary {
    fn note(&mut self, run: &Run<'_>, level: &Level, reached: bool) {
        if !level.has_figures() {
            return;
        }
        let stage = &level.stage;
        let throughput = run.figures.value(&stage.point, "output_tokens_per_s");
        match stage.shape {
            Shape::Users(users) => {
                let e2e_ms = run.figures.mean(&stage.point, "e2e_ms");
                if let (Some(tokens_per_s), Some(e2e_ms)) = (throughput, e2e_ms) {
                    self.closed.push((stage.prompt_tokens, Point { users, tokens_per_s, e2e_ms }));
                }
            }
            Shape::Rate(rate) if reached && self.sustained.as_ref().is_none_or(|(best, _)| rate > *best) => {
                self.sustained = Some((rate, stage.point.clone()));
            }
            Shape::Conversations(_) | Shape::Rate(_) | Shape::TraceUsers(_) | Shape::TraceArrivals => {}
        }
        self.points.push((stage.clone(), throughput));
    }

    /// Adds knees and headlines. The headline is that of the closed loop at the first length that was measured, where there is one;
    /// else of the conversations; else of the open loop, whose latencies are those of the highest rate that was reached.
    fn close(&self, run: &mut Run<'_>) {
        let mut lengths: Vec<u32> = self.closed.iter().map(|(length, _)| *length).collect();
        lengths.dedup();
        for length in &lengths {
            let levels: Vec<Point> = self.closed.iter().filter(|(l, _)| l == length).map(|(_, p)| *p).collect();
            if let Some(users) = knee::knee(&levels) {
                let point = (lengths.len() > 1).then(|| format!("p{length}"));
                let single = Single { value: f64::from(users), n: levels.len(), failed_n: 0, interval: None };
                run.figures.single(point.as_deref(), "knee_concurrency", single);
            }
        }
        if let Some((rate, _)) = &self.sustained {
            let n = self.points.iter().filter(|(s, _)| matches!(s.shape, Shape::Rate(_))).count();
            run.figures.single(
                None,
                "sustained_requests_per_s",
                Single { value: *rate, n, failed_n: 0, interval: None },
            );
        }
        let Some(chosen) = self.points.iter().map(|(stage, _)| family(stage)).min() else { return };
        let same = || self.points.iter().filter(|(stage, _)| family(stage) == chosen);
        let first_length = same().map(|(stage, _)| stage.prompt_tokens).next();
        let own = || same().filter(|(stage, _)| Some(stage.prompt_tokens) == first_length);
        let best = own().filter_map(|(stage, rate)| Some((stage, (*rate)?))).max_by(|a, b| a.1.total_cmp(&b.1));
        if let Some((stage, _)) = best {
            run.figures.headline(&stage.point, &HEADLINE_RATES);
        }
        let of_latencies = match chosen {
            Family::Rates => self.sustained.as_ref().map(|(_, point)| point.as_str()),
            Family::Closed | Family::Conversations | Family::Trace => {
                own().next_back().map(|(stage, _)| stage.point.as_str())
            }
        };
        if let Some(point) = of_latencies {
            run.figures.headline(point, &HEADLINE_LATENCIES);
        }
    }
}

/// Kinds of load, in the order in which they give the headline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Family {
    Closed,
    Conversations,
    Rates,
    Trace,
}

const fn family(stage: &Stage) -> Family {
    match stage.shape {
        Shape::Users(_) => Family::Closed,
        Shape::Conversations(_) => Family::Conversations,
        Shape::Rate(_) => Family::Rates,
        Shape::TraceUsers(_) | Shape::TraceArrivals => Family::Trace,
    }
}
