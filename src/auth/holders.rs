//! Who the connections of a shard belong to that have shown a token.
//!
//! ```text
//!   connection 7 ─► page 0, place 7: generation, until, user, claims 2 ─┐     32 bytes, and none without a token
//!   connection 9 ─► page 0, place 9: …                       claims 2 ─┴─► what both tokens say, once
//! ```
//!
//! Claims are shared by what they say, not by who says it: tokens that differ in their user or time alone have one entry
//! of the table. Pages come when the first of their connections shows a token, and go with the last.
//!
//! Invariant: an entry of the table counts the connections that name it, and goes with the last of them.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use super::{Claims, Revocation, Verified};
use crate::model::ConnectionId;

/// The holders of tokens, by the index of their connection.
#[derive(Debug, Default)]
pub struct Holders {
    pages: Vec<Option<Box<Page>>>,
    shared: Shared,
    /// Names longer than fit in a place.
    long_users: HashMap<u32, Box<str>>,
    held: usize,
}

/// Who holds a token, as it is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Holder<'a> {
    /// The token's user (`sub`).
    pub user: &'a str,
    /// Until when the token is good, in seconds since the Unix epoch.
    pub expires_s: u64,
    /// What it gives, and what else it says.
    pub claims: &'a Arc<Claims>,
}

#[derive(Debug)]
struct Page {
    places: [Place; PLACES],
    held: usize,
    /// No token of the page runs out before.
    next_s: u32,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    generation: u32,
    until_s: u32,
    /// The claims' number plus one; 0 is nobody. The highest bit tells that the holder knows it is late.
    claims: u32,
    /// Of the token's own name. One that happens to be equal ends a connection that may come back at once.
    id_hash: u32,
    user: [u8; USER_INLINE],
}

/// A name's length, and the name; longer ones stand elsewhere.
const USER_INLINE: usize = 16;
const LONG: u8 = u8::MAX;
/// So many that a page fills a block of the allocator: with one more, each place would cost a quarter more.
const PLACES: usize = 255;
const IS_LATE: u32 = 1 << 31;

const _: () = assert!(size_of::<Place>() <= 32, "a token costs its connection no more");
const _: () = assert!(size_of::<Page>() <= 8192, "nor what stands around it");

/// What tokens say, each once.
#[derive(Debug, Default)]
struct Shared {
    numbers: HashMap<Arc<Claims>, u32>,
    entries: Vec<Option<(Arc<Claims>, u32)>>,
    free: Vec<u32>,
    hasher: RandomState,
}

/// What is due of a holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due<T> {
    /// Its token has run out; it may bring another.
    Late(T),
    /// It has not brought another in time.
    Over(T),
}

impl Holders {
    /// A connection has shown a token, in place of the one it had.
    pub fn put(&mut self, connection: ConnectionId, token: &Verified) {
        self.remove(connection.index);
        let claims = self.shared.enter(&token.claims);
        let until_s = u32::try_from(token.expires_s).unwrap_or(u32::MAX);
        let id_hash = token.id.as_ref().map_or(0, |id| self.shared.hash(id));
        let index = connection.index as usize;
        if self.pages.len() <= index / PLACES {
            self.pages.resize_with(index / PLACES + 1, || None);
        }
        let page = self.pages[index / PLACES].get_or_insert_with(Box::default);
        page.held += 1;
        page.next_s = page.next_s.min(until_s);
        let mut user = [0; USER_INLINE];
        match token.user.len() < USER_INLINE {
            true => {
                user[0] = token.user.len() as u8;
                user[1..=token.user.len()].copy_from_slice(token.user.as_bytes());
            }
            false => {
                user[0] = LONG;
                self.long_users.insert(connection.index, token.user.clone());
            }
        }
        page.places[index % PLACES] =
            Place { generation: connection.generation, until_s, claims: claims + 1, id_hash, user };
        self.held += 1;
    }

