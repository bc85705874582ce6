//! Prompts of exact length: seeded words in English and French behind a nonce, counted by the server's own tokenizer.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::domain::{Language, short_sha256};
use crate::stats::SplitMix64;

use super::client::{CallError, Client};

const WORDS_EN: &str = include_str!("data/words_en.txt");
const WORDS_FR: &str = include_str!("data/words_fr.txt");

/// Grows when the generator writes other texts for the same seed: part of a result's data hash.
const GENERATOR_VERSION: &str = "1";

/// What the prompt asks for; stands last so that a longer prompt is the same task with more text.
const TASK: &str = "\n\nWrite a long and detailed continuation of the text above.";

/// Short words that nearly every tokenizer counts as one token: they bring a prompt to its exact length.
const FILLERS: [&str; 8] = ["the", "a", "of", "to", "in", "is", "on", "we"];

/// Tokens per word before the tokenizer has been asked; what English and French average over common tokenizers.
const TOKENS_PER_WORD: f64 = 1.4;

/// Counts before the nearest length is taken.
const MAX_COUNTS: usize = 12;

/// Who counted a prompt's tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    /// The server's tokenizer, chat template included.
    Server,
    /// Nobody: the server has no `/tokenize`, and this is the estimate.
    Estimated,
}

/// A prompt.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Prompt {
    /// The `messages` array.
    pub(super) messages: Value,
    /// Its tokens with the chat template around it.
    pub(super) tokens: u32,
    /// Who counted.
    pub(super) counted: Counted,
}

/// Writes prompts for one run.
#[derive(Debug)]
pub(super) struct PromptWriter<'a> {
    client: &'a Client,
    seed: u64,
    run_nonce: &'a str,
    /// Tokens per word as last seen, as the bits of an f64: makes the next prompt's first guess good.
    ratio_bits: AtomicU64,
}

impl<'a> PromptWriter<'a> {
    pub(super) const fn new(client: &'a Client, seed: u64, run_nonce: &'a str) -> Self {
        Self { client, seed, run_nonce, ratio_bits: AtomicU64::new(TOKENS_PER_WORD.to_bits()) }
    }

    /// A prompt of `tokens` tokens. Equal `key`s give equal words for a seed in every run; the nonce before them differs per run
    /// and key.
    ///
    /// # Errors
    /// When the server cannot be reached. A server without `/tokenize` is no error: the length is then estimated.
    pub(super) async fn prompt(&self, key: &str, tokens: u32) -> Result<Prompt, CallError> {
        self.prompt_again(key, key, tokens).await
    }

    /// The text of every prompt with this `text_key`, behind the nonce of `nonce_key`: the same work, and new to the cache.
    ///
    /// # Errors
    /// As [`Self::prompt`].
    pub(super) async fn prompt_again(&self, text_key: &str, nonce_key: &str, tokens: u32) -> Result<Prompt, CallError> {
        let mut draft = Draft::new(self.seed, text_key);
        draft.lead = format!("{} ", self.nonce(nonce_key));
        self.fit(draft, tokens, 0, |text| messages(&text)).await
    }

    /// 16 hexadecimal digits, unique per run and key.
    pub(super) fn nonce(&self, key: &str) -> String {
        short_sha256(&[self.run_nonce.as_bytes(), b"\0", key.as_bytes()])
    }

    /// Tokens per word, as last seen.
    pub(super) fn tokens_per_word(&self) -> f64 {
        f64::from_bits(self.ratio_bits.load(Ordering::Relaxed))
    }

    /// Lets the draft grow and shrink until the conversation around it has `tokens` tokens. `base`: tokens that do not come from
    /// the draft's words, as far as known.
    ///
    /// # Errors
    /// As [`Self::prompt`].
    pub(super) async fn fit(
        &self,
        mut draft: Draft,
        tokens: u32,
        base: u32,
        around: impl Fn(String) -> Value,
    ) -> Result<Prompt, CallError> {
        let mut ratio = self.tokens_per_word();
        draft.words = (f64::from(tokens.saturating_sub(base)) / ratio).floor().max(0.0) as usize;
        let mut nearest: Option<Prompt> = None;
        for _ in 0..MAX_COUNTS {
            let messages = around(draft.text());
            let count = match self.client.tokenize(&messages).await {
                Ok(count) => count.tokens,
                Err(CallError::Answer { .. }) => return Ok(estimated(messages, tokens)),
                Err(error) => return Err(error),
            };
            if nearest.as_ref().is_none_or(|p| p.tokens.abs_diff(tokens) > count.abs_diff(tokens)) {
                nearest = Some(Prompt { messages, tokens: count, counted: Counted::Server });
            }
            if count == tokens {
                break;
            }
            if draft.words >= 64 {
                ratio = (f64::from(count.saturating_sub(base)) / draft.words as f64).clamp(0.2, 20.0);
                self.ratio_bits.store(ratio.to_bits(), Ordering::Relaxed);
            }
            if !draft.adjust(count, tokens, ratio) {
                break;
            }
        }
        Ok(nearest.unwrap_or_else(|| estimated(around(draft.text()), tokens)))
    }
}

