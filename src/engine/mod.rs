//! The sweep loop and one trial.
