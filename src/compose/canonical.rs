//! Brings short forms into their long form, fills in defaults, and makes paths absolute.

use std::path::PathBuf;

use super::service;
use super::tree::{Data, Map, Tree};
use super::{paths, port, volume};
use crate::domain::Diagnostic;

/// Brings a merged document into the long form of every key.
pub(super) fn canonical(root: &mut Tree) -> Result<(), Diagnostic> {
    let Some(top) = root.map_mut() else { return Ok(()) };
    if let Some(services) = top.get_mut("services").and_then(Tree::map_mut) {
        for service in services.values_mut() {
            if let Some(map) = service.map_mut() {
                canonical_service(map)?;
            }
        }
    }
    for section in ["volumes", "networks", "secrets", "configs"] {
        let Some(map) = top.get_mut(section).and_then(Tree::map_mut) else { continue };
        for resource in map.values_mut().filter_map(Tree::map_mut) {
            external(resource)?;
        }
    }
    Ok(())
}

fn canonical_service(service: &mut Map) -> Result<(), Diagnostic> {
    for (key, value) in service.iter_mut() {
        match key.as_str() {
            "build" => {
                if let Data::Str(_) = value.data {
                    let context = Map::from_iter([("context".to_owned(), value.clone())]);
                    *value = value.with(Data::Map(context));
                }
            }
            "depends_on" => depends_on(value)?,
            "env_file" => env_file(value),
            "label_file" | "dns" => listed(value),
            "extends" => {
                if let Data::Str(_) = value.data {
                    *value = value.with(Data::Map(Map::from_iter([("service".to_owned(), value.clone())])));
                }
            }
            "gpus" => {
                if let Data::Str(_) = value.data {
                    let count = value.with(Data::Str("all".into()));
                    let request = value.with(Data::Map(Map::from_iter([("count".to_owned(), count)])));
                    *value = value.with(Data::Seq(vec![request]));
                }
            }
            "networks" => {
                if let Data::Seq(items) = &value.data {
                    let map = items.iter().map(|item| (item.to_string(), item.with(Data::Null))).collect();
                    *value = value.with(Data::Map(map));
                }
            }
            "volumes" => each(value, volume_mount)?,
            "devices" => each(value, device_mapping)?,
            "secrets" | "configs" => each(value, file_mount)?,
            "ports" => ports(value)?,
            _ => {}
        }
    }
    // Compose drops empty DNS servers, so that `dns: ${DNS:-}` means none.
    if let Some(Data::Seq(items)) = service.get_mut("dns").map(|dns| &mut dns.data) {
        items.retain(|item| !item.is_null() && item.str() != Some(""));
    }
    Ok(())
}

fn each(list: &mut Tree, change: fn(&mut Tree) -> Result<(), Diagnostic>) -> Result<(), Diagnostic> {
    if let Data::Seq(items) = &mut list.data {
        items.iter_mut().try_for_each(change)?;
    }
    Ok(())
}

fn listed(value: &mut Tree) {
    if let Data::Str(_) = value.data {
        *value = value.with(Data::Seq(vec![value.clone()]));
    }
}

fn depends_on(value: &mut Tree) -> Result<(), Diagnostic> {
    match &mut value.data {
        Data::Map(map) => {
            for entry in map.values_mut() {
                let template = super::merge::depends_default(entry);
                let Some(entry_map) = entry.map_mut() else {
                    return Err(entry.error("wrong-type", "an entry of `depends_on` must be a mapping"));
                };
                for (key, default) in template.map().into_iter().flatten() {
                    entry_map.entry(key.clone()).or_insert_with(|| default.clone());
                }
            }
        }
        Data::Seq(items) => {
            let map = items.iter().map(|item| (item.to_string(), super::merge::depends_default(item))).collect();
            *value = value.with(Data::Map(map));
        }
        _ => {}
    }
    Ok(())
}

fn env_file(value: &mut Tree) {
    listed(value);
    let Data::Seq(items) = &mut value.data else { return };
    for item in items {
        if let Data::Str(_) = item.data {
            *item = item.with(Data::Map(Map::from_iter([("path".to_owned(), item.clone())])));
        }
        let required = item.with(Data::Bool(true));
        if let Some(map) = item.map_mut() {
            map.entry("required".into()).or_insert(required);
        }
    }
}

