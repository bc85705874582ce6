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

/// A server's address fit to be shown and stored: scheme, host, port and path, nothing that may be secret (user, password, query).
#[must_use]
pub fn shown_address(base_url: &str) -> String {
    let Ok(mut url) = url::Url::parse(base_url) else { return String::new() };
    url.set_query(None);
    url.set_fragment(None);
    let _ = url.set_username("").and_then(|()| url.set_password(None));
    url.as_str().trim_end_matches('/').to_owned()
}

/// What is secret in an address: the password as it is written and as it is meant, and both with the user as a header carries them.
#[must_use]
pub fn secrets_in(base_url: &str) -> Vec<String> {
    let rest = base_url.split_once("://").map_or(base_url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let Some((user, password)) = authority.rsplit_once('@').and_then(|(own, _)| own.split_once(':')) else {
        return Vec::new();
    };
    let (user, meant) = (percent_decoded(user), percent_decoded(password));
    let header = base64(&[user.as_slice(), b":", &meant].concat());
    vec![password.to_owned(), String::from_utf8_lossy(&meant).into_owned(), header]
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, tail)) = rest.split_first() {
        let code = tail.get(..2).and_then(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
        match code.filter(|_| *first == b'%') {
            Some(byte) => {
                out.push(byte);
                rest = &tail[2..];
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |three: &[u8]| -> Vec<char> {
        let bits = (0..3).fold(0_u32, |bits, i| bits << 8 | u32::from(three.get(i).copied().unwrap_or(0)));
        let digit = |at: u32| char::from(DIGITS[(bits >> (18 - 6 * at) & 63) as usize]);
        (0..4).map(|at| if at as usize <= three.len() { digit(at) } else { '=' }).collect()
    };
    bytes.chunks(3).flat_map(group).collect()
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
    fn an_address_is_shown_without_what_may_be_secret() {
        let shown = shown_address("https://me:pass%20word@h:8443/vllm/v1/?api_key=k#f");
        assert_eq!(shown, "https://h:8443/vllm/v1");
        assert_eq!(shown_address("http://127.0.0.1:8000/"), "http://127.0.0.1:8000");
        assert_eq!(shown_address("http://[::1]:8000"), "http://[::1]:8000");
        assert_eq!(secrets_in("https://me:pa%20ss@h/x"), ["pa%20ss", "pa ss", "bWU6cGEgc3M="]);
        assert!(secrets_in("http://h:8000/a@b:c").is_empty() && secrets_in("http://me@h").is_empty());
        // RFC 4648, section 10
        for (plain, coded) in [("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn debug_output_never_shows_the_key() {
        let mut target = Target::new("http://h:1", "m");
        target.api_key = Some(ApiKey::new("sk-very-secret".to_owned()));
        let text = format!("{target:?}");
        assert!(!text.contains("very-secret") && text.contains("***"), "{text}");
    }
}
