//! The hash by which Docker Compose tells whether a container is still what its service says.

use serde_json::Value;

use super::service::{Deploy, Service};
use crate::domain::sha256;

/// A release of Docker Compose: what is left out of the hash of a service differs from one to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ComposeRelease(u32, u32, u32);

impl ComposeRelease {
    /// What every release does that is newer than those named here.
    pub const NEWEST: Self = Self(u32::MAX, 0, 0);
    const WITHOUT_DEPENDS_ON: Self = Self(2, 29, 3);
    const WITHOUT_PROFILES: Self = Self(2, 30, 2);

    /// From a version as Compose writes it on its containers: `2.26.1-4`, `v2.39.4`. None for another text.
    #[must_use]
    pub fn of_version(text: &str) -> Option<Self> {
        let mut parts = text.trim_start_matches('v').splitn(3, '.').map(|part| {
            let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            part[..end].parse().ok()
        });
        Some(Self(parts.next()??, parts.next()??, parts.next()??))
    }
}

/// Compose's own hash of a service (label `com.docker.compose.config-hash`): SHA-256 over the JSON that its Go types make, without
/// what does not make a container another one (build, pull policy, scale, replicas, and since some release dependencies and profiles).
///
/// `None` where the service has keys whose place in that JSON vgrid does not know.
#[must_use]
pub fn config_hash(service: &Service, release: ComposeRelease) -> Option<String> {
    let mut own = Service {
        build: None,
        pull_policy: None,
        deploy: service.deploy.clone().map(|deploy| Deploy { replicas: None, ..deploy }),
        ..service.clone()
    };
    own.rest.shift_remove("scale");
    if release >= ComposeRelease::WITHOUT_DEPENDS_ON {
        own.depends_on.clear();
    }
    if release >= ComposeRelease::WITHOUT_PROFILES {
        own.profiles.clear();
    }
    let mut json = String::new();
    write_go("", &serde_json::to_value(&own).ok()?, &mut json)?;
    Some(sha256(&[json.as_bytes()]))
}

/// The keys of Compose's types, by their path in a service, in the order in which Go writes them. A mapping that is not named here
/// is one of Go's maps, whose keys come sorted; `*` stands for any of them.
const KEYS: [(&str, &str); 39] = [
    (
        "",
        "profiles annotations attach build develop blkio_config cap_add cap_drop cgroup_parent cgroup cpu_count cpu_percent cpu_period \
         cpu_quota cpu_rt_period cpu_rt_runtime cpus cpuset cpu_shares command configs container_name credential_spec depends_on deploy \
         device_cgroup_rules devices dns dns_opt dns_search dockerfile domainname entrypoint environment env_file expose extends \
         external_links extra_hosts group_add gpus hostname healthcheck image init ipc isolation labels links logging log_driver log_opt \
         mem_limit mem_reservation memswap_limit mem_swappiness mac_address net network_mode networks oom_kill_disable oom_score_adj pid \
         pids_limit platform ports privileged pull_policy read_only restart runtime scale secrets security_opt shm_size stdin_open \
         stop_grace_period stop_signal storage_opt sysctls tmpfs tty ulimits user userns_mode uts volume_driver volumes volumes_from \
         working_dir post_start pre_stop",
    ),
    ("blkio_config", "weight weight_device device_read_bps device_read_iops device_write_bps device_write_iops"),
    ("blkio_config.weight_device", "Path Weight"),
    ("blkio_config.device_read_bps", "Path Rate"),
    ("blkio_config.device_read_iops", "Path Rate"),
    ("blkio_config.device_write_bps", "Path Rate"),
    ("blkio_config.device_write_iops", "Path Rate"),
    ("configs", "source target uid gid mode"),
    ("credential_spec", "config file registry"),
    ("depends_on.*", "condition restart required"),
    ("deploy", "mode replicas labels update_config rollback_config resources restart_policy placement endpoint_mode"),
    ("deploy.update_config", "parallelism delay failure_action monitor max_failure_ratio order"),
    ("deploy.rollback_config", "parallelism delay failure_action monitor max_failure_ratio order"),
    ("deploy.resources", "limits reservations"),
    ("deploy.resources.limits", "cpus memory pids devices generic_resources"),
    ("deploy.resources.reservations", "cpus memory pids devices generic_resources"),
    ("deploy.resources.reservations.devices", "capabilities driver count device_ids options"),
    ("deploy.resources.reservations.generic_resources", "discrete_resource_spec"),
    ("deploy.resources.reservations.generic_resources.discrete_resource_spec", "kind value"),
    ("deploy.restart_policy", "condition delay max_attempts window"),
    ("deploy.placement", "constraints preferences max_replicas_per_node"),
    ("deploy.placement.preferences", "spread"),
    ("devices", "source target permissions"),
    ("gpus", "capabilities driver count device_ids options"),
    ("healthcheck", "test timeout interval retries start_period start_interval disable"),
    ("logging", "driver options"),
    ("networks.*", "priority aliases ipv4_address ipv6_address link_local_ips mac_address driver_opts"),
    ("ports", "name mode host_ip target published protocol app_protocol"),
    ("secrets", "source target uid gid mode"),
    ("ulimits.*", "single soft hard"),
    ("volumes", "type source target read_only consistency bind volume tmpfs"),
    ("volumes.bind", "selinux propagation create_host_path recursive"),
    ("volumes.volume", "labels nocopy subpath"),
    ("volumes.tmpfs", "size mode"),
    ("develop", "watch"),
    ("develop.watch", "path action target exec include ignore initial_sync"),
    ("develop.watch.exec", "command user privileged working_dir environment"),
    ("post_start", "command user privileged working_dir environment"),
    ("pre_stop", "command user privileged working_dir environment"),
];

