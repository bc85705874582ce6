//! The last steps of a load: profiles, checks across services, env files, and what vgrid does not carry out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::decode::{AllServices, Decoded};
use super::load::{LoadRequest, Loader, Purpose, env_file_error};
use super::service::{Project, Service};
use super::tree::Tree;
use super::{blank, dotenv};
use crate::domain::{Diagnostic, Diagnostics, Redactor, Severity, did_you_mean};

/// What the services are judged in.
pub(super) struct Surroundings<'s> {
    /// What was asked for.
    pub request: &'s LoadRequest,
    /// The whole document.
    pub root: &'s Tree,
    /// All variables.
    pub environment: &'s BTreeMap<String, String>,
}

/// Fills the project with the enabled services, checked and complete.
pub(super) fn finish(
    surroundings: &Surroundings<'_>,
    loader: &mut Loader<'_>,
    mut all: AllServices,
    project: &mut Project,
) -> Result<(), Diagnostics> {
    let Surroundings { request, root, environment } = surroundings;
    let mut profiles = request.profiles.clone();
    if profiles.is_empty() {
        let listed = environment.get("COMPOSE_PROFILES").map_or("", String::as_str);
        profiles = listed.split(',').map(|p| p.trim().to_owned()).collect();
    }
    let mut problems = Vec::new();
    for decoded in &mut all.services {
        scale(&mut decoded.service);
    }
    check(&all, &profiles, project, &mut problems);
    for decoded in all.services.iter().filter(|d| enabled(&d.service, &profiles)) {
        check_file_mounts(decoded, root, &mut problems);
    }
    if let Some(target) = &request.service {
        match all.services.iter().find(|d| d.name == *target) {
            Some(decoded) if !enabled(&decoded.service, &profiles) => {
                profiles.extend(decoded.service.profiles.iter().cloned());
            }
            Some(_) => {}
            None => problems.push(unknown_target(target, &all)),
        }
    }
    if !problems.is_empty() {
        return Err(Diagnostics(problems));
    }
    for mut decoded in all.services {
        if !enabled(&decoded.service, &profiles) {
            continue;
        }
        env_files(loader, &mut decoded, environment)?;
        label_files(loader, &mut decoded)?;
        if request.service.as_ref() == Some(&decoded.name) {
            let mut findings = unsupported(&decoded);
            for key in ["command", "entrypoint"] {
                findings.extend(decoded.tree.get(key).map(blank::empty_flag_values).unwrap_or_default());
            }
            match request.purpose {
                Purpose::Launch => problems.append(&mut findings),
                Purpose::Show => loader.warnings.extend(findings.into_iter().map(|mut finding| {
                    finding.severity = Severity::Warning;
                    finding
                })),
            }
            loader.warnings.extend(notes(&decoded));
        }
        project.services.insert(decoded.name, decoded.service);
    }
    project.secrets = secrets(project, &loader.used);
    if problems.is_empty() { Ok(()) } else { Err(Diagnostics(problems)) }
}

fn enabled(service: &Service, profiles: &[String]) -> bool {
    service.profiles.is_empty() || profiles.iter().any(|p| p == "*" || service.profiles.contains(p))
}

fn unknown_target(target: &str, all: &AllServices) -> Diagnostic {
    let names: Vec<&str> = all.services.iter().map(|d| d.name.as_str()).collect();
    let near = did_you_mean(target, names.iter().copied()).map(|n| format!("did you mean `{n}`? "));
    Diagnostic::error("unknown-service", format!("the compose files have no service `{target}`")).help(format!(
        "{}they have: {}",
        near.unwrap_or_default(),
        names.join(", ")
    ))
}

/// `scale` is the older spelling of `deploy.replicas`.
fn scale(service: &mut Service) {
    let scale = service.rest.get("scale").and_then(serde_json::Value::as_u64);
    if let (Some(scale), Some(deploy)) = (scale, service.deploy.as_mut())
        && deploy.replicas.is_none()
    {
        deploy.replicas = Some(scale);
    }
}

fn check(all: &AllServices, profiles: &[String], project: &Project, problems: &mut Vec<Diagnostic>) {
    let names: BTreeMap<&str, bool> =
        all.services.iter().map(|d| (d.name.as_str(), enabled(&d.service, profiles))).collect();
    for decoded in all.services.iter().filter(|d| enabled(&d.service, profiles)) {
        check_service(decoded, project, problems);
        check_limits(decoded, problems);
        check_references(decoded, &names, problems);
    }
    check_circles(all, &names, problems);
}

