//! Why a scenario's result may not be used: the rules that several scenarios share.

use std::collections::BTreeMap;

use crate::domain::{CounterDelta, RequestEnd, RequestRecord, ScenarioSpec, Validity, ValidityReason, Verdict};
use crate::stats;

use super::chat::Reply;
use super::selfcheck::SelfReport;
use super::window::token_gaps_ms;
use crate::prometheus::Scrape;

/// Client's and server's token counts may differ by so much: the engine's counters are a step behind at times.
const TOKEN_TOLERANCE: f64 = 0.02;

/// And by so many tokens.
const TOKEN_SLACK: f64 = 16.0;

/// A prompt may be so many tokens off its own count (templates that add the date, a second BOS).
const PROMPT_SLACK: u32 = 8;

/// A fresh prompt may share so much with others: chat templates share a few tokens.
const FRESH_SHARE: f64 = 0.1;

/// No engine decodes one answer faster than a token in so many ms: chunks that follow closer were sent on together.
const TOGETHER_MS: f64 = 0.1;

/// A burst takes less than this share of the time to its first chunk.
const BURST_SHARE: f64 = 0.1;

/// Share of answers that may come in a burst.
const MAX_BURSTS_SHARE: f64 = 0.05;

/// How far a scenario's figures rest on the client's clock.
struct Clocked {
    /// Any figure of it is a time, and it does not judge the client point by point itself.
    times: bool,
    /// A figure of it is a pace: ITL, TPOT, decode rate.
    pace: bool,
}

const fn clocked(spec: &ScenarioSpec) -> Clocked {
    match spec {
        ScenarioSpec::Smoke(_) | ScenarioSpec::ToolCalling(_) | ScenarioSpec::Canary(_) => {
            Clocked { times: false, pace: false }
        }
        ScenarioSpec::KvCache(_)
        | ScenarioSpec::LongContext(_)
        | ScenarioSpec::Reasoning(_)
        | ScenarioSpec::Profile(_) => Clocked { times: true, pace: false },
        ScenarioSpec::Conversation(_) | ScenarioSpec::Stability(_) => Clocked { times: true, pace: true },
        ScenarioSpec::Load(_) => Clocked { times: false, pace: true },
    }
}

/// Times that say more about the client, or about what lies between it and the engine, than about the engine.
pub(super) fn of_times(validity: &mut Validity, spec: &ScenarioSpec, watched: &SelfReport, replies: &[Reply]) {
    let clocked = clocked(spec);
    let measured = || replies.iter().filter(|r| r.record.measured && r.record.end.is_complete());
    if clocked.times {
        let gaps: Vec<f64> = measured().flat_map(token_gaps_ms).collect();
        for doubt in watched.doubts(&gaps) {
            validity.add(Verdict::Suspect, ValidityReason::ClientSaturated, doubt);
        }
    }
    if clocked.pace {
        of_bursts(validity, measured().map(|r| &r.record));
    }
}

/// Answers whose chunks came all together: the time between them is the socket's, not the decoder's.
fn of_bursts<'r>(validity: &mut Validity, records: impl Iterator<Item = &'r RequestRecord>) {
    let paced: Vec<bool> = records.filter_map(came_in_a_burst).collect();
    let bursts = paced.iter().filter(|burst| **burst).count();
    if bursts as f64 > paced.len() as f64 * MAX_BURSTS_SHARE {
        let sentence = format!(
            "{bursts} of {} answers came in one burst (chunks less than {TOGETHER_MS} ms apart, all within a tenth of the TTFT): the \
             server or a proxy sent them on together, so their decode rate, TPOT and ITL are not the engine's pace",
            paced.len()
        );
        validity.add(Verdict::Suspect, ValidityReason::TokensInBursts, sentence);
    }
}

/// Whether an answer of three chunks or more came in a burst.
fn came_in_a_burst(record: &RequestRecord) -> Option<bool> {
    let gaps: Vec<f64> = record.chunks.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    let middle = stats::median(&gaps).filter(|_| gaps.len() >= 2)?;
    let (first, last) = (record.first_token_ms?, record.last_token_ms?);
    Some(middle < TOGETHER_MS && last - first < BURST_SHARE * (first - record.sent_ms))
}