    /// A connection holds nothing any more.
    pub fn remove(&mut self, index: u32) {
        let Some(page) = self.pages.get_mut(index as usize / PLACES) else { return };
        let Some(held) = page else { return };
        let place = std::mem::take(&mut held.places[index as usize % PLACES]);
        let Some(claims) = place.number() else { return };
        held.held -= 1;
        if held.held == 0 {
            *page = None;
        }
        if place.user[0] == LONG {
            self.long_users.remove(&index);
        }
        self.shared.leave(claims);
        self.held -= 1;
        if self.held == 0 {
            // A storm of them is over.
            (self.pages, self.long_users) = (Vec::new(), HashMap::new());
        }
    }

    /// Who holds a connection's token.
    pub fn get(&self, index: u32) -> Option<Holder<'_>> {
        let page = self.pages.get(index as usize / PLACES)?.as_ref()?;
        let place = &page.places[index as usize % PLACES];
        let (claims, _) = self.shared.entries[place.number()? as usize].as_ref()?;
        Some(Holder { user: self.user(index, place), expires_s: place.until_s.into(), claims })
    }

    /// Whose tokens have run out by now, those that are late being told once; they are over so much later.
    pub fn take_due(&mut self, now_s: u64, grace_s: u32) -> Vec<Due<ConnectionId>> {
        let now_s = u32::try_from(now_s).unwrap_or(u32::MAX);
        let mut due = Vec::new();
        for (page, number) in self.pages.iter_mut().zip(0..) {
            let Some(page) = page.as_mut().filter(|page| page.next_s <= now_s) else { continue };
            page.next_s = u32::MAX;
            for (place, index) in page.places.iter_mut().zip(number * PLACES as u32..) {
                if place.claims == 0 {
                    continue;
                }
                let connection = ConnectionId { index, generation: place.generation };
                let is_late = place.claims & IS_LATE != 0;
                if place.until_s <= now_s {
                    due.push(if is_late { Due::Over(connection) } else { Due::Late(connection) });
                    place.claims |= IS_LATE;
                    // The clock may have been put far ahead; everybody has the time there is.
                    place.until_s = now_s.saturating_add(grace_s.max(1));
                }
                page.next_s = page.next_s.min(place.until_s);
            }
        }
        due
    }

    /// The connections that a revocation is about.
    pub fn revoked(&self, revocation: &Revocation) -> Vec<ConnectionId> {
        let id_hash = revocation.token().map(|id| self.shared.hash(id));
        let mut revoked = Vec::new();
        for (page, number) in self.pages.iter().zip(0..) {
            let places = page.iter().flat_map(|page| &page.places);
            for (place, index) in places.zip(number * PLACES as u32..).filter(|(place, _)| place.claims > 0) {
                let is_user = revocation.user().is_some_and(|user| user == self.user(index, place));
                if is_user || id_hash == Some(place.id_hash) {
                    revoked.push(ConnectionId { index, generation: place.generation });
                }
            }
        }
        revoked
    }

    /// The user of each connection that has one.
    pub fn users(&self) -> impl Iterator<Item = &str> {
        let places = self.pages.iter().zip(0..).flat_map(|(page, number)| {
            let places = page.iter().flat_map(|page| &page.places);
            places.zip(number * PLACES as u32..)
        });
        places.filter(|(place, _)| place.claims > 0).map(|(place, index)| self.user(index, place))
    }

    /// Whether there is nobody.
    pub fn is_empty(&self) -> bool {
        self.held == 0
    }

    fn user<'a>(&'a self, index: u32, place: &'a Place) -> &'a str {
        match place.user[0] {
            LONG => self.long_users.get(&index).map_or("", |user| user),
            length => std::str::from_utf8(&place.user[1..=length.into()]).unwrap_or_default(),
        }
    }
}

impl Place {
    fn number(&self) -> Option<u32> {
        (self.claims & !IS_LATE).checked_sub(1)
    }
}

impl Default for Place {
    fn default() -> Self {
        Self { generation: 0, until_s: u32::MAX, claims: 0, id_hash: 0, user: [0; USER_INLINE] }
    }
}

impl Default for Page {
    fn default() -> Self {
        Self { places: [Place::default(); PLACES], held: 0, next_s: u32::MAX }
    }
}

