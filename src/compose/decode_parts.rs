//! The nested parts of a service: deploy, health check, logging, networks, ports, mounts, limits, build.

use serde_json::{Value, json};

use super::decode_json::{self as j, JsonMap, Out};
use super::tree::{Data, Map, Tree};
use super::units;

fn map_of(out: &mut Out<'_>, map: &Map, keys: &[&str]) {
    for key in keys {
        if let Some(tree) = map.get(*key) {
            out.put(key, j::string_map(tree));
        }
    }
}

pub(super) fn deploy(tree: &Tree, out: &mut Out<'_>) {
    out.nested("deploy", tree, |o, m| {
        o.strings(m, &["mode", "endpoint_mode"]);
        o.int_or_zero(m, "replicas");
        map_of(o, m, &["labels"]);
        for key in ["update_config", "rollback_config"] {
            if let Some(config) = m.get(key) {
                o.nested(key, config, update_config);
            }
        }
        o.json.insert("resources".into(), Value::Object(JsonMap::new()));
        if let Some(tree) = m.get("resources") {
            o.nested("resources", tree, |o, m| {
                for key in ["limits", "reservations"] {
                    if let Some(tree) = m.get(key) {
                        o.nested(key, tree, resource);
                    }
                }
            });
        }
        if let Some(policy) = m.get("restart_policy") {
            o.nested("restart_policy", policy, |o, m| {
                o.strings(m, &["condition"]);
                o.duration(m, "delay");
                o.unsigned(m, "max_attempts");
                o.duration(m, "window");
            });
        }
        o.json.insert("placement".into(), Value::Object(JsonMap::new()));
        if let Some(placement) = m.get("placement") {
            o.nested("placement", placement, |o, m| {
                if let Some(constraints) = m.get("constraints") {
                    o.put_list("constraints", constraints);
                }
                if let Some(preferences) = m.get("preferences") {
                    o.nested_list("preferences", preferences, |o, m| o.strings(m, &["spread"]));
                }
                o.int(m, "max_replicas_per_node");
            });
        }
    });
}

fn update_config(o: &mut Out<'_>, m: &Map) {
    o.unsigned(m, "parallelism");
    o.duration_not_zero(m, "delay");
    o.strings(m, &["failure_action"]);
    o.duration_not_zero(m, "monitor");
    o.float32(m, "max_failure_ratio");
    o.strings(m, &["order"]);
}

fn resource(o: &mut Out<'_>, m: &Map) {
    o.float32(m, "cpus");
    o.bytes(m, "memory");
    o.int(m, "pids");
    if let Some(devices) = m.get("devices") {
        o.nested_list("devices", devices, device_request);
    }
    if let Some(generic) = m.get("generic_resources") {
        o.nested_list("generic_resources", generic, |o, m| {
            if let Some(spec) = m.get("discrete_resource_spec") {
                o.nested("discrete_resource_spec", spec, |o, m| {
                    o.json.insert("kind".into(), json!(m.get("kind").map(ToString::to_string).unwrap_or_default()));
                    let value = o.read_int(m, "value").unwrap_or(0);
                    o.json.insert("value".into(), json!(value));
                });
            }
        });
    }
}

pub(super) fn device_request(o: &mut Out<'_>, m: &Map) {
    for key in ["capabilities", "device_ids"] {
        if let Some(tree) = m.get(key) {
            o.put_list(key, tree);
        }
    }
    o.strings(m, &["driver"]);
    map_of(o, m, &["options"]);
    let Some(count) = m.get("count") else { return };
    let number = match &count.data {
        Data::Int(n) => Some(*n),
        Data::Str(text) if text.eq_ignore_ascii_case("all") => Some(-1),
        Data::Str(text) => text.parse().ok(),
        _ => None,
    };
    match number {
        Some(0) => {}
        Some(n) => {
            o.json.insert("count".into(), json!(n));
        }
        None => o.problems.push(
            count
                .error("wrong-value", format!("`count` of a device cannot be `{count}`"))
                .help("write a number, or `all`"),
        ),
    }
}

pub(super) fn healthcheck(tree: &Tree, out: &mut Out<'_>) {
    out.nested("healthcheck", tree, |o, m| {
        match m.get("test").map(|t| (&t.data, t)) {
            Some((Data::Str(text), _)) => o.put("test", json!(["CMD-SHELL", text])),
            Some((Data::Seq(_), tree)) => o.put_list("test", tree),
            _ => {}
        }
        for key in ["timeout", "interval", "start_period", "start_interval"] {
            o.duration(m, key);
        }
        o.unsigned(m, "retries");
        o.flag(m, "disable");
    });
}

pub(super) fn logging(tree: &Tree, out: &mut Out<'_>) {
    out.nested("logging", tree, |o, m| {
        o.strings(m, &["driver"]);
        map_of(o, m, &["options"]);
    });
}

pub(super) fn networks(tree: &Tree, out: &mut Out<'_>) {
    let mut networks = JsonMap::new();
    for (name, entry) in tree.map().into_iter().flatten() {
        let value = out.inner(name, entry, |o, m| {
            // Compose 2.26 reads `gw_priority` and loses it.
            o.int(m, "priority");
            for key in ["aliases", "link_local_ips"] {
                if let Some(list) = m.get(key) {
                    o.put_list(key, list);
                }
            }
            o.strings(m, &["ipv4_address", "ipv6_address", "mac_address"]);
            map_of(o, m, &["driver_opts"]);
        });
        networks.insert(name.clone(), value.unwrap_or(Value::Null));
    }
    out.put("networks", Value::Object(networks));
}

