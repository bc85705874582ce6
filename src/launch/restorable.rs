//! Whether what serves could be put back after a sweep: asked before anything of it is touched.

use std::collections::BTreeMap;
use std::path::Path;

use bollard::models::ContainerInspectResponse;

use super::docker::{DockerLauncher, name_of, short};
use super::error::{LaunchError, LaunchStep};
use super::mounts::is_absent;
use super::serving::Serving;

impl DockerLauncher {
    /// What would keep this container from being put back, as far as it can be known now; empty when nothing would. Touches
    /// nothing. `secrets` as in [`super::RestorePlan`]; `owed` are ids of containers that an interrupted sweep took aside and that
    /// come back before anything else happens: the name that such a one bears is free by then.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub async fn obstacles_to_restoring(
        &self,
        serving: &Serving,
        secrets: &BTreeMap<String, String>,
        owed: &[String],
    ) -> Result<Vec<LaunchError>, LaunchError> {
        let inspect = self.inspect(&serving.container_id).await?;
        let mut found: Vec<LaunchError> =
            self.who_bears_the_other_name(serving, &inspect, owed).await?.into_iter().collect();
        if !serving.running {
            return Ok(found);
        }
        if serving.crash_loops() {
            let name = &serving.name;
            found.push(obstacle(serving, &format!("it does not serve now, it is {}", serving.crash_loop())).help(format!(
                "correct what `docker logs {name}` says; or `docker stop {name}`: one that is stopped is put back stopped"
            )));
        }
        if self.local_data_root().await.is_some() {
            found.extend(missing_sources(&inspect).iter().map(|source| {
                obstacle(serving, &format!("its bind source {source} is not there any more")).help(
                    "put the folder back, or bring the service up anew as its files are now: `docker compose up -d`",
                )
            }));
        }
        for network in inspect.network_settings.iter().flat_map(|s| s.networks.iter().flatten()).map(|(name, _)| name) {
            match self.connection.docker.inspect_network(network, None).await {
                Ok(_) => {}
                Err(error) => match LaunchError::api(LaunchStep::Restore, &error) {
                    gone if gone.is_not_found() => found.push(
                        obstacle(serving, &format!("its network {network} is not there any more"))
                            .help("bring the service up anew: `docker compose up -d`"),
                    ),
                    other => return Err(other),
                },
            }
        }
        if serving.auto_remove {
            // Its stop removes it.
            found.extend(serving.recreate.call(secrets).err());
            let image = self.connection.docker.inspect_image(&serving.image_id).await;
            match image.map_err(|error| LaunchError::api(LaunchStep::Restore, &error)) {
                Err(error) if error.is_not_found() => found.push(
                    obstacle(serving, &format!("it removes itself (--rm), and its image {} is gone", serving.image))
                        .help("build or pull the image, or start the container without --rm"),
                ),
                Err(error) => return Err(error),
                Ok(_) => {}
            }
        }
        Ok(found)
    }

    /// It is renamed while it is aside; the other name must be free.
    async fn who_bears_the_other_name(
        &self,
        serving: &Serving,
        inspect: &ContainerInspectResponse,
        owed: &[String],
    ) -> Result<Option<LaunchError>, LaunchError> {
        let aside = serving.displaced_name();
        if serving.auto_remove || name_of(inspect) == aside {
            return Ok(None);
        }
        match self.inspect(&aside).await {
            Ok(other) if other.id.as_ref().is_some_and(|id| owed.contains(id)) => Ok(None),
            Ok(other) => {
                let id = other.id.unwrap_or_default();
                let what =
                    format!("container {} bears the name `{aside}`, which it gets while it is aside", short(&id));
                Ok(Some(obstacle(serving, &what).help(format!(
                    "look at what it is; an unfinished restoration of another database ends with `vgrid restore --db FILE`, \
                     else `docker rename {} NAME`",
                    short(&id)
                ))))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn obstacle(serving: &Serving, what: &str) -> LaunchError {
    LaunchError::new(LaunchStep::Restore, format!("container {} could not come back: {what}", serving.name))
}

fn missing_sources(inspect: &ContainerInspectResponse) -> Vec<String> {
    let binds = inspect.mounts.iter().flatten().filter(|mount| mount.typ.as_deref() == Some("bind"));
    binds.filter_map(|mount| mount.source.clone()).filter(|source| is_absent(Path::new(source))).collect()
}
