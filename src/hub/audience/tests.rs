//! Audiences that are handed bursts, by hand and at random.

use super::*;
use crate::model::{Payload, Publication};

const EPOCH: u64 = 7;

fn at(offset: u64) -> Position {
    Position { epoch: EPOCH, offset }
}

fn name() -> ChannelName {
    ChannelName::new("news", 255).unwrap()
}

fn push(audience: &mut Audience, offsets: impl IntoIterator<Item = u64>) {
    for offset in offsets {
        let payload = Payload::new(*b"hello", None);
        let publication = Publication { channel: name(), position: at(offset), unix_ms: 0, payload };
        audience.push(publication.into(), false, &Rc::default());
    }
}

/// Runs the fan-out to its end: who got which offsets, and `!` before a gap.
fn drain(audience: &mut Audience) -> Vec<String> {
    let mut seen = Vec::new();
    loop {
        match audience.step(FanoutLimit::NONE, 1) {
            Step::Portion(portion) => {
                let channel = name();
                let fanout = audience.fanout(&channel, portion);
                let offsets: Vec<_> = fanout.publications.iter().map(|p| p.position.offset).collect();
                assert!(offsets.first().is_none_or(|first| fanout.since.offset + 1 == *first));
                let mark = if fanout.gap { "!" } else { "" };
                seen.push(format!("{:?} {mark}{offsets:?}", fanout.subscribers.concat()));
            }
            Step::Seated { .. } => {}
            Step::Waits(_) => panic!("there is no limit"),
            Step::Done => return seen,
        }
    }
}

#[test]
fn subscribers_of_every_transport_get_the_whole_burst_at_once() {
    let mut audience = Audience::default();
    for (index, transport) in Transport::ALL.into_iter().enumerate() {
        audience.admit(index as u32, transport, at(4));
    }
    push(&mut audience, 5..=6);
    assert_eq!(drain(&mut audience), ["[0, 1, 2, 3, 4] [5, 6]"]);
    assert_eq!(drain(&mut audience), [""; 0]);
    assert_eq!(audience.counts(), [1; Transport::ALL.len()]);
}

#[test]
fn a_latecomer_gets_only_what_is_above_its_position_and_is_then_one_of_the_list() {
    let mut audience = Audience::default();
    audience.admit(1, Transport::Json, at(4));
    push(&mut audience, 5..=6);
    audience.admit(2, Transport::Json, at(6));
    push(&mut audience, 7..=8);
    audience.admit(3, Transport::Json, at(8));
    audience.admit(4, Transport::Json, at(5));
    assert_eq!(audience.counts(), [0, 4, 0, 0, 0]);
    assert_eq!(drain(&mut audience), ["[1] [5, 6, 7, 8]", "[4] [6, 7, 8]", "[2] [7, 8]"]);
    push(&mut audience, [9]);
    assert_eq!(drain(&mut audience), ["[1, 4, 3, 2] [9]"]);
}

#[test]
fn a_gap_splits_the_burst_and_shows_once() {
    let mut audience = Audience::default();
    audience.admit(1, Transport::Json, at(4));
    push(&mut audience, [5, 7, 8]);
    assert_eq!(drain(&mut audience), ["[1] [5]", "[1] ![7, 8]"]);
    push(&mut audience, [9]);
    assert_eq!(drain(&mut audience), ["[1] [9]"]);
}

#[test]
fn a_gap_before_a_subscriber_joined_is_not_its_gap() {
    let mut audience = Audience::default();
    audience.admit(1, Transport::Json, at(4));
    audience.admit(2, Transport::Json, at(6));
    assert_eq!(drain(&mut audience), [""; 0]);
    push(&mut audience, [7]);
    assert_eq!(drain(&mut audience), ["[1] ![7]", "[2] [7]"]);
    push(&mut audience, [8]);
    assert_eq!(drain(&mut audience), ["[1, 2] [8]"]);
}

