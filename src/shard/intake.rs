//! How much of what clients send is heard in one turn.
//!
//! One receive brings a hundred small requests, or five hundred frames, and hundreds of receives can have ended when a turn
//! begins. So what is heard is counted by pieces: a request, a frame, a packet of a post, and so many bytes received. Each
//! connection has so many of them heard in one go, fewer the more the turn has heard; the rest of what it has sent is kept
//! ([`super::kept`], [`super::messages`]), and goes on in the next turn, whoever has waited longest first.
//!
//! ```text
//!   heard in this turn   0 ───────── a quarter ─────────────────── all ──────────────► nothing more is received
//!   in one go              AT_ONCE               AT_ONCE_BUSY             BEYOND
//! ```
//!
//! What waits gets half of a turn at most, and what has come since is received in each, so neither starves the other. Whoever
//! sends little is heard at once, however much others send.

use crate::limits::{HEARD_AT_ONCE, HEARD_AT_ONCE_BUSY, HEARD_BEYOND, HEARD_BYTES_PER_PIECE, HEARD_PER_TURN};

/// What a shard has heard in this turn.
pub(super) struct Intake {
    heard: usize,
    /// So much is heard of whoever has its turn now, before others get theirs.
    end: usize,
    /// What is heard of one connection in one go, if that is less than usual.
    share_max: usize,
}

impl Default for Intake {
    fn default() -> Self {
        Self { heard: 0, end: HEARD_PER_TURN, share_max: usize::MAX }
    }
}

impl Intake {
    /// A turn begins.
    pub(super) fn begin_turn(&mut self) {
        *self = Self::default();
    }

    /// Pieces heard in this turn.
    pub(super) fn heard(&self) -> usize {
        self.heard
    }

    /// Some have been heard.
    pub(super) fn note(&mut self, pieces: usize) {
        self.heard += pieces;
    }

    /// So many bytes have been received.
    pub(super) fn note_received(&mut self, bytes: usize) {
        self.heard += bytes / HEARD_BYTES_PER_PIECE;
    }

    /// Up to where a connection may be heard that has its turn now.
    pub(super) fn grant(&self) -> usize {
        let usual = match self.heard {
            heard if heard < HEARD_PER_TURN / 4 => HEARD_AT_ONCE,
            heard if heard < HEARD_PER_TURN => HEARD_AT_ONCE_BUSY,
            _ => HEARD_BEYOND,
        };
        self.heard + usual.min(self.share_max)
    }

    /// Whether as much has been heard as was granted.
    pub(super) fn is_used_up(&self, grant: usize) -> bool {
        self.heard >= grant
    }

    /// Whether others have their turn now.
    pub(super) fn is_spent(&self) -> bool {
        self.heard >= self.end
    }

    /// So many that wait have their turn, up to this part of what a turn hears.
    pub(super) fn begin_waiting(&mut self, count: usize, end: usize) {
        self.end = end;
        self.share_max = (end / count.max(1)).clamp(2 * HEARD_BEYOND, HEARD_AT_ONCE);
    }

    /// Whoever has sent something now has its turn.
    pub(super) fn end_waiting(&mut self) {
        (self.end, self.share_max) = (HEARD_PER_TURN, usize::MAX);
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, io::Write, os::unix::net::UnixStream};

    use super::*;
    use crate::{
        app::{Answer, Context, Handler, Message, Peer, Request, Response, Verdict},
        limits::HEARD_PER_TURN_MAX,
        shard::simulated::{Common, Shards, receive},
        wire::websocket::{Opcode, encode_frame_masked},
    };

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    const UPGRADE: &[u8] =
        b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

    /// Answers every request, and finds the numbers in order that come on each WebSocket.
    #[derive(Default)]
    struct Server {
        next: HashMap<u32, u32>,
    }

    impl Handler for Server {
        fn connect(&mut self, _: &mut Context<'_>, _: &Peer<'_>, _: &Request<'_>) -> Verdict {
            Verdict::Accept { tag: 0, channel: None, protocol: None, diagnostic: false }
        }

        fn request(&mut self, _: &mut Context<'_>, _: &Peer<'_>, _: &Request<'_>) -> Answer {
            Answer::Respond(Response::empty(204))
        }

        fn message(&mut self, _: &mut Context<'_>, peer: &Peer<'_>, message: Message<'_>) {
            let Message::Binary(bytes) = message else { panic!("a number") };
            let next = self.next.entry(peer.connection.index).or_default();
            assert_eq!(bytes, next.to_be_bytes(), "none is missing, and none is before another");
            *next += 1;
        }
    }

