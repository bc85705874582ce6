//! Why a server could not be launched, stopped or put back: the step, what Docker or the system said, and the way out.

use std::fmt;

use crate::domain::{ExitFacts, Phase};

/// The step that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaunchStep {
    /// Reaching the daemon.
    Connect,
    /// Looking at an image.
    Image,
    /// Checking and making what the server needs: mounts, networks, volumes, dependencies, port.
    Prepare,
    /// Creating the container.
    Create,
    /// Starting the container or process.
    Start,
    /// Looking at a container or process.
    Inspect,
    /// Stopping and removing.
    Stop,
    /// Moving aside what serves.
    Displace,
    /// Putting back what served.
    Restore,
}

impl LaunchStep {
    /// The step in words, as in "could not ...".
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "reach the Docker daemon",
            Self::Image => "look up the image",
            Self::Prepare => "prepare the launch",
            Self::Create => "create the server",
            Self::Start => "start the server",
            Self::Inspect => "inspect the server",
            Self::Stop => "stop the server",
            Self::Displace => "move aside what serves now",
            Self::Restore => "put back what served before",
        }
    }
}

/// A failed step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchError {
    /// The step.
    pub step: LaunchStep,
    /// The HTTP status of the Docker API, where it answered.
    pub status: Option<u16>,
    /// What Docker or the system said, verbatim where it spoke; this is the evidence for classification.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Whether the daemon itself did not answer: a problem of the host, not of the config.
    pub daemon_unreachable: bool,
}

impl LaunchError {
    /// An error of ours, without an API status.
    #[must_use]
    pub fn new(step: LaunchStep, message: impl Into<String>) -> Self {
        Self { step, status: None, message: message.into(), help: None, daemon_unreachable: false }
    }

    /// A daemon that did not come back within this time.
    #[must_use]
    pub fn daemon_away(waited: std::time::Duration) -> Self {
        let text = format!("it has not answered for {} s", waited.as_secs());
        Self { daemon_unreachable: true, ..Self::new(LaunchStep::Connect, text) }
            .help("start it (`systemctl start docker`), then run `vgrid restore`, or the same command again to go on")
    }

    /// Says what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// What bollard reports while doing `step`.
    #[must_use]
    pub(super) fn api(step: LaunchStep, error: &bollard::errors::Error) -> Self {
        use bollard::errors::Error;
        match error {
            Error::DockerResponseServerError { status_code, message } => {
                Self { status: Some(*status_code), ..Self::new(step, message.clone()) }
            }
            other => Self {
                daemon_unreachable: true,
                help: Some("check that the Docker daemon runs and answers, e.g. with `docker version`".to_owned()),
                ..Self::new(step, with_sources(other))
            },
        }
    }

    /// Whether Docker says that the thing does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.status == Some(404)
    }

    /// The phase of the attempt in which the step stands.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        match self.step {
            LaunchStep::Connect | LaunchStep::Image | LaunchStep::Prepare | LaunchStep::Displace => Phase::Prepare,
            LaunchStep::Create | LaunchStep::Start => Phase::Create,
            LaunchStep::Inspect => Phase::Startup,
            LaunchStep::Stop | LaunchStep::Restore => Phase::Teardown,
        }
    }

    /// The error as exit facts, for classification.
    #[must_use]
    pub fn exit_facts(&self) -> ExitFacts {
        ExitFacts { error: Some(self.message.clone()), ..ExitFacts::default() }
    }
}

impl fmt::Display for LaunchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not {}: {}", self.step.as_str(), self.message)?;
        if let Some(status) = self.status {
            write!(f, " (Docker API status {status})")?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  = help: {help}")?;
        }
        Ok(())
    }
}

impl std::error::Error for LaunchError {}

/// The error's text followed by its causes, each said once.
pub(super) fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_error_keeps_dockers_own_words_and_status() {
        let source = bollard::errors::Error::DockerResponseServerError {
            status_code: 500,
            message: "could not select device driver \"nvidia\" with capabilities: [[gpu]]".into(),
        };
        let error = LaunchError::api(LaunchStep::Start, &source);
        assert_eq!(error.phase(), Phase::Create);
        assert!(!error.daemon_unreachable);
        assert_eq!(
            error.to_string(),
            "could not start the server: could not select device driver \"nvidia\" with capabilities: [[gpu]] (Docker API status 500)"
        );
    }

    #[test]
    fn a_broken_connection_is_the_daemons_fault_and_not_the_configs() {
        let io = std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "connection refused");
        let error = LaunchError::api(LaunchStep::Inspect, &bollard::errors::Error::from(io));
        assert!(error.daemon_unreachable);
        assert!(error.to_string().contains("connection refused"));
        assert!(error.help.is_some());
    }
}
