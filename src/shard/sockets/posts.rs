//! Posts of packets: heard so many packets a turn, in the order in which they came.
//!
//! A short post is heard at once. What is left of a longer one waits here with its connection, which is answered when all
//! has been heard; what the session's client posts meanwhile waits behind it.
//!
//! ```text
//!   posts    session 3 ─► [ rest of a post, connection 8 ] [ a post behind it, connection 5 ]
//!            session 9 ─► [ rest of a post, connection 2 ]      taken in turns, so many packets each
//! ```
//!
//! Invariant: a session stands here at most once, and only while something is left; what waits is no more than its
//! connections may keep as bodies of requests.

use std::collections::VecDeque;

use super::{
    Shard,
    requests::{refusal, with_fields},
};
use crate::{
    app::socketio::EngineId,
    limits::{ENGINEIO_PAYLOAD_PACKETS_MAX, PACKETS_AT_ONCE, PACKETS_PER_TURN},
    model::{CloseReason, ConnectionId},
    wire::{
        engineio::{HandshakeError, Payload},
        http1::Response,
    },
};

/// What is left to be heard of a shard's sessions, the next one first.
#[derive(Default)]
pub(super) struct Posts(VecDeque<Posted>);

/// What is left of one session's posts.
struct Posted {
    session: EngineId,
    posts: VecDeque<Post>,
}

struct Post {
    /// Who waits for the answer, if anybody.
    connection: Option<ConnectionId>,
    /// Its packets.
    text: Box<str>,
    /// How much of them has been heard.
    at: usize,
    /// Header fields of CORS that the answer carries.
    fields: Box<str>,
}

impl Posts {
    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a session has something left to be heard.
    pub(super) fn has(&self, session: EngineId) -> bool {
        self.0.iter().any(|posted| posted.session == session)
    }

    /// Puts a post, or what is left of it, behind what is left of its session's.
    pub(super) fn push(
        &mut self,
        session: EngineId,
        connection: Option<ConnectionId>,
        rest: &str,
        fields: &str,
    ) {
        let post = Post { connection, text: rest.into(), at: 0, fields: fields.into() };
        match self.0.iter_mut().find(|posted| posted.session == session) {
            Some(posted) => posted.posts.push_back(post),
            None => self.0.push_back(Posted { session, posts: VecDeque::from([post]) }),
        }
    }
}

impl Shard {
    /// A post with packets, for which a connection waits; tells whether it is answered later.
    pub(super) fn hear_payload(
        &mut self,
        session: u32,
        connection: Option<ConnectionId>,
        body: &[u8],
        fields: &str,
    ) -> Result<bool, CloseReason> {
        if body.is_empty() {
            return Err(CloseReason::ProtocolError);
        }
        let id = self.engines.engine_id(session);
        let packets =
            Payload::new(body, ENGINEIO_PAYLOAD_PACKETS_MAX).map_err(|error| error.close_reason())?;
        let left = match self.engines.posts.has(id) {
            true => packets.rest(),
            false => {
                let at_once = self.intake.grant() - self.intake.heard();
                self.hear_packets(session, packets, at_once.min(PACKETS_AT_ONCE))?
            }
        };
        if let Some(rest) = left {
            self.engines.posts.push(id, connection, rest, fields);
        }
        Ok(left.is_some())
    }

    /// Hears packets of a post, so many at most; what is left of them.
    fn hear_packets<'a>(
        &mut self,
        session: u32,
        mut packets: Payload<'a>,
        at_once: usize,
    ) -> Result<Option<&'a str>, CloseReason> {
        let id = self.engines.engine_id(session);
        let mut scratch = Vec::new();
        for _ in 0..at_once {
            let Some(packet) = packets.decode_next(&mut scratch) else { return Ok(None) };
            self.intake.note(1);
            self.hear_packet(session, packet.map_err(|error| error.close_reason())?)?;
            if self.engines.moving.is_some() {
                self.move_with_payload(packets, &mut scratch)?;
                return Ok(None);
            }
            if self.engines.find(id).is_none_or(|session| self.engines.is_ending(session)) {
                return Ok(None);
            }
        }
        Ok(packets.rest())
    }

    /// Goes on with what is left of posts, each session in its turn.
    pub(in crate::shard) fn continue_posts(&mut self) {
        for _ in 0..PACKETS_PER_TURN / PACKETS_AT_ONCE {
            let Some(mut posted) = self.engines.posts.0.pop_front() else { return };
            let Some(session) =
                self.engines.find(posted.session).filter(|session| !self.engines.is_ending(*session))
            else {
                // As of a post that ends its session: it has been taken, and what is behind it finds none.
                posted.posts.into_iter().for_each(|post| self.answer_post(post, Ok(())));
                continue;
            };
            let Some(mut post) = posted.posts.pop_front() else { continue };
            match self.hear_packets(session, Payload::resume(&post.text[post.at..]), PACKETS_AT_ONCE) {
                Ok(Some(rest)) => {
                    post.at = post.text.len() - rest.len();
                    posted.posts.push_front(post);
                }
                Ok(None) => self.answer_post(post, Ok(())),
                Err(reason) => {
                    self.end_engine(session, reason);
                    self.answer_post(post, Err(reason));
                }
            }
            if !posted.posts.is_empty() {
                self.engines.posts.0.push_back(posted);
            }
        }
    }

    fn answer_post(&mut self, post: Post, outcome: Result<(), CloseReason>) {
        let Some(connection) = post.connection else { return };
        let response = match outcome {
            Ok(()) => taken(),
            Err(reason) => refused(reason),
        };
        self.respond(connection, with_fields(response, &post.fields));
    }
}

/// The answer to a post with which a session has ended. What programs meet that do nothing wrong but too much is said.
pub(super) fn refused(reason: CloseReason) -> Response {
    let told = (reason == CloseReason::NestedTooDeep).then(|| reason.sentence());
    refusal(HandshakeError::BadRequest, told)
}

/// The answer to a post whose packets have been heard.
pub(super) fn taken() -> Response {
    Response { content_type: "text/html".into(), ..Response::text(200, "ok") }
        .with_field("Cache-Control", "no-store")
}
