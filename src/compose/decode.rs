//! From the normalised tree to typed services, by way of the JSON that Compose prints.

use serde_json::{Value, json};

use super::decode_json::{self as j, JsonMap, Out};
use super::service::{Project, ProjectNetwork, ProjectVolume, Service};
use super::shellwords::{self, SplitError};
use super::tree::{Data, Map, Tree};
use crate::domain::{Diagnostic, Diagnostics};

/// A decoded service with what is needed to judge it later.
pub(super) struct Decoded {
    /// Its name.
    pub name: String,
    /// Where its name stands.
    pub tree: Tree,
    /// The typed service.
    pub service: Service,
}

/// All services, enabled or not.
pub(super) struct AllServices {
    /// In the order of the files.
    pub services: Vec<Decoded>,
    /// Cut commands and the like.
    pub warnings: Vec<Diagnostic>,
}

/// Types every service.
pub(super) fn services(root: &Tree) -> Result<AllServices, Diagnostics> {
    let mut problems = Vec::new();
    let mut warnings = Vec::new();
    let mut services = Vec::new();
    for (name, tree) in root.get("services").and_then(Tree::map).into_iter().flatten() {
        let Some(map) = tree.map() else { continue };
        let json = service_json(name, map, &mut problems, &mut warnings);
        match serde_json::from_value::<Service>(Value::Object(json)) {
            Ok(service) => services.push(Decoded { name: name.clone(), tree: tree.clone(), service }),
            Err(error) => problems.push(
                tree.key_error("wrong-type", format!("`services.{name}` cannot be read: {error}"))
                    .help("check the types of the keys of this service"),
            ),
        }
    }
    if problems.is_empty() { Ok(AllServices { services, warnings }) } else { Err(Diagnostics(problems)) }
}

fn service_json(name: &str, map: &Map, problems: &mut Vec<Diagnostic>, warnings: &mut Vec<Diagnostic>) -> JsonMap {
    let mut out = Out::new(format!("services.{name}"), problems);
    for key in ["command", "entrypoint"] {
        let command = map.get(key).map_or(Value::Null, |tree| command(tree, key, out.problems, warnings));
        out.json.insert(key.into(), command);
    }
    scalars(map, &mut out);
    lists(map, &mut out);
    for (key, tree) in map {
        match key.as_str() {
            "environment" => out.put(key, j::with_equals(tree)),
            "labels" | "annotations" | "sysctls" | "storage_opt" => out.put(key, j::string_map(tree)),
            "extra_hosts" => {
                let hosts = j::extra_hosts(tree, out.problems);
                out.put(key, hosts);
            }
            "depends_on" => depends_on(tree, &mut out),
            "deploy" => super::decode_parts::deploy(tree, &mut out),
            "gpus" => out.nested_list(key, tree, super::decode_parts::device_request),
            "devices" => out.nested_list(key, tree, |o, m| o.strings(m, &["source", "target", "permissions"])),
            "healthcheck" => super::decode_parts::healthcheck(tree, &mut out),
            "logging" => super::decode_parts::logging(tree, &mut out),
            "networks" => super::decode_parts::networks(tree, &mut out),
            "ports" => out.nested_list(key, tree, super::decode_parts::port),
            "volumes" => out.nested_list(key, tree, super::decode_parts::volume),
            "ulimits" => super::decode_parts::ulimits(tree, &mut out),
            "build" => super::decode_parts::build(tree, &mut out),
            "secrets" | "configs" => out.nested_list(key, tree, super::decode_parts::file_mount),
            "blkio_config" => super::decode_parts::blkio(tree, &mut out),
            "credential_spec" => out.nested(key, tree, |o, m| o.strings(m, &["config", "file", "registry"])),
            "post_start" | "pre_stop" => out.nested_list(key, tree, hook),
            "develop" => super::decode_parts::develop(tree, &mut out),
            "extends" => {}
            _ => {}
        }
    }
    out.json
}

fn scalars(map: &Map, out: &mut Out<'_>) {
    out.strings(
        map,
        &[
            "cgroup",
            "cgroup_parent",
            "container_name",
            "cpuset",
            "domainname",
            "hostname",
            "image",
            "ipc",
            "isolation",
            "mac_address",
            "network_mode",
            "pid",
            "platform",
            "restart",
            "runtime",
            "stop_signal",
            "user",
            "userns_mode",
            "uts",
            "working_dir",
        ],
    );
    if let Some(policy) = map.get("pull_policy").and_then(Tree::str).filter(|p| !p.is_empty()) {
        out.put("pull_policy", json!(if policy == "if_not_present" { "missing" } else { policy }));
    }
    for key in ["oom_kill_disable", "privileged", "read_only", "stdin_open", "tty"] {
        out.flag(map, key);
    }
    for key in ["init", "attach"] {
        out.flag_or_off(map, key);
    }
    for key in [
        "cpu_count",
        "cpu_period",
        "cpu_quota",
        "cpu_rt_period",
        "cpu_rt_runtime",
        "cpu_shares",
        "oom_score_adj",
        "pids_limit",
    ] {
        out.int(map, key);
    }
    out.int_or_zero(map, "scale");
    out.float32(map, "cpus");
    out.float32(map, "cpu_percent");
    for key in ["mem_limit", "mem_reservation", "mem_swappiness", "memswap_limit", "shm_size"] {
        out.bytes(map, key);
    }
    out.duration(map, "stop_grace_period");
}

