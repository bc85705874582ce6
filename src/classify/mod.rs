//! Evidence (phase, exit code, container state, log) -> cause, evidence lines, numbers, remedy.
//!
//! Order of decision: what Docker refused, the kernel's OOM kill, the first specific line of the last boot that no stop
//! came before, what our own race decided, a stop from outside, likely lines, a dead engine, exit code, nothing.
//! Nothing known gives `Cause::Unknown` with the most specific line, never a guess.

mod complaint;
mod decide;
mod diagnosis;
mod evidence;
mod hang;
mod milestone;
mod numbers;
mod occupancy;
mod rule;
mod rules;
mod stage;
#[cfg(test)]
mod tests;
mod verdict;
mod view;

pub use decide::{first_wait_s, is_transient};
pub use diagnosis::{Diagnosis, diagnose};
pub use milestone::milestone;
pub use verdict::{EvidenceInput, Observer, WaitVerdict, classify};
