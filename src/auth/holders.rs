//! Who the connections of a shard belong to that have shown a token.
//!
//! ```text
//!   connection 7 ─► page 0, place 7: until, entry 1, the rest of its user's name ─┐
//!   connection 9 ─► page 0, place 9: …      entry 1                              ─┴─► what both tokens say, and how
//!                                                                                     both names go on, once
//! ```
//!
//! Claims are shared by what they say, not by who says it: tokens that differ in their user or time alone have one entry
//! of the table, if their users' names are made alike (`names.rs`). Pages come when the first of their connections shows a
//! token, and go with the last (`holders/page.rs`).
//!
//! Invariants: an entry of the table counts the connections that name it, and goes with the last of them. Whoever ends a
//! connection removes it here, so that an index is enough to say which is meant.

mod page;

use std::{collections::HashMap, rc::Rc, sync::Arc};

use aws_lc_rs::digest::{SHA256, digest};

use self::page::{PLACES, Page};
use super::{
    Claims, Revocation, Verified,
    names::{Form, Name, pack},
};

/// The holders of tokens, by the index of their connection.
#[derive(Debug, Default)]
pub struct Holders {
    pages: Vec<Option<Box<Page>>>,
    shared: Shared,
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
    Packed(&'a Form, &'a [u8]),
    Long(&'a str),
}

/// What tokens say and what their users' names have in common, each once.
#[derive(Debug, Default)]
struct Shared {
    numbers: HashMap<Rc<Said>, u32>,
    entries: Vec<Option<(Rc<Said>, u32)>>,
    free: Vec<u32>,
    /// Claims, and how many entries have them.
    claims: HashMap<Arc<Claims>, u32>,
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
        self.put_hashed(index, token, token.id.as_deref().map_or(0, id_hash));
    }

    /// The same of a token of whose own name the hash alone is known, or 0 where it has none.
    pub fn put_hashed(&mut self, index: u32, token: &Verified, id_hash: u32) {
        self.remove(index);
        let (form, packed) = pack(&token.user).unzip();
        let number = self.shared.enter(&token.claims, form);
        let until_s = u32::try_from(token.expires_s).unwrap_or(u32::MAX);
        let (at, place) = place_of(index);
        if self.pages.len() <= at {
            self.pages.resize_with(at + 1, || None);
        }
        let page = self.pages[at].get_or_insert_with(Box::default);
        page.take(place, number, until_s, id_hash);
        match packed {
            Some(packed) => page.put_name(place, packed.bytes()),
            None => page.put_long_name(place, &token.user, |number| self.shared.is_long(number)),
        }
        self.held += 1;
    }

    /// A connection holds nothing any more.
    pub fn remove(&mut self, index: u32) {
        let (at, place) = place_of(index);
        let Some(page) = self.pages.get_mut(at) else { return };
        let Some(held) = page else { return };
        let Some(number) = held.leave(place) else { return };
        if held.is_empty() {
            *page = None;
        }
        self.shared.leave(number);
        self.held -= 1;
        if self.held == 0 {
            // A storm of them is over.
            self.pages = Vec::new();
        }
    }

