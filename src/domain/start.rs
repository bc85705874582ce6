//! A start of a config: why the engine is started once more, and which time it is.

use std::fmt;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::{Kind, keyed, text_enum};

text_enum! {
    /// Why a config is started.
    pub enum Purpose {
        /// The first time: the trial itself.
        Trial = "trial",
        /// The same config on a further start, because the grid asks for several.
        Repeat = "repeat",
        /// The baseline once more in the course of the night: did the machine change?
        Control = "control",
        /// The leader, or one tied with it, on a fresh start before a champion is named.
        Finalist = "finalist",
    }
}

/// One planned start of one config.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Start {
    /// Why.
    pub purpose: Purpose,
    /// Which of its purpose, from 1.
    pub number: u32,
}

impl Start {
    /// The first start of a config.
    pub const FIRST: Self = Self { purpose: Purpose::Trial, number: 1 };
}

impl Default for Start {
    fn default() -> Self {
        Self::FIRST
    }
}

/// `trial`, `control 2`: for people.
impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.purpose {
            Purpose::Trial => f.write_str(Purpose::Trial.as_str()),
            Purpose::Repeat | Purpose::Control | Purpose::Finalist => write!(f, "{} {}", self.purpose, self.number),
        }
    }
}

keyed! {
    /// How often configs are started: what a verdict needs beside one start of each. `off` is 0.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Repeats {
        /// Starts of every config: pass after pass over all of them, each begun by the baseline.
        #[key(range = Repeats::RANGE)]
        pub starts: u32 = 1,
        /// The baseline is measured again after this many starts of other configs, and last. One that would come within half that many starts
        /// of the last is left out.
        #[key(range = Repeats::RANGE, kind = Kind::WholeOrOff)]
        pub controls_every: u32 = 8,
        /// When everything else is measured, the leader of each objective and those tied with it, at most this many configs, are measured again
        /// before a champion is named.
        #[key(range = Repeats::RANGE, kind = Kind::WholeOrOff)]
        pub finalists: u32 = 2,
        /// Fresh starts of each finalist.
        #[key(range = Repeats::RANGE)]
        pub finalist_starts: u32 = 2,
    }
}

impl Repeats {
    /// How many starts of anything may be asked for.
    pub const RANGE: RangeInclusive<u64> = 1..=1_000;

    /// Every config once, nothing else.
    pub const OFF: Self = Self { starts: 1, controls_every: 0, finalists: 0, finalist_starts: 1 };
}
