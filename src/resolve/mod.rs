//! Start-up log, `/metrics`, inspect -> the resolved config; mismatches; twins.

mod canonical;
mod compare;
mod pyrepr;
mod read;
#[cfg(test)]
mod tests;

pub use compare::{diff, mismatches, twins};
pub use read::{Sources, read};
