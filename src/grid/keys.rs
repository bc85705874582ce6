//! Every key that a grid file may have, by section: what unknown keys are checked against and what the reference must explain.

/// The top level. Keys that begin with `x-` are free, for YAML anchors.
pub(super) const GRID: &[&str] = &[
    "name",
    "description",
    "deployment",
    "base",
    "axes",
    "exclude",
    "configs",
    "baseline",
    "order",
    "suite",
    "seed",
    "use_cases",
    "gates",
    "objectives",
    "repeats",
    "limits",
    "notify",
    "telemetry",
];

/// `deployment`.
pub(super) const DEPLOYMENT: &[&str] = &[
    "compose",
    "env_files",
    "service",
    "project_name",
    "project_directory",
    "profiles",
    "also_stop",
    "process",
    "after",
];

/// The keys of `deployment` that only a Compose deployment has.
pub(super) const COMPOSE_ONLY: &[&str] =
    &["compose", "service", "project_name", "project_directory", "profiles", "also_stop"];

/// `deployment.process`.
pub(super) const PROCESS: &[&str] = &["command", "env", "port"];

/// `base`.
pub(super) const SETTINGS: &[&str] = &["flags", "env", "image", "model"];

/// An item of `configs`.
pub(super) const CONFIG: &[&str] = &["name", "description", "flags", "env", "image", "model", "expected"];

/// An item of `exclude`.
pub(super) const EXCLUDE: &[&str] = &["when", "because"];

/// `order` when it is a mapping.
pub(super) const ORDER: &[&str] = &["shuffled"];

/// `suite` when it is a mapping; the scenarios' own names may stand beside these.
pub(super) const SUITE: &[&str] = &["name", "base", "seed"];

/// `limits`.
pub(super) const LIMITS: &[&str] =
    &["startup", "stall", "gpu_free", "trial", "until", "budget", "identical_failures", "retries", "deaths", "daemon"];

/// An item of `notify`.
pub(super) const NOTIFY: &[&str] = &["url", "format", "hook", "pass_env", "on", "timeout", "retries"];

/// `repeats` when it is a mapping.
pub(super) const REPEATS: &[&str] = &["starts", "controls_every", "finalists", "finalist_starts"];

/// `telemetry`.
pub(super) const TELEMETRY: &[&str] = &["interval", "dcgm", "nvml_library"];

/// Every section with its keys, as the reference names them.
#[cfg(test)]
pub(super) const SECTIONS: &[(&str, &[&str])] = &[
    ("grid", GRID),
    ("deployment", DEPLOYMENT),
    ("deployment.process", PROCESS),
    ("base", SETTINGS),
    ("configs", CONFIG),
    ("exclude", EXCLUDE),
    ("order", ORDER),
    ("suite", SUITE),
    ("repeats", REPEATS),
    ("limits", LIMITS),
    ("notify", NOTIFY),
    ("telemetry", TELEMETRY),
];
