//! Which names of variables, flags and fields say that their value is a secret.

/// Words that make a name one of a secret wherever they stand in it.
const SECRET: &[&str] = &[
    "PASSWORD",
    "PASSWORDS",
    "PASSWD",
    "PASSPHRASE",
    "PASSCODE",
    "SECRET",
    "SECRETS",
    "APIKEY",
    "APIKEYS",
    "CREDENTIAL",
    "CREDENTIALS",
    "CREDS",
    "BEARER",
    "AUTHORIZATION",
    "AUTHTOKEN",
    "ACCESSTOKEN",
    "APITOKEN",
    "ACCESSKEY",
    "PRIVATEKEY",
];

/// What stands before `KEY` where it opens something.
const OPENS: &[&str] = &[
    "API",
    "ACCESS",
    "PRIVATE",
    "SECRET",
    "SIGNING",
    "ENCRYPTION",
    "MASTER",
    "LICENSE",
    "LICENCE",
    "ACCOUNT",
    "AUTH",
    "SSH",
    "DEPLOY",
    "SERVICE",
];

/// What stands before `TOKEN` where it is not a piece of text.
const GRANTS: &[&str] = &[
    "HF", "HUB", "FACE", "API", "AUTH", "ACCESS", "REFRESH", "SESSION", "GITHUB", "GH", "GITLAB", "SLACK", "BOT",
    "OAUTH", "SECURITY", "IDENTITY", "DEPLOY", "PERSONAL", "REGISTRY", "VAULT", "JWT", "NPM", "PYPI", "NTFY", "NGC",
    "SERVICE",
];

/// Words beside which a `TOKEN` is a piece of text, or a number of them.
const OF_TEXT: &[&str] = &[
    "EOS",
    "BOS",
    "PAD",
    "UNK",
    "MASK",
    "SEP",
    "CLS",
    "IMAGE",
    "VIDEO",
    "AUDIO",
    "START",
    "END",
    "STOP",
    "SPECIAL",
    "THINK",
    "THINKING",
    "REASONING",
    "NEXT",
    "FIRST",
    "LAST",
    "PER",
    "MAX",
    "MIN",
    "NUM",
    "ADDED",
    "DRAFT",
    "BONUS",
    "OUTPUT",
    "INPUT",
    "PROMPT",
    "TOOL",
    "MULTI",
    "SINGLE",
    "BY",
    "EACH",
    "THRESHOLD",
    "BUDGET",
    "ID",
    "IDS",
    "LIMIT",
    "COUNT",
    "RATE",
    "INDEX",
    "BLOCK",
    "LEVEL",
    "POOLING",
    "POOLER",
    "EMBED",
    "LOGPROB",
    "LOGPROBS",
    "CLASSIFY",
    "USAGE",
    "SPLIT",
    "WEIGHT",
    "PREFILL",
    "DECODE",
    "VOCAB",
];

/// What stands before `KEY` where it only finds something.
const FINDS: &[&str] = &[
    "KV",
    "CACHE",
    "SORT",
    "PRIMARY",
    "PARTITION",
    "ROUTING",
    "PUBLIC",
    "HASH",
    "LOOKUP",
    "FOREIGN",
    "ROW",
    "COLUMN",
    "DICT",
    "JSON",
    "CONFIG",
    "GROUP",
    "PREFIX",
    "BLOCK",
    "STORAGE",
    "REQUEST",
    "METADATA",
    "FIELD",
    "LABEL",
    "MAP",
    "QUERY",
    "INDEX",
    "SHARD",
    "WEIGHT",
    "STATE",
    "IMAGE",
    "VIDEO",
    "AUDIO",
    "MODALITY",
    "DATASET",
    "PROMPT",
    "RESPONSE",
    "CONTENT",
    "TOOL",
    "HOT",
    "STATS",
    "QUANT",
    "NAME",
    "VALUE",
];

/// Words of a name that switches something on or off.
const SWITCHES: &[&str] =
    &["ENABLE", "ENABLED", "DISABLE", "DISABLED", "SKIP", "ALLOW", "ALLOWED", "REQUIRE", "REQUIRED", "USE", "IMPLICIT"];

/// Last words of a name whose value is a place or a measure.
const PLACES: &[&str] = &[
    "FILE",
    "PATH",
    "DIR",
    "FOLDER",
    "URL",
    "URI",
    "ENDPOINT",
    "HOST",
    "PORT",
    "TYPE",
    "MODE",
    "TTL",
    "TIMEOUT",
    "LENGTH",
    "LEN",
    "SIZE",
    "LIMIT",
    "VERSION",
    "ALGORITHM",
];

/// Ends of words that only look like `PASS`.
const NO_PASS: &[&str] = &["BYPASS", "COMPASS", "TRESPASS", "ENCOMPASS", "OVERPASS", "UNDERPASS", "MULTIPASS"];

/// How surely a name says that its value is a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Secrecy {
    /// It does not.
    No,
    /// As the name of a variable, flag or field; in a running text the word may mean something else (`token`, `key`, `pass`).
    Named,
    /// Anywhere.
    Sure,
}