pub(super) fn port(o: &mut Out<'_>, m: &Map) {
    o.strings(m, &["name", "mode", "host_ip", "published", "protocol", "app_protocol"]);
    o.int(m, "target");
}

pub(super) fn volume(o: &mut Out<'_>, m: &Map) {
    o.strings(m, &["type", "source", "target", "consistency"]);
    o.flag(m, "read_only");
    if let Some(bind) = m.get("bind") {
        o.nested("bind", bind, |o, m| {
            o.strings(m, &["propagation", "selinux", "recursive"]);
            o.flag(m, "create_host_path");
        });
    }
    if let Some(options) = m.get("volume") {
        o.nested("volume", options, |o, m| {
            o.flag(m, "nocopy");
            o.strings(m, &["subpath"]);
        });
    }
    if let Some(tmpfs) = m.get("tmpfs") {
        o.nested("tmpfs", tmpfs, |o, m| {
            o.bytes(m, "size");
            o.int(m, "mode");
        });
    }
}

pub(super) fn ulimits(tree: &Tree, out: &mut Out<'_>) {
    let mut limits = JsonMap::new();
    for (name, entry) in tree.map().into_iter().flatten() {
        match &entry.data {
            Data::Int(0) => {
                limits.insert(name.clone(), json!({}));
            }
            Data::Int(n) => {
                limits.insert(name.clone(), json!(n));
            }
            Data::Map(_) => {
                let value = out.inner(name, entry, |o, m| {
                    o.int(m, "soft");
                    o.int(m, "hard");
                });
                limits.insert(name.clone(), value.unwrap_or_else(|| json!({})));
            }
            _ => out.problems.push(
                entry
                    .error("wrong-type", format!("the limit `{name}` must be a whole number or soft and hard"))
                    .help("write `soft:` and `hard:`, or one number"),
            ),
        }
    }
    out.put("ulimits", Value::Object(limits));
}

pub(super) fn file_mount(o: &mut Out<'_>, m: &Map) {
    o.strings(m, &["source", "target", "uid", "gid"]);
    o.int_or_zero(m, "mode");
}

pub(super) fn blkio(tree: &Tree, out: &mut Out<'_>) {
    out.nested("blkio_config", tree, |o, m| {
        o.int(m, "weight");
        if let Some(list) = m.get("weight_device") {
            o.nested_list("weight_device", list, |o, m| {
                let weight = o.read_int(m, "weight").unwrap_or(0);
                o.json.insert("Path".into(), json!(m.get("path").map(ToString::to_string).unwrap_or_default()));
                o.json.insert("Weight".into(), json!(weight));
            });
        }
        for key in ["device_read_bps", "device_read_iops", "device_write_bps", "device_write_iops"] {
            let Some(list) = m.get(key) else { continue };
            o.nested_list(key, list, |o, m| {
                let rate = match m.get("rate").map(|r| &r.data) {
                    Some(Data::Int(n)) => *n,
                    Some(Data::Str(text)) => units::bytes(text).unwrap_or(0),
                    _ => 0,
                };
                o.json.insert("Path".into(), json!(m.get("path").map(ToString::to_string).unwrap_or_default()));
                o.json.insert("Rate".into(), json!(rate.to_string()));
            });
        }
    });
}

pub(super) fn build(tree: &Tree, out: &mut Out<'_>) {
    out.nested("build", tree, |o, m| {
        o.strings(m, &["context", "dockerfile", "dockerfile_inline", "isolation", "network", "target"]);
        if let Some(args) = m.get("args") {
            o.put("args", j::with_equals(args));
        }
        for key in ["no_cache", "pull", "privileged"] {
            o.flag(m, key);
        }
        map_of(o, m, &["labels", "additional_contexts"]);
        for key in ["entitlements", "cache_from", "cache_to", "tags", "platforms"] {
            if let Some(list) = m.get(key) {
                o.put_list(key, list);
            }
        }
        o.bytes(m, "shm_size");
        if let Some(hosts) = m.get("extra_hosts") {
            let hosts = j::extra_hosts(hosts, o.problems);
            o.put("extra_hosts", hosts);
        }
        if let Some(limits) = m.get("ulimits") {
            ulimits(limits, o);
        }
        if let Some(secrets) = m.get("secrets") {
            o.nested_list("secrets", secrets, file_mount);
        }
    });
}

pub(super) fn develop(tree: &Tree, out: &mut Out<'_>) {
    out.nested("develop", tree, |o, m| {
        if let Some(watch) = m.get("watch") {
            o.nested_list("watch", watch, |o, m| {
                o.strings(m, &["path", "action", "target"]);
                o.json.insert("exec".into(), json!({"command": null}));
                if let Some(exec) = m.get("exec") {
                    o.nested("exec", exec, super::decode::hook);
                }
                if let Some(ignore) = m.get("ignore") {
                    o.put_list("ignore", ignore);
                }
            });
        }
    });
}