fn lists(map: &Map, out: &mut Out<'_>) {
    for key in [
        "cap_add",
        "cap_drop",
        "device_cgroup_rules",
        "dns",
        "dns_opt",
        "dns_search",
        "expose",
        "external_links",
        "group_add",
        "links",
        "profiles",
        "security_opt",
        "tmpfs",
        "volumes_from",
    ] {
        if let Some(tree) = map.get(key) {
            out.put_list(key, tree);
        }
    }
}

fn depends_on(tree: &Tree, out: &mut Out<'_>) {
    let mut entries = JsonMap::new();
    for (name, entry) in tree.map().into_iter().flatten() {
        let mut inner = Out::new(format!("{}.depends_on.{name}", out.path), out.problems);
        if let Some(map) = entry.map() {
            inner.strings(map, &["condition"]);
            inner.flag(map, "restart");
            let required = inner.read_bool(map, "required").unwrap_or(false);
            inner.json.insert("required".into(), json!(required));
        }
        entries.insert(name.clone(), Value::Object(inner.json));
    }
    if !entries.is_empty() {
        out.json.insert("depends_on".into(), Value::Object(entries));
    }
}

/// A command that runs beside the service's own.
pub(super) fn hook(out: &mut Out<'_>, map: &Map) {
    let value = map.get("command").map_or(Value::Null, |c| command(c, "command", out.problems, &mut Vec::new()));
    out.json.insert("command".into(), value);
    out.strings(map, &["user", "working_dir"]);
    out.flag(map, "privileged");
    if let Some(tree) = map.get("environment") {
        out.put("environment", j::with_equals(tree));
    }
}

/// A command as a list of words; null leaves the image's own.
fn command(tree: &Tree, key: &str, problems: &mut Vec<Diagnostic>, warnings: &mut Vec<Diagnostic>) -> Value {
    match &tree.data {
        Data::Str(text) => match shellwords::split(text) {
            Ok(words) => {
                if let Some(cut) = words.cut {
                    warnings.push(cut_warning(tree, key, &cut));
                }
                json!(words.words)
            }
            Err(error) => {
                let (message, help) = match error {
                    SplitError::Unclosed => {
                        ("a quote, backquote or backslash of this command never closes", "close it, or write a list")
                    }
                    SplitError::Parenthesis => {
                        ("a parenthesis stands outside of quotes in this command", "put it in quotes, or write a list")
                    }
                };
                problems.push(tree.error("bad-command", message).help(help));
                Value::Null
            }
        },
        Data::Seq(items) => {
            let mut words = Vec::new();
            for item in items {
                match item.str() {
                    Some(text) => words.push(text.to_owned()),
                    None => problems.push(
                        item.error(
                            "wrong-type",
                            format!("a word of `{key}` must be a string, this is {}", item.kind()),
                        )
                        .help(format!("put it in quotes: \"{item}\"")),
                    ),
                }
            }
            json!(words)
        }
        _ => Value::Null,
    }
}

fn cut_warning(tree: &Tree, key: &str, cut: &str) -> Diagnostic {
    let shown: String = cut.chars().take(40).collect();
    let dots = if cut.chars().count() > 40 { "..." } else { "" };
    tree.span
        .warning("cut-command", format!("Compose ends `{key}` before `{}`", format!("{shown}{dots}").trim_end()))
        .help("put the character in quotes if it is meant, or run a shell: [\"sh\", \"-c\", \"...\"]")
}

/// Types the project's networks and volumes.
pub(super) fn resources(root: &Tree, project: &mut Project) -> Result<(), Diagnostics> {
    let mut problems = Vec::new();
    for (name, tree) in root.get("networks").and_then(Tree::map).into_iter().flatten() {
        let json = resource_json(&format!("networks.{name}"), tree, &mut problems);
        if let Ok(network) = serde_json::from_value::<ProjectNetwork>(json) {
            project.networks.insert(name.clone(), network);
        }
    }
    for (name, tree) in root.get("volumes").and_then(Tree::map).into_iter().flatten() {
        let json = resource_json(&format!("volumes.{name}"), tree, &mut problems);
        if let Ok(volume) = serde_json::from_value::<ProjectVolume>(json) {
            project.volumes.insert(name.clone(), volume);
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Diagnostics(problems)) }
}

fn resource_json(path: &str, tree: &Tree, problems: &mut Vec<Diagnostic>) -> Value {
    let mut out = Out::new(path.to_owned(), problems);
    if let Some(map) = tree.map() {
        out.strings(map, &["name", "driver"]);
        for key in ["external", "internal", "attachable"] {
            out.flag(map, key);
        }
        for key in ["enable_ipv4", "enable_ipv6"] {
            out.flag_or_off(map, key);
        }
        for key in ["driver_opts", "labels"] {
            if let Some(tree) = map.get(key) {
                out.put(key, j::string_map(tree));
            }
        }
        if let Some(ipam) = map.get("ipam") {
            out.put("ipam", j::plain(ipam));
        }
    }
    Value::Object(out.json)
}
