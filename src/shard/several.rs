//! Streams and polls of several channels: what their clients follow, and what streams of them are told.
//!
//! A browser remembers one `id`, so each event of such a stream lists all positions of its client. What is said of a
//! publication is encoded once for all; the list is the client's own, and is written when the event leaves
//! ([`super::places`]). What polls hear is [`super::polls`]'s.
//!
//! ```text
//!   id: 17:4,21:9,-        17:4 told, 21:9 told, the third channel's owner has not answered
//! ```
//!
//! Invariant: without such a stream nothing stands here, and nobody else is looked up here.

use std::rc::Rc;

use rustc_hash::FxHashMap;

use super::{
    encode::before_missed,
    frames::Frame,
    intents::Wish,
    kept_encodings::KeptEncodings,
    lines::{Delivery, Lines},
    outbox::{Class, Outbox, Room},
    polls::Gathered,
    shown::{Astray, Form, told_up_to},
    turn::Shard,
};
use crate::{
    hub::{Fanout, Since},
    limits::{HISTORY_PAGE_BYTES_MAX, SlowConsumer},
    mesh::{ShardReport, Subscription, Welcome},
    model::{ChannelName, CloseReason, Position, SharedPublication, SharedPublications, Shown, Transport},
    ring::{Encoded, SendBytes},
    wire::{json, sse},
};

/// Those of a shard that follow several channels at once.
#[derive(Default)]
pub(super) struct Severals {
    by_connection: FxHashMap<u32, Several>,
    /// Polls that a fan-out has something for.
    heard: Vec<u32>,
    /// Memory of a fan-out, used again.
    scratch: Scratch,
}

/// Memory of a fan-out.
#[derive(Default)]
struct Scratch {
    /// What all streams are told of its publications, once that is known.
    events: Vec<Rc<Encoded>>,
    /// What they are told of large ones that others are to be given.
    kept: KeptEncodings<EventKey>,
    bytes: Vec<u8>,
    json: Vec<u8>,
    /// Subscribers that follow one channel.
    others: Vec<u32>,
}

/// One stream or poll.
pub(super) struct Several {
    pub(super) parts: Box<[Part]>,
    /// Channels whose owners have not answered.
    pub(super) unanswered: usize,
    /// What a poll is going to be answered with.
    pub(super) gathered: Gathered,
}

/// One of its channels.
pub(super) struct Part {
    pub(super) channel: ChannelName,
    /// Up to where its client has been told, or is going to be by what waits for it.
    pub(super) position: Option<Position>,
    is_answered: bool,
}

/// What the delivery of a fan-out touches.
pub(super) struct Around<'a> {
    pub(super) lines: &'a mut Lines,
    pub(super) report: &'a mut ShardReport,
    pub(super) slow_consumer: SlowConsumer,
    pub(super) astray: &'a mut Astray,
}

impl Severals {
    fn is_empty(&self) -> bool {
        self.by_connection.is_empty()
    }

    pub(super) fn get(&mut self, index: u32) -> Option<&mut Several> {
        self.by_connection.get_mut(&index)
    }

    /// The same, to look at.
    pub(super) fn look(&self, index: u32) -> Option<&Several> {
        self.by_connection.get(&index)
    }

    /// Goes on with one whose channels' owners have all answered in another process.
    pub(super) fn go_on(&mut self, index: u32, subscriptions: &[Subscription]) {
        let channels: Vec<_> =
            subscriptions.iter().map(|one| (one.channel.clone(), Some(one.position))).collect();
        let mut several = Several::new(&channels);
        (0..channels.len()).for_each(|at| several.note_answer(at));
        self.by_connection.insert(index, several);
    }

    /// A channel's owner is asked once more what a poll has missed, which is answered when it has said so.
    pub(super) fn ask_again(&mut self, index: u32, channel: &ChannelName) {
        let Some(several) = self.by_connection.get_mut(&index) else { return };
        let (Some(at), unanswered) = (several.find(channel), &mut several.unanswered) else { return };
        *unanswered += usize::from(std::mem::take(&mut several.parts[at].is_answered));
    }

    /// Whether this connection follows several channels at once.
    pub(super) fn has(&self, index: u32) -> bool {
        self.by_connection.contains_key(&index)
    }

    /// Bytes of what a poll is going to be answered with.
    pub(super) fn bytes(&self, index: u32) -> usize {
        let several = self.by_connection.get(&index);
        several.map_or(0, |several| several.gathered.bytes())
    }

    /// A stream or poll is over.
    pub(super) fn remove(&mut self, index: u32) {
        if !self.by_connection.is_empty() {
            self.by_connection.remove(&index);
            if self.by_connection.is_empty() {
                (self.by_connection, self.scratch) = Default::default();
            }
        }
    }

    /// As much of what it missed as a poll is told: the channels of one share an answer.
    pub(super) fn page(&self, index: u32, position: Position) -> Since {
        match self.by_connection.get(&index) {
            Some(several) => {
                Since { position, bytes_max: HISTORY_PAGE_BYTES_MAX / several.parts.len().max(1) as u64 }
            }
            None => Since::page(position),
        }
    }