/// What a name says of its value: `HF_TOKEN`, `--api-key`, `db.password`, `clientSecret`.
pub(super) fn secrecy(name: &str) -> Secrecy {
    if !may_be_secret(name) {
        return Secrecy::No;
    }
    let words = words(name);
    let has = |list: &[&str]| words.iter().any(|word| list.contains(&word.as_str()));
    let Some(last) = words.last().map(String::as_str) else { return Secrecy::No };
    if has(SWITCHES) || PLACES.contains(&last) {
        return Secrecy::No;
    }
    let ends_so = |word: &String| SECRET.iter().any(|secret| word.ends_with(secret));
    let pair = |first: &[&str], second: &[&str]| {
        words.windows(2).any(|two| first.contains(&two[0].as_str()) && second.contains(&two[1].as_str()))
    };
    if words.iter().any(ends_so)
        || pair(OPENS, &["KEY", "KEYS"])
        || pair(GRANTS, &["TOKEN", "TOKENS"])
        || pair(&["CONNECTION", "CONN"], &["STRING", "STR"])
        || pair(&["AUTH"], &["HEADER", "STRING"])
    {
        return Secrecy::Sure;
    }
    let before = words.len().checked_sub(2).map_or("", |at| words[at].as_str());
    let named = match last {
        "KEY" => !FINDS.contains(&before),
        "PWD" => !before.is_empty(),
        "PASS" | "AUTH" | "PW" | "DSN" | "JWT" | "COOKIE" => true,
        other => other.ends_with("PASS") && !NO_PASS.contains(&other),
    };
    if named || (has(&["TOKEN"]) && !has(OF_TEXT)) { Secrecy::Named } else { Secrecy::No }
}

/// Whether a look at the single words is worth while: most names have none of these.
fn may_be_secret(name: &str) -> bool {
    const STEMS: [&[u8]; 11] =
        [b"PASS", b"TOKEN", b"KEY", b"SECRET", b"AUTH", b"CRED", b"BEARER", b"PW", b"DSN", b"JWT", b"COOKIE"];
    let bytes = name.as_bytes();
    let has = |stem: &[u8]| bytes.windows(stem.len()).any(|w| w.eq_ignore_ascii_case(stem));
    STEMS.into_iter().any(has) || has(b"CONN")
}

/// The words of a name in capitals, without numbers at their ends: `HF_TOKEN_2`, `hf-token` and `hfToken` are HF TOKEN.
fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = vec![String::new()];
    let mut was_small = false;
    for c in name.chars() {
        if !c.is_ascii_alphanumeric() || (was_small && c.is_ascii_uppercase()) {
            words.push(String::new());
        }
        was_small = c.is_ascii_lowercase();
        if let (true, Some(word)) = (c.is_ascii_alphanumeric(), words.last_mut()) {
            word.push(c.to_ascii_uppercase());
        }
    }
    for word in &mut words {
        word.truncate(word.trim_end_matches(|c: char| c.is_ascii_digit()).len());
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::KNOWN_FLAGS;

    #[test]
    fn names_of_secrets_are_recognised() {
        for name in [
            "VLLM_API_KEY",
            "HUGGING_FACE_HUB_TOKEN",
            "--api-key",
            "HF_TOKEN",
            "db_password",
            "DB_PASS",
            "PGPASS",
            "PGPASSWORD",
            "KEY_PASSPHRASE",
            "MYSQL_PWD",
            "REDIS_PW",
            "LMCACHE_AUTH",
            "HF_HUB_AUTH",
            "AUTHORIZATION",
            "PROXY_AUTHORIZATION",
            "SENTRY_DSN",
            "DSN",
            "WANDB_KEY",
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "GOOGLE_CREDENTIALS",
            "HF_TOKEN_2",
            "clientSecret",
            "apiKey",
            "accessToken",
            "password",
            "--some-token",
            "--licence-key",
            "kv.extra.password",
            "API_KEYS",
            "SSH_KEY",
            "SESSION_COOKIE",
            "AZURE_CONNECTION_STRING",
            "--ssl-keyfile-password",
            "TOKEN",
            "MY_TOKEN_PROD",
            "api_tokens",
        ] {
            assert_ne!(secrecy(name), Secrecy::No, "{name}");
        }
    }

    #[test]
    fn names_of_settings_are_no_names_of_secrets() {
        for name in [
            "MTP_TOKENS_QWEN38",
            "--max-num-batched-tokens",
            "--tokenizer",
            "VLLM_PORT",
            "--api-server-count",
            "PWD",
            "OLDPWD",
            "LMCACHE_KV_KEY",
            "KEY_CACHE_DTYPE",
            "VLLM_CACHE_KEY",
            "num_key_value_heads",
            "pass_config",
            "VLLM_FUSION_PASSES",
            "BYPASS",
            "POSTGRES_PASSWORD_FILE",
            "HF_TOKEN_PATH",
            "TOKENIZERS_PARALLELISM",
            "HF_HUB_DISABLE_IMPLICIT_TOKEN",
            "SSH_AUTH_SOCK",
            "AUTH_URL",
            "VLLM_DISABLE_AUTH",
            "eos_token",
            "image_token_id",
            "think_start_token",
            "tokens_per_s",
            "public_key",
            "VLLM_KEEPALIVE",
            "monkey",
            "keyframe",
            "author",
            "compass",
            "session_affinity",
            "token_budget",
        ] {
            assert_eq!(secrecy(name), Secrecy::No, "{name}");
        }
    }

    #[test]
    fn of_vllm_s_own_flags_the_api_key_alone_is_a_secret() {
        let secret: Vec<&str> =
            KNOWN_FLAGS.iter().map(|flag| flag.name).filter(|name| secrecy(name) != Secrecy::No).collect();
        assert_eq!(secret, ["api-key"]);
    }
}