#[test]
fn what_was_lost_last_shows_as_a_gap_with_nothing_after_it() {
    let mut audience = Audience::default();
    audience.admit(1, Transport::Json, at(4));
    push(&mut audience, [5]);
    audience.admit(2, Transport::Json, at(6));
    audience.admit(3, Transport::Json, at(7));
    audience.announce(at(7));
    assert_eq!(drain(&mut audience), ["[1] [5]", "[1] ![]", "[2] ![]"]);
    push(&mut audience, [8]);
    assert_eq!(drain(&mut audience), ["[1, 3, 2] [8]"]);
    audience.announce(at(8));
    assert_eq!(drain(&mut audience), [""; 0]);
}

#[test]
fn the_last_of_the_list_takes_a_removed_seat() {
    let mut audience = Audience::default();
    let seats = [1, 2, 3].map(|connection| audience.admit(connection, Transport::EventStream, at(0)));
    assert_eq!(audience.remove(seats[0].place())[..], [Moved { connection: 3, seat: seats[0] }]);
    assert!(audience.remove(seats[1].place()).is_empty());
    assert!(audience.remove(seats[0].place()).is_empty());
    assert!(audience.is_empty());
}

#[test]
fn the_last_latecomer_takes_a_removed_seat() {
    let mut audience = Audience::default();
    audience.admit(0, Transport::Json, at(0));
    push(&mut audience, [1]);
    let seats = [1, 2, 3].map(|connection| audience.admit(connection, Transport::EventStream, at(1)));
    push(&mut audience, [2]);
    assert_eq!(audience.remove(seats[0].place())[..], [Moved { connection: 3, seat: seats[0] }]);
    assert_eq!(drain(&mut audience), ["[0] [1, 2]", "[2] [2]", "[3] [2]"]);
}

#[test]
fn latecomers_get_their_part_when_the_lists_have_emptied() {
    let mut audience = Audience::default();
    let seat = audience.admit(1, Transport::Json, at(4));
    push(&mut audience, [5]);
    audience.admit(2, Transport::Json, at(5));
    push(&mut audience, [6]);
    audience.remove(seat.place());
    assert_eq!(drain(&mut audience), ["[2] [6]"]);
    push(&mut audience, [7]);
    assert_eq!(drain(&mut audience), ["[2] [7]"]);
}

#[test]
fn a_burst_nobody_waits_for_is_dropped() {
    let mut audience = Audience::default();
    let seat = audience.admit(1, Transport::Json, at(4));
    push(&mut audience, [5]);
    audience.remove(seat.place());
    audience.admit(2, Transport::Json, at(5));
    assert_eq!(drain(&mut audience), [""; 0]);
    push(&mut audience, [6]);
    assert_eq!(drain(&mut audience), ["[2] [6]"]);
}

#[test]
fn publications_and_subscribers_may_come_between_portions() {
    let mut audience = Audience::default();
    audience.admit(1, Transport::Json, at(4));
    push(&mut audience, [5]);
    let Step::Portion(first) = audience.step(FanoutLimit::NONE, 1) else {
        panic!("there is something to hand out")
    };
    let readers =
        Readers::Listed { from: Cursor::default(), to: Cursor { transport: Transport::ALL.len(), slot: 0 } };
    assert_eq!((first.range, first.readers), (0..1, readers));
    audience.admit(2, Transport::Json, at(5));
    push(&mut audience, [6]);
    assert_eq!(drain(&mut audience), ["[1, 2] [6]"], "the latecomer has its seat before the lists go on");
}

#[test]
fn a_list_is_given_its_slices_one_after_the_other() {
    let mut audience = Audience::default();
    let whole = FanoutLimit { subscribers: 2, whole: Some(Transport::SocketIo), ..FanoutLimit::NONE };
    for (connection, transport) in
        [(1, Transport::Json), (2, Transport::Json), (3, Transport::Json), (4, Transport::EventStream)]
    {
        audience.admit(connection, transport, at(4));
    }
    for connection in 5..10 {
        audience.admit(connection, Transport::SocketIo, at(4));
    }
    push(&mut audience, [5, 7]);
    let mut slices = Vec::new();
    while let Step::Portion(portion) = audience.step(whole, 1) {
        let name = name();
        let fanout = audience.fanout(&name, portion);
        slices.push((
            fanout.subscribers.concat(),
            fanout.publications.len(),
            fanout.gap,
            fanout.since.offset,
        ));
    }
    let all: Vec<u32> = (5..10).collect();
    let expected = [(5, false, 4), (7, true, 6)].into_iter().flat_map(|(_, gap, since)| {
        [vec![1, 2], [vec![3, 4], all.clone()].concat()].map(|list| (list, 1, gap, since))
    });
    assert_eq!(slices, expected.collect::<Vec<_>>());
}

