//! Up to where subscribers have been told, for whoever goes on with them.

use super::Audience;
use crate::{
    hub::seat::Place,
    model::{Position, Transport},
};

impl Audience {
    /// Up to where whoever has a place here has been told, and how; `None` while some of the lists are a part ahead of others.
    pub(in crate::hub) fn told(&self, place: Place) -> Option<(Transport, Position)> {
        match place {
            Place::Listed { transport, .. } => (!self.is_sliced()).then_some((transport, self.seen)),
            Place::Late { slot } => {
                let late = self.latecomers().get(slot as usize)?;
                Some((late.transport, late.seen))
            }
            Place::Joining { .. } => None,
        }
    }
}
