//! What one issuer has asked that may not have taken effect, and what of that must before what it asks next ([`super::asks`]).

use smallvec::SmallVec;

use super::{
    kinds::{Change, Kind},
    sockets::Engines,
    touched::Touched,
    ways::{Reach, Ways},
};
use crate::{
    hub::{Hub, Waiting},
    limits::{FOLLOWED_OWNERS_MAX, FOLLOWING_MAX},
    model::{ChannelName, ShardId},
};

/// Channels of an issuer's last publications among which the next one's is looked for.
const CHANNELS_LOOKED_AT: usize = 64;

/// What one issuer has asked.
#[derive(Default)]
pub(super) struct Trail {
    /// On this shard, since the era began.
    pub(super) here: SmallVec<[Asked; 2]>,
    era: u64,
    /// The look at what waits in which it was last found out what of this has taken effect.
    look: u64,
    /// The last publication on each way.
    pub(super) sent: SmallVec<[Sent; 1]>,
    /// The channels that those depend on which may not have been handed out on this shard.
    touched: Touched,
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
pub(super) struct Sent {
    pub(super) way: ShardId,
    pub(super) number: u64,
    /// Its channel's key, unless there were several.
    channel: Option<u32>,
    /// Its channel.
    pub(super) name: ChannelName,
    /// The receipt that its owner has been asked for behind it; 0 if none has been.
    pub(super) receipt: u64,
    /// Whether its receipt stands for all on this way that have not taken effect.
    is_plain: bool,
}

impl Sent {
    /// Whether it has taken effect everywhere. Something may wait at one shard still to be handed out there.
    pub(super) fn is_over(&self, waits_at: Option<ShardId>, ways: &Ways) -> bool {
        ways.is_over(self.way, self.number) && Some(self.way) != waits_at
    }
}

impl Asked {
    fn is_selection(&self) -> bool {
        matches!(self, Self::Selection(_))
    }

    fn is_publication(&self) -> bool {
        matches!(self, Self::Publication(_))
    }
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
    pub(super) fn forget_here(&mut self, hub: &Hub, engines: &Engines) {
        self.here.retain_mut(|asked| {
            if let Asked::Selection(number) = asked
                && engines.has_selected(*number)
            {
                // It may have put sockets into rooms.
                *asked = Asked::Joins(engines.joins.begun());
            }
            match asked {
                Asked::Publication(waiting) => !hub.is_handed_out(waiting),
                Asked::Selection(_) => true,
                Asked::Joining(index) => engines.joins.has(*index),
                Asked::Joins(number) => !engines.joins.have_ended(*number),
            }
        });
    }

    pub(super) fn note_here(&mut self, asked: Asked) {
        if let Asked::Publication(next) = asked {
            return self.note_publication(next);
        }
        match (self.here.last_mut(), asked) {
            (Some(Asked::Joins(last)), Asked::Joins(next)) => *last = next,
            (Some(Asked::Joining(last)), Asked::Joining(next)) if *last == next => {}
            _ => self.here.push(asked),
        }
    }

    /// Notes a publication of this shard. A channel hands out in order: who waits for the later one has waited for the earlier.
    fn note_publication(&mut self, next: Waiting) {
        let before = self.here.iter_mut().rev().take(CHANNELS_LOOKED_AT).find_map(|asked| match asked {
            Asked::Publication(last) if next.is_behind(last) => Some(last),
            _ => None,
        });
        match before {
            Some(last) => *last = next,
            None => self.here.push(Asked::Publication(next)),
        }
    }

    /// Whether more of it may have taken effect on this shard than when this was last asked: there has been another look at what
    /// waits, or there is a command to many sockets, which may be done at any time.
    pub(super) fn is_stale(&mut self, look: u64) -> bool {
        std::mem::replace(&mut self.look, look) != look || self.here.iter().any(Asked::is_selection)
    }

    /// Notes a publication, by its number on a way. One that is plain, and told by its owner as soon as that has it, has the number
    /// of a receipt, which is 0 if none has been asked for.
    pub(super) fn note_sent(
        &mut self,
        (way, number): (ShardId, u64),
        name: &ChannelName,
        key: u32,
        receipt: Option<u64>,
    ) {
        let (is_plain, receipt) = (receipt.is_some(), receipt.unwrap_or(0));
        let Some(sent) = self.sent.iter_mut().find(|sent| sent.way == way) else {
            let (channel, name) = (Some(key), name.clone());
            return self.sent.push(Sent { way, number, channel, name, receipt, is_plain });
        };
        // Receipts come in order, and what comes on one channel does.
        sent.is_plain &= is_plain && (sent.receipt != 0 || sent.name == *name);
        sent.channel = sent.channel.filter(|channel| *channel == key);
        (sent.number, sent.receipt) = (number, receipt);
        if sent.name != *name {
            sent.name = name.clone();
        }
    }

    /// Notes the channels, by their keys, on which what has just been sent depends: where it goes, and what it leaves out.
    pub(super) fn touch(&mut self, sent: (ShardId, u64), channel: u32, left_out: &[u32]) {
        self.touched.note(channel, sent);
        left_out.iter().for_each(|key| self.touched.note(*key, sent));
    }

