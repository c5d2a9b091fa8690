//! How far readers of a burst have come: moving them on, and finding what was lost on the way.

use std::ops::Range;

use crate::{
    limits::FANOUT_PORTION_BYTES,
    model::{Position, SharedPublication},
};

/// Takes the publications from a cursor up to the next gap, or as many as one portion may have, and tells whether a gap
/// lies before them. A large one is by itself.
pub(super) fn advance(
    next: &mut usize,
    seen: &mut Position,
    burst: &[SharedPublication],
) -> (Range<usize>, bool) {
    let start = *next;
    let gap = !follows(*seen, burst[start].position);
    let mut bytes = burst[start].payload.bytes();
    *seen = burst[start].position;
    *next += 1;
    while let Some(publication) = burst.get(*next).filter(|publication| follows(*seen, publication.position))
    {
        let with_this = bytes + publication.payload.bytes();
        if with_this > FANOUT_PORTION_BYTES {
            break;
        }
        bytes = with_this;
        *seen = publication.position;
        *next += 1;
    }
    (start..*next, gap)
}

/// Moves a cursor over what was lost at the end of the burst; tells whether anything was.
pub(super) fn catch_up(seen: &mut Position, announced: Option<Position>) -> bool {
    let Some(position) = announced.filter(|_| is_behind(*seen, announced)) else { return false };
    *seen = position;
    true
}

/// Whether something up to an announced position has not been seen.
pub(super) fn is_behind(seen: Position, announced: Option<Position>) -> bool {
    announced.is_some_and(|announced| announced.epoch != seen.epoch || announced.offset > seen.offset)
}

fn follows(seen: Position, next: Position) -> bool {
    next.epoch == seen.epoch && next.offset == seen.offset + 1
}
