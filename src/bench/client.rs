//! The HTTP client of one target: built once, address resolved once, connections kept.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request};
use serde_json::{Value, json};
use url::{Position, Url};

use crate::domain::Redactor;

use super::endpoint::Endpoint;
use super::wire::{Connections, WireError};
use super::{ApiKey, BenchError, Target, Unusable};

/// For everything that is not a measured request.
const CONTROL_TIMEOUT: Duration = Duration::from_secs(30);

/// Error texts are kept up to here, bytes.
const MAX_ERROR_BYTES: usize = 2 << 10;

/// The largest body of a whole answer or error, bytes.
pub(super) const MAX_BODY_BYTES: usize = 16 << 20;

/// Talks to one server. Cheap to clone: clones share the connections.
#[derive(Clone, Debug)]
pub struct Client {
    pub(super) connections: Arc<Connections>,
    root: Url,
    host: HeaderValue,
    model: String,
    auth: Option<HeaderValue>,
    /// For the key and for what the target's owner knows to be secret.
    redactors: [Redactor; 2],
}

/// Why a control call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No connection.
    #[error("no connection: {0}")]
    NoConnection(String),
    /// A connection, and no answer in time.
    #[error("no answer in time: {0}")]
    Timeout(String),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// A status other than 200, or a body that is not what it should be.
    #[error("HTTP status {status}: {body}")]
    Answer {
        /// HTTP status.
        status: u16,
        /// Its body, at most 2 KiB, secrets redacted.
        body: String,
    },
}

/// What `/tokenize` says of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenCount {
    /// Tokens.
    pub tokens: u32,
    /// The engine's limit, where it says it.
    pub max_model_len: Option<u32>,
}

impl Client {
    /// Builds the client: HTTP/1.1, no proxy from the environment, no redirects, no retries; resolves the host's name.
    ///
    /// # Errors
    /// `BenchError::Setup` for a URL, a name or a key that cannot be used.
    pub async fn new(target: &Target) -> Result<Self, BenchError> {
        let fail = |why: String| BenchError::Setup { base_url: without_credentials(&target.base_url), why };
        let root = root_url(&target.base_url).map_err(fail)?;
        let endpoint = Endpoint::of(&root).await.map_err(fail)?;
        let host = HeaderValue::from_str(root[Position::BeforeHost..Position::AfterPort].trim_end_matches('/'))
            .map_err(|e| fail(e.to_string()))?;
        let auth = target.api_key.as_ref().map(bearer).transpose().map_err(fail)?;
        let key: Vec<String> = target.api_key.iter().map(|k| k.expose().to_owned()).collect();
        Ok(Self {
            connections: Arc::new(Connections::new(endpoint)),
            root,
            host,
            model: target.model.clone(),
            auth,
            redactors: [Redactor::new(key), target.redactor.clone()],
        })
    }

    /// The model that it asks for.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }

    /// The ids that `/v1/models` lists, with the `max_model_len` of the target's model where the server says it.
    ///
    /// # Errors
    /// Why there is no list.
    pub async fn models(&self) -> Result<(Vec<String>, Option<u32>), CallError> {
        let body = self.get("v1/models").await?;
        let value: Value = serde_json::from_str(&body).map_err(|_| self.unexpected(&body))?;
        let models = value["data"].as_array().ok_or_else(|| self.unexpected(&body))?;
        let ids = models.iter().filter_map(|m| m["id"].as_str().map(str::to_owned)).collect();
        let ours = models.iter().find(|m| m["id"] == self.model.as_str());
        Ok((ids, ours.and_then(|m| m["max_model_len"].as_u64()).and_then(|n| u32::try_from(n).ok())))
    }

    /// Whether the target's model gives a chat completion, of one token.
    ///
    /// # Errors
    /// Why not.
    pub async fn answers(&self) -> Result<(), CallError> {
        let body = json!({"model": self.model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1});
        self.call(Method::POST, "v1/chat/completions", Some(body.to_string().into()), CONTROL_TIMEOUT).await.map(drop)
    }

    /// Tokens of a conversation with the model's chat template around it: what `usage.prompt_tokens` will say.
    ///
    /// # Errors
    /// Why there is no count.
    pub async fn tokenize(&self, messages: &Value) -> Result<TokenCount, CallError> {
        let body = json!({"model": self.model, "messages": messages, "add_generation_prompt": true});
        let body = self.call(Method::POST, "tokenize", Some(body.to_string().into()), CONTROL_TIMEOUT).await?;
        let value: Value = serde_json::from_str(&body).map_err(|_| self.unexpected(&body))?;
        let number = |name: &str| value[name].as_u64().and_then(|n| u32::try_from(n).ok());
        let tokens = number("count").ok_or_else(|| self.unexpected(&body))?;
        Ok(TokenCount { tokens, max_model_len: number("max_model_len") })
    }

