//! Any text is a grid or has a mistake that is told; a grid has as many points as it says, or a mistake that is told.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vgrid::fuzz_support::expand_grid;

fuzz_target!(|text: &str| expand_grid(text));
