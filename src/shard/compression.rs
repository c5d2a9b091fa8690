//! Messages that leave compressed (permessage-deflate), for the clients that agreed to it.
//!
//! ```text
//!   a turn's publications, encoded once ─┬───────────────────────────────────────────► everybody else
//!                                        └─ compressed once, at the first who agreed ─► all who agreed
//! ```
//!
//! With `websocket.compression = "channel"` each channel has a stream, in which messages build on each other ([`super::streams`]);
//! what its subscribers cannot read is compressed as follows, and so is all else.
//!
//! Nothing is kept for a connection but one bit of its record: each message begins anew, so that one compressor serves all.
//! With contexts of their own (`websocket.compression = "dedicated"`) so many connections as may be have a compressor,
//! whose messages build on each other; the others are served as all are without. A message may always go as it is: what is
//! small does, what a client missed while it was away, and whatever comes when a turn has compressed enough.
//!
//! Invariant: what a context has compressed is sent, in that order and whatever else is dropped; a connection with a context
//! is sent nothing compressed that did not come from it.

use std::rc::Rc;

use rustc_hash::FxHashMap;

use super::{
    connection::Flags,
    lines::{Broadcast, Delivery, Lines},
    outbox::{Class, Room},
    setup::Forms,
    streams::{Streams, streamed},
};
use crate::{
    limits::{COMPRESSED_BYTES_PER_TURN, COMPRESSED_MESSAGE_BYTES_MAX, SlowConsumer},
    mesh::Deflates,
    model::{ChannelName, SharedPublication, Transport},
    ring::Encoded,
    wire::{
        http1::Gzip,
        websocket::{Agreed, Compressible, Compression as Mode, CompressionSettings, Deflater, WINDOW_BITS},
    },
};

/// What a shard compresses with.
pub(super) struct Compression {
    pub(super) forms: Forms,
    shared: Deflater,
    pub(super) gzip: Gzip,
    /// What was compressed last for many.
    last: Option<Last>,
    /// One stream for each channel, if that is wanted.
    pub(super) streams: Streams,
    /// Connections that are not served as all are.
    own: FxHashMap<u32, Own>,
    contexts: u32,
    plain: Vec<u8>,
    deflated: Vec<u8>,
    /// Bytes compressed in this turn.
    pub(super) spent: usize,
    deflated_total: u64,
}

/// Bytes for many, and the same compressed; or as they are, if that gains nothing.
struct Last {
    plain: Rc<Encoded>,
    deflated: Rc<Encoded>,
}

/// How a connection is served that is not served as all are.
enum Own {
    /// Its window is narrower than what is compressed for all: it gets messages as they are.
    Narrow(u8),
    /// By a compressor whose messages build on each other.
    Context(Box<Deflater>),
}

impl Compression {
    pub(super) fn new(forms: Forms) -> Self {
        Self {
            forms,
            shared: Deflater::new(false),
            gzip: Gzip::default(),
            last: None,
            streams: Streams::new(),
            own: FxHashMap::default(),
            contexts: 0,
            plain: Vec::new(),
            deflated: Vec::new(),
            spent: 0,
            deflated_total: 0,
        }
    }

    pub(super) fn forms(&self) -> Forms {
        self.forms
    }

    /// How messages may be compressed.
    pub(super) fn mode(&self) -> Mode {
        self.forms.messages.mode
    }

    /// A turn begins.
    pub(super) fn begin_turn(&mut self) {
        self.spent = 0;
    }

    /// How many messages have been compressed.
    pub(super) fn deflated_total(&self) -> u64 {
        self.deflated_total
    }

