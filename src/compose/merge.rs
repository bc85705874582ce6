//! How a later compose file changes an earlier one, and which entries of a list replace each other.

use super::tree::{Data, Map, Path, Tree, matches};
use super::volume;
use crate::domain::Diagnostic;

/// Rules of merging that differ from the general one.
#[derive(Clone, Copy)]
enum Rule {
    /// The later value stands alone.
    Replace,
    /// Both as lists of `key=value`.
    Sequence,
    /// As [`Rule::Sequence`], without entries that are already there.
    ExtraHosts,
    /// `build: dir` is `build: {context: dir}`.
    Build,
    /// A list of names is a mapping to the default condition.
    DependsOn,
    /// A list of names is a mapping to nothing.
    Networks,
    /// Options merge only under the same driver.
    Logging,
}

const RULES: &[(&str, Rule)] = &[
    ("networks.*.labels", Rule::Sequence),
    ("volumes.*.labels", Rule::Sequence),
    ("services.*.annotations", Rule::Sequence),
    ("services.*.build", Rule::Build),
    ("services.*.build.args", Rule::Sequence),
    ("services.*.build.additional_contexts", Rule::Sequence),
    ("services.*.build.extra_hosts", Rule::ExtraHosts),
    ("services.*.build.labels", Rule::Sequence),
    ("services.*.command", Rule::Replace),
    ("services.*.depends_on", Rule::DependsOn),
    ("services.*.deploy.labels", Rule::Sequence),
    ("services.*.dns", Rule::Sequence),
    ("services.*.dns_opt", Rule::Sequence),
    ("services.*.dns_search", Rule::Sequence),
    ("services.*.entrypoint", Rule::Replace),
    ("services.*.env_file", Rule::Sequence),
    ("services.*.label_file", Rule::Sequence),
    ("services.*.environment", Rule::Sequence),
    ("services.*.extra_hosts", Rule::ExtraHosts),
    ("services.*.healthcheck.test", Rule::Replace),
    ("services.*.labels", Rule::Sequence),
    ("services.*.logging", Rule::Logging),
    ("services.*.networks", Rule::Networks),
    ("services.*.sysctls", Rule::Sequence),
    ("services.*.tmpfs", Rule::Sequence),
    ("services.*.ulimits.*", Rule::Replace),
];

/// `base` changed by `over`, both at `path`.
pub(super) fn merge(base: Tree, over: Tree, path: &mut Path) -> Result<Tree, Diagnostic> {
    if let Some((_, rule)) = RULES.iter().find(|(pattern, _)| matches(path, pattern)) {
        return merge_by(*rule, base, over, path);
    }
    if over.is_null() {
        return Ok(base);
    }
    match (base.data, over.data) {
        (Data::Map(base_map), Data::Map(over_map)) => {
            let data = Data::Map(merge_maps(base_map, over_map, path)?);
            Ok(Tree { data, span: over.span, key: over.key, marked: None })
        }
        (Data::Seq(mut items), Data::Seq(more)) => {
            items.extend(more);
            Ok(Tree { data: Data::Seq(items), span: over.span, key: over.key, marked: None })
        }
        (Data::Map(_), data) => Err(cannot(&Tree { data, ..over }, "a mapping", path)),
        (Data::Seq(_), data) => Err(cannot(&Tree { data, ..over }, "a list", path)),
        (_, data) => Ok(Tree { data, ..over }),
    }
}

fn cannot(over: &Tree, earlier: &str, path: &Path) -> Diagnostic {
    over.error(
        "cannot-merge",
        format!("`{}` is {earlier} in an earlier file, {} cannot change it", path.join("."), over.kind()),
    )
    .help("write it in the same form, or tag it `!override` to replace what stands there")
}

fn merge_maps(mut base: Map, over: Map, path: &mut Path) -> Result<Map, Diagnostic> {
    for (key, value) in over {
        let merged = match base.get_mut(&key) {
            Some(slot) if !key.starts_with("x-") => {
                let earlier = std::mem::replace(slot, value.with(Data::Null));
                path.push(key.clone());
                let merged = merge(earlier, value, path);
                path.pop();
                merged?
            }
            _ => value,
        };
        base.insert(key, merged);
    }
    Ok(base)
}

