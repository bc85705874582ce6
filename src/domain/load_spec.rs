//! What the load scenario is asked: closed loops, open loops, conversations, or a trace of the user's own.

use serde::{Deserialize, Serialize};

use super::trace::Trace;
use super::{Held, Kind, Range, keyed};

/// Requests per second beyond which no single client is an honest source.
const MAX_RATE: f64 = 10_000.0;

/// Twice of what the closed loop reached is overload enough.
const MAX_SHARE: f64 = 2.0;

keyed! {
    /// Parameters of the load scenario. Every kind of load that is asked for is measured, on one start of the server, each at
    /// points of its own.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub struct LoadSpec {
        /// Closed loop: users at once, one level after the other (points `c1`, `c8`); `[]` for none.
        #[key(unit = "users", may_be_empty = true)]
        pub concurrency: Vec<u32> = vec![1, 8],
        /// Closed loop: requests that each user sends at each level, the ramp-up included.
        pub requests_per_user: u32 = 8,
        /// Length of each prompt, the nonce included; of a list, every length at every level (points `c8_p256`, `c8_p1024`).
        #[key(unit = "tokens")]
        pub prompt_tokens: Lengths = Lengths(vec![512]),
        /// Length of each answer; `ignore_eos` makes the engine use it up.
        #[key(unit = "tokens")]
        pub output_tokens: u32 = 128,
        /// Conversations: the same users also hold conversations of so many turns, with growing history (points `u1`, `u8`).
        #[serde(skip_serializing_if = "Option::is_none")]
        pub turns_per_user: Option<u32> = None,
        /// Conversations: length of the user's message from the second turn on.
        #[key(unit = "tokens")]
        pub turn_tokens: u32 = 64,
        /// Open loop: requests arrive at each of these rates, one after the other (points `r0_5`, `r2`).
        #[key(unit = "requests/s", most = MAX_RATE, may_be_empty = true)]
        pub rates: Vec<f64> = Vec::new(),
        /// Open loop at these shares of the most requests/s that the closed loop reached at the same prompt length (points `s50`, `s90`): for
        /// rates that nobody knows before.
        #[key(most = MAX_SHARE, may_be_empty = true)]
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub rate_shares: Vec<f64> = Vec::new(),
        /// Open loop: how long requests arrive at each rate; at least 10 requests.
        #[key(unit = "seconds")]
        pub duration_s: f64 = 60.0,
        /// Open loop: shape of the gamma distribution of the gaps between arrivals: 1 is a Poisson process, below it bursts, above it more even.
        pub burstiness: f64 = 1.0,
        /// Open loop: requests in flight at most; the others wait at the client, and that is measured.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub max_concurrency: Option<u32> = None,
        /// Your own requests in place of all others: [traces.md](traces.md); starts at the folder of the file that names it.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub trace: Option<Trace> = None,
        /// Goodput: the largest time to first token, from the intended moment, that counts.
        #[key(unit = "ms")]
        #[serde(skip_serializing_if = "Option::is_none")]
        pub slo_ttft_ms: Option<f64> = None,
        /// Goodput: the largest time per output token that counts.
        #[key(unit = "ms")]
        #[serde(skip_serializing_if = "Option::is_none")]
        pub slo_tpot_ms: Option<f64> = None,
    }
}

impl LoadSpec {
    /// What is wrong with the parameters taken together, and what to write instead.
    #[must_use]
    pub fn fault(&self) -> Option<(&'static str, &'static str)> {
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

impl Held for Lengths {
    const KIND: Kind = Kind::OneOrList(&Kind::Whole);
    const RANGE: Range = u32::RANGE;

    #[cfg(test)]
    fn written(&self) -> Option<String> {
        match self.0.as_slice() {
            [one] => one.written(),
            _ => self.0.written(),
        }
    }
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
            LoadSpec { concurrency: vec![], rate_shares: vec![0.5], rates: vec![1.0], ..spec() },
            LoadSpec { concurrency: vec![], rates: vec![1.0], turns_per_user: Some(3), ..spec() },
            LoadSpec { trace: Some(trace), rates: vec![1.0], ..spec() },
        ];
        for spec in faulty {
            assert!(spec.fault().is_some(), "{spec:?}");
        }
    }
}