    /// Polls that the last fan-out had something for.
    pub(super) fn take_heard(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.heard)
    }

    /// Hands a channel's publications to those who follow several; gives back the others, who follow it by itself.
    pub(super) fn hear<'a>(
        &'a mut self,
        fanout: &Fanout<'a>,
        transport: Transport,
        around: &mut Around<'_>,
    ) -> &'a [u32] {
        let subscribers = fanout.subscribers[transport as usize];
        if self.is_empty() || !matches!(transport, Transport::EventStream | Transport::LongPoll) {
            return subscribers;
        }
        self.scratch.others.clear();
        self.scratch.events.clear();
        for index in subscribers {
            let Some(several) = self.by_connection.get_mut(index) else {
                self.scratch.others.push(*index);
                continue;
            };
            let Some(at) = several.find(fanout.channel) else { continue };
            match transport {
                Transport::LongPoll => {
                    several.hear(at, fanout);
                    self.heard.push(*index);
                }
                _ => self.scratch.deliver(several, (*index, at), fanout, around),
            }
        }
        // They live for as long as they wait for somebody.
        self.scratch.events.clear();
        &self.scratch.others
    }

    /// All has been handed out to everybody.
    pub(super) fn end_fan_out(&mut self) {
        self.scratch.kept.clear();
    }
}

/// Of which publication an event is.
type EventKey = (ChannelName, Position);

impl Scratch {
    /// Sends one stream what a channel has for it.
    fn deliver(
        &mut self,
        several: &mut Several,
        (index, at): (u32, usize),
        fanout: &Fanout<'_>,
        around: &mut Around<'_>,
    ) {
        let publications = fanout.publications;
        let part = &mut several.parts[at];
        part.position = Some(told_up_to(fanout));
        if fanout.gap {
            encode_reset(&mut self.bytes, &mut self.json, &part.channel);
            let reset = around.lines.outbox.encoded_moving(&self.bytes, fanout.since);
            if !several.queue(&reset, (index, at), 0, around) {
                return;
            }
        }
        if self.events.len() < publications.len() {
            self.encode_all(fanout, &around.lines.outbox);
        }
        for event in &self.events {
            if !several.queue(event, (index, at), 1, around) {
                return;
            }
        }
        around.report.deliveries_total += publications.len() as u64;
    }
}

impl Scratch {
    /// What all streams are told of publications; of a large one, which is handed out in many turns, the same each time.
    fn encode_all(&mut self, fanout: &Fanout<'_>, outbox: &Outbox) {
        for publication in fanout.publications {
            let is_it = |(channel, position): &EventKey| {
                *position == publication.position && channel == fanout.channel
            };
            let kept = if fanout.is_large { self.kept.find(is_it) } else { None };
            let is_new = kept.is_none();
            let event = kept.unwrap_or_else(|| encode(&mut self.bytes, &mut self.json, outbox, publication));
            if fanout.is_large && is_new {
                self.kept.keep((fanout.channel.clone(), publication.position), &event);
            }
            self.events.push(event);
        }
    }
}

impl Several {
    fn new(channels: &[(ChannelName, Option<Position>)]) -> Self {
        let part = |(channel, position): &(ChannelName, Option<Position>)| Part {
            channel: channel.clone(),
            position: *position,
            is_answered: false,
        };
        let parts = channels.iter().map(part).collect();
        Self { parts, unanswered: channels.len(), gathered: Gathered::default() }
    }

    fn find(&self, channel: &ChannelName) -> Option<usize> {
        self.parts.iter().position(|part| part.channel == *channel)
    }

    /// A channel's owner has answered.
    pub(super) fn note_answer(&mut self, at: usize) {
        let part = &mut self.parts[at];
        self.unanswered -= usize::from(!part.is_answered);
        part.is_answered = true;
    }

    /// Queues an event for a stream, of so many publications; whether its client is still told anything.
    fn queue(
        &self,
        event: &Rc<Encoded>,
        (index, at): (u32, usize),
        publications: u32,
        around: &mut Around<'_>,
    ) -> bool {
        let lines = &mut *around.lines;
        let Some(step) = lines.places.of(index).map(|place| place.step(at)) else { return false };
        let bytes = SendBytes::Encoded(Rc::clone(event));
        let frame = Frame { bytes, publications, step: Some(step) };
        match lines.queue_publications(index, frame, around.slow_consumer) {
            Delivery::Queued => true,
            Delivery::Slow => false,
            Delivery::Dropped(count) => {
                around.report.dropped_slow_total += u64::from(count);
                // Of whichever channels that was; where the client is in them is said when it is sent more.
                for part in lines.outbox.dropped().iter().filter_map(|step| self.parts.get(step.part())) {
                    if let Some(position) = part.position {
                        around.astray.note_dropped(lines, &part.channel, position, index);
                    }
                }
                true
            }
        }
    }
}

