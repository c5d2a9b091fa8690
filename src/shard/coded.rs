//! Answers that leave in gzip, for the clients that take it. Which may be is [`crate::wire::http1`]'s to say.

use super::{compression::Compression, turn::Shard};
use crate::{
    limits::{ANSWER_COMPRESSED_BYTES_MAX, COMPRESSED_BYTES_PER_TURN},
    wire::http1::{Coding, Request, Response},
};

impl Compression {
    /// An answer in another form than it has, if that may be. When a turn has compressed enough, it goes as it is.
    fn code(&mut self, response: &Response, coding: Coding) -> Option<Response> {
        let bytes_min = self.forms.answers.bytes_min as usize;
        if coding == Coding::Fixed || !response.may_be_coded(bytes_min, ANSWER_COMPRESSED_BYTES_MAX) {
            return None;
        }
        let body = response.body.as_bytes();
        let is_to_be = coding == Coding::Gzip && self.spent < COMPRESSED_BYTES_PER_TURN;
        let encoded = is_to_be.then(|| {
            self.spent += body.len();
            self.gzip.encode(body)
        });
        Some(response.varying(encoded.flatten()))
    }
}

impl Shard {
    /// The form in which the answer to a request goes.
    pub(super) fn coding_for(&self, request: &Request<'_>) -> Coding {
        let is_on = match self.engines.is_for_engine(request) {
            true => self.engines.io.settings().http_compression,
            false => self.lines.compression.forms().answers.gzip,
        };
        if is_on { Coding::of(request) } else { Coding::Fixed }
    }

    /// An answer in the form in which it goes, if that is another one.
    pub(super) fn coded(&mut self, response: &Response, coding: Coding) -> Option<Response> {
        self.lines.compression.code(response, coding)
    }
}
