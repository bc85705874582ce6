//! What is kept of a container so that it can be made again when somebody removed it meanwhile.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{ContainerCreateBody, ContainerInspectResponse, EndpointSettings, HostConfig, NetworkingConfig};
use serde::{Deserialize, Serialize};

use super::docker::short;
use super::error::{LaunchError, LaunchStep};
use super::secrets::{mask_arguments, mask_environment, unmask_arguments, unmask_environment};

/// The create call that would make the container again, with its secrets masked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recreate {
    body: serde_json::Value,
    networks: Vec<(String, EndpointSettings)>,
}

/// The create call with its secrets back.
pub(super) struct RecreateCall {
    /// The body, with the first network.
    pub body: ContainerCreateBody,
    /// The other networks.
    pub more_networks: Vec<(String, EndpointSettings)>,
}

impl Recreate {
    /// From the full inspect of the container.
    pub(super) fn of(inspect: &ContainerInspectResponse) -> Self {
        let id = inspect.id.as_deref().unwrap_or_default();
        let config = serde_json::to_value(inspect.config.clone().unwrap_or_default()).unwrap_or_default();
        let mut body: ContainerCreateBody = serde_json::from_value(config).unwrap_or_default();
        // Docker's own choice, which belongs to the old id.
        body.hostname = body.hostname.filter(|name| name != short(id));
        // The very image, whatever its tag means by then.
        body.image = inspect.image.clone();
        body.env.as_deref_mut().map(mask_environment);
        body.cmd.as_deref_mut().map(mask_arguments);
        body.entrypoint.as_deref_mut().map(mask_arguments);
        let mut host = inspect.host_config.clone().unwrap_or_default();
        keep_anonymous_volumes(inspect, &mut host);
        let networks = networks_of(inspect, &host, short(id));
        body.host_config = Some(host);
        Self { body: serde_json::to_value(body).unwrap_or_default(), networks }
    }

    /// Whether a container runs what this call would make: the same image, entrypoint, command and environment, secrets apart.
    pub(super) fn makes(&self, inspect: &ContainerInspectResponse) -> bool {
        let other = Self::of(inspect);
        // Compose gives variables in any order.
        let variables = |of: &Self| {
            let mut all: Vec<String> =
                of.body.get("Env").and_then(|env| serde_json::from_value(env.clone()).ok()).unwrap_or_default();
            all.sort();
            all
        };
        let same = |key: &&str| self.body.get(key) == other.body.get(key);
        ["Image", "Entrypoint", "Cmd"].iter().all(same) && variables(self) == variables(&other)
    }

    /// A label of the container.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        self.body.get("Labels")?.get(name)?.as_str()
    }

    /// The call; `secrets` are the values by name of variable or flag, see [`super::secrets_of`].
    pub(super) fn call(&self, secrets: &BTreeMap<String, String>) -> Result<RecreateCall, LaunchError> {
        let mut body: ContainerCreateBody = serde_json::from_value(self.body.clone()).map_err(|error| {
            LaunchError::new(LaunchStep::Restore, format!("the journal's record cannot be read: {error}"))
        })?;
        let mut unknown = Vec::new();
        if let Some(entries) = &mut body.env {
            unknown.extend(unmask_environment(entries, secrets).err().unwrap_or_default());
        }
        for words in [&mut body.cmd, &mut body.entrypoint].into_iter().flatten() {
            unknown.extend(unmask_arguments(words, secrets).err().unwrap_or_default());
        }
        if !unknown.is_empty() {
            let text = format!(
                "it was removed, and vgrid keeps no secrets: the values of {} are not known",
                unknown.join(", ")
            );
            return Err(LaunchError::new(LaunchStep::Restore, text)
                .help("bring it up from its own compose files: `docker compose up -d`"));
        }
        let mut networks = self.networks.clone();
        if !networks.is_empty() {
            let first = networks.remove(0);
            body.networking_config = Some(NetworkingConfig { endpoints_config: Some(HashMap::from([first])) });
        }
        Ok(RecreateCall { body, more_networks: networks })
    }
}

/// Volumes without a name of their own are found by the name that Docker gave them; otherwise a new container gets empty ones.
fn keep_anonymous_volumes(inspect: &ContainerInspectResponse, host: &mut HostConfig) {
    let bound: Vec<String> =
        host.binds.iter().flatten().filter_map(|bind| bind.split(':').nth(1).map(str::to_owned)).collect();
    let mounted: Vec<String> = host.mounts.iter().flatten().filter_map(|mount| mount.target.clone()).collect();
    for mount in inspect.mounts.iter().flatten().filter(|mount| mount.typ.as_deref() == Some("volume")) {
        let (Some(name), Some(target)) = (&mount.name, &mount.destination) else { continue };
        if !bound.contains(target) && !mounted.contains(target) {
            let access = if mount.rw == Some(false) { ":ro" } else { "" };
            host.binds.get_or_insert_with(Vec::new).push(format!("{name}:{target}{access}"));
        }
    }
}

