//! Who the connections of a shard belong to that have shown a token.
//!
//! ```text
//!   connection 7 ─► page 0, place 7: until, the rest of its user's name, entry 2 ─┐    32 bytes, and none without a token
//!   connection 9 ─► page 0, place 9: …                                   entry 2 ─┴─► what both tokens say, and how
//!                                                                                     both names go on, once
//! ```
//!
//! Claims are shared by what they say, not by who says it: tokens that differ in their user or time alone have one entry
//! of the table, if their users' names are made alike (`names.rs`). Pages come when the first of their connections shows a
//! token, and go with the last.
//!
//! Invariants: an entry of the table counts the connections that name it, and goes with the last of them. Whoever ends a
//! connection removes it here, so that an index is enough to say which is meant.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    rc::Rc,
    sync::Arc,
};

use super::{
    Claims, Revocation, Verified,
    names::{Form, Name, PACKED_BYTES, Packed, pack},
};
use crate::limits::CONNECTIONS_PER_SHARD_MAX;

/// The holders of tokens, by the index of their connection.
#[derive(Debug, Default)]
pub struct Holders {
    pages: Vec<Option<Box<Page>>>,
    shared: Shared,
    /// Names that cannot be packed.
    long_users: HashMap<u32, Box<str>>,
    held: usize,
}

/// Who holds a token, as it is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Holder<'a> {
    /// Until when the token is good, in seconds since the Unix epoch.
    pub expires_s: u64,
    /// What it gives, and what else it says.
    pub claims: &'a Arc<Claims>,
    user: User<'a>,
}

#[derive(Clone, Copy, Debug)]
enum User<'a> {
    Packed(&'a Form, &'a Packed),
    Long(&'a str),
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
    until_s: u32,
    /// Of the token's own name. One that happens to be equal ends a connection that may come back at once. The highest bit
    /// tells that the holder knows it is late.
    id_hash: u32,
    /// The entry's number plus one; 0 is nobody.
    entry: [u8; 3],
    user: [u8; PACKED_BYTES],
}

/// So many that a page fills a block of the allocator: with one more, each place would cost a quarter more.
const PLACES: usize = 255;
const IS_LATE: u32 = 1 << 31;

const _: () = assert!(size_of::<Place>() <= 32, "a token costs its connection no more");
const _: () = assert!(size_of::<Page>() <= 8192, "nor what stands around it");
const _: () = assert!(CONNECTIONS_PER_SHARD_MAX <= 1 << 24, "each may have an entry of its own");

/// What tokens say and what their users' names have in common, each once.
#[derive(Debug, Default)]
struct Shared {
    numbers: HashMap<Rc<Said>, u32>,
    entries: Vec<Option<(Rc<Said>, u32)>>,
    free: Vec<u32>,
    /// Claims, and how many entries have them.
    claims: HashMap<Arc<Claims>, u32>,
    hasher: RandomState,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Said {
    claims: Arc<Claims>,
    /// `None` where names cannot be packed.
    form: Option<Form>,
}

/// What is due of a holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due<T> {
    /// Its token has run out; it may bring another.
    Late(T),
    /// It has not brought another in time.
    Over(T),
}

impl<T> Due<T> {
    /// The same of what this makes of it.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Due<U> {
        match self {
            Self::Late(who) => Due::Late(make(who)),
            Self::Over(who) => Due::Over(make(who)),
        }
    }
}

impl Holders {
    /// The connection of an index has shown a token, in place of the one it had.
    pub fn put(&mut self, index: u32, token: &Verified) {
        self.remove(index);
        let (form, user) = pack(&token.user).unzip();
        if form.is_none() {
            self.long_users.insert(index, token.user.clone());
        }
        let number = self.shared.enter(&token.claims, form);
        let [_, entry @ ..] = (number + 1).to_be_bytes();
        let until_s = u32::try_from(token.expires_s).unwrap_or(u32::MAX);
        let id_hash = token.id.as_ref().map_or(0, |id| self.shared.hash(id));
        let place = Place { until_s, id_hash, entry, user: user.unwrap_or_default() };
        let index = index as usize;
        if self.pages.len() <= index / PLACES {
            self.pages.resize_with(index / PLACES + 1, || None);
        }
        let page = self.pages[index / PLACES].get_or_insert_with(Box::default);
        page.held += 1;
        page.next_s = page.next_s.min(until_s);
        page.places[index % PLACES] = place;
        self.held += 1;
    }

