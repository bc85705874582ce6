//! Differential test: every fixture of `tests/fixtures/compose` against the real Docker Compose v2.
//!
//! Lines that begin with `#@` in a fixture say how it is loaded: `files:` (more `-f` files), `env-file:`, `profile:`,
//! `env: NAME=value`, `refused` (both refuse it), `agree` (both refuse it or give the same), `stricter` (Compose takes it,
//! vgrid refuses it).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{ComposeRelease, LoadRequest, Project, Purpose, config_hash, load};

/// Home folder of the fixtures' world.
const HOME: &str = "/home/tester";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Expect {
    Same,
    Refused,
    Stricter,
    /// Both give the same, or both refuse.
    Agree,
}

struct Case {
    file: PathBuf,
    request: LoadRequest,
    expect: Expect,
}

/// The oracle binary: `VGRID_COMPOSE_ORACLE`, else `target/oracle/docker-compose`; absent it is an error only under
/// `VGRID_REQUIRE_ORACLE=1`.
pub(super) fn oracle() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = std::env::var_os("VGRID_COMPOSE_ORACLE")
        .map_or_else(|| root.join("target/oracle/docker-compose"), PathBuf::from);
    if path.exists() {
        return Some(path);
    }
    assert!(
        std::env::var("VGRID_REQUIRE_ORACLE").as_deref() != Ok("1"),
        "the Docker Compose binary is not at {}",
        path.display()
    );
    println!("skipped: no Docker Compose binary at {}", path.display());
    None
}

fn case(file: &Path) -> Case {
    let text = std::fs::read_to_string(file).unwrap();
    let folder = file.parent().unwrap();
    let mut request = LoadRequest {
        files: vec![file.to_owned()],
        purpose: Purpose::Show,
        home: Some(HOME.into()),
        cwd: folder.to_owned(),
        ..LoadRequest::default()
    };
    let mut expect = Expect::Same;
    for line in text.lines().filter_map(|l| l.strip_prefix("#@ ")) {
        let (key, value) = line.split_once(':').map_or((line, ""), |(k, v)| (k, v.trim()));
        match key.trim() {
            "files" => request.files.extend(value.split(' ').map(|f| folder.join(f))),
            "env-file" => request.env_files.extend(value.split(' ').map(|f| folder.join(f))),
            "profile" => request.profiles.extend(value.split(' ').map(str::to_owned)),
            "env" => {
                let (name, value) = value.split_once('=').unwrap();
                request.environment.insert(name.to_owned(), value.to_owned());
            }
            "project-directory" => request.project_directory = Some(folder.join(value)),
            "name" => request.project_name = Some(value.to_owned()),
            "refused" => expect = Expect::Refused,
            "agree" => expect = Expect::Agree,
            "stricter" => expect = Expect::Stricter,
            other => panic!("{}: unknown directive {other}", file.display()),
        }
    }
    Case { file: file.to_owned(), request, expect }
}

fn ask_oracle(binary: &Path, request: &LoadRequest, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(binary);
    command
        .env_clear()
        .env("HOME", HOME)
        .env("PATH", "/usr/bin:/bin")
        .envs(&request.environment)
        .current_dir(&request.cwd);
    for file in &request.files {
        command.arg("-f").arg(file);
    }
    for file in &request.env_files {
        command.arg("--env-file").arg(file);
    }
    for profile in &request.profiles {
        command.arg("--profile").arg(profile);
    }
    if let Some(directory) = &request.project_directory {
        command.arg("--project-directory").arg(directory);
    }
    if let Some(name) = &request.project_name {
        command.arg("-p").arg(name);
    }
    let output = command.args(arguments).output().unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn config_of_oracle(binary: &Path, request: &LoadRequest) -> Result<Value, String> {
    let text = ask_oracle(binary, request, &["config", "--format", "json"])?;
    Ok(undouble(serde_json::from_str(&text).unwrap()))
}

/// Compose doubles dollars in what it prints.
fn undouble(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace("$$", "$")),
        Value::Array(items) => Value::Array(items.into_iter().map(undouble).collect()),
        Value::Object(map) => {
            Value::Object(map.into_iter().map(|(k, v)| (k.replace("$$", "$"), undouble(v))).collect())
        }
        other => other,
    }
}

fn ask_vgrid(request: &LoadRequest) -> Result<Project, String> {
    load(request, &|path| std::fs::read_to_string(path)).map_err(|e| e.to_string())
}

/// What differs between the two answers; empty when nothing does.
fn compare(theirs: &Value, ours: &Project) -> Vec<String> {
    let mut differences = Vec::new();
    if theirs["name"] != *ours.name {
        differences.push(format!("name: compose {} vgrid {}", theirs["name"], ours.name));
    }
    let empty = serde_json::Map::new();
    let services = theirs["services"].as_object().unwrap_or(&empty);
    for (name, service) in services {
        match ours.services.get(name) {
            Some(own) => diff(name, service, &serde_json::to_value(own).unwrap(), &mut differences),
            None => differences.push(format!("{name}: only in compose")),
        }
    }
    differences
        .extend(ours.services.keys().filter(|n| !services.contains_key(*n)).map(|n| format!("{n}: only in vgrid")));
    for (section, own) in [
        ("networks", ours.networks.iter().map(|(k, v)| (k, &v.name)).collect::<BTreeMap<_, _>>()),
        ("volumes", ours.volumes.iter().map(|(k, v)| (k, &v.name)).collect()),
    ] {
        for (key, resource) in theirs[section].as_object().unwrap_or(&empty) {
            if own.get(key).map(|n| n.as_str()) != resource["name"].as_str() {
                differences.push(format!("{section}.{key}: compose {} vgrid {:?}", resource["name"], own.get(key)));
            }
        }
    }
    differences
}

