//! Images: which one a reference means on this engine. vgrid pulls nothing.

use serde::{Deserialize, Serialize};

use super::docker::DockerLauncher;
use super::error::{LaunchError, LaunchStep};

/// An image that is on the engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageInfo {
    /// The reference asked for.
    pub reference: String,
    /// The id, `sha256:...`: what trials are pinned to.
    pub id: String,
    /// Digests by which registries know it, `name@sha256:...`; empty for an image built here.
    pub repo_digests: Vec<String>,
    /// Size on disk, bytes.
    pub size_bytes: Option<i64>,
    /// When it was built, RFC 3339.
    pub created: Option<String>,
    /// The image's own entrypoint.
    pub entrypoint: Vec<String>,
    /// The image's own command.
    pub command: Vec<String>,
    /// Labels.
    pub labels: std::collections::BTreeMap<String, String>,
}

impl DockerLauncher {
    /// What `reference` (name, `name@sha256:...` or id) means here.
    ///
    /// # Errors
    /// It is not on the engine (status 404, with the command that would fetch it), or the daemon does not answer.
    pub async fn image_info(&self, reference: &str) -> Result<ImageInfo, LaunchError> {
        let found = self.connection.docker.inspect_image(reference).await;
        let image = found.map_err(|error| match LaunchError::api(LaunchStep::Image, &error) {
            absent if absent.is_not_found() => LaunchError {
                message: format!(
                    "the image `{reference}` is not on this Docker engine, and vgrid pulls nothing by itself"
                ),
                ..absent
            }
            .help(format!("fetch or build it first: `docker pull {reference}`, or correct `image:`")),
            other => other,
        })?;
        let config = image.config.unwrap_or_default();
        Ok(ImageInfo {
            reference: reference.to_owned(),
            id: image.id.unwrap_or_default(),
            repo_digests: image.repo_digests.unwrap_or_default(),
            size_bytes: image.size,
            created: image.created,
            entrypoint: config.entrypoint.unwrap_or_default(),
            command: config.cmd.unwrap_or_default(),
            labels: config.labels.unwrap_or_default().into_iter().collect(),
        })
    }
}
