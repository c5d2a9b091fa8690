//! What holds for every input: it is read or refused, what is read has bounds, and what is written of it is read back as it was.

use serde_json::Value;

use super::{decode_answer, decode_event, decode_request, encode_event, encode_request, sharded};

const BYTES_MAX: usize = 4096;

/// Reads the input as an event and as a request; writes what it is, and reads that.
pub fn fuzz(data: &[u8]) {
    if let Ok((uid, event)) = decode_event(data, "/", BYTES_MAX) {
        assert!(event.arguments.json.len() <= BYTES_MAX);
        let mut written = Vec::new();
        // What stands too deep for the reader of JSON is not written.
        if encode_event(&mut written, &uid, &event).is_ok() {
            let (uid_again, again) =
                decode_event(&written, "/", 64 * BYTES_MAX).expect("what is written is read");
            assert_eq!((uid_again, &again.rooms, &again.except), (uid, &event.rooms, &event.except));
            assert_eq!(value(&again.arguments.json), value(&event.arguments.json));
        }
    }
    decode_answer(data, BYTES_MAX).ok();
    sharded::decode_message(data, "/", BYTES_MAX).ok();
    if let Ok(asked) = decode_request(data, "/", BYTES_MAX) {
        let mut written = Vec::new();
        if encode_request(&mut written, &asked).is_ok() {
            decode_request(&written, "/", 64 * BYTES_MAX).expect("what is written is read");
        }
    }
}

/// JSON as a reader in JavaScript sees it: attachments are looked for elsewhere, numbers are floating.
fn value(json: &str) -> Value {
    fn seen(value: Value) -> Value {
        match value {
            Value::Number(number) => Value::from(number.as_f64()),
            Value::Array(items) => items.into_iter().map(seen).collect(),
            Value::Object(members) if members.get("_placeholder") == Some(&Value::Bool(true)) => Value::Null,
            Value::Object(members) => {
                Value::Object(members.into_iter().map(|(key, value)| (key, seen(value))).collect())
            }
            other => other,
        }
    }
    seen(serde_json::from_str(json).expect("what is read is JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_comes_is_read_or_refused() {
        let event =
            b"\x93\xa1u\x83\xa4type\x02\xa4data\x94\xa1a\xcb\x3f\xf8\0\0\0\0\0\0\xd7\xff\0\x3d\x09\0\0\0\0\0\
            \xc4\x02\x01\x02\xa3nsp\xa1/\x83\xa5rooms\x91\xa1r\xa6except\x90\xa5flags\x81\xa8volatile\xc3";
        let request =
            br#"{"uid":"u","requestId":"r","type":2,"opts":{"rooms":["a"],"except":[7]},"rooms":["c"]}"#;
        decode_event(event, "/", BYTES_MAX).expect("an event");
        decode_request(request, "/", BYTES_MAX).expect("a request");
        let mut random = fastrand::Rng::with_seed(8);
        for original in [&event[..], request] {
            for _ in 0..20_000 {
                let mut bytes = original.to_vec();
                for _ in 0..random.usize(1..5) {
                    let at = random.usize(0..bytes.len());
                    match random.u8(0..4) {
                        0 => bytes[at] = random.u8(..),
                        1 => bytes[at] ^= 1 << random.u8(0..8),
                        2 => drop(bytes.remove(at)),
                        _ => bytes.insert(at, random.u8(..)),
                    }
                }
                fuzz(&bytes);
            }
        }
    }
}