    /// The text of `/metrics`.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn metrics(&self) -> Result<String, CallError> {
        self.get("metrics").await
    }

    /// As [`Client::metrics`], with this patience.
    pub(super) async fn metrics_within(&self, patience: Duration) -> Result<String, CallError> {
        self.call(Method::GET, "metrics", None, patience.min(CONTROL_TIMEOUT)).await
    }

    /// Asks whether the server still serves, after a request of ours failed.
    pub async fn health(&self, patience: Duration) -> Option<(Unusable, String)> {
        match self.call(Method::GET, "health", None, patience).await {
            Ok(_) | Err(CallError::Answer { status: 404, .. }) => None,
            Err(error @ CallError::Answer { .. }) => Some((Unusable::EngineDead, format!("/health: {error}"))),
            Err(error @ CallError::Timeout(_)) => Some((Unusable::Hung, format!("/health: {error}"))),
            Err(error @ (CallError::NoConnection(_) | CallError::Broken(_))) => {
                Some((Unusable::Gone, format!("/health: {error}")))
            }
        }
    }

    /// The body of a GET on `path` of the server, e.g. `version`.
    ///
    /// # Errors
    /// Why there is none; a status other than 200 is one.
    pub async fn get(&self, path: &str) -> Result<String, CallError> {
        self.call(Method::GET, path, None, CONTROL_TIMEOUT).await
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
        patience: Duration,
    ) -> Result<String, CallError> {
        let request = self.request(method, path, body).map_err(|e| CallError::NoConnection(e.to_string()))?;
        let answer = tokio::time::timeout(patience, self.exchange(request)).await;
        let (status, body) = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(WireError::Connect(text))) => return Err(CallError::NoConnection(self.error_text(&text))),
            Ok(Err(WireError::Broken(text))) => return Err(CallError::Broken(self.error_text(&text))),
            Err(_) => return Err(CallError::Timeout(format!("{:.1} s", patience.as_secs_f64()))),
        };
        if status == 200 { Ok(body) } else { Err(CallError::Answer { status, body: self.error_text(&body) }) }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<(u16, String), WireError> {
        let mut connection = self.connections.take().await?;
        let answer = connection.send(request).await?;
        let status = answer.status().as_u16();
        let mut incoming = answer.into_body();
        let mut body = Vec::new();
        while let Some(bytes) = connection.chunk(&mut incoming).await? {
            if body.len() + bytes.len() > MAX_BODY_BYTES {
                return Err(WireError::Broken("the body is longer than 16 MiB".to_owned()));
            }
            body.extend_from_slice(&bytes);
        }
        self.connections.keep(connection);
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }

    fn unexpected(&self, body: &str) -> CallError {
        CallError::Answer { status: 200, body: format!("not the expected JSON: {}", self.error_text(body)) }
    }

    /// A text fit for a record: secrets redacted, then at most 2 KiB.
    pub(super) fn error_text(&self, text: &str) -> String {
        let text = self.redactors[0].apply(text);
        let text = self.redactors[1].apply(&text);
        text[..text.floor_char_boundary(MAX_ERROR_BYTES)].to_owned()
    }

    /// The request for one prepared body.
    pub(super) fn post_chat(&self, body: Bytes) -> hyper::http::Result<Request<Full<Bytes>>> {
        self.request(Method::POST, "v1/chat/completions", Some(body))
    }

    fn request(&self, method: Method, path: &str, body: Option<Bytes>) -> hyper::http::Result<Request<Full<Bytes>>> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.root.path()))
            .header(HOST, self.host.clone())
            .header(ACCEPT, "*/*");
        if let Some(auth) = &self.auth {
            request = request.header(AUTHORIZATION, auth.clone());
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        request.body(Full::new(body.unwrap_or_default()))
    }
}

fn bearer(key: &ApiKey) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose()))
        .map_err(|_| "the API key holds characters that no HTTP header may hold".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

fn without_credentials(base_url: &str) -> String {
    match Url::parse(base_url) {
        Ok(mut url) => {
            let _ = url.set_username("").and_then(|()| url.set_password(None));
            url.to_string()
        }
        Err(_) => base_url.to_owned(),
    }
}

fn root_url(base_url: &str) -> Result<Url, String> {
    let trimmed = base_url.trim_end_matches('/');
    let trimmed = trimmed.strip_suffix("/v1").unwrap_or(trimmed);
    let url = Url::parse(&format!("{trimmed}/")).map_err(|e| format!("{e}; write http://host:port"))?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        _ => Err("write http://host:port or https://host:port".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_accepted_with_and_without_v1_and_path() {
        for text in ["http://h:8000", "http://h:8000/", "http://h:8000/v1", "http://h:8000/v1/"] {
            assert_eq!(root_url(text).unwrap().as_str(), "http://h:8000/");
        }
        let nested = root_url("https://h/vllm/v1").unwrap();
        assert_eq!(nested.join("v1/chat/completions").unwrap().as_str(), "https://h/vllm/v1/chat/completions");
        for text in ["h:8000", "ftp://h", "", "http://"] {
            assert!(root_url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn credentials_of_a_url_are_not_shown() {
        assert_eq!(without_credentials("http://u:pass@h:1/"), "http://h:1/");
    }

    #[tokio::test]
    async fn a_wrong_target_is_a_setup_error_that_names_it() {
        let error = Client::new(&Target::new("http://no-such-host.invalid:1", "m")).await.unwrap_err();
        assert!(error.to_string().contains("no-such-host.invalid"), "{error}");
        let mut target = Target::new("http://127.0.0.1:1", "m");
        target.api_key = Some(ApiKey::new("line\nbreak".to_owned()));
        assert!(matches!(Client::new(&target).await, Err(BenchError::Setup { .. })));
    }

    #[tokio::test]
    async fn error_texts_are_cut_at_a_character_and_redacted() {
        let mut target = Target::new("http://127.0.0.1:1", "m");
        target.api_key = Some(ApiKey::new("sk-12345".to_owned()));
        let client = Client::new(&target).await.unwrap();
        assert_eq!(client.error_text("key sk-12345!"), "key ***!");
        let long = "é".repeat(2_000);
        assert!(client.error_text(&long).len() <= MAX_ERROR_BYTES);
        assert!(!format!("{client:?}").contains("sk-12345"));
    }

    #[tokio::test]
    async fn a_port_that_nobody_listens_on_is_a_server_that_is_gone() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let client = Client::new(&Target::new(url, "m")).await.unwrap();
        let (how, _) = client.health(Duration::from_secs(5)).await.unwrap();
        assert_eq!(how, Unusable::Gone);
    }
}