    /// Who holds a connection's token.
    pub fn get(&self, index: u32) -> Option<Holder<'_>> {
        let (page, place) = self.page_of(index)?;
        self.holder(page, place)
    }

    /// What the token of a connection says, but for its own name and when it was made; and the hash of that name, or 0.
    pub fn token(&self, index: u32) -> Option<(Verified, u32)> {
        let (page, place) = self.page_of(index)?;
        let holder = self.holder(page, place)?;
        let (user, claims) = (Box::from(&*holder.user()), Arc::clone(holder.claims));
        let token = Verified { user, expires_s: holder.expires_s, issued_s: None, id: None, claims };
        Some((token, page.id_hash(place)))
    }

    /// Whether a connection has been told that its token has run out, and has not brought another.
    pub fn is_late(&self, index: u32) -> bool {
        let found = self.page_of(index);
        found.is_some_and(|(page, place)| page.number(place).is_some() && page.is_late(place))
    }

    /// Whose tokens have run out by now, those that are late being told once; they are over so much later.
    pub fn take_due(&mut self, now_s: u64, grace_s: u32) -> Vec<Due<u32>> {
        let now_s = u32::try_from(now_s).unwrap_or(u32::MAX);
        let mut due = Vec::new();
        for (page, number) in self.pages.iter_mut().zip(0..) {
            let Some(page) = page else { continue };
            page.take_due(now_s, grace_s, |one| due.push(one.map(|place| index_of(number, place))));
        }
        due
    }

    /// The connections that a revocation is about.
    pub fn revoked(&self, revocation: &Revocation) -> Vec<u32> {
        let id_hash = revocation.token().map(id_hash);
        let user = revocation.user().map(|user| (user, pack(user)));
        let is_user = |page: &Page, place, said: &Said| match (&user, &said.form) {
            // A name has one packing, so nobody's is unpacked.
            (Some((_, Some((form, packed)))), Some(of)) => form == of && packed.is(page.name(place)),
            (Some((user, None)), None) => page.long_name(place) == *user,
            _ => false,
        };
        let held = self.places().filter(|(_, page, place)| {
            self.said(page, *place).is_some_and(|said| is_user(page, *place, said))
                || id_hash.is_some_and(|hash| page.id_hash(*place) == hash)
        });
        held.map(|(index, ..)| index).collect()
    }

    /// The user of each connection that has one.
    pub fn users(&self) -> impl Iterator<Item = Name<'_>> {
        self.places().filter_map(|(_, page, place)| Some(self.holder(page, place)?.user()))
    }

    /// Whether there is nobody.
    pub fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// What it all takes, but for what is shared.
    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.pages.iter().flatten().map(|page| page.bytes()).sum()
    }

    /// Everybody, by the connection's index.
    fn places(&self) -> impl Iterator<Item = (u32, &Page, usize)> {
        self.pages.iter().zip(0..).flat_map(|(page, number)| {
            let held = page.iter().flat_map(|page| page.held().map(|place| (&**page, place)));
            held.map(move |(page, place)| (index_of(number, place), page, place))
        })
    }

    /// The page on which a connection stands, if there is one, and its place there.
    fn page_of(&self, index: u32) -> Option<(&Page, usize)> {
        let (at, place) = place_of(index);
        Some((self.pages.get(at)?.as_ref()?, place))
    }

    fn said(&self, page: &Page, place: usize) -> Option<&Said> {
        self.shared.said(page.number(place)?)
    }

    fn holder<'a>(&'a self, page: &'a Page, place: usize) -> Option<Holder<'a>> {
        let said = self.said(page, place)?;
        let user = match &said.form {
            Some(form) => User::Packed(form, page.name(place)),
            None => User::Long(page.long_name(place)),
        };
        Some(Holder { user, expires_s: page.until_s(place).into(), claims: &said.claims })
    }
}

/// The number of a connection's page, and its place there.
fn place_of(index: u32) -> (usize, usize) {
    (index as usize / PLACES, index as usize % PLACES)
}

/// The connection that stands there.
fn index_of(page: u32, place: usize) -> u32 {
    page * PLACES as u32 + place as u32
}

impl<'a> Holder<'a> {
    /// The token's user (`sub`).
    pub fn user(&self) -> Name<'a> {
        match self.user {
            User::Packed(form, kept) => form.unpack(kept),
            User::Long(user) => user.into(),
        }
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

    fn said(&self, number: u32) -> Option<&Said> {
        Some(&*self.entries[number as usize].as_ref()?.0)
    }

    /// Whether names of an entry cannot be packed.
    fn is_long(&self, number: u32) -> bool {
        self.said(number).is_some_and(|said| said.form.is_none())
    }

    fn leave(&mut self, number: u32) {
        let Some((said, count)) = &mut self.entries[number as usize] else { return };
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
    }
}