impl Shared {
    fn enter(&mut self, claims: &Arc<Claims>) -> u32 {
        if let Some(number) = self.numbers.get(claims) {
            if let Some((_, count)) = &mut self.entries[*number as usize] {
                *count += 1;
            }
            return *number;
        }
        let entry = Some((Arc::clone(claims), 1));
        let number = match self.free.pop() {
            Some(number) => {
                self.entries[number as usize] = entry;
                number
            }
            None => {
                self.entries.push(entry);
                self.entries.len() as u32 - 1
            }
        };
        self.numbers.insert(Arc::clone(claims), number);
        number
    }

    fn leave(&mut self, number: u32) {
        let Some((claims, count)) = &mut self.entries[number as usize] else { return };
        *count -= 1;
        if *count == 0 {
            self.numbers.remove(claims);
            self.entries[number as usize] = None;
            self.free.push(number);
        }
    }

    /// Never 0, which stands for none.
    fn hash(&self, id: &str) -> u32 {
        (self.hasher.hash_one(id) as u32).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(user: &str, expires_s: u64, info: &str) -> Verified {
        let claims = Claims { info: Some(info.into()), ..Claims::default() };
        let id = Some(format!("token of {user}").into());
        Verified { user: user.into(), expires_s, issued_s: None, id, claims: Arc::new(claims) }
    }

    fn connection(index: u32) -> ConnectionId {
        ConnectionId { index, generation: index + 7 }
    }

    #[test]
    fn what_tokens_say_alike_is_kept_once_and_goes_with_the_last() {
        let mut holders = Holders::default();
        let long = "a name that is longer than fits into its place";
        for (index, user) in [(3, "42"), (700, long), (701, "123456789012345")] {
            holders.put(connection(index), &token(user, 100, "a"));
        }
        holders.put(connection(4), &token("42", 100, "b"));
        assert_eq!(holders.shared.numbers.len(), 2);
        let user = |holders: &Holders, index| holders.get(index).map(|holder| holder.user.to_owned());
        assert_eq!(user(&holders, 700).as_deref(), Some(long));
        assert_eq!(user(&holders, 701).as_deref(), Some("123456789012345"));
        assert_eq!((user(&holders, 5), user(&holders, 90_000)), (None, None));
        holders.put(connection(3), &token("43", 100, "b"));
        assert_eq!(user(&holders, 3).as_deref(), Some("43"), "in place of the other");
        for index in [3, 700, 4, 701, 4] {
            holders.remove(index);
        }
        assert!(holders.is_empty() && holders.shared.numbers.is_empty() && holders.long_users.is_empty());
    }

    #[test]
    fn who_is_late_is_told_once_and_is_over_after_the_time_it_has_unless_it_brings_another() {
        let mut holders = Holders::default();
        for index in [1, 2, 300] {
            holders.put(connection(index), &token("u", 100 + u64::from(index / 300), ""));
        }
        assert_eq!(holders.take_due(99, 25), []);
        assert_eq!(holders.take_due(100, 25), [1, 2].map(|index| Due::Late(connection(index))));
        assert_eq!(holders.take_due(101, 25), [Due::Late(connection(300))]);
        holders.put(connection(2), &token("u", 200, ""));
        assert_eq!(holders.take_due(124, 25), []);
        assert_eq!(holders.take_due(125, 25), [Due::Over(connection(1))]);
        holders.remove(1);
        assert_eq!(holders.take_due(199, 25), [Due::Over(connection(300))]);
    }

    #[test]
    fn a_revocation_is_about_a_user_or_about_one_token() {
        let mut holders = Holders::default();
        for (index, user) in [(1, "42"), (2, "43"), (900, "42")] {
            holders.put(connection(index), &token(user, 100, ""));
        }
        let user = Revocation::of_user("42", 0, 100);
        assert_eq!(holders.revoked(&user), [connection(1), connection(900)]);
        assert_eq!(holders.revoked(&Revocation::of_token("token of 43", 100)), [connection(2)]);
        assert_eq!(holders.revoked(&Revocation::of_token("other", 100)), []);
    }
}
