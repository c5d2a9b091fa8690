//! What programs of other members of a cluster have said and wait for an answer to.

use std::collections::VecDeque;

use crate::{app::socketio::Said, limits::PROGRAM_SAID_MAX};

/// What others have said that wait for an answer of the program, by the numbers that it was told; the oldest first.
#[derive(Debug, Default)]
pub(super) struct Unanswered {
    next: u32,
    list: VecDeque<(u32, Said)>,
}

impl Unanswered {
    /// Keeps who waits for an answer; with too many the oldest waits in vain.
    pub(super) fn add(&mut self, said: Said) -> u32 {
        self.next = self.next.wrapping_add(1);
        if self.list.len() >= PROGRAM_SAID_MAX {
            self.list.pop_front();
        }
        self.list.push_back((self.next, said));
        self.next
    }

    /// Who waits for the answer of this number, if somebody does.
    pub(super) fn take(&mut self, number: u32) -> Option<Said> {
        let place = self.list.iter().position(|(other, _)| *other == number)?;
        self.list.remove(place).map(|(_, said)| said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ShardId;

    #[test]
    fn with_too_many_that_wait_the_oldest_waits_in_vain() {
        let mut unanswered = Unanswered::default();
        let said = |token| Said { asker: ShardId(0), token };
        for token in 0..=PROGRAM_SAID_MAX as u64 {
            assert_eq!(unanswered.add(said(token)), token as u32 + 1);
        }
        assert!(unanswered.take(1).is_none());
        assert_eq!(unanswered.take(2).map(|said| said.token), Some(1));
        assert!(unanswered.take(2).is_none(), "it is answered once");
    }
}
