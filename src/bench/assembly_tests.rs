//! The reader and the assembly under every cut of the bytes: streams as servers send them, streams gone wrong, and noise.

use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::domain::RequestEnd;

use super::assembly::{Assembly, said_by_stream as read};
use super::chat::Keep;

/// The bytes in pieces that begin and end at these places.
fn cut<'a>(bytes: &'a [u8], at: &[Index]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = at.iter().map(|i| i.index(bytes.len() + 1)).collect();
    at.extend([0, bytes.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

/// A text that JSON must escape in part, with characters of one to four bytes.
fn text() -> impl Strategy<Value = String> {
    "[a-z \"\\\\\n\r\t\u{1}{}\\[\\]:,é€😀\u{2028}\u{feff}]{0,12}"
}

/// An event as a server sends it.
fn event() -> impl Strategy<Value = String> {
    let chunk = |delta: serde_json::Value, usage: serde_json::Value| {
        let choice = serde_json::json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": null});
        format!("data: {}", serde_json::json!({"id": "c", "choices": [choice], "usage": usage}))
    };
    prop_oneof![
        6 => (text(), proptest::option::of(0_u32..99)).prop_map(move |(text, n)| {
            let usage = n.map_or(serde_json::Value::Null, |n| serde_json::json!({"completion_tokens": n}));
            chunk(serde_json::json!({"content": text}), usage)
        }),
        2 => text().prop_map(move |text| chunk(serde_json::json!({"reasoning": text}), serde_json::Value::Null)),
        2 => (0_u32..3, text()).prop_map(move |(index, text)| {
            let call = serde_json::json!({"index": index, "id": "i", "function": {"name": "f", "arguments": text}});
            chunk(serde_json::json!({"tool_calls": [call]}), serde_json::Value::Null)
        }),
        1 => "[a-z]{1,8}".prop_map(|reason| format!("data: {{\"choices\":[{{\"delta\":{{}},\"finish_reason\":\"{reason}\"}}]}}")),
        1 => "[ a-zé]{0,9}".prop_map(|text| format!(":{text}")),
        1 => Just("data: {\"choices\":\ndata: []}".to_owned()),
        1 => Just("data: [DONE]".to_owned()),
        1 => Just("data: {\"error\":{\"message\":\"boom\"}}".to_owned()),
        1 => text().prop_map(|text| format!("data: {}", text.replace(['\n', '\r'], ""))),
        1 => "[a-z]{1,5}".prop_map(|name| format!("event: {name}")),
    ]
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let end = prop_oneof![4 => Just("\n\n"), 1 => Just("\r\n\r\n"), 1 => Just("\r\r"), 1 => Just("\n")];
    vec((event(), end), 0..12).prop_map(|events| {
        events.into_iter().flat_map(|(event, end)| [event, end.to_owned()]).collect::<String>().into_bytes()
    })
}

proptest! {
    #[test]
    fn an_answer_is_the_same_under_every_cut(bytes in stream(), cuts in vec(any::<Index>(), 0..30)) {
        let whole = read([&bytes[..]]);
        prop_assert_eq!(&read(cut(&bytes, &cuts)), &whole);
        prop_assert_eq!(read(bytes.chunks(1)), whole);
    }

    #[test]
    fn a_damaged_stream_never_panics_and_ends_the_same_under_every_cut(
        bytes in stream(),
        damage in vec((any::<Index>(), any::<u8>()), 1..6),
        cuts in vec(any::<Index>(), 0..30),
    ) {
        let mut bytes = bytes;
        for (at, byte) in damage {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        let whole = read([&bytes[..]]);
        prop_assert!(whole.end.is_some());
        prop_assert_eq!(read(cut(&bytes, &cuts)), whole);
    }

    #[test]
    fn noise_never_panics_and_ends_the_same_under_every_cut(
        bytes in vec(prop_oneof![any::<u8>(), Just(b'\n'), Just(b'\r'), Just(b':'), Just(b'"'), Just(b'{')], 0..400),
        cuts in vec(any::<Index>(), 0..30),
        after_data in any::<bool>(),
    ) {
        let bytes = if after_data { [&b"data: "[..], &bytes].concat() } else { bytes };
        prop_assert_eq!(read(cut(&bytes, &cuts)), read([&bytes[..]]));
    }

    #[test]
    fn every_token_keeps_the_stamp_of_the_read_that_completed_it(gaps in vec(1_u64..50, 1..20), pieces in 1_usize..9) {
        let (start, mut now) = (Instant::now(), 0);
        let mut assembly = Assembly::new(Keep::Timing);
        let mut expected = Vec::new();
        for gap in gaps {
            let event = "data: {\"choices\":[{\"delta\":{\"content\":\"é\"}}]}\n\n".as_bytes();
            for piece in event.chunks(event.len().div_ceil(pieces)) {
                now += gap;
                assembly.feed(piece, start + Duration::from_millis(now));
            }
            expected.push(start + Duration::from_millis(now));
        }
        let facts = assembly.finish(RequestEnd::StreamCut, None, start);
        let found: Vec<Instant> = facts.chunks.iter().map(|(at, _)| *at).collect();
        prop_assert_eq!(found, expected);
    }
}
