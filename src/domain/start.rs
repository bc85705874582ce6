//! A start of a config: why the engine is started once more, and which time it is.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::text_enum::text_enum;

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

/// How often configs are started: what a verdict needs beside one start of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repeats {
    /// Starts of every config, at least 1.
    pub starts: u32,
    /// The baseline is measured again after this many starts of other configs, and last; 0 is never.
    pub controls_every: u32,
    /// At most this many configs are measured again before a champion is named; 0 is none.
    pub finalists: u32,
    /// Fresh starts of each finalist, at least 1.
    pub finalist_starts: u32,
}

impl Repeats {
    /// Every config once, nothing else.
    pub const OFF: Self = Self { starts: 1, controls_every: 0, finalists: 0, finalist_starts: 1 };
}

impl Default for Repeats {
    fn default() -> Self {
        Self { starts: 1, controls_every: 8, finalists: 2, finalist_starts: 2 }
    }
}
