//! What has been said in rooms and to sockets alone, and what clients say they have heard of it: of each stay in a room everything
//! that was said in it, in the room's order, once, however often its client was cut.

use std::{collections::HashMap, ops::AddAssign};

/// The first is everybody.
pub(super) const ROOMS: usize = 4;
/// The filling of the largest event.
pub(super) const FILLING_BYTES_MAX: usize = 30_000;
/// Most that an event takes in a log beside its filling.
const EVENT_BYTES_MAX: usize = 400;
/// So much may have been said that has not reached everybody's shard.
pub(super) const UNSETTLED_BYTES_MAX: usize = 100_000;

#[derive(Default)]
pub(super) struct Oracle {
    /// What a witness that misses nothing has heard in each room.
    rooms: [Vec<u64>; ROOMS],
    pub(super) stays: Vec<Stay>,
    said: HashMap<u64, Said>,
    numbers: u64,
    /// Bytes of all that has been said.
    bytes: usize,
    sockets: HashMap<String, Alone>,
    /// How much a client may miss, at least.
    held_bytes: usize,
    pub(super) seen: Seen,
}

struct Said {
    filling: usize,
    /// Who is left out.
    except: Option<String>,
    /// What had been said before, in bytes.
    before: usize,
}

/// What is known of a socket.
#[derive(Default)]
struct Alone {
    /// What was said to it alone by each speaker, and how much of that it has heard.
    told: HashMap<usize, (Vec<u64>, usize)>,
    /// What had been said when it last heard something, in bytes.
    heard: usize,
}

/// A client's stay in a room.
#[derive(Debug)]
pub(super) struct Stay {
    room: usize,
    sid: String,
    heard: Vec<u64>,
    /// How many had been heard in the room by the witness before it asked to join.
    before: usize,
    /// The last number before it knew that it was in: what was said behind that it hears.
    joined: Option<u64>,
    pub(super) end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It has not ended.
    Open,
    /// It wants to leave: what is on its way to its shard it may hear or not.
    Leaving,
    /// Its socket is gone, with what it had not been told.
    Lost,
}

/// What has happened, in all seeds together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) said: u64,
    pub(super) heard: u64,
    pub(super) alone: u64,
    pub(super) cuts: u64,
    pub(super) recovered: u64,
    /// Clients that came back and were told that not all is held.
    pub(super) lost: u64,
    /// Sessions that went to another shard.
    pub(super) moved: u64,
}

impl AddAssign for Seen {
    fn add_assign(&mut self, other: Self) {
        self.said += other.said;
        self.heard += other.heard;
        self.alone += other.alone;
        self.cuts += other.cuts;
        self.recovered += other.recovered;
        self.lost += other.lost;
        self.moved += other.moved;
    }
}

impl Oracle {
    pub(super) fn new(held_bytes: usize) -> Self {
        Self { held_bytes, ..Self::default() }
    }

    /// The number of what is said next.
    pub(super) fn say(&mut self, filling: usize, except: Option<&str>) -> u64 {
        self.numbers += 1;
        self.seen.said += 1;
        let said = Said { filling, except: except.map(str::to_owned), before: self.bytes };
        self.said.insert(self.numbers, said);
        self.bytes += filling + EVENT_BYTES_MAX;
        self.numbers
    }

    /// The same, to one socket by a speaker.
    pub(super) fn say_alone(&mut self, sid: &str, speaker: usize, filling: usize) -> u64 {
        let number = self.say(filling, None);
        let alone = self.sockets.entry(sid.to_owned()).or_default();
        alone.told.entry(speaker).or_default().0.push(number);
        number
    }

    /// The witness has heard something.
    pub(super) fn witness(&mut self, room: usize, number: u64) {
        self.rooms[room].push(number);
    }

    /// How many have been heard in a room by the witness.
    pub(super) fn witnessed(&self, room: usize) -> usize {
        self.rooms[room].len()
    }

    /// Bytes of all that has been said.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// A client is in by another socket than before, and had said that it enters when so much had been said.
    pub(super) fn enter(&mut self, sid: &str, said_bytes: usize) {
        let alone = self.sockets.entry(sid.to_owned()).or_default();
        alone.heard = said_bytes;
    }

