//! What a client sends while one of its messages waits for something: kept in the order in which it was sent, and bounded by
//! number and bytes, of one client and of all together.

use std::collections::VecDeque;

/// Messages behind one that waits. That one may be kept before them; it is counted elsewhere.
#[derive(Debug)]
pub(crate) struct Backlog<T> {
    messages: VecDeque<T>,
    /// What those cost that were kept with [`Self::keep`].
    bytes: usize,
}

/// How much is kept.
pub(crate) struct Bounds {
    /// Messages of one client, beside the one that waits.
    pub(crate) messages: usize,
    /// What those cost.
    pub(crate) bytes: usize,
    /// What those of all clients of a shard cost together.
    pub(crate) together_bytes: usize,
}

impl<T> Default for Backlog<T> {
    fn default() -> Self {
        Self { messages: VecDeque::new(), bytes: 0 }
    }
}

impl<T> Backlog<T> {
    /// Puts the message that waits before the others.
    pub(crate) fn put_first(&mut self, message: T) {
        self.messages.push_front(message);
    }

    /// Keeps a message, which costs this, behind the others; `false` when there is no room for it.
    #[must_use]
    pub(crate) fn keep(&mut self, message: T, cost: usize, together: &mut usize, bounds: &Bounds) -> bool {
        let has_room = self.messages.len() <= bounds.messages
            && self.bytes + cost <= bounds.bytes
            && *together + cost <= bounds.together_bytes;
        if has_room {
            self.bytes += cost;
            *together += cost;
            self.messages.push_back(message);
        }
        has_room
    }

    /// Takes the message that has waited.
    pub(crate) fn take_first(&mut self) -> Option<T> {
        self.messages.pop_front()
    }

    /// Takes the next message, which [`Self::keep`] was told to cost so much as this says.
    pub(crate) fn take_next(&mut self, together: &mut usize, cost: impl FnOnce(&T) -> usize) -> Option<T> {
        let message = self.messages.pop_front()?;
        let cost = cost(&message);
        self.bytes -= cost;
        *together -= cost;
        Some(message)
    }

    /// Takes all that is left; none of it counts any more.
    pub(crate) fn end(self, together: &mut usize) -> VecDeque<T> {
        *together -= self.bytes;
        self.messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_keeps_as_much_as_each_of_its_bounds_says_and_counts_what_is_there() {
        let bounds = |messages, bytes, together_bytes| Bounds { messages, bytes, together_bytes };
        // How many messages of ten are kept.
        let kept = |bounds: &Bounds, before: usize| {
            let (mut backlog, mut together) = (Backlog::default(), before);
            backlog.put_first("waits");
            let kept = (0..10).take_while(|_| backlog.keep("m", 10, &mut together, bounds)).count();
            assert_eq!(together, before + kept * 10);
            assert_eq!(backlog.take_first(), Some("waits"));
            if kept > 1 {
                assert_eq!(backlog.take_next(&mut together, |_| 10), Some("m"));
                assert_eq!(together, before + (kept - 1) * 10);
            }
            let left = backlog.end(&mut together).len();
            assert_eq!((left, together), (kept.max(2) - 1, before), "{kept}");
            kept
        };
        assert_eq!(kept(&bounds(3, 1_000, 1_000), 0), 3);
        assert_eq!(kept(&bounds(100, 49, 1_000), 0), 4);
        assert_eq!(kept(&bounds(100, 50, 1_000), 0), 5);
        assert_eq!(kept(&bounds(100, 1_000, 100), 40), 6);
    }
}
