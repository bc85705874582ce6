//! An answer says the same however the network cuts it: whole, byte by byte, and at places that the input itself chooses.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vgrid::fuzz_support::said_by_stream;

fuzz_target!(|input: (Vec<u8>, Vec<u8>)| {
    let (bytes, cuts) = input;
    let whole = said_by_stream([&bytes[..]]);
    assert_eq!(said_by_stream(bytes.chunks(1)), whole);
    let mut rest = &bytes[..];
    let mut pieces = Vec::new();
    for length in cuts {
        let (piece, after) = rest.split_at(usize::from(length).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    assert_eq!(said_by_stream(pieces), whole);
});
