//! The tokens of connections whose indices follow each other, in as few bytes as their users' names allow.
//!
//! ```text
//!   until   [ 4 bytes each ]
//!   entry   [ 1 byte each  ]─► which of the page's entries of the table, and 0 where nobody is
//!   late    [ 1 bit each   ]
//!   names   [ as many bytes each as the longest packed name of the page has ]
//!                 └─ of a name that cannot be packed: where it stands in `long`, behind its length
//!   ids     [ 4 bytes each, once a token of the page has a name of its own (`jti`) ]
//! ```
//!
//! Invariant: what names and entries are is known by whoever has the table; this file keeps bytes.

use smallvec::SmallVec;

use super::Due;
use crate::{
    auth::names::PACKED_BYTES,
    limits::{CONNECTIONS_PER_SHARD_MAX, USER_BYTES_MAX},
};

/// As many as fill blocks of the allocator well, whose sizes lie a quarter of a power of two apart: 1,536 bytes for the page,
/// and 5,120 for packed names of 21 bytes, or 6,144 for the longest.
pub(super) const PLACES: usize = 243;
/// An entry that nobody of the page names any more.
const UNUSED: u32 = u32::MAX;
/// Bytes by which a name that is not packed is found, and those before it that tell how long it is.
const OFFSET_BYTES: usize = 2;
const LEN_BYTES: usize = 1;

const _: () = assert!(size_of::<Page>() <= 1536 && PLACES * 21 <= 5120 && PLACES * PACKED_BYTES <= 6144);
const _: () = assert!(1536 + 6144 <= 32 * PLACES, "a token costs its connection no more");
const _: () = assert!(PLACES < u8::MAX as usize && CONNECTIONS_PER_SHARD_MAX < UNUSED);
const _: () = assert!(USER_BYTES_MAX <= u8::MAX as usize, "a byte tells how long a name is");
const _: () = assert!(PLACES * (LEN_BYTES + USER_BYTES_MAX) <= u16::MAX as usize, "so all are found");

#[derive(Debug)]
pub(super) struct Page {
    until_s: [u32; PLACES],
    /// The place in `entries` plus one; 0 is nobody.
    entry: [u8; PLACES],
    late: [u8; PLACES.div_ceil(8)],
    held: u8,
    /// Bytes of each name.
    width: u8,
    /// No token of the page runs out before.
    next_s: u32,
    /// The numbers of the table's entries that somebody of the page names.
    entries: SmallVec<[u32; 2]>,
    names: Box<[u8]>,
    long: Vec<u8>,
    /// Hashes of the tokens' own names. One that happens to be equal ends a connection that may come back at once.
    ids: Option<Box<[u32; PLACES]>>,
}

impl Default for Page {
    fn default() -> Self {
        Self {
            until_s: [u32::MAX; PLACES],
            entry: [0; PLACES],
            late: [0; PLACES.div_ceil(8)],
            held: 0,
            width: 0,
            next_s: u32::MAX,
            entries: SmallVec::new(),
            names: Box::default(),
            long: Vec::new(),
            ids: None,
        }
    }
}

impl Page {
    /// A place, which nobody has, is somebody's whose token names this entry of the table. Its own name is hashed, or 0.
    pub(super) fn take(&mut self, place: usize, number: u32, until_s: u32, id_hash: u32) {
        self.entry[place] = self.entry_of(number) + 1;
        self.until_s[place] = until_s;
        self.set_late(place, false);
        self.held += 1;
        self.next_s = self.next_s.min(until_s);
        if id_hash != 0 || self.ids.is_some() {
            self.ids.get_or_insert_with(|| Box::new([0; PLACES]))[place] = id_hash;
        }
    }

    /// A place is nobody's any more; the number of the entry that its token named.
    pub(super) fn leave(&mut self, place: usize) -> Option<u32> {
        let number = self.number(place)?;
        let entry = std::mem::take(&mut self.entry[place]);
        self.held -= 1;
        if !self.entry.contains(&entry) {
            self.entries[usize::from(entry - 1)] = UNUSED;
        }
        Some(number)
    }

    /// Names whoever has a place, by a packed name.
    pub(super) fn put_name(&mut self, place: usize, packed: &[u8]) {
        if packed.len() > self.width.into() {
            self.widen(packed.len());
        }
        let (begin, rest) = self.name_mut(place).split_at_mut(packed.len());
        begin.copy_from_slice(packed);
        rest.fill(0);
    }

    /// The same by a name that cannot be packed, where this tells of which entries names are not.
    pub(super) fn put_long_name(&mut self, place: usize, name: &str, is_long: impl Fn(u32) -> bool) {
        let needed = LEN_BYTES + name.len();
        let is_far = self.long.len() > usize::from(u16::MAX);
        if is_far || self.long.len() + needed > self.long.capacity() {
            self.collect_long(place, needed, is_long);
        }
        let offset = self.long.len();
        self.long.push(name.len() as u8);
        self.long.extend_from_slice(name.as_bytes());
        self.put_name(place, &offset_bytes(offset));
    }

