//! Publishing over HTTP: one publication as a request's body, or a batch of them as JSON.

use super::{
    ChannelServer, Refusal,
    access::{Standing, Who},
    pending::{Outcome, Wait},
    route::query,
};
use crate::{
    app::{Context, Peer, Request, Response},
    auth::{Denial, Hook, Right, Ruling},
    limits::{HOOKS_PER_BATCH_MAX, HOOKS_TOGETHER_MAX},
    model::{ChannelName, Payload, Position, Ticket, says_json},
    wire::json::{
        Fault, PublishRequest, content_type_is_valid, decode_batch, encode_error, encode_position,
        event_name_is_valid,
    },
};

/// What is to become of one item of a batch.
type Item = Result<(ChannelName, Payload, Standing), Refusal>;

/// A batch whose publications are under way to their channels' owners.
#[derive(Debug, Default)]
pub(super) struct BatchWait {
    /// In the order of the batch; `None` is not known yet.
    results: Vec<Option<Result<Position, Refusal>>>,
    /// The channels of those that are not known yet, and their places in the batch; some may be known by now.
    waiting: Vec<(u32, ChannelName)>,
    missing: usize,
    /// Why the backend does not let some, in its own words, by their places in the batch.
    denials: Vec<(u32, Denial)>,
    /// It is one event, to several rooms: all of it has been published, or it is refused.
    is_event: bool,
}

impl ChannelServer {
    /// `POST /channels/{name}`
    pub(super) fn publish_one(
        &mut self,
        cx: &mut Context<'_>,
        peer: &Peer<'_>,
        request: &Request<'_>,
        name: &str,
    ) -> Result<Outcome, Refusal> {
        let who = self.who(peer, request)?;
        let channel = self.channel(name)?;
        let standing = self.access.check_first(&who, Right::Publish, channel.as_str())?;
        content_type(request)?;
        refuse_encoded(request)?;
        let event = query(request.target, "event");
        if event.as_deref().is_some_and(|event| !event_name_is_valid(event)) {
            return Err(Fault::EventName.into());
        }
        self.check_publishing(cx, &who, standing, (&channel, request.body.len()))?;
        let ticket = self.ticket(peer);
        cx.relay(channel.clone(), payload_of(request), Some(ticket));
        Ok(Outcome::Wait(Wait::Publication(channel)))
    }

    /// `POST /publish`
    pub(super) fn publish_batch(
        &mut self,
        cx: &mut Context<'_>,
        peer: &Peer<'_>,
        request: &Request<'_>,
    ) -> Result<Outcome, Refusal> {
        let who = self.who(peer, request)?;
        self.access.check_some(&who, Right::Publish)?;
        refuse_other_than_json(request)?;
        let items = decode_batch(request.body, self.settings.limits.batch_publications_max)?;
        if self.may_ask_who(peer, request) {
            let channels = items.iter().flatten().map(|item| &*item.channel);
            let decided = channels.map(|channel| self.access.check_first(&who, Right::Publish, channel));
            if let Some(refusal) = decided.filter_map(Result::err).find(|refusal| refusal.is_about_nobody()) {
                return Err(refusal);
            }
        }
        let items = self.check_items(cx, &who, items)?;
        let batch = self.publish_items(cx, peer, &who, items);
        Ok(match batch.missing {
            0 => batch.response()?.into(),
            _ => Outcome::Wait(Wait::Batch(batch)),
        })
    }

    /// Who sends a request: by the key that came with it, if there was one, or by their token.
    pub(super) fn who<'a>(&self, peer: &Peer<'a>, request: &Request<'_>) -> Result<Who<'a>, Refusal> {
        // What is presented is then a token.
        let presented = request.bearer().filter(|_| peer.token.is_none());
        let slot = self.access.keys.presented(presented, self.access.publishing_is_open())?;
        Ok(Who::with_key(peer, slot))
    }

    /// Refuses data that is larger than a publication may be, and who has published too often. A backend is troubled with
    /// nothing of that; what it was asked about has been counted then.
    pub(super) fn check_publishing(
        &mut self,
        cx: &mut Context<'_>,
        who: &Who<'_>,
        standing: Standing,
        (channel, bytes): (&ChannelName, usize),
    ) -> Result<(), Refusal> {
        self.check_size(channel.as_str(), bytes)?;
        if standing != Standing::Allowed {
            self.take_token(cx, who, [channel.as_str()])?;
        }
        standing.or_ask()
    }

