//! What one point gave: its figures and its doubts.

use crate::domain::{LoadSpec, PointWindow, RequestRecord, Role, ValidityReason, Verdict};

use super::super::chat::Reply;
use super::super::figures::{Figures, Samples, Single};
use super::super::run::Run;
use super::super::selfcheck::SelfReport;
use super::super::window::{Window, token_gaps_ms};
use super::open::{self, Flow};
use super::stage::{Shape, Stage};
use super::turns::{FIRST_TURN, LATER_TURN};
use crate::stats;

/// Share of the level's concurrency that must be reached.
const MIN_CONCURRENCY_SHARE: f64 = 0.95;

/// Complete requests that a median needs.
const MIN_REQUESTS: usize = 3;

/// Requests of an open loop without a limit may leave so late, at the 95th percentile, ms.
const MAX_LATE_P95_MS: f64 = 10.0;

/// One point, measured.
pub(super) struct Level {
    pub(super) stage: Stage,
    /// Replies per user; in an open loop one per sender.
    pub(super) users: Vec<Vec<Reply>>,
    pub(super) client: SelfReport,
}

impl Level {
    fn all(&self) -> impl Iterator<Item = &Reply> {
        self.users.iter().flatten()
    }

    fn measured(&self) -> impl Iterator<Item = &Reply> {
        self.all().filter(|r| r.record.measured)
    }

    fn complete(&self) -> impl Iterator<Item = &Reply> {
        self.measured().filter(|r| r.record.end.is_complete())
    }

    /// Whether it measured anything.
    pub(super) fn has_figures(&self) -> bool {
        self.complete().next().is_some()
    }

    /// The span in which the load is what was asked for.
    fn window(&self) -> Option<Window> {
        if self.stage.is_open() { open::window(&self.all().collect::<Vec<_>>()) } else { Window::steady(&self.users) }
    }

    /// The window in which its rates are counted; `None` where it has none.
    pub(super) fn point_window(&self) -> Option<PointWindow> {
        let Window { start_ms, end_ms } = self.window().filter(|_| self.has_figures())?;
        Some(PointWindow { point: self.stage.point.clone(), start_ms, end_ms })
    }

    /// How much of a request belongs to the window. A closed loop shares requests at the edges out, else the last wave of a
    /// lock-step loop would be lost; in an open loop only an end inside counts, else a growing queue would look like work.
    fn weight(&self, window: Window, record: &RequestRecord) -> f64 {
        if !self.stage.is_open() {
            return window.share(record);
        }
        f64::from(u8::from(record.end_ms > window.start_ms && record.end_ms <= window.end_ms))
    }

    /// Adds the point's figures.
    pub(super) fn summarise(&self, figures: &mut Figures, spec: &LoadSpec) {
        let complete: Vec<&Reply> = self.complete().collect();
        let mut sheet = Sheet {
            figures,
            point: &self.stage.point,
            n: complete.len(),
            failed_n: self.measured().count() - complete.len(),
        };
        sheet.latencies(&complete);
        sheet.single("tokens_per_chunk", tokens_per_chunk(&complete));
        sheet.single("client_cpu_ratio", self.client.cpu_ratio());
        sheet.single("client_lag_ms", self.client.lag_p95_ms());
        if complete.is_empty() {
            return; // no rate of nothing: the failures say what happened
        }
        if let Some(whole) = Window::whole(&self.users) {
            let all: Vec<&Reply> = self.all().filter(|r| r.record.end.is_complete()).collect();
            sheet.single("whole_run_output_tokens_per_s", whole.tokens_per_s(&all));
        }
        if let Some(window) = self.window() {
            self.rates(&mut sheet, spec, &complete, window);
        }
    }

    fn rates(&self, sheet: &mut Sheet<'_>, spec: &LoadSpec, complete: &[&Reply], window: Window) {
        let seconds = window.seconds();
        let interval = window.throughput_interval(complete, sheet.figures.seed());
        let weight = |r: &Reply| self.weight(window, &r.record);
        let input: Option<f64> = complete.iter().map(|r| Some(weight(r) * f64::from(r.record.prompt_tokens?))).sum();
        let done: f64 = complete.iter().map(|r| weight(r)).sum();
        let busy_ms: f64 = self.measured().map(|r| window.overlap_ms(&r.record)).sum();
        sheet.with_interval("output_tokens_per_s", window.tokens_per_s(complete), interval);
        sheet.single("input_tokens_per_s", input.map(|tokens| tokens / seconds));
        sheet.single("requests_per_s", Some(done / seconds));
        sheet.single("achieved_concurrency", Some(busy_ms / 1_000.0 / seconds));
        if spec.slo_ttft_ms.is_some() || spec.slo_tpot_ms.is_some() {
            let good: f64 = complete.iter().filter(|r| meets(spec, &r.record)).map(|r| weight(r)).sum();
            sheet.single("goodput_requests_per_s", Some(good / seconds));
        }
        if self.stage.is_open() {
            let all: Vec<&Reply> = self.all().collect();
            let flow = Flow::of(window, &all);
            sheet.single("offered_requests_per_s", Some(flow.arrived as f64 / seconds));
            sheet.single("backlog_growth", Some(flow.growth()));
            let growth = open::latency_growth(&all);
            sheet.with_interval("latency_growth_ratio", growth.map(|g| g.value), growth.map(|g| g.interval));
        }
    }

