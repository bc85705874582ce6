//! The command line: parse, call the engine, print, exit code.

use std::process::ExitCode;

/// Runs the command that the arguments name.
#[must_use]
pub fn run() -> ExitCode {
    ExitCode::SUCCESS
}
