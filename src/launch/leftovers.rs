//! Containers that a crash left behind, and bystanders that may disturb a trial.

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum};
use serde::{Deserialize, Serialize};

use super::docker::DockerLauncher;
use super::error::LaunchError;
use super::spec::{LABEL_ATTEMPT, LABEL_DB, LABEL_ROLE, LABEL_SWEEP, LABEL_TRIAL, ROLE_TRIAL};

/// A trial's server that outlived its vgrid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leftover {
    /// Container id, or `pid:<n>`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The database it belongs to.
    pub db: String,
    /// The sweep, as labelled.
    pub sweep: String,
    /// The trial, as labelled.
    pub trial: String,
    /// The attempt, as labelled.
    pub attempt: String,
    /// Whether it still runs.
    pub running: bool,
}

/// Says which leftovers to leave alone: those that are none, because their vgrid lives.
pub type Spared<'f> = &'f dyn Fn(&Leftover) -> bool;

/// Why a bystander may disturb.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SidecarKind {
    /// It depends on the service: without it, it may fail, and it may send it traffic.
    DependsOnService,
    /// It holds Docker's socket: a watchdog may restart a trial.
    HoldsDockerSocket,
}

/// A running container beside the service; vgrid names it and leaves it alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sidecar {
    /// Container id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: String,
    /// Why it matters.
    pub kind: SidecarKind,
}

impl Sidecar {
    /// Who it is, and why it matters.
    #[must_use]
    pub fn describe(&self) -> String {
        let why = match self.kind {
            SidecarKind::DependsOnService => "depends on the service",
            SidecarKind::HoldsDockerSocket => "holds Docker's socket and may restart a trial",
        };
        format!("container {} ({}) {why}", self.name, self.image)
    }
}

impl DockerLauncher {
    /// Trials' containers of this database, running or not.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub async fn leftovers(&self, db: &str) -> Result<Vec<Leftover>, LaunchError> {
        let filters = [("label", format!("{LABEL_ROLE}={ROLE_TRIAL}")), ("label", format!("{LABEL_DB}={db}"))];
        Ok(self.list(&filters).await?.iter().map(leftover).collect())
    }

    /// Removes the trials' containers of this database by force, but for the spared ones, and waits until they are gone. Nothing
    /// else is ever touched.
    ///
    /// # Errors
    /// The daemon does not answer or cannot remove one.
    pub async fn remove_leftovers(&self, db: &str, spared: Spared<'_>) -> Result<Vec<Leftover>, LaunchError> {
        let found: Vec<Leftover> = self.leftovers(db).await?.into_iter().filter(|l| !spared(l)).collect();
        for leftover in &found {
            self.remove(&leftover.id).await?;
        }
        Ok(found)
    }

    /// Running containers that depend on the service, or that hold Docker's socket.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub async fn sidecars(&self, project: &str, service: &str) -> Result<Vec<Sidecar>, LaunchError> {
        let own_host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let all = self.list(&[("status", "running".to_owned())]).await?;
        let others = all.iter().filter(|container| {
            let is_self = container
                .id
                .as_deref()
                .is_some_and(|id| !own_host.trim().is_empty() && id.starts_with(own_host.trim()));
            !is_self && label(container, LABEL_ROLE) != Some(ROLE_TRIAL)
        });
        Ok(others.filter_map(|container| sidecar(container, project, service)).collect())
    }
}

fn label<'c>(container: &'c ContainerSummary, name: &str) -> Option<&'c str> {
    container.labels.as_ref()?.get(name).map(String::as_str)
}

fn name(container: &ContainerSummary) -> String {
    container.names.iter().flatten().next().map(|name| name.trim_start_matches('/').to_owned()).unwrap_or_default()
}

fn leftover(container: &ContainerSummary) -> Leftover {
    let text = |name: &str| label(container, name).unwrap_or_default().to_owned();
    Leftover {
        id: container.id.clone().unwrap_or_default(),
        name: name(container),
        db: text(LABEL_DB),
        sweep: text(LABEL_SWEEP),
        trial: text(LABEL_TRIAL),
        attempt: text(LABEL_ATTEMPT),
        running: container.state == Some(ContainerSummaryStateEnum::RUNNING),
    }
}

fn sidecar(container: &ContainerSummary, project: &str, service: &str) -> Option<Sidecar> {
    let same_project = label(container, "com.docker.compose.project") == Some(project);
    let is_the_service = same_project && label(container, "com.docker.compose.service") == Some(service);
    // `com.docker.compose.depends_on` reads `vllm:service_healthy:false,db:service_started:false`.
    let depends = label(container, "com.docker.compose.depends_on").unwrap_or_default();
    let depends_on_it = same_project && depends.split(',').any(|entry| entry.split(':').next() == Some(service));
    let holds_socket = container.mounts.iter().flatten().any(|mount| {
        [&mount.source, &mount.destination].into_iter().flatten().any(|path| path.ends_with("/docker.sock"))
    });
    let kind = match (is_the_service, holds_socket, depends_on_it) {
        (true, _, _) | (false, false, false) => return None,
        (false, true, _) => SidecarKind::HoldsDockerSocket,
        (false, false, true) => SidecarKind::DependsOnService,
    };
    Some(Sidecar {
        id: container.id.clone()?,
        name: name(container),
        image: container.image.clone().unwrap_or_default(),
        kind,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn kind(container: serde_json::Value) -> Option<SidecarKind> {
        sidecar(&serde_json::from_value(container).unwrap(), "p", "vllm").map(|s| s.kind)
    }

    #[test]
    fn dependents_and_holders_of_the_socket_are_sidecars_and_others_are_not() {
        let labels = |service: &str, depends: &str| json!({"com.docker.compose.project": "p", "com.docker.compose.service": service, "com.docker.compose.depends_on": depends});
        assert_eq!(
            kind(json!({"Id": "1", "Labels": labels("web", "db:service_started:false,vllm:service_healthy:false")})),
            Some(SidecarKind::DependsOnService)
        );
        assert_eq!(kind(json!({"Id": "1", "Labels": labels("web", "vllm2:service_healthy:false")})), None);
        assert_eq!(kind(json!({"Id": "1", "Labels": labels("vllm", "")})), None);
        let socket = json!([{"Type": "bind", "Source": "/var/run/docker.sock", "Destination": "/var/run/docker.sock"}]);
        assert_eq!(
            kind(json!({"Id": "1", "Names": ["/autoheal"], "Mounts": socket})),
            Some(SidecarKind::HoldsDockerSocket)
        );
        assert_eq!(kind(json!({"Id": "1", "Names": ["/nginx"]})), None);
    }
}
