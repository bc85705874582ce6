//! Implicit things made explicit: the default network, names of resources, dependencies that other keys imply.

use std::collections::BTreeMap;

use super::paths;
use super::tree::{Data, Map, Path, Tree, matches};
use crate::domain::Diagnostic;

/// Entries of an environment list without a value take the variable's value, where there is one.
pub(super) fn resolve_listed_environment(root: &mut Tree, environment: &BTreeMap<String, String>) {
    let Some(services) = root.map_mut().and_then(|m| m.get_mut("services")?.map_mut()) else { return };
    for service in services.values_mut() {
        let list = service.map_mut().and_then(|m| m.get_mut("environment"));
        let Some(Data::Seq(items)) = list.map(|l| &mut l.data) else { continue };
        for item in items {
            if let Some((name, value)) = item.str().and_then(|n| Some((n, environment.get(n)?))) {
                *item = item.with(Data::Str(format!("{name}={value}")));
            }
        }
    }
}

/// Normalises the whole document.
pub(super) fn normalize(
    root: &mut Tree,
    project: &str,
    environment: &BTreeMap<String, String>,
) -> Result<(), Diagnostic> {
    let span = root.span.clone();
    let Some(top) = root.map_mut() else { return Ok(()) };
    let mut uses_default = false;
    for service in top.get_mut("services").and_then(Tree::map_mut).into_iter().flat_map(|s| s.values_mut()) {
        let shell = service.with(Data::Null);
        if let Some(map) = service.map_mut() {
            uses_default |= networks(map, &shell);
            environment_values(map, environment);
            build_arguments(map, environment);
            implied_dependencies(map, &shell);
            clean_targets(map)?;
        }
    }
    if uses_default {
        let networks = top.entry("networks".into()).or_insert_with(|| Tree::new(Data::Map(Map::new()), &span));
        if networks.is_null() {
            networks.data = Data::Map(Map::new());
        }
        if let Some(map) = networks.map_mut() {
            map.entry("default".into()).or_insert_with(|| Tree::new(Data::Null, &span));
        }
    }
    for section in ["networks", "volumes", "configs", "secrets"] {
        for (key, resource) in top.get_mut(section).and_then(Tree::map_mut).into_iter().flatten() {
            if resource.is_null() {
                resource.data = Data::Map(Map::new());
            }
            let shell = resource.with(Data::Null);
            let Some(map) = resource.map_mut() else { continue };
            if map.get("name").is_none_or(Tree::is_null) {
                let external = matches!(map.get("external").map(|e| &e.data), Some(Data::Bool(true)));
                let name = if external { key.clone() } else { format!("{project}_{key}") };
                map.insert("name".into(), shell.with(Data::Str(name)));
            }
        }
    }
    Ok(())
}

/// Joins the default network where a service names none; tells whether it did.
fn networks(service: &mut Map, shell: &Tree) -> bool {
    if service.contains_key("network_mode") {
        return false;
    }
    if service.get("networks").and_then(Tree::map).is_none_or(Map::is_empty) {
        let default = Map::from_iter([("default".to_owned(), shell.clone())]);
        service.insert("networks".into(), shell.with(Data::Map(default)));
    }
    service.get("networks").is_some_and(|n| n.get("default").is_some())
}

fn environment_values(service: &mut Map, environment: &BTreeMap<String, String>) {
    let Some(map) = service.get_mut("environment").and_then(Tree::map_mut) else { return };
    for (name, value) in map.iter_mut().filter(|(_, value)| value.is_null()) {
        if let Some(found) = environment.get(name) {
            value.data = Data::Str(found.clone());
        }
    }
}

/// Build arguments without a value take the variable's value, or go.
fn build_arguments(service: &mut Map, environment: &BTreeMap<String, String>) {
    let Some(args) = service.get_mut("build").and_then(|b| b.map_mut()?.get_mut("args")) else { return };
    match &mut args.data {
        Data::Map(map) => {
            map.retain(|name, value| !value.is_null() || environment.contains_key(name));
            for (name, value) in map.iter_mut().filter(|(_, value)| value.is_null()) {
                value.data = Data::Str(environment.get(name).cloned().unwrap_or_default());
            }
        }
        Data::Seq(items) => {
            items.retain(|item| item.to_string().contains('=') || environment.contains_key(&item.to_string()));
            for item in items {
                let name = item.to_string();
                if let Some(value) = environment.get(&name) {
                    item.data = Data::Str(format!("{name}={value}"));
                }
            }
        }
        _ => {}
    }
}

