//! The conversation scenario: turns with growing history, the same conversation several times, each new to the prefix cache.
//!
//! The history holds written replies, not the engine's own: so every config gets the same turns, however it answers, and a failed
//! turn does not end the conversation.

use serde_json::{Value, json};

use crate::domain::{ConversationSpec, Language, RequestRecord, Role, ValidityReason, Verdict};
use crate::stats;

use super::chat::ChatRequest;
use super::context::Activity;
use super::figures::{Samples, Single};
use super::prompt::{Counted, Draft, Prompt};
use super::run::Run;
use super::sender::{Purpose, Stop};
use super::validity;
use super::visits::{self, Along, Figure, Visit};

const TURNS_EN: &str = include_str!("data/turns_en.txt");
const TURNS_FR: &str = include_str!("data/turns_fr.txt");
const REPLIES_EN: &str = include_str!("data/replies_en.txt");
const REPLIES_FR: &str = include_str!("data/replies_fr.txt");

/// What the conversation says besides seeded words.
pub(super) const TEXTS: [&str; 5] = [TURNS_EN, TURNS_FR, REPLIES_EN, REPLIES_FR, SYSTEM];

const SYSTEM: &str = "You are a patient adviser. Answer in the language of the question.";

/// What each turn, band and the whole are described by.
const DESCRIBED: [(&str, Figure); 3] = [
    ("ttft_ms", RequestRecord::ttft_ms),
    ("decode_tokens_per_s", RequestRecord::decode_tokens_per_s),
    ("e2e_ms", |record| Some(record.e2e_ms())),
];

/// Bands that the turns are cut into.
const BANDS: u32 = 3;

/// A turn that is ready to be sent.
struct Turn {
    request: ChatRequest,
    counted_tokens: Option<u32>,
}

pub(super) async fn run(run: &mut Run<'_>, spec: &ConversationSpec) -> Result<(), Stop> {
    let turns = turns_that_fit(run, spec).await?;
    if turns == 0 {
        return Ok(());
    }
    run.expect_requests(1 + (turns * spec.iterations) as usize);
    run.begin_point(Activity::WarmingUp);
    let warm_up = run.prompt("conversation/warmup", 2 * spec.user_tokens.max(spec.output_tokens)).await?;
    if warm_up.counted == Counted::Estimated {
        validity::of_estimates(&mut run.validity);
    }
    run.warm_up(&warm_up, spec.output_tokens, None).await?;

    let (mut visits, mut counts) = (Vec::new(), Vec::new());
    let outcome = talk(run, spec, turns, &mut visits, &mut counts).await;
    summarise(run, turns, &visits); // also what came before the server died
    validity::of_prompts(&mut run.validity, &counts);
    let first_turns = visits.iter().filter(|v| v.thing == 1).map(|v| &v.record);
    validity::of_fresh_prompts(&mut run.validity, "first turns", first_turns);
    validity::of_failures(&mut run.validity, &run.replies);
    validity::of_tokens(&mut run.validity, &run.replies, spec.output_tokens);
    outcome
}

/// All conversations. `counts`: prompt tokens as usage says them and as they were counted before.
async fn talk(
    run: &mut Run<'_>,
    spec: &ConversationSpec,
    turns: u32,
    visits: &mut Vec<Visit>,
    counts: &mut Vec<(u32, u32)>,
) -> Result<(), Stop> {
    for iteration in 1..=spec.iterations {
        run.begin_point(Activity::Preparing);
        let prepared = prepare(run, spec, turns, iteration).await?;
        run.begin_point(Activity::Measuring);
        let mut intended_ms = None;
        for (turn, Turn { request, counted_tokens }) in (1..).zip(prepared) {
            let purpose = Purpose {
                point: Some(format!("t{turn}")),
                role: Role::Turn,
                user_number: Some(iteration - 1),
                measured: true,
                intended_ms,
            };
            let (record, goes_on) = run.send_and_tell(&request, &purpose).await;
            intended_ms = Some(record.end_ms);
            counts.extend(record.prompt_tokens.zip(counted_tokens));
            visits.push(Visit { thing: turn, round: iteration, record });
            goes_on?;
        }
    }
    Ok(())
}

/// Tokens of the prompt at a turn, from 1: user turns so far and the replies between them.
const fn prompt_tokens(spec: &ConversationSpec, turn: u32) -> u32 {
    turn.saturating_mul(spec.user_tokens).saturating_add((turn - 1).saturating_mul(spec.output_tokens))
}

