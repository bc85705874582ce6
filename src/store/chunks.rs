//! The chunk stamps of one request as a compact blob: about two bytes per chunk instead of twenty of JSON.
//!
//! Format, one entry per token-bearing chunk in order: the unsigned LEB128 number `zigzag(d) * 4 + kind`, where `d` is the distance
//! in microseconds to the chunk before (to the scenario's start for the first), `zigzag(d)` is `2d` for d >= 0 and `-2d - 1`
//! below, and `kind` is 0 content, 1 reasoning, 2 tool call. Offsets are rounded to the microsecond.

use crate::domain::TokenKind;

const fn code(kind: TokenKind) -> u64 {
    match kind {
        TokenKind::Content => 0,
        TokenKind::Reasoning => 1,
        TokenKind::ToolCall => 2,
    }
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
        let mut rest = (zigzag << 2) | code(*kind);
        loop {
            let low = (rest & 0x7f) as u8;
            rest >>= 7;
            if rest == 0 {
                blob.push(low);
                break;
            }
            blob.push(low | 0x80);
        }
    }
    blob
}

/// The pairs in a blob, or what is wrong with it.
pub(super) fn decode(blob: &[u8]) -> Result<Vec<(f64, TokenKind)>, String> {
    let mut chunks = Vec::new();
    let (mut value, mut shift, mut at) = (0_u64, 0_u32, 0_i64);
    for byte in blob {
        if shift > 63 {
            return Err("a chunk stamp is longer than 64 bits".to_owned());
        }
        value |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 != 0 {
            continue;
        }
        let kind = TokenKind::ALL.iter().copied().find(|k| code(*k) == value & 3);
        let kind = kind.ok_or_else(|| format!("unknown chunk kind {}", value & 3))?;
        let zigzag = value >> 2;
        let delta = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
        at = at.checked_add(delta).ok_or("a chunk stamp is out of range")?;
        chunks.push((at as f64 / 1_000.0, kind));
        (value, shift) = (0, 0);
    }
    if shift == 0 { Ok(chunks) } else { Err("the chunk stamps are cut off".to_owned()) }
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

    proptest! {
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
        }
    }
}
