//! A running server: create, ready, exit, logs, stop, restore; in Docker or as a local process.

mod address;
mod boot;
mod connect;
mod create;
mod docker;
mod docker_tasks;
mod duration;
mod endpoints;
mod error;
mod examine;
mod host;
mod image;
mod launcher;
mod leftovers;
mod log;
mod meter;
mod mounts;
mod pack;
mod pid_file;
mod prerequisites;
mod probe;
mod process;
mod procfs;
mod promotion;
mod ready;
mod recreate;
mod resources;
mod restorable;
mod restore;
mod running;
mod secrets;
mod serving;
mod spec;

#[cfg(test)]
mod docker_tests;
#[cfg(test)]
mod fake_server;
#[cfg(test)]
mod process_tests;

pub use docker::DockerLauncher;
pub use error::LaunchError;
pub use host::{GpuSupport, free_bytes, stop_grace, wants_gpu};
pub use launcher::Launcher;
pub use leftovers::{Leftover, Sidecar, SidecarKind};
pub use meter::Meter;
pub use mounts::doubtful_binds;
pub use pack::build_sim_image;
pub use process::ProcessLauncher;
pub use promotion::{PromotedLabels, PromotionQuery};
pub use ready::{BootProgress, Readiness, Ready, ReadyPolicy};
pub use restore::{RestoreAction, RestorePlan};
pub use running::Running;
pub use secrets::secrets_of;
pub use serving::{FoundBy, SavedRestartPolicy, Serving, ServingQuery};
pub use spec::{LaunchSpec, ProjectPart, TrialLabels, database_label, server_port};