fn messages(text: &str) -> Value {
    json!([{"role": "user", "content": text}])
}

fn estimated(messages: Value, tokens: u32) -> Prompt {
    Prompt { messages, tokens, counted: Counted::Estimated }
}

/// What identifies the texts of a seed: the word lists, the generator, the seed, the scenario's parameters and its own texts,
/// without the nonce.
pub(super) fn data_sha256(seed: u64, spec_json: &str, texts: &[&str]) -> String {
    let parts = [WORDS_EN, WORDS_FR, GENERATOR_VERSION, TASK, spec_json];
    let mut bytes: Vec<&[u8]> = parts.iter().map(|p| p.as_bytes()).collect();
    let seed = seed.to_le_bytes();
    bytes.push(&seed);
    bytes.extend(texts.iter().map(|text| text.as_bytes()));
    short_sha256(&bytes)
}

/// A text that can grow and shrink: seeded words between a lead and what is asked.
#[derive(Debug)]
pub(super) struct Draft {
    /// Stands first.
    pub(super) lead: String,
    /// Stands last.
    pub(super) tail: String,
    /// Languages of the words, mixed by paragraph.
    pub(super) languages: Vec<Language>,
    text_seed: u64,
    words: usize,
    fillers: usize,
}

impl Draft {
    /// No words yet, in both languages, with the standard task; equal seeds and keys give equal words.
    pub(super) fn new(seed: u64, text_key: &str) -> Self {
        let digest = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(text_key.as_bytes()).finalize();
        let text_seed = digest.iter().take(8).fold(0_u64, |seed, byte| (seed << 8) | u64::from(*byte));
        let languages = Language::ALL.to_vec();
        Self { lead: String::new(), tail: TASK.to_owned(), languages, text_seed, words: 0, fillers: 0 }
    }

    fn text(&self) -> String {
        let mut text = self.lead.clone();
        write_words(&mut text, self.text_seed, self.words, &self.languages);
        for filler in FILLERS.iter().cycle().take(self.fillers) {
            text.push(' ');
            text.push_str(filler);
        }
        text.push_str(&self.tail);
        text
    }

    /// Moves towards the wanted count; false when nothing is left to take away.
    fn adjust(&mut self, count: u32, wanted: u32, ratio: f64) -> bool {
        const FINE: u32 = 12;
        let before = (self.words, self.fillers);
        if count < wanted {
            let missing = wanted - count;
            if missing > FINE {
                self.words += ((f64::from(missing - FINE / 2) / ratio).floor() as usize).max(1);
            } else {
                self.fillers += missing as usize;
            }
        } else {
            let over = (count - wanted) as usize;
            if self.fillers >= over {
                self.fillers -= over;
            } else {
                // a little too much is taken, and fillers make up for it
                let tokens = (over - self.fillers) as f64 + f64::from(FINE / 3);
                self.words = self.words.saturating_sub(((tokens / ratio).ceil() as usize).max(1));
                self.fillers = 0;
            }
        }
        before != (self.words, self.fillers)
    }
}

/// Sentences of 6 to 14 words, paragraphs of 3 to 6 sentences, each in one of the languages.
fn write_words(text: &mut String, seed: u64, words: usize, languages: &[Language]) {
    let lists: Vec<Vec<&str>> = languages.iter().map(|language| words_of(*language)).collect();
    let mut random = SplitMix64::new(seed);
    let (mut left_in_sentence, mut left_in_paragraph) = (0, 0);
    let Some(mut language) = lists.first() else { return };
    for _ in 0..words {
        let word_number = random.next_u64() as usize;
        if left_in_sentence == 0 {
            if left_in_paragraph == 0 {
                text.push('\n');
                left_in_paragraph = 3 + random.below(4);
                language = &lists[random.below(lists.len())];
            }
            left_in_paragraph -= 1;
            left_in_sentence = 6 + random.below(9);
            push_capitalised(text, language[word_number % language.len()]);
        } else {
            text.push(' ');
            text.push_str(language[word_number % language.len()]);
        }
        left_in_sentence -= 1;
        if left_in_sentence == 0 {
            text.push_str(". ");
        }
    }
}

