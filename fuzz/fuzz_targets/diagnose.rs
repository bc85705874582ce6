//! Any log has a diagnosis, whose evidence stands in the log.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vgrid::fuzz_support::diagnosed_lines;

fuzz_target!(|log: &str| {
    let lines = log.lines().count();
    for number in diagnosed_lines(log) {
        assert!((1..=lines.max(1)).contains(&number), "line {number} of {lines}");
    }
});