    /// Calls `tell` for everybody whose token has run out by now, those that are late once; they are over so much later.
    pub(super) fn take_due(&mut self, now_s: u32, grace_s: u32, mut tell: impl FnMut(Due<usize>)) {
        if self.next_s > now_s {
            return;
        }
        self.next_s = u32::MAX;
        for place in 0..PLACES {
            if self.entry[place] == 0 {
                continue;
            }
            if self.until_s[place] <= now_s {
                tell(if self.is_late(place) { Due::Over(place) } else { Due::Late(place) });
                self.set_late(place, true);
                // The clock may have been put far ahead; everybody has the time there is.
                self.until_s[place] = now_s.saturating_add(grace_s.max(1));
            }
            self.next_s = self.next_s.min(self.until_s[place]);
        }
    }

    /// The number of the entry that the token of a place names, if somebody has it.
    pub(super) fn number(&self, place: usize) -> Option<u32> {
        let entry = self.entry[place].checked_sub(1)?;
        Some(self.entries[usize::from(entry)])
    }

    /// Until when the token of a place is good.
    pub(super) fn until_s(&self, place: usize) -> u32 {
        self.until_s[place]
    }

    /// The hash of the token's own name, or 0.
    pub(super) fn id_hash(&self, place: usize) -> u32 {
        self.ids.as_ref().map_or(0, |ids| ids[place])
    }

    /// The packed name of whoever has a place; there may be zeros at its end.
    pub(super) fn name(&self, place: usize) -> &[u8] {
        let width = usize::from(self.width);
        &self.names[place * width..][..width]
    }

    /// The name of whoever has a place, which cannot be packed.
    pub(super) fn long_name(&self, place: usize) -> &str {
        std::str::from_utf8(self.long_at(place)).unwrap_or_default()
    }

    /// The places that somebody has.
    pub(super) fn held(&self) -> impl Iterator<Item = usize> {
        (0..PLACES).filter(|place| self.entry[*place] != 0)
    }

    /// Whether nobody has a place.
    pub(super) fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Bytes that the allocator gives for it.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        // jemalloc's sizes, from 16 bytes on: four to each doubling.
        let given = |bytes: usize| match bytes {
            0 => 0,
            1..=16 => 16,
            _ => bytes.next_multiple_of((bytes.next_power_of_two() / 8).max(16)),
        };
        let entries = if self.entries.spilled() { self.entries.capacity() * size_of::<u32>() } else { 0 };
        let ids = self.ids.as_ref().map_or(0, |ids| size_of_val(&**ids));
        [size_of::<Self>(), self.names.len(), self.long.capacity(), entries, ids].into_iter().map(given).sum()
    }

    /// Where an entry of the table stands in the page.
    fn entry_of(&mut self, number: u32) -> u8 {
        let mut entries = self.entries.iter();
        let known = entries.position(|one| *one == number);
        let known = known.or_else(|| self.entries.iter().position(|one| *one == UNUSED));
        let at = known.unwrap_or(self.entries.len());
        match self.entries.get_mut(at) {
            Some(entry) => *entry = number,
            None => self.entries.push(number),
        }
        // Each that is used is somebody's, and there are fewer places.
        at as u8
    }

    fn name_mut(&mut self, place: usize) -> &mut [u8] {
        let width = usize::from(self.width);
        &mut self.names[place * width..][..width]
    }

    fn widen(&mut self, width: usize) {
        let mut names = vec![0; PLACES * width].into_boxed_slice();
        for place in self.held() {
            let name = self.name(place);
            names[place * width..][..name.len()].copy_from_slice(name);
        }
        (self.names, self.width) = (names, width as u8);
    }

    fn long_at(&self, place: usize) -> &[u8] {
        let name = self.name(place);
        let offset = usize::from(u16::from_le_bytes([name[0], name[1]]));
        &self.long[offset + LEN_BYTES..][..self.long[offset].into()]
    }

    /// Makes room for so many bytes, and leaves behind what is nobody's any more. Not for whoever has come to this place.
    fn collect_long(&mut self, but: usize, needed: usize, is_long: impl Fn(u32) -> bool) {
        let places: Vec<_> =
            self.held().filter(|place| *place != but && self.number(*place).is_some_and(&is_long)).collect();
        let live: usize = places.iter().map(|place| LEN_BYTES + self.long_at(*place).len()).sum();
        let mut long = Vec::with_capacity(live + live / 16 + needed);
        for place in places {
            let (offset, name) = (long.len(), self.long_at(place));
            long.push(name.len() as u8);
            long.extend_from_slice(name);
            self.name_mut(place)[..OFFSET_BYTES].copy_from_slice(&offset_bytes(offset));
        }
        self.long = long;
    }

    /// Whether whoever has a place has been told that its token has run out.
    pub(super) fn is_late(&self, place: usize) -> bool {
        self.late[place / 8] & 1 << (place % 8) != 0
    }

    fn set_late(&mut self, place: usize, is_late: bool) {
        let bit = 1 << (place % 8);
        match is_late {
            true => self.late[place / 8] |= bit,
            false => self.late[place / 8] &= !bit,
        }
    }
}

fn offset_bytes(offset: usize) -> [u8; OFFSET_BYTES] {
    (offset as u16).to_le_bytes()
}
