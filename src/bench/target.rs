//! Whom the benchmark talks to.

use std::fmt;

use crate::domain::Redactor;

/// An API key: never shown by `Debug`, taken out of every error text.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// Wraps the key.
    #[must_use]
    pub const fn new(key: String) -> Self {
        Self(key)
    }

    /// The key itself, for the one header that carries it.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({})", Redactor::mask())
    }
}

/// A server and the model that it must serve.
#[derive(Clone, Debug)]
pub struct Target {
    /// Scheme, host and port, e.g. `http://127.0.0.1:8000`; a trailing `/` or `/v1` is accepted.
    pub base_url: String,
    /// Model id as `/v1/models` must list it.
    pub model: String,
    /// Sent as `Authorization: Bearer`.
    pub api_key: Option<ApiKey>,
    /// Takes further secrets out of the error texts that the server sends.
    pub redactor: Redactor,
}

impl Target {
    /// A server without an API key.
    #[must_use]
    pub fn new(base_url: impl Into<String>, model: impl Into<String>) -> Self {
        Self { base_url: base_url.into(), model: model.into(), api_key: None, redactor: Redactor::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_never_shows_the_key() {
        let mut target = Target::new("http://h:1", "m");
        target.api_key = Some(ApiKey::new("sk-very-secret".to_owned()));
        let text = format!("{target:?}");
        assert!(!text.contains("very-secret") && text.contains("***"), "{text}");
    }
}
