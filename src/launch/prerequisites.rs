//! What must stand before a container can be created: networks, volumes, and the services that it depends on.

use std::collections::HashMap;

use bollard::models::{ContainerSummaryStateEnum, NetworkCreateRequest, VolumeCreateRequest};

use super::create::network_name;
use super::docker::DockerLauncher;
use super::error::{LaunchError, LaunchStep};
use super::mounts::volume_name;
use super::spec::LaunchSpec;

/// Makes absent networks and volumes of the project as Compose would, with its labels, so that `docker compose up` takes them over.
/// They stay after the sweep, as after `docker compose up`; `docker compose down` removes them.
pub(super) async fn ensure_networks_and_volumes(
    launcher: &DockerLauncher,
    spec: &LaunchSpec,
) -> Result<(), LaunchError> {
    if spec.service.network_mode.is_none() {
        let declared: Vec<&str> = spec.service.networks.keys().map(String::as_str).collect();
        for key in if declared.is_empty() { vec!["default"] } else { declared } {
            ensure_network(launcher, spec, key).await?;
        }
    }
    for volume in spec.service.volumes.iter().filter(|v| v.kind == "volume") {
        if let Some(key) = volume.source.as_deref().filter(|key| !key.is_empty()) {
            ensure_volume(launcher, spec, key).await?;
        }
    }
    Ok(())
}

async fn ensure_network(launcher: &DockerLauncher, spec: &LaunchSpec, key: &str) -> Result<(), LaunchError> {
    let docker = &launcher.connection.docker;
    let name = network_name(spec, key);
    match docker.inspect_network(&name, None).await.map_err(|error| LaunchError::api(LaunchStep::Prepare, &error)) {
        Ok(_) => return Ok(()),
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error),
    }
    let declared = spec.project.networks.get(key).cloned().unwrap_or_default();
    if declared.external || ["bridge", "host", "none"].contains(&name.as_str()) {
        return Err(LaunchError::new(LaunchStep::Prepare, format!("the external network `{name}` does not exist"))
            .help(format!("make it: `docker network create {name}`")));
    }
    if declared.ipam.is_some() {
        return Err(LaunchError::new(
            LaunchStep::Prepare,
            format!("the network `{name}` does not exist, and its `ipam` is nothing that vgrid carries out"),
        )
        .help("let Compose make it once: `docker compose up --no-start`; vgrid uses networks that are there"));
    }
    let request = NetworkCreateRequest {
        name,
        attachable: declared.attachable.then_some(true),
        enable_ipv4: declared.enable_ipv4,
        enable_ipv6: declared.enable_ipv6,
        driver: declared.driver.or_else(|| Some("bridge".to_owned())),
        internal: declared.internal.then_some(true),
        options: Some(declared.driver_opts.into_iter().collect::<HashMap<_, _>>()).filter(|o| !o.is_empty()),
        labels: Some(compose_labels(spec, "network", key, declared.labels)),
        ..NetworkCreateRequest::default()
    };
    docker.create_network(request).await.map_err(|error| LaunchError::api(LaunchStep::Prepare, &error)).map(|_| ())
}

async fn ensure_volume(launcher: &DockerLauncher, spec: &LaunchSpec, key: &str) -> Result<(), LaunchError> {
    let docker = &launcher.connection.docker;
    let name = volume_name(spec, key)?;
    match docker.inspect_volume(&name).await.map_err(|error| LaunchError::api(LaunchStep::Prepare, &error)) {
        Ok(_) => return Ok(()),
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error),
    }
    let declared = spec.project.volumes.get(key).cloned().unwrap_or_default();
    if declared.external {
        return Err(LaunchError::new(LaunchStep::Prepare, format!("the external volume `{name}` does not exist"))
            .help(format!("make it: `docker volume create {name}`")));
    }
    let request = VolumeCreateRequest {
        name: Some(name),
        driver: declared.driver,
        driver_opts: Some(declared.driver_opts.into_iter().collect::<HashMap<_, _>>()).filter(|o| !o.is_empty()),
        labels: Some(compose_labels(spec, "volume", key, declared.labels)),
        ..VolumeCreateRequest::default()
    };
    docker.create_volume(request).await.map_err(|error| LaunchError::api(LaunchStep::Prepare, &error)).map(|_| ())
}

fn compose_labels(
    spec: &LaunchSpec,
    kind: &str,
    key: &str,
    own: std::collections::BTreeMap<String, String>,
) -> HashMap<String, String> {
    let mut labels: HashMap<String, String> = own.into_iter().collect();
    labels.insert(format!("com.docker.compose.{kind}"), key.to_owned());
    labels.insert("com.docker.compose.project".to_owned(), spec.project.name.clone());
    labels.insert("com.docker.compose.version".to_owned(), concat!("vgrid-", env!("CARGO_PKG_VERSION")).to_owned());
    labels
}

/// The services that this one depends on are in the state that it wants; vgrid starts none of them.
pub(super) async fn check_dependencies(launcher: &DockerLauncher, spec: &LaunchSpec) -> Result<(), LaunchError> {
    for (name, dependency) in &spec.service.depends_on {
        if !dependency.required {
            continue;
        }
        let containers = launcher.list(&service_filter(spec, name)).await?;
        let fulfilled = containers.iter().any(|container| {
            let running = container.state == Some(ContainerSummaryStateEnum::RUNNING);
            let status = container.status.as_deref().unwrap_or_default();
            match dependency.condition.as_str() {
                // `Up 2 minutes (healthy)`; "(unhealthy)" holds no "(healthy)".
                "service_healthy" => running && status.contains("(healthy)"),
                "service_completed_successfully" => status.starts_with("Exited (0)"),
                _ => running,
            }
        });
        if !fulfilled {
            let text = format!("the service depends on `{name}` ({}), which is not so", dependency.condition);
            return Err(LaunchError::new(LaunchStep::Prepare, text).help(format!(
                "start it first: `docker compose -p {} up -d {name}`; vgrid manages only `{}`",
                spec.project.name, spec.service_name
            )));
        }
    }
    Ok(())
}

/// Ids of running containers of the services that this one shares a namespace with.
pub(super) async fn service_ids(
    launcher: &DockerLauncher,
    spec: &LaunchSpec,
) -> Result<HashMap<String, String>, LaunchError> {
    let modes = [&spec.service.network_mode, &spec.service.ipc, &spec.service.pid];
    let mut ids = HashMap::new();
    for name in modes.into_iter().flatten().filter_map(|mode| mode.strip_prefix("service:")) {
        let containers = launcher.list(&service_filter(spec, name)).await?;
        let running = containers.into_iter().find(|c| c.state == Some(ContainerSummaryStateEnum::RUNNING));
        if let Some(id) = running.and_then(|container| container.id) {
            ids.insert(name.to_owned(), id);
        }
    }
    Ok(ids)
}

fn service_filter(spec: &LaunchSpec, service: &str) -> [(&'static str, String); 3] {
    [
        ("label", format!("com.docker.compose.project={}", spec.project.name)),
        ("label", format!("com.docker.compose.service={service}")),
        ("label", "com.docker.compose.oneoff=False".to_owned()),
    ]
}
