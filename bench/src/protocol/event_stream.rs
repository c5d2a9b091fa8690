//! Server-sent events (HTML Living Standard §9.2) as far as a benchmark reads them: the data of each event.

use memchr::memchr;

/// Gives every whole line of `bytes` to `line` and returns the length of what was whole.
fn whole_lines<'a>(bytes: &'a [u8], mut line: impl FnMut(&'a [u8])) -> usize {
    let mut used = 0;
    while let Some(end) = memchr(b'\n', &bytes[used..]) {
        let whole = &bytes[used..used + end];
        line(whole.strip_suffix(b"\r").unwrap_or(whole));
        used += end + 1;
    }
    used
}

/// Gives the data of every event line in `bytes` to `data`; returns how many bytes were whole lines. Data of several
/// lines is given line by line: a stamp never spans two.
pub fn decode<'a>(bytes: &'a [u8], mut data: impl FnMut(&'a [u8])) -> usize {
    whole_lines(bytes, |line| {
        if let Some(value) = line.strip_prefix(b"data:") {
            data(value.strip_prefix(b" ").unwrap_or(value));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_lines_are_found_and_a_cut_line_waits() {
        let stream = b": hi\nretry: 3000\n\nid: 1:1\ndata: one\n\nid: 1:2\r\ndata:two\r\n\r\ndata: thr";
        let mut found = Vec::new();
        let used = decode(stream, |data| found.push(data));
        assert_eq!(found, [&b"one"[..], b"two"]);
        assert_eq!(&stream[used..], b"data: thr");
    }
}