/// How many turns the engine's context can hold: those that it cannot are named in the validity.
async fn turns_that_fit(run: &mut Run<'_>, spec: &ConversationSpec) -> Result<u32, Stop> {
    let Some(limit) = run.max_model_len().await? else { return Ok(spec.turns) };
    let fits = |turn: &u32| prompt_tokens(spec, *turn).saturating_add(spec.output_tokens) <= limit;
    let turns = (1..=spec.turns).take_while(fits).count() as u32;
    if turns < spec.turns {
        let verdict = if turns == 0 { Verdict::Invalid } else { Verdict::Suspect };
        let sentence = format!(
            "turns from {} on were left out: with the answer they take over {} tokens, the engine has {limit}",
            turns + 1,
            prompt_tokens(spec, turns + 1) + spec.output_tokens - 1
        );
        run.validity.add(verdict, ValidityReason::SizeLeftOut, sentence);
    }
    Ok(turns)
}

/// All turns of one conversation, ready before the first is sent.
async fn prepare(run: &Run<'_>, spec: &ConversationSpec, turns: u32, iteration: u32) -> Result<Vec<Turn>, Stop> {
    let nonce = run.prompts.nonce(&format!("conversation/i{iteration}"));
    let mut history = vec![json!({"role": "system", "content": format!("{nonce} {SYSTEM}")})];
    let mut prepared = Vec::new();
    let mut before = 0;
    for turn in 1..=turns {
        let prompt = user_turn(run, spec, turn, before, &history).await?;
        before = prompt.tokens;
        prepared.push(Turn {
            request: run.timed_request(&prompt, spec.output_tokens)?,
            counted_tokens: (prompt.counted == Counted::Server).then_some(prompt.tokens),
        });
        let words = (f64::from(spec.output_tokens) / run.prompts.tokens_per_word()).round() as usize;
        if let Value::Array(messages) = prompt.messages {
            history = messages;
        }
        history.push(json!({"role": "assistant", "content": reply(language_of(spec, turn), turn, words)}));
    }
    Ok(prepared)
}

/// The prompt of a turn: the history, then notes of seeded words and the turn's question.
async fn user_turn(
    run: &Run<'_>,
    spec: &ConversationSpec,
    turn: u32,
    before: u32,
    history: &[Value],
) -> Result<Prompt, Stop> {
    let language = language_of(spec, turn);
    let question = line(
        match language {
            Language::En => TURNS_EN,
            Language::Fr => TURNS_FR,
        },
        turn,
    );
    let mut draft = Draft::new(run.ctx.seed, &format!("conversation/t{turn}"));
    draft.languages = vec![language];
    draft.tail = format!("\n\n{question}");
    let around = |text: String| {
        let mut messages = history.to_vec();
        messages.push(json!({"role": "user", "content": text.trim_start()}));
        Value::Array(messages)
    };
    // the history, the reply in it that is not counted yet, and the question
    let question_tokens = (question.split_whitespace().count() as f64 * run.prompts.tokens_per_word()) as u32;
    let base = before + if turn > 1 { spec.output_tokens } else { 0 } + question_tokens;
    let wanted = prompt_tokens(spec, turn);
    Ok(run.or_cancelled(run.prompts.fit(draft, wanted, base, around)).await??)
}

fn language_of(spec: &ConversationSpec, turn: u32) -> Language {
    let at = (turn as usize - 1) % spec.languages.len().max(1);
    spec.languages.get(at).copied().unwrap_or(Language::En)
}

