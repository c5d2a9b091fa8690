//! Answers on a keep-alive connection, one after the other: how many are whole, and what they said.

use super::{
    body::Body,
    head::{self, Head},
    refusal::{Reading, Refusal},
};

/// Reads one connection's answers.
#[derive(Debug, Default)]
pub struct Responses {
    under_way: Option<UnderWay>,
    #[expect(clippy::box_collection, reason = "a connection between answers pays one pointer")]
    partial: Option<Box<Vec<u8>>>,
}

/// One whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Whether the server closes the connection after it.
    pub closes: bool,
    /// What it says, unless it is a success.
    pub refusal: Option<Refusal>,
}

/// An answer whose head has arrived.
#[derive(Debug)]
struct UnderWay {
    status: u16,
    closes: bool,
    body: Body,
    /// What is read of an answer that is no success.
    reading: Option<Box<Reading>>,
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
            let Some(under_way) = &mut self.under_way else {
                let Some(head) = head::decode(&bytes[used..]).map_err(|_| Garbled)? else { break };
                // An interim answer (RFC 9110 §15.2) precedes the one that counts.
                if head.status >= 200 {
                    self.under_way = Some(UnderWay::begin(&head, &bytes[used..]));
                }
                used += head.consumed;
                self.finish(answer);
                continue;
            };
            let (count, content) = under_way.body.handle(&bytes[used..]).map_err(|_| Garbled)?;
            if let Some(reading) = &mut under_way.reading {
                reading.take(content);
            }
            used += count;
            self.finish(answer);
        }
        Ok(used)
    }

    /// The end of the connection, which ends an answer that has no other end.
    pub fn end(&mut self, answer: impl FnOnce(Answer)) {
        if let Some(under_way) = self.under_way.take_if(|under_way| under_way.body == Body::UntilClose) {
            answer(under_way.finish());
        }
    }

    fn finish(&mut self, answer: &mut impl FnMut(Answer)) {
        if let Some(under_way) = self.under_way.take_if(|under_way| under_way.body == Body::Done) {
            answer(under_way.finish());
        }
    }
}

impl UnderWay {
    fn begin(head: &Head, bytes: &[u8]) -> Self {
        let reading = (!(200..300).contains(&head.status)).then(|| Box::new(Reading::begin(head, bytes)));
        // A server that gives no end closes after the body (RFC 9112 §6.3).
        let body = Body::new(head.framing);
        let closes = head.closes || body == Body::UntilClose;
        Self { status: head.status, closes, body, reading }
    }

    fn finish(self) -> Answer {
        let refusal = self.reading.map(|reading| reading.finish(self.status));
        Answer { status: self.status, closes: self.closes, refusal }
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
    fn an_answer_without_an_end_ends_with_its_connection() {
        let (mut responses, mut found) = (Responses::default(), Vec::new());
        responses.handle(b"HTTP/1.0 404 No\r\n\r\nnot here", |answer| found.push(answer)).unwrap();
        assert_eq!(found, []);
        responses.end(|answer| found.push(answer));
        assert_eq!(found[0].refusal.as_ref().unwrap().to_string(), "404 “not here”");
        assert!(found[0].closes);
        responses.end(|answer| found.push(answer));
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        assert_eq!(Responses::default().handle(b"SSH-2.0\r\n\r\n", |_| {}), Err(Garbled));
    }
}