fn words_of(language: Language) -> Vec<&'static str> {
    let list = match language {
        Language::En => WORDS_EN,
        Language::Fr => WORDS_FR,
    };
    list.split_whitespace().collect()
}

fn push_capitalised(text: &mut String, word: &str) {
    let mut chars = word.chars();
    text.extend(chars.next().into_iter().flat_map(char::to_uppercase));
    text.push_str(chars.as_str());
}

#[cfg(test)]
mod tests {
    use super::super::testserver::{Script, TestServer};
    use super::*;

    fn text(seed: u64, key: &str, words: usize) -> String {
        let mut draft = Draft::new(seed, key);
        draft.words = words;
        draft.text()
    }

    /// Nonce and rest of the prompt of these keys.
    async fn sent(run_nonce: &str, text_key: &str, nonce_key: &str) -> (String, String) {
        let server = TestServer::start(Script::default()).await;
        let client = server.client().await;
        let writer = PromptWriter::new(&client, 7, run_nonce);
        let prompt = writer.prompt_again(text_key, nonce_key, 300).await.unwrap();
        let text = prompt.messages[0]["content"].as_str().unwrap().to_owned();
        let (nonce, rest) = text.split_once(' ').unwrap();
        (nonce.to_owned(), rest.to_owned())
    }

    #[tokio::test]
    async fn a_run_s_prompts_differ_from_another_run_s_at_the_first_word_and_nowhere_else() {
        let first = sent("run-a", "p/1", "p/1").await;
        assert_eq!(first.0.len(), 16);
        let other_run = sent("run-b", "p/1", "p/1").await;
        assert_ne!(first.0, other_run.0);
        assert_eq!(first.1, other_run.1);
        let again = sent("run-a", "p/1", "again").await;
        assert_ne!(first.0, again.0);
        assert_eq!(first.1, again.1);
        assert_ne!(first.1, sent("run-a", "p/2", "p/1").await.1);
        assert_ne!(text(7, "p/1", 50), text(8, "p/1", 50));
    }

    #[test]
    fn texts_hold_words_of_both_languages() {
        let long = text(1, "k", 2_000);
        assert!(long.contains(" rivière") && long.contains(" river"));
        assert!(long.lines().count() > 20);
    }

    #[test]
    fn the_data_hash_follows_the_seed_and_the_parameters() {
        assert_eq!(data_sha256(1, "{}", &[]), "617fc745c323df3f", "results that are stored carry it");
        assert_ne!(data_sha256(1, "{}", &[]), data_sha256(2, "{}", &[]));
        assert_ne!(data_sha256(1, "{}", &[]), data_sha256(1, "{ }", &[]));
        assert_ne!(data_sha256(1, "{}", &["a text"]), data_sha256(1, "{}", &["another"]));
    }

    #[tokio::test]
    async fn a_prompt_has_exactly_the_tokens_that_the_server_counts() {
        let server = TestServer::start(Script::default()).await;
        let client = server.client().await;
        let writer = PromptWriter::new(&client, 3, "nonce");
        for wanted in [64, 600, 1_024, 8_192] {
            let prompt = writer.prompt(&format!("k{wanted}"), wanted).await.unwrap();
            assert_eq!((prompt.tokens, prompt.counted), (wanted, Counted::Server));
            assert_eq!(client.tokenize(&prompt.messages).await.unwrap().tokens, wanted);
        }
        let tiny = writer.prompt("tiny", 1).await.unwrap();
        assert!(tiny.tokens > 1 && tiny.counted == Counted::Server, "the shortest that there is");
    }

    #[tokio::test]
    async fn without_a_tokenizer_the_length_is_an_estimate_and_says_so() {
        let server = TestServer::start(Script { tokenize: false, ..Script::default() }).await;
        let client = server.client().await;
        let prompt = PromptWriter::new(&client, 3, "nonce").prompt("k", 500).await.unwrap();
        assert_eq!((prompt.tokens, prompt.counted), (500, Counted::Estimated));
    }
}
