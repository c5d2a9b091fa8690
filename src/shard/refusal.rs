//! What the shard itself answers instead of the handler: requests that cannot be decoded, that come too late or for which
//! there is no room, and those that are meant for another server.
//!
//! A page may read such an answer if it may talk to the server at all, as it may read the handler's: so it carries the
//! fields of CORS, for whatever origin can be found in what has arrived. Before the origin has, every page may be told:
//! that there is no room, or that a line is too long, says nothing of what is here.

use memchr::memmem;

use super::{connection::Flags, turn::Shard};
use crate::{
    app::ANY_PAGE,
    model::CloseReason,
    session::{Exchange, Session},
    wire::http1::{HttpError, Request, Response, field_in},
};

impl Shard {
    /// The refusal of a request that found this server under a name it does not answer to.
    #[inline]
    pub(super) fn misdirected(&self, index: u32, request: &Request<'_>) -> Option<Response> {
        let record = self.lines.slab.look(index);
        let address = self.proxied.own_address(index).unwrap_or(record.address);
        let hosts = if record.flags.has(Flags::ADMIN) { &self.hosts.admin } else { &self.hosts.public };
        let refused = hosts.check(request).err()?;
        // No page reaches a Unix socket; what stands there for a name is anybody's.
        self.addresses.get(address)?;
        Some(Response::refused(421, "host_unknown", &refused.to_string()))
    }

    /// Answers a request that could not be decoded, and ends the connection.
    pub(super) fn reject(&mut self, index: u32, error: HttpError, fields: &str) {
        let response = Response {
            fields: fields.into(),
            ..Response::refused(error.status(), error.code(), error.sentence())
        };
        self.refuse_with(index, response, CloseReason::ProtocolError);
    }

    /// Answers with an error, whatever was asked, and ends the connection.
    pub(super) fn refuse(&mut self, index: u32, mut response: Response, reason: CloseReason) {
        let fields = match &self.lines.slab.look(index).session {
            Session::Http(http) => self.refusal_fields(index, http.decoder.arrived(&[])),
            Session::Leaving(leaving) => self.refusal_fields(index, &leaving.bytes),
            Session::WebSocket(_) | Session::EventStream | Session::LongPoll(_) => String::new(),
            Session::Lingering | Session::Lent(..) => String::new(),
        };
        response.fields.push_str(&fields);
        self.refuse_with(index, response, reason);
    }

    fn refuse_with(&mut self, index: u32, mut response: Response, reason: CloseReason) {
        response.close = true;
        self.put_response(index, response, Exchange::broken());
        self.end_session(index, reason);
        self.finish(index);
    }

    /// The fields of CORS for the answer to what has arrived of a request.
    pub(super) fn refusal_fields(&self, index: u32, arrived: &[u8]) -> String {
        match self.lines.slab.look(index).flags.has(Flags::ADMIN) {
            true => String::new(),
            false => match (field_in(arrived, "origin"), memmem::find(arrived, b"\r\n\r\n")) {
                (None, None) => ANY_PAGE.into(),
                (origin, _) => {
                    let host = self.host_passed_on(index, arrived).or_else(|| field_in(arrived, "host"));
                    self.engines.origins().fields(origin, host).unwrap_or_default()
                }
            },
        }
    }
}