fn merge_by(rule: Rule, base: Tree, over: Tree, path: &mut Path) -> Result<Tree, Diagnostic> {
    let shell = over.with(Data::Null);
    let data = match rule {
        Rule::Replace => return Ok(over),
        Rule::Sequence => {
            let mut items = into_sequence(base);
            items.extend(into_sequence(over));
            Data::Seq(items)
        }
        Rule::ExtraHosts => {
            let mut items = into_sequence(base);
            let known: Vec<String> = items.iter().map(ToString::to_string).collect();
            items.extend(into_sequence(over).into_iter().filter(|i| !known.contains(&i.to_string())));
            Data::Seq(items)
        }
        Rule::Build => {
            let to_map = |tree: Tree| match tree.data {
                Data::Str(_) => Map::from_iter([("context".to_owned(), tree)]),
                Data::Map(map) => map,
                _ => Map::new(),
            };
            Data::Map(merge_maps(to_map(base), to_map(over), path)?)
        }
        Rule::DependsOn => {
            let (base, over) = (names_to_map(base, depends_default)?, names_to_map(over, depends_default)?);
            Data::Map(merge_maps(base, over, path)?)
        }
        Rule::Networks => {
            let null = |tree: &Tree| tree.with(Data::Null);
            Data::Map(merge_maps(names_to_map(base, null)?, names_to_map(over, null)?, path)?)
        }
        Rule::Logging => {
            let driver = |tree: &Tree| tree.get("driver").map(ToString::to_string);
            let (earlier, later) = (driver(&base), driver(&over));
            let same = earlier == later || earlier.is_none() || later.is_none();
            match (base.data, over.data) {
                (Data::Map(base), Data::Map(over)) if same => Data::Map(merge_maps(base, over, path)?),
                (Data::Map(_), Data::Map(over)) => Data::Map(over),
                (_, data) => return Err(cannot(&Tree { data, ..shell }, "a mapping", path)),
            }
        }
    };
    Ok(shell.with(data))
}

/// The default entry of a short `depends_on`.
pub(super) fn depends_default(tree: &Tree) -> Tree {
    tree.with(Data::Map(Map::from_iter([
        ("condition".to_owned(), tree.with(Data::Str("service_started".into()))),
        ("required".to_owned(), tree.with(Data::Bool(true))),
    ])))
}

fn names_to_map(tree: Tree, entry: fn(&Tree) -> Tree) -> Result<Map, Diagnostic> {
    match tree.data {
        Data::Map(map) => Ok(map),
        Data::Seq(items) => items
            .iter()
            .map(|item| match item.str() {
                Some(name) => Ok((name.to_owned(), entry(item))),
                None => Err(item.error("wrong-type", format!("a name must be a string, this is {}", item.kind()))),
            })
            .collect(),
        _ => Ok(Map::new()),
    }
}

/// A mapping as sorted `key=value` texts, a text as a list of one.
fn into_sequence(tree: Tree) -> Vec<Tree> {
    match tree.data {
        Data::Seq(items) => items,
        Data::Str(_) => vec![tree],
        Data::Map(map) => {
            let mut entries: Vec<(String, Tree)> = Vec::new();
            for (key, value) in map {
                match &value.data {
                    Data::Null => entries.push((key, value)),
                    Data::Seq(items) => {
                        entries.extend(items.iter().map(|item| (format!("{key}={item}"), item.clone())));
                    }
                    _ => entries.push((format!("{key}={value}"), value)),
                }
            }
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            entries.into_iter().map(|(text, at)| at.with(Data::Str(text))).collect()
        }
        _ => Vec::new(),
    }
}

