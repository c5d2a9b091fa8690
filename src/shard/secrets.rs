//! What a shard knows of TLS beside its connections: who is shaking hands, and the keys of those who have.
//!
//! ```text
//!   accepted ─► Shaking, with its first bytes ─► Record ─► forgotten, and its keys zeroed
//!                  └─► Failed ─────────────────────────────┘
//! ```
//!
//! A record is found by the number of its connection's slot, so that the connection itself holds nothing for it: one
//! without TLS costs what it always did. Where no listener speaks TLS, none of these tables exists.
//!
//! Invariant: a connection with [`super::connection::Flags::TLS`] has at most one place here, and one without it none.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use rustls::ServerConfig;

use super::{redirect::Redirect, setup::TlsSetup, shaking::ShakingTable};
use crate::{
    limits::HELLOS_KEPT,
    model::ConnectionId,
    tls::{Handshake, KeyPlace, ReadyKeys, Record, Terms, Way},
};

/// A shard's part of TLS.
#[derive(Default)]
pub(super) struct Secrets {
    /// The terms for those who come now.
    config: Option<Arc<ServerConfig>>,
    terms: Option<Terms>,
    pub(super) shaking: ShakingTable,
    /// Of those who are heard and told something again and again.
    ready: ReadyKeys,
    /// By the slot of a connection: its record's place, plus one; 0 is none. Zeroed pages that nobody writes cost nothing.
    places: Vec<u32>,
    records: Records,
    /// The beginnings of records whose rest has not arrived.
    begun: FxHashMap<u32, Vec<u8>>,
    /// What was said in handshakes and has not been sent.
    unsent: FxHashMap<u32, Vec<u8>>,
    /// Connections whose keys are used up.
    exhausted: Vec<ConnectionId>,
}

/// The place of a connection whose handshake has failed.
const FAILED: u32 = u32::MAX;

impl Secrets {
    /// The tables of a shard with so many connections, and where it sends those without TLS.
    pub(super) fn of(setup: Option<TlsSetup>, connections: u32) -> (Self, Redirect) {
        let Some(setup) = setup else { return Default::default() };
        let shaking = ShakingTable::new(setup.handshakes_max, setup.handshake_timeout_ms);
        (Self { shaking, ..Self::new(&setup.terms, connections) }, setup.redirect)
    }

    /// Tables for so many connections.
    fn new(terms: &Terms, connections: u32) -> Self {
        Self {
            config: Some(terms.own_config()),
            terms: Some(terms.clone()),
            ready: ReadyKeys::new(),
            places: vec![0; connections as usize],
            ..Self::default()
        }
    }

    /// From now on these terms are in force; whoever is shaking hands goes on with those it began with.
    pub(super) fn change_terms(&mut self, terms: &Terms) {
        if self.config.is_some() {
            self.config = Some(terms.own_config());
            self.terms = Some(terms.clone());
        }
    }

    /// What a shard is told that begins anew in place of this one.
    pub(super) fn setup_again(&self, redirect: Redirect) -> Option<TlsSetup> {
        let terms = self.terms.clone()?;
        let (handshakes_max, handshake_timeout_ms) =
            (self.shaking.begun_max(), self.shaking.timeout_ms() as u32);
        Some(TlsSetup { terms, handshakes_max, handshake_timeout_ms, redirect })
    }

    /// Begins to shake hands; tells whether anybody can here.
    pub(super) fn begin(&mut self, index: u32, now_ms: u64) -> bool {
        let Some(config) = &self.config else { return false };
        self.shaking.enter(index, Handshake::new(config), now_ms);
        true
    }

    /// The handshake is over, and led to nothing.
    pub(super) fn fail(&mut self, index: u32) {
        self.shaking.remove(index);
        self.places[index as usize] = FAILED;
    }

    /// The handshake is over: a copy of this is kept of it.
    pub(super) fn establish(&mut self, index: u32, record: &Record) {
        self.shaking.remove(index);
        self.places[index as usize] = self.records.insert(record) + 1;
    }

