//! What waits for a program, made ready for another one, which knows nobody yet.
//!
//! ```text
//!   connected earlier ── event A1 ── B comes ── event B1 ── A leaves ── C (connected earlier) leaves
//!   told anew:   A (lost) and whoever is still there, then   A1   B comes   B1   A leaves
//! ```
//!
//! Invariant: nobody is heard or leaves who has not been introduced before, and everybody who is there is introduced once.

use rustc_hash::FxHashSet;

use super::frame::{Kind, frames};
use crate::model::SocketId;

/// A socket that is told again: the one who has its flag.
pub(super) const AGAIN: u8 = 2;

/// What another program is told.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Retold {
    /// Who has left since and is heard in what follows, with the number of its namespace.
    pub(super) lost: Vec<(SocketId, u16)>,
    /// Who is introduced in what follows.
    pub(super) introduced: FxHashSet<SocketId>,
    /// What follows.
    pub(super) frames: Vec<u8>,
}

/// Makes frames ready. `renumber` gives the number that a namespace has now, if it still has one, `is_here` tells who is there, and
/// `hears_moves` whether the other program is told which rooms others put clients into.
pub(super) fn retell(
    queue: &[u8],
    renumber: impl Fn(u16) -> Option<u16>,
    is_here: impl Fn(SocketId) -> bool,
    hears_moves: bool,
) -> Retold {
    let mut told = Retold::default();
    told.introduced
        .extend(frames(queue).filter(|(head, _)| head.kind == Kind::Connected).map(|it| it.0.socket));
    let mut present: FxHashSet<SocketId> = FxHashSet::default();
    for (head, bytes) in frames(queue) {
        let Some(namespace) = renumber(head.namespace) else { continue };
        let socket = head.socket;
        let is_known = match head.kind {
            Kind::Connected => {
                present.insert(socket);
                true
            }
            Kind::Event => {
                let is_earlier = !told.introduced.contains(&socket) && is_here(socket);
                if !is_earlier && present.insert(socket) {
                    told.lost.push((socket, namespace));
                }
                true
            }
            Kind::Disconnected => present.remove(&socket),
            Kind::Moved => {
                let is_earlier = !told.introduced.contains(&socket) && is_here(socket);
                hears_moves && (is_earlier || present.contains(&socket))
            }
            // Answers to what another program has asked, and questions that are put again.
            _ => false,
        };
        if is_known {
            let at = told.frames.len();
            told.frames.extend_from_slice(bytes);
            told.frames[at + 6..at + 8].copy_from_slice(&namespace.to_le_bytes());
            // Middleware of a program that has gone has let it in.
            if head.kind == Kind::Connected && head.number != 0 {
                told.frames[at + 5] |= AGAIN;
                told.frames[at + 20..at + 24].copy_from_slice(&0u32.to_le_bytes());
            }
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::ShardId, program::frame::Head};

    fn socket(index: u32) -> SocketId {
        SocketId::local(ShardId(0), index, 1)
    }

    /// Frames from words such as `+1`, `1`, `-1`: it comes, is heard, leaves; `?1` is an answer, `>1` a move to rooms.
    fn queue(words: &str) -> Vec<u8> {
        let mut out = Vec::new();
        for word in words.split_whitespace() {
            let digits = word.trim_start_matches(['+', '-', '?', '>']);
            let kind = match word.as_bytes()[0] {
                b'+' => Kind::Connected,
                b'-' => Kind::Disconnected,
                b'?' => Kind::Acked,
                b'>' => Kind::Moved,
                _ => Kind::Event,
            };
            let index = digits.parse().expect("a number");
            Head { number: 5, ..Head::about(kind, socket(index), 0) }.encode(&mut out, "[]", &[]);
        }
        out
    }

    fn check(words: &str, here: &[u32], lost: &[u32], follows: &str) {
        let told = retell(&queue(words), Some, |socket| here.contains(&socket.index), true);
        assert_eq!(told.lost.iter().map(|(socket, _)| socket.index).collect::<Vec<_>>(), lost, "{words}");
        let shown = frames(&told.frames).map(|(head, _)| {
            let sign = match head.kind {
                Kind::Connected => {
                    // All have been let in by middleware of another program.
                    assert_eq!((head.flags, head.number), (AGAIN, 0));
                    "+"
                }
                Kind::Disconnected => "-",
                Kind::Moved => ">",
                _ => "",
            };
            format!("{sign}{}", head.socket.index)
        });
        assert_eq!(shown.collect::<Vec<_>>().join(" "), follows, "{words}");
    }

    #[test]
    fn nobody_is_heard_or_leaves_who_has_not_been_introduced() {
        check("", &[1], &[], "");
        check("1 1", &[1], &[], "1 1");
        check("-1", &[], &[], "");
        check("1 -1", &[], &[1], "1 -1");
        check("1 2 -2 3", &[1, 3], &[2], "1 2 -2 3");
        check("+1 1 -1", &[], &[], "+1 1 -1");
        check("?1 +1 ?1", &[1], &[], "+1");
    }

    #[test]
    fn one_that_comes_back_is_introduced_before_what_it_said_earlier() {
        check("1 -1 +1 1", &[1], &[1], "1 -1 +1 1");
        check("-1 +1", &[1], &[], "+1");
    }

    #[test]
    fn who_is_there_is_moved_unless_the_program_does_not_hear_of_that() {
        check(">1 +2 >2 -2 >2 >3", &[1], &[], ">1 +2 >2 -2");
        let told = retell(&queue(">1 1"), Some, |_| true, false);
        assert_eq!(frames(&told.frames).map(|(head, _)| head.kind).collect::<Vec<_>>(), [Kind::Event]);
    }

    #[test]
    fn namespaces_have_the_numbers_of_the_new_program() {
        let told = retell(&queue("+1 2"), |number| number.checked_add(7), |_| true, true);
        assert!(frames(&told.frames).all(|(head, _)| head.namespace == 7));
        let told = retell(&queue("+1 2"), |_| None, |_| true, true);
        assert!(told.frames.is_empty() && told.lost.is_empty());
    }
}
