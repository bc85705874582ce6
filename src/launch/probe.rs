//! The launcher's small HTTP client: is it healthy, which models does it serve, does a real completion come.

use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::domain::Redactor;

use super::error::with_sources;

/// A connection on the same host is there at once or not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// `/health` and `/v1/models` need no GPU work.
const SMALL_TIMEOUT: Duration = Duration::from_secs(2);

/// Bodies are kept as evidence up to this many characters.
const BODY_LIMIT: usize = 2000;

/// Why a probe got no good answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeError {
    /// Nothing listens, or the connection broke.
    NoAnswer(String),
    /// No answer within the time.
    TimedOut,
    /// An HTTP status that is not 200, with the start of the body.
    Status {
        /// The status.
        status: u16,
        /// The body's first 2000 characters.
        body: String,
    },
    /// 200 with a body that is not what it must be.
    Malformed(String),
}

impl std::fmt::Display for ProbeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoAnswer(why) => write!(f, "no answer: {why}"),
            Self::TimedOut => write!(f, "no answer in time"),
            Self::Status { status, body } => write!(f, "HTTP {status}: {body}"),
            Self::Malformed(why) => write!(f, "HTTP 200 with an unusable body: {why}"),
        }
    }
}

/// A completion that yielded at least one token.
#[derive(Clone, Debug, PartialEq)]
pub struct CompletionSeen {
    /// How long it took, s.
    pub elapsed_s: f64,
    /// Tokens that the server counted, where it says.
    pub completion_tokens: Option<u64>,
    /// The text.
    pub text: String,
}

#[derive(Deserialize)]
struct ModelList {
    data: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    id: String,
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Choice {
    text: Option<String>,
    message: Option<Message>,
}

#[derive(Deserialize)]
struct Message {
    content: Option<String>,
    reasoning_content: Option<String>,
    reasoning: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    completion_tokens: Option<u64>,
}

/// The client; cheap to clone.
#[derive(Clone)]
pub struct Probe {
    client: reqwest::Client,
    api_key: Option<String>,
    redactor: Redactor,
}

impl Probe {
    /// A client that sends `api_key` as a bearer token and uses no proxy. What a server answers is told without the key and without
    /// the secrets of `redactor`: error bodies repeat both.
    ///
    /// # Errors
    /// A sentence, when the client cannot be built.
    pub fn new(api_key: Option<String>, redactor: &Redactor) -> Result<Self, String> {
        // Building a client needs a TLS provider, though only plain HTTP is spoken; main may have installed it. It needs no CA
        // certificates: a machine without any would fail every trial.
        rustls::crypto::ring::default_provider().install_default().ok();
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .connect_timeout(CONNECT_TIMEOUT)
            .build()
            .map_err(|error| with_sources(&error))?;
        let redactor = redactor.with(api_key.clone());
        Ok(Self { client, api_key: api_key.filter(|key| !key.is_empty()), redactor })
    }

    /// Whether `GET /health` answers 200.
    ///
    /// # Errors
    /// Any other answer, or none.
    pub async fn health(&self, base_url: &str) -> Result<(), ProbeError> {
        self.read(self.client.get(format!("{base_url}/health")), SMALL_TIMEOUT).await.map(|_| ())
    }

    /// The ids that `GET /v1/models` lists.
    ///
    /// # Errors
    /// Any answer that is no list of models, or none.
    pub async fn models(&self, base_url: &str) -> Result<Vec<String>, ProbeError> {
        let body = self.read(self.client.get(format!("{base_url}/v1/models")), SMALL_TIMEOUT).await?;
        let list: ModelList = serde_json::from_str(&body).map_err(|error| self.malformed(&body, &error.to_string()))?;
        Ok(list.data.into_iter().map(|model| model.id).collect())
    }

    /// A real completion of a few tokens; a server without `/v1/completions` is asked for a chat completion.
    ///
    /// # Errors
    /// Any answer without a token, or none within `timeout`.
    pub async fn completion(
        &self,
        base_url: &str,
        model: &str,
        timeout: Duration,
    ) -> Result<CompletionSeen, ProbeError> {
        let plain = serde_json::json!({"model": model, "prompt": "The sky is", "max_tokens": 4, "temperature": 0, "stream": false});
        match self.complete(format!("{base_url}/v1/completions"), &plain, timeout).await {
            Err(ProbeError::Status { status: 404 | 405, body }) if !body.contains("does not exist") => {
                let messages = serde_json::json!([{"role": "user", "content": "Say hello."}]);
                let chat = serde_json::json!({"model": model, "messages": messages, "max_tokens": 4, "temperature": 0, "stream": false});
                self.complete(format!("{base_url}/v1/chat/completions"), &chat, timeout).await
            }
            answer => answer,
        }
    }

    async fn complete(
        &self,
        url: String,
        body: &serde_json::Value,
        timeout: Duration,
    ) -> Result<CompletionSeen, ProbeError> {
        let began = Instant::now();
        let text = self.read(self.client.post(url).json(body), timeout).await?;
        let completion: Completion =
            serde_json::from_str(&text).map_err(|error| self.malformed(&text, &error.to_string()))?;
        let said: String = completion
            .choices
            .into_iter()
            .filter_map(|choice| {
                choice.text.or_else(|| {
                    choice.message.map(|m| m.content.or(m.reasoning_content).or(m.reasoning).unwrap_or_default())
                })
            })
            .collect();
        let completion_tokens = completion.usage.and_then(|usage| usage.completion_tokens);
        // Text is the proof; a count alone is believed too, because the first tokens may be special ones with no text.
        if said.is_empty() && completion_tokens.is_none_or(|n| n == 0) {
            return Err(self.malformed(&text, "the completion holds no token"));
        }
        Ok(CompletionSeen { elapsed_s: began.elapsed().as_secs_f64(), completion_tokens, text: said })
    }

    /// Sends and reads the whole body; only 200 is good.
    async fn read(&self, request: reqwest::RequestBuilder, timeout: Duration) -> Result<String, ProbeError> {
        let request = match &self.api_key {
            Some(key) => request.bearer_auth(key),
            None => request,
        };
        let failed = |error: reqwest::Error| {
            if error.is_timeout() && !error.is_connect() {
                ProbeError::TimedOut
            } else {
                ProbeError::NoAnswer(with_sources(&error))
            }
        };
        let response = request.timeout(timeout).send().await.map_err(failed)?;
        let status = response.status().as_u16();
        let body = response.text().await.map_err(failed)?;
        if status == 200 { Ok(body) } else { Err(ProbeError::Status { status, body: self.start_of(&body) }) }
    }

    fn malformed(&self, body: &str, why: &str) -> ProbeError {
        ProbeError::Malformed(self.redactor.apply(&format!("{why}: {}", self.start_of(body))).into_owned())
    }

    /// Redacted before it is cut: half a secret would not be found.
    fn start_of(&self, body: &str) -> String {
        self.redactor.apply(body).chars().take(BODY_LIMIT).collect()
    }
}