fn encode_reset(out: &mut Vec<u8>, json: &mut Vec<u8>, channel: &ChannelName) {
    json.clear();
    json::encode_reset(json, channel);
    out.clear();
    sse::encode_event_of_several(out, "reset", json::as_text(json));
}

/// What all streams are told of a publication.
fn encode(
    bytes: &mut Vec<u8>,
    json: &mut Vec<u8>,
    outbox: &Outbox,
    publication: &SharedPublication,
) -> Rc<Encoded> {
    bytes.clear();
    sse::encode_one_of_several(bytes, json, publication);
    outbox.encoded_moving(bytes, publication.position)
}

impl Shard {
    /// Subscribes a stream or poll to all its channels; one refusal ends it.
    pub(super) fn follow_several(
        &mut self,
        index: u32,
        transport: Transport,
        channels: Vec<(ChannelName, Option<Position>)>,
        shown: Shown,
    ) {
        if channels.len() > self.limits.stream_channels_max() {
            return self.close(index, CloseReason::Overloaded);
        }
        self.severals.by_connection.insert(index, Several::new(&channels));
        if transport == Transport::EventStream {
            self.lines.places.begin(index, channels.iter().map(|(_, since)| *since));
        }
        for (channel, since) in channels {
            if !self.severals.has(index) {
                return;
            }
            let wish = Wish { shown, ..Wish::to_follow(transport, since) };
            self.subscribe(index, wish, channel, None);
        }
    }

    /// Tells a stream of several channels a piece of what it missed on one, with a word about what of it is lost.
    pub(super) fn tell_several(
        &mut self,
        index: u32,
        channel: &ChannelName,
        welcome: &Welcome,
        is_further: bool,
    ) {
        let Some(several) = self.severals.get(index) else { return };
        let Some(at) = several.find(channel) else { return };
        several.note_answer(at);
        several.parts[at].position = Some(welcome.position);
        let knows_all = several.unanswered == 0;
        let scratch = &mut self.fanout;
        if !welcome.recovered {
            // A client that breaks behind this word must not skip what follows.
            encode_reset(&mut scratch.bytes, &mut scratch.json, channel);
            let reset = self.lines.outbox.encoded_moving(&scratch.bytes, before_missed(welcome));
            self.lines.push_step(index, at, reset);
        }
        for publication in &welcome.missed {
            let event = encode(&mut scratch.bytes, &mut scratch.json, &self.lines.outbox, publication);
            if self.lines.push_step(index, at, event) == Room::Slow {
                return;
            }
        }
        if welcome.recovered && welcome.missed.is_empty() && !is_further {
            // Nothing of this channel waits.
            if let Some(place) = self.lines.places.of(index) {
                place.move_to(at, welcome.position);
            }
            if knows_all {
                // Else a client that is cut before the first publication came back without positions.
                let nothing = self.lines.outbox.encoded_moving(b"\n", welcome.position);
                self.lines.push_step(index, at, nothing);
            }
        }
        if let Some(keys) = &welcome.state {
            let state = self.state_of_one(channel, keys, welcome.position);
            self.lines.push_step(index, at, state);
        }
        if let Some(page) = &welcome.presence {
            let scratch = &mut self.fanout;
            scratch.json.clear();
            json::encode_presence(&mut scratch.json, channel, page);
            scratch.bytes.clear();
            sse::encode_event_of_several(&mut scratch.bytes, "presence", json::as_text(&scratch.json));
            let members = self.lines.outbox.encoded_moving(&scratch.bytes, welcome.position);
            self.lines.push_step(index, at, members);
        }
    }

    /// The state of a channel as streams of several are told it: encoded once for all who come in this turn.
    fn state_of_one(
        &mut self,
        channel: &ChannelName,
        keys: &SharedPublications,
        position: Position,
    ) -> Rc<Encoded> {
        let scratch = &mut self.fanout;
        if let Some(made) = scratch.snapshots.find(keys, position, Form::OneOfSeveral) {
            return made;
        }
        scratch.json.clear();
        json::encode_state(&mut scratch.json, channel, Some(position), keys, false);
        scratch.bytes.clear();
        sse::encode_event_of_several(&mut scratch.bytes, "state", json::as_text(&scratch.json));
        let bytes = self.lines.outbox.encoded_moving(&scratch.bytes, position);
        scratch.snapshots.keep(Rc::clone(&bytes), keys, position, Form::OneOfSeveral);
        bytes
    }
}

impl Lines {
    /// Says an event to a stream of several channels that is not dropped for those behind it.
    fn push_step(&mut self, index: u32, at: usize, event: Rc<Encoded>) -> Room {
        let step = self.places.of(index).map(|place| place.step(at));
        let frame = Frame { bytes: SendBytes::Encoded(event), publications: 0, step };
        self.push_frame(index, Class::Recovery, frame)
    }
}
