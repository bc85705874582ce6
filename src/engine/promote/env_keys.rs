//! Which variables of an env file would make the deployment run the tested settings without an override.

use std::collections::BTreeMap;
use std::path::Path;

use crate::compose::{self, LoadRequest, Purpose, Service};
use crate::domain::{FlagName, FlagValue, Redactor, Settings};

/// A value that no file holds by chance; digits alone, so that it may stand for a number as well.
const PROBE: &str = "7340192836455";

/// A variable that a compose file interpolates in the place of a setting.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct EnvKey {
    /// The variable.
    pub(crate) name: String,
    /// The value that gives the tested setting.
    pub(crate) value: String,
    /// What it sets: `max-num-seqs`, `env.NAME`, `model`, `image`.
    pub(crate) sets: String,
    /// Whether the process's environment sets it, which wins over every env file.
    pub(crate) in_process_environment: bool,
}

/// The variables, and whether they alone make the command, environment and image that were tested.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct EnvKeys {
    /// Variables whose value must change; none that hold a secret.
    pub(crate) keys: Vec<EnvKey>,
    /// With them the files alone give the tested settings; false while there is a difference that no variable makes.
    pub(crate) suffice: bool,
}

/// Finds them: each variable of the files is set to a value that cannot be there by chance, and where it comes out is what
/// it sets.
pub(super) fn env_keys(request: &LoadRequest, name: &str, deployed: &Service, tested: &Service) -> EnvKeys {
    let (now, wanted) = (compose::settings_of(deployed), compose::settings_of(tested));
    let mut keys: Vec<EnvKey> = Vec::new();
    for variable in variables(request) {
        let Some(service) = load_with(request, name, [(variable.clone(), PROBE.to_owned())]) else { continue };
        let probed = compose::settings_of(&service);
        for (setting, value) in places(&probed, &wanted) {
            let plain = setting.strip_prefix("env.").unwrap_or(&setting);
            let secret = is_secret(&variable) || !Redactor::secrets_in(plain, &value).is_empty();
            if secret || value_of(&now, &setting).as_ref() == Some(&value) {
                continue;
            }
            let in_process_environment = request.environment.contains_key(&variable);
            keys.push(EnvKey { name: variable.clone(), value, sets: setting, in_process_environment });
        }
    }
    let values = keys.iter().map(|key| (key.name.clone(), key.value.clone()));
    let suffice = load_with(request, name, values).is_some_and(|service| {
        let same_words = compose::argv_diff(&compose::argv(&service), &compose::argv(tested)).is_empty();
        same_words && service.environment == tested.environment && service.image == tested.image
    });
    EnvKeys { keys, suffice }
}

fn is_secret(name: &str) -> bool {
    Redactor::is_secret_name(name)
}

/// The variables that the files name.
pub(super) fn variables(request: &LoadRequest) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for file in &request.files {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        names.extend(compose::variable_names(&text));
    }
    names.sort();
    names.dedup();
    names
}

/// The service with these variables set; None where the files do not load with them.
fn load_with(request: &LoadRequest, name: &str, values: impl IntoIterator<Item = (String, String)>) -> Option<Service> {
    let mut request = LoadRequest { purpose: Purpose::Show, ..request.clone() };
    request.environment.extend(values);
    let project = compose::load(&request, &|path: &Path| std::fs::read_to_string(path)).ok()?;
    project.services.get(name).cloned()
}

/// The settings whose whole value is the probe, with the value that they shall have.
fn places(probed: &Settings, wanted: &Settings) -> Vec<(String, String)> {
    let flags = probed.flags.iter().filter(|(_, value)| **value == FlagValue::Value(PROBE.to_owned()));
    let env: BTreeMap<&String, &Option<String>> = probed.env.iter().collect();
    let env = env.into_iter().filter(|(_, value)| value.as_deref() == Some(PROBE));
    let mut names: Vec<String> = flags.map(|(name, _)| name.to_string()).collect();
    names.extend(env.map(|(name, _)| format!("env.{name}")));
    names.extend((probed.model.as_deref() == Some(PROBE)).then(|| "model".to_owned()));
    names.extend((probed.image.as_deref() == Some(PROBE)).then(|| "image".to_owned()));
    names.into_iter().filter_map(|name| Some((name.clone(), value_of(wanted, &name)?))).collect()
}

/// The value of a setting, where it is one text.
fn value_of(settings: &Settings, name: &str) -> Option<String> {
    if let Some(variable) = name.strip_prefix("env.") {
        return settings.env.get(variable).cloned().flatten();
    }
    match name {
        "model" => settings.model.clone(),
        "image" => settings.image.clone(),
        flag => match settings.flags.get(&FlagName::new(flag))? {
            FlagValue::Value(value) => Some(value.clone()),
            FlagValue::Default | FlagValue::On | FlagValue::Off | FlagValue::Many(_) => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys_of(command: &str, env: &str, tested: &[(&str, &str)]) -> EnvKeys {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "services:\n  vllm:\n    image: ${{IMAGE:-i}}\n    command: {command}\n    environment: {{ A: '${{A_VALUE}}' }}\n"
        );
        std::fs::write(folder.path().join("compose.yml"), text).unwrap();
        std::fs::write(folder.path().join(".env"), env).unwrap();
        let request = LoadRequest {
            files: vec![folder.path().join("compose.yml")],
            cwd: folder.path().to_owned(),
            service: Some("vllm".into()),
            ..LoadRequest::default()
        };
        let deployed = load_with(&request, "vllm", []).unwrap();
        let flags = tested.iter().map(|(n, v)| (FlagName::new(n), FlagValue::from_text(v))).collect();
        let tested = compose::overlay(&deployed, &Settings { flags, ..Settings::default() }).unwrap();
        env_keys(&request, "vllm", &deployed, &tested)
    }

    #[test]
    fn the_variable_behind_a_flag_is_named_with_its_tested_value_and_suffices() {
        let found = keys_of(
            "serve m --max-num-seqs ${SEQS:-8} --port ${PORT:-8000}",
            "SEQS=8\nA_VALUE=1\n",
            &[("max-num-seqs", "32")],
        );
        let named: Vec<(&str, &str, &str)> =
            found.keys.iter().map(|k| (k.name.as_str(), k.value.as_str(), k.sets.as_str())).collect();
        assert_eq!((named, found.suffice), (vec![("SEQS", "32", "max-num-seqs")], true));
    }

    #[test]
    fn a_switch_that_no_variable_makes_is_said_to_be_missing_and_secrets_are_no_keys() {
        let command = "serve m --max-num-seqs ${SEQS:-8} --api-key ${VLLM_API_KEY:-k}";
        let found = keys_of(command, "A_VALUE=1\n", &[("max-num-seqs", "32"), ("enforce-eager", "on")]);
        assert_eq!(found.keys.iter().map(|k| k.name.as_str()).collect::<Vec<_>>(), ["SEQS"]);
        assert!(!found.suffice);
    }
}
