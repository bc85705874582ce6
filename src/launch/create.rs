//! From a typed service to the body of Docker's create call; every field is carried over or refused, never dropped.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, EndpointIpamConfig, EndpointSettings, HealthConfig, HostConfig, HostConfigLogConfig,
    NetworkingConfig, PortBinding, PortMap, RestartPolicy, RestartPolicyNameEnum,
};

use crate::compose::{Healthcheck, Port, Service};

use super::duration::{go_duration_ns, go_duration_s};
use super::error::{LaunchError, LaunchStep};
use super::mounts::mounts;
use super::resources::{apply_resources, device_mappings, device_requests, ulimits};
use super::spec::{LaunchSpec, container_labels, effective_environment};

/// What the conversion must know of the world.
pub(super) struct CreateContext<'a> {
    /// The API version in use.
    pub api: (usize, usize),
    /// Our own environment, for variables that the service takes from outside.
    pub own_env: &'a dyn Fn(&str) -> Option<String>,
    /// Container ids of the services that `network_mode`, `ipc`, `pid: service:NAME` point at.
    pub service_ids: &'a HashMap<String, String>,
}

/// The create call, and what is done between it and the start.
#[derive(Debug)]
pub(super) struct CreatePlan {
    /// The body.
    pub body: ContainerCreateBody,
    /// `linux/amd64` and the like; empty for the engine's own.
    pub platform: String,
    /// Networks beside the first, joined before the start (old engines take only one at creation).
    pub more_networks: Vec<(String, EndpointSettings)>,
}

/// Converts.
pub(super) fn create_plan(spec: &LaunchSpec, context: &CreateContext<'_>) -> Result<CreatePlan, LaunchError> {
    let service = &spec.service;
    refuse_what_one_container_cannot_be(service)?;
    let (network_mode, mut endpoints) = networks(spec, context)?;
    let (binds, mounts) = mounts(spec, context.api)?;
    let mut host = HostConfig {
        // A trial that restarts by itself hides its death and loops over a host's memory.
        restart_policy: Some(RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None }),
        network_mode: Some(network_mode),
        binds: some_if_any(binds),
        mounts: some_if_any(mounts),
        port_bindings: Some(port_bindings(&service.ports)).filter(|map| !map.is_empty()),
        cap_add: some_if_any(service.cap_add.clone()),
        cap_drop: some_if_any(service.cap_drop.clone()),
        devices: some_if_any(device_mappings(service)),
        device_requests: some_if_any(device_requests(service)),
        ulimits: some_if_any(ulimits(service)),
        dns: some_if_any(service.dns.clone()),
        extra_hosts: some_if_any(service.extra_hosts.iter().map(|line| extra_host(line)).collect::<Result<_, _>>()?),
        group_add: some_if_any(service.group_add.clone()),
        init: service.init,
        ipc_mode: service.ipc.as_deref().map(|mode| shared_mode("ipc", mode, context)).transpose()?,
        pid_mode: service.pid.as_deref().map(|mode| shared_mode("pid", mode, context)).transpose()?,
        log_config: service.logging.as_ref().map(|logging| HostConfigLogConfig {
            typ: logging.driver.clone(),
            config: Some(logging.options.clone().into_iter().collect()),
        }),
        oom_score_adj: service.oom_score_adj,
        privileged: service.privileged,
        readonly_rootfs: service.read_only,
        runtime: service.runtime.clone(),
        sysctls: Some(service.sysctls.clone().into_iter().collect::<HashMap<_, _>>()).filter(|map| !map.is_empty()),
        tmpfs: Some(service.tmpfs.iter().map(|line| tmpfs(line)).collect::<HashMap<_, _>>())
            .filter(|map| !map.is_empty()),
        userns_mode: service.userns_mode.clone(),
        ..HostConfig::default()
    };
    apply_resources(service, &mut host)?;
    apply_security_options(spec, &mut host)?;
    let first = if endpoints.is_empty() { None } else { Some(endpoints.remove(0)) };
    let body = ContainerCreateBody {
        image: Some(spec.image.clone()),
        cmd: service.command.clone(),
        entrypoint: service.entrypoint.clone().map(|words| if words.is_empty() { vec![String::new()] } else { words }),
        env: some_if_any(
            effective_environment(service, context.own_env).iter().map(|(k, v)| format!("{k}={v}")).collect(),
        ),
        exposed_ports: some_if_any(exposed_ports(service)?),
        labels: Some(container_labels(spec)),
        healthcheck: service.healthcheck.as_ref().map(|check| healthcheck(check, context.api)).transpose()?,
        hostname: service.hostname.clone(),
        user: service.user.clone(),
        working_dir: service.working_dir.clone(),
        tty: service.tty,
        open_stdin: service.stdin_open,
        stop_signal: service.stop_signal.clone(),
        stop_timeout: service
            .stop_grace_period
            .as_deref()
            .map(|text| seconds("stop_grace_period", text))
            .transpose()?,
        host_config: Some(host),
        networking_config: first
            .map(|(name, endpoint)| NetworkingConfig { endpoints_config: Some(HashMap::from([(name, endpoint)])) }),
        ..ContainerCreateBody::default()
    };
    Ok(CreatePlan { body, platform: service.platform.clone().unwrap_or_default(), more_networks: endpoints })
}