#[test]
fn whoever_comes_and_goes_between_slices_nobody_misses_or_repeats_anything() {
    for seed in 0..500 {
        let mut chance = fastrand::Rng::with_seed(seed);
        let mut crowd = Crowd::default();
        (0..chance.u32(1..12)).for_each(|_| crowd.admit(&mut chance));
        for _ in 0..chance.u32(1..40) {
            match chance.u8(..12) {
                0..2 => crowd.admit(&mut chance),
                2..4 => crowd.remove(&mut chance),
                4..6 => crowd.publish(),
                6 => crowd.lose(),
                _ => {
                    crowd.step(FanoutLimit { subscribers: chance.usize(1..4), ..FanoutLimit::NONE });
                }
            }
        }
        while crowd.step(FanoutLimit { subscribers: 3, ..FanoutLimit::NONE }) {}
        for member in &crowd.members {
            assert_eq!(member.seen, crowd.published, "seed {seed}, {member:?}");
        }
    }
}

#[derive(Debug)]
struct Person {
    connection: u32,
    seat: Seat,
    /// What it has been given or told that it missed.
    seen: u64,
}

/// An audience, and what everybody in it has seen.
#[derive(Default)]
struct Crowd {
    audience: Audience,
    members: Vec<Person>,
    published: u64,
    lost: Vec<u64>,
    admitted: u32,
}

impl Crowd {
    fn admit(&mut self, chance: &mut fastrand::Rng) {
        let transport = Transport::ALL[chance.usize(..Transport::ALL.len())];
        let (connection, seen) = (self.admitted, self.published);
        let seat = self.audience.admit(connection, transport, at(seen));
        self.admitted += 1;
        self.members.push(Person { connection, seat, seen });
    }

    fn remove(&mut self, chance: &mut fastrand::Rng) {
        if self.members.is_empty() {
            return;
        }
        let gone = self.members.swap_remove(chance.usize(..self.members.len()));
        for moved in self.audience.remove(gone.seat.place()) {
            self.member(moved.connection).seat = moved.seat;
        }
    }

    fn publish(&mut self) {
        self.published += 1;
        if !self.audience.is_empty() {
            push(&mut self.audience, [self.published]);
        }
    }

    /// A publication is lost on the way, which may be told before the next comes.
    fn lose(&mut self) {
        self.published += 1;
        self.lost.push(self.published);
        if !self.audience.is_empty() {
            self.audience.announce(at(self.published));
        }
    }

    fn step(&mut self, limit: FanoutLimit) -> bool {
        match self.audience.step(limit, 1) {
            Step::Portion(portion) => {
                let name = name();
                let fanout = self.audience.fanout(&name, portion);
                let (since, gap) = (fanout.since.offset, fanout.gap);
                let offsets: Vec<_> = fanout.publications.iter().map(|one| one.position.offset).collect();
                assert_eq!(offsets, (since + 1..).take(offsets.len()).collect::<Vec<_>>());
                for connection in fanout.subscribers.concat() {
                    let member = self.members.iter_mut().find(|member| member.connection == connection);
                    let member = member.expect("only members get anything");
                    assert_eq!(gap, since > member.seen, "{member:?} {since} {offsets:?}");
                    assert!(
                        (member.seen + 1..=since).all(|offset| self.lost.contains(&offset)),
                        "{member:?}"
                    );
                    member.seen = since + offsets.len() as u64;
                }
            }
            Step::Seated { connection, seat, moved } => {
                self.member(connection).seat = seat;
                if let Some(moved) = moved {
                    self.member(moved.connection).seat = moved.seat;
                }
            }
            Step::Waits(_) => panic!("there is no limit of bytes"),
            Step::Done => return false,
        }
        true
    }

