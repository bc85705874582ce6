//! Evidence (phase, exit code, container state, log) -> cause, evidence lines, numbers, remedy.
