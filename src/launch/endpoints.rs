//! Where a container's server answers: its published port, else its own address.

use std::net::IpAddr;

use bollard::models::ContainerInspectResponse;

use super::docker::DockerLauncher;

/// Base URLs at which the container's port `port` may answer, best first.
pub(super) async fn base_urls(launcher: &DockerLauncher, inspect: &ContainerInspectResponse, port: u16) -> Vec<String> {
    let address = &launcher.connection.address;
    let mode = inspect.host_config.as_ref().and_then(|host| host.network_mode.clone()).unwrap_or_default();
    if let Some(other) = mode.strip_prefix("container:") {
        // It lives in another container's network: that one's ports and addresses are its own.
        return match launcher.inspect(other).await {
            Ok(other) => urls(&other, port, &address.host(), address.is_local()),
            Err(_) => Vec::new(),
        };
    }
    urls(inspect, port, &address.host(), address.is_local())
}

/// The pure part: from what Docker says to URLs.
fn urls(inspect: &ContainerInspectResponse, port: u16, daemon_host: &str, local: bool) -> Vec<String> {
    let mode = inspect.host_config.as_ref().and_then(|host| host.network_mode.as_deref()).unwrap_or_default();
    if mode == "host" {
        return vec![format!("http://{daemon_host}:{port}")];
    }
    let Some(settings) = &inspect.network_settings else { return Vec::new() };
    let bindings = settings.ports.iter().filter_map(|ports| ports.get(&format!("{port}/tcp"))).flatten().flatten();
    let mut found: Vec<String> = bindings
        .filter_map(|binding| {
            let host_port = binding.host_port.as_deref().filter(|p| !p.is_empty())?;
            Some(format!(
                "http://{}:{host_port}",
                host_for(binding.host_ip.as_deref().unwrap_or_default(), daemon_host)?
            ))
        })
        .collect();
    if local {
        let mut networks: Vec<_> = settings.networks.iter().flatten().collect();
        networks.sort_by_key(|(name, _)| name.as_str());
        let addresses = networks.into_iter().filter_map(|(_, endpoint)| endpoint.ip_address.as_deref());
        found.extend(addresses.filter(|ip| !ip.is_empty()).map(|ip| format!("http://{ip}:{port}")));
    }
    let mut seen = std::collections::HashSet::new();
    found.retain(|url| seen.insert(url.clone()));
    found
}

/// The host to use for a binding's address; `None` for "every IPv6 address", which the IPv4 binding beside it covers.
fn host_for(ip: &str, daemon_host: &str) -> Option<String> {
    match ip {
        "" | "0.0.0.0" => Some(daemon_host.to_owned()),
        "::" => None,
        other => Some(match other.parse::<IpAddr>() {
            Ok(IpAddr::V6(v6)) => format!("[{v6}]"),
            Ok(IpAddr::V4(_)) | Err(_) => other.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn inspect(mode: &str, ports: serde_json::Value, ip: &str) -> ContainerInspectResponse {
        let networks = json!({"net": {"IPAddress": ip}});
        serde_json::from_value(
            json!({"HostConfig": {"NetworkMode": mode}, "NetworkSettings": {"Ports": ports, "Networks": networks}}),
        )
        .unwrap()
    }

    #[test]
    fn the_published_port_comes_first_and_the_containers_address_after() {
        let ports = json!({"8000/tcp": [{"HostIp": "0.0.0.0", "HostPort": "5002"}, {"HostIp": "::", "HostPort": "5002"}], "9/tcp": null});
        let got = urls(&inspect("net", ports.clone(), "172.18.0.2"), 8000, "127.0.0.1", true);
        assert_eq!(got, ["http://127.0.0.1:5002", "http://172.18.0.2:8000"]);
        assert_eq!(urls(&inspect("net", ports, "172.18.0.2"), 8000, "gpu-box", false), ["http://gpu-box:5002"]);
    }

    #[test]
    fn a_binding_to_one_address_is_asked_there() {
        let ports =
            json!({"8000/tcp": [{"HostIp": "10.0.0.4", "HostPort": "1"}, {"HostIp": "fd00::1", "HostPort": "2"}]});
        assert_eq!(
            urls(&inspect("net", ports, ""), 8000, "127.0.0.1", true),
            ["http://10.0.0.4:1", "http://[fd00::1]:2"]
        );
    }

    #[test]
    fn host_networking_answers_on_the_host() {
        assert_eq!(urls(&inspect("host", json!({}), ""), 8123, "127.0.0.1", true), ["http://127.0.0.1:8123"]);
    }
}
