//! What of a service makes it the engine that it is: the bytes that a config's key is hashed from.

use serde_json::{Map, Value};

use super::service::{Deploy, Service};
use crate::domain::{Redactor, secret_words};

/// Stable bytes of what changes the engine and no config touches: devices, mounts, limits, shared memory, IPC. Names, labels,
/// published ports, health checks, restart and stop rules, logging, networks and dependencies do not count.
#[must_use]
pub fn fixed_identity(service: &Service) -> Vec<u8> {
    let mut own = Service {
        image: None,
        entrypoint: None,
        command: None,
        environment: Default::default(),
        container_name: None,
        hostname: None,
        labels: Default::default(),
        ports: Vec::new(),
        expose: Vec::new(),
        healthcheck: None,
        restart: None,
        logging: None,
        networks: Default::default(),
        depends_on: Default::default(),
        profiles: Vec::new(),
        pull_policy: None,
        stop_grace_period: None,
        stop_signal: None,
        stdin_open: None,
        tty: None,
        build: None,
        ..service.clone()
    };
    for key in ["attach", "develop", "annotations", "scale"] {
        own.rest.shift_remove(key);
    }
    if let Some(deploy) = own.deploy.take() {
        own.deploy = Some(Deploy { resources: deploy.resources, ..Deploy::default() });
    }
    own.volumes.sort_by(|a, b| a.target.cmp(&b.target));
    serde_json::to_value(&own).map(sorted).unwrap_or_default().to_string().into_bytes()
}

/// Stable bytes of what a config may change: image, entrypoint, command, environment. Secrets are replaced by a constant: a short one
/// could be found by trying all there are against the key, which is in every report.
#[must_use]
pub fn varying_identity(service: &Service) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    // Each text with its length in front, so that no two lists of texts give the same bytes.
    let mut text = |kind: u8, text: &str| {
        bytes.push(kind);
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text.as_bytes());
    };
    if let Some(image) = &service.image {
        text(b'i', image);
    }
    for (kind, list) in [(b'e', &service.entrypoint), (b'c', &service.command)] {
        let Some(words) = list else { continue };
        text(kind, "");
        let secret = secret_words(words);
        for (at, word) in words.iter().enumerate() {
            match secret.iter().find(|secret| secret.at == at).map(|secret| secret.masked(word)) {
                None => text(b'w', word),
                // `--api-key=***` is written as ever, so that keys of older databases hold.
                Some(shown) => text(b's', shown.strip_suffix("=***").filter(|f| f.starts_with('-')).unwrap_or(&shown)),
            }
        }
    }
    for (name, value) in &service.environment {
        text(b'n', name);
        let Some(value) = value else { continue };
        match Redactor::shown(name, value) {
            _ if Redactor::is_secret_name(name) => text(b's', Redactor::mask()),
            shown if shown == *value => text(b'v', value),
            shown => text(b's', &shown),
        }
    }
    bytes
}

/// The value with the keys of every mapping in order.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(String, Value)> = map.into_iter().map(|(k, v)| (k, sorted(v))).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(Map::from_iter(entries))
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(service: &Service) -> Vec<u8> {
        [fixed_identity(service), varying_identity(service)].concat()
    }

    fn base() -> Service {
        Service {
            image: Some("i".into()),
            command: Some(vec!["serve".into(), "m".into(), "--api-key".into(), "s3cret".into(), "--x=1".into()]),
            environment: [("HF_TOKEN".to_owned(), Some("hf_abc".to_owned())), ("A".to_owned(), Some("1".to_owned()))]
                .into(),
            ..Service::default()
        }
    }

    #[test]
    fn names_labels_and_secrets_do_not_change_the_identity() {
        let mut other = base();
        other.container_name = Some("c".into());
        other.labels.insert("a".into(), "b".into());
        other.restart = Some("always".into());
        other.environment.insert("HF_TOKEN".into(), Some("hf_other".into()));
        other.command = Some(vec!["serve".into(), "m".into(), "--api-key".into(), "another".into(), "--x=1".into()]);
        assert_eq!(identity(&base()), identity(&other));
        let text = String::from_utf8_lossy(&identity(&base())).into_owned();
        assert!(!text.contains("s3cret") && !text.contains("hf_abc"), "{text}");
    }

    #[test]
    fn image_command_environment_and_limits_change_it() {
        let changes: [fn(&mut Service); 5] = [
            |s| s.image = Some("j".into()),
            |s| s.command = Some(vec!["serve".into(), "n".into()]),
            |s| {
                s.environment.insert("A".into(), Some("2".into()));
            },
            |s| s.shm_size = Some("1".into()),
            |s| s.ipc = Some("host".into()),
        ];
        for change in changes {
            let mut other = base();
            change(&mut other);
            assert_ne!(identity(&base()), identity(&other));
        }
    }
}