    /// What is agreed to of what a client offers, in values of `Sec-WebSocket-Extensions`.
    pub(super) fn agree<'a>(&self, mode: Mode, offers: impl Iterator<Item = &'a [u8]>) -> Option<Agreed> {
        match mode {
            Mode::Off => None,
            Mode::Shared => Agreed::on(offers, false),
            Mode::Channel => Agreed::on(offers, true),
            Mode::Dedicated => Agreed::on(offers, self.contexts < self.forms.messages.contexts_max),
        }
    }

    /// A connection has agreed, or came so from another shard.
    fn note(&mut self, index: u32, agreed: Agreed) {
        let mode = self.mode();
        if mode == Mode::Channel {
            self.streams.enter(index, agreed.server_keeps_context);
        }
        match agreed.server_window_bits {
            Some(bits) if bits < WINDOW_BITS => _ = self.own.insert(index, Own::Narrow(bits)),
            // One that another process has begun may find that there are enough.
            _ if agreed.server_keeps_context
                && mode == Mode::Dedicated
                && self.contexts < self.forms.messages.contexts_max =>
            {
                self.contexts += 1;
                self.own.insert(index, Own::Context(Box::new(Deflater::new(true))));
            }
            _ => {}
        }
    }

    /// A connection that had agreed is gone, or goes to another shard, which has to know what it may be sent. Its context stays
    /// behind: there each of its messages begins anew.
    pub(super) fn forget(&mut self, index: u32) -> Deflates {
        let window_bits = match self.own.remove(&index) {
            Some(Own::Context(_)) => {
                self.contexts -= 1;
                WINDOW_BITS
            }
            Some(Own::Narrow(window_bits)) => window_bits,
            None => WINDOW_BITS,
        };
        Deflates { window_bits, may_build_on: self.streams.may_follow(index) }
    }

    /// How a connection that has agreed is, for another process that goes on with it. What it was sent before stays behind: there
    /// its context, or that of a channel, begins with an empty window, as it may at any message (RFC 7692 §7.2.1: a sender whose
    /// messages may build on each other need not have them do so). Its client's window stays as it is, and is reached back into no
    /// more.
    pub(super) fn deflates(&self, index: u32) -> Deflates {
        let (window_bits, has_context) = match self.own.get(&index) {
            Some(Own::Context(_)) => (WINDOW_BITS, true),
            Some(Own::Narrow(window_bits)) => (*window_bits, false),
            None => (WINDOW_BITS, false),
        };
        Deflates { window_bits, may_build_on: has_context || self.streams.may_follow(index) }
    }

    /// A channel's publications are going to be handed out, in this form.
    pub(super) fn begin_fan_out(
        &mut self,
        plain: &Rc<Encoded>,
        channel: &ChannelName,
        transport: Transport,
        publications: &[SharedPublication],
    ) {
        if self.mode() == Mode::Channel
            && matches!(transport, Transport::WebSocket | Transport::Json | Transport::SocketIo)
            && let Some(first) = publications.first()
        {
            let streams_max = self.forms.messages.streams_max as usize;
            self.streams.begin(
                plain,
                (channel, transport),
                (first.position, publications.len()),
                streams_max,
            );
        }
    }

    /// What has been compressed for many has been handed out to all of them.
    pub(super) fn end_fan_out(&mut self) {
        self.last = None;
        self.streams.end();
    }

    /// Whether a connection that has agreed is served as all are.
    fn is_shared(&self, index: u32) -> bool {
        self.own.is_empty() || !self.own.contains_key(&index)
    }

    /// Compresses frames for many, into what has been compressed last.
    fn deflate(&mut self, frames: &[u8]) -> bool {
        self.deflated.clear();
        self.deflated.shrink_to(COMPRESSED_MESSAGE_BYTES_MAX);
        let (left, sizes) = (self.left(), sizes(&self.forms.messages));
        if left == 0 {
            return false;
        }
        let (count, tried) = self.shared.deflate_frames(frames, sizes, left, &mut self.deflated);
        self.spent += tried;
        self.deflated_total += u64::from(count);
        count > 0
    }

    /// Bytes that may still be compressed in this turn.
    fn left(&self) -> usize {
        COMPRESSED_BYTES_PER_TURN.saturating_sub(self.spent)
    }

    /// Frames compressed, or as they are if that gains nothing or the turn has compressed enough.
    pub(super) fn deflated<'a>(&'a mut self, frames: &'a [u8]) -> &'a [u8] {
        if self.deflate(frames) { &self.deflated } else { frames }
    }

    /// Appends frames for one connection that has agreed.
    fn write(&mut self, index: u32, frames: &[u8], out: &mut Vec<u8>) {
        let (left, sizes) = (self.left(), sizes(&self.forms.messages));
        let deflater = match self.own.get_mut(&index) {
            Some(Own::Context(context)) => context,
            Some(Own::Narrow(_)) => return out.extend_from_slice(frames),
            None => &mut self.shared,
        };
        if left == 0 {
            return out.extend_from_slice(frames);
        }
        let (count, tried) = deflater.deflate_frames(frames, sizes, left, out);
        if count > 0 {
            self.streams.interrupt(index);
        }
        self.spent += tried;
        self.deflated_total += u64::from(count);
    }
}

impl From<Deflates> for Agreed {
    fn from(Deflates { window_bits, may_build_on }: Deflates) -> Self {
        Self { server_keeps_context: may_build_on, server_window_bits: Some(window_bits) }
    }
}

fn sizes(settings: &CompressionSettings) -> Compressible {
    Compressible { bytes_min: settings.bytes_min as usize, bytes_max: COMPRESSED_MESSAGE_BYTES_MAX }
}

impl Lines {
    /// From now on a connection may be sent compressed messages, and send them.
    pub(super) fn begin_compression(&mut self, index: u32, agreed: Agreed) {
        self.slab.at(index).flags.set(Flags::DEFLATES);
        self.compression.note(index, agreed);
    }