    /// Goes on with a connection that another process has exported; whether it can be spoken to. No listener here may speak TLS
    /// any more.
    pub(super) fn go_on(&mut self, index: u32, exported: &[u8]) -> bool {
        if self.places.len() <= index as usize {
            self.places.resize(index as usize + 1, 0);
        }
        match Record::import(exported) {
            Some(record) => self.establish(index, &record),
            None => self.fail(index),
        }
        self.record(index).is_some()
    }

    /// Whether another process can go on with a connection: all of its handshake has been said, and both sides may say more.
    pub(super) fn may_go_on(&self, index: u32) -> bool {
        let is_open = |record: &Record| record.is_open() && !record.is_nearly_exhausted();
        !self.has_unsent(index) && self.look(index).is_some_and(is_open)
    }

    /// The record of a connection, to look at.
    pub(super) fn look(&self, index: u32) -> Option<&Record> {
        self.records.look(self.place(index)?)
    }

    /// The record of a connection that has shaken hands.
    #[inline]
    pub(super) fn record(&mut self, index: u32) -> Option<&mut Record> {
        let place = self.place(index)?;
        self.records.get(place)
    }

    /// The same, to be used now, with the place of its key.
    #[inline]
    pub(super) fn record_and_key(&mut self, index: u32, way: Way) -> Option<(&mut Record, KeyPlace<'_>)> {
        let place = self.place(index)?;
        Some((self.records.get(place)?, self.ready.lend(index, way)))
    }

    /// Where the record of a connection is, if it has one.
    #[inline]
    fn place(&self, index: u32) -> Option<u32> {
        match self.places.get(index as usize) {
            None | Some(&(0 | FAILED)) => None,
            Some(place) => Some(place - 1),
        }
    }

    /// Whether a connection has yet to shake hands, or is about to.
    pub(super) fn is_shaking(&self, index: u32) -> bool {
        self.places.get(index as usize) == Some(&0)
    }

    /// Takes out what is kept of a connection that goes to another shard.
    pub(super) fn move_out(&mut self, index: u32) -> Option<(Box<Record>, Vec<u8>)> {
        let record = Box::new(self.record(index)?.duplicate());
        let place = std::mem::take(&mut self.places[index as usize]);
        self.records.remove(place - 1);
        self.ready.forget(index);
        Some((record, self.begun.remove(&index).unwrap_or_default()))
    }

    /// Forgets a connection; tells whether it had not finished shaking hands.
    pub(super) fn forget(&mut self, index: u32) -> bool {
        self.begun.remove(&index);
        self.unsent.remove(&index);
        let was_shaking = self.is_shaking(index);
        self.shaking.remove(index);
        match std::mem::take(&mut self.places[index as usize]) {
            0 | FAILED => {}
            place => {
                self.records.remove(place - 1);
                self.ready.forget(index);
            }
        }
        was_shaking
    }

    /// Keeps the beginning of a record; an empty one is none.
    pub(super) fn keep_begun(&mut self, index: u32, begun: Vec<u8>) {
        if !begun.is_empty() {
            self.begun.insert(index, begun);
        } else if self.begun.is_empty() {
            self.begun.shrink_to(HELLOS_KEPT);
        }
    }

    /// Takes the beginning of a record.
    #[inline]
    pub(super) fn take_begun(&mut self, index: u32) -> Option<Vec<u8>> {
        if self.begun.is_empty() { None } else { self.begun.remove(&index) }
    }

    /// Bytes that have arrived of a record that has not ended.
    pub(super) fn begun_len(&self, index: u32) -> usize {
        self.begun.get(&index).map_or(0, Vec::len)
    }

    /// Says something of a handshake.
    pub(super) fn say(&mut self, index: u32, bytes: Vec<u8>) {
        match self.unsent.get_mut(&index) {
            Some(unsent) => unsent.extend_from_slice(&bytes),
            None => drop(self.unsent.insert(index, bytes)),
        }
    }

    /// Takes what was said in a handshake and has not been sent.
    #[inline]
    pub(super) fn take_unsent(&mut self, index: u32) -> Option<Vec<u8>> {
        if self.unsent.is_empty() { None } else { self.unsent.remove(&index) }
    }