/// Writes a value as Go's encoder does. None where a key has no known place.
fn write_go(path: &str, value: &Value, out: &mut String) -> Option<()> {
    match value {
        Value::Object(map) => {
            let known = KEYS.iter().find(|(of, _)| *of == path).map(|(_, keys)| keys.split_whitespace());
            let keys: Vec<&str> = match known {
                Some(known) => {
                    let known: Vec<&str> = known.collect();
                    if map.keys().any(|key| !known.contains(&key.as_str())) {
                        return None;
                    }
                    known.into_iter().filter(|key| map.contains_key(*key)).collect()
                }
                None => {
                    let mut keys: Vec<&str> = map.keys().map(String::as_str).collect();
                    keys.sort_unstable();
                    keys
                }
            };
            let a_struct = KEYS.iter().any(|(of, _)| *of == path);
            out.push('{');
            for (at, key) in keys.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                out.push_str(&go_escaped(&Value::from(key).to_string()));
                out.push(':');
                let below = match (a_struct, path) {
                    (true, "") => key.to_owned(),
                    (true, path) => format!("{path}.{key}"),
                    (false, path) => format!("{path}.*"),
                };
                write_go(&below, &map[key], out)?;
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write_go(path, item, out)?;
            }
            out.push(']');
        }
        Value::Number(number) => match number.as_f64() {
            // Go writes two cores as 2.
            Some(float) if number.is_f64() && float.fract() == 0.0 => out.push_str(&format!("{float:.0}")),
            _ => out.push_str(&number.to_string()),
        },
        Value::Null | Value::Bool(_) | Value::String(_) => out.push_str(&go_escaped(&value.to_string())),
    }
    Some(())
}

/// Go's encoder writes these characters of a text as escapes.
fn go_escaped(json: &str) -> String {
    json.replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(json: serde_json::Value) -> Service {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_release_is_read_from_the_version_on_composes_containers() {
        assert_eq!(ComposeRelease::of_version("2.26.1-4"), Some(ComposeRelease(2, 26, 1)));
        assert_eq!(ComposeRelease::of_version("v2.39.4"), Some(ComposeRelease(2, 39, 4)));
        assert_eq!(ComposeRelease::of_version("vgrid-0.1.0"), None);
        assert!(ComposeRelease(2, 29, 2) < ComposeRelease::WITHOUT_DEPENDS_ON);
    }

    #[test]
    fn dependencies_and_profiles_count_for_older_releases_and_image_and_command_for_all() {
        let hash = |json, release| config_hash(&service(json), release).unwrap();
        let plain = serde_json::json!({"image": "i"});
        let more = serde_json::json!({
            "image": "i", "profiles": ["gpu"], "depends_on": {"db": {"condition": "service_started", "required": true}},
            "scale": 2, "pull_policy": "never",
        });
        let old = ComposeRelease::of_version("2.26.1").unwrap();
        assert_eq!(hash(plain.clone(), ComposeRelease::NEWEST), hash(more.clone(), ComposeRelease::NEWEST));
        assert_ne!(hash(plain.clone(), old), hash(more, old));
        assert_ne!(hash(plain, old), hash(serde_json::json!({"image": "j"}), old));
    }

    #[test]
    fn a_key_without_a_known_place_has_no_hash() {
        let unknown = service(serde_json::json!({"image": "i", "of_a_later_release": true}));
        assert_eq!(config_hash(&unknown, ComposeRelease::NEWEST), None);
    }
}
