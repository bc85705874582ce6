//! How often configs are started: repeats, controls, finalists.

use super::keys::Section;
use super::reader::{Reader, present};
use crate::domain::Repeats;
use crate::yaml::Node;

/// The keys of `repeats`.
pub(super) const REPEATS: Section = Section::new("repeats", "`repeats`", Repeats::KEYS);

/// What a grid without `repeats` has: enough for a verdict where it asks for one.
pub(super) fn default(has_objectives: bool) -> Repeats {
    if has_objectives { Repeats::default() } else { Repeats::OFF }
}

/// Reads `repeats`: `off`, or a mapping over the defaults.
pub(super) fn read(reader: &mut Reader, node: &Node) -> Repeats {
    if node.map().is_none() {
        return reader.choice(node, "repeats", &[("off", Repeats::OFF)]).unwrap_or(Repeats::OFF);
    }
    reader.check_keys(node, &REPEATS);
    let mut repeats = Repeats::default();
    for (key, slot) in [("starts", &mut repeats.starts), ("finalist_starts", &mut repeats.finalist_starts)] {
        let Some(value) = present(node, key) else { continue };
        if let Some(number) = reader.whole(value, &format!("`repeats.{key}`"), Repeats::RANGE) {
            *slot = number as u32;
        }
    }
    for (key, slot) in [("controls_every", &mut repeats.controls_every), ("finalists", &mut repeats.finalists)] {
        let Some(value) = present(node, key) else { continue };
        if value.str() == Some("off") {
            *slot = 0;
        } else if let Some(number) = reader.whole(value, &format!("`repeats.{key}`"), Repeats::RANGE) {
            *slot = number as u32;
        }
    }
    repeats
}