    /// Whether there is such.
    pub(super) fn has_unsent(&self, index: u32) -> bool {
        !self.unsent.is_empty() && self.unsent.contains_key(&index)
    }

    /// Notes a connection whose keys are used up.
    #[cold]
    pub(super) fn note_exhausted(&mut self, id: ConnectionId) {
        self.exhausted.push(id);
    }

    /// A connection whose keys are used up.
    pub(super) fn next_exhausted(&mut self) -> Option<ConnectionId> {
        self.exhausted.pop()
    }
}

/// Records in chunks, which never move: a table that grows copies no keys, and leaves none behind.
#[derive(Default)]
struct Records {
    chunks: Vec<Box<[Option<Record>]>>,
    free: Vec<u32>,
}

/// Records in one chunk.
const CHUNK: u32 = 64;

impl Records {
    fn insert(&mut self, record: &Record) -> u32 {
        let place = self.free.pop().unwrap_or_else(|| {
            let first = self.chunks.len() as u32 * CHUNK;
            self.chunks.push((0..CHUNK).map(|_| None).collect());
            self.free.extend((first + 1..first + CHUNK).rev());
            first
        });
        self.chunks[(place / CHUNK) as usize][(place % CHUNK) as usize] = Some(record.duplicate());
        place
    }

    #[inline]
    fn get(&mut self, place: u32) -> Option<&mut Record> {
        self.chunks[(place / CHUNK) as usize][(place % CHUNK) as usize].as_mut()
    }

    fn look(&self, place: u32) -> Option<&Record> {
        self.chunks[(place / CHUNK) as usize][(place % CHUNK) as usize].as_ref()
    }

    /// Drops a record in its place, so that its keys are zeroed.
    fn remove(&mut self, place: u32) {
        self.chunks[(place / CHUNK) as usize][(place % CHUNK) as usize] = None;
        self.free.push(place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::{
        EXPORT_BYTES,
        tests::{pair, terms},
    };

    #[test]
    fn a_record_is_found_by_its_connection_until_that_is_forgotten_and_its_place_is_used_again() {
        let mut secrets = Secrets::new(&terms(), 10);
        assert!(secrets.is_shaking(3) && secrets.record(3).is_none());
        secrets.establish(3, &pair().0);
        assert!(!secrets.is_shaking(3) && secrets.record(3).is_some() && secrets.record(4).is_none());
        assert!(!secrets.forget(3), "it had finished");
        assert!(secrets.forget(4), "it had not");
        assert!(secrets.record(3).is_none());
        for index in 0..10 {
            secrets.establish(index, &pair().0);
        }
        assert_eq!((secrets.records.chunks.len(), secrets.records.free.len()), (1, CHUNK as usize - 10));
        let (_, begun) = secrets.move_out(7).expect("it has shaken hands");
        assert!(begun.is_empty() && secrets.record(7).is_none() && secrets.move_out(7).is_none());
        secrets.fail(8);
        assert!(secrets.record(8).is_none() && !secrets.is_shaking(8) && !secrets.forget(8));
    }

    #[test]
    fn what_another_process_has_exported_goes_on_also_where_nobody_can_shake_hands() {
        let (record, mut peer) = pair();
        let mut exported = Vec::with_capacity(EXPORT_BYTES);
        record.export(&mut exported);
        let said = peer.asks_for_new_keys();
        for mut secrets in [Secrets::default(), Secrets::new(&terms(), 10)] {
            assert!(secrets.go_on(3, &exported) && secrets.may_go_on(3) && !secrets.may_go_on(4));
            let received = secrets.record(3).expect("it goes on").receive(&mut said.clone());
            assert_eq!((received.consumed, received.ended), (said.len(), None));
            assert!(secrets.may_go_on(3) && !secrets.forget(3));
            assert!(!secrets.go_on(4, b"") && !secrets.may_go_on(4) && !secrets.is_shaking(4));
        }
    }

    #[test]
    fn without_terms_there_are_no_tables() {
        let mut secrets = Secrets::default();
        assert!(secrets.record(0).is_none() && !secrets.shaking.has_turn() && !secrets.begin(0, 0));
        assert_eq!(secrets.places.capacity(), 0);
    }
}
