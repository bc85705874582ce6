//! A service's volumes as Docker mounts, and the check that bind sources exist.

use std::collections::BTreeMap;
use std::path::Path;

use bollard::models::{Mount, MountBindOptions, MountTmpfsOptions, MountType, MountVolumeOptions};

use crate::compose::{Service, Volume};

use super::create::refused;
use super::error::{LaunchError, LaunchStep};
use super::spec::LaunchSpec;

/// The mounts; the first list holds those that only the old `Binds` spelling can say (SELinux labels).
pub(super) fn mounts(spec: &LaunchSpec, api: (usize, usize)) -> Result<(Vec<String>, Vec<Mount>), LaunchError> {
    let (mut binds, mut mounts) = (Vec::new(), Vec::new());
    for volume in &spec.service.volumes {
        match volume.kind.as_str() {
            "bind" => match bind(volume)? {
                Bind::Labelled(text) => binds.push(text),
                Bind::Plain(mount) => mounts.push(*mount),
            },
            "volume" => mounts.push(named(spec, volume, api)?),
            "tmpfs" => mounts.push(tmpfs(volume)?),
            other => {
                return Err(refused(
                    "volumes",
                    format!("`{other}` mounts are not supported ({})", volume.target),
                    "use bind, volume or tmpfs",
                ));
            }
        }
    }
    Ok((binds, mounts))
}

enum Bind {
    Labelled(String),
    Plain(Box<Mount>),
}

fn source_of(volume: &Volume) -> Result<&str, LaunchError> {
    volume.source.as_deref().filter(|source| !source.is_empty()).ok_or_else(|| {
        refused("volumes", format!("the bind onto {} names no source", volume.target), "give it a source path")
    })
}

fn bind(volume: &Volume) -> Result<Bind, LaunchError> {
    let source = source_of(volume)?;
    let options = volume.bind.clone().unwrap_or_default();
    if let Some(recursive) = options.recursive.filter(|text| !text.is_empty() && text != "enabled") {
        return Err(refused(
            "volumes",
            format!("vgrid does not carry out `bind.recursive: {recursive}` of the mount onto {}", volume.target),
            "take it out of the compose file, or mount the folders one by one",
        ));
    }
    let propagation = options.propagation.filter(|text| !text.is_empty());
    if let Some(label) = options.selinux.filter(|text| !text.is_empty()) {
        let access = if volume.read_only { "ro" } else { "rw" };
        let spread = propagation.map(|p| format!(",{p}")).unwrap_or_default();
        return Ok(Bind::Labelled(format!("{source}:{}:{access},{label}{spread}", volume.target)));
    }
    let propagation = propagation
        .map(|text| {
            text.parse().map_err(|_| {
                refused(
                    "volumes",
                    format!("`{text}` is no bind propagation"),
                    "use rprivate, private, rshared, shared, rslave or slave",
                )
            })
        })
        .transpose()?;
    let mount = Mount {
        source: Some(source.to_owned()),
        bind_options: propagation.map(|p| MountBindOptions { propagation: Some(p), ..MountBindOptions::default() }),
        ..base(volume, MountType::BIND)
    };
    Ok(Bind::Plain(Box::new(mount)))
}

fn named(spec: &LaunchSpec, volume: &Volume, api: (usize, usize)) -> Result<Mount, LaunchError> {
    let options = volume.volume.clone().unwrap_or_default();
    let subpath = options.subpath.filter(|text| !text.is_empty());
    if subpath.is_some() && api < (1, 45) {
        let why = format!("`subpath` of {} is unknown to this Docker (API {}.{})", volume.target, api.0, api.1);
        return Err(refused("volumes", why, "mount the whole volume, or use Docker 26 or newer"));
    }
    let wanted =
        MountVolumeOptions { no_copy: options.nocopy.then_some(true), subpath, ..MountVolumeOptions::default() };
    let name = match volume.source.as_deref().filter(|key| !key.is_empty()) {
        Some(key) => Some(volume_name(spec, key)?),
        None => None,
    };
    Ok(Mount {
        source: name,
        volume_options: Some(wanted).filter(|o| o.no_copy.is_some() || o.subpath.is_some()),
        ..base(volume, MountType::VOLUME)
    })
}

/// The name in Docker of a named volume of the project.
pub(super) fn volume_name(spec: &LaunchSpec, key: &str) -> Result<String, LaunchError> {
    let declared = spec.project.volumes.get(key).ok_or_else(|| {
        refused("volumes", format!("the volume `{key}` is not declared"), "declare it under the top-level `volumes:`")
    })?;
    Ok(if declared.name.is_empty() { format!("{}_{key}", spec.project.name) } else { declared.name.clone() })
}