fn at<'t>(decoded: &'t Decoded, key: &str) -> &'t Tree {
    decoded.tree.get(key).unwrap_or(&decoded.tree)
}

fn check_service(decoded: &Decoded, project: &Project, problems: &mut Vec<Diagnostic>) {
    let (name, service) = (&decoded.name, &decoded.service);
    if service.image.is_none() && service.build.is_none() {
        problems.push(
            decoded
                .tree
                .key_error("no-image", format!("the service `{name}` has neither `image` nor `build`"))
                .help("add `image:`"),
        );
    }
    if service.network_mode.is_some() && !service.networks.is_empty() {
        problems.push(
            at(decoded, "network_mode")
                .key_error("exclusive-keys", format!("`{name}` has both `network_mode` and `networks`"))
                .help("keep one of them"),
        );
    }
    for network in service.networks.keys().filter(|n| !project.networks.contains_key(*n)) {
        problems.push(
            at(decoded, "networks")
                .error("unknown-network", format!("`{name}` joins the network `{network}`, which is not declared"))
                .help(format!("add `{network}:` below `networks:` at the top level")),
        );
    }
    for volume in service.volumes.iter().filter(|v| v.kind == "volume") {
        if let Some(source) = volume.source.as_ref().filter(|s| !project.volumes.contains_key(*s)) {
            problems.push(
                at(decoded, "volumes")
                    .error("unknown-volume", format!("`{name}` mounts the volume `{source}`, which is not declared"))
                    .help(format!(
                        "add `{source}:` below `volumes:` at the top level, or write ./{source} for a folder"
                    )),
            );
        }
    }
    let test = service.healthcheck.as_ref().and_then(|h| h.test.first());
    if let Some(first) = test.filter(|t| !["CMD", "CMD-SHELL", "NONE"].contains(&t.as_str())) {
        problems.push(
            at(decoded, "healthcheck")
                .error("bad-healthcheck", format!("`healthcheck.test` of `{name}` begins with `{first}`"))
                .help("begin the list with CMD, CMD-SHELL or NONE, or write one string"),
        );
    }
    let replicas = service.rest.get("scale").and_then(serde_json::Value::as_u64);
    let replicas = replicas.or(service.deploy.as_ref().and_then(|d| d.replicas));
    if replicas.is_some_and(|r| r > 1) && service.container_name.is_some() {
        problems.push(
            at(decoded, "container_name")
                .key_error("exclusive-keys", format!("`{name}` has a `container_name` and more than one replica"))
                .help("remove one of the two"),
        );
    }
}

/// Secrets and configs must be declared.
fn check_file_mounts(decoded: &Decoded, root: &Tree, problems: &mut Vec<Diagnostic>) {
    for section in ["secrets", "configs"] {
        for mount in decoded.tree.get(section).and_then(Tree::seq).unwrap_or_default() {
            let Some(source) = mount.get("source").and_then(Tree::str) else { continue };
            if root.get(section).is_none_or(|declared| declared.get(source).is_none()) {
                problems.push(
                    mount
                        .error(
                            "unknown-file",
                            format!("`{}` uses `{section}.{source}`, which is not declared", decoded.name),
                        )
                        .help(format!("add `{source}:` below `{section}:` at the top level")),
                );
            }
        }
    }
}

/// The service's own limits and those of its `deploy` section may not differ.
fn check_limits(decoded: &Decoded, problems: &mut Vec<Diagnostic>) {
    let service = &decoded.service;
    let Some(deploy) = &service.deploy else { return };
    let limits = deploy.resources.limits.as_ref();
    let reservations = deploy.resources.reservations.as_ref();
    let mut differ = |own: &str, other: &str| {
        problems.push(
            at(decoded, own)
                .key_error(
                    "limits-differ",
                    format!("`{own}` and `deploy.resources.{other}` of `{}` differ", decoded.name),
                )
                .help("keep one of the two, or make them equal"),
        );
    };
    if let (Some(cpus), Some(limits)) = (service.cpus, limits)
        && limits.cpus != Some(cpus)
    {
        differ("cpus", "limits.cpus");
    }
    if service.mem_limit.is_some() && limits.is_some_and(|l| l.memory != service.mem_limit) {
        differ("mem_limit", "limits.memory");
    }
    if service.mem_reservation.is_some() && reservations.is_some_and(|r| r.memory != service.mem_reservation) {
        differ("mem_reservation", "reservations.memory");
    }
    if service.pids_limit.is_some() && limits.is_some_and(|l| l.pids != service.pids_limit) {
        differ("pids_limit", "limits.pids");
    }
    let scale = service.rest.get("scale").and_then(serde_json::Value::as_u64);
    if scale.is_some() && scale != deploy.replicas {
        differ("scale", "replicas");
    }
}