    /// Takes one publication's token, to these channels, or counts that there was none.
    pub(super) fn take_token<'c>(
        &mut self,
        cx: &mut Context<'_>,
        who: &Who<'_>,
        channels: impl IntoIterator<Item = &'c str>,
    ) -> Result<(), Refusal> {
        let taken = self.access.take(who, channels, cx.now.unix_ms);
        if let Err(Refusal::RateLimited(_)) = taken {
            cx.count_rate_limited();
        }
        taken
    }

    /// Refuses data that is larger than a publication to a channel may be.
    pub(super) fn check_size(&self, channel: &str, bytes: usize) -> Result<(), Refusal> {
        self.access.check_size(channel, bytes, self.settings.limits.publication_bytes_max)
    }

    /// Checks what was read from JSON and makes it a channel and a payload.
    pub(super) fn check_publication(
        &self,
        publication: PublishRequest<'_>,
    ) -> Result<(ChannelName, Payload), Refusal> {
        let name_bytes_max = self.settings.limits.channel_name_bytes_max.into();
        let channel = ChannelName::new(&publication.channel, name_bytes_max)?;
        self.check_size(channel.as_str(), publication.bytes().len())?;
        Ok((channel, publication.into_payload()))
    }

    /// Finds out what is to become of each item, before anything is published: [`Refusal::Undecided`] as long as the backend has
    /// to be asked about some. What it is asked about counts for its sender's rate then.
    fn check_items<E: Into<Refusal>>(
        &mut self,
        cx: &mut Context<'_>,
        who: &Who<'_>,
        items: Vec<Result<PublishRequest<'_>, E>>,
    ) -> Result<Vec<Item>, Refusal> {
        let mut asked = who.rulings.iter().filter(|ruled| ruled.hook == Hook::Publish).count();
        let (mut checked, mut questions) = (Vec::<Item>::with_capacity(items.len()), Vec::new());
        for (item, part) in items.into_iter().zip(0..) {
            let item = item.map_err(Into::into).and_then(|item| self.check_publication(item));
            let item = item.and_then(|(channel, payload)| {
                let standing =
                    self.access.check_first(&Who { part, ..*who }, Right::Publish, channel.as_str())?;
                if standing != Standing::ToAsk {
                    return Ok((channel, payload, standing));
                }
                if asked >= HOOKS_PER_BATCH_MAX {
                    return Err(Refusal::Undecided);
                }
                if questions.len() < HOOKS_TOGETHER_MAX {
                    self.take_token(cx, who, [channel.as_str()])?;
                    self.access.ask_about(payload.clone());
                    questions.extend(self.access.take_question());
                    asked += 1;
                }
                Ok((channel, payload, standing))
            });
            checked.push(item);
        }
        if questions.is_empty() {
            return Ok(checked);
        }
        self.access.put_questions(questions);
        Err(Refusal::Undecided)
    }

    fn publish_items(
        &mut self,
        cx: &mut Context<'_>,
        peer: &Peer<'_>,
        who: &Who<'_>,
        items: Vec<Item>,
    ) -> BatchWait {
        let ruled = who.rulings.iter().filter(|ruled| ruled.hook == Hook::Publish);
        let denials = ruled.filter_map(|ruled| match &ruled.ruling {
            Ruling::Denied(denial) => Some((ruled.part, (**denial).clone())),
            Ruling::Allowed { .. } | Ruling::Failed(_) => None,
        });
        let results = Vec::with_capacity(items.len());
        let mut batch = BatchWait { results, denials: denials.collect(), ..BatchWait::default() };
        let question = self.begin_question(items.len() as u32);
        for (item, part) in items.into_iter().zip(0..) {
            let taken = item.and_then(|(channel, payload, standing)| {
                if standing != Standing::Allowed {
                    self.take_token(cx, who, [channel.as_str()])?;
                }
                Ok((channel, payload))
            });
            batch.results.push(match taken {
                Ok((channel, payload)) => {
                    batch.missing += 1;
                    batch.waiting.push((part, channel.clone()));
                    let token = question.wrapping_add(part);
                    cx.relay(channel, payload, Some(Ticket { connection: peer.connection, token }));
                    None
                }
                Err(refusal) => Some(Err(refusal)),
            });
        }
        batch
    }
}

impl BatchWait {
    /// An event of Socket.IO that is under way to these channels.
    pub(super) fn of_event(channels: Vec<ChannelName>) -> Self {
        let missing = channels.len();
        let waiting = (0..).zip(channels).collect();
        Self { results: vec![None; missing], waiting, missing, is_event: true, ..Self::default() }
    }

