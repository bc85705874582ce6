//! A promoted container: made as Compose would make it, found again by its labels, kept or removed.

use std::path::PathBuf;

use bollard::models::ContainerCreateBody;
use bollard::query_parameters::RemoveContainerOptions;

use super::docker::DockerLauncher;
use super::error::{LaunchError, LaunchStep};
use super::running::Running;
use super::serving::{SavedRestartPolicy, Serving};
use super::spec::{LABEL_ATTEMPT, LABEL_DB, LABEL_ROLE, LaunchSpec};

/// The value of the role's label on a promoted container.
const ROLE_PROMOTED: &str = "promoted";

/// Label with the promotion's number.
const LABEL_PROMOTION: &str = "io.vgrid.promotion";

/// What the labels of a promoted container say beside those of a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromotedLabels {
    /// The promotion's number in its database.
    pub promotion: i64,
    /// Compose's own hash of the service, so that `docker compose up` with the override leaves the container as it is.
    pub config_hash: Option<String>,
    /// The compose files with the override behind them, absolute.
    pub config_files: Vec<PathBuf>,
}

impl PromotedLabels {
    fn put(&self, body: &mut ContainerCreateBody) {
        let labels = body.labels.get_or_insert_default();
        labels.remove(LABEL_ATTEMPT);
        labels.insert(LABEL_ROLE.to_owned(), ROLE_PROMOTED.to_owned());
        labels.insert(LABEL_PROMOTION.to_owned(), self.promotion.to_string());
        let files: Vec<String> = self.config_files.iter().map(|file| file.display().to_string()).collect();
        labels.insert("com.docker.compose.project.config_files".to_owned(), files.join(","));
        if let Some(hash) = &self.config_hash {
            labels.insert("com.docker.compose.config-hash".to_owned(), hash.clone());
        }
    }
}

impl DockerLauncher {
    /// As [`Self::start`], for a container that stays. Docker does not restart it before [`Self::keep`].
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_promoted(&self, spec: &LaunchSpec, labels: &PromotedLabels) -> Result<Running, LaunchError> {
        self.start_as(spec, |body| labels.put(body)).await
    }

    /// Gives a verified container the restart policy that its service asks for.
    ///
    /// # Errors
    /// The daemon does not answer, or the container is gone.
    pub async fn keep(&self, running: &Running, policy: &SavedRestartPolicy) -> Result<(), LaunchError> {
        self.set_restart_policy(&running.id, policy.to_docker()).await
    }

    /// Removes the container of a promotion of this database, if it is there; its name.
    ///
    /// # Errors
    /// The daemon does not answer, or cannot remove it.
    pub async fn remove_promoted(&self, db: &str, promotion: i64) -> Result<Option<String>, LaunchError> {
        let filters = [
            ("label", format!("{LABEL_ROLE}={ROLE_PROMOTED}")),
            ("label", format!("{LABEL_DB}={db}")),
            ("label", format!("{LABEL_PROMOTION}={promotion}")),
        ];
        let mut removed = None;
        for container in self.list(&filters).await? {
            let Some(id) = container.id else { continue };
            self.stop_only(&id, None).await?;
            self.remove(&id).await?;
            removed = container.names.into_iter().flatten().next().map(|name| name.trim_start_matches('/').to_owned());
        }
        Ok(removed)
    }

    /// Removes what was taken aside when its successor is verified, as Compose does when it recreates a container. Its volumes
    /// stay, those without a name too, for it can be made again from `serving`.
    ///
    /// # Errors
    /// The daemon does not answer, or cannot remove it.
    pub async fn remove_displaced(&self, serving: &Serving) -> Result<(), LaunchError> {
        let options = RemoveContainerOptions { force: true, v: false, link: false };
        let removed = self.connection.docker.remove_container(&serving.container_id, Some(options)).await;
        match removed.map_err(|error| LaunchError::api(LaunchStep::Stop, &error)) {
            Ok(()) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }
}