/// Requests among the measured ones that are not complete, with how they ended and the first error.
pub(super) fn of_failures(validity: &mut Validity, replies: &[Reply]) {
    of_failed(validity, replies, |end| !end.is_complete());
}

/// Like [`of_failures`], where `failed` says which ends are failures.
pub(super) fn of_failed(validity: &mut Validity, replies: &[Reply], failed: impl Fn(RequestEnd) -> bool) {
    let has_failed = |r: &&RequestRecord| failed(r.end);
    let measured = || replies.iter().map(|r| &r.record).filter(|r| r.measured);
    let mut ends: BTreeMap<RequestEnd, usize> = BTreeMap::new();
    for record in measured().filter(has_failed) {
        *ends.entry(record.end).or_default() += 1;
    }
    let (failed, total) = (ends.values().sum::<usize>(), measured().count());
    if failed == 0 {
        return;
    }
    let ends: Vec<String> = ends.iter().map(|(end, n)| format!("{end} {n}")).collect();
    let first = measured().find(has_failed).and_then(|r| r.error.as_deref());
    let first = first.map(|e| format!("; the first: {}", one_line(e))).unwrap_or_default();
    let empty = measured().filter(has_failed).find_map(why_empty);
    let first = format!("{first}{}", empty.map(|why| format!("; {why}")).unwrap_or_default());
    let verdict = if failed == total { Verdict::Invalid } else { Verdict::Suspect };
    let sentence = format!("{failed} of {total} measured requests failed ({}){first}", ends.join(", "));
    validity.add(verdict, ValidityReason::RequestsFailed, sentence);
}

/// Why an answer that was cut at its limit showed no token at all.
pub(super) fn why_empty(record: &RequestRecord) -> Option<String> {
    let is_cut = record.end == RequestEnd::Empty && record.finish_reason.as_deref() == Some("length");
    is_cut.then(|| {
        let tokens = record.completion_tokens.map_or_else(String::new, |n| format!(" of {n} tokens"));
        format!(
            "an answer{tokens} was over before any of it was seen: a parser of the engine (reasoning, tool calls) holds back the marks at its \
             beginning, so give it more `output_tokens`"
        )
    })
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(200).collect()
}

/// Token counts of complete, measured requests: said at all, and as long as asked for.
pub(super) fn of_tokens(validity: &mut Validity, replies: &[Reply], output_tokens: u32) {
    of_tokens_of(validity, replies.iter(), output_tokens);
}

/// Like [`of_tokens`], for some of the replies.
pub(super) fn of_tokens_of<'r>(
    validity: &mut Validity,
    replies: impl Iterator<Item = &'r Reply> + Clone,
    output_tokens: u32,
) {
    of_answers(validity, replies, |_| Some(output_tokens));
}

/// Like [`of_tokens_of`], where each request asked for a length of its own; `None`: for none that is known.
pub(super) fn of_answers<'r>(
    validity: &mut Validity,
    replies: impl Iterator<Item = &'r Reply> + Clone,
    asked_for: impl Fn(&RequestRecord) -> Option<u32>,
) {
    let complete = || replies.clone().map(|r| &r.record).filter(|r| r.measured && r.end.is_complete());
    let silent = complete().filter(|r| r.completion_tokens.is_none()).count();
    if silent > 0 {
        let sentence = format!("{silent} of {} complete requests came without usage", complete().count());
        validity.add(Verdict::Suspect, ValidityReason::UsageMissing, sentence);
    }
    let mut other =
        complete().filter_map(|r| Some((r.completion_tokens?, asked_for(r)?))).filter(|(n, asked)| n != asked);
    if let Some((got, asked)) = other.next() {
        let sentence = format!(
            "{} of {} answers do not have the tokens that were asked for, the first {got} in place of {asked}, so configs did not do \
             equal work",
            1 + other.count(),
            complete().count()
        );
        validity.add(Verdict::Suspect, ValidityReason::TokenCountsDisagree, sentence);
    }
    let surplus = complete().filter(|r| r.completion_tokens.is_some_and(|n| r.chunks.len() > n as usize)).count();
    if surplus > 0 {
        let sentence = format!("{surplus} answers came in more token-bearing chunks than usage counts tokens");
        validity.add(Verdict::Suspect, ValidityReason::TokenCountsDisagree, sentence);
    }
}

