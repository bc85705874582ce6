//! Limits, GPUs, devices and ulimits of a service as Docker's host configuration.

use bollard::models::{DeviceMapping, DeviceRequest, HostConfig, ResourcesUlimits};

use crate::compose::{self, Service, Ulimit};

use super::create::refused;
use super::error::LaunchError;

/// CPU, memory and process limits. `deploy` wins over the older keys, as in Compose; CPU reservations and placement are
/// Swarm's, and Compose does not apply them either.
pub(super) fn apply_resources(service: &Service, host: &mut HostConfig) -> Result<(), LaunchError> {
    host.nano_cpus = service.cpus.map(nano);
    host.cpuset_cpus = service.cpuset.clone();
    host.memory = bytes("mem_limit", service.mem_limit.as_deref())?;
    host.memory_swap = bytes("memswap_limit", service.memswap_limit.as_deref())?;
    host.memory_reservation = bytes("mem_reservation", service.mem_reservation.as_deref())?;
    host.oom_kill_disable = service.oom_kill_disable;
    host.pids_limit = service.pids_limit;
    host.shm_size = bytes("shm_size", service.shm_size.as_deref())?;
    let Some(deploy) = &service.deploy else { return Ok(()) };
    if let Some(limits) = &deploy.resources.limits {
        host.nano_cpus = limits.cpus.map(nano).or(host.nano_cpus);
        host.memory = bytes("deploy.resources.limits.memory", limits.memory.as_deref())?.or(host.memory);
        host.pids_limit = limits.pids.or(host.pids_limit);
    }
    if let Some(reserved) = &deploy.resources.reservations {
        let memory = bytes("deploy.resources.reservations.memory", reserved.memory.as_deref())?;
        host.memory_reservation = memory.or(host.memory_reservation);
    }
    Ok(())
}

fn nano(cpus: f64) -> i64 {
    (cpus * 1e9).round() as i64
}

fn bytes(field: &str, text: Option<&str>) -> Result<Option<i64>, LaunchError> {
    let read = |text: &str| {
        text.parse().map_err(|_| refused(field, format!("`{text}` is no number of bytes"), "write it like `16gb`"))
    };
    text.map(read).transpose()
}

/// Plain devices, without the ones named by CDI.
pub(super) fn device_mappings(service: &Service) -> Vec<DeviceMapping> {
    let plain = service.devices.iter().filter(|device| !is_cdi(device));
    plain
        .map(|device| DeviceMapping {
            path_on_host: Some(device.source.clone()),
            path_in_container: Some(if device.target.is_empty() { &device.source } else { &device.target }.clone()),
            cgroup_permissions: Some(if device.permissions.is_empty() {
                "rwm".to_owned()
            } else {
                device.permissions.clone()
            }),
        })
        .collect()
}

/// A name such as `nvidia.com/gpu=0` instead of a path.
fn is_cdi(device: &compose::DeviceMapping) -> bool {
    !device.source.starts_with('/') && device.source.contains('/') && device.source.contains('=')
}

/// GPUs: `deploy` reservations, `gpus:`, and devices named by CDI.
pub(super) fn device_requests(service: &Service) -> Vec<DeviceRequest> {
    let reserved = service.deploy.iter().flat_map(|d| &d.resources.reservations).flat_map(|r| &r.devices);
    let mut requests: Vec<DeviceRequest> = reserved.map(|request| device_request(request, false)).collect();
    requests.extend(service.gpus.iter().map(|request| device_request(request, true)));
    let named = service.devices.iter().filter(|d| is_cdi(d)).map(|d| d.source.clone()).collect::<Vec<_>>();
    if !named.is_empty() {
        requests.push(DeviceRequest {
            driver: Some("cdi".to_owned()),
            device_ids: Some(named),
            ..DeviceRequest::default()
        });
    }
    requests
}

fn device_request(request: &compose::DeviceRequest, gpu: bool) -> DeviceRequest {
    let mut capabilities = request.capabilities.clone();
    if gpu && !capabilities.iter().any(|c| c == "gpu") {
        capabilities.push("gpu".to_owned());
    }
    DeviceRequest {
        driver: request.driver.clone(),
        count: request.count,
        device_ids: super::create::some_if_any(request.device_ids.clone()),
        // The outer list is "or", the inner one "and".
        capabilities: Some(vec![capabilities]),
        options: Some(request.options.clone().into_iter().collect::<std::collections::HashMap<_, _>>())
            .filter(|o| !o.is_empty()),
    }
}

/// Limits per process.
pub(super) fn ulimits(service: &Service) -> Vec<ResourcesUlimits> {
    let pair = |limit: &Ulimit| match limit {
        Ulimit::Single(both) => (*both, *both),
        Ulimit::Pair { soft, hard } => (*soft, *hard),
    };
    let of = |(name, limit): (&String, &Ulimit)| {
        let (soft, hard) = pair(limit);
        ResourcesUlimits { name: Some(name.clone()), soft: Some(soft), hard: Some(hard) }
    };
    service.ulimits.iter().map(of).collect()
}
