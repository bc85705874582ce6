//! The event-stream reader: bytes in as they arrive, whole events out, wherever the network split them.
//!
//! Follows the WHATWG "event stream interpretation" rules, and is stricter in two points, because a benchmark must not
//! overlook what it cannot read: an unknown field and invalid UTF-8 are errors.

/// The longest line or event that is kept, bytes: beyond it the stream is not one of an inference server.
const MAX_EVENT_BYTES: usize = 16 << 20;

/// Unknown lines are quoted up to here, characters.
const QUOTE_CHARS: usize = 200;

/// One event: its name (empty unless the server sent one) and its data lines joined by `\n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SseEvent<'a> {
    /// The last `event:` field, or empty.
    pub name: &'a str,
    /// The `data:` fields.
    pub data: &'a str,
}

/// Why a byte stream is no event stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SseError {
    /// Data or name is not UTF-8.
    #[error("an event of the stream is not UTF-8")]
    NotUtf8,
    /// A line that is neither a comment nor one of the four fields.
    #[error("a line of the stream is no field of an event: `{0}`")]
    UnknownField(String),
    /// A line or event beyond the limit.
    #[error("an event of the stream is longer than 16 MiB")]
    TooLong,
}

/// The reader's state between two reads of the socket.
#[derive(Debug, Default)]
pub struct SseReader {
    /// The beginning of a line whose end has not arrived.
    partial: Vec<u8>,
    data: Vec<u8>,
    name: Vec<u8>,
    has_data: bool,
    /// The last byte was a CR that ended a line: an LF right after it belongs to the same line end.
    after_cr: bool,
    /// A line has been seen, so no byte order mark can follow.
    started: bool,
}

