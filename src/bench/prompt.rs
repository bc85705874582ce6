//! Prompts of exact length: seeded words in English and French behind a nonce, counted by the server's own tokenizer.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::stats::SplitMix64;

use super::chat::short_sha256;
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
        let mut draft = Draft::new(self.seed, self.run_nonce, key);
        let mut ratio = f64::from_bits(self.ratio_bits.load(Ordering::Relaxed));
        draft.words = (f64::from(tokens) / ratio).floor().max(0.0) as usize;
        let mut nearest: Option<Prompt> = None;
        for _ in 0..MAX_COUNTS {
            let messages = messages(&draft.text());
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
                ratio = (f64::from(count) / draft.words as f64).clamp(0.2, 20.0);
                self.ratio_bits.store(ratio.to_bits(), Ordering::Relaxed);
            }
            if !draft.adjust(count, tokens, ratio) {
                break;
            }
        }
        Ok(nearest.unwrap_or_else(|| estimated(messages(&draft.text()), tokens)))
    }
}

fn messages(text: &str) -> Value {
    json!([{"role": "user", "content": text}])
}

fn estimated(messages: Value, tokens: u32) -> Prompt {
    Prompt { messages, tokens, counted: Counted::Estimated }
}

/// What identifies the texts of a seed: the word lists, the generator, the seed and the scenario's parameters, without the nonce.
pub(super) fn data_sha256(seed: u64, spec_json: &str) -> String {
    let parts = [WORDS_EN, WORDS_FR, GENERATOR_VERSION, TASK, spec_json];
    let mut bytes: Vec<&[u8]> = parts.iter().map(|p| p.as_bytes()).collect();
    let seed = seed.to_le_bytes();
    bytes.push(&seed);
    short_sha256(&bytes)
}

/// A text that can grow and shrink.
#[derive(Debug)]
struct Draft {
    nonce: String,
    text_seed: u64,
    words: usize,
    fillers: usize,
}

impl Draft {
    fn new(seed: u64, run_nonce: &str, key: &str) -> Self {
        let nonce = short_sha256(&[run_nonce.as_bytes(), b"\0", key.as_bytes()]);
        let digest = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(key.as_bytes()).finalize();
        let text_seed = digest.iter().take(8).fold(0_u64, |seed, byte| (seed << 8) | u64::from(*byte));
        Self { nonce, text_seed, words: 0, fillers: 0 }
    }

    fn text(&self) -> String {
        let mut text = format!("{} ", self.nonce);
        write_words(&mut text, self.text_seed, self.words);
        for filler in FILLERS.iter().cycle().take(self.fillers) {
            text.push(' ');
            text.push_str(filler);
        }
        text.push_str(TASK);
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

/// Sentences of 6 to 14 words, paragraphs of 3 to 6 sentences, each in one of the two languages.
fn write_words(text: &mut String, seed: u64, words: usize) {
    let english: Vec<&str> = WORDS_EN.split_whitespace().collect();
    let french: Vec<&str> = WORDS_FR.split_whitespace().collect();
    let mut random = SplitMix64::new(seed);
    let (mut left_in_sentence, mut left_in_paragraph) = (0, 0);
    let mut language = &english;
    for _ in 0..words {
        let word_number = random.next_u64() as usize;
        if left_in_sentence == 0 {
            if left_in_paragraph == 0 {
                text.push('\n');
                left_in_paragraph = 3 + random.below(4);
                language = if random.below(2) == 0 { &english } else { &french };
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

fn push_capitalised(text: &mut String, word: &str) {
    let mut chars = word.chars();
    text.extend(chars.next().into_iter().flat_map(char::to_uppercase));
    text.push_str(chars.as_str());
}

#[cfg(test)]
mod tests {
    use super::super::testserver::{Script, TestServer};
    use super::*;

    fn text(seed: u64, nonce: &str, key: &str, words: usize) -> String {
        let mut draft = Draft::new(seed, nonce, key);
        draft.words = words;
        draft.text()
    }

    #[test]
    fn a_run_s_prompts_differ_from_another_run_s_at_the_first_word_and_nowhere_else() {
        let (a, b) = (text(7, "run-a", "p/1", 200), text(7, "run-b", "p/1", 200));
        let (a_nonce, a_rest) = a.split_once(' ').unwrap();
        let (b_nonce, b_rest) = b.split_once(' ').unwrap();
        assert_ne!(a_nonce, b_nonce);
        assert_eq!(a_rest, b_rest);
        assert_ne!(text(7, "run-a", "p/1", 50), text(7, "run-a", "p/2", 50));
        assert_ne!(
            text(7, "run-a", "p/1", 50).split_once(' ').unwrap().1,
            text(8, "run-a", "p/1", 50).split_once(' ').unwrap().1
        );
    }

    #[test]
    fn texts_hold_words_of_both_languages() {
        let long = text(1, "n", "k", 2_000);
        assert!(long.contains(" rivière") && long.contains(" river"));
        assert!(long.lines().count() > 20);
    }

    #[test]
    fn the_data_hash_follows_the_seed_and_the_parameters() {
        assert_eq!(data_sha256(1, "{}"), data_sha256(1, "{}"));
        assert_ne!(data_sha256(1, "{}"), data_sha256(2, "{}"));
        assert_ne!(data_sha256(1, "{}"), data_sha256(1, "{ }"));
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