fn tmpfs(volume: &Volume) -> Result<Mount, LaunchError> {
    let options = volume.tmpfs.clone().unwrap_or_default();
    let size_bytes = options
        .size
        .map(|text| {
            text.parse().map_err(|_| {
                refused("volumes", format!("`{text}` is no size in bytes"), "write the size as a number of bytes")
            })
        })
        .transpose()?;
    let wanted = MountTmpfsOptions { size_bytes, mode: options.mode.map(i64::from), ..MountTmpfsOptions::default() };
    Ok(Mount {
        tmpfs_options: Some(wanted).filter(|o| o.size_bytes.is_some() || o.mode.is_some()),
        ..base(volume, MountType::TMPFS)
    })
}

fn base(volume: &Volume, typ: MountType) -> Mount {
    Mount {
        target: Some(volume.target.clone()),
        typ: Some(typ),
        read_only: volume.read_only.then_some(true),
        consistency: volume.consistency.clone().filter(|text| !text.is_empty()),
        ..Mount::default()
    }
}

/// Every bind source exists; Docker would make an empty folder of an absent one, and the engine would begin to download.
///
/// # Errors
/// All absent sources at once.
pub(super) fn check_bind_sources(spec: &LaunchSpec) -> Result<(), LaunchError> {
    let mut absent = Vec::new();
    for volume in spec.service.volumes.iter().filter(|v| v.kind == "bind") {
        let source = source_of(volume)?;
        if is_absent(Path::new(source)) {
            absent.push(format!("{source} (for {})", volume.target));
        }
    }
    if absent.is_empty() {
        let model = crate::compose::settings_of(&spec.service).model.unwrap_or_default();
        return check_model(&model, &spec.service.volumes);
    }
    let message = format!("bind mount sources that do not exist on this host: {}", absent.join(", "));
    Err(LaunchError::new(LaunchStep::Prepare, message)
        .help("correct the path in the compose file or its variables, or create it"))
}

/// Whether nothing is there. What this user may not see is for Docker to judge; it refuses an absent source of a mount as well.
pub(super) fn is_absent(place: &Path) -> bool {
    matches!(place.try_exists(), Ok(false))
}

/// A model in a bind mount has files. Of mounts within one another the innermost holds it, as the kernel sees it.
fn check_model(model: &str, volumes: &[Volume]) -> Result<(), LaunchError> {
    let holds = |volume: &&Volume| model_in(model, "", &volume.target).is_some();
    let innermost = volumes.iter().filter(holds).max_by_key(|volume| volume.target.trim_end_matches('/').len());
    let Some(volume) = innermost.filter(|volume| volume.kind == "bind") else { return Ok(()) };
    match model_in(model, source_of(volume)?, &volume.target).filter(|place| is_missing_or_empty(place)) {
        None => Ok(()),
        Some(place) => {
            let message = format!("the model {model} is mounted from {}, which is empty or not there", place.display());
            Err(LaunchError::new(LaunchStep::Prepare, message).help(
                "put the model's files there, or correct the volume: an engine that finds nothing begins to download",
            ))
        }
    }
}

/// What of the binds looks wrong and keeps no server from starting: an empty folder where files are meant to be read, a cache of the
/// hub without the model.
#[must_use]
pub fn doubtful_binds(service: &Service) -> Vec<String> {
    let mut doubts = Vec::new();
    let binds = || service.volumes.iter().filter(|v| v.kind == "bind").filter_map(|v| Some((v, v.source.as_deref()?)));
    for (volume, source) in binds() {
        let is_read = volume.read_only || volume.target.to_lowercase().contains("model");
        if is_read && is_empty_folder(Path::new(source)) {
            doubts.push(format!("the folder {source}, mounted at {}, is empty", volume.target));
        }
    }
    let model = crate::compose::settings_of(service).model.unwrap_or_default();
    if model.is_empty() || model.starts_with(['/', '.']) {
        return doubts;
    }
    let cache = hub_cache(&service.environment);
    let holds = |(volume, source): (&Volume, &str)| {
        let place = model_in(&cache, source, &volume.target)?;
        Some((volume.target.trim_end_matches('/').len(), place))
    };
    if let Some((_, place)) = binds().filter_map(holds).max_by_key(|(depth, _)| *depth) {
        let folder = place.join(format!("models--{}", model.replace('/', "--")));
        if is_missing_or_empty(&folder) {
            doubts.push(format!(
                "the model {model} is not in the cache {}: the engine would download it",
                place.display()
            ));
        }
    }
    doubts
}