impl SseReader {
    /// Takes the next bytes and calls `on_event` for every event that they complete, in order.
    ///
    /// # Errors
    /// The first thing in the stream that is no event stream, or the callback's own error; the reader is of no use after it.
    pub fn push<E: From<SseError>>(
        &mut self,
        mut bytes: &[u8],
        mut on_event: impl FnMut(SseEvent<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_cr) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let Some(end) = memchr::memchr2(b'\n', b'\r', bytes) else {
                if self.partial.len() + bytes.len() > MAX_EVENT_BYTES {
                    return Err(SseError::TooLong.into());
                }
                self.partial.extend_from_slice(bytes);
                return Ok(());
            };
            self.after_cr = bytes[end] == b'\r';
            if self.partial.is_empty() {
                self.line(&bytes[..end], &mut on_event)?;
            } else {
                let mut line = std::mem::take(&mut self.partial);
                line.extend_from_slice(&bytes[..end]);
                self.line(&line, &mut on_event)?;
                line.clear();
                self.partial = line; // keeps the allocation
            }
            bytes = &bytes[end + 1..];
        }
        Ok(())
    }

    /// Whether bytes of an unfinished event are held: a stream that ends here was cut.
    #[must_use]
    pub fn is_mid_event(&self) -> bool {
        self.has_data || !self.partial.is_empty()
    }

    fn line<E: From<SseError>>(
        &mut self,
        line: &[u8],
        on_event: &mut impl FnMut(SseEvent<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let line = if std::mem::replace(&mut self.started, true) {
            line
        } else {
            line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line)
        };
        if line.is_empty() {
            return self.dispatch(on_event);
        }
        let (field, value) = match line.iter().position(|b| *b == b':') {
            Some(0) => return Ok(()), // a comment
            Some(at) => (&line[..at], line[at + 1..].strip_prefix(b" ").unwrap_or(&line[at + 1..])),
            None => (line, &b""[..]),
        };
        match field {
            b"data" => {
                if self.data.len() + value.len() > MAX_EVENT_BYTES {
                    return Err(SseError::TooLong.into());
                }
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
            }
            b"event" => {
                self.name.clear();
                self.name.extend_from_slice(value);
            }
            b"id" | b"retry" => {} // for clients that reconnect, which a benchmark never does
            _ => {
                let text = String::from_utf8_lossy(line).chars().take(QUOTE_CHARS).collect();
                return Err(SseError::UnknownField(text).into());
            }
        }
        Ok(())
    }

    fn dispatch<E: From<SseError>>(
        &mut self,
        on_event: &mut impl FnMut(SseEvent<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let result = if std::mem::take(&mut self.has_data) {
            match (std::str::from_utf8(&self.name), std::str::from_utf8(&self.data)) {
                (Ok(name), Ok(data)) => on_event(SseEvent { name, data }),
                (Err(_), _) | (_, Err(_)) => Err(SseError::NotUtf8.into()),
            }
        } else {
            Ok(())
        };
        self.data.clear();
        self.name.clear();
        result
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Events = Vec<(String, String)>;

    fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Events, Result<(), SseError>) {
        let mut reader = SseReader::default();
        let mut events = Vec::new();
        for piece in pieces {
            let result = reader.push(piece, |e| {
                events.push((e.name.to_owned(), e.data.to_owned()));
                Ok::<(), SseError>(())
            });
            if result.is_err() {
                return (events, result);
            }
        }
        (events, Ok(()))
    }

    fn data_of(text: &str) -> Vec<String> {
        let (events, result) = read([text.as_bytes()]);
        result.unwrap();
        events.into_iter().map(|(_, data)| data).collect()
    }

    #[test]
    fn every_kind_of_line_end_ends_a_line() {
        assert_eq!(data_of("data: a\n\ndata: b\r\n\r\ndata: c\r\rdata:d\n\r\n"), ["a", "b", "c", "d"]);
    }

    #[test]
    fn comments_are_skipped_and_data_lines_are_joined() {
        assert_eq!(data_of(": ping\n\n:\ndata: one\n: in between\ndata: two\nid: 7\nretry: 1\n\n"), ["one\ntwo"]);
    }

    #[test]
    fn only_one_leading_space_is_taken_and_a_field_without_colon_is_empty() {
        assert_eq!(data_of("data:  x\n\ndata\n\ndata\ndata\n\n"), [" x", "", "\n"]);
    }

    #[test]
    fn a_byte_order_mark_is_skipped_at_the_start_only() {
        assert_eq!(data_of("\u{feff}data: a\n\n"), ["a"]);
        let (_, result) = read(["data: a\n\n\u{feff}data: b\n\n".as_bytes()]);
        assert!(matches!(result, Err(SseError::UnknownField(_))));
    }

    #[test]
    fn an_event_carries_its_name_and_the_name_does_not_leak_into_the_next() {
        let (events, _) = read([&b"event: error\ndata: x\n\ndata: y\n\n"[..]]);
        assert_eq!(events, [("error".to_owned(), "x".to_owned()), (String::new(), "y".to_owned())]);
    }

    #[test]
    fn an_unfinished_event_is_held_back_and_reported() {
        let mut reader = SseReader::default();
        let mut n = 0;
        let mut push = |reader: &mut SseReader, bytes: &[u8]| {
            reader
                .push(bytes, |_| {
                    n += 1;
                    Ok::<(), SseError>(())
                })
                .unwrap();
            n
        };
        assert_eq!(push(&mut reader, b"data: a\n"), 0);
        assert!(reader.is_mid_event());
        assert_eq!(push(&mut reader, b"\n"), 1);
        assert!(!reader.is_mid_event());
    }

    #[test]
    fn a_raw_json_line_and_broken_utf8_are_errors() {
        let (_, result) = read([&b"{\"error\": 1}\n"[..]]);
        assert_eq!(result, Err(SseError::UnknownField("{\"error\": 1}".to_owned())));
        let (_, result) = read([&b"data: \xff\n\n"[..]]);
        assert_eq!(result, Err(SseError::NotUtf8));
    }

    fn line() -> impl Strategy<Value = String> {
        prop_oneof![
            "data: ?[a-zé€😀{}\" :]{0,12}",
            ":[ a-zé]{0,6}",
            "event: [a-z]{0,5}",
            "id: [0-9]{0,3}",
            Just(String::new()),
            Just(String::new()),
        ]
    }

    fn stream() -> impl Strategy<Value = String> {
        let end = prop_oneof![Just("\n"), Just("\r\n"), Just("\r")];
        (any::<bool>(), proptest::collection::vec((line(), end), 0..24)).prop_map(|(bom, lines)| {
            let mut text = String::from(if bom { "\u{feff}" } else { "" });
            for (line, end) in lines {
                text.push_str(&line);
                text.push_str(end);
            }
            text
        })
    }

    proptest! {
        #[test]
        fn any_fragmentation_gives_the_same_events(text in stream(), cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..40)) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.iter().map(|c| c.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
            prop_assert_eq!(read(pieces), read([bytes]));
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(read(single), read([bytes]));
        }

        #[test]
        fn what_was_written_is_what_is_read(values in proptest::collection::vec("[^\r\n]{0,30}", 0..12)) {
            let text: String = values.iter().map(|v| format!("data: {v}\r\n\r\n")).collect();
            prop_assert_eq!(data_of(&text), values);
        }

        #[test]
        fn random_bytes_never_panic_and_any_fragmentation_agrees(bytes in proptest::collection::vec(prop_oneof![
            any::<u8>(), Just(b'\n'), Just(b'\r'), Just(b':'), Just(b'd'), Just(b'a'), Just(b't')
        ], 0..300)) {
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(read(single), read([&bytes[..]]));
        }
    }
}
