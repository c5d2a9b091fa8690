//! What subscribers are shown of a channel beside what is published: its state, and who is there. And those who need that again.
//!
//! Many may come in one turn to a channel that has not changed: what they are shown is encoded once, and each is sent that.
//!
//! Where something is lost to an event stream or a subscriber of `/ws` that follows the state, or who is there, it is told so
//! (`reset`, `gap`), and subscribes again behind what it has got, which brings that:
//!
//! ```text
//!   gap, or dropped for slowness ─► astray ─(what the turn hands out has been)─► subscribe again ─► … state
//! ```
//!
//! Which connections may need it, a flag of theirs says; of which of its channels one of `/ws` does, the hub.

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

/// Those who need their channel's state again, or who is there, and up to where each has got everything else.
#[derive(Default)]
pub(super) struct Astray {
    lost: FxHashMap<(u32, ChannelName), Position>,
    /// What those event streams are shown that are shown who is there; others are shown the state alone.
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

    /// What an event stream is shown that is shown something.
    pub(super) fn shown(&self, index: u32) -> Shown {
        self.watching.get(&index).copied().unwrap_or(Shown { state: true, presence: false })
    }

    /// Subscribers have been or are to be handed something, those perhaps who follow the state and have lost some before it.
    pub(super) fn note(&mut self, lines: &Lines, fanout: &Fanout<'_>, transport: Transport) {
        let can_be_told = matches!(transport, Transport::EventStream | Transport::Json);
        if !can_be_told || (!fanout.gap && self.lost.is_empty()) {
            return;
        }
        for index in fanout.subscribers[transport as usize] {
            if !lines.slab.look(*index).flags.has(Flags::STATEFUL) {
                continue;
            }
            let it = (*index, fanout.channel.clone());
            if fanout.gap || self.lost.contains_key(&it) {
                self.lost.insert(it, told_up_to(fanout));
            }
        }
    }

    /// Something has been dropped of a channel that waited for a subscriber, who is told everything else up to here.
    pub(super) fn note_dropped(&mut self, lines: &Lines, channel: &ChannelName, told: Position, index: u32) {
        if lines.slab.look(index).flags.has(Flags::STATEFUL) {
            self.lost.insert((index, channel.clone()), told);
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

    /// Lets those to whom something is lost subscribe again, behind what they have got.
    pub(super) fn show_again(&mut self) {
        for ((index, channel), position) in std::mem::take(&mut self.fanout.astray.lost) {
            let connection = self.lines.slab.id(index);
            let (transport, shown) = match self.lines.slab.look(index).session {
                Session::EventStream => (Transport::EventStream, self.fanout.astray.shown(index)),
                Session::WebSocket(_) => (Transport::Json, self.hub.shown(connection, &channel)),
                _ => continue,
            };
            if shown == Shown::default() {
                continue;
            }
            self.hub.unsubscribe(connection, &channel);
            self.forget_catching_up(index, &channel);
            let wish = Wish { transport, since: Some(position), shown, is_lost: true };
            self.subscribe(index, wish, channel, None);
        }
    }
}