fn check_references(decoded: &Decoded, names: &BTreeMap<&str, bool>, problems: &mut Vec<Diagnostic>) {
    let name = &decoded.name;
    for (dependency, how) in &decoded.service.depends_on {
        let known = match names.get(dependency.as_str()) {
            Some(true) => true,
            Some(false) => !how.required,
            None => false,
        };
        if !known {
            let help = match names.get(dependency.as_str()) {
                Some(_) => format!("enable a profile of `{dependency}`, or write `required: false`"),
                None => match did_you_mean(dependency, names.keys().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "add the service, or remove the dependency".to_owned(),
                },
            };
            problems.push(
                at(decoded, "depends_on")
                    .error("unknown-service", format!("`{name}` depends on `{dependency}`, which is not there"))
                    .help(help),
            );
        }
    }
}

/// Finds services that wait for each other.
fn check_circles(all: &AllServices, names: &BTreeMap<&str, bool>, problems: &mut Vec<Diagnostic>) {
    let graph: BTreeMap<&str, Vec<&str>> = all
        .services
        .iter()
        .filter(|d| names.get(d.name.as_str()) == Some(&true))
        .map(|d| (d.name.as_str(), d.service.depends_on.keys().map(String::as_str).collect()))
        .collect();
    let mut done = BTreeSet::new();
    for decoded in &all.services {
        let mut path = Vec::new();
        if let Some(circle) = search_circle(&decoded.name, &graph, &mut path, &mut done) {
            problems.push(
                at(decoded, "depends_on")
                    .error("circular-dependency", format!("services wait for each other: {circle}"))
                    .help("take one `depends_on` out of the circle"),
            );
            return;
        }
    }
}

fn search_circle<'g>(
    name: &'g str,
    graph: &BTreeMap<&'g str, Vec<&'g str>>,
    path: &mut Vec<&'g str>,
    done: &mut BTreeSet<&'g str>,
) -> Option<String> {
    if let Some(start) = path.iter().position(|p| *p == name) {
        return Some(format!("{} -> {name}", path[start..].join(" -> ")));
    }
    if done.contains(name) {
        return None;
    }
    path.push(name);
    for next in graph.get(name).into_iter().flatten() {
        if let Some(circle) = search_circle(next, graph, path, done) {
            return Some(circle);
        }
    }
    path.pop();
    done.insert(name);
    None
}

/// Reads the service's `env_file`s below its own environment.
fn env_files(
    loader: &Loader<'_>,
    decoded: &mut Decoded,
    environment: &BTreeMap<String, String>,
) -> Result<(), Diagnostics> {
    let mut values: BTreeMap<String, Option<String>> = BTreeMap::new();
    for entry in decoded.tree.get("env_file").and_then(Tree::seq).unwrap_or_default() {
        let Some(path) = entry.get("path").and_then(Tree::str) else { continue };
        if let Some(format) = entry.get("format").and_then(Tree::str).filter(|f| !f.is_empty()) {
            return Err(entry
                .error("bad-env-file", format!("the env file format `{format}` is not known"))
                .help("remove `format:`")
                .into());
        }
        let required = entry.get("required").is_none_or(|r| r.to_string() != "false");
        let lookup = |name: &str| values.get(name).cloned().flatten().or_else(|| environment.get(name).cloned());
        let read = read_values(loader, Path::new(path), required, entry, &lookup)?;
        values.extend(read.into_iter().map(|(k, v)| (k, Some(v))));
    }
    for (name, value) in std::mem::take(&mut decoded.service.environment) {
        values.insert(name, value);
    }
    decoded.service.environment = values;
    Ok(())
}

fn label_files(loader: &Loader<'_>, decoded: &mut Decoded) -> Result<(), Diagnostics> {
    let mut labels: BTreeMap<String, String> = BTreeMap::new();
    for entry in decoded.tree.get("label_file").and_then(Tree::seq).unwrap_or_default() {
        let Some(path) = entry.str() else { continue };
        let lookup = |name: &str| labels.get(name).cloned();
        let read = read_values(loader, Path::new(path), true, entry, &lookup)?;
        labels.extend(read);
    }
    labels.append(&mut decoded.service.labels);
    decoded.service.labels = labels;
    Ok(())
}

