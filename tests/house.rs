//! The rules of the house that a reader of the sources can check.
#![allow(clippy::unwrap_used)] // a file of tests

use std::fs;
use std::path::{Path, PathBuf};

/// Modules by floor, lowest first. A file imports its own module or a lower floor.
const FLOORS: &[&[&str]] = &[
    &["domain"],
    &[
        "yaml",
        "cases",
        "grid",
        "compose",
        "classify",
        "resolve",
        "foreign",
        "stats",
        "rank",
        "resume",
        "prune",
        "prometheus",
    ],
    &["store", "launch", "bench", "sim", "notify", "telemetry"],
    &["engine", "report"],
    &["cli", "ui"],
];

/// The one place where each crate may be used.
const HOMES: &[(&str, &[&str])] = &[
    ("rusqlite", &["store"]),
    ("bollard", &["launch"]),
    ("hyper", &["bench"]),
    ("nix", &["bench/stamped.rs"]),
    ("reqwest", &["launch/probe.rs", "notify"]),
    ("axum", &["sim"]),
    ("nvml_wrapper", &["telemetry/nvml.rs"]),
    ("indicatif", &["ui"]),
    ("granit_parser", &["yaml.rs"]),
    ("clap", &["cli"]),
    ("comfy_table", &["cli"]),
    ("minijinja", &["grid", "report"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(dir: &Path, out: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, out);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                out.push((path.strip_prefix(root()).unwrap().to_owned(), text));
            }
        }
    }
    let mut out = Vec::new();
    walk(&root(), &mut out);
    assert!(out.len() > 20, "the sources were not found");
    out
}

fn module_of(path: &Path) -> String {
    let first = path.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").trim_end_matches("_tests").to_owned()
}

fn floor_of(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

/// The part of a file before its tests.
fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap()
}

#[test]
fn every_module_stands_on_a_floor() {
    for (path, _) in sources() {
        let module = module_of(&path);
        assert!(
            floor_of(&module).is_some() || ["lib", "main"].contains(&module.as_str()),
            "{} stands on no floor; name its module in FLOORS and in ARCHITECTURE.md",
            path.display()
        );
    }
}

#[test]
fn a_file_imports_its_own_module_or_a_lower_floor() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let module = module_of(&path);
        let Some(floor) = floor_of(&module) else { continue };
        if path.to_string_lossy().ends_with("_tests.rs") {
            continue; // a test may set one room against another, as the client against the simulated engine
        }
        for (number, line) in without_tests(&text).lines().enumerate() {
            let code = line.split("//").next().unwrap_or(line);
            for part in code.split("crate::").skip(1) {
                let name: String = part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let Some(target) = floor_of(&name) else { continue };
                let shared_front_end = name == "yaml" && floor == 1;
                let screen = module == "cli" && name == "ui";
                if name != module && target >= floor && !shared_front_end && !screen {
                    wrong.push(format!(
                        "{}:{}: {module} (floor {floor}) imports {name} (floor {target})",
                        path.display(),
                        number + 1
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_third_party_crate_has_one_home() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        for (krate, homes) in HOMES {
            let at_home = homes.iter().any(|home| path.starts_with(home));
            let uses = without_tests(&text).lines().any(|line| {
                let code = line.split("//").next().unwrap_or(line);
                let is_in_a_word = |at: usize| code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
                let path = format!("{krate}::"); // nix:: and not unix::
                code.match_indices(&path).any(|(at, _)| !is_in_a_word(at)) || code.contains(&format!("use {krate}"))
            });
            if uses && !at_home {
                wrong.push(format!("{} uses {krate}, whose home is {homes:?}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_says_in_its_first_line_what_it_is_for() {
    for (path, text) in sources() {
        assert!(text.starts_with("//! "), "{} does not begin with //!", path.display());
    }
}

#[test]
fn nothing_unfinished_stands_in_the_sources() {
    let marks =
        [["to", "do!("].concat(), ["unimpl", "emented!("].concat(), ["dbg", "!("].concat(), ["FIX", "ME"].concat()];
    for (path, text) in sources() {
        for mark in &marks {
            assert!(!text.contains(mark.as_str()), "{} holds {mark}", path.display());
        }
    }
}