    /// A connection holds nothing any more.
    pub fn remove(&mut self, index: u32) {
        let Some(page) = self.pages.get_mut(index as usize / PLACES) else { return };
        let Some(held) = page else { return };
        let place = std::mem::take(&mut held.places[index as usize % PLACES]);
        let Some(entry) = place.number() else { return };
        held.held -= 1;
        if held.held == 0 {
            *page = None;
        }
        if !self.shared.leave(entry) {
            self.long_users.remove(&index);
        }
        self.held -= 1;
        if self.held == 0 {
            // A storm of them is over.
            (self.pages, self.long_users) = (Vec::new(), HashMap::new());
        }
    }

    /// Who holds a connection's token.
    pub fn get(&self, index: u32) -> Option<Holder<'_>> {
        let page = self.pages.get(index as usize / PLACES)?.as_ref()?;
        self.holder(index, &page.places[index as usize % PLACES])
    }

    /// Whose tokens have run out by now, those that are late being told once; they are over so much later.
    pub fn take_due(&mut self, now_s: u64, grace_s: u32) -> Vec<Due<u32>> {
        let now_s = u32::try_from(now_s).unwrap_or(u32::MAX);
        let mut due = Vec::new();
        for (page, number) in self.pages.iter_mut().zip(0..) {
            let Some(page) = page.as_mut().filter(|page| page.next_s <= now_s) else { continue };
            page.next_s = u32::MAX;
            for (place, index) in page.places.iter_mut().zip(number * PLACES as u32..) {
                if place.number().is_none() {
                    continue;
                }
                let is_late = place.id_hash & IS_LATE != 0;
                if place.until_s <= now_s {
                    due.push(if is_late { Due::Over(index) } else { Due::Late(index) });
                    place.id_hash |= IS_LATE;
                    // The clock may have been put far ahead; everybody has the time there is.
                    place.until_s = now_s.saturating_add(grace_s.max(1));
                }
                page.next_s = page.next_s.min(place.until_s);
            }
        }
        due
    }

    /// The connections that a revocation is about.
    pub fn revoked(&self, revocation: &Revocation) -> Vec<u32> {
        let id_hash = revocation.token().map(|id| self.shared.hash(id));
        let user = revocation.user().map(|user| (user, pack(user)));
        let is_user = |index, place: &Place| match &user {
            None => false,
            // A name has one packing, so nobody's is unpacked.
            Some((_, Some((form, packed)))) => {
                place.user == *packed && self.said(place).is_some_and(|said| said.form.as_ref() == Some(form))
            }
            Some((user, None)) => self.long_users.get(&index).is_some_and(|long| **long == **user),
        };
        let held = self.places().filter(|(index, place)| {
            is_user(*index, place) || id_hash.is_some_and(|hash| hash == place.id_hash & !IS_LATE)
        });
        held.map(|(index, _)| index).collect()
    }

    /// The user of each connection that has one.
    pub fn users(&self) -> impl Iterator<Item = Name<'_>> {
        self.places().filter_map(|(index, place)| Some(self.holder(index, place)?.user()))
    }

    /// Whether there is nobody.
    pub fn is_empty(&self) -> bool {
        self.held == 0
    }

    fn places(&self) -> impl Iterator<Item = (u32, &Place)> {
        let places = self.pages.iter().zip(0..).flat_map(|(page, number)| {
            let places = page.iter().flat_map(|page| &page.places);
            (number * PLACES as u32..).zip(places)
        });
        places.filter(|(_, place)| place.number().is_some())
    }

    fn said(&self, place: &Place) -> Option<&Said> {
        Some(&*self.shared.entries[place.number()? as usize].as_ref()?.0)
    }

    fn holder<'a>(&'a self, index: u32, place: &'a Place) -> Option<Holder<'a>> {
        let said = self.said(place)?;
        let user = match &said.form {
            Some(form) => User::Packed(form, &place.user),
            None => User::Long(self.long_users.get(&index)?),
        };
        Some(Holder { user, expires_s: place.until_s.into(), claims: &said.claims })
    }
}

