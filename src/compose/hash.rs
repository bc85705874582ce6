//! The hash by which Docker Compose tells whether a container is still what its service says.

use super::service::{Deploy, Service};
use crate::domain::sha256;

/// Compose's own hash of a service (label `com.docker.compose.config-hash`): SHA-256 over the JSON that its Go types make, without
/// what does not make a container another one (build, profiles, pull policy, scale, replicas, and since v2.27 dependencies).
///
/// `None` where the service has keys whose place in that JSON vgrid does not know.
#[must_use]
pub fn config_hash(service: &Service) -> Option<String> {
    if !service.rest.is_empty() {
        return None;
    }
    let own = Service {
        build: None,
        profiles: Vec::new(),
        pull_policy: None,
        depends_on: Default::default(),
        deploy: service.deploy.clone().map(|deploy| Deploy { replicas: None, ..deploy }),
        ..service.clone()
    };
    let json = go_escaped(&serde_json::to_string(&own).ok()?);
    Some(sha256(&[json.as_bytes()]))
}

/// Go's encoder writes these characters of a text as escapes.
fn go_escaped(json: &str) -> String {
    json.replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}
