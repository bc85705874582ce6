//! The override's text: literal tested values, the image pinned, secrets by the names of their variables.

use std::collections::BTreeMap;
use std::path::Path;

use crate::compose::{self, LoadRequest, Override, SecretNames, Service};
use crate::domain::{Diagnostic, Diagnostics, Redactor};
use crate::launch;

/// A variable that holds a value of so many bytes holds it on purpose.
const NOT_BY_CHANCE: usize = 8;

/// Which secrets stand as which variables in an override.
#[derive(Clone, Debug, Default)]
pub(super) struct Secrets {
    pub(super) names: SecretNames,
    /// Variables that no file or environment sets yet, with what they must hold. Never shown.
    pub(super) unset: BTreeMap<String, String>,
}

impl Secrets {
    /// `all` are the deployment's secret values; `variables` what its files are interpolated with; `named` those that the files name.
    pub(super) fn of(
        service: &Service,
        all: &[String],
        variables: &BTreeMap<String, String>,
        named: &[String],
    ) -> Self {
        let by_flag_or_variable = launch::secrets_of(service);
        let mut pairs: Vec<(String, String)> = Vec::new();
        let mut unset: BTreeMap<String, String> = BTreeMap::new();
        let holder = |value: &str| {
            let holders = || variables.iter().filter(|(_, held)| *held == value).map(|(name, _)| name);
            let in_files = holders().find(|name| named.contains(name));
            let by_name = || holders().find(|name| Redactor::is_secret_name(name));
            // A short value stands in some variable or other by chance.
            let any = || holders().next().filter(|_| value.len() >= NOT_BY_CHANCE);
            in_files.or_else(by_name).or_else(any).cloned()
        };
        for (of, whole) in &by_flag_or_variable {
            // A variable may hold the whole address with a password in it; else only the password is one.
            let is_secret = Redactor::is_secret_name(of);
            if let Some(name) = holder(whole) {
                pairs.push((whole.clone(), name));
                continue;
            }
            let parts = if is_secret { vec![whole.clone()] } else { Redactor::secrets_in("", whole) };
            for part in parts {
                let name = holder(&part).unwrap_or_else(|| free_name(variable_for(of, is_secret), &part, &mut unset));
                pairs.push((part, name));
            }
        }
        for value in all.iter().filter(|value| !value.is_empty()) {
            if !pairs.iter().any(|(known, _)| known == value) {
                let name = holder(value).unwrap_or_else(|| free_name("VGRID_SECRET".to_owned(), value, &mut unset));
                pairs.push((value.clone(), name));
            }
        }
        Self { names: SecretNames::new(pairs), unset }
    }

    /// Leaves out of the variables to be set those that the override does not refer to.
    pub(super) fn only_used_in(mut self, text: &str) -> Self {
        self.unset.retain(|name, _| text.contains(&compose::reference(name)));
        self
    }
}

/// Takes down that a variable of this name must hold the value; with a number where the name stands for another value already.
fn free_name(name: String, value: &str, unset: &mut BTreeMap<String, String>) -> String {
    let taken = |name: &String| unset.get(name).is_some_and(|held| held != value);
    let numbered = || (2..).map(|n| format!("{name}_{n}")).find(|name| !taken(name));
    let name = if taken(&name) { numbered().unwrap_or(name) } else { name };
    unset.insert(name.clone(), value.to_owned());
    name
}

/// `--api-key` is vLLM's own `VLLM_API_KEY`; `--hf-token` is `HF_TOKEN`; a variable is itself. The secret within the value of one that is
/// none by its name is `..._SECRET`.
fn variable_for(flag_or_variable: &str, is_secret: bool) -> String {
    let plain = flag_or_variable.trim_start_matches('-');
    let is_name =
        !plain.is_empty() && plain.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'#'));
    match flag_or_variable {
        "--api-key" => "VLLM_API_KEY".to_owned(),
        _ if !is_name => "VGRID_SECRET".to_owned(),
        _ => {
            let suffix = if is_secret { "" } else { "_SECRET" };
            format!("{}{suffix}", plain.replace(['-', '.', '#'], "_").to_uppercase())
        }
    }
}