/// Prompt lengths against the count that `/tokenize` gave, as pairs (said by usage, counted before).
pub(super) fn of_prompts(validity: &mut Validity, said_and_counted: &[(u32, u32)]) {
    let off = |said: u32, counted: u32| {
        let slack = PROMPT_SLACK.max((f64::from(counted) * TOKEN_TOLERANCE) as u32);
        said.abs_diff(counted) > slack
    };
    if let Some((said, counted)) = said_and_counted.iter().find(|(said, counted)| off(*said, *counted)) {
        let sentence = format!("usage says {said} prompt tokens where {counted} were counted before sending");
        validity.add(Verdict::Suspect, ValidityReason::TokenCountsDisagree, sentence);
    }
}

/// Prompts that were to be new to the prefix cache, as their usage says.
pub(super) fn of_fresh_prompts<'r>(
    validity: &mut Validity,
    what: &str,
    records: impl Iterator<Item = &'r RequestRecord>,
) {
    let said: Vec<(f64, f64)> =
        records.filter_map(|r| Some((f64::from(r.cached_tokens?), f64::from(r.prompt_tokens?)))).collect();
    if let Some(share) = stats::ratio_of_sums(&said).filter(|share| *share > FRESH_SHARE) {
        let sentence =
            format!("{what}: cached_tokens say that {:.0} % of fresh prompts came from the cache", share * 100.0);
        validity.add(Verdict::Invalid, ValidityReason::MissWasCached, sentence);
    }
}

/// Prompts whose length is only an estimate.
pub(super) fn of_estimates(validity: &mut Validity) {
    let sentence = "the server has no /tokenize: prompt lengths are estimates; `usage.prompt_tokens` of each request says the true one";
    validity.add(Verdict::Suspect, ValidityReason::TokenCountsDisagree, sentence);
}

/// The engine's counters against the client's view.
pub(super) fn of_counters(validity: &mut Validity, counters: &[CounterDelta], replies: &[Reply]) {
    let moved = |name: &str| counters.iter().find(|c| c.name == name).map(|c| c.after - c.before);
    if let Some(n) = moved("vllm:num_preemptions_total").filter(|n| *n > 0.0) {
        let sentence = format!("{n} preemptions: the KV cache was too small for what ran at once");
        validity.add(Verdict::Suspect, ValidityReason::Preemptions, sentence);
    }
    if !replies.iter().all(|r| r.record.end.is_complete()) {
        return; // the engine counts what we did not receive
    }
    let received: Option<u64> = replies.iter().map(|r| r.record.completion_tokens.map(u64::from)).sum();
    let (Some(received), Some(generated)) = (received, moved("vllm:generation_tokens_total")) else { return };
    let received = received as f64;
    if (generated - received).abs() > TOKEN_SLACK.max(received * TOKEN_TOLERANCE) {
        let sentence = format!(
            "the engine generated {generated} tokens, our requests received {received}: somebody else used the server, or tokens were lost"
        );
        validity.add(Verdict::Suspect, ValidityReason::TokenCountsDisagree, sentence);
    }
}