    /// As [`Self::say`], of whole frames of a WebSocket, which leave compressed if its client has agreed.
    pub(super) fn say_frames(&mut self, index: u32, class: Class, write: impl FnOnce(&mut Vec<u8>)) -> Room {
        if !self.slab.look(index).flags.has(Flags::DEFLATES) {
            return self.say(index, class, write);
        }
        let mut plain = std::mem::take(&mut self.compression.plain);
        let mut deflated = std::mem::take(&mut self.compression.deflated);
        plain.clear();
        deflated.clear();
        write(&mut plain);
        self.compression.write(index, &plain, &mut deflated);
        let room = self.say(index, class, |out| out.extend_from_slice(&deflated));
        plain.shrink_to(COMPRESSED_MESSAGE_BYTES_MAX);
        deflated.shrink_to(COMPRESSED_MESSAGE_BYTES_MAX);
        (self.compression.plain, self.compression.deflated) = (plain, deflated);
        room
    }

    /// Whether a connection has agreed, and is served as all are who have.
    pub(super) fn gets_deflated_as_all(&self, index: u32) -> bool {
        self.slab.look(index).flags.has(Flags::DEFLATES) && self.compression.is_shared(index)
    }

    /// Sends what many are sent to one that has agreed.
    pub(super) fn deliver_deflated(&mut self, index: u32, broadcast: &Broadcast<'_>) -> Delivery {
        match self.compression.own.get(&index) {
            None => {
                let bytes = self.form_for(index, broadcast);
                return self.deliver_bytes(index, bytes, broadcast);
            }
            Some(Own::Narrow(_)) => return self.deliver_bytes(index, Rc::clone(broadcast.bytes), broadcast),
            Some(Own::Context(_)) => {}
        }
        if !self.may_be_told(index, Class::Publication) {
            return Delivery::Slow;
        }
        let queued = self.queued(index);
        if self.has_its_turn(index)
            && queued > 0
            && self.waiting(index) + broadcast.bytes.as_slice().len() > self.outbox.bytes_max()
        {
            // Nothing that waits for it may be dropped.
            return match broadcast.slow_consumer {
                SlowConsumer::Close => {
                    self.find_slow(index);
                    Delivery::Slow
                }
                SlowConsumer::DropOldest => Delivery::Dropped(broadcast.publications),
            };
        }
        let frames = broadcast.bytes.as_slice();
        match self.say_frames(index, Class::Publication, |out| out.extend_from_slice(frames)) {
            Room::Slow => Delivery::Slow,
            Room::Enough | Room::Pause => Delivery::Queued,
        }
    }

    /// The form in which a connection gets what many are sent: by the channel's stream if it can read that.
    fn form_for(&mut self, index: u32, broadcast: &Broadcast<'_>) -> Rc<Encoded> {
        // What may be dropped is no part of a stream.
        if broadcast.slow_consumer == SlowConsumer::Close
            && let Some(bytes) = self.streamed(index, broadcast.bytes)
        {
            return bytes;
        }
        let bytes = Rc::clone(self.deflated(broadcast.bytes));
        if bytes.as_slice().len() < broadcast.bytes.as_slice().len() {
            self.compression.streams.interrupt(index);
        }
        bytes
    }

    fn streamed(&mut self, index: u32, plain: &Rc<Encoded>) -> Option<Rc<Encoded>> {
        let left = self.compression.left();
        let Compression { streams, deflated, spent, deflated_total, forms, .. } = &mut self.compression;
        streams.piece_for(index, plain, |deflater| {
            deflated.clear();
            let sizes = streamed(sizes(&forms.messages));
            let (count, tried) = deflater.deflate_frames(plain.as_slice(), sizes, left, deflated);
            *spent += tried;
            *deflated_total += u64::from(count);
            (count > 0).then(|| self.outbox.encoded(deflated))
        })
    }

    /// Bytes for many, compressed once however many turns they are handed out in.
    fn deflated(&mut self, plain: &Rc<Encoded>) -> &Rc<Encoded> {
        let compression = &mut self.compression;
        let is_it = |last: &Last| Rc::ptr_eq(&last.plain, plain) || last.plain.as_slice() == plain.as_slice();
        if !compression.last.as_ref().is_some_and(is_it) {
            let deflated = match compression.deflate(plain.as_slice()) {
                true => self.outbox.encoded(&compression.deflated),
                false => Rc::clone(plain),
            };
            compression.last = Some(Last { plain: Rc::clone(plain), deflated });
        }
        let last = compression.last.as_mut().expect("it was just made");
        // The next subscriber brings the same.
        if !Rc::ptr_eq(&last.plain, plain) {
            last.plain = Rc::clone(plain);
        }
        &last.deflated
    }
}
