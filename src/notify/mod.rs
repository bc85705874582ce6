//! Telling somebody who is asleep: webhooks and hook commands.

mod hook;
mod message;
mod webhook;

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::grid::{Channel, Notification};

pub(crate) use message::{Best, Message};

/// Before the first further try of a webhook; doubled before each next one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Sends the message to every receiver that wants to be told of it, one after the other; each has its own deadline. What went wrong,
/// one sentence each, without any address.
pub(crate) async fn send(receivers: &[Notification], message: &Message) -> Vec<String> {
    let mut problems = Vec::new();
    for receiver in receivers.iter().filter(|receiver| receiver.on.contains(&message.happening)) {
        let sent = match &receiver.channel {
            Channel::Webhook { url, format, retries } => {
                let tries = webhook::Tries { timeout: receiver.timeout, retries: *retries, first_pause: FIRST_PAUSE };
                webhook::post(&url.value, *format, message, tries).await
            }
            Channel::Hook { words, pass_env } => {
                let words: Vec<&str> = words.iter().map(|word| word.value.as_str()).collect();
                hook::run(&words, pass_env, message, receiver.timeout).await
            }
        };
        problems.extend(sent.err().map(|why| format!("`{}` was not told to {why}", message.happening)));
    }
    problems
}