/// The line of a turn, from 1; after the last comes the first again.
fn line(text: &'static str, turn: u32) -> &'static str {
    let lines = text.lines().count().max(1);
    text.lines().nth((turn as usize - 1) % lines).unwrap_or_default()
}

/// A written reply of so many words.
fn reply(language: Language, turn: u32, words: usize) -> String {
    let text = match language {
        Language::En => REPLIES_EN,
        Language::Fr => REPLIES_FR,
    };
    let from_the_turn_on = (0..).flat_map(|i| line(text, turn + i).split_whitespace());
    from_the_turn_on.take(words.max(1)).collect::<Vec<_>>().join(" ")
}

/// First and last turn of each band: thirds, of 15 turns 1-5, 6-10 and 11-15; none below three turns.
fn bands(turns: u32) -> Vec<(u32, u32)> {
    if turns < BANDS {
        return Vec::new();
    }
    (0..BANDS).map(|band| (band * turns / BANDS + 1, (band + 1) * turns / BANDS)).collect()
}

fn summarise(run: &mut Run<'_>, turns: u32, visits: &[Visit]) {
    let mut points: Vec<(String, u32, u32)> = (1..=turns).map(|turn| (format!("t{turn}"), turn, turn)).collect();
    points.extend(bands(turns).into_iter().map(|(first, last)| (format!("b{first}_{last}"), first, last)));
    for (point, first, last) in points {
        for (name, figure) in DESCRIBED {
            let of_the_point = visits.iter().filter(|v| (first..=last).contains(&v.thing));
            let (samples, failed_n) = visits::samples(of_the_point, figure);
            run.figures.describe(&point, name, &samples, failed_n);
        }
    }
    for (name, figure) in DESCRIBED {
        let (samples, failed_n) = visits::samples(visits.iter(), figure);
        run.figures.overall(Samples::Independent, name, &samples, failed_n);
    }
    let complete: Vec<&RequestRecord> = visits.iter().map(|v| &v.record).filter(|r| r.end.is_complete()).collect();
    let (n, failed_n) = (complete.len(), visits.len() - complete.len());
    let mut single = |name: &str, value: Option<f64>, n: usize, interval| {
        if let Some(value) = value {
            run.figures.single(None, name, Single { value, n, failed_n, interval });
        }
    };
    let decoded: Vec<(f64, f64)> = complete.iter().filter_map(|r| decoding(r)).collect();
    single("aggregate_decode_tokens_per_s", stats::ratio_of_sums(&decoded), decoded.len(), None);
    let cached: Vec<(f64, f64)> =
        complete.iter().filter_map(|r| Some((f64::from(r.cached_tokens?), f64::from(r.prompt_tokens?)))).collect();
    single("cached_tokens_ratio", stats::ratio_of_sums(&cached), cached.len(), None);
    if !visits.is_empty() {
        single("success_ratio", Some(n as f64 / visits.len() as f64), visits.len(), None);
    }
    let slope = visits::slope(visits, Along::Things, RequestRecord::ttft_ms);
    single("ttft_slope_ms_per_turn", slope.map(|s| s.value), n, slope.map(|s| s.interval));
    visits::write_drifts(&mut run.figures, visits, Along::Things);
    visits::say_too_few_for_drift(&mut run.validity, visits);
    visits::write_changes(&mut run.figures, visits, "i");
}

/// Tokens after the first, and the seconds that they took.
fn decoding(record: &RequestRecord) -> Option<(f64, f64)> {
    let tokens = record.completion_tokens.filter(|n| *n >= 2)?;
    Some((f64::from(tokens - 1), (record.last_token_ms? - record.first_token_ms?) / 1_000.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_of_fifteen_turns_are_those_of_five() {
        assert_eq!(bands(15), [(1, 5), (6, 10), (11, 15)]);
        assert_eq!(bands(10), [(1, 3), (4, 6), (7, 10)]);
        assert_eq!(bands(3), [(1, 1), (2, 2), (3, 3)]);
        assert!(bands(2).is_empty());
    }

    #[test]
    fn every_turn_has_a_question_in_each_language_and_a_reply_of_the_asked_length() {
        assert_eq!(TURNS_EN.lines().count(), 15);
        assert_eq!(TURNS_FR.lines().count(), 15);
        assert!(line(TURNS_EN, 16) == line(TURNS_EN, 1) && line(TURNS_FR, 15).starts_with("Résume"));
        for words in [1, 40, 900] {
            assert_eq!(reply(Language::Fr, 15, words).split_whitespace().count(), words);
        }
        assert_ne!(reply(Language::En, 1, 20), reply(Language::En, 2, 20));
    }

    #[test]
    fn languages_take_turns() {
        let spec = ConversationSpec::default();
        assert_eq!([1, 2, 3].map(|turn| language_of(&spec, turn)), [Language::En, Language::Fr, Language::En]);
    }

    #[test]
    fn a_prompt_grows_by_a_reply_and_a_user_turn() {
        let spec = ConversationSpec { user_tokens: 100, output_tokens: 30, ..ConversationSpec::default() };
        assert_eq!([1, 2, 3].map(|turn| prompt_tokens(&spec, turn)), [100, 230, 360]);
    }
}
