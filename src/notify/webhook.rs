//! One HTTP POST, with a deadline per try and further tries where the trouble may pass.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{RequestBuilder, Url};

use super::message::Message;
use crate::grid::WebhookFormat;

/// How often, and how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tries {
    /// One try, from the connection to the status.
    pub(super) timeout: Duration,
    /// Further tries.
    pub(super) retries: u32,
    /// Before the first further try; doubled each time.
    pub(super) first_pause: Duration,
}

/// Why a try failed.
struct Refusal {
    why: String,
    may_pass: bool,
}

/// Sends the message.
///
/// # Errors
/// Why it did not arrive, as the end of the sentence `it was not told to ...`, without the address.
pub(super) async fn post(url: &str, format: WebhookFormat, message: &Message, tries: Tries) -> Result<(), String> {
    let fail = |why: &str| format!("the {format} webhook: {why}");
    let url: Url = url.parse().map_err(|_| fail("its address is no URL"))?;
    let client = client(&url).map_err(|error| fail(&without_address(error)))?;
    let mut pause = tries.first_pause;
    let mut tried = 0;
    loop {
        tried += 1;
        let request = request(&client, &url, format, message).timeout(tries.timeout);
        let refusal = match request.send().await {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) => {
                let status = answer.status();
                let busy = status.is_server_error() || [408, 425, 429].contains(&status.as_u16());
                Refusal { why: format!("HTTP status {}", status.as_u16()), may_pass: busy }
            }
            Err(error) => Refusal { why: without_address(error), may_pass: true },
        };
        if !refusal.may_pass || tried > tries.retries {
            let times = if tried == 1 { "once".to_owned() } else { format!("{tried} times") };
            return Err(fail(&format!("{} (tried {times})", refusal.why)));
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}

fn client(url: &Url) -> reqwest::Result<reqwest::Client> {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Somebody else may have been faster; then theirs is used.
        rustls::crypto::ring::default_provider().install_default().ok();
    }
    // A redirect could carry the message to somebody who was never named.
    let mut builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    if url.scheme() == "http" {
        builder = builder.tls_certs_only([]); // a machine without CA certificates can still speak plain HTTP
    }
    builder.build()
}

fn request(client: &reqwest::Client, url: &Url, format: WebhookFormat, message: &Message) -> RequestBuilder {
    let post = client.post(url.clone());
    match format {
        WebhookFormat::Json => post.json(message),
        WebhookFormat::Slack => {
            post.json(&serde_json::json!({ "text": format!("*{}*\n{}", message.title, message.text) }))
        }
        WebhookFormat::Ntfy => post
            .header(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))
            .header("Title", in_a_header(&message.title))
            .header("Priority", message.priority().0)
            .header("Tags", message.priority().1)
            .body(message.text.clone()),
    }
}

/// A header holds printable ASCII only; the text in the body is whole.
fn in_a_header(text: &str) -> String {
    text.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).collect()
}

/// The error with its sources, without the address, which is a secret.
fn without_address(error: reqwest::Error) -> String {
    let timed_out = error.is_timeout();
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(deeper) = source {
        text.push_str(&format!(": {deeper}"));
        source = deeper.source();
    }
    if timed_out { format!("no answer in time ({text})") } else { text }
}