fn diff(path: &str, theirs: &Value, ours: &Value, out: &mut Vec<String>) {
    match (theirs, ours) {
        (Value::Object(a), Value::Object(b)) => {
            for (key, value) in a {
                diff(&format!("{path}.{key}"), value, b.get(key).unwrap_or(&Value::String("(absent)".into())), out);
            }
            for key in b.keys().filter(|k| !a.contains_key(*k)) {
                out.push(format!("{path}.{key}: compose (absent) vgrid {}", b[key]));
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                diff(&format!("{path}[{i}]"), a, b, out);
            }
        }
        (Value::Number(a), Value::Number(b)) if a.as_f64() == b.as_f64() => {}
        _ if theirs == ours => {}
        _ => out.push(format!("{path}: compose {theirs} vgrid {ours}")),
    }
}

/// Judges one case; None when it is as expected.
fn judge(binary: &Path, case: &Case) -> Option<String> {
    let theirs = config_of_oracle(binary, &case.request);
    let ours = ask_vgrid(&case.request);
    let verdict = match (case.expect, &theirs, &ours) {
        (Expect::Same | Expect::Agree, Ok(theirs), Ok(ours)) => {
            let differences = compare(theirs, ours);
            if differences.is_empty() { return None } else { differences.join("\n  ") }
        }
        (Expect::Refused | Expect::Agree, Err(_), Err(_)) | (Expect::Stricter, Ok(_), Err(_)) => return None,
        (expect, theirs, ours) => format!(
            "expected {expect:?}; compose: {}; vgrid: {}",
            theirs.as_ref().map_or_else(|e| e.trim().to_owned(), |_| "accepted".into()),
            ours.as_ref().map_or_else(Clone::clone, |_| "accepted".into())
        ),
    };
    Some(format!("{}:\n  {verdict}", case.file.display()))
}

/// The fixtures, and with them the compose files that vgrid ships.
fn fixtures() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let fixtures = root.join("tests/fixtures/compose");
    let folders = std::env::var_os("VGRID_COMPOSE_CASES").map_or_else(
        || vec![fixtures.clone(), fixtures.join("spellings"), root.join("compose")],
        |folder| vec![PathBuf::from(folder)],
    );
    let entries = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
    let mut files: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    // Half a deployment, without an image.
    let half = root.join("compose/vllm.yml");
    files.retain(|f| f.extension().is_some_and(|e| e == "yml") && *f != half);
    files.sort();
    assert!(files.len() >= 40 || folders.len() == 1, "fixtures are missing");
    files
}

/// What `judge` says against the fixtures; two of them at a time.
fn judged(files: &[PathBuf], judge: &(impl Fn(&Case) -> Option<String> + Sync)) -> Vec<String> {
    let (half, rest) = files.split_at(files.len() / 2);
    let judge_all = |files: &[PathBuf]| -> Vec<String> { files.iter().filter_map(|f| judge(&case(f))).collect() };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| judge_all(rest));
        let mut failures = judge_all(half);
        failures.extend(other.join().unwrap());
        failures
    })
}

#[test]
fn every_fixture_resolves_as_docker_compose_resolves_it() {
    let Some(binary) = oracle() else { return };
    let files = fixtures();
    let failures = judged(&files, &|case| judge(&binary, case));
    println!("{} fixtures compared", files.len());
    assert!(failures.is_empty(), "{} of {} differ:\n{}", failures.len(), files.len(), failures.join("\n"));
}

/// Fixtures whose services have an `env_file`: `config --hash` leaves it unread, and `up`, whose hash counts, does not.
const ENV_FILE_UNREAD: [&str; 4] = ["env-null-file.yml", "envfile.yml", "extends.yml", "merge.yml"];

/// The hashes of a case's services by Compose and by vgrid, where both read it; None when they are the same.
fn judge_hashes(binary: &Path, release: ComposeRelease, case: &Case) -> Option<String> {
    let ours = ask_vgrid(&case.request).ok()?;
    let theirs = ask_oracle(binary, &case.request, &["config", "--hash", "*"]).ok()?;
    let theirs: BTreeMap<&str, &str> = theirs.lines().filter_map(|line| line.split_once(' ')).collect();
    let differ: Vec<&str> = ours
        .services
        .iter()
        .filter(|(name, service)| theirs.get(name.as_str()).copied() != config_hash(service, release).as_deref())
        .map(|(name, _)| name.as_str())
        .collect();
    (!differ.is_empty()).then(|| format!("{}: {}", case.file.display(), differ.join(", ")))
}

#[test]
fn every_service_of_the_fixtures_has_the_hash_that_docker_compose_gives_it() {
    let Some(binary) = oracle() else { return };
    let version = Command::new(&binary).args(["version", "--short"]).output().unwrap().stdout;
    let release = ComposeRelease::of_version(String::from_utf8(version).unwrap().trim()).unwrap();
    let mut files = fixtures();
    files.retain(|file| !ENV_FILE_UNREAD.iter().any(|name| file.ends_with(name)));
    let failures = judged(&files, &|case| judge_hashes(&binary, release, case));
    assert!(failures.is_empty(), "the hashes of {} files differ:\n{}", failures.len(), failures.join("\n"));
}
