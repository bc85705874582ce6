//! The sections of a grid file: which keys each may have, as the reader checks them and the reference explains them.
//!
//! The tables stand beside the types that are read from them.

use std::ops::RangeInclusive;

use crate::domain::Key;

/// A mapping of the grid file.
#[derive(Debug)]
pub(super) struct Section {
    /// Its heading in the reference.
    #[cfg_attr(not(test), expect(dead_code, reason = "a test writes the reference from it"))]
    pub name: &'static str,
    /// As messages call it.
    pub what: &'static str,
    /// Its keys, in the order of the reference.
    pub keys: &'static [Key],
    /// Whether keys that begin with `x-` are free, for YAML anchors.
    pub extensions: bool,
}

impl Section {
    /// A section without free keys.
    pub const fn new(name: &'static str, what: &'static str, keys: &'static [Key]) -> Self {
        Self { name, what, keys, extensions: false }
    }

    /// The names of its keys.
    pub fn names(&self) -> Vec<&'static str> {
        self.keys.iter().map(|key| key.name).collect()
    }
}

/// What a seed may be: SQLite's whole numbers.
pub(super) const SEEDS: RangeInclusive<u64> = 0..=i64::MAX as u64;
