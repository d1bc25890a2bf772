//! Checksums as text.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// Returns bytes as bare lower-case hex.
///
/// ```
/// assert_eq!(model::digest::hex(&[0, 171]), "00ab");
/// ```
pub fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        write!(out, "{byte:02x}").expect("writing to a string cannot fail");
    }
    out
}

/// Reads hex in any case; nothing where it is none.
///
/// ```
/// assert_eq!(model::digest::from_hex("00aB"), Some(vec![0, 171]));
/// assert_eq!((model::digest::from_hex("0"), model::digest::from_hex("0g")), (None, None));
/// ```
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let pair = |pair: &[u8]| u8::try_from(digit(pair.first()?)? * 16 + digit(pair.get(1)?)?).ok();
    text.as_bytes().chunks(2).map(pair).collect()
}

/// Returns the SHA-256 of bytes, bare lower-case hex.
///
/// ```
/// assert!(model::digest::sha256_hex(b"").starts_with("e3b0c442"));
/// ```
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}
