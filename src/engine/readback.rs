//! Reading back what the engine really runs with, from everything it says after its start.

use std::path::Path;

use serde_json::Value;

use crate::bench::Client;
use crate::domain::{Redactor, ResolvedConfig};
use crate::resolve::{self, Sources};

/// Of a log, what is read into memory at most; a boot's log is a few hundred KiB.
const LOG_LIMIT_BYTES: u64 = 32 << 20;

/// The first `end` bytes of the log of an attempt, secrets hidden; empty when there is none.
pub(super) fn read_log(path: &Path, end: u64, redactor: &Redactor) -> String {
    use std::io::{Read, Seek, SeekFrom};
    let Ok(mut file) = std::fs::File::open(path) else { return String::new() };
    let length = file.metadata().map_or(0, |m| m.len()).min(end);
    let from = length.saturating_sub(LOG_LIMIT_BYTES);
    if file.seek(SeekFrom::Start(from)).is_err() {
        return String::new();
    }
    let mut bytes = Vec::new();
    if file.take(length - from).read_to_end(&mut bytes).is_err() {
        return String::new();
    }
    let text = String::from_utf8_lossy(&bytes);
    redactor.apply(&text).into_owned()
}

/// What the engine says of itself: log, `/metrics`, `/version`, `/v1/models`, inspect. An endpoint that does not answer adds
/// nothing; that is no failure. Secrets are hidden.
pub(super) async fn resolved(
    client: &Client,
    log: &str,
    inspect: Option<&Value>,
    redactor: &Redactor,
) -> ResolvedConfig {
    let (metrics, version, models) =
        tokio::join!(client.get("metrics"), client.get("version"), client.get("v1/models"));
    let (metrics, version, mut models) = (metrics.ok(), json(version), json(models));
    if let Some(listed) = models.as_mut().and_then(|m| m.get_mut("data")).and_then(Value::as_array_mut) {
        // A server may list several: what is said of the one that is asked counts.
        listed.sort_by_key(|model| model["id"] != client.model());
    }
    let mut resolved = resolve::read(&Sources {
        log,
        metrics: metrics.as_deref(),
        version: version.as_ref(),
        models: models.as_ref(),
        inspect,
    });
    hide(&mut resolved, redactor);
    resolved
}

/// Masks what is secret in the facts: those of an older vgrid may still show what today's masks.
pub(super) fn hide(resolved: &mut ResolvedConfig, redactor: &Redactor) {
    for (name, fact) in &mut resolved.facts {
        let shown = Redactor::shown(name.strip_prefix("env.").unwrap_or(name), &fact.value);
        fact.value = redactor.apply(&shown).into_owned();
    }
}

fn json<E>(text: Result<String, E>) -> Option<Value> {
    text.ok().and_then(|text| serde_json::from_str(&text).ok())
}