    /// Adds what makes the point doubtful; whether the load that was asked for was reached.
    pub(super) fn judge(&self, run: &mut Run<'_>, spec: &LoadSpec) -> bool {
        let point = &self.stage.point;
        let gaps: Vec<f64> = self.complete().flat_map(token_gaps_ms).collect();
        for doubt in self.client.doubts(&gaps) {
            run.validity.add(Verdict::Suspect, ValidityReason::ClientSaturated, format!("{point}: {doubt}"));
        }
        let n = self.complete().count();
        let shortfall = match self.stage.shape {
            Shape::Users(users) | Shape::Conversations(users) | Shape::TraceUsers(users) => {
                self.lacks_concurrency(users, run).map(|s| (ValidityReason::ConcurrencyNotReached, s))
            }
            Shape::Rate(_) | Shape::Share(_) | Shape::TraceArrivals => {
                if let Some(sentence) = self.is_late(spec) {
                    run.validity.add(Verdict::Suspect, ValidityReason::ClientSaturated, sentence);
                }
                let alike = matches!(self.stage.shape, Shape::Rate(_));
                open::shortfall(&self.all().collect::<Vec<_>>(), alike).map(|s| (ValidityReason::RateNotReached, s))
            }
        };
        let reached = shortfall.is_none();
        if let (Some((reason, sentence)), true) = (shortfall, n > 0) {
            run.validity.add(Verdict::Suspect, reason, format!("{point}: {sentence}"));
        }
        if n < MIN_REQUESTS {
            let sentence = format!("{point}: {n} complete requests, {MIN_REQUESTS} are needed");
            run.validity.add(Verdict::Suspect, ValidityReason::TooFewSamples, sentence);
        }
        reached
    }

    fn lacks_concurrency(&self, users: u32, run: &Run<'_>) -> Option<String> {
        match run.figures.value(&self.stage.point, "achieved_concurrency") {
            Some(achieved) if achieved >= f64::from(users) * MIN_CONCURRENCY_SHARE => None,
            Some(achieved) => Some(format!("{achieved:.1} requests in flight on average, not {users}")),
            None => Some(format!("never were all {users} users at it at once: no steady window")),
        }
    }

    /// A client that sends late is no open loop. With a limit on what is in flight, waiting is what was asked for.
    fn is_late(&self, spec: &LoadSpec) -> Option<String> {
        let late: Vec<f64> = self.all().map(|r| r.record.queue_ms()).collect();
        let p95 =
            stats::quantile(&late, 0.95).filter(|p95| *p95 > MAX_LATE_P95_MS && spec.max_concurrency.is_none())?;
        Some(format!("{}: requests were sent {p95:.1} ms after their arrival (95th percentile)", self.stage.point))
    }
}

/// One point's part of the figures.
struct Sheet<'a> {
    figures: &'a mut Figures,
    point: &'a str,
    n: usize,
    failed_n: usize,
}

impl Sheet<'_> {
    fn latencies(&mut self, complete: &[&Reply]) {
        let role = |role: Option<Role>, figure: fn(&RequestRecord) -> Option<f64>| -> Vec<f64> {
            let wanted = |r: &&&Reply| role.is_none_or(|role| r.record.role == role);
            complete.iter().filter(wanted).filter_map(|r| figure(&r.record)).collect()
        };
        let of = |figure| role(None, figure);
        let samples = [
            ("ttft_ms", of(RequestRecord::ttft_ms)),
            ("tpot_ms", of(RequestRecord::tpot_ms)),
            ("e2e_ms", of(|r| Some(r.e2e_ms()))),
            ("queue_ms", of(|r| Some(r.queue_ms()))),
            ("ttft_from_intended_ms", of(ttft_from_intended_ms)),
            ("e2e_from_intended_ms", of(|r| Some(r.end_ms - r.intended_ms))),
            ("ttft_first_turn_ms", role(Some(FIRST_TURN), RequestRecord::ttft_ms)),
            ("ttft_later_turns_ms", role(Some(LATER_TURN), RequestRecord::ttft_ms)),
        ];
        for (name, samples) in samples {
            self.figures.describe(self.point, name, &samples, self.failed_n);
        }
        let gaps: Vec<f64> = complete.iter().flat_map(|r| token_gaps_ms(r)).collect();
        self.figures.describe_as(Samples::Dependent, self.point, "itl_ms", &gaps, self.failed_n);
    }

    fn single(&mut self, name: &str, value: Option<f64>) {
        self.with_interval(name, value, None);
    }

    fn with_interval(&mut self, name: &str, value: Option<f64>, interval: Option<stats::Interval>) {
        if let Some(value) = value {
            let single = Single { value, n: self.n, failed_n: self.failed_n, interval };
            self.figures.single(Some(self.point), name, single);
        }
    }
}

/// First token - intended: what a user waits for, a queue at the client included.
fn ttft_from_intended_ms(record: &RequestRecord) -> Option<f64> {
    Some(record.first_token_ms? - record.intended_ms)
}

/// Whether a complete request meets every SLO, waiting at the client included; one whose TPOT is not known meets none.
fn meets(spec: &LoadSpec, record: &RequestRecord) -> bool {
    let within = |value: Option<f64>, limit: Option<f64>| limit.is_none_or(|limit| value.is_some_and(|v| v <= limit));
    within(ttft_from_intended_ms(record), spec.slo_ttft_ms) && within(record.tpot_ms(), spec.slo_tpot_ms)
}

pub(in crate::bench) fn tokens_per_chunk(complete: &[&Reply]) -> Option<f64> {
    let chunks: usize = complete.iter().map(|r| r.record.chunks.len()).sum();
    let tokens: Option<u64> = complete.iter().map(|r| r.record.completion_tokens.map(u64::from)).sum();
    tokens.filter(|_| chunks > 0).map(|tokens| tokens as f64 / chunks as f64)
}

#[cfg(test)]
#[path = "level_tests.rs"]
mod tests;