fn volume_mount(item: &mut Tree) -> Result<(), Diagnostic> {
    let Data::Str(text) = &item.data else { return Ok(()) };
    let mut parsed = volume::parse(text).map_err(|message| {
        item.error("bad-volume", message).help("write `source:target[:options]`, or the long form with `type:`")
    })?;
    parsed.target = paths::clean_posix(&parsed.target);
    *item = item.with(volume_tree(&parsed, item));
    Ok(())
}

fn volume_tree(v: &service::Volume, at: &Tree) -> Data {
    let text = |s: &str| at.with(Data::Str(s.to_owned()));
    let flag = |b: bool| at.with(Data::Bool(b));
    let mut map = Map::from_iter([("type".to_owned(), text(&v.kind)), ("target".to_owned(), text(&v.target))]);
    if let Some(source) = &v.source {
        map.insert("source".into(), text(source));
    }
    if v.read_only {
        map.insert("read_only".into(), flag(true));
    }
    if let Some(bind) = &v.bind {
        let mut options = Map::new();
        if bind.create_host_path {
            options.insert("create_host_path".into(), flag(true));
        }
        for (key, value) in [("propagation", &bind.propagation), ("selinux", &bind.selinux)] {
            if let Some(value) = value {
                options.insert(key.into(), text(value));
            }
        }
        map.insert("bind".into(), at.with(Data::Map(options)));
    }
    if let Some(options) = &v.volume {
        let mut tree = Map::new();
        if options.nocopy {
            tree.insert("nocopy".into(), flag(true));
        }
        map.insert("volume".into(), at.with(Data::Map(tree)));
    }
    Data::Map(map)
}

fn device_mapping(item: &mut Tree) -> Result<(), Diagnostic> {
    let Data::Str(spec) = &item.data else { return Ok(()) };
    let parts: Vec<&str> = spec.split(':').collect();
    let (source, target, permissions) = match parts.as_slice() {
        [source] => (*source, "", "rwm"),
        [source, target] => (*source, *target, "rwm"),
        [source, target, permissions] => (*source, *target, *permissions),
        _ => {
            return Err(item
                .error("bad-device", format!("the device `{spec}` has too many colons"))
                .help("write it in the long form: source, target, permissions"));
        }
    };
    let target = if target.is_empty() { source } else { target };
    let entries = [("source", source), ("target", target), ("permissions", permissions)];
    let map = entries.map(|(k, v)| (k.to_owned(), item.with(Data::Str(v.to_owned()))));
    *item = item.with(Data::Map(Map::from_iter(map)));
    Ok(())
}

fn file_mount(item: &mut Tree) -> Result<(), Diagnostic> {
    if let Data::Str(_) = item.data {
        *item = item.with(Data::Map(Map::from_iter([("source".to_owned(), item.clone())])));
    }
    Ok(())
}

fn ports(value: &mut Tree) -> Result<(), Diagnostic> {
    let Data::Seq(items) = &value.data else { return Ok(()) };
    let mut list = Vec::new();
    for item in items {
        match &item.data {
            Data::Str(_) | Data::Int(_) => {
                let parsed = port::parse(&item.to_string()).map_err(|message| {
                    item.error("bad-port", message).help("write `[address:]published:target[/protocol]`")
                })?;
                list.extend(parsed.iter().map(|p| port_tree(p, item)));
            }
            Data::Map(_) => list.push(item.clone()),
            _ => return Err(item.error("wrong-type", format!("a port cannot be {}", item.kind()))),
        }
    }
    *value = value.with(Data::Seq(list));
    Ok(())
}

fn port_tree(p: &service::Port, at: &Tree) -> Tree {
    let text = |s: &str| at.with(Data::Str(s.to_owned()));
    let mut map = Map::from_iter([
        ("mode".to_owned(), text(&p.mode)),
        ("target".to_owned(), at.with(Data::Int(i64::from(p.target)))),
        ("protocol".to_owned(), text(&p.protocol)),
    ]);
    for (key, value) in [("published", &p.published), ("host_ip", &p.host_ip)] {
        if let Some(value) = value {
            map.insert(key.into(), text(value));
        }
    }
    at.with(Data::Map(map))
}

/// `external: {name: x}` is the old form of `external: true` and `name: x`.
fn external(resource: &mut Map) -> Result<(), Diagnostic> {
    let Some(tree) = resource.get("external").filter(|t| t.map().is_some()).cloned() else { return Ok(()) };
    resource.insert("external".into(), tree.with(Data::Bool(true)));
    let Some(inner) = tree.get("name").cloned() else { return Ok(()) };
    match resource.get("name") {
        None => {
            resource.insert("name".into(), inner);
        }
        Some(name) if name.to_string() != inner.to_string() => {
            return Err(inner
                .error("name-conflict", "`name` and `external.name` differ")
                .help("keep `name`, with `external: true`"));
        }
        Some(_) => {}
    }
    Ok(())
}