/// A counter that fell, or a process that began anew, was another server.
pub(super) fn restarted(validity: &mut Validity, before: &Scrape, after: &Scrape) {
    let began = "process_start_time_seconds";
    let new_process = match (before.sum(began), after.sum(began)) {
        (Some(a), Some(b)) => (a - b).abs() > 1.0,
        (None, _) | (_, None) => false,
    };
    let fell = before
        .samples
        .iter()
        .map(|s| s.name.as_str())
        .filter(|name| name.starts_with("vllm:") && name.ends_with("_total"))
        .find(|name| after.sum(name).is_some_and(|now| before.sum(name).is_some_and(|then| now < then)));
    if new_process || fell.is_some() {
        let what = fell.unwrap_or(began);
        let sentence = format!("the server was restarted during the scenario: its `{what}` says so");
        validity.add(Verdict::Invalid, ValidityReason::ServerRestarted, sentence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delta(name: &str, before: f64, after: f64) -> CounterDelta {
        CounterDelta { name: name.to_owned(), before, after }
    }

    #[test]
    fn an_answer_that_a_parser_held_back_whole_is_explained_and_another_empty_one_is_not() {
        let mut reply = super::super::window::tests::reply(true, 0.0, &[], 5.0);
        reply.record.end = RequestEnd::Empty;
        reply.record.completion_tokens = Some(1);
        reply.record.finish_reason = Some("length".to_owned());
        let told = |reply: &Reply| {
            let mut validity = Validity::default();
            of_failures(&mut validity, std::slice::from_ref(reply));
            validity.reasons.remove(0).1
        };
        let text = told(&reply);
        assert!(text.contains("(empty 1); an answer of 1 tokens") && text.contains("more `output_tokens`"), "{text}");
        reply.record.finish_reason = Some("stop".to_owned());
        assert!(told(&reply).ends_with("(empty 1)"));
    }

    #[test]
    fn preemptions_make_a_result_suspect() {
        let mut validity = Validity::default();
        of_counters(&mut validity, &[delta("vllm:num_preemptions_total", 3.0, 3.0)], &[]);
        assert_eq!(validity.verdict, Verdict::Valid);
        of_counters(&mut validity, &[delta("vllm:num_preemptions_total", 3.0, 5.0)], &[]);
        assert_eq!(validity.verdict, Verdict::Suspect);
        assert!(validity.reasons[0].1.starts_with("2 preemptions"));
    }

    #[test]
    fn a_falling_counter_or_a_new_process_is_a_restart() {
        let cases = [
            ("vllm:x_total 5", "vllm:x_total 4", true),
            ("vllm:x_total 5", "vllm:x_total 5", false),
            ("process_start_time_seconds 100", "process_start_time_seconds 300", true),
            ("vllm:running 5", "vllm:running 1", false),
        ];
        for (before, after, expected) in cases {
            let mut validity = Validity::default();
            restarted(&mut validity, &Scrape::parse(before), &Scrape::parse(after));
            assert_eq!(validity.verdict == Verdict::Invalid, expected, "{before} -> {after}");
        }
    }

    #[test]
    fn an_answer_whose_chunks_come_all_at_once_after_a_long_wait_is_a_burst() {
        use super::super::window::tests::reply;
        let burst = reply(true, 0.0, &[40.0, 40.01, 40.02, 40.04], 41.0);
        let paced = reply(true, 0.0, &[40.0, 42.0, 44.0, 46.0], 47.0);
        let fast = reply(true, 0.0, &[0.2, 0.25, 0.3, 0.35], 1.0);
        let short = reply(true, 0.0, &[40.0, 40.01], 41.0);
        let of = |reply: &Reply| came_in_a_burst(&reply.record);
        assert_eq!([of(&burst), of(&paced), of(&fast), of(&short)], [Some(true), Some(false), Some(false), None]);

        let judged = |replies: &[Reply], spec: ScenarioSpec| {
            let mut validity = Validity::default();
            of_times(&mut validity, &spec, &SelfReport::default(), replies);
            validity.reasons.into_iter().map(|(reason, _)| reason).collect::<Vec<_>>()
        };
        let mut many = vec![paced; 19];
        many.push(burst.clone());
        let load = || ScenarioSpec::Load(Default::default());
        assert!(judged(&many, load()).is_empty(), "one of twenty is chance");
        many.push(burst);
        assert_eq!(judged(&many, load()), [ValidityReason::TokensInBursts]);
        assert!(judged(&many, ScenarioSpec::KvCache(Default::default())).is_empty(), "it measures no pace");
    }

    #[test]
    fn tokens_that_we_did_not_receive_are_noticed() {
        let mut validity = Validity::default();
        of_counters(&mut validity, &[delta("vllm:generation_tokens_total", 0.0, 100.0)], &[]);
        assert_eq!(validity.reasons[0].0, ValidityReason::TokenCountsDisagree);
    }

    #[test]
    fn prompts_may_be_a_few_tokens_off_and_no_more() {
        let mut validity = Validity::default();
        of_prompts(&mut validity, &[(1_020, 1_024), (604, 600)]);
        assert_eq!(validity.verdict, Verdict::Valid);
        of_prompts(&mut validity, &[(900, 1_024)]);
        assert_eq!(validity.verdict, Verdict::Suspect);
    }
}