    fn member(&mut self, connection: u32) -> &mut Person {
        let member = self.members.iter_mut().find(|member| member.connection == connection);
        member.expect("only members have seats")
    }
}

/// What is handed out in turns of their own until something is held back: who got which offsets.
fn drain_to_held(audience: &mut Audience, turn: u64) -> Vec<String> {
    let limit = FanoutLimit { is_paced: true, ..FanoutLimit::NONE };
    let mut seen = Vec::new();
    loop {
        match audience.step(limit, turn) {
            Step::Portion(portion) => {
                let channel = name();
                let fanout = audience.fanout(&channel, portion);
                let offsets: Vec<_> = fanout.publications.iter().map(|p| p.position.offset).collect();
                let mark = if fanout.gap { "!" } else { "" };
                seen.push(format!("{:?} {mark}{offsets:?}", fanout.subscribers.concat()));
            }
            Step::Seated { .. } => {}
            Step::Waits(Wait::Held) => return seen,
            Step::Waits(wait) => panic!("{wait:?}"),
            Step::Done => panic!("nothing is held back"),
        }
    }
}

fn push_held(audience: &mut Audience, offset: u64) {
    let payload = Payload::new(*b"held", None);
    let publication = Publication { channel: name(), position: at(offset), unix_ms: 0, payload };
    audience.push(publication.into(), true, &Rc::default());
}

#[test]
fn what_is_held_back_lets_nothing_behind_it_pass_and_newcomers_get_what_is_theirs() {
    let mut audience = Audience::default();
    audience.admit(1, Transport::Json, at(4));
    push(&mut audience, 5..=6);
    push_held(&mut audience, 7);
    push(&mut audience, 8..=8);
    assert_eq!(drain_to_held(&mut audience, 1), ["[1] [5, 6]"]);
    assert_eq!(audience.held_back().map(|one| one.position.offset), Some(7));
    assert!(audience.has_handed_out(at(6)) && !audience.has_handed_out(at(7)));
    audience.admit(2, Transport::Json, at(8));
    audience.admit(3, Transport::Json, at(6));
    push_held(&mut audience, 9);
    assert_eq!(drain_to_held(&mut audience, 1), [""; 0]);
    let lacks = |publication: &Publication| (publication.position.offset == 9).then_some(());
    assert_eq!(audience.go_on(lacks), None, "it goes on up to the next");
    assert_eq!(drain_to_held(&mut audience, 1), ["[1, 3] [7, 8]"], "in the same turn");
    assert_eq!(audience.go_on(lacks), Some(()), "it is the same as before");
    assert_eq!(audience.go_on(|_| None::<()>), None);
    assert_eq!(drain(&mut audience), ["[1, 3, 2] [9]"]);
}

#[test]
fn newcomers_alone_wait_for_what_is_held_back_unless_they_are_ahead_of_it() {
    let mut audience = Audience::default();
    let listed = audience.admit(1, Transport::Json, at(4));
    push_held(&mut audience, 5);
    audience.admit(2, Transport::Json, at(5));
    audience.admit(3, Transport::Json, at(4));
    audience.remove(listed.place());
    push(&mut audience, 6..=6);
    audience.announce(at(7));
    assert_eq!(drain_to_held(&mut audience, 1), [""; 0]);
    assert_eq!(audience.go_on(|_| None::<()>), None);
    assert_eq!(drain(&mut audience), ["[3] [5, 6]", "[2] [6]", "[3, 2] ![]"]);
    assert!(audience.held_back().is_none());
}

#[test]
fn nothing_is_held_back_where_nothing_is_paced() {
    let mut audience = Audience::default();
    audience.admit(1, Transport::Json, at(4));
    push_held(&mut audience, 5);
    assert_eq!(drain(&mut audience), ["[1] [5]"]);
}
