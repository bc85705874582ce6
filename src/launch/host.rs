//! What the host offers: disk space, GPUs and a runtime that hands them to containers.

use std::path::Path;
use std::time::Duration;

use crate::compose::Service;

use super::docker::DockerLauncher;
use super::duration::go_duration_ns;
use super::error::{LaunchError, LaunchStep};

/// Device nodes of the NVIDIA driver, and of WSL's and AMD's.
const GPU_NODES: [&str; 3] = ["/dev/nvidiactl", "/dev/dxg", "/dev/kfd"];

/// Whether containers can be given GPUs here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GpuSupport {
    /// They can; how, in a sentence.
    Available(String),
    /// They cannot.
    Absent {
        /// What is missing.
        why: String,
        /// What to do.
        help: String,
    },
}

/// Bytes free for us in `folder`'s file system; None where the system does not say.
#[must_use]
pub fn free_bytes(folder: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(folder).ok()?;
    stat.f_bavail.checked_mul(stat.f_frsize)
}

/// Whether the service asks for GPUs: by runtime, by device requests or by `gpus`.
#[must_use]
pub fn wants_gpu(service: &Service) -> bool {
    let reserved = service.deploy.iter().filter_map(|d| d.resources.reservations.as_ref()).flat_map(|r| &r.devices);
    service.runtime.as_deref() == Some("nvidia")
        || !service.gpus.is_empty()
        || reserved.into_iter().any(|d| d.capabilities.iter().any(|c| c == "gpu"))
}

/// The service's own `stop_grace_period`.
#[must_use]
pub fn stop_grace(service: &Service) -> Option<Duration> {
    let ns = go_duration_ns(service.stop_grace_period.as_deref()?).ok()?;
    u64::try_from(ns).ok().map(Duration::from_nanos)
}

impl DockerLauncher {
    /// Where this daemon keeps images, containers and logs, when it runs on this machine.
    pub async fn local_data_root(&self) -> Option<std::path::PathBuf> {
        if !self.connection.address.is_local() {
            return None;
        }
        let root = self.connection.docker.info().await.ok()?.docker_root_dir?;
        let root = std::path::PathBuf::from(root);
        // A daemon in a machine of its own (Docker Desktop) names a folder that is not here.
        root.is_dir().then_some(root)
    }

    /// Whether the daemon can give this service the GPUs that it asks for. Touches nothing.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub async fn gpu_support(&self, service: &Service) -> Result<GpuSupport, LaunchError> {
        let info = self.connection.docker.info().await.map_err(|e| LaunchError::api(LaunchStep::Prepare, &e))?;
        let runtimes: Vec<String> = info.runtimes.unwrap_or_default().into_keys().collect();
        let nvidia = runtimes.iter().any(|r| r.contains("nvidia")) || info.cdi_spec_dirs.is_some_and(|d| !d.is_empty());
        if service.runtime.as_deref() == Some("nvidia") && !runtimes.iter().any(|r| r == "nvidia") {
            return Ok(GpuSupport::Absent {
                why: format!(
                    "the service asks for `runtime: nvidia`, and this Docker engine has no such runtime (it has {})",
                    runtimes.join(", ")
                ),
                help: "run this grid on a host with NVIDIA GPUs and the NVIDIA Container Toolkit, registered by \
                       `nvidia-ctk runtime configure --runtime=docker`; `vgrid plan` and `vgrid check --files-only` work here"
                    .to_owned(),
            });
        }
        if self.connection.address.is_local() && !GPU_NODES.iter().any(|node| Path::new(node).exists()) {
            return Ok(GpuSupport::Absent {
                why: "the service asks for GPUs, and this host has none (no /dev/nvidiactl, /dev/dxg or /dev/kfd)"
                    .to_owned(),
                help: "run this grid on a host with GPUs; `vgrid plan` and `vgrid check --files-only` work here, and \
                       `vgrid run grids/quickstart.yaml` rehearses a night without any"
                    .to_owned(),
            });
        }
        Ok(GpuSupport::Available(if nvidia {
            "the daemon has an NVIDIA runtime".to_owned()
        } else {
            "GPU devices are there; the daemon names no NVIDIA runtime, the start will show".to_owned()
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::DeviceRequest;

    #[test]
    fn a_service_asks_for_gpus_by_runtime_by_gpus_or_by_reservation() {
        assert!(!wants_gpu(&Service::default()));
        assert!(wants_gpu(&Service { runtime: Some("nvidia".into()), ..Service::default() }));
        assert!(wants_gpu(&Service { gpus: vec![DeviceRequest::default()], ..Service::default() }));
        let service: Service = serde_json::from_value(serde_json::json!({
            "deploy": {"resources": {"reservations": {"devices": [{"capabilities": ["gpu"], "count": -1}]}}, "placement": {}}
        }))
        .unwrap();
        assert!(wants_gpu(&service));
    }

    #[test]
    fn free_space_is_known_here_and_absent_for_a_folder_that_is_not_there() {
        assert!(free_bytes(Path::new("/")).is_some_and(|b| b > 0));
        assert_eq!(free_bytes(Path::new("/no/such/folder")), None);
    }

    #[test]
    fn the_grace_is_read_as_compose_writes_it() {
        let service = Service { stop_grace_period: Some("1m30s".into()), ..Service::default() };
        assert_eq!(stop_grace(&service), Some(Duration::from_secs(90)));
        assert_eq!(stop_grace(&Service::default()), None);
    }
}
