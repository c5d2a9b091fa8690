//! What subscribers are shown of a channel beside what is published: its state, and who is there. And event streams that need
//! the state again.
//!
//! Many may come in one turn to a channel that has not changed: what they are shown is encoded once, and each is sent that.
//!
//! An event stream cannot ask. So where something is lost to one that follows the state, or who is there, it is told `reset`,
//! and subscribes again behind what it has got, which brings that:
//!
//! ```text
//!   gap, or dropped for slowness ─► astray ─(what the turn hands out has been)─► subscribe again ─► … state
//! ```

use std::rc::Rc;

use rustc_hash::FxHashMap;

use super::{
    connection::Flags,
    encode::{encode_members, encode_snapshot},
    intents::Wish,
    lines::Lines,
    outbox::Class,
    turn::Shard,
};
use crate::{
    hub::Fanout,
    limits::SNAPSHOTS_PER_TURN,
    mesh::Welcome,
    model::{ChannelName, Position, SharedPublications, Shown, Transport},
    ring::{Encoded, SendBytes},
    session::Session,
};

/// A snapshot up to this size is copied for each of those who are shown it.
const COPIED_BYTES_MAX: usize = 1024;

/// Snapshots that were encoded in this turn, for whoever comes next.
#[derive(Default)]
pub(super) struct Snapshots {
    made: Vec<Made>,
}

struct Made {
    keys: SharedPublications,
    position: Position,
    form: Form,
    bytes: Rc<Encoded>,
}

/// What a snapshot is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Of(Transport),
    /// An event stream of several channels.
    OneOfSeveral,
}

/// Event streams that need their channel's state again, or who is there, and up to where each has got everything else.
#[derive(Default)]
pub(super) struct Astray {
    streams: FxHashMap<(u32, ChannelName), Position>,
    /// What those streams are shown that are shown who is there; others are shown the state alone.
    watching: FxHashMap<u32, Shown>,
}

impl Snapshots {
    /// A turn begins.
    pub(super) fn begin_turn(&mut self) {
        self.made.clear();
    }

    pub(super) fn find(
        &self,
        keys: &SharedPublications,
        position: Position,
        form: Form,
    ) -> Option<Rc<Encoded>> {
        let is_it = |made: &&Made| {
            SharedPublications::ptr_eq(&made.keys, keys) && (made.position, made.form) == (position, form)
        };
        self.made.iter().find(is_it).map(|made| Rc::clone(&made.bytes))
    }

    pub(super) fn keep(
        &mut self,
        bytes: Rc<Encoded>,
        keys: &SharedPublications,
        position: Position,
        form: Form,
    ) {
        if self.made.len() >= SNAPSHOTS_PER_TURN {
            self.made.remove(0);
        }
        let keys = SharedPublications::clone(keys);
        self.made.push(Made { keys, position, form, bytes });
    }
}

impl Astray {
    /// An event stream begins that is shown this, whatever one before it on this connection was.
    pub(super) fn begin(&mut self, index: u32, shown: Shown) {
        match shown.presence {
            true => _ = self.watching.insert(index, shown),
            false => self.end(index),
        }
    }

    /// A connection has ended.
    pub(super) fn end(&mut self, index: u32) {
        self.watching.remove(&index);
    }

    fn shown(&self, index: u32) -> Shown {
        self.watching.get(&index).copied().unwrap_or(Shown { state: true, presence: false })
    }

    /// Subscribers have been or are to be handed something, event streams perhaps: those who follow the state and have lost
    /// some before it.
    pub(super) fn note(&mut self, lines: &Lines, fanout: &Fanout<'_>, transport: Transport) {
        if transport != Transport::EventStream || (!fanout.gap && self.streams.is_empty()) {
            return;
        }
        for index in fanout.subscribers[transport as usize] {
            let is_lost = fanout.gap && lines.slab.look(*index).flags.has(Flags::STATEFUL);
            if is_lost || self.streams.contains_key(&(*index, fanout.channel.clone())) {
                self.streams.insert((*index, fanout.channel.clone()), told_up_to(fanout));
            }
        }
    }

    /// Something has been dropped of a channel that waited for a subscriber, who is told everything else up to here.
    pub(super) fn note_dropped(&mut self, lines: &Lines, channel: &ChannelName, told: Position, index: u32) {
        if lines.slab.look(index).flags.has(Flags::STATEFUL) {
            self.streams.insert((index, channel.clone()), told);
        }
    }
}

/// Where who is handed this has got everything else.
pub(super) fn told_up_to(fanout: &Fanout<'_>) -> Position {
    fanout.publications.last().map_or(fanout.since, |last| last.position)
}

impl Shard {
    /// Shows a subscriber what it has asked for beside what is published.
    pub(super) fn show(
        &mut self,
        index: u32,
        transport: Transport,
        channel: &ChannelName,
        welcome: &Welcome,
    ) {
        if let Some(keys) = &welcome.state {
            self.show_state(index, transport, channel, (keys, welcome.position));
        }
        let can_tell = matches!(transport, Transport::Json | Transport::EventStream);
        if let Some(page) = welcome.presence.as_deref().filter(|_| can_tell) {
            let (json, told) = (&mut self.fanout.json, (page, welcome.position));
            self.lines.say(index, Class::Recovery, |out| encode_members(out, json, transport, channel, told));
        }
    }

    fn show_state(
        &mut self,
        index: u32,
        transport: Transport,
        channel: &ChannelName,
        (keys, position): (&SharedPublications, Position),
    ) {
        let scratch = &mut self.fanout;
        let bytes = match scratch.snapshots.find(keys, position, Form::Of(transport)) {
            Some(bytes) => bytes,
            None => {
                scratch.bytes.clear();
                encode_snapshot(&mut scratch.bytes, &mut scratch.json, transport, channel, position, keys);
                if scratch.bytes.len() <= COPIED_BYTES_MAX {
                    let bytes = &scratch.bytes;
                    self.lines.say(index, Class::Recovery, |out| out.extend_from_slice(bytes));
                    return;
                }
                let bytes = self.lines.outbox.encoded(&scratch.bytes);
                scratch.snapshots.keep(Rc::clone(&bytes), keys, position, Form::Of(transport));
                bytes
            }
        };
        self.lines.push(index, Class::Recovery, SendBytes::Encoded(bytes));
    }

    /// Lets event streams to which something is lost subscribe again, behind what they have got.
    pub(super) fn show_again(&mut self) {
        for ((index, channel), position) in std::mem::take(&mut self.fanout.astray.streams) {
            if !matches!(self.lines.slab.look(index).session, Session::EventStream) {
                continue;
            }
            let connection = self.lines.slab.id(index);
            self.hub.unsubscribe(connection, &channel);
            self.forget_catching_up(index, &channel);
            let shown = self.fanout.astray.shown(index);
            let wish =
                Wish { transport: Transport::EventStream, since: Some(position), shown, is_lost: true };
            self.subscribe(index, wish, channel, None);
        }
    }
}
