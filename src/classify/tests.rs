//! The corpus and the rules' robustness.

mod corpus;
mod field;
mod messages;
mod noise;
mod variations;
