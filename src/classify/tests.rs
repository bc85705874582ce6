//! The corpus and the rules' robustness.

mod corpus;
mod messages;
mod variations;
