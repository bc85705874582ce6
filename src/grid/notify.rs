//! Whom a sweep tells, and of what: webhooks and hook commands.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::keys::Section;
use super::limits;
use super::reader::{Reader, Spanned, present};
use crate::domain::{Diagnostic, Key, Kind, Redactor, text_enum};
use crate::yaml::Node;

text_enum! {
    /// What somebody may want to be woken for.
    pub enum Happening {
        /// A run of the sweep ended, however.
        End = "end",
        /// The circuit breaker stopped the sweep.
        Breaker = "breaker",
        /// What served before could not be put back.
        RestoreFailed = "restore_failed",
    }
}

text_enum! {
    /// What a webhook understands.
    pub enum WebhookFormat {
        /// The whole message as one JSON object.
        Json = "json",
        /// ntfy: a text, with title, priority and tags in headers.
        Ntfy = "ntfy",
        /// Slack, and what is compatible with it: `{"text": ...}`.
        Slack = "slack",
    }
}

/// One receiver of messages.
#[derive(Clone, Debug)]
pub struct Notification {
    /// Where a message goes.
    pub channel: Channel,
    /// What it is sent on.
    pub on: Vec<Happening>,
    /// How long one try may take; default 10 s for a webhook, 60 s for a hook.
    pub timeout: Duration,
}

/// Where a message goes.
#[derive(Clone, Debug)]
pub enum Channel {
    /// An HTTP POST.
    Webhook {
        /// Where to; a secret.
        url: Spanned<String>,
        /// What it understands.
        format: WebhookFormat,
        /// Further tries after one that may pass by itself; default 2.
        retries: u32,
    },
    /// A command.
    Hook {
        /// Program and arguments, at least one.
        words: Vec<Spanned<String>>,
        /// Variables of vgrid's own environment that it gets beside the usual ones.
        pass_env: Vec<String>,
    },
}

impl Notification {
    /// The secrets in the words of a hook.
    pub(super) fn secrets_of_hook(&self) -> Vec<String> {
        match &self.channel {
            Channel::Webhook { .. } => Vec::new(),
            Channel::Hook { words, .. } => {
                Redactor::secrets_in_words(&words.iter().map(|word| word.value.clone()).collect::<Vec<_>>())
            }
        }
    }
}

/// The keys of an item of `notify`.
pub(super) const NOTIFY: Section = Section::new(
    "notify",
    "an item of `notify`",
    &[
        Key::new("url", Kind::Shape("text"), "-", "Where an HTTP POST goes. A secret: it is hidden in every output, and best kept in a variable."),
        Key::new("format", Kind::Word(WebhookFormat::WORDS), "`json`", "The whole message as a JSON object; the text, with `Title`, `Priority` (`urgent` when what served before is not back, `high` for the breaker and for a run that failed) and `Tags` in headers; `{\"text\": ...}`, for Slack and what is compatible with it."),
        Key::new("hook", Kind::Shape("list of words"), "-", "Program and arguments. It gets the JSON message on standard input and its fields in variables."),
        Key::new("pass_env", Kind::Shape("list of names"), "none", "Variables of vgrid's own environment that the hook gets beside the usual ones, below."),
        Key::new("on", Kind::List(&Kind::Word(Happening::WORDS)), "all", "`end`: a run of the sweep ended, however; `breaker`: it stopped because trials failed alike; `restore_failed`: what served before is not back."),
        Key::new("timeout", Kind::Duration, "`10s`, for a hook `60s`", "Of one try; a hook that takes longer is killed with its process group."),
        Key::new("retries", Kind::Whole, "2", "Further tries of a webhook that cannot be reached or answers with 408, 425, 429 or 5xx, after 1 s, 2 s, 4 s, ...").range(RETRIES),
    ],
);

/// How many further tries of a webhook may be asked for.
const RETRIES: RangeInclusive<u64> = 0..=10;

const HELP: &str = "e.g. notify: [{ url: \"${WEBHOOK_URL}\", format: slack }, { hook: [./tell.sh], on: [end] }]";

/// Reads `notify`.
pub(super) fn read(reader: &mut Reader, node: &Node) -> Vec<Notification> {
    let items = reader.items(node, "`notify`", HELP);
    items.iter().filter_map(|item| read_one(reader, item)).collect()
}

fn read_one(reader: &mut Reader, node: &Node) -> Option<Notification> {
    let what = NOTIFY.what;
    reader.check_keys(node, &NOTIFY);
    let channel = match (present(node, "url"), present(node, "hook")) {
        (Some(url), None) => read_webhook(reader, node, url),
        (None, Some(hook)) => read_hook(reader, node, hook),
        (Some(_), Some(hook)) => {
            let error = hook.span.error("two-channels", format!("both `url` and `hook` are given in {what}"));
            reader.error(error.help("make two items of them"));
            None
        }
        (None, None) => {
            if node.map().is_some() {
                reader.error(node.span.error("missing-key", format!("{what} needs `url` or `hook`")).help(HELP));
            }
            None
        }
    };
    let on = match present(node, "on") {
        Some(value) => happenings(reader, value),
        None => Happening::ALL.to_vec(),
    };
    let mut timeout = match channel {
        Some(Channel::Hook { .. }) => Duration::from_secs(60),
        Some(Channel::Webhook { .. }) | None => Duration::from_secs(10),
    };
    if let Some(value) = present(node, "timeout") {
        limits::duration(reader, value, "`notify.timeout`", &mut timeout);
    }
    Some(Notification { channel: channel?, on, timeout })
}