    /// A client asks to join a room where the witness had heard so many before; its stay.
    pub(super) fn begin_to_join(&mut self, room: usize, sid: &str, before: usize) -> usize {
        let stay =
            Stay { room, sid: sid.to_owned(), heard: Vec::new(), before, joined: None, end: End::Open };
        self.stays.push(stay);
        self.stays.len() - 1
    }

    /// It knows that it is in.
    pub(super) fn join(&mut self, stay: usize) {
        self.stays[stay].joined.get_or_insert(self.numbers);
    }

    /// A client asks to leave.
    pub(super) fn begin_to_leave(&mut self, stay: usize) {
        self.stays[stay].end = End::Leaving;
    }

    pub(super) fn is_leaving(&self, stay: usize) -> bool {
        self.stays[stay].end == End::Leaving
    }

    /// A stay has ended with its socket.
    pub(super) fn lose(&mut self, stay: usize) {
        self.stays[stay].end = End::Lost;
    }

    /// A client hears something in a room.
    pub(super) fn hear(&mut self, stay: usize, number: u64) {
        self.seen.heard += 1;
        self.stays[stay].heard.push(number);
    }

    /// A socket hears what a speaker has said to it alone: the next thing.
    pub(super) fn hear_alone(&mut self, sid: &str, speaker: usize, number: u64) {
        self.seen.alone += 1;
        let alone = self.sockets.get_mut(sid).expect("something was said to it");
        let (told, heard) = alone.told.get_mut(&speaker).expect("by this speaker");
        assert_eq!(told.get(*heard), Some(&number), "{sid} is told everything by {speaker}, in order");
        *heard += 1;
    }

    /// What a socket hears is what was said.
    pub(super) fn check_filling(&mut self, sid: &str, number: u64, filling: &str) {
        let said = &self.said[&number];
        assert!(
            filling.len() == said.filling && filling.bytes().all(|byte| byte == b'x'),
            "{number} is whole"
        );
        assert_ne!(said.except.as_deref(), Some(sid), "{sid} is left out of {number}");
        self.sockets.entry(sid.to_owned()).or_default().heard = said.before;
    }

    /// A client that has come back is told that not everything is held since it last heard something: so much was said.
    pub(super) fn check_that_not_all_was_held(&mut self, sid: &str) {
        let since = self.bytes - self.sockets[sid].heard;
        assert!(
            since + UNSETTLED_BYTES_MAX > self.held_bytes,
            "{sid} is lost, and {since} bytes were said since"
        );
        self.seen.lost += 1;
    }

    /// Whether everybody who is in has heard everything.
    pub(super) fn check(&self, sockets: impl Iterator<Item = String>) {
        self.stays.iter().for_each(|stay| self.check_stay(stay));
        for sid in sockets {
            for (speaker, (told, heard)) in &self.sockets[&sid].told {
                assert_eq!(told.len(), *heard, "{sid} has heard all that {speaker} has said to it");
            }
        }
    }

    fn check_stay(&self, stay: &Stay) {
        let Stay { room, sid, heard, before, joined, end } = stay;
        let is_for_it = |number: &&u64| self.said[*number].except.as_deref() != Some(sid);
        let all: Vec<u64> = self.rooms[*room].iter().filter(is_for_it).copied().collect();
        let before = self.rooms[*room][..*before].iter().filter(is_for_it).count();
        let from =
            joined.and_then(|joined| all.iter().position(|number| *number > joined)).unwrap_or(all.len());
        let up_to = match *end {
            End::Open => all.len(),
            End::Leaving | End::Lost => 0,
        };
        let Some(first) = heard.first() else {
            return assert!(up_to <= from, "it has missed {:?}: {stay:?}", &all[from..up_to]);
        };
        let start =
            all.iter().position(|number| number == first).unwrap_or_else(|| panic!("{first}: {stay:?}"));
        assert!(start >= before, "{first} was said before it came: {stay:?}");
        assert!(start <= from, "it has missed {:?}: {stay:?}", &all[from..start]);
        let there = &all[start..all.len().min(start + heard.len())];
        assert_eq!(heard, there, "everything in its order, once: {stay:?}");
        assert!(start + heard.len() >= up_to, "it has missed the end: {stay:?} of {all:?}");
    }
}
