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

use std::collections::{BTreeMap, HashMap};

use crate::domain::{LoadSpec, ValidityReason, Verdict};

use super::context::Activity;
use super::figures::Single;
use super::prompt::Counted;
use super::run::Run;
use super::sender::Stop;
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
    let mut requests: usize = 1 + stages.iter().map(|s| s.requests(spec)).sum::<usize>();
    run.expect_requests(requests);
    warm_up(run, spec, first.prompt_tokens).await?;
    let mut summary = Summary { per_length: spec.prompt_tokens.0.len() > 1, ..Summary::default() };
    for mut stage in stages {
        if let Shape::Share(share) = stage.shape {
            let Some(most) = summary.closed_rates.get(&stage.prompt_tokens) else {
                let sentence =
                    format!("{} was left out: no closed level of its prompt length was measured", stage.point);
                run.validity.add(Verdict::Suspect, ValidityReason::TooFewSamples, sentence);
                continue;
            };
            stage.shape = Shape::Rate(share * most);
            requests += stage.requests(spec);
            run.expect_requests(requests);
        }
        let level = measure(run, spec, stage, &mut summary.answer_tokens).await?;
        level.summarise(&mut run.figures, spec);
        run.windows.extend(level.point_window());
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
    /// Whether figures of one prompt length have points of their own: the suite asks for several lengths.
    per_length: bool,
    /// Points in order, with their throughput; only those that measured something.
    points: Vec<(Stage, Option<f64>)>,
    /// Levels of closed loops with their prompts' length.
    closed: Vec<(u32, Point)>,
    /// The most requests/s that a closed loop reached, by prompt length.
    closed_rates: BTreeMap<u32, f64>,
    /// The highest rate that was reached and its point, by prompt length.
    sustained: BTreeMap<u32, (f64, String)>,
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
                if let Some(rate) = run.figures.value(&stage.point, "requests_per_s").filter(|rate| *rate > 0.0) {
                    let most = self.closed_rates.entry(stage.prompt_tokens).or_insert(rate);
                    *most = most.max(rate);
                }
            }
            Shape::Rate(rate) if reached => {
                let best = self.sustained.entry(stage.prompt_tokens).or_insert((rate, stage.point.clone()));
                if rate > best.0 {
                    *best = (rate, stage.point.clone());
                }
            }
            Shape::Conversations(_)
            | Shape::Rate(_)
            | Shape::Share(_)
            | Shape::TraceUsers(_)
            | Shape::TraceArrivals => {}
        }
        self.points.push((stage.clone(), throughput));
    }

    /// Adds what is known of each prompt length, and headlines. The headline is that of the closed loop at the first length that was
    /// measured, where there is one; else of the conversations; else of the open loop, whose latencies are those of the highest rate
    /// that was reached.
    fn close(&self, run: &mut Run<'_>) {
        self.by_length(run);
        let Some(chosen) = self.points.iter().map(|(stage, _)| family(stage)).min() else { return };
        let same = || self.points.iter().filter(|(stage, _)| family(stage) == chosen);
        let Some(first_length) = same().map(|(stage, _)| stage.prompt_tokens).next() else { return };
        let own = || same().filter(|(stage, _)| stage.prompt_tokens == first_length);
        let best = own().filter_map(|(stage, rate)| Some((stage, (*rate)?))).max_by(|a, b| a.1.total_cmp(&b.1));
        if let Some((stage, _)) = best {
            run.figures.headline(&stage.point, &HEADLINE_RATES);
        }
        let of_latencies = match chosen {
            Family::Rates => self.sustained.get(&first_length).map(|(_, point)| point.as_str()),
            Family::Closed | Family::Conversations | Family::Trace => {
                own().next_back().map(|(stage, _)| stage.point.as_str())
            }
        };
        if let Some(point) = of_latencies {
            run.figures.headline(point, &HEADLINE_LATENCIES);
        }
    }

    /// Adds the knee of the closed loop and the highest rate of the open loop that was reached.
    fn by_length(&self, run: &mut Run<'_>) {
        let point = |length: u32| self.per_length.then(|| format!("p{length}"));
        let mut lengths: Vec<u32> = self.closed.iter().map(|(length, _)| *length).collect();
        lengths.dedup();
        for length in lengths {
            let levels: Vec<Point> = self.closed.iter().filter(|(l, _)| *l == length).map(|(_, p)| *p).collect();
            if let Some(users) = knee::knee(&levels) {
                let single = Single { value: f64::from(users), n: levels.len(), failed_n: 0, interval: None };
                run.figures.single(point(length).as_deref(), "knee_concurrency", single);
            }
        }
        for (length, (rate, _)) in &self.sustained {
            let of_it = |stage: &Stage| matches!(stage.shape, Shape::Rate(_)) && stage.prompt_tokens == *length;
            let n = self.points.iter().filter(|(stage, _)| of_it(stage)).count();
            let single = Single { value: *rate, n, failed_n: 0, interval: None };
            run.figures.single(point(*length).as_deref(), "sustained_requests_per_s", single);
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
        Shape::Rate(_) | Shape::Share(_) => Family::Rates,
        Shape::TraceUsers(_) | Shape::TraceArrivals => Family::Trace,
    }
}
