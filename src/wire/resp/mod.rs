//! RESP3, the protocol of Redis and Valkey: commands out, replies and pushes in. Sans-io.
//!
//! A reply is not made into a tree. [`Decoder`] finds where it ends, going on where it stopped when more bytes come, and a
//! [`Value`] reads it where it lies:
//!
//! ```text
//!   received   *2␍␊ $3␍␊abc␍␊ :7␍   ◄─ more to come
//!                               ▲ scanned; open: [1 left of the list]
//! ```
//!
//! What a server cannot drive us to: depth ([`DEPTH_MAX`]), for nothing here calls itself; memory, for nothing is kept but
//! the bytes, of which a reply has at most so many; and time, for each byte is looked at once while a reply arrives.
//!
//! Not here: streamed strings and lists, and attributes, which no server sends that was not asked to.
//!
//! Sources: the specification at redis.io/docs/latest/develop/reference/protocol-spec, and what Redis 7 sends.

mod decode;
mod fuzz;
mod value;

pub use decode::{DEPTH_MAX, Decoder, RespError, Step};
pub use fuzz::fuzz;
pub use value::{Items, Value};

/// Writes a command: its name and its arguments.
pub fn encode_command(out: &mut Vec<u8>, words: &[&[u8]]) {
    encode_length(out, b'*', words.len());
    for word in words {
        encode_length(out, b'$', word.len());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

fn encode_length(out: &mut Vec<u8>, kind: u8, length: usize) {
    out.push(kind);
    let (mut digits, mut at, mut left) = ([0; 20], 20, length);
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_a_list_of_its_words() {
        let check = |words: &[&[u8]], bytes: &[u8]| {
            let mut out = Vec::new();
            encode_command(&mut out, words);
            assert_eq!(out, bytes, "{}", String::from_utf8_lossy(&out));
        };
        check(&[b"PING"], b"*1\r\n$4\r\nPING\r\n");
        check(&[b"SET", b"", b"a\r\nb"], b"*3\r\n$3\r\nSET\r\n$0\r\n\r\n$4\r\na\r\nb\r\n");
        let long = [b'x'; 1234];
        check(&[&long], &[b"*1\r\n$1234\r\n", &long[..], b"\r\n"].concat());
        check(&[&b"1"[..]; 10], &[&b"*10\r\n"[..], &b"$1\r\n1\r\n".repeat(10)].concat());
    }
}