    /// A client that sends all it has to say as fast as that is taken.
    struct Flooder {
        socket: UnixStream,
        unsent: Vec<u8>,
        at: usize,
    }

    impl Flooder {
        fn go_on(&mut self) {
            while let Ok(count) = self.socket.write(&self.unsent[self.at..])
                && count > 0
            {
                self.at += count;
            }
            receive(&mut self.socket, &mut Vec::new(), usize::MAX);
        }
    }

    const FLOODERS: u32 = 80;
    const REQUESTS: u64 = 1_000;
    const MESSAGES: u64 = 4_000;

    /// Shards with clients that flood the only one of them, every other one with requests.
    fn flooded() -> (Shards, Vec<Flooder>) {
        let mut shards = Shards::new(&Common::of_one(FLOODERS + 1), |_| Box::new(Server::default()));
        let flooders = (0..FLOODERS).map(|number| {
            let (socket, _) = shards.connect(0, 1 << 16).expect("there is room");
            let mut unsent = Vec::new();
            if number % 2 == 0 {
                (0..REQUESTS).for_each(|_| unsent.extend_from_slice(REQUEST));
            } else {
                unsent.extend_from_slice(UPGRADE);
                for number in 0..MESSAGES as u32 {
                    encode_frame_masked(&mut unsent, Opcode::Binary, true, &number.to_be_bytes(), [7; 4]);
                }
            }
            Flooder { socket, unsent, at: 0 }
        });
        let flooders = flooders.collect();
        (shards, flooders)
    }

    #[test]
    fn whatever_comes_in_a_turn_hears_so_much_of_it_and_all_is_heard_in_order() {
        let (mut shards, mut flooders) = flooded();
        let (flooders_of_each, mut most) = (u64::from(FLOODERS / 2), 0);
        let all = (flooders_of_each * REQUESTS, flooders_of_each * MESSAGES);
        let mut turns = 0;
        loop {
            flooders.iter_mut().for_each(Flooder::go_on);
            shards.turn(0);
            let shard = &shards.all[0];
            most = most.max(shard.intake.heard());
            if (shard.report.responses_total[1], shard.report.messages_total) == all {
                break;
            }
            turns += 1;
            assert!(turns < 100_000, "{:?} have been heard of {all:?}", shard.report.messages_total);
        }
        assert!(most > HEARD_PER_TURN, "{most} pieces: this is no flood");
        assert!(most <= HEARD_PER_TURN_MAX, "{most} pieces were heard in one turn");
        assert_eq!(shards.all[0].report.closed_total.iter().sum::<u64>(), 0);
    }

    #[test]
    fn whoever_sends_little_is_heard_at_once_while_others_flood() {
        let (mut shards, mut flooders) = flooded();
        let (mut innocent, _) = shards.connect(0, 1 << 16).expect("there is room");
        (0..10).for_each(|_| shards.turn(0));
        let mut asked = 0;
        while shards.all[0].report.messages_total < u64::from(FLOODERS / 2) * MESSAGES / 2 {
            flooders.iter_mut().for_each(Flooder::go_on);
            innocent.write_all(REQUEST).expect("it is taken");
            let (mut answer, mut turns) = (Vec::new(), 0);
            while answer.is_empty() {
                shards.turn(0);
                receive(&mut innocent, &mut answer, usize::MAX);
                turns += 1;
                assert!(turns <= 4, "others have their turn first, again and again");
            }
            asked += 1;
        }
        assert!(asked > 10, "{asked} only: this is no flood");
    }

    #[test]
    fn more_is_granted_while_little_has_been_heard() {
        let mut intake = Intake::default();
        assert_eq!(intake.grant(), HEARD_AT_ONCE);
        intake.note(HEARD_PER_TURN / 4);
        assert_eq!(intake.grant() - intake.heard(), HEARD_AT_ONCE_BUSY);
        intake.note(HEARD_PER_TURN);
        assert!(intake.is_spent());
        assert_eq!(intake.grant() - intake.heard(), HEARD_BEYOND);
        intake.begin_turn();
        intake.begin_waiting(100_000, HEARD_PER_TURN / 2);
        assert_eq!(intake.grant(), 2 * HEARD_BEYOND, "each of very many that wait has a little");
        intake.note(HEARD_PER_TURN / 2);
        assert!(intake.is_spent());
        intake.end_waiting();
        assert!(!intake.is_spent(), "what has come since has the rest");
    }
}
