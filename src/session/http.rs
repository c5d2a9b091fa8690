//! An HTTP/1.1 connection between and within requests. Decoding is [`crate::wire::http1`]'s.

use super::Due;
use crate::{
    limits::Limits,
    model::CloseReason,
    wire::http1::{BitByBit, Coding, Decoder, Method, Phase, Request, Version},
};

/// HTTP/1.1 on one connection: at most one request is being answered.
#[derive(Debug, Default)]
pub struct Http {
    /// The decoder, which holds what has arrived of an unfinished request.
    pub decoder: Decoder,
    /// The application's tag for an answer it put off.
    pub tag: u32,
    /// Bytes buffered when the body's rate was last looked at.
    progress: u32,
    /// How many shards have handed over the request that comes next.
    pub hops: u8,
    /// The exchange an answer is awaited for.
    pub awaiting: Option<Exchange>,
    /// That answer has begun, and is written bit by bit.
    pub bit_by_bit: Option<BitByBit>,
    /// A request was answered since the last deadline.
    active: bool,
    /// The deadline in force is that of a partial request.
    partial: bool,
}

/// What of a request its response depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// The connection may be used again.
    pub keep_alive: bool,
    /// The response must have no body (HEAD).
    pub head_only: bool,
    /// The version to answer in.
    pub version: Version,
    /// The form in which its body goes.
    pub coding: Coding,
}

/// How often the rate of a slow body is looked at after `body_timeout_ms`.
const BODY_RATE_INTERVAL_MS: u32 = 2_000;

impl Http {
    /// A connection that comes from another shard, with a request that `hops` shards have handed over.
    pub fn handed_over(hops: u8) -> Self {
        Self { hops, ..Self::default() }
    }

    /// A request is whole and handed out. What arrives from here on is another one, with time limits of its own.
    pub fn handle_request(&mut self) {
        self.active = true;
        self.partial = false;
        self.progress = 0;
        self.hops = 0;
    }

    /// Notes what has arrived. When an unfinished request begins, changes phase or ends, tells the new deadline in
    /// milliseconds from now; a request that arrives whole changes nothing.
    pub fn handle_progress(&mut self, limits: &Limits) -> Option<u32> {
        match (self.decoder.phase(), self.partial) {
            (Phase::Idle, false) => None,
            (Phase::Idle, true) => {
                self.partial = false;
                Some(limits.keep_alive_timeout_ms)
            }
            (Phase::Head, true) => None,
            (Phase::Head, false) => {
                self.partial = true;
                Some(limits.head_timeout_ms)
            }
            (Phase::Body, _) if self.partial && self.progress > 0 => None,
            (Phase::Body, _) => {
                self.partial = true;
                self.progress = 1;
                Some(limits.body_timeout_ms)
            }
        }
    }

    /// The deadline has passed.
    pub fn handle_deadline(&mut self, limits: &Limits) -> Due {
        if self.awaiting.is_some() {
            return Due::Again(limits.keep_alive_timeout_ms);
        }
        match self.decoder.phase() {
            Phase::Idle if self.active => {
                self.active = false;
                Due::Again(limits.keep_alive_timeout_ms)
            }
            Phase::Idle => Due::End(CloseReason::IdleTimeout),
            Phase::Head => Due::End(CloseReason::RequestTimeout),
            Phase::Body => {
                let buffered = self.decoder.buffered_bytes() as u32;
                let arrived = buffered.saturating_sub(self.progress);
                let wanted = limits.body_bytes_per_second_min * (BODY_RATE_INTERVAL_MS / 1000);
                if arrived < wanted.max(1) {
                    return Due::End(CloseReason::RequestTimeout);
                }
                self.progress = buffered;
                Due::Again(BODY_RATE_INTERVAL_MS)
            }
        }
    }
}

impl Exchange {
    /// What the response to `request` depends on.
    pub fn of(request: &Request<'_>) -> Self {
        Self {
            keep_alive: request.keep_alive,
            head_only: request.method == Method::Head,
            version: request.version,
            coding: Coding::Fixed,
        }
    }

    /// An exchange whose request could not be understood: the connection ends with it.
    pub fn broken() -> Self {
        Self { keep_alive: false, head_only: false, version: Version::Http11, coding: Coding::Fixed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http1::{HeadTable, Step};

    /// Feeds bytes as the shard does; the new deadline, if there is one.
    fn feed(http: &mut Http, limits: &Limits, bytes: &[u8]) -> Option<u32> {
        let (mut at, mut table) = (0, HeadTable::default());
        loop {
            match http.decoder.decode(&bytes[at..], &mut table, limits) {
                Ok(Step::Request { consumed, .. }) => at += consumed,
                Ok(Step::NeedMore) => return http.handle_progress(limits),
                other => panic!("{other:?}"),
            }
            http.handle_request();
        }
    }

    #[test]
    fn each_request_has_a_time_limit_of_its_own_though_another_is_always_incomplete() {
        let (mut http, limits) = (Http::default(), Limits::default());
        let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let (head, tail) = request.split_at(9);
        assert_eq!(feed(&mut http, &limits, head), Some(limits.head_timeout_ms));
        assert_eq!(feed(&mut http, &limits, &tail[..3]), None, "more of the same request");
        let rest = [&tail[3..], head].concat();
        assert_eq!(feed(&mut http, &limits, &rest), Some(limits.head_timeout_ms), "the next one begins");
        assert_eq!(feed(&mut http, &limits, tail), None);
        assert_eq!(http.handle_deadline(&limits), Due::Again(limits.keep_alive_timeout_ms));
        assert_eq!(http.handle_deadline(&limits), Due::End(CloseReason::IdleTimeout));
    }

    #[test]
    fn a_second_slow_body_gets_the_time_the_first_one_got() {
        let (mut http, limits) = (Http::default(), Limits::default());
        let head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n";
        for _ in 0..2 {
            assert_eq!(feed(&mut http, &limits, &head[..9]), Some(limits.head_timeout_ms));
            assert_eq!(feed(&mut http, &limits, &head[9..]), Some(limits.body_timeout_ms));
            assert_eq!(feed(&mut http, &limits, b"x"), None);
            assert_eq!(feed(&mut http, &limits, b"y"), None);
        }
    }
}