impl<'a> Holder<'a> {
    /// The token's user (`sub`).
    pub fn user(&self) -> Name<'a> {
        match self.user {
            User::Packed(form, packed) => form.unpack(packed),
            User::Long(user) => user.into(),
        }
    }
}

impl Place {
    fn number(&self) -> Option<u32> {
        let [first, second, third] = self.entry;
        u32::from_be_bytes([0, first, second, third]).checked_sub(1)
    }
}

impl Default for Place {
    fn default() -> Self {
        Self { until_s: u32::MAX, id_hash: 0, entry: [0; 3], user: [0; PACKED_BYTES] }
    }
}

impl Default for Page {
    fn default() -> Self {
        Self { places: [Place::default(); PLACES], held: 0, next_s: u32::MAX }
    }
}

impl Shared {
    fn enter(&mut self, claims: &Arc<Claims>, form: Option<Form>) -> u32 {
        let claims = self.claims.get_key_value(claims).map_or(claims, |(claims, _)| claims);
        let said = Rc::new(Said { claims: Arc::clone(claims), form });
        if let Some(number) = self.numbers.get(&said) {
            if let Some((_, count)) = &mut self.entries[*number as usize] {
                *count += 1;
            }
            return *number;
        }
        *self.claims.entry(Arc::clone(&said.claims)).or_default() += 1;
        let entry = Some((Rc::clone(&said), 1));
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
        self.numbers.insert(said, number);
        number
    }

    /// Tells whether names of the entry are packed.
    fn leave(&mut self, number: u32) -> bool {
        let Some((said, count)) = &mut self.entries[number as usize] else { return true };
        let is_packed = said.form.is_some();
        *count -= 1;
        if *count == 0 {
            self.numbers.remove(said);
            if let Some(entries) = self.claims.get_mut(&said.claims) {
                *entries -= 1;
                if *entries == 0 {
                    self.claims.remove(&said.claims);
                }
            }
            self.entries[number as usize] = None;
            self.free.push(number);
        }
        is_packed
    }

