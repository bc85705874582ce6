//! What is written is what is read: by our own reader for any words, by the real Compose for the hard ones.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::super::{ComposeRelease, LoadRequest, Project, Purpose, argv, load};
use super::*;

const BASE: &str = "name: p\nservices:\n  vllm:\n    image: base\n    cpus: 2\n    mem_limit: 3g\n    \
                    healthcheck: { test: [\"CMD\", \"x\"], interval: 10s, timeout: 5s, retries: 3, start_period: 30s }\n    command: serve m --old 1\n    \
                    environment: [\"KEPT=yes\", \"GONE=1\", \"HF_TOKEN=${HF_TOKEN}\"]\n";

fn request(environment: &[(&str, &str)]) -> LoadRequest {
    LoadRequest {
        files: vec!["/w/compose.yml".into(), "/w/champion.yml".into()],
        purpose: Purpose::Show,
        service: Some("vllm".into()),
        environment: environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        cwd: "/w".into(),
        ..LoadRequest::default()
    }
}

fn read_back(text: &str, environment: &[(&str, &str)]) -> Project {
    let read = |path: &Path| match path.file_name().and_then(|n| n.to_str()) {
        Some("compose.yml") => Ok(BASE.to_owned()),
        Some("champion.yml") => Ok(text.to_owned()),
        _ => Err(std::io::ErrorKind::NotFound.into()),
    };
    load(&request(environment), &read).unwrap()
}

fn of(words: &[String], environment: &[(String, Option<String>)]) -> Override {
    let secrets = SecretNames::default();
    Override {
        service: "vllm".into(),
        comments: vec!["head".into(), String::new()],
        image: Some("sha256:0123".into()),
        command: Some(secrets.words(words)),
        environment: environment.iter().map(|(k, v)| (k.clone(), v.as_deref().map(literal))).collect(),
        ..Override::default()
    }
}

/// Words that argv may hold, the awkward ones often: quotes, dollars, braces, blanks, newlines, JSON, other alphabets.
fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{0,24}",
        "[\\$\\{\\}\\\\'\" \n\t:#\\[\\],&*!|>%@`a-c-]{0,24}",
        "\\PC{0,12}",
        Just(r#"{"method": "mtp", "num_speculative_tokens": 3, "x": "$HOME ${A:-b} $$"}"#.to_owned()),
        any::<Vec<char>>().prop_map(|cs| cs.into_iter().filter(|c| *c != '\0').collect()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_words_and_values_come_back_byte_for_byte(
        words in prop::collection::vec(word(), 0..8),
        values in prop::collection::btree_map("[A-Z_][A-Z0-9_]{0,8}", word(), 0..4),
    ) {
        let environment: Vec<(String, Option<String>)> = values.iter().map(|(k, v)| (k.clone(), Some(v.clone()))).collect();
        let service = read_back(&of(&words, &environment).to_yaml(), &[("HF_TOKEN", "t")]).services["vllm"].clone();
        prop_assert_eq!(argv(&service), words);
        for (name, value) in values {
            prop_assert_eq!(service.environment.get(&name).cloned(), Some(Some(value)));
        }
        prop_assert_eq!(service.image.as_deref(), Some("sha256:0123"));
    }
}

#[test]
fn secrets_are_written_as_variables_and_resolve_to_their_values() {
    let secrets = SecretNames::new([("s3cret-k".to_owned(), "KEY".to_owned()), ("abc".to_owned(), "SHORT".to_owned())]);
    let words = ["--api-key", "abc", "--url=http://u:s3cret-k@h/$x", "abc", "--hf-token=s3cret-k"].map(str::to_owned);
    let text =
        Override { command: Some(secrets.words(&words)), service: "vllm".into(), ..Override::default() }.to_yaml();
    assert!(!text.contains("s3cret-k"), "{text}");
    // A short value is a secret only where its flag says so.
    assert_eq!(text.matches("abc").count(), 1, "{text}");
    let environment = [("KEY", "s3cret-k"), ("SHORT", "abc"), ("HF_TOKEN", "t")];
    assert_eq!(argv(&read_back(&text, &environment).services["vllm"]), words);
}

#[test]
fn a_replaced_environment_holds_nothing_of_the_earlier_files() {
    let over = Override {
        service: "vllm".into(),
        environment: vec![("KEPT".into(), Some("no".into())), ("HF_TOKEN".into(), Some(reference("HF_TOKEN")))],
        replaces_environment: true,
        ..Override::default()
    };
    let service = read_back(&over.to_yaml(), &[("HF_TOKEN", "t")]).services["vllm"].clone();
    let expected = [("HF_TOKEN", "t"), ("KEPT", "no")].map(|(k, v)| (k.to_owned(), Some(v.to_owned())));
    assert_eq!(service.environment, BTreeMap::from(expected));
    assert_eq!(argv(&service), ["serve", "m", "--old", "1"]);
}

#[test]
fn a_files_variables_are_found_by_name_and_doubled_dollars_are_none() {
    let text = "a: $A ${B:-${C}} $$D ${E?x} $1 ${}";
    assert_eq!(variable_names(text), ["A", "B", "C", "E"]);
}

/// The real Compose reads what we write, gives the same words and, for the same service, the same hash.
#[test]
fn the_real_compose_gives_the_very_words_and_the_hash_that_we_compute() {
    let Some(binary) = super::super::oracle::oracle() else { return };
    let folder = tempfile::tempdir().unwrap();
    let words: Vec<String> = [
        "serve",
        "m",
        "--speculative-config",
        r#"{"method": "mtp", "n": 3}"#,
        "--x",
        "$HOME ${A:-b} $$",
        "it's \"q\"",
        "two\nlines\ttab",
        "<&> \\ \u{2028} é 漢 😀",
        "",
        " ",
        "#no",
        "- a: b",
        "\u{7f}\u{1}",
    ]
    .map(str::to_owned)
    .to_vec();
    let environment =
        vec![("JSON".to_owned(), Some("{\"a\": [1, \"$b\"]}".to_owned())), ("EMPTY".into(), Some(String::new()))];
    let write = |name: &str, text: &str| -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let files = [write("compose.yml", BASE), write("champion.yml", &of(&words, &environment).to_yaml())];
    let ask = |arguments: &[&str]| {
        let mut command = std::process::Command::new(&binary);
        command.current_dir(folder.path()).env("HF_TOKEN", "t");
        files.iter().for_each(|file| {
            command.arg("-f").arg(file);
        });
        let output = command.args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let theirs: serde_json::Value = serde_json::from_str(&ask(&["config", "--format", "json"])).unwrap();
    let service = &theirs["services"]["vllm"];
    let undoubled = |v: &serde_json::Value| v.as_str().unwrap().replace("$$", "$");
    let command: Vec<String> = service["command"].as_array().unwrap().iter().map(undoubled).collect();
    assert_eq!(command, words);
    assert_eq!(service["image"], "sha256:0123");
    assert_eq!(undoubled(&service["environment"]["JSON"]), "{\"a\": [1, \"$b\"]}");
    let ours = load(
        &LoadRequest { files: files.to_vec(), cwd: folder.path().to_owned(), ..request(&[("HF_TOKEN", "t")]) },
        &|path| std::fs::read_to_string(path),
    )
    .unwrap();
    let hash = super::super::config_hash(&ours.services["vllm"], ComposeRelease::NEWEST).unwrap();
    assert_eq!(ask(&["config", "--hash", "vllm"]).trim(), format!("vllm {hash}"));
}