/// The override that makes `tested` out of `deployed`, its image written as `image`.
pub(super) fn override_of(
    name: &str,
    deployed: &Service,
    tested: &Service,
    image: &str,
    secrets: &SecretNames,
    comments: Vec<String>,
) -> Override {
    let removes = deployed.environment.keys().any(|name| !tested.environment.contains_key(name));
    let mut environment = Vec::new();
    for (variable, value) in &tested.environment {
        let secret = value.as_ref().is_some_and(|value| !Redactor::secrets_in(variable, value).is_empty());
        let own = deployed.environment.get(variable) == Some(value);
        match value {
            // The files below the override say it.
            _ if secret && own && !removes => {}
            None if !removes => {}
            None => environment.push((variable.clone(), None)),
            Some(text) => environment.push((variable.clone(), Some(secrets.template(text, secret)))),
        }
    }
    Override {
        service: name.to_owned(),
        comments,
        image: Some(compose::literal(image)),
        entrypoint: tested.entrypoint.as_ref().map(|words| secrets.words(words)),
        command: tested.command.as_ref().map(|words| secrets.words(words)),
        environment,
        replaces_environment: removes,
    }
}

/// Reads the override back behind the deployment's files, as Compose would: the service must be the tested one, to the byte.
///
/// # Errors
/// It does not load, or gives another service: the keys that differ.
pub(super) fn read_back(
    request: &LoadRequest,
    path: &Path,
    text: &str,
    name: &str,
    wanted: &Service,
    unset: &BTreeMap<String, String>,
) -> Result<Service, Diagnostics> {
    let mut request = request.clone();
    request.files.push(path.to_owned());
    request.environment.extend(unset.clone());
    let read = |asked: &Path| if asked == path { Ok(text.to_owned()) } else { std::fs::read_to_string(asked) };
    let project = compose::load(&request, &read)?;
    let got = project.services.get(name).cloned().unwrap_or_default();
    if got == *wanted {
        return Ok(got);
    }
    let json = |service: &Service| serde_json::to_value(service).unwrap_or_default();
    let (got_json, wanted_json) = (json(&got), json(wanted));
    let keys = |value: &serde_json::Value| value.as_object().map(|m| m.keys().cloned().collect()).unwrap_or_default();
    let mut names: Vec<String> = keys(&got_json);
    names.extend(keys(&wanted_json));
    names.sort();
    names.dedup();
    names.retain(|key| got_json.get(key) != wanted_json.get(key));
    Err(Diagnostic::error(
        "override-differs",
        format!("the override does not give the tested service back: {} differ", names.join(", ")),
    )
    .help("nothing was written; please report the compose files that lead to this")
    .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPOSE: &str = r#"
name: p
services:
  vllm:
    image: i
    command: ["serve", "m", "--api-key", "${K}", "--override-generation-config", '{"password":"in-json-1"}', "--max-num-seqs", "8"]
    environment:
      PROXY: http://u:${PROXY_PW}@h:1
      CACHE: redis://:lit-7@h
      DB_PASS: lit-8
      OTHER: "1"
"#;

    #[test]
    fn a_secret_is_referred_to_by_the_variable_that_the_files_name_else_by_one_that_is_to_be_set() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("compose.yml");
        std::fs::write(&file, COMPOSE).unwrap();
        let of_process = [("K", "k7"), ("PROXY_PW", "pw"), ("SHLVL", "k7"), ("AAA_TOKEN", "pw")];
        let request = LoadRequest {
            files: vec![file],
            environment: of_process.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            cwd: folder.path().to_owned(),
            service: Some("vllm".into()),
            ..LoadRequest::default()
        };
        let read = |path: &Path| std::fs::read_to_string(path);
        let project = compose::load(&request, &read).unwrap();
        let deployed = project.services["vllm"].clone();
        let mut tested = deployed.clone();
        // It takes a variable away, so that the override states all the others.
        tested.environment.remove("OTHER");
        let variables = compose::variables(&request, &read).unwrap();
        let named = super::super::env_keys::variables(&request);
        let secrets = Secrets::of(&tested, &project.secrets, &variables, &named);
        let text = override_of("vllm", &deployed, &tested, "i", &secrets.names, Vec::new()).to_yaml();
        let secrets = secrets.only_used_in(&text);
        for secret in ["k7", "pw", "in-json-1", "lit-7", "lit-8"] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
        for reference in [
            "${K:?",
            "http://u:${PROXY_PW:?",
            "redis://:${CACHE_SECRET:?",
            "${DB_PASS:?",
            "{\\\"password\\\":\\\"${OVERRIDE_GENERATION_CONFIG_SECRET:?",
        ] {
            assert!(text.contains(reference), "{reference}: {text}");
        }
        let to_set: Vec<&str> = secrets.unset.keys().map(String::as_str).collect();
        assert_eq!(to_set, ["CACHE_SECRET", "DB_PASS", "OVERRIDE_GENERATION_CONFIG_SECRET"]);
        read_back(&request, &folder.path().join("champion.yml"), &text, "vllm", &tested, &secrets.unset).unwrap();
        assert_eq!(Redactor::new(project.secrets.clone()).apply(&text), text, "the checklist finds none in it");
    }
}
