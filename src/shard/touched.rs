//! The channels on whose members it depends who gets what an issuer has published: where it went, and what it leaves out. Who
//! joins or leaves one waits until that has been handed out on this shard, and who joins or leaves another does not
//! ([`super::trails`]).
//!
//! Invariant: a channel is there while something that depends on it may not have been handed out here, or all are taken to be.

use smallvec::SmallVec;

use super::ways::{Reach, Ways};
use crate::{limits::CHANNELS_TOUCHED_MAX, model::ShardId};

/// What may not have been handed out on this shard, by the channels it depends on.
#[derive(Default)]
pub(super) struct Touched {
    list: SmallVec<[Touch; 1]>,
    /// There were too many: it may be any.
    is_any: bool,
}

/// The last on a way that depends on a channel.
#[derive(Clone, Copy)]
struct Touch {
    /// The channel's.
    key: u32,
    way: ShardId,
    number: u64,
}

impl Touched {
    /// Notes what has been sent on a way and depends on the channel of this key.
    pub(super) fn note(&mut self, key: u32, (way, number): (ShardId, u64)) {
        if let Some(touch) = self.list.iter_mut().find(|touch| (touch.key, touch.way) == (key, way)) {
            touch.number = number;
        } else if self.list.len() < CHANNELS_TOUCHED_MAX {
            self.list.push(Touch { key, way, number });
        } else {
            self.is_any = true;
        }
    }

    /// Whether any channel may be meant, since there were too many.
    pub(super) fn is_any(&self) -> bool {
        self.is_any
    }

    /// Whether something that this shard has stamped depends on one of these.
    pub(super) fn has_here(&self, me: ShardId, keys: &[u32]) -> bool {
        self.list.iter().any(|touch| touch.way == me && keys.contains(&touch.key))
    }

    /// Whether something that was sent through others depends on one of these and has not been handed out here. If so, it is
    /// asked how far it is.
    pub(super) fn is_under_way(&self, me: ShardId, keys: &[u32], ways: &mut Ways) -> bool {
        let elsewhere = self.list.iter().filter(|touch| touch.way != me && keys.contains(&touch.key));
        elsewhere.fold(false, |any, touch| any | !ways.has_reached(touch.way, touch.number, Reach::Here))
    }

    /// Forgets what has been handed out here: what was sent through others as far as it is known, and the rest if all has.
    pub(super) fn forget(&mut self, me: ShardId, is_over_here: bool, ways: &Ways) {
        self.list.retain(|touch| match touch.way == me {
            true => !is_over_here,
            false => !ways.is_over_here(touch.way, touch.number),
        });
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        (self.list, self.is_any) = (SmallVec::new(), false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::ways::Mark;

    const ME: ShardId = ShardId(0);
    const OTHER: ShardId = ShardId(1);

    #[test]
    fn a_channel_is_there_until_what_depends_on_it_has_been_handed_out() {
        let (mut touched, mut ways) = (Touched::default(), Ways::new(ME, 2, 0));
        let send =
            |touched: &mut Touched, ways: &mut Ways, key, way| touched.note(key, (way, ways.send(way)));
        for (key, way) in [(1, OTHER), (2, ME), (3, OTHER), (1, OTHER)] {
            send(&mut touched, &mut ways, key, way);
        }
        assert!(touched.has_here(ME, &[5, 2]) && !touched.has_here(ME, &[1, 3]));
        assert!(touched.is_under_way(ME, &[3], &mut ways) && !touched.is_under_way(ME, &[2], &mut ways));
        let mark = ways.poll_mark(0, &Default::default(), &mut false).expect("somebody waits");
        assert_eq!(mark, Mark { way: OTHER, number: 3, reach: Reach::Here });
        send(&mut touched, &mut ways, 1, OTHER);
        ways.handle_reached(ME, mark);
        assert!(!touched.is_under_way(ME, &[3], &mut ways) && touched.is_under_way(ME, &[1, 3], &mut ways));
        touched.forget(ME, true, &ways);
        assert_eq!(touched.list.iter().map(|touch| (touch.key, touch.number)).collect::<Vec<_>>(), [(1, 4)]);
    }

    #[test]
    fn with_too_many_any_may_be_meant_until_all_is_over() {
        let mut touched = Touched::default();
        (0..CHANNELS_TOUCHED_MAX as u32).for_each(|key| touched.note(key, (OTHER, 1)));
        touched.note(0, (OTHER, 2));
        assert!(!touched.is_any());
        touched.note(u32::MAX, (OTHER, 3));
        assert!(touched.is_any() && touched.list.len() == CHANNELS_TOUCHED_MAX);
        touched.clear();
        assert!(!touched.is_any() && touched.list.is_empty());
    }
}