fn read_values(
    loader: &Loader<'_>,
    path: &Path,
    required: bool,
    at: &Tree,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<BTreeMap<String, String>, Diagnostics> {
    let text = match (loader.read)(path) {
        Ok(text) => text,
        Err(error) if !required && error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => {
            let unreadable = Diagnostics::unreadable(path, "the file", &error);
            return Err(Diagnostics(unreadable.0.into_iter().map(|d| at.span.mark(d)).collect()));
        }
    };
    dotenv::parse(&text, lookup).map_err(|e| env_file_error(&PathBuf::from(path), &text, &e))
}

/// Keys that Compose knows and that change nothing for a trial.
const HARMLESS: [&str; 4] = ["attach", "develop", "annotations", "scale"];

/// What the service asks for and vgrid does not carry out.
fn unsupported(decoded: &Decoded) -> Vec<Diagnostic> {
    let name = &decoded.name;
    let mut findings = Vec::new();
    for key in decoded.service.rest.keys().filter(|k| !HARMLESS.contains(&k.as_str())) {
        let help = match key.as_str() {
            "secrets" | "configs" => "mount the file under `volumes:` as a read-only bind instead",
            "links" | "external_links" => "use a shared network; services reach each other by name there",
            "volumes_from" => "name the volumes under `volumes:` instead",
            "post_start" | "pre_stop" => "do the work in the entrypoint instead",
            _ => "remove it for the sweep: add a `-f` file with `KEY: !reset null`",
        };
        findings.push(
            at(decoded, key)
                .key_error("unsupported-key", format!("vgrid does not carry out `{key}` of `{name}`"))
                .help(help.replace("KEY", key)),
        );
    }
    if decoded.service.image.is_none() {
        findings.push(
            at(decoded, "build")
                .key_error("no-image", format!("`{name}` is only built; vgrid builds no images"))
                .help("build it with Compose, and name it: add `image:`"),
        );
    }
    for (network, options) in &decoded.service.networks {
        let Some(options) = options else { continue };
        if !options.link_local_ips.is_empty() || options.mac_address.is_some() || !options.driver_opts.is_empty() {
            findings.push(
                at(decoded, "networks")
                    .error(
                        "unsupported-key",
                        format!("vgrid does not carry out link_local_ips, mac_address and driver_opts of `{network}`"),
                    )
                    .help("remove them for the sweep"),
            );
        }
    }
    for volume in decoded.service.volumes.iter().filter(|v| !["bind", "volume", "tmpfs"].contains(&v.kind.as_str())) {
        findings.push(
            at(decoded, "volumes")
                .error("unsupported-key", format!("vgrid does not carry out mounts of the type `{}`", volume.kind))
                .help("use bind, volume or tmpfs"),
        );
    }
    findings
}

fn notes(decoded: &Decoded) -> Vec<Diagnostic> {
    let mut notes = Vec::new();
    if let (Some(_), Some(image)) = (&decoded.service.build, &decoded.service.image) {
        let mut note = at(decoded, "build")
            .span
            .warning("not-built", format!("vgrid builds no images; `{image}` must be there before the sweep"));
        note.severity = Severity::Note;
        notes.push(note.help("build it with Compose first"));
    }
    if decoded.service.deploy.as_ref().and_then(|d| d.replicas).is_some_and(|r| r != 1) {
        notes.push(
            at(decoded, "deploy")
                .span
                .warning("one-replica", "vgrid runs one container, whatever `replicas` says")
                .help("nothing to do"),
        );
    }
    notes
}

/// Values that must never be shown: of variables and flags that are secret by name, and what looks like a secret in others.
fn secrets(project: &Project, used: &BTreeMap<String, String>) -> Vec<String> {
    let mut found = BTreeSet::new();
    for (name, value) in used {
        found.extend(Redactor::secrets_in(name, value));
    }
    for service in project.services.values() {
        for (name, value) in &service.environment {
            found.extend(value.iter().flat_map(|value| Redactor::secrets_in(name, value)));
        }
        found.extend(Redactor::secrets_in_words(&super::argv::argv(service)));
    }
    found.remove("");
    found.into_iter().collect()
}