/// Fills in what the long forms leave out, and checks device requests and external volumes.
pub(super) fn defaults(root: &mut Tree, problems: &mut Vec<Diagnostic>) {
    let Some(top) = root.map_mut() else { return };
    if let Some(Data::Map(services)) = top.get_mut("services").map(|s| &mut s.data) {
        for (name, service) in services.iter_mut() {
            if let Some(map) = service.map_mut() {
                service_defaults(name, map, problems);
            }
        }
    }
    if let Some(volumes) = top.get("volumes").and_then(Tree::map) {
        for (name, volume) in volumes {
            check_external(name, volume, problems);
        }
    }
    for (section, sources) in
        [("secrets", &["file", "environment"][..]), ("configs", &["file", "environment", "content"][..])]
    {
        for (name, resource) in top.get(section).and_then(Tree::map).into_iter().flatten() {
            let given = sources.iter().filter(|s| resource.get(s).is_some()).count();
            let elsewhere = resource.get("external").is_some() || resource.get("driver").is_some();
            if given > 1 || (given == 0 && !elsewhere) {
                problems.push(
                    resource
                        .key_error("bad-source", format!("`{section}.{name}` must have one of {}", sources.join(", ")))
                        .help("keep exactly one of them"),
                );
            }
        }
    }
}

fn service_defaults(name: &str, service: &mut Map, problems: &mut Vec<Diagnostic>) {
    if let Some(build) = service.get_mut("build") {
        let (context, dockerfile) = (build.with(Data::Str(".".into())), build.with(Data::Str("Dockerfile".into())));
        if let Some(map) = build.map_mut() {
            map.entry("context".into()).or_insert(context);
            if !map.contains_key("dockerfile_inline") {
                map.entry("dockerfile".into()).or_insert(dockerfile);
            }
        }
    }
    for port in items_of(service.get_mut("ports")) {
        let defaults = [("protocol", "tcp"), ("mode", "ingress")].map(|(k, v)| (k, port.with(Data::Str(v.into()))));
        if let Some(map) = port.map_mut() {
            defaults.into_iter().for_each(|(key, value)| {
                map.entry(key.into()).or_insert(value);
            });
        }
    }
    for secret in items_of(service.get_mut("secrets")) {
        let source = secret.get("source").map(ToString::to_string).unwrap_or_default();
        let target = secret.with(Data::Str(format!("/run/secrets/{source}")));
        if let Some(map) = secret.map_mut() {
            map.entry("target".into()).or_insert(target);
        }
    }
    items_of(service.get_mut("gpus")).iter_mut().for_each(|request| device_request(name, request, problems));
    let devices = service
        .get_mut("deploy")
        .and_then(Tree::map_mut)
        .and_then(|d| d.get_mut("resources")?.map_mut()?.get_mut("reservations")?.map_mut()?.get_mut("devices"));
    items_of(devices).iter_mut().for_each(|request| device_request(name, request, problems));
}

fn items_of(list: Option<&mut Tree>) -> &mut [Tree] {
    match list.map(|tree| &mut tree.data) {
        Some(Data::Seq(items)) => items,
        _ => &mut [],
    }
}

fn device_request(name: &str, request: &mut Tree, problems: &mut Vec<Diagnostic>) {
    let all = request.with(Data::Str("all".into()));
    let place = request.clone();
    let Some(map) = request.map_mut() else { return };
    match (map.contains_key("count"), map.contains_key("device_ids")) {
        (false, false) => {
            map.insert("count".into(), all);
        }
        (true, true) => problems.push(
            place
                .error("exclusive-keys", format!("a device of `{name}` has both `count` and `device_ids`"))
                .help("keep one of them: `count` takes any, `device_ids` names which"),
        ),
        (true, false) | (false, true) => {}
    }
}

fn check_external(name: &str, volume: &Tree, problems: &mut Vec<Diagnostic>) {
    if !matches!(volume.get("external").map(|t| &t.data), Some(Data::Bool(true))) {
        return;
    }
    for (key, value) in volume.map().into_iter().flatten() {
        if !matches!(key.as_str(), "name" | "external") && !key.starts_with("x-") {
            problems.push(
                value
                    .key_error("exclusive-keys", format!("the volume `{name}` is external and cannot have `{key}`"))
                    .help("remove one of the two"),
            );
        }
    }
}