fn read_webhook(reader: &mut Reader, node: &Node, url: &Node) -> Option<Channel> {
    let format = match present(node, "format") {
        Some(value) => reader.word(value, "webhook format", WebhookFormat::ALL),
        None => Some(WebhookFormat::Json),
    };
    let retries = match present(node, "retries") {
        Some(value) => reader.whole(value, "`notify.retries`", RETRIES),
        None => Some(2),
    };
    if let Some(other) = present(node, "pass_env") {
        let error = other.span.error("key-without-effect", "`pass_env` does not go with `url`");
        reader.error(error.help("it is for hooks; take it away"));
    }
    let url = reader.text(url, "`url`");
    Some(Channel::Webhook { url: url?, format: format?, retries: retries? as u32 })
}

fn read_hook(reader: &mut Reader, node: &Node, hook: &Node) -> Option<Channel> {
    for key in ["format", "retries"] {
        if let Some(other) = present(node, key) {
            let error = other.span.error("key-without-effect", format!("`{key}` does not go with `hook`"));
            reader.error(error.help("it is for webhooks; take it away"));
        }
    }
    let help = "write program and arguments as a list: hook: [./tell.sh, night]";
    let words: Vec<Spanned<String>> =
        reader.items(hook, "`hook`", help).iter().filter_map(|word| reader.text(word, "a word of `hook`")).collect();
    if words.is_empty() {
        if hook.seq().is_some_and(<[Node]>::is_empty) {
            reader.error(hook.span.error("empty-value", "`hook` is empty").help(help));
        }
        return None;
    }
    let pass_env = match present(node, "pass_env") {
        Some(names) => {
            let help = "name variables of vgrid's environment, e.g. pass_env: [SLACK_TOKEN]";
            let names = reader.items(names, "`pass_env`", help).iter();
            names.filter_map(|name| reader.text(name, "a name in `pass_env`")).map(|name| name.value).collect()
        }
        None => Vec::new(),
    };
    Some(Channel::Hook { words, pass_env })
}

fn happenings(reader: &mut Reader, node: &Node) -> Vec<Happening> {
    let help = format!("e.g. on: [{}]", Happening::WORDS.join(", "));
    let items = reader.items(node, "`on`", &help);
    if node.seq().is_some_and(<[Node]>::is_empty) {
        reader.error(node.span.error("empty-value", "`on` names nothing, so nothing would ever be sent").help(help));
    }
    items.iter().filter_map(|item| reader.word(item, "happening", Happening::ALL)).collect()
}

/// What is wrong with a webhook's address once its variables are in. The address itself is not in the message.
pub(super) fn check_url(url: &Spanned<String>) -> Option<Diagnostic> {
    let rest = url.value.strip_prefix("https://").or_else(|| url.value.strip_prefix("http://"));
    let host = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    let good = host.is_some_and(|host| !host.is_empty()) && !url.value.contains(char::is_whitespace);
    if good {
        return None;
    }
    let mut found =
        url.span.error("bad-url", "a webhook's `url` must be an address that begins with http:// or https://");
    // The line may hold the secret.
    found.source_line = None;
    Some(found.help("e.g. url: \"${WEBHOOK_URL}\", with the address in the environment or an env file"))
}

/// What must be hidden of a webhook's address: the whole, and the long parts of its path and query, by which alone it can be used.
pub(super) fn secrets_of(url: &str) -> Vec<String> {
    const LONG: usize = 16;
    let after_host =
        url.split_once("://").and_then(|(_, rest)| rest.split_once(['/', '?'])).map_or("", |(_, path)| path);
    let parts = after_host.split(['/', '?', '&', '=', '#']).filter(|part| part.len() >= LONG);
    let login = url.split_once("://").and_then(|(_, rest)| rest.split(['/', '?']).next()?.rsplit_once('@'));
    let password = login.and_then(|(login, _)| login.split_once(':')).map(|(_, password)| password.to_owned());
    parts.map(str::to_owned).chain(password).chain([url.to_owned(), url.trim_end_matches('/').to_owned()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_an_address_that_open_it_are_secret() {
        let secrets = secrets_of("https://hooks.slack.com/services/T0/B0/abcdefghijklmnopqrstuvwx?k=0123456789abcdef0");
        assert!(secrets.contains(&"abcdefghijklmnopqrstuvwx".to_owned()));
        assert!(secrets.contains(&"0123456789abcdef0".to_owned()));
        assert!(!secrets.iter().any(|s| s == "services" || s.starts_with("hooks")), "{secrets:?}");
        assert!(secrets_of("https://me:pass@ntfy.example/topic").contains(&"pass".to_owned()));
    }
}
