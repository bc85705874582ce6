//! Secrets in what Docker shows: masked before anything is kept, and put back where a container must be made again.

use std::collections::BTreeMap;

use bollard::models::ContainerInspectResponse;

use crate::compose::Service;
use crate::domain::{Redactor, is_flag, secret_words};

use super::spec::effective_environment;

/// Masks secrets in environment, command and entrypoint.
pub(super) fn mask_inspect(inspect: &mut ContainerInspectResponse) {
    if let Some(config) = &mut inspect.config {
        config.env.as_deref_mut().map(mask_environment);
        config.cmd.as_deref_mut().map(mask_arguments);
        config.entrypoint.as_deref_mut().map(mask_arguments);
    }
    inspect.args.as_deref_mut().map(mask_arguments);
}

/// The secrets in a container's environment, command and entrypoint: what its own answers and log may repeat.
pub(super) fn known_to(inspect: &ContainerInspectResponse) -> Vec<String> {
    let config = inspect.config.as_ref();
    let pairs = config.and_then(|c| c.env.as_deref()).unwrap_or_default().iter().filter_map(|e| e.split_once('='));
    let mut known: Vec<String> = pairs.flat_map(|(name, value)| Redactor::secrets_in(name, value)).collect();
    let lists = [config.and_then(|c| c.cmd.as_deref()), config.and_then(|c| c.entrypoint.as_deref())];
    for words in lists.into_iter().chain([inspect.args.as_deref()]).flatten() {
        known.extend(Redactor::secrets_in_words(words));
    }
    known
}

/// `NAME=value` entries: secrets are masked.
pub(super) fn mask_environment(entries: &mut [String]) {
    for entry in entries {
        if let Some((name, value)) = entry.split_once('=') {
            *entry = format!("{name}={}", Redactor::shown(name, value));
        }
    }
}

/// `--flag value`, `--flag=value` and other words: secrets are masked.
pub(super) fn mask_arguments(words: &mut [String]) {
    let shown = Redactor::shown_words(words);
    words.clone_from_slice(&shown);
}

/// Under which name the true word is kept: that of its flag, with a number from the second value on; else the word as it is shown.
fn kept_as(flag: Option<&str>, nth: usize, shown: &str) -> String {
    match (flag, nth) {
        (Some(flag), 0) => flag.to_owned(),
        (Some(flag), nth) => format!("{flag}#{}", nth + 1),
        (None, _) => shown.to_owned(),
    }
}

/// The words with secrets in them, each with what keeps it: the true value of its flag, or the whole word.
fn kept_words(words: &[String]) -> Vec<(String, String)> {
    let kept = secret_words(words).into_iter().map(|secret| {
        let word = &words[secret.at];
        let name = kept_as(secret.flag.as_deref(), secret.nth, &secret.masked(word));
        let own = secret.flag.as_ref().and_then(|flag| word.strip_prefix(flag.as_str())?.strip_prefix('='));
        (name, own.unwrap_or(word).to_owned())
    });
    kept.collect()
}

/// The values of a service that hold secrets, by the name of variable or flag: what a stored, masked container needs to be made again.
#[must_use]
pub fn secrets_of(service: &Service) -> BTreeMap<String, String> {
    let own = |name: &str| std::env::var(name).ok();
    let pairs = effective_environment(service, &own).into_iter();
    let mut secrets: BTreeMap<String, String> =
        pairs.filter(|(name, value)| !Redactor::secrets_in(name, value).is_empty()).collect();
    for words in service.entrypoint.iter().chain(&service.command) {
        secrets.extend(kept_words(words));
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
            && value.contains(Redactor::mask())
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
    // The flag whose values follow, and how many have.
    let mut open: Option<(String, usize)> = None;
    for word in words {
        let inline = word.split_once('=').filter(|_| is_flag(word)).map(|(flag, _)| flag.to_owned());
        let name = match (&inline, &open) {
            (Some(flag), _) => kept_as(Some(flag), 0, word),
            (None, Some((flag, nth))) => kept_as(Some(flag), *nth, word),
            (None, None) => kept_as(None, 0, word),
        };
        open = match (is_flag(word), inline.is_some(), open) {
            (true, false, _) => Some((word.clone(), 0)),
            (true, true, _) | (false, _, None) => None,
            (false, _, Some((flag, nth))) => Some((flag, nth + 1)),
        };
        if !word.contains(Redactor::mask()) {
            continue;
        }
        // A word that follows a flag which takes no more values stands for itself.
        match (inline, secrets.get(&name).or_else(|| secrets.get(word.as_str()))) {
            (Some(flag), Some(secret)) => *word = format!("{flag}={secret}"),
            (None, Some(secret)) => word.clone_from(secret),
            (_, None) => unknown.push(name),
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
    fn a_secret_within_a_value_is_masked_alone_and_the_whole_value_comes_back() {
        let original: Vec<String> = [
            "sh",
            "-c",
            "DB_PASS=pw1 exec vllm serve m",
            "https://u:pw2@h/m",
            "--override-generation-config",
            r#"{"password":"pw3","top_k":1}"#,
            "--api-key",
            "k7",
            "k8",
            "--url=redis://:pw4@h",
        ]
        .map(str::to_owned)
        .into();
        let mut masked = original.clone();
        mask_arguments(&mut masked);
        assert_eq!(masked[2..4], ["DB_PASS=*** exec vllm serve m", "https://u:***@h/m"]);
        assert_eq!(masked[5..], [r#"{"password":"***","top_k":1}"#, "--api-key", "***", "***", "--url=redis://:***@h"]);
        let environment = [("HTTPS_PROXY".to_owned(), Some("http://u:pw5@h:1".to_owned()))].into();
        let service = Service { command: Some(original.clone()), environment, ..Service::default() };
        let secrets = secrets_of(&service);
        unmask_arguments(&mut masked, &secrets).unwrap();
        assert_eq!(masked, original);
        let mut env = vec!["HTTPS_PROXY=http://u:pw5@h:1".to_owned()];
        mask_environment(&mut env);
        assert_eq!(env, ["HTTPS_PROXY=http://u:***@h:1"]);
        unmask_environment(&mut env, &secrets).unwrap();
        assert_eq!(env, ["HTTPS_PROXY=http://u:pw5@h:1"]);
    }

    #[test]
    fn a_secret_that_is_not_known_is_named() {
        let mut env = vec!["HF_TOKEN=***".to_owned()];
        assert_eq!(unmask_environment(&mut env, &BTreeMap::new()), Err(vec!["HF_TOKEN".to_owned()]));
        let mut arguments = words("--api-key ***");
        assert_eq!(unmask_arguments(&mut arguments, &BTreeMap::new()), Err(vec!["--api-key".to_owned()]));
    }
}
