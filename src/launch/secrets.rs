//! Secrets in what Docker shows: masked before anything is kept, and put back where a container must be made again.

use std::collections::BTreeMap;

use bollard::models::ContainerInspectResponse;

use crate::compose::Service;
use crate::domain::Redactor;

use super::spec::effective_environment;

/// Masks values that are secret by name in environment, command and entrypoint.
pub(super) fn mask_inspect(inspect: &mut ContainerInspectResponse) {
    if let Some(config) = &mut inspect.config {
        config.env.as_deref_mut().map(mask_environment);
        config.cmd.as_deref_mut().map(mask_arguments);
        config.entrypoint.as_deref_mut().map(mask_arguments);
    }
    inspect.args.as_deref_mut().map(mask_arguments);
}

/// The values that are secret by name in a container's environment, command and entrypoint: what its own answers and log may repeat.
pub(super) fn known_to(inspect: &ContainerInspectResponse) -> Vec<String> {
    let config = inspect.config.as_ref();
    let pairs = config.and_then(|c| c.env.as_deref()).unwrap_or_default().iter().filter_map(|e| e.split_once('='));
    let mut known: Vec<String> =
        pairs.filter(|(name, _)| Redactor::is_secret_name(name)).map(|(_, value)| value.to_owned()).collect();
    let lists = [config.and_then(|c| c.cmd.as_deref()), config.and_then(|c| c.entrypoint.as_deref())];
    for words in lists.into_iter().chain([inspect.args.as_deref()]).flatten() {
        known.extend(secret_places(words).into_iter().map(|place| place.value(words)));
    }
    known
}

/// `NAME=value` entries: the values of secret names are masked.
pub(super) fn mask_environment(entries: &mut [String]) {
    for entry in entries {
        if let Some((name, value)) = entry.split_once('=')
            && Redactor::is_secret_name(name)
            && !value.is_empty()
        {
            *entry = format!("{name}={}", Redactor::mask());
        }
    }
}

/// `--flag value` and `--flag=value`: the values of secret names are masked.
pub(super) fn mask_arguments(words: &mut [String]) {
    for place in secret_places(words) {
        place.put(words, Redactor::mask());
    }
}

/// Where a secret value stands in a list of arguments.
enum Place {
    /// The word itself is `--flag=value`.
    Inside { word: usize, flag: String },
    /// The whole word is the value of the flag before it.
    Whole { word: usize, flag: String },
}

impl Place {
    fn flag(&self) -> &str {
        match self {
            Self::Inside { flag, .. } | Self::Whole { flag, .. } => flag,
        }
    }

    fn value(&self, words: &[String]) -> String {
        match self {
            Self::Inside { word, .. } => {
                words[*word].split_once('=').map(|(_, value)| value.to_owned()).unwrap_or_default()
            }
            Self::Whole { word, .. } => words[*word].clone(),
        }
    }

    fn put(&self, words: &mut [String], value: &str) {
        match self {
            Self::Inside { word, flag } => words[*word] = format!("{flag}={value}"),
            Self::Whole { word, .. } => words[*word] = value.to_owned(),
        }
    }
}

fn secret_places(words: &[String]) -> Vec<Place> {
    let mut places = Vec::new();
    for (i, word) in words.iter().enumerate() {
        if !word.starts_with("--") {
            continue;
        }
        match word.split_once('=') {
            Some((flag, _)) if Redactor::is_secret_name(flag) => {
                places.push(Place::Inside { word: i, flag: flag.to_owned() })
            }
            None if Redactor::is_secret_name(word) => {
                // `--api-key` takes several values; all up to the next flag are secret.
                let values = (i + 1..words.len()).take_while(|k| !words[*k].starts_with("--"));
                places.extend(values.map(|k| Place::Whole { word: k, flag: word.clone() }));
            }
            Some(_) | None => {}
        }
    }
    places
}

/// The secret values of a service by the name of variable or flag: what a stored, masked container needs to be made again.
#[must_use]
pub fn secrets_of(service: &Service) -> BTreeMap<String, String> {
    let own = |name: &str| std::env::var(name).ok();
    let pairs = effective_environment(service, &own).into_iter();
    let mut secrets: BTreeMap<String, String> = pairs.filter(|(name, _)| Redactor::is_secret_name(name)).collect();
    for words in service.entrypoint.iter().chain(&service.command) {
        for place in secret_places(words) {
            secrets.insert(place.flag().to_owned(), place.value(words));
        }
    }
    secrets
}

/// Puts the secrets back into masked entries of an environment.
///
/// # Errors
/// The names whose values are not known.
pub(super) fn unmask_environment(
    entries: &mut [String],
    secrets: &BTreeMap<String, String>,
) -> Result<(), Vec<String>> {
    let mut unknown = Vec::new();
    for entry in entries {
        if let Some((name, value)) = entry.split_once('=')
            && value == Redactor::mask()
        {
            match secrets.get(name) {
                Some(secret) => *entry = format!("{name}={secret}"),
                None => unknown.push(name.to_owned()),
            }
        }
    }
    if unknown.is_empty() { Ok(()) } else { Err(unknown) }
}

/// Puts the secrets back into masked arguments.
///
/// # Errors
/// The flags whose values are not known.
pub(super) fn unmask_arguments(words: &mut [String], secrets: &BTreeMap<String, String>) -> Result<(), Vec<String>> {
    let mut unknown = Vec::new();
    for place in secret_places(words) {
        match secrets.get(place.flag()) {
            Some(secret) => place.put(words, secret),
            None => unknown.push(place.flag().to_owned()),
        }
    }
    if unknown.is_empty() { Ok(()) } else { Err(unknown) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn secrets_are_masked_in_every_spelling_and_come_back_exactly() {
        let original = words("serve m --api-key s3cret --hf-token=abc --max-num-batched-tokens 8192");
        let mut masked = original.clone();
        mask_arguments(&mut masked);
        assert_eq!(masked, words("serve m --api-key *** --hf-token=*** --max-num-batched-tokens 8192"));
        let environment = [("HF_TOKEN", "t0ken"), ("PATH", "/bin")].map(|(k, v)| (k.to_owned(), Some(v.to_owned())));
        let service =
            Service { command: Some(original.clone()), environment: environment.into(), ..Service::default() };
        let secrets = secrets_of(&service);
        unmask_arguments(&mut masked, &secrets).unwrap();
        assert_eq!(masked, original);
        let mut env = vec!["HF_TOKEN=t0ken".to_owned(), "PATH=/bin".to_owned()];
        mask_environment(&mut env);
        assert_eq!(env, ["HF_TOKEN=***", "PATH=/bin"]);
        unmask_environment(&mut env, &secrets).unwrap();
        assert_eq!(env, ["HF_TOKEN=t0ken", "PATH=/bin"]);
    }

    #[test]
    fn a_secret_that_is_not_known_is_named() {
        let mut env = vec!["HF_TOKEN=***".to_owned()];
        assert_eq!(unmask_environment(&mut env, &BTreeMap::new()), Err(vec!["HF_TOKEN".to_owned()]));
        let mut arguments = words("--api-key ***");
        assert_eq!(unmask_arguments(&mut arguments, &BTreeMap::new()), Err(vec!["--api-key".to_owned()]));
    }
}