/// The error of a field that Docker's create call has no place for.
pub(super) fn refused(field: &str, why: impl std::fmt::Display, help: &str) -> LaunchError {
    LaunchError::new(LaunchStep::Prepare, format!("`{field}` of the service cannot be carried over: {why}")).help(help)
}

fn refuse_what_one_container_cannot_be(service: &Service) -> Result<(), LaunchError> {
    if service.logging.as_ref().and_then(|logging| logging.driver.as_deref()) == Some("none") {
        let help = "leave `logging` out, or choose a driver such as `json-file` or `local`, in an override file";
        return Err(refused(
            "logging.driver",
            "`none` keeps no log, and vgrid reads the start-up and every failure from it",
            help,
        ));
    }
    let replicas = service.deploy.as_ref().and_then(|deploy| deploy.replicas).unwrap_or(1);
    if replicas == 1 {
        return Ok(());
    }
    Err(refused(
        "deploy.replicas",
        format!("it is {replicas}, and vgrid runs one container"),
        "set it to 1, or leave it out, in an override file",
    ))
}

fn seconds(field: &str, text: &str) -> Result<i64, LaunchError> {
    go_duration_s(text).map_err(|why| refused(field, why, "write it like `30s`"))
}

/// `None` for an empty list: old engines take an absent field better than an empty one.
pub(super) fn some_if_any<T>(list: Vec<T>) -> Option<Vec<T>> {
    if list.is_empty() { None } else { Some(list) }
}

/// The network mode, and the endpoints in the service's order.
fn networks(
    spec: &LaunchSpec,
    context: &CreateContext<'_>,
) -> Result<(String, Vec<(String, EndpointSettings)>), LaunchError> {
    if let Some(mode) = &spec.service.network_mode {
        return Ok((shared_mode("network_mode", mode, context)?, Vec::new()));
    }
    let mut aliases = vec![spec.service_name.clone()];
    // Others may call the service by its fixed name, which the trial's container does not bear.
    aliases.extend(spec.service.container_name.clone().filter(|name| *name != spec.service_name));
    let mut endpoints: Vec<(String, EndpointSettings)> = Vec::new();
    let mut joined: Vec<_> =
        spec.service.networks.iter().map(|(key, c)| (key, c.clone().unwrap_or_default())).collect();
    // The network of the highest priority comes first and gives the default route.
    joined.sort_by_key(|(_, config)| std::cmp::Reverse(config.priority.unwrap_or(0)));
    for (key, config) in joined {
        let ipam = EndpointIpamConfig {
            ipv4_address: config.ipv4_address.clone(),
            ipv6_address: config.ipv6_address.clone(),
            link_local_ips: None,
        };
        let mut own = aliases.clone();
        own.extend(config.aliases.iter().filter(|alias| !aliases.contains(alias)).cloned());
        let settings = EndpointSettings {
            aliases: Some(own),
            ipam_config: Some(ipam).filter(|i| i.ipv4_address.is_some() || i.ipv6_address.is_some()),
            ..EndpointSettings::default()
        };
        endpoints.push((network_name(spec, key), settings));
    }
    if endpoints.is_empty() {
        endpoints.push((
            network_name(spec, "default"),
            EndpointSettings { aliases: Some(aliases), ..EndpointSettings::default() },
        ));
    }
    Ok((endpoints[0].0.clone(), endpoints))
}

/// The name in Docker of a network of the project.
pub(super) fn network_name(spec: &LaunchSpec, key: &str) -> String {
    let declared = spec.project.networks.get(key).map(|network| network.name.clone()).filter(|name| !name.is_empty());
    declared.unwrap_or_else(|| format!("{}_{key}", spec.project.name))
}

/// `host`, `container:x` and the like as written; `service:x` as the id of that service's container.
fn shared_mode(field: &str, mode: &str, context: &CreateContext<'_>) -> Result<String, LaunchError> {
    let Some(service) = mode.strip_prefix("service:") else { return Ok(mode.to_owned()) };
    let id = context.service_ids.get(service).ok_or_else(|| {
        refused(
            field,
            format!("no container of the service `{service}` runs"),
            &format!("start it first: `docker compose up -d {service}`"),
        )
    })?;
    Ok(format!("container:{id}"))
}

