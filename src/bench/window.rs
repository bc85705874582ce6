//! The steady window of a closed loop, and what happened inside it: pure arithmetic on replies.

use crate::domain::RequestRecord;
use crate::stats::{self, Interval};

use super::chat::Reply;

/// A span of a scenario's clock, ms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Window {
    pub(super) start_ms: f64,
    pub(super) end_ms: f64,
}

impl Window {
    /// From the moment when every user has sent its first measured request to the moment when the first user is done: all
    /// users have a request in flight, up to the turn-round between two. `None` where there is no such span.
    pub(super) fn steady(users: &[Vec<Reply>]) -> Option<Self> {
        let mut window = Self { start_ms: f64::MIN, end_ms: f64::MAX };
        for user in users {
            let first = user.iter().find(|r| r.record.measured)?;
            let last = user.last()?;
            window.start_ms = window.start_ms.max(first.record.sent_ms);
            window.end_ms = window.end_ms.min(last.record.end_ms);
        }
        (!users.is_empty() && window.end_ms > window.start_ms).then_some(window)
    }

    /// From the first request to the last end.
    pub(super) fn whole(users: &[Vec<Reply>]) -> Option<Self> {
        let records = || users.iter().flatten().map(|r| &r.record);
        let start_ms = records().map(|r| r.sent_ms).reduce(f64::min)?;
        let end_ms = records().map(|r| r.end_ms).reduce(f64::max)?;
        (end_ms > start_ms).then_some(Self { start_ms, end_ms })
    }

    /// Length, s.
    pub(super) fn seconds(self) -> f64 {
        (self.end_ms - self.start_ms) / 1_000.0
    }

    /// How long a request was in flight inside the window, ms.
    pub(super) fn overlap_ms(self, record: &RequestRecord) -> f64 {
        (record.end_ms.min(self.end_ms) - record.sent_ms.max(self.start_ms)).max(0.0)
    }

    /// The share of a request that lies in the window: requests at the edges count in part, else the last wave of a lock-step
    /// loop would be lost.
    pub(super) fn share(self, record: &RequestRecord) -> f64 {
        let length_ms = record.e2e_ms();
        if length_ms > 0.0 { self.overlap_ms(record) / length_ms } else { 0.0 }
    }

    /// Completion tokens that arrived inside the window; `None` when usage does not say how many there were.
    pub(super) fn tokens(self, reply: &Reply) -> Option<f64> {
        let inside = |at_ms: f64| at_ms > self.start_ms && at_ms <= self.end_ms;
        let weights = chunk_weights(reply)?;
        Some(reply.record.chunks.iter().zip(weights).filter(|((at, _), _)| inside(*at)).map(|(_, w)| w).sum())
    }

    /// Tokens per second of complete replies inside the window; `None` when one of them has no usage.
    pub(super) fn tokens_per_s(self, replies: &[&Reply]) -> Option<f64> {
        let tokens: Option<f64> = replies.iter().map(|r| self.tokens(r)).sum();
        Some(tokens? / self.seconds())
    }

    /// Interval of the throughput: the window is cut into spans of one median request, whose rates are resampled. `None` below
    /// five spans.
    pub(super) fn throughput_interval(self, replies: &[&Reply], seed: u64) -> Option<Interval> {
        let lengths: Vec<f64> = replies.iter().map(|r| r.record.e2e_ms()).collect();
        let span_ms = stats::median(&lengths)?;
        let spans = ((self.end_ms - self.start_ms) / span_ms).floor();
        if !(stats::MIN_SAMPLES_FOR_INTERVAL as f64..=MAX_SPANS).contains(&spans) {
            return None;
        }
        let length_ms = (self.end_ms - self.start_ms) / spans;
        let rates: Option<Vec<f64>> = (0..spans as usize)
            .map(|i| {
                let start_ms = (i as f64).mul_add(length_ms, self.start_ms);
                Self { start_ms, end_ms: start_ms + length_ms }.tokens_per_s(replies)
            })
            .collect();
        stats::bootstrap_interval(&rates?, seed, stats::mean)
    }
}

/// More spans than this make no better interval.
const MAX_SPANS: f64 = 10_000.0;

/// Tokens that each chunk stands for: the server's own count, else all tokens spread evenly; `None` without usage.
fn chunk_weights(reply: &Reply) -> Option<Vec<f64>> {
    let total = f64::from(reply.record.completion_tokens?);
    let chunks = reply.record.chunks.len();
    if !reply.record.chunk_tokens.is_empty() && reply.record.chunk_tokens.len() == chunks {
        return Some(reply.record.chunk_tokens.iter().map(|n| f64::from(*n)).collect());
    }
    Some(vec![total / chunks.max(1) as f64; chunks])
}