    /// Whether an event that is not ahead of anything but publications can be sent at once and stand behind those on its way.
    pub(super) fn may_be_followed(&self, me: ShardId, ways: &Ways) -> bool {
        ways.is_over(me, self.acted)
            && !self.here.iter().any(Asked::is_selection)
            && self.sent.len() <= FOLLOWED_OWNERS_MAX
            && self.sent.iter().all(|sent| sent.is_plain && ways.receipts_under_way(sent.way) < FOLLOWING_MAX)
    }

    /// The last publications that were not all to the channel of this key.
    pub(super) fn elsewhere(&mut self, key: u32) -> impl Iterator<Item = &mut Sent> {
        self.sent.iter_mut().filter(move |sent| sent.channel != Some(key))
    }

    /// The shard, if it is this one, of which a publication has not been handed out here. How far those are on other shards is
    /// told by marks, but not how far they are here.
    pub(super) fn waits_at(&self, me: ShardId) -> Option<ShardId> {
        self.here.iter().any(Asked::is_publication).then_some(me)
    }

    /// Forgets what has taken effect everywhere. What has on this shard is forgotten before.
    pub(super) fn forget(&mut self, me: ShardId, ways: &Ways) {
        self.forget_sent(me, ways);
        let is_over_here = !self.here.iter().any(Asked::is_publication);
        match is_over_here && self.sent.is_empty() {
            true => self.touched.clear(),
            false => self.touched.forget(me, is_over_here, ways),
        }
    }

    /// Forgets of what was sent through each shard that all of it has taken effect everywhere.
    pub(super) fn forget_sent(&mut self, me: ShardId, ways: &Ways) {
        let waits_at = self.waits_at(me);
        self.sent.retain(|sent| !sent.is_over(waits_at, ways));
    }

    pub(super) fn is_over(&self, me: ShardId, ways: &Ways) -> bool {
        self.here.is_empty() && self.sent.is_empty() && ways.is_over(me, self.acted)
    }

    /// Whether something that waits on this shard must take effect before this.
    pub(super) fn is_ahead_here(&self, kind: Kind<'_>, me: ShardId, hub: &Hub) -> bool {
        match kind {
            Kind::Free | Kind::Behind => false,
            Kind::Tell | Kind::Command { .. } => !self.here.is_empty(),
            // A command to many sockets may change the same.
            Kind::Act(change) => {
                let waits = self.here.iter().any(Asked::is_publication);
                self.here.iter().any(Asked::is_selection)
                    || (waits
                        && self.changed(change, hub).is_none_or(|keys| self.touched.has_here(me, &keys)))
            }
            // A command to many sockets decides who is there to hear. Who is being put into a room is so before what is
            // published there next.
            Kind::Publication { channel, .. } | Kind::Event { channel, .. } => {
                let is_elsewhere = |asked: &Asked| match asked {
                    Asked::Publication(waiting) => !hub.is_of(waiting, channel),
                    Asked::Selection(_) | Asked::Joining(_) | Asked::Joins(_) => false,
                };
                self.here.iter().any(Asked::is_selection)
                    || (self.here.iter().any(is_elsewhere) && hub.may_overtake(channel))
            }
        }
    }

    /// Whether something that was sent to other shards must take effect before this. If so, it is asked how far it is.
    pub(super) fn is_ahead_elsewhere(&self, kind: Kind<'_>, me: ShardId, hub: &Hub, ways: &mut Ways) -> bool {
        let mut is_under_way = |way, number| !ways.has_reached(way, number, Reach::Everywhere);
        match kind {
            Kind::Free | Kind::Behind => false,
            Kind::Act(change) => match self.changed(change, hub) {
                Some(keys) => self.touched.is_under_way(me, &keys, ways),
                None => self.is_any_under_way_here(me, ways),
            },
            Kind::Tell => self.is_any_under_way_here(me, ways),
            Kind::Command { is_to_one } => {
                let selected = is_to_one && is_under_way(me, self.selected);
                self.sent.iter().fold(selected, |any, sent| any | is_under_way(sent.way, sent.number))
            }
            Kind::Publication { .. } => is_under_way(me, self.acted),
            Kind::Event { channel, .. } => {
                let key = Some(hub.channel_key(channel));
                let acted = is_under_way(me, self.acted);
                self.sent
                    .iter()
                    .filter(|sent| sent.channel != key)
                    .fold(acted, |any, sent| any | is_under_way(sent.way, sent.number))
            }
        }
    }

    /// Whether something may not have been handed out on this shard that others tell it.
    fn is_any_under_way_here(&self, me: ShardId, ways: &mut Ways) -> bool {
        // What this shard has stamped itself is here already.
        let elsewhere = self.sent.iter().filter(|sent| sent.way != me);
        elsewhere.fold(false, |any, sent| any | !ways.has_reached(sent.way, sent.number, Reach::Here))
    }

    /// The keys of the channels whose followers an act changes; nothing if they may be any.
    fn changed(&self, change: Change<'_>, hub: &Hub) -> Option<SmallVec<[u32; 2]>> {
        let Change::Seats { subscriber, channels, follows } = change else { return None };
        let is_changed = |channel: &&ChannelName| hub.is_subscribed(subscriber, channel) != follows;
        let keys = channels.iter().filter(is_changed).map(|channel| hub.channel_key(channel));
        (!self.touched.is_any()).then(|| keys.collect())
    }
}