/// The networks, the one of `NetworkMode` first, without what belongs to the old container.
fn networks_of(
    inspect: &ContainerInspectResponse,
    host: &HostConfig,
    short_id: &str,
) -> Vec<(String, EndpointSettings)> {
    let mode = host.network_mode.clone().unwrap_or_default();
    if ["host", "none"].contains(&mode.as_str()) || mode.starts_with("container:") {
        return Vec::new();
    }
    let joined = inspect.network_settings.iter().flat_map(|settings| settings.networks.iter().flatten());
    let mut networks: Vec<(String, EndpointSettings)> = joined
        .map(|(name, endpoint)| {
            let aliases = endpoint
                .aliases
                .clone()
                .unwrap_or_default()
                .into_iter()
                .filter(|alias| alias != short_id)
                .collect::<Vec<_>>();
            let kept = EndpointSettings {
                aliases: Some(aliases).filter(|a| !a.is_empty()),
                ipam_config: endpoint.ipam_config.clone(),
                links: endpoint.links.clone(),
                driver_opts: endpoint.driver_opts.clone(),
                ..EndpointSettings::default()
            };
            (name.clone(), kept)
        })
        .collect();
    networks.sort_by_key(|(name, _)| (*name != mode, name.clone()));
    networks
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn inspect() -> ContainerInspectResponse {
        serde_json::from_value(json!({
            "Id": "0123456789abcdef0123456789abcdef", "Image": "sha256:img", "Name": "/qwen",
            "Config": {"Hostname": "0123456789ab", "Image": "vllm:latest", "Env": ["HF_TOKEN=t0ken", "A=1"], "Cmd": ["--api-key", "s3cret", "--x"], "Labels": {"l": "1"}},
            "HostConfig": {"NetworkMode": "net-b", "Binds": ["/m:/models:ro"], "ShmSize": 5, "RestartPolicy": {"Name": "always"}},
            "Mounts": [{"Type": "volume", "Name": "deadbeef", "Destination": "/cache", "RW": true}, {"Type": "bind", "Source": "/m", "Destination": "/models"}],
            "NetworkSettings": {"Networks": {
                "net-a": {"Aliases": ["x"], "IPAddress": "10.0.0.2"},
                "net-b": {"Aliases": ["vllm", "0123456789ab"], "NetworkID": "n", "MacAddress": "02:42", "IPAMConfig": {"IPv4Address": "10.1.0.9"}}}}
        }))
        .unwrap()
    }

    #[test]
    fn the_journal_holds_no_secret_and_the_call_has_them_back() {
        let saved = Recreate::of(&inspect());
        let json = serde_json::to_string(&saved).unwrap();
        assert!(!json.contains("t0ken") && !json.contains("s3cret"), "{json}");
        let read: Recreate = serde_json::from_str(&json).unwrap();
        let error = read.call(&BTreeMap::new()).err().unwrap();
        assert!(error.message.contains("HF_TOKEN") && error.message.contains("--api-key"), "{error}");
        let secrets =
            [("HF_TOKEN", "t0ken"), ("--api-key", "s3cret")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let body = read.call(&secrets).unwrap().body;
        assert_eq!(body.env.unwrap(), ["HF_TOKEN=t0ken", "A=1"]);
        assert_eq!(body.cmd.unwrap(), ["--api-key", "s3cret", "--x"]);
    }

    #[test]
    fn what_belongs_to_the_old_container_is_left_out_and_the_rest_is_kept() {
        let secrets = [("HF_TOKEN", "t"), ("--api-key", "s")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let call = Recreate::of(&inspect()).call(&secrets).unwrap();
        assert_eq!(call.body.hostname, None);
        assert_eq!(call.body.image.as_deref(), Some("sha256:img"));
        let host = call.body.host_config.unwrap();
        assert_eq!(host.binds.unwrap(), ["/m:/models:ro", "deadbeef:/cache"]);
        assert_eq!(host.shm_size, Some(5));
        let first = call.body.networking_config.unwrap().endpoints_config.unwrap();
        let endpoint = &first["net-b"];
        assert_eq!(endpoint.aliases.as_deref(), Some(&["vllm".to_owned()][..]));
        assert_eq!(endpoint.ipam_config.as_ref().unwrap().ipv4_address.as_deref(), Some("10.1.0.9"));
        assert_eq!((&endpoint.network_id, &endpoint.mac_address), (&None, &None));
        assert_eq!(call.more_networks.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["net-a"]);
    }
}
