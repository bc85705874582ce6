//! SHA-256 as vgrid writes it down.

use sha2::{Digest, Sha256};

/// SHA-256 over the parts, one after the other, 64 hexadecimal digits.
#[must_use]
pub fn sha256(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 over the parts, first 16 hexadecimal digits.
#[must_use]
pub fn short_sha256(parts: &[&[u8]]) -> String {
    let mut digits = sha256(parts);
    digits.truncate(16);
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_hashed_as_one_text() {
        // FIPS 180-2, appendix B.1
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(&[b"abc"]), abc);
        assert_eq!(sha256(&[b"a", b"", b"bc"]), abc);
        assert_eq!(short_sha256(&[b"ab", b"c"]), abc[..16]);
    }
}