fn port_key(port: &Port) -> String {
    format!("{}/{}", port.target, if port.protocol.is_empty() { "tcp" } else { &port.protocol })
}

fn port_bindings(ports: &[Port]) -> PortMap {
    let mut map: PortMap = HashMap::new();
    for port in ports {
        let binding = PortBinding { host_ip: port.host_ip.clone(), host_port: port.published.clone() };
        map.entry(port_key(port)).or_default().get_or_insert_with(Vec::new).push(binding);
    }
    map
}

fn exposed_ports(service: &Service) -> Result<Vec<String>, LaunchError> {
    let mut all: Vec<String> = service.ports.iter().map(port_key).collect();
    for entry in &service.expose {
        let bad =
            || refused("expose", format!("`{entry}` is no port"), "write it like `8000`, `8000/udp` or `8000-8010`");
        let (range, protocol) = entry.split_once('/').unwrap_or((entry, "tcp"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u16, u16) = (first.parse().map_err(|_| bad())?, last.parse().map_err(|_| bad())?);
        all.extend((first..=last).map(|port| format!("{port}/{protocol}")));
    }
    all.sort();
    all.dedup();
    Ok(all)
}

/// `name=address` or `name:address` as Docker's `name:address`.
fn extra_host(line: &str) -> Result<String, LaunchError> {
    let split = line.split_once('=').or_else(|| line.split_once(':'));
    let (name, address) = split
        .ok_or_else(|| refused("extra_hosts", format!("`{line}` has no address"), "write it like `name=10.0.0.1`"))?;
    Ok(format!("{name}:{}", address.trim_start_matches('[').trim_end_matches(']')))
}

/// `path:options` as Docker's map entry.
fn tmpfs(line: &str) -> (String, String) {
    let (path, options) = line.split_once(':').unwrap_or((line, ""));
    (path.to_owned(), options.to_owned())
}

fn healthcheck(check: &Healthcheck, api: (usize, usize)) -> Result<HealthConfig, LaunchError> {
    if check.disable {
        return Ok(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() });
    }
    if check.start_interval.is_some() && api < (1, 44) {
        let why = format!("this Docker (API {}.{}) does not know it", api.0, api.1);
        return Err(refused(
            "healthcheck.start_interval",
            why,
            "take it out in an override file (`!reset null`), or use Docker 25 or newer",
        ));
    }
    let ns = |field: &str, text: &Option<String>| {
        let read = |text: &String| {
            go_duration_ns(text).map_err(|why| refused(&format!("healthcheck.{field}"), why, "write it like `30s`"))
        };
        text.as_ref().map(read).transpose()
    };
    Ok(HealthConfig {
        test: some_if_any(check.test.clone()),
        interval: ns("interval", &check.interval)?,
        timeout: ns("timeout", &check.timeout)?,
        retries: check.retries.map(|n| i64::try_from(n).unwrap_or(i64::MAX)),
        start_period: ns("start_period", &check.start_period)?,
        start_interval: ns("start_interval", &check.start_interval)?,
    })
}

/// Security options: a seccomp profile is a file on our side and JSON for Docker; `systempaths` is two other fields.
fn apply_security_options(spec: &LaunchSpec, host: &mut HostConfig) -> Result<(), LaunchError> {
    let mut options = Vec::new();
    for option in &spec.service.security_opt {
        let (name, value) = option.split_once('=').or_else(|| option.split_once(':')).unwrap_or((option, ""));
        match (name, value) {
            ("systempaths", "unconfined") => {
                host.masked_paths = Some(Vec::new());
                host.readonly_paths = Some(Vec::new());
            }
            ("seccomp", profile) if profile != "unconfined" && profile != "builtin" && !profile.starts_with('{') => {
                let path = spec.project.working_dir.join(profile);
                let bad = |why: String| {
                    refused(
                        "security_opt",
                        format!("seccomp profile {}: {why}", path.display()),
                        "check the path and the file",
                    )
                };
                let text = std::fs::read_to_string(&path).map_err(|error| bad(error.to_string()))?;
                let json: serde_json::Value = serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
                options.push(format!("seccomp={json}"));
            }
            (_, "") => options.push(name.to_owned()),
            (name, value) => options.push(format!("{name}={value}")),
        }
    }
    host.security_opt = some_if_any(options);
    Ok(())
}

#[cfg(test)]
#[path = "create_tests.rs"]
mod tests;