/// Where the hub's client keeps models in the container.
fn hub_cache(environment: &BTreeMap<String, Option<String>>) -> String {
    let value = |name: &str| environment.get(name).and_then(Option::as_deref).filter(|value| !value.is_empty());
    match (value("HF_HUB_CACHE").or_else(|| value("HUGGINGFACE_HUB_CACHE")), value("HF_HOME")) {
        (Some(cache), _) => cache.to_owned(),
        (None, Some(home)) => format!("{}/hub", home.trim_end_matches('/')),
        (None, None) => "/root/.cache/huggingface/hub".to_owned(),
    }
}

fn is_empty_folder(place: &Path) -> bool {
    std::fs::read_dir(place).is_ok_and(|mut entries| entries.next().is_none())
}

/// Where on the host the model's files lie when `target` holds them.
fn model_in(model: &str, source: &str, target: &str) -> Option<std::path::PathBuf> {
    let inside = Path::new(model).strip_prefix(target).ok().filter(|_| model.starts_with('/'))?;
    Some(Path::new(source).join(inside))
}

/// What this user may not see is neither.
fn is_missing_or_empty(place: &Path) -> bool {
    match std::fs::read_dir(place) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_s_place_on_the_host_follows_from_the_mount_that_holds_it() {
        let place = |model, target| model_in(model, "/srv/models", target).map(|p| p.display().to_string());
        assert_eq!(place("/models/a/b", "/models").as_deref(), Some("/srv/models/a/b"));
        assert_eq!(place("/models", "/models").as_deref(), Some("/srv/models/"));
        assert_eq!(place("/modelsx/a", "/models"), None);
        assert_eq!(place("Qwen/Qwen3-32B", "/models"), None);
    }

    #[test]
    fn of_mounts_within_one_another_the_innermost_holds_the_model() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, model) = (folder.path().join("cache"), folder.path().join("qwen"));
        std::fs::create_dir(&cache).unwrap();
        std::fs::create_dir(&model).unwrap();
        std::fs::write(model.join("config.json"), "{}").unwrap();
        let bind = |source: &Path, target: &str| Volume {
            kind: "bind".into(),
            source: Some(source.display().to_string()),
            target: target.into(),
            ..Volume::default()
        };
        let check = |volumes: Vec<Volume>| check_model("/models/qwen", &volumes);
        assert!(check(vec![bind(&cache, "/models")]).is_err());
        assert!(check(vec![bind(&cache, "/models"), bind(&model, "/models/qwen")]).is_ok());
        let named = Volume {
            kind: "volume".into(),
            source: Some("qwen".into()),
            target: "/models/qwen".into(),
            ..Volume::default()
        };
        assert!(check(vec![bind(&cache, "/models"), named]).is_ok());
    }

    #[test]
    fn an_empty_bind_and_a_cache_without_the_model_are_named_and_what_is_there_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, empty) = (folder.path().join("cache"), folder.path().join("empty"));
        std::fs::create_dir_all(cache.join("hub/models--org--other/blobs")).unwrap();
        std::fs::create_dir(&empty).unwrap();
        let bind = |source: &Path, target: &str, read_only: bool| Volume {
            kind: "bind".into(),
            source: Some(source.display().to_string()),
            target: target.into(),
            read_only,
            ..Volume::default()
        };
        let doubts = |model: &str, volumes: Vec<Volume>| {
            let command = Some(vec!["--model".to_owned(), model.to_owned()]);
            doubtful_binds(&Service { command, volumes, ..Service::default() })
        };
        let hub = "/root/.cache/huggingface";
        assert_eq!(doubts("org/other", vec![bind(&cache, hub, false)]), Vec::<String>::new());
        let named = doubts("org/name", vec![bind(&cache, hub, false)]);
        assert!(named.len() == 1 && named[0].contains("org/name") && named[0].contains("would download"), "{named:?}");
        assert_eq!(doubts("org/name", vec![bind(&empty, hub, false)]).len(), 1);
        let named = doubts("org/other", vec![bind(&cache, hub, false), bind(&empty, "/models", false)]);
        assert!(named.len() == 1 && named[0].ends_with("mounted at /models, is empty"), "{named:?}");
        assert_eq!(doubts("/data/m", vec![bind(&empty, "/templates", true), bind(&empty, "/out", false)]).len(), 1);
    }

    #[test]
    fn an_empty_folder_is_no_model_and_a_file_or_a_full_folder_is() {
        let folder = tempfile::tempdir().unwrap();
        assert!(is_missing_or_empty(folder.path()));
        assert!(is_missing_or_empty(&folder.path().join("nothing")));
        let file = folder.path().join("m.gguf");
        std::fs::write(&file, "x").unwrap();
        assert!(!is_missing_or_empty(folder.path()));
        assert!(!is_missing_or_empty(&file));
    }
}