/// Gaps between token-bearing chunks, ms, one sample per token: a chunk of k tokens after a gap g gives k samples of g / k. Where
/// the server does not count tokens per chunk, each chunk stands for its average.
pub(super) fn token_gaps_ms(reply: &Reply) -> Vec<f64> {
    let weights = chunk_weights(reply).unwrap_or_else(|| vec![1.0; reply.record.chunks.len()]);
    let gaps = reply.record.chunks.windows(2).map(|pair| pair[1].0 - pair[0].0);
    gaps.zip(weights.into_iter().skip(1))
        .flat_map(|(gap, tokens)| {
            let tokens = tokens.max(1.0);
            std::iter::repeat_n(gap / tokens, tokens.round() as usize)
        })
        .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use crate::domain::{RequestEnd, Role, TokenKind};

    use super::*;

    pub(in super::super) fn reply(measured: bool, sent: f64, chunks: &[f64], end: f64) -> Reply {
        let record = RequestRecord {
            index: 0,
            point: None,
            role: Role::Load,
            user_number: None,
            measured,
            intended_ms: sent,
            sent_ms: sent,
            headers_ms: Some(sent),
            first_token_ms: chunks.first().copied(),
            first_content_ms: chunks.first().copied(),
            last_token_ms: chunks.last().copied(),
            end_ms: end,
            end: RequestEnd::Truncated,
            finish_reason: None,
            http_status: Some(200),
            error: None,
            prompt_tokens: Some(10),
            completion_tokens: Some(chunks.len() as u32),
            cached_tokens: None,
            chunks: chunks.iter().map(|at| (*at, TokenKind::Content)).collect(),
            chunk_tokens: Vec::new(),
            body_sha256: String::new(),
        };
        Reply { record, answer: None }
    }

    #[test]
    fn the_steady_window_leaves_out_ramp_and_drain() {
        let users = vec![
            vec![reply(false, 0.0, &[5.0], 10.0), reply(true, 11.0, &[15.0], 20.0), reply(true, 21.0, &[25.0], 30.0)],
            vec![reply(false, 0.0, &[9.0], 18.0), reply(true, 19.0, &[25.0], 33.0), reply(true, 34.0, &[40.0], 50.0)],
        ];
        assert_eq!(Window::steady(&users), Some(Window { start_ms: 19.0, end_ms: 30.0 }));
        assert_eq!(Window::whole(&users), Some(Window { start_ms: 0.0, end_ms: 50.0 }));
        assert_eq!(Window::steady(&[users[0].clone(), Vec::new()]), None);
        assert_eq!(Window::steady(&[]), None);
    }

    #[test]
    fn requests_at_the_edges_count_in_part() {
        let window = Window { start_ms: 10.0, end_ms: 20.0 };
        assert!((window.share(&reply(true, 5.0, &[], 15.0).record) - 0.5).abs() < 1e-12);
        assert!((window.share(&reply(true, 12.0, &[], 14.0).record) - 1.0).abs() < 1e-12);
        assert!(window.share(&reply(true, 30.0, &[], 40.0).record).abs() < 1e-12);
    }

    #[test]
    fn tokens_count_when_they_arrive_and_not_without_usage() {
        let window = Window { start_ms: 10.0, end_ms: 20.0 };
        let mut r = reply(true, 0.0, &[5.0, 12.0, 20.0, 25.0], 30.0);
        assert_eq!(window.tokens(&r), Some(2.0));
        r.record.chunk_tokens = vec![1, 4, 2, 1];
        assert_eq!(window.tokens(&r), Some(6.0));
        r.record.completion_tokens = None;
        assert_eq!(window.tokens(&r), None);
        assert_eq!(window.tokens_per_s(&[&r]), None);
    }

    #[test]
    fn gaps_are_weighted_by_the_tokens_of_their_chunk() {
        let mut r = reply(true, 0.0, &[10.0, 22.0, 28.0], 30.0);
        assert_eq!(token_gaps_ms(&r), [12.0, 6.0]);
        r.record.chunk_tokens = vec![1, 3, 2];
        assert_eq!(token_gaps_ms(&r), [4.0, 4.0, 4.0, 3.0, 3.0]);
        r.record.chunk_tokens.clear();
        r.record.completion_tokens = Some(6);
        assert_eq!(token_gaps_ms(&r), [6.0, 6.0, 3.0, 3.0]);
    }

    #[test]
    fn a_steady_stream_has_a_narrow_interval_and_a_short_one_none() {
        let chunks: Vec<f64> = (1..=1_000).map(|i| f64::from(i) * 10.0).collect();
        let parts: Vec<Reply> = chunks.chunks(100).map(|c| reply(true, c[0] - 10.0, c, c[99])).collect();
        let replies: Vec<&Reply> = parts.iter().collect();
        let window = Window { start_ms: 0.0, end_ms: 10_000.0 };
        let interval = window.throughput_interval(&replies, 1).unwrap();
        assert!(interval.low > 98.0 && interval.high < 102.0, "{interval:?}");
        assert!(window.throughput_interval(&replies[..3], 1).is_some());
        assert!(Window { start_ms: 0.0, end_ms: 2_000.0 }.throughput_interval(&replies, 1).is_none());
    }

    proptest! {
        #[test]
        fn token_gaps_add_up_to_the_time_between_first_and_last_token(gaps in proptest::collection::vec(0.0_f64..100.0, 1..50), k in 1_u32..5) {
            let mut at = 0.0;
            let chunks: Vec<f64> = std::iter::once(0.0).chain(gaps.iter().map(|g| { at += g; at })).collect();
            let mut r = reply(true, 0.0, &chunks, at);
            r.record.chunk_tokens = vec![k; chunks.len()];
            let sum: f64 = token_gaps_ms(&r).iter().sum();
            prop_assert!((sum - at).abs() < 1e-6);
        }
    }
}
