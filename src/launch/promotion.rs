//! A promoted container: made as Compose would make it, found again by its labels, kept or removed.

use std::path::{Path, PathBuf};

use bollard::models::{ContainerCreateBody, ContainerInspectResponse, ContainerSummary};
use bollard::query_parameters::RemoveContainerOptions;

use super::docker::DockerLauncher;
use super::error::{LaunchError, LaunchStep};
use super::restore::is_trial;
use super::running::Running;
use super::serving::{SavedRestartPolicy, Serving};
use super::spec::{LABEL_ATTEMPT, LABEL_DB, LABEL_ROLE, LaunchSpec};

/// The value of the role's label on a promoted container.
const ROLE_PROMOTED: &str = "promoted";

/// Label with the promotion's number.
const LABEL_PROMOTION: &str = "io.vgrid.promotion";

/// Compose's labels, which tell its own containers apart.
const COMPOSE: &str = "com.docker.compose.";

/// What the labels of a promoted container say beside those of a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromotedLabels {
    /// The promotion's number in its database.
    pub promotion: i64,
    /// Compose's own hash of the service, so that `docker compose up` with the override leaves the container as it is.
    pub config_hash: Option<String>,
    /// The version of Compose whose hash that is, where the container that is replaced says it.
    pub compose_version: Option<String>,
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
        labels.insert(format!("{COMPOSE}project.config_files"), files.join(","));
        for (name, value) in [("config-hash", &self.config_hash), ("version", &self.compose_version)] {
            if let Some(value) = value {
                labels.insert(format!("{COMPOSE}{name}"), value.clone());
            }
        }
    }
}

/// A promotion, as far as its containers are known by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromotionQuery {
    /// Its database, by label.
    pub db: String,
    /// Its number in that database.
    pub promotion: i64,
    /// The compose project and service.
    pub service: Option<(String, String)>,
    /// The overrides that promotions wrote for that service, absolute, in every spelling that Compose may give them.
    pub overrides: Vec<PathBuf>,
    /// Containers that served before it, which are not its own.
    pub before: Vec<String>,
}

/// A container that runs a promoted config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromotedContainer {
    /// Full id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Compose made it from the override, in the place of vgrid's own.
    pub by_compose: bool,
}

impl PromotionQuery {
    fn matching(&self, container: &ContainerSummary) -> Option<PromotedContainer> {
        let label = |name: &str| container.labels.as_ref().and_then(|labels| labels.get(name)).map(String::as_str);
        let compose = |name: &str| label(&format!("{COMPOSE}{name}"));
        let id = container.id.clone().filter(|id| !self.before.contains(id))?;
        let by_compose = match label(LABEL_ROLE) {
            Some(ROLE_PROMOTED) => {
                let number = label(LABEL_PROMOTION) == Some(&self.promotion.to_string());
                if !number || label(LABEL_DB) != Some(&self.db) {
                    return None;
                }
                false
            }
            Some(_) => return None,
            None => {
                let (project, service) = self.service.as_ref()?;
                let files = compose("project.config_files").unwrap_or_default();
                let with_override =
                    files.split(',').any(|file| self.overrides.iter().any(|own| own.as_path() == Path::new(file)));
                let of_service = compose("project") == Some(project) && compose("service") == Some(service);
                if !with_override || !of_service || compose("oneoff") == Some("True") {
                    return None;
                }
                true
            }
        };
        let name = container.names.iter().flatten().next().map(|name| name.trim_start_matches('/').to_owned());
        Some(PromotedContainer { id, name: name.unwrap_or_default(), by_compose })
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

    /// The containers that run a promoted config: the one that vgrid made, or one that Compose made from the override since.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub async fn promoted(&self, query: &PromotionQuery) -> Result<Vec<PromotedContainer>, LaunchError> {
        Ok(self.list(&[]).await?.iter().filter_map(|container| query.matching(container)).collect())
    }

    /// Stops and removes a promoted container. Its volumes stay.
    ///
    /// # Errors
    /// The daemon does not answer, or cannot remove it.
    pub async fn remove_promoted(&self, promoted: &PromotedContainer) -> Result<(), LaunchError> {
        self.stop_only(&promoted.id, None).await?;
        self.remove(&promoted.id).await
    }

    /// The container that somebody put in the place of one that served before and is gone: under its name, and with an image, a
    /// command or an environment that are not those of before. In words. `known` are containers that may go.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub async fn stranger_in_place_of(
        &self,
        serving: &Serving,
        known: &[PromotedContainer],
    ) -> Result<Option<String>, LaunchError> {
        match self.inspect(&serving.container_id).await {
            Ok(_) => return Ok(None),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
        let other = match self.inspect(&serving.name).await {
            Ok(other) => other,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        let goes = is_trial(&other) || known.iter().any(|promoted| other.id.as_ref() == Some(&promoted.id));
        Ok((!goes && !serving.recreate.makes(&other)).then(|| described(&other, &serving.name)))
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

/// `container qwen (image vllm/vllm-openai:v0.10, created 2026-11-24T07:00:00Z)`.
fn described(inspect: &ContainerInspectResponse, name: &str) -> String {
    let image = inspect.config.as_ref().and_then(|config| config.image.as_deref()).unwrap_or("?");
    let created = inspect.created.as_ref().map(|created| format!(", created {created}")).unwrap_or_default();
    format!("container {name} (image {image}{created})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn query() -> PromotionQuery {
        PromotionQuery {
            db: "abc".into(),
            promotion: 3,
            service: Some(("p".into(), "vllm".into())),
            overrides: vec!["/w/champion.yml".into()],
            before: vec!["old".into()],
        }
    }

    fn matching(id: &str, labels: &serde_json::Value) -> Option<bool> {
        let container = serde_json::from_value(json!({"Id": id, "Names": ["/p-vllm-1"], "Labels": labels})).unwrap();
        query().matching(&container).map(|found| found.by_compose)
    }

    fn compose(files: &str) -> serde_json::Value {
        json!({
            "com.docker.compose.project": "p", "com.docker.compose.service": "vllm", "com.docker.compose.oneoff": "False",
            "com.docker.compose.project.config_files": files,
        })
    }

    #[test]
    fn a_container_that_compose_made_from_the_override_is_the_promotions_own() {
        assert_eq!(matching("new", &compose("/w/compose.yml,/w/champion.yml")), Some(true));
        assert_eq!(matching("new", &compose("/w/compose.yml")), None, "what the user's own files make is not");
        assert_eq!(matching("old", &compose("/w/compose.yml,/w/champion.yml")), None, "it served before");
        let mut of_another_service = compose("/w/compose.yml,/w/champion.yml");
        of_another_service["com.docker.compose.service"] = "db".into();
        assert_eq!(matching("new", &of_another_service), None);
    }

    #[test]
    fn a_container_of_vgrid_is_known_by_database_and_number() {
        let labels = |promotion: &str, db: &str| {
            let mut labels = compose("/w/compose.yml,/w/champion.yml");
            for (name, value) in [(LABEL_ROLE, ROLE_PROMOTED), (LABEL_PROMOTION, promotion), (LABEL_DB, db)] {
                labels[name] = value.into();
            }
            labels
        };
        assert_eq!(matching("new", &labels("3", "abc")), Some(false));
        assert_eq!(matching("new", &labels("2", "abc")), None, "an earlier promotion is undone by its own rollback");
        assert_eq!(matching("new", &labels("3", "other")), None);
    }
}
