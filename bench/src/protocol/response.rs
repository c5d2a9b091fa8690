//! Answers on a keep-alive connection, one after the other: how many are whole, and what they said.

use super::{body::Body, head};

/// Reads one connection's answers.
#[derive(Debug, Default)]
pub struct Responses {
    under_way: Option<(u16, bool, Body)>,
    #[expect(clippy::box_collection, reason = "a connection between answers pays one pointer")]
    partial: Option<Box<Vec<u8>>>,
}

/// One whole answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Whether the server closes the connection after it.
    pub closes: bool,
}

/// Bytes that are no HTTP answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Garbled;

impl Responses {
    /// Takes received bytes and gives every answer that is whole now.
    pub fn handle(&mut self, bytes: &[u8], mut answer: impl FnMut(Answer)) -> Result<(), Garbled> {
        let Some(mut held) = self.partial.take() else {
            let used = self.advance(bytes, &mut answer)?;
            if used < bytes.len() {
                self.partial = Some(Box::new(bytes[used..].to_vec()));
            }
            return Ok(());
        };
        held.extend_from_slice(bytes);
        let used = self.advance(&held, &mut answer)?;
        if used < held.len() {
            held.drain(..used);
            self.partial = Some(held);
        }
        Ok(())
    }

    fn advance(&mut self, bytes: &[u8], answer: &mut impl FnMut(Answer)) -> Result<usize, Garbled> {
        let mut used = 0;
        while used < bytes.len() {
            let Some((_, _, body)) = &mut self.under_way else {
                let Some(head) = head::decode(&bytes[used..]).map_err(|_| Garbled)? else { break };
                used += head.consumed;
                // An interim answer (RFC 9110 §15.2) precedes the one that counts.
                if head.status >= 200 {
                    self.under_way = Some((head.status, head.closes, Body::new(head.framing)));
                }
                self.finish(answer);
                continue;
            };
            let (count, _) = body.handle(&bytes[used..]).map_err(|_| Garbled)?;
            used += count;
            self.finish(answer);
        }
        Ok(used)
    }

    fn finish(&mut self, answer: &mut impl FnMut(Answer)) {
        if let Some((status, closes, Body::Done)) = self.under_way {
            self.under_way = None;
            answer(Answer { status, closes });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expected: &[(u16, bool)]) {
        for cut in 0..=bytes.len() {
            let (mut responses, mut found) = (Responses::default(), Vec::new());
            for piece in [&bytes[..cut], &bytes[cut..]] {
                responses.handle(piece, |answer| found.push((answer.status, answer.closes))).unwrap();
            }
            assert_eq!(found, expected, "cut at {cut}");
        }
    }

    #[test]
    fn answers_are_counted_when_whole_in_any_framing() {
        check(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
            &[(200, false), (404, false)],
        );
        check(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\nConnection: close\r\n\r\n", &[(204, true)]);
        check(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh", &[]);
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        assert_eq!(Responses::default().handle(b"SSH-2.0\r\n\r\n", |_| {}), Err(Garbled));
    }
}
