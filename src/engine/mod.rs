//! The plan, the preflight, the sweep loop and one trial: decides and orders, and touches the world only through lower floors.

mod after;
mod again;
mod announce;
mod bench_run;
mod daemon;
mod deadline;
mod error;
mod gpu_free;
mod hold;
mod host;
pub(crate) mod init;
mod left;
mod night;
#[cfg(test)]
mod nights_tests;
mod observe;
mod plan;
mod preflight;
pub(crate) mod promote;
mod pruning;
mod readback;
mod record;
mod register;
mod restore;
mod room;
mod score;
mod settle;
mod sweep;
mod tell;
mod trial;
mod trouble;
mod twins;

pub(crate) use bench_run::{BenchPlan, BenchRun, Stopped, StoppedBy};
pub(crate) use deadline::Deadline;
pub(crate) use error::EngineError;
pub(crate) use hold::Hold;
pub(crate) use plan::{PlannedConfig, Planner};
pub(crate) use preflight::{Finding, FindingKind, Images, SIM_IMAGE, SimImage, inspect, state_folder};
pub(crate) use restore::{is_at_work, recover};
pub(crate) use sweep::{Ended, Summary, Sweep, SweepOptions, compose_of, deployment_identity};
pub(crate) use tell::Teller;
