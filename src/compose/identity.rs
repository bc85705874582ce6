//! What of a service makes it the engine that it is: the bytes that a config's key is hashed from.

use serde_json::{Map, Value};

use super::argv::secret_positions;
use super::service::{Deploy, Service};
use crate::domain::Redactor;

/// Stable bytes of everything that changes the engine: image, command, environment, devices, mounts, limits, shared memory, IPC.
/// Names, labels, published ports, health checks, restart and stop rules, logging, networks and dependencies do not count; values that are secret by
/// name are replaced by a constant.
#[must_use]
pub fn canonical_identity(service: &Service) -> Vec<u8> {
    let mut own = Service {
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
    for (name, value) in &mut own.environment {
        if value.is_some() && Redactor::is_secret_name(name) {
            *value = Some(Redactor::mask().to_owned());
        }
    }
    for list in [own.entrypoint.as_mut(), own.command.as_mut()].into_iter().flatten() {
        mask_flags(list);
    }
    let value = serde_json::to_value(&own).map(sorted).unwrap_or_default();
    value.to_string().into_bytes()
}

fn mask_flags(words: &mut [String]) {
    for at in secret_positions(words) {
        let word = &mut words[at];
        *word = match word.split_once('=') {
            Some((flag, _)) if flag.starts_with('-') => format!("{flag}={}", Redactor::mask()),
            _ => Redactor::mask().to_owned(),
        };
    }
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
        assert_eq!(canonical_identity(&base()), canonical_identity(&other));
        let text = String::from_utf8(canonical_identity(&base())).unwrap();
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
            assert_ne!(canonical_identity(&base()), canonical_identity(&other));
        }
    }
}