/// The hash of a token's own name, the same in every process; never 0, which stands for none.
fn id_hash(id: &str) -> u32 {
    let mut first = [0; 4];
    first.copy_from_slice(&digest(&SHA256, id.as_bytes()).as_ref()[..4]);
    u32::from_le_bytes(first).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: &str = "a name that is longer than fits into its place";

    fn token(user: &str, expires_s: u64, info: &str) -> Verified {
        let claims = Claims { info: Some(info.into()), ..Claims::default() };
        let id = Some(format!("token of {user}").into());
        Verified { user: user.into(), expires_s, issued_s: None, id, claims: Arc::new(claims) }
    }

    fn nameless(user: &str) -> Verified {
        Verified { id: None, ..token(user, 100, "a") }
    }

    /// How a service calls a user.
    fn name(service: &str, number: u32, rng: &mut fastrand::Rng) -> String {
        let mut drawn = |alphabet: &str, count: usize| -> String {
            let alphabet = alphabet.as_bytes();
            (0..count).map(|_| char::from(alphabet[rng.usize(..alphabet.len())])).collect()
        };
        let (hex, lower) = ("0123456789abcdef", "abcdefghijklmnopqrstuvwxyz");
        let both = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        match service {
            "a number" => number.to_string(),
            "Firebase" => drawn(both, 28),
            "Clerk" => format!("user_{}", drawn(both, 27)),
            "Auth0" => format!("auth0|{}", drawn(hex, 24)),
            "a ULID" => drawn("0123456789ABCDEFGHJKMNPQRSTVWXYZ", 26),
            "a UUID" => [8, 4, 4, 4, 12].map(|count| drawn(hex, count)).join("-"),
            "32 letters" => drawn(both, 32),
            "48 digits" => drawn(hex, 48),
            "an address of its own host" => format!("{}@{}.example.com", drawn(lower, 9), drawn(lower, 10)),
            "an address of some host" => {
                format!("{}.{}@mail{}.example.com", drawn(lower, 9), drawn(lower, 12), number % 50)
            }
            _ => drawn("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz+&%$", 60),
        }
    }

    #[test]
    fn what_tokens_say_alike_is_kept_once_and_goes_with_the_last() {
        let mut holders = Holders::default();
        for (index, user) in
            [(3, "42"), (700, LONG), (701, "0b0e8c5e-9d1c-4f52-8c1b-0a6a3ffab0d4"), (702, "7")]
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
        assert_eq!(user(&holders, 700).as_deref(), Some(LONG));
        assert_eq!(user(&holders, 701).as_deref(), Some("0b0e8c5e-9d1c-4f52-8c1b-0a6a3ffab0d4"));
        assert_eq!((user(&holders, 5), user(&holders, 90_000)), (None, None));
        holders.put(3, &token("43", 100, "b"));
        assert_eq!(user(&holders, 3).as_deref(), Some("43"), "in place of the other");
        for index in [3, 700, 4, 701, 4] {
            holders.remove(index);
        }
        assert!(!holders.is_empty());
        holders.remove(702);
        assert!(holders.is_empty() && holders.shared.numbers.is_empty() && holders.shared.claims.is_empty());
    }

    #[test]
    fn a_token_costs_its_connection_32_bytes_at_most_if_its_user_is_called_as_login_services_do() {
        const USERS: u32 = 20 * PLACES as u32;
        // How many things names of a kind have in common, each in several ways of writing what is left of them.
        const WAYS: usize = 7;
        for (service, bytes_max, shared_max) in [
            ("a number", 13, WAYS),
            ("an address of some host", 25, 50 * WAYS),
            ("Auth0", 32, WAYS),
            ("a UUID", 24, WAYS),
            ("a ULID", 28, WAYS),
            ("Firebase", 28, WAYS),
            ("Clerk", 28, WAYS),
            ("an address of its own host", 32, WAYS),
            ("32 letters", 32, WAYS),
            ("48 digits", 32, WAYS),
            ("60 letters", 77, 1),
        ] {
            let mut rng = fastrand::Rng::with_seed(13);
            let names: Vec<_> = (0..USERS).map(|number| name(service, number, &mut rng)).collect();
            let mut holders = Holders::default();
            names.iter().zip(0..).for_each(|(name, index)| holders.put(index, &nameless(name)));
            let (bytes, shared) = (holders.bytes() as f64 / f64::from(USERS), holders.shared.numbers.len());
            assert!(bytes <= f64::from(bytes_max), "{bytes} bytes each: {service}");
            assert!(shared <= shared_max, "{shared} things in common: {service}");
            for (name, index) in names.iter().zip(0..) {
                assert_eq!(holders.get(index).map(|holder| holder.user().to_string()).as_ref(), Some(name));
            }
        }
    }

    #[test]
    fn whoever_comes_and_goes_is_called_as_before_and_what_is_left_of_them_is_bounded() {
        let services = ["a number", "a UUID", "Firebase", "an address of some host", "60 letters"];
        let (mut rng, mut holders) = (fastrand::Rng::with_seed(7), Holders::default());
        let mut known: HashMap<u32, (String, u64)> = HashMap::new();
        for round in 0..20_000_u32 {
            let index = rng.u32(..3 * PLACES as u32);
            if rng.u8(..3) == 0 {
                holders.remove(index);
                known.remove(&index);
            } else {
                let name = name(services[rng.usize(..services.len())], round, &mut rng);
                let expires_s = rng.u64(1..1_000_000);
                holders.put(index, &token(&name, expires_s, if rng.bool() { "a" } else { "b" }));
                known.insert(index, (name, expires_s));
            }
            let other = rng.u32(..3 * PLACES as u32);
            let holder = holders.get(other).map(|holder| (holder.user().to_string(), holder.expires_s));
            assert_eq!(holder.as_ref(), known.get(&other));
        }
        let mut users: Vec<_> = holders.users().map(|user| user.to_string()).collect();
        let mut names: Vec<_> = known.values().map(|(name, _)| name.clone()).collect();
        users.sort_unstable();
        names.sort_unstable();
        assert_eq!(users, names);
        let bytes = holders.bytes();
        assert!(bytes < 3 * PLACES * 77, "{bytes}");
        known.keys().for_each(|index| holders.remove(*index));
        assert!(holders.is_empty() && holders.shared.numbers.is_empty() && holders.bytes() == 0);
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
    fn a_token_goes_on_in_another_process_and_is_revoked_there_by_its_own_name() {
        let (mut before, mut after) = (Holders::default(), Holders::default());
        before.put(7, &token("42", 100, "a"));
        before.put(8, &nameless(LONG));
        for index in [7, 8] {
            let (token, id_hash) = before.token(index).expect("it holds one");
            after.put_hashed(index + 300, &token, id_hash);
            assert_eq!(after.token(index + 300), Some((token, id_hash)));
        }
        assert_eq!(before.token(9), None);
        assert_eq!(after.revoked(&Revocation::of_token("token of 42", 100)), [307_u32]);
        assert_eq!(after.revoked(&Revocation::of_user(LONG, 0, 100)), [308_u32]);
        assert!(!after.is_late(307) && !after.is_late(9));
        after.take_due(100, 25);
        assert!(after.is_late(307));
    }

    #[test]
    fn a_revocation_is_about_a_user_or_about_one_token() {
        let mut holders = Holders::default();
        let alike = ["anna.meier.of.the.north@example.com", "anna.meier.of.the.north@example.org"];
        for (index, user) in
            [(1, "42"), (2, "43"), (900, "42"), (3, LONG), (4, alike[0]), (5, alike[1]), (901, alike[0])]
        {
            holders.put(index, &token(user, 100, ""));
        }
        holders.put(6, &nameless("44"));
        let of = |user| holders.revoked(&Revocation::of_user(user, 0, 100));
        assert_eq!([of("42"), of(LONG), of(alike[0])], [vec![1, 900], vec![3], vec![4, 901]]);
        assert_eq!([of("4"), of("420"), of(&LONG[1..])], [const { Vec::<u32>::new() }; 3]);
        assert_eq!(holders.revoked(&Revocation::of_token("token of 43", 100)), [2_u32]);
        assert_eq!(holders.revoked(&Revocation::of_token("other", 100)), [0_u32; 0]);
    }
}