fn implied_dependencies(service: &mut Map, shell: &Tree) {
    let mut implied: Vec<(String, bool)> = Vec::new();
    for link in texts(service.get("links")) {
        let mut parts = link.split(':');
        let name = parts.next().unwrap_or_default();
        let aliased = parts.next().is_some() && parts.next().is_none();
        implied.push((if aliased { name.to_owned() } else { link }, true));
    }
    for key in ["network_mode", "ipc", "pid", "uts", "cgroup"] {
        if let Some(name) = service.get(key).and_then(Tree::str).and_then(|t| t.strip_prefix("service:")) {
            implied.push((name.to_owned(), true));
        }
    }
    for source in texts(service.get("volumes_from")) {
        if !source.starts_with("container:") {
            implied.push((source.split(':').next().unwrap_or_default().to_owned(), false));
        }
    }
    if implied.is_empty() {
        return;
    }
    let slot = service.entry("depends_on".into()).or_insert_with(|| shell.with(Data::Map(Map::new())));
    let Some(map) = slot.map_mut() else { return };
    for (name, restart) in implied {
        map.entry(name).or_insert_with(|| {
            let mut entry = super::merge::depends_default(shell);
            if let Some(entry) = entry.map_mut() {
                entry.insert("restart".into(), shell.with(Data::Bool(restart)));
            }
            entry
        });
    }
}

fn texts(list: Option<&Tree>) -> Vec<String> {
    list.and_then(Tree::seq).unwrap_or_default().iter().map(ToString::to_string).collect()
}

fn clean_targets(service: &mut Map) -> Result<(), Diagnostic> {
    let Some(Data::Seq(mounts)) = service.get_mut("volumes").map(|v| &mut v.data) else { return Ok(()) };
    for mount in mounts {
        let Some(target) = mount.get("target").and_then(Tree::str).map(paths::clean_posix) else {
            return Err(mount.error("missing-key", "a mount has no `target`").help("add `target: /path`"));
        };
        if let Some(slot) = mount.map_mut().and_then(|m| m.get_mut("target")) {
            slot.data = Data::Str(target);
        }
    }
    Ok(())
}

/// Mappings whose keys are the user's own names, where `x-...` is a name like any other.
const OWN_NAMES: [&str; 6] = ["services", "services.*.depends_on", "volumes", "networks", "secrets", "configs"];

/// Mappings of the user's own names in which Compose takes `x-...` for a note all the same.
const PAIRS: [&str; 3] = ["services.*.environment", "services.*.labels", "services.*.sysctls"];

/// Drops `x-...` keys; warns where one may have been meant as a name.
pub(super) fn strip_extensions(tree: &mut Tree, path: &mut Path, warnings: &mut Vec<Diagnostic>) {
    match &mut tree.data {
        Data::Map(map) => {
            if !OWN_NAMES.iter().any(|pattern| matches(path, pattern)) {
                if PAIRS.iter().any(|pattern| matches(path, pattern)) {
                    warnings.extend(map.iter().filter(|(key, _)| key.starts_with("x-")).map(|(key, value)| {
                        let place = value.key.as_ref().unwrap_or(&value.span);
                        place
                            .warning(
                                "dropped-name",
                                format!("Compose takes `{key}` in `{}` for a note", path.join(".")),
                            )
                            .help(format!("write the list form to set it: - {key}=..."))
                    }));
                }
                map.retain(|key, _| !key.starts_with("x-"));
            }
            for (key, value) in map.iter_mut() {
                path.push(key.clone());
                strip_extensions(value, path, warnings);
                path.pop();
            }
        }
        Data::Seq(items) => {
            for (i, item) in items.iter_mut().enumerate().filter(|(_, item)| item.map().is_some()) {
                path.push(i.to_string());
                strip_extensions(item, path, warnings);
                path.pop();
            }
        }
        Data::Null | Data::Bool(_) | Data::Int(_) | Data::Float(_) | Data::Stamp(_) | Data::Str(_) => {}
    }
}
