//! What holds for every input: how it is split does not matter, what is decoded can be walked, and commands are decoded as
//! they were written.

use super::{Decoder, Step, Value, encode_command};

const BYTES_MAX: usize = 4096;

/// Decodes in one go, and byte by byte; encodes the input's lines as a command and decodes that.
pub fn fuzz(data: &[u8]) {
    let whole = replies(data, &[data.len()]);
    let every: Vec<usize> = (0..=data.len()).collect();
    assert_eq!(whole, replies(data, &every), "the split matters");
    let words: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    let mut bytes = Vec::new();
    encode_command(&mut bytes, &words);
    match Decoder::default().decode(&bytes, bytes.len()) {
        Ok(Step::Reply { value: Value::List(items), consumed }) => {
            assert_eq!(consumed, bytes.len());
            assert!(items.eq(words.into_iter().map(Value::Text)), "a command is not what was written");
        }
        other => panic!("a command is no list but {other:?}"),
    }
}

/// The lengths of the replies, and whether the protocol is broken behind them.
fn replies(data: &[u8], cuts: &[usize]) -> (Vec<(usize, usize)>, bool) {
    let (mut decoder, mut found, mut start) = (Decoder::default(), Vec::new(), 0);
    for cut in cuts {
        loop {
            match decoder.decode(&data[start..*cut], BYTES_MAX) {
                Ok(Step::NeedMore) => break,
                Err(_) => return (found, true),
                Ok(Step::Reply { value, consumed }) => {
                    assert!(consumed > 0 && consumed <= BYTES_MAX && start + consumed <= *cut);
                    found.push((consumed, values(value)));
                    start += consumed;
                }
            }
        }
    }
    (found, false)
}

/// How many values there are, each looked at.
fn values(value: Value<'_>) -> usize {
    let (mut count, mut left) = (0, vec![value]);
    while let Some(value) = left.pop() {
        count += 1;
        match value {
            Value::List(items) | Value::Push(items) => left.extend(items),
            Value::Text(_) | Value::Error(_) | Value::Number(_) | Value::Null => {}
        }
    }
    count
}
