//! The connections of one thread: which are on their way, served, lost, and why.
//!
//! Invariant: every connection that was entered is counted in exactly one of pending, served, lost and absent.

use std::collections::BTreeMap;

use super::team::Standing;
use crate::engine::{ConnectionId, Io, Route};

/// A thread's connections, numbered from 0 in the order they were entered.
pub struct Crowd<T> {
    places: Vec<Place<T>>,
    /// Where each connection is, by the engine's index.
    place_of: Vec<u32>,
    /// On their way.
    pub pending: usize,
    /// Served now.
    pub served: u64,
    /// Lost, or never made.
    pub lost: u64,
    /// Why, and how often.
    pub failures: BTreeMap<String, u64>,
}

/// One connection's place; it stays when the connection goes.
pub struct Place<T> {
    /// The connection, if there is one.
    pub id: Option<ConnectionId>,
    /// Whether it is served.
    pub is_served: bool,
    /// What a scenario keeps for it.
    pub client: T,
}

impl<T> Crowd<T> {
    /// Nobody.
    pub fn new() -> Self {
        Self {
            places: Vec::new(),
            place_of: Vec::new(),
            pending: 0,
            served: 0,
            lost: 0,
            failures: BTreeMap::new(),
        }
    }

    /// Makes a place for one more; tells its number.
    pub fn enter(&mut self, client: T) -> usize {
        self.places.push(Place { id: None, is_served: false, client });
        self.places.len() - 1
    }

    /// How far it has come with its share.
    pub fn standing(&self, asked: u64) -> Standing {
        let decided = self.served + self.lost;
        let (opened, lost) = (self.places.len() as u64, self.lost);
        Standing { asked, opened, pending: self.pending, decided, lost }
    }

    /// Opens a connection for a place that has none.
    pub fn open(&mut self, io: &mut Io, number: usize, route: &Route) {
        debug_assert!(self.places[number].id.is_none(), "a place has one connection");
        self.pending += 1;
        match io.open(route) {
            Ok(id) => {
                self.places[number].id = Some(id);
                let index = id.index as usize;
                self.place_of.resize(self.place_of.len().max(index + 1), 0);
                self.place_of[index] = number as u32;
            }
            Err(error) => self.count_loss(number, error.to_string()),
        }
    }

    /// A pending connection is served; whether it was pending.
    pub fn serve(&mut self, number: usize) -> bool {
        let place = &mut self.places[number];
        if place.is_served || place.id.is_none() {
            return false;
        }
        place.is_served = true;
        self.pending -= 1;
        self.served += 1;
        true
    }

    /// Closes a served connection on purpose; whether it was served.
    pub fn dismiss(&mut self, io: &mut Io, number: usize) -> bool {
        let place = &mut self.places[number];
        if !place.is_served {
            return false;
        }
        place.is_served = false;
        self.served -= 1;
        if let Some(id) = place.id.take() {
            io.close(id);
        }
        true
    }

    /// Closes a served connection whose place is to have another; it is on its way from now on.
    pub fn leave(&mut self, io: &mut Io, number: usize) {
        if self.dismiss(io, number) {
            self.pending += 1;
        }
    }

    /// Opens the connection of a place that [`Self::leave`] was called for.
    pub fn open_again(&mut self, io: &mut Io, number: usize, route: &Route) {
        self.pending -= 1;
        self.open(io, number, route);
    }

    /// Counts a connection as lost; whether there was one.
    pub fn lose(&mut self, io: &mut Io, number: usize, why: String) -> bool {
        let Some(id) = self.places[number].id.take() else { return false };
        io.close(id);
        self.count_loss(number, why);
        true
    }

    fn count_loss(&mut self, number: usize, why: String) {
        if std::mem::take(&mut self.places[number].is_served) {
            self.served -= 1;
        } else {
            self.pending -= 1;
        }
        self.lost += 1;
        *self.failures.entry(why).or_default() += 1;
    }

    /// The number of the connection the engine calls `id`.
    #[inline]
    pub fn number_of(&self, id: ConnectionId) -> usize {
        self.place_of[id.index as usize] as usize
    }

    /// A place.
    #[inline]
    pub fn place(&mut self, number: usize) -> &mut Place<T> {
        &mut self.places[number]
    }

    /// All places.
    pub fn places(&self) -> &[Place<T>] {
        &self.places
    }

    /// All places, to be changed.
    pub fn places_mut(&mut self) -> &mut [Place<T>] {
        &mut self.places
    }
}
