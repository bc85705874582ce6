//! A look at any container, for `vgrid diagnose`: its log and its state.

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptions;
use futures_util::TryStreamExt;

use super::docker::DockerLauncher;
use super::error::{LaunchError, LaunchStep};

impl DockerLauncher {
    /// The log (both streams, as they came) and `docker inspect` of a container by name or id, secrets masked.
    ///
    /// # Errors
    /// There is no such container, or the daemon does not answer.
    pub async fn log_and_inspect(&self, container: &str) -> Result<(String, serde_json::Value), LaunchError> {
        let mut inspect = self.inspect(container).await?;
        let options = LogsOptions { stdout: true, stderr: true, ..LogsOptions::default() };
        let pieces: Vec<LogOutput> = self
            .connection
            .streams
            .logs(container, Some(options))
            .try_collect()
            .await
            .map_err(|error| LaunchError::api(LaunchStep::Inspect, &error))?;
        let bytes: Vec<u8> = pieces.into_iter().flat_map(LogOutput::into_bytes).collect();
        super::secrets::mask_inspect(&mut inspect);
        let inspect =
            serde_json::to_value(inspect).map_err(|e| LaunchError::new(LaunchStep::Inspect, e.to_string()))?;
        Ok((String::from_utf8_lossy(&bytes).into_owned(), inspect))
    }
}