/// What relative paths start from.
pub(super) struct Base<'b> {
    /// The folder; absolute, or relative to the project's folder for files that `extends` names.
    pub folder: PathBuf,
    /// The home folder, for `~`.
    pub home: Option<&'b std::path::Path>,
}

impl Base<'_> {
    fn expand_user(&self, path: &str) -> String {
        match (path.strip_prefix('~'), self.home) {
            (Some(rest), Some(home)) => paths::clean_posix(&format!("{}/{rest}", home.display())),
            _ => path.to_owned(),
        }
    }

    fn joined(&self, path: &str) -> String {
        paths::clean_posix(&format!("{}/{path}", self.folder.display()))
    }

    /// A path for this machine.
    fn native(&self, path: &str) -> String {
        let path = self.expand_user(path);
        if path.is_empty() || path.starts_with('/') { path } else { self.joined(&path) }
    }

    /// A path for the engine's machine, which may run Windows.
    fn engine(&self, path: &str) -> String {
        let path = self.expand_user(path);
        if path.starts_with('/') || volume::is_windows_absolute(&path) { path } else { self.joined(&path) }
    }

    fn context(&self, path: &str) -> String {
        let remote = ["https://", "http://", "git://", "ssh://", "github.com/", "git@", "service:"];
        if path.contains("://") || remote.iter().any(|r| path.starts_with(r)) {
            return path.to_owned();
        }
        self.native(path)
    }
}

fn rewrite(tree: Option<&mut Tree>, change: impl Fn(&str) -> String) {
    if let Some(Tree { data: Data::Str(text), .. }) = tree {
        *text = change(text);
    }
}

/// Resolves the relative paths of a canonical document.
pub(super) fn resolve_paths(root: &mut Tree, base: &Base<'_>) -> Result<(), Diagnostic> {
    let Some(top) = root.map_mut() else { return Ok(()) };
    for service in top.get_mut("services").and_then(Tree::map_mut).into_iter().flat_map(|s| s.values_mut()) {
        if let Some(service) = service.map_mut() {
            resolve_service(service, base)?;
        }
    }
    for section in ["configs", "secrets"] {
        for resource in top.get_mut(section).and_then(Tree::map_mut).into_iter().flat_map(|s| s.values_mut()) {
            rewrite(resource.map_mut().and_then(|m| m.get_mut("file")), |p| base.engine(p));
        }
    }
    for volume in top.get_mut("volumes").and_then(Tree::map_mut).into_iter().flat_map(|s| s.values_mut()) {
        let local = volume.get("driver").and_then(Tree::str) == Some("local");
        let Some(options) = volume.map_mut().and_then(|m| m.get_mut("driver_opts")?.map_mut()) else { continue };
        if local && options.get("o").and_then(Tree::str) == Some("bind") {
            rewrite(options.get_mut("device"), |p| base.engine(p));
        }
    }
    Ok(())
}

fn resolve_service(service: &mut Map, base: &Base<'_>) -> Result<(), Diagnostic> {
    if let Some(build) = service.get_mut("build").and_then(Tree::map_mut) {
        rewrite(build.get_mut("context"), |p| base.context(p));
        let contexts = build.get_mut("additional_contexts").and_then(Tree::map_mut);
        contexts.into_iter().flat_map(|m| m.values_mut()).for_each(|c| rewrite(Some(c), |p| base.context(p)));
    }
    for item in items_of(service.get_mut("env_file")) {
        rewrite(item.map_mut().and_then(|m| m.get_mut("path")), |p| base.native(p));
    }
    for item in items_of(service.get_mut("label_file")) {
        rewrite(Some(item), |p| base.native(p));
    }
    rewrite(service.get_mut("extends").and_then(|e| e.map_mut()?.get_mut("file")), |p| base.native(p));
    let develop = service.get_mut("develop").and_then(|d| d.map_mut()?.get_mut("watch"));
    for watch in items_of(develop) {
        rewrite(watch.map_mut().and_then(|m| m.get_mut("path")), |p| base.native(p));
    }
    for mount in items_of(service.get_mut("volumes")) {
        if mount.get("type").and_then(Tree::str) != Some("bind") {
            continue;
        }
        if mount.get("source").is_none() {
            return Err(mount.error("missing-key", "a bind mount has no `source`").help("add `source: /path`"));
        }
        rewrite(mount.map_mut().and_then(|m| m.get_mut("source")), |p| base.engine(p));
    }
    Ok(())
}
