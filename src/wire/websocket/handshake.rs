//! The key of the opening handshake (RFC 6455 §4.2). Which fields the request must have is the session's business.

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{GeneralPurpose, GeneralPurposeConfig},
};
use sha1::{Digest, Sha1};

/// Reads keys whose unused last bits are not zero, as keys made up by hand are; they decode to 16 bytes all the same.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key`; `None` when the key is not 16 bytes in base64 (§4.2.1).
pub fn accept_key(key: &[u8]) -> Option<[u8; 28]> {
    // Room for the 18 bytes that 24 characters could stand for.
    let mut nonce = [0; 18];
    let is_valid = key.len() == 24 && BASE64.decode_slice(key, &mut nonce) == Ok(16);
    let mut accept = [0; 28];
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    (is_valid && BASE64.encode_slice(digest, &mut accept) == Ok(accept.len())).then_some(accept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_the_rfc_gets_the_answer_of_the_rfc() {
        assert_eq!(accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="), Some(*b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    }

    #[test]
    fn a_key_that_is_not_sixteen_bytes_is_refused() {
        assert!(accept_key(b"dGhlIHNhbXBsZSBub25jZR==").is_some());
        for key in [
            &b""[..],
            b"dGhlIHNhbXBsZSBub25j",
            b"dGhlIHNhbXBsZSBub25jZQ",
            b"dGhlIHNhbXBsZSBub25jZQ=",
            b"dGhlIHNhbXBsZSBub25jZWU=",
            b"dGhlIHNhbXBsZSBub25jZWVl",
            b"dGhlIHNhbXBsZSBub25jZQ== ",
            b"dGhlIHNhbXBsZSBub25j!Q==",
        ] {
            assert_eq!(accept_key(key), None, "{}", String::from_utf8_lossy(key));
        }
    }
}