    /// Never 0, which stands for none, and without the bit that has another meaning.
    fn hash(&self, id: &str) -> u32 {
        (self.hasher.hash_one(id) as u32 & !IS_LATE).max(1)
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

    #[test]
    fn what_tokens_say_alike_is_kept_once_and_goes_with_the_last() {
        let mut holders = Holders::default();
        let long = "a name that is longer than fits into its place";
        for (index, user) in
            [(3, "42"), (700, long), (701, "0b0e8c5e-9d1c-4f52-8c1b-0a6a3ffab0d4"), (702, "7")]
        {
            holders.put(index, &token(user, 100, "a"));
        }
        holders.put(4, &token("42", 100, "b"));
        assert_eq!(
            (holders.shared.numbers.len(), holders.shared.claims.len()),
            (4, 2),
            "by how names are made"
        );
        let claims = |index| holders.get(index).map(|holder| Arc::as_ptr(holder.claims));
        assert!(claims(3) == claims(700) && claims(3) == claims(701) && claims(3) != claims(4));
        let user = |holders: &Holders, index| holders.get(index).map(|holder| holder.user().to_string());
        assert_eq!(user(&holders, 700).as_deref(), Some(long));
        assert_eq!(user(&holders, 701).as_deref(), Some("0b0e8c5e-9d1c-4f52-8c1b-0a6a3ffab0d4"));
        assert_eq!((user(&holders, 5), user(&holders, 90_000)), (None, None));
        holders.put(3, &token("43", 100, "b"));
        assert_eq!(user(&holders, 3).as_deref(), Some("43"), "in place of the other");
        for index in [3, 700, 4, 701, 4] {
            holders.remove(index);
        }
        assert!(holders.long_users.is_empty() && !holders.is_empty());
        holders.remove(702);
        assert!(holders.is_empty() && holders.shared.numbers.is_empty() && holders.shared.claims.is_empty());
    }

    #[test]
    fn a_user_called_as_login_services_do_costs_the_place_of_its_connection_and_nothing_more() {
        const USERS: u32 = 2_000;
        let mut rng = fastrand::Rng::with_seed(13);
        let mut drawn = |alphabet: &str, count: usize| -> String {
            let alphabet = alphabet.as_bytes();
            (0..count).map(|_| char::from(alphabet[rng.usize(..alphabet.len())])).collect()
        };
        let (hex, lower) = ("0123456789abcdef", "abcdefghijklmnopqrstuvwxyz");
        let both = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        let mut name = |service: &str, index: u32| match service {
            "a number" => index.to_string(),
            "Firebase" => drawn(both, 28),
            "Clerk" => format!("user_{}", drawn(both, 27)),
            "Auth0" => format!("auth0|{}", drawn(hex, 24)),
            "a ULID" => drawn("0123456789ABCDEFGHJKMNPQRSTVWXYZ", 26),
            "a UUID" => [8, 4, 4, 4, 12].map(|count| drawn(hex, count)).join("-"),
            _ => format!("{}.{}@mail{}.example.com", drawn(lower, 9), drawn(lower, 12), index % 50),
        };
        for (service, shared_max) in [
            ("a number", 1),
            ("Firebase", 1),
            ("Clerk", 1),
            ("Auth0", 1),
            ("a ULID", 1),
            ("a UUID", 1),
            ("an e-mail address", 50),
        ] {
            let mut holders = Holders::default();
            (0..USERS).for_each(|index| holders.put(index, &token(&name(service, index), 100, "a")));
            assert!(holders.long_users.is_empty(), "{service}");
            let shared = holders.shared.numbers.len();
            assert!(shared <= shared_max, "{shared} things in common: {service}");
            assert_eq!(holders.pages.len(), (USERS as usize).div_ceil(PLACES));
        }
    }

    #[test]
    fn who_is_late_is_told_once_and_is_over_after_the_time_it_has_unless_it_brings_another() {
        let mut holders = Holders::default();
        for index in [1, 2, 300] {
            holders.put(index, &token("u", 100 + u64::from(index / 300), ""));
        }
        assert_eq!(holders.take_due(99, 25), []);
        assert_eq!(holders.take_due(100, 25), [Due::Late(1), Due::Late(2)]);
        assert_eq!(holders.take_due(101, 25), [Due::Late(300)]);
        holders.put(2, &token("u", 200, ""));
        assert_eq!(holders.take_due(124, 25), []);
        assert_eq!(holders.take_due(125, 25), [Due::Over(1)]);
        holders.remove(1);
        assert_eq!(holders.take_due(199, 25), [Due::Over(300)]);
    }

    #[test]
    fn a_revocation_is_about_a_user_or_about_one_token() {
        let mut holders = Holders::default();
        let long = "a name that is longer than fits into its place";
        let alike = ["anna.meier.of.the.north@example.com", "anna.meier.of.the.north@example.org"];
        for (index, user) in
            [(1, "42"), (2, "43"), (900, "42"), (3, long), (4, alike[0]), (5, alike[1]), (901, alike[0])]
        {
            holders.put(index, &token(user, 100, ""));
        }
        let of = |user| holders.revoked(&Revocation::of_user(user, 0, 100));
        assert_eq!([of("42"), of(long), of(alike[0])], [vec![1, 900], vec![3], vec![4, 901]]);
        assert_eq!(holders.revoked(&Revocation::of_token("token of 43", 100)), [2_u32]);
        assert_eq!(holders.revoked(&Revocation::of_token("other", 100)), [0_u32; 0]);
    }
}