/// What makes two entries of a list the same entry.
#[derive(Clone, Copy)]
enum Identity {
    KeyValue,
    Volume,
    Device,
    Port,
    Expose,
    EnvFile,
    Mount(&'static str),
}

const UNIQUE: &[(&str, Identity)] = &[
    ("networks.*.labels", Identity::KeyValue),
    ("services.*.annotations", Identity::KeyValue),
    ("services.*.build.args", Identity::KeyValue),
    ("services.*.build.additional_contexts", Identity::KeyValue),
    ("services.*.build.tags", Identity::KeyValue),
    ("services.*.build.labels", Identity::KeyValue),
    ("services.*.cap_add", Identity::KeyValue),
    ("services.*.cap_drop", Identity::KeyValue),
    ("services.*.devices", Identity::Device),
    ("services.*.configs", Identity::Mount("")),
    ("services.*.deploy.labels", Identity::KeyValue),
    ("services.*.dns", Identity::KeyValue),
    ("services.*.dns_opt", Identity::KeyValue),
    ("services.*.dns_search", Identity::KeyValue),
    ("services.*.environment", Identity::KeyValue),
    ("services.*.env_file", Identity::EnvFile),
    ("services.*.expose", Identity::Expose),
    ("services.*.labels", Identity::KeyValue),
    ("services.*.links", Identity::KeyValue),
    ("services.*.networks.*.aliases", Identity::KeyValue),
    ("services.*.networks.*.link_local_ips", Identity::KeyValue),
    ("services.*.ports", Identity::Port),
    ("services.*.profiles", Identity::KeyValue),
    ("services.*.secrets", Identity::Mount("/run/secrets")),
    ("services.*.sysctls", Identity::KeyValue),
    ("services.*.tmpfs", Identity::KeyValue),
    ("services.*.volumes", Identity::Volume),
];

/// Leaves one entry of each identity in the lists that have one: the last value, at the first place.
pub(super) fn enforce_unicity(tree: &mut Tree, path: &mut Path) -> Result<(), Diagnostic> {
    match &mut tree.data {
        Data::Map(map) => {
            for (key, value) in map.iter_mut() {
                path.push(key.clone());
                let result = enforce_unicity(value, path);
                path.pop();
                result?;
            }
        }
        Data::Seq(items) => {
            if let Some((_, identity)) = UNIQUE.iter().find(|(pattern, _)| matches(path, pattern)) {
                let mut kept: indexmap::IndexMap<String, Tree> = indexmap::IndexMap::new();
                for item in std::mem::take(items) {
                    kept.insert(identify(&item, *identity, path)?, item);
                }
                *items = kept.into_values().collect();
            }
        }
        Data::Null | Data::Bool(_) | Data::Int(_) | Data::Float(_) | Data::Stamp(_) | Data::Str(_) => {}
    }
    Ok(())
}

fn identify(item: &Tree, identity: Identity, path: &Path) -> Result<String, Diagnostic> {
    let wrong = || {
        item.error("wrong-type", format!("an entry of `{}` cannot be {}", path.join("."), item.kind()))
            .help("write it as a string")
    };
    let missing = |key: &str| {
        item.error("missing-key", format!("this entry of `{}` has no `{key}`", path.join(".")))
            .help(format!("add `{key}:`"))
    };
    let text_of = |key: &str| item.get(key).and_then(Tree::str).map(str::to_owned);
    match (identity, &item.data) {
        (Identity::KeyValue, Data::Str(text)) => Ok(text.split_once('=').map_or(text.as_str(), |(k, _)| k).to_owned()),
        (Identity::Volume, Data::Str(text)) => {
            volume::parse(text).map(|v| v.target).map_err(|message| item.error("bad-volume", message))
        }
        (Identity::Volume, Data::Map(_)) => text_of("target").ok_or_else(|| missing("target")),
        (Identity::Device, Data::Map(_)) => text_of("target").ok_or_else(|| missing("target")),
        (Identity::Device, Data::Str(text)) => {
            let mut parts = text.split(':');
            let source = parts.next().unwrap_or_default();
            Ok(parts.next().unwrap_or(source).to_owned())
        }
        (Identity::Expose, Data::Str(_) | Data::Int(_)) => Ok(item.to_string()),
        (Identity::EnvFile, Data::Map(_)) => text_of("path").ok_or_else(|| missing("path")),
        (Identity::EnvFile, Data::Str(text)) => Ok(text.clone()),
        (Identity::Port, Data::Str(_) | Data::Int(_)) => Ok(item.to_string()),
        (Identity::Port, Data::Map(map)) => {
            let target = map.get("target").ok_or_else(|| missing("target"))?;
            let or = |key: &str, default: &str| map.get(key).map_or(default.to_owned(), ToString::to_string);
            // Compose formats a number and a text differently here, so `published: 80` and `published: "80"` differ.
            let published = match map.get("published").map(|p| &p.data) {
                Some(Data::Str(text)) => text.clone(),
                Some(Data::Int(n)) => format!("int={n}"),
                _ => "none".to_owned(),
            };
            Ok(format!("{}:{published}:{target}/{}", or("host_ip", "0.0.0.0"), or("protocol", "tcp")))
        }
        (Identity::Mount(folder), Data::Str(text)) => Ok(format!("{folder}/{text}")),
        (Identity::Mount(folder), Data::Map(map)) => Ok(match (map.get("target"), map.get("source")) {
            (Some(target), _) => target.to_string(),
            (None, source) => format!("{folder}/{}", source.map(ToString::to_string).unwrap_or_default()),
        }),
        (Identity::Volume | Identity::Device | Identity::EnvFile | Identity::Port, _) => Ok(String::new()),
        (Identity::KeyValue | Identity::Expose | Identity::Mount(_), _) => Err(wrong()),
    }
}

/// Drops from `tree` what the paths tagged `!reset` or `!override` name.
pub(super) fn apply_resets(tree: &mut Tree, resets: &[Path], path: &mut Path) {
    if resets.is_empty() {
        return;
    }
    match &mut tree.data {
        Data::Map(map) => {
            map.retain(|key, _| {
                path.push(key.clone());
                let keep = !resets.contains(path);
                path.pop();
                keep
            });
            for (key, value) in map.iter_mut() {
                path.push(key.clone());
                apply_resets(value, resets, path);
                path.pop();
            }
        }
        Data::Seq(items) => {
            for (i, item) in items.iter_mut().enumerate() {
                path.push(format!("[{i}]"));
                apply_resets(item, resets, path);
                path.pop();
            }
        }
        Data::Null | Data::Bool(_) | Data::Int(_) | Data::Float(_) | Data::Stamp(_) | Data::Str(_) => {}
    }
}
