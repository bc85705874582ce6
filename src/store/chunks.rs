//! What the chunks of one request were, as compact blobs: about two bytes per chunk instead of twenty of JSON.
//!
//! Stamps, one entry per token-bearing chunk in order: the unsigned LEB128 number `zigzag(d) * 4 + kind`, where `d` is the distance
//! in microseconds to the chunk before (to the scenario's start for the first), `zigzag(d)` is `2d` for d >= 0 and `-2d - 1`
//! below, and `kind` is 0 content, 1 reasoning, 2 tool call. Offsets are rounded to the microsecond.
//!
//! Tokens: pairs of unsigned LEB128 numbers, how many chunks follow and how many tokens each of them carried. A stream of single tokens takes
//! two or three bytes.

use crate::domain::TokenKind;

/// More chunks than any answer has: a damaged blob must not fill the memory.
const MOST_CHUNKS: u64 = 1 << 24;

const fn code(kind: TokenKind) -> u64 {
    match kind {
        TokenKind::Content => 0,
        TokenKind::Reasoning => 1,
        TokenKind::ToolCall => 2,
    }
}

/// Writes an unsigned LEB128 number.
fn put(blob: &mut Vec<u8>, mut rest: u64) {
    while rest > 0x7f {
        blob.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    blob.push(rest as u8);
}

/// The unsigned LEB128 numbers in a blob.
fn numbers(blob: &[u8]) -> Result<Vec<u64>, String> {
    let mut numbers = Vec::new();
    let (mut value, mut shift) = (0_u64, 0_u32);
    for byte in blob {
        if shift > 63 {
            return Err("a number is longer than 64 bits".to_owned());
        }
        value |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            numbers.push(value);
            (value, shift) = (0, 0);
        }
    }
    if shift == 0 { Ok(numbers) } else { Err("the last number is cut off".to_owned()) }
}

/// The blob of these `(offset ms, kind)` pairs.
pub(super) fn encode(chunks: &[(f64, TokenKind)]) -> Vec<u8> {
    let mut blob = Vec::with_capacity(chunks.len() * 3);
    let mut before = 0_i64;
    for (offset_ms, kind) in chunks {
        // 2^60 us are 36,000 years: the clamp keeps any float, NaN included, within the arithmetic below.
        let at = (offset_ms * 1_000.0).round().clamp(-1e17, 1e17) as i64;
        let delta = at - before;
        before = at;
        let zigzag = ((delta << 1) ^ (delta >> 63)) as u64;
        put(&mut blob, (zigzag << 2) | code(*kind));
    }
    blob
}

/// The pairs in a blob, or what is wrong with it.
pub(super) fn decode(blob: &[u8]) -> Result<Vec<(f64, TokenKind)>, String> {
    let mut at = 0_i64;
    let pair = |value: u64| {
        let kind = TokenKind::ALL.iter().copied().find(|k| code(*k) == value & 3);
        let kind = kind.ok_or_else(|| format!("unknown chunk kind {}", value & 3))?;
        let zigzag = value >> 2;
        let delta = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
        at = at.checked_add(delta).ok_or("a chunk stamp is out of range")?;
        Ok((at as f64 / 1_000.0, kind))
    };
    numbers(blob)?.into_iter().map(pair).collect()
}

/// The blob of the tokens of each chunk.
pub(super) fn encode_tokens(tokens: &[u32]) -> Vec<u8> {
    let mut blob = Vec::new();
    for run in tokens.chunk_by(|a, b| a == b) {
        put(&mut blob, run.len() as u64);
        put(&mut blob, u64::from(run[0]));
    }
    blob
}

/// The tokens of each chunk in a blob, or what is wrong with it.
pub(super) fn decode_tokens(blob: &[u8]) -> Result<Vec<u32>, String> {
    let numbers = numbers(blob)?;
    if numbers.chunks_exact(2).fold(0, |sum: u64, run| sum.saturating_add(run[0])) > MOST_CHUNKS {
        return Err("it speaks of more chunks than an answer has".to_owned());
    }
    let mut tokens = Vec::new();
    for run in numbers.chunks(2) {
        let [chunks, of] = run else { return Err("a run has no number of tokens".to_owned()) };
        let of = u32::try_from(*of).map_err(|_| "a chunk has more than 2^32 tokens")?;
        tokens.extend(std::iter::repeat_n(of, *chunks as usize));
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_format_is_the_documented_one() {
        // 1.5 ms content: zigzag 3000, times 4 = 12000 = 0xE0 0x5D; then 0.5 ms earlier, reasoning: zigzag 999, times 4 + 1 = 3997.
        let chunks = [(1.5, TokenKind::Content), (1.0, TokenKind::Reasoning)];
        assert_eq!(encode(&chunks), [0xE0, 0x5D, 0x9D, 0x1F]);
        assert_eq!(decode(&[0xE0, 0x5D, 0x9D, 0x1F]).unwrap(), chunks);
    }

    #[test]
    fn a_damaged_blob_is_an_error_and_not_a_wrong_number() {
        assert!(decode(&[0x80]).is_err());
        assert!(decode(&[0x03]).is_err());
        assert!(decode(&[0xff; 12]).is_err());
    }

    #[test]
    fn tokens_are_runs_and_damage_is_an_error() {
        let tokens = [[1; 300].as_slice(), &[4, 4, 0]].concat();
        let blob = encode_tokens(&tokens);
        assert_eq!(blob, [0xAC, 0x02, 1, 2, 4, 1, 0]);
        assert_eq!(decode_tokens(&blob).unwrap(), tokens);
        assert!(decode_tokens(&[]).unwrap().is_empty());
        assert!(decode_tokens(&[3]).is_err());
        assert!(decode_tokens(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 1]).is_err());
    }

    proptest! {
        #[test]
        fn tokens_come_back(tokens in proptest::collection::vec(any::<u32>(), 0..50)) {
            prop_assert_eq!(decode_tokens(&encode_tokens(&tokens)).unwrap(), tokens);
        }

        #[test]
        fn stamps_come_back_to_the_microsecond(
            stamps in proptest::collection::vec((0.0_f64..1e8, proptest::sample::select(TokenKind::ALL)), 0..200)
        ) {
            let back = decode(&encode(&stamps)).unwrap();
            prop_assert_eq!(back.len(), stamps.len());
            for ((a, kind), (b, same)) in stamps.iter().zip(&back) {
                prop_assert!((a - b).abs() <= 0.000_501);
                prop_assert_eq!(kind, same);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(blob in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(&blob);
            let _ = decode_tokens(&blob);
        }
    }
}
