//! What one issuer has asked that may not have taken effect, and what of that must before what it asks next ([`super::asks`]).

use smallvec::SmallVec;

use super::{
    kinds::Kind,
    sockets::Sockets,
    ways::{Reach, Ways},
};
use crate::{
    hub::{Hub, Waiting},
    model::ShardId,
};

/// What one issuer has asked.
#[derive(Default)]
pub(super) struct Trail {
    /// On this shard, since the era began.
    pub(super) here: SmallVec<[Asked; 2]>,
    era: u64,
    /// The last publication on each way.
    pub(super) sent: SmallVec<[Sent; 1]>,
    /// The last that it asked of sockets of other shards, by its number on the direct way.
    pub(super) acted: u64,
    /// The last of those that was asked of many sockets.
    pub(super) selected: u64,
}

/// Something asked that has not taken effect on this shard yet.
#[derive(Clone, Copy)]
pub(super) enum Asked {
    /// A publication that waits to be handed out.
    Publication(Waiting),
    /// A command to many sockets, by its number.
    Selection(u64),
    /// A socket that is being put into rooms.
    Joining(u32),
    /// All that were, up to this number.
    Joins(u64),
}

/// The last publication on a way.
#[derive(Clone, Copy)]
pub(super) struct Sent {
    pub(super) way: ShardId,
    pub(super) number: u64,
    /// Its channel's key, unless there were several.
    pub(super) channel: Option<u32>,
}

impl Trail {
    /// Forgets what was asked before this era, but for joins, which others than this shard answer, and commands, which may
    /// have begun some.
    pub(super) fn pass(&mut self, era: u64) {
        if self.era != era {
            self.era = era;
            self.here.retain(|asked| !matches!(asked, Asked::Publication(_)));
        }
    }

    /// Forgets what has taken effect on this shard.
    pub(super) fn forget_here(&mut self, hub: &Hub, sockets: &Sockets) {
        self.here.retain_mut(|asked| {
            if let Asked::Selection(number) = asked
                && sockets.has_selected(*number)
            {
                // It may have put sockets into rooms.
                *asked = Asked::Joins(sockets.joins.begun());
            }
            match asked {
                Asked::Publication(waiting) => !hub.is_handed_out(waiting),
                Asked::Selection(_) => true,
                Asked::Joining(index) => sockets.joins.has(*index),
                Asked::Joins(number) => !sockets.joins.have_ended(*number),
            }
        });
    }

    pub(super) fn note_here(&mut self, asked: Asked) {
        match (self.here.last_mut(), asked) {
            // A channel hands out in order: who waits for the later one has waited for the earlier.
            (Some(Asked::Publication(last)), Asked::Publication(next)) if next.is_behind(last) => {
                *last = next
            }
            (Some(Asked::Joins(last)), Asked::Joins(next)) => *last = next,
            (Some(Asked::Joining(last)), Asked::Joining(next)) if *last == next => {}
            _ => self.here.push(asked),
        }
    }

    pub(super) fn note_sent(&mut self, next: Sent) {
        match self.sent.iter_mut().find(|sent| sent.way == next.way) {
            Some(sent) => {
                let channel = next.channel.filter(|channel| sent.channel == Some(*channel));
                *sent = Sent { channel, ..next };
            }
            None => self.sent.push(next),
        }
    }

    /// Forgets what has taken effect everywhere.
    pub(super) fn forget(&mut self, ways: &Ways) {
        self.sent.retain(|sent| !ways.is_over(sent.way, sent.number));
    }

    pub(super) fn is_over(&self, me: ShardId, ways: &Ways) -> bool {
        self.here.is_empty() && self.sent.is_empty() && ways.is_over(me, self.acted)
    }

    /// Whether something that waits on this shard must take effect before this.
    pub(super) fn is_ahead_here(&self, kind: Kind<'_>, hub: &Hub) -> bool {
        match kind {
            Kind::Free | Kind::Behind => false,
            Kind::Tell | Kind::Command { .. } => !self.here.is_empty(),
            Kind::Act => {
                self.here.iter().any(|asked| matches!(asked, Asked::Publication(_) | Asked::Selection(_)))
            }
            // A command to many sockets decides who is there to hear. Who is being put into a room is so before what is
            // published there next.
            Kind::Publication(channel) | Kind::Event(channel) => {
                let is_elsewhere = |asked: &Asked| match asked {
                    Asked::Publication(waiting) => !hub.is_of(waiting, channel),
                    Asked::Selection(_) | Asked::Joining(_) | Asked::Joins(_) => false,
                };
                let is_selection = |asked: &Asked| matches!(asked, Asked::Selection(_));
                self.here.iter().any(is_selection)
                    || (self.here.iter().any(is_elsewhere) && hub.may_overtake(channel))
            }
        }
    }

    /// Whether something that was sent to other shards must take effect before this. If so, it is asked how far it is.
    pub(super) fn is_ahead_elsewhere(&self, kind: Kind<'_>, me: ShardId, hub: &Hub, ways: &mut Ways) -> bool {
        let mut is_under_way = |way, number, reach| !ways.has_reached(way, number, reach);
        match kind {
            Kind::Free | Kind::Behind => false,
            Kind::Act | Kind::Tell => self.sent.iter().fold(false, |any, sent| {
                // What this shard has stamped itself is here already.
                any | (sent.way != me && is_under_way(sent.way, sent.number, Reach::Here))
            }),
            Kind::Command { is_to_one } => {
                let selected = is_to_one && is_under_way(me, self.selected, Reach::Everywhere);
                self.sent
                    .iter()
                    .fold(selected, |any, sent| any | is_under_way(sent.way, sent.number, Reach::Everywhere))
            }
            Kind::Publication(_) => is_under_way(me, self.acted, Reach::Everywhere),
            Kind::Event(channel) => {
                let key = Some(hub.channel_key(channel));
                let acted = is_under_way(me, self.acted, Reach::Everywhere);
                self.sent
                    .iter()
                    .filter(|sent| sent.channel != key)
                    .fold(acted, |any, sent| any | is_under_way(sent.way, sent.number, Reach::Everywhere))
            }
        }
    }
}
