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

/// Returns the SHA-256 of bytes, bare lower-case hex.
///
/// ```
/// assert!(model::digest::sha256_hex(b"").starts_with("e3b0c442"));
/// ```
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}
