//! How a backend knows that it is us who call: the scheme of Standard Webhooks (standardwebhooks.com), for which there are
//! libraries in every language.
//!
//! ```text
//!   webhook-id: msg_…          the same when a call is made again
//!   webhook-timestamp: 1700000000
//!   webhook-signature: v1,BASE64 v1,BASE64       HMAC-SHA256 of id.timestamp.body, by each key
//! ```

use std::fmt::{self, Write};

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::STANDARD};

/// A key to sign with.
#[derive(Clone)]
pub struct SigningKey(hmac::Key);

/// Why a text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SigningKeyError;

impl SigningKey {
    /// Reads `whsec_` and 24 to 64 bytes in base64.
    pub fn parse(text: &str) -> Result<Self, SigningKeyError> {
        let bytes = text.strip_prefix("whsec_").and_then(|text| STANDARD.decode(text).ok());
        let bytes = bytes.filter(|bytes| (24..=64).contains(&bytes.len())).ok_or(SigningKeyError)?;
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }
}

/// A name for a call that no other has.
pub(super) fn draw_id() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    let mut id = String::from("msg_");
    for byte in bytes {
        write!(id, "{byte:02x}").expect("writing to a String cannot fail");
    }
    Ok(id)
}

/// The header fields of a call, signed with each key.
pub(super) fn fields(keys: &[SigningKey], id: &str, now_s: u64, body: &[u8]) -> String {
    let mut fields = format!("webhook-id: {id}\r\nwebhook-timestamp: {now_s}\r\n");
    for (at, SigningKey(key)) in keys.iter().enumerate() {
        fields += if at == 0 { "webhook-signature: " } else { " " };
        let mut context = hmac::Context::with_key(key);
        context.update(format!("{id}.{now_s}.").as_bytes());
        context.update(body);
        fields += "v1,";
        STANDARD.encode_string(context.sign(), &mut fields);
    }
    if !keys.is_empty() {
        fields += "\r\n";
    }
    fields
}

/// It is nobody's to see.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey")
    }
}

impl fmt::Display for SigningKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a signing key is whsec_ and 24 to 64 bytes in base64; `printf whsec_%s $(openssl rand -base64 32)` makes one",
        )
    }
}

impl std::error::Error for SigningKeyError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_signed_as_the_scheme_says() {
        // The example of the specification (standard-webhooks, spec/standard-webhooks.md).
        let key = SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("a key");
        let fields = fields(&[key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b"{\"test\": 2432232314}");
        assert_eq!(
            fields,
            "webhook-id: msg_p5jXN8AQM9LWM0D4loKWxJek\r\nwebhook-timestamp: 1614265330\r\n\
             webhook-signature: v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=\r\n"
        );
    }

    #[test]
    fn each_key_signs_and_none_signs_nothing() {
        let keys = [1, 2].map(|byte| {
            let text = format!("whsec_{}", STANDARD.encode([byte; 32]));
            SigningKey::parse(&text).expect("a key")
        });
        let both = fields(&keys, "msg_1", 5, b"x");
        assert_eq!(both.matches("v1,").count(), 2, "{both}");
        let [one, two] = [&keys[..1], &keys[1..]].map(|key| fields(key, "msg_1", 5, b"x"));
        assert!(one != two && both.starts_with(one.trim_end()), "{both}");
        assert_eq!(fields(&[], "msg_1", 5, b"x"), "webhook-id: msg_1\r\nwebhook-timestamp: 5\r\n");
    }

    #[test]
    fn a_key_that_is_short_or_none_is_refused() {
        let short = format!("whsec_{}", STANDARD.encode([1; 23]));
        for text in ["", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_!", &short] {
            assert!(SigningKey::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn no_two_calls_have_one_name() {
        let draw = || draw_id().expect("randomness");
        assert!(draw() != draw() && draw().len() == 36);
    }
}
