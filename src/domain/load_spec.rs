//! What the load scenario is asked: closed loops, open loops, conversations, or a trace of the user's own.

use serde::{Deserialize, Serialize};

use super::trace::Trace;

/// Requests per second beyond which no single client is an honest source.
const MAX_RATE: f64 = 10_000.0;

/// Twice of what the closed loop reached is overload enough.
const MAX_SHARE: f64 = 2.0;

/// Parameters of the load scenario. Every kind of load that is asked for is measured, on one start of the server, each at
/// points of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoadSpec {
    /// Closed loop: users at once, one level after the other; empty for none.
    pub concurrency: Vec<u32>,
    /// Closed loop: requests that each user sends at each level, the ramp-up included.
    pub requests_per_user: u32,
    /// Tokens of each prompt, the nonce included: one length, or several that are measured one after the other.
    pub prompt_tokens: Lengths,
    /// Tokens of each answer; `ignore_eos` makes the engine use them up.
    pub output_tokens: u32,
    /// Conversations: turns of each, with growing history; `None` for no conversations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turns_per_user: Option<u32>,
    /// Conversations: tokens of the user's message from the second turn on.
    pub turn_tokens: u32,
    /// Open loop: requests per second, one level after the other; empty for none.
    pub rates: Vec<f64>,
    /// Open loop: rates as shares of the most requests per second that the closed loop reached at the same prompt length, one level
    /// after the other; empty for none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rate_shares: Vec<f64>,
    /// Open loop: how long requests arrive at each rate, s.
    pub duration_s: f64,
    /// Open loop: shape of the gamma distribution of the time between two arrivals. 1: a Poisson process; below: bursts; above:
    /// more even.
    pub burstiness: f64,
    /// Open loop: requests in flight at most; the others wait at the client. `None`: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_concurrency: Option<u32>,
    /// The user's own requests in place of all others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<Trace>,
    /// Goodput: the largest TTFT that still counts, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slo_ttft_ms: Option<f64>,
    /// Goodput: the largest TPOT that still counts, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slo_tpot_ms: Option<f64>,
}

impl Default for LoadSpec {
    fn default() -> Self {
        Self {
            concurrency: vec![1, 8],
            requests_per_user: 8,
            prompt_tokens: Lengths(vec![512]),
            output_tokens: 128,
            turns_per_user: None,
            turn_tokens: 64,
            rates: Vec::new(),
            rate_shares: Vec::new(),
            duration_s: 60.0,
            burstiness: 1.0,
            max_concurrency: None,
            trace: None,
            slo_ttft_ms: None,
            slo_tpot_ms: None,
        }
    }
}

impl LoadSpec {
    /// What is wrong with the parameters taken together, and what to write instead.
    #[must_use]
    pub fn fault(&self) -> Option<(&'static str, &'static str)> {
        let of_rates = self.rates.iter().chain(&self.rate_shares).copied();
        let figures = [self.duration_s, self.burstiness].into_iter().chain(of_rates);
        let limits = self.slo_ttft_ms.into_iter().chain(self.slo_tpot_ms);
        if figures.chain(limits).any(|n| !n.is_finite() || n <= 0.0) {
            return Some(("has a number that is not above 0", "write numbers above 0"));
        }
        if self.rates.iter().any(|rate| *rate > MAX_RATE) {
            return Some(("has a rate above 10000 requests per second", "write smaller `rates`"));
        }
        if self.rate_shares.iter().any(|share| *share > MAX_SHARE) {
            return Some(("has a share above 2", "write `rate_shares` as parts of one, e.g. rate_shares: [0.5, 0.9]"));
        }
        if !self.rate_shares.is_empty() && self.concurrency.is_empty() {
            return Some((
                "has `rate_shares` of nothing: they are shares of what the closed loop reaches",
                "write `concurrency`, e.g. concurrency: [1, 8, 32], or `rates` in requests per second",
            ));
        }
        let beside = !self.rates.is_empty() || !self.rate_shares.is_empty() || self.turns_per_user.is_some();
        if self.trace.is_some() && beside {
            return Some((
                "has a `trace` beside `rates`, `rate_shares` or `turns_per_user`",
                "a trace is the whole load: remove one of the two",
            ));
        }
        if self.turns_per_user.is_some() && self.concurrency.is_empty() {
            return Some(("has conversations of no user", "write `concurrency`, e.g. concurrency: [4]"));
        }
        if self.concurrency.is_empty() && self.rates.is_empty() && self.trace.is_none() {
            return Some(("sends nothing", "write `concurrency`, `rates` or `trace`"));
        }
        None
    }
}

/// One length or several; written as a number or a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "OneOrMany", into = "OneOrMany")]
pub struct Lengths(pub Vec<u32>);

#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "a number of tokens above 0, or a list of them, is needed")]
enum OneOrMany {
    One(u32),
    Many(Vec<u32>),
}

impl From<OneOrMany> for Lengths {
    fn from(written: OneOrMany) -> Self {
        match written {
            OneOrMany::One(length) => Self(vec![length]),
            OneOrMany::Many(lengths) => Self(lengths),
        }
    }
}

impl From<Lengths> for OneOrMany {
    fn from(lengths: Lengths) -> Self {
        match lengths.0.as_slice() {
            [one] => Self::One(*one),
            _ => Self::Many(lengths.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_length_and_a_list_of_one_are_the_same() {
        let of = |json: &str| serde_json::from_str::<LoadSpec>(json).unwrap();
        assert_eq!(of(r#"{"prompt_tokens": 256}"#), of(r#"{"prompt_tokens": [256]}"#));
        let two = of(r#"{"prompt_tokens": [256, 1024]}"#);
        assert_eq!(serde_json::from_value::<LoadSpec>(serde_json::to_value(&two).unwrap()).unwrap(), two);
        assert_eq!(serde_json::to_value(LoadSpec::default()).unwrap()["prompt_tokens"], 512);
        let error = serde_json::from_str::<LoadSpec>(r#"{"prompt_tokens": "x"}"#).unwrap_err().to_string();
        assert!(error.contains("a number of tokens"), "{error}");
    }

    #[test]
    fn loads_that_contradict_themselves_are_faults_and_the_default_is_none() {
        let spec = LoadSpec::default;
        assert_eq!(spec().fault(), None);
        assert_eq!(LoadSpec { concurrency: vec![], rates: vec![0.5], ..spec() }.fault(), None);
        let trace: Trace = serde_json::from_str("\"t.jsonl\"").unwrap();
        let faulty = [
            LoadSpec { concurrency: vec![], ..spec() },
            LoadSpec { rates: vec![f64::NAN], ..spec() },
            LoadSpec { rates: vec![20_000.0], ..spec() },
            LoadSpec { rate_shares: vec![80.0], ..spec() },
            LoadSpec { rate_shares: vec![0.0], ..spec() },
            LoadSpec { concurrency: vec![], rate_shares: vec![0.5], rates: vec![1.0], ..spec() },
            LoadSpec { burstiness: 0.0, ..spec() },
            LoadSpec { concurrency: vec![], rates: vec![1.0], turns_per_user: Some(3), ..spec() },
            LoadSpec { trace: Some(trace), rates: vec![1.0], ..spec() },
        ];
        for spec in faulty {
            assert!(spec.fault().is_some(), "{spec:?}");
        }
    }
}
