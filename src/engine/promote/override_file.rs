//! The override's text: literal tested values, the image pinned, secrets by the names of their variables.

use std::collections::BTreeMap;
use std::path::Path;

use crate::compose::{self, LoadRequest, Override, SecretNames, Service};
use crate::domain::{Diagnostic, Diagnostics, Redactor};
use crate::launch;

/// Which secrets stand as which variables in an override.
#[derive(Clone, Debug, Default)]
pub(super) struct Secrets {
    pub(super) names: SecretNames,
    /// Variables that no file or environment sets yet, with what they must hold. Never shown.
    pub(super) unset: BTreeMap<String, String>,
}

impl Secrets {
    /// `all` are the deployment's secret values; `variables` what its files are interpolated with.
    pub(super) fn of(service: &Service, all: &[String], variables: &BTreeMap<String, String>) -> Self {
        let by_flag_or_variable = launch::secrets_of(service);
        let values = by_flag_or_variable.values().chain(all).filter(|value| !value.is_empty());
        let mut pairs: Vec<(String, String)> = Vec::new();
        let mut unset = BTreeMap::new();
        for value in values {
            let holds = |(_, held): &(&String, &String)| *held == value;
            let secret_name = variables.iter().filter(holds).find(|(name, _)| Redactor::is_secret_name(name));
            let name = secret_name.or_else(|| variables.iter().find(holds)).map(|(name, _)| name.clone());
            let name = name.unwrap_or_else(|| {
                let of = by_flag_or_variable.iter().find(|(_, held)| *held == value);
                let name = of.map_or_else(|| "VGRID_SECRET".to_owned(), |(of, _)| variable_for(of));
                unset.insert(name.clone(), value.clone());
                name
            });
            pairs.push((value.clone(), name));
        }
        Self { names: SecretNames::new(pairs), unset }
    }
}

/// `--api-key` is vLLM's own `VLLM_API_KEY`; `--hf-token` is `HF_TOKEN`; a variable is itself.
fn variable_for(flag_or_variable: &str) -> String {
    match flag_or_variable {
        "--api-key" => "VLLM_API_KEY".to_owned(),
        other => other.trim_start_matches('-').replace('-', "_").to_uppercase(),
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
        let secret = Redactor::is_secret_name(variable);
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