    /// Notes what became of one publication; the answer when it was the last.
    pub(super) fn settle(&mut self, part: u32, result: Result<Position, Refusal>) -> Option<Response> {
        let slot = self.results.get_mut(part as usize).filter(|slot| slot.is_none())?;
        *slot = Some(result);
        self.missing -= 1;
        match self.missing {
            0 => Some(self.response().unwrap_or_else(Refusal::response)),
            _ => None,
        }
    }

    /// Gives up what is not known yet of some channels; the answer when nothing else is missing.
    pub(super) fn give_up(
        &mut self,
        refusal: Refusal,
        is_one: &dyn Fn(&ChannelName) -> bool,
    ) -> Option<Response> {
        let given_up = self.waiting.extract_if(.., |(_, channel)| is_one(channel));
        let parts: Vec<_> = given_up.map(|(part, _)| part).collect();
        parts.into_iter().find_map(|part| self.settle(part, Err(refusal)))
    }

    /// The results in order. A batch of which the rate let nothing pass is refused as a whole, for then the client
    /// must wait; so is one of which nothing may be published for want of a key.
    fn response(&self) -> Result<Response, Refusal> {
        if self.is_event {
            let refused = self.results.iter().flatten().find_map(|result| result.err());
            return refused.map_or_else(|| Ok(accepted()), Err);
        }
        let limited = |result: &Option<_>| {
            matches!(
                result,
                Some(Err(Refusal::RateLimited(_) | Refusal::KeyMissing | Refusal::PublishForbidden))
            )
        };
        if let (Some(Some(Err(refusal))), true) = (self.results.first(), self.results.iter().all(limited)) {
            return Err(*refusal);
        }
        let mut body = b"{\"results\":[".to_vec();
        for (index, result) in self.results.iter().flatten().enumerate() {
            if index > 0 {
                body.push(b',');
            }
            match result {
                Ok(position) => encode_position(&mut body, *position),
                Err(refusal) => {
                    let denial = self.denials.iter().find(|(part, _)| *part as usize == index);
                    match denial.filter(|_| *refusal == Refusal::HookDenied) {
                        Some((_, denial)) => encode_error(&mut body, &denial.code, &denial.message),
                        None => encode_error(&mut body, refusal.code(), &refusal.to_string()),
                    }
                }
            }
        }
        body.extend_from_slice(b"]}");
        Ok(Response::json(200, body))
    }
}

/// It has been passed on.
pub(super) fn accepted() -> Response {
    Response::json(202, b"{\"accepted\":true}".to_vec())
}

/// What the body of a request is as a publication.
pub(super) fn payload_of(request: &Request<'_>) -> Payload {
    let event = query(request.target, "event").filter(|event| event_name_is_valid(event));
    let content_type = content_type(request).ok().flatten();
    Payload::new(request.body, said(content_type)).with_event(event.as_deref())
}

/// Refuses bodies that are not said to be JSON, or are compressed.
pub(super) fn refuse_other_than_json(request: &Request<'_>) -> Result<(), Refusal> {
    refuse_encoded(request)?;
    // None at all is taken for it.
    if content_type(request)?.is_none_or(says_json) { Ok(()) } else { Err(Refusal::BatchContentType) }
}

/// The request's content type, if it may be kept.
pub(super) fn content_type<'a>(request: &Request<'a>) -> Result<Option<&'a str>, Refusal> {
    match request.header("content-type") {
        None => Ok(None),
        Some(value) => {
            let text = std::str::from_utf8(value).map_err(|_| Refusal::ContentType)?;
            if content_type_is_valid(text) { Ok(Some(text)) } else { Err(Refusal::ContentType) }
        }
    }
}

/// A content type that says something. That of forms is what `curl -d` sends whatever the body is.
pub(super) fn said(content_type: Option<&str>) -> Option<&str> {
    content_type.filter(|text| !text.eq_ignore_ascii_case("application/x-www-form-urlencoded"))
}

/// Refuses compressed bodies: subscribers would get the bytes without being told how they are compressed.
pub(super) fn refuse_encoded(request: &Request<'_>) -> Result<(), Refusal> {
    match request.header("content-encoding") {
        Some(value) if !value.eq_ignore_ascii_case(b"identity") => Err(Refusal::ContentEncoding),
        Some(_) | None => Ok(()),
    }
}
