//! Start-up log, `/metrics`, inspect -> the resolved config; mismatches; twins.

mod canonical;
mod compare;
mod pyrepr;
mod read;
#[cfg(test)]
mod tests;

pub use canonical::{canonical, same_value};
pub use compare::{diff, mismatches, speaks_of_the_engine, twins};
pub use read::{Sources, read};
