//! One channel's state: its keys, each with the publication that last changed it; and who is present in it.
//!
//! A counter may be further than the publication says: adds are told to subscribers some times a second, and counted at
//! once. When what is told or kept goes is not decided here (`changes.rs`).

use hashbrown::HashTable;

use super::presences::Present;
use crate::model::{
    Change, ChangeKind, Changed, Payload, Publication, SharedPublication, SharedPublications, StateKey,
    Version, whole_number,
};

/// The keys and members of a channel that has some.
#[derive(Debug, Default)]
pub(super) struct State {
    held: HashTable<Held>,
    /// Bytes of all names and values.
    bytes: u64,
    /// All of it as it was last shown, until something changes.
    snapshot: Option<SharedPublications>,
    /// Who is there.
    pub(super) present: Present,
}

/// What a key holds.
#[derive(Debug)]
pub(super) struct Held {
    /// What last told of it.
    pub(super) publication: SharedPublication,
    /// The hash of the key, so that the table grows without a look at each.
    pub(super) hash: u64,
    /// Where a counter is now.
    pub(super) value: i64,
    /// When it goes by itself; [`NEVER`] if it does not.
    pub(super) expires_ms: u64,
    /// When it was last told of.
    pub(super) told_ms: u64,
    /// When a counter is to be told of that has counted since; [`NEVER`] if it has not.
    pub(super) tells_ms: u64,
}

/// What a key is to hold, but for the publication that tells of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Next {
    pub(super) hash: u64,
    /// Of a counter.
    pub(super) value: i64,
    pub(super) expires_ms: u64,
}

/// The time that does not come.
pub(super) const NEVER: u64 = u64::MAX;

/// What a counter counts for among the bytes of a channel, beside its name.
const COUNTER_BYTES: usize = 16;

/// What a key costs beside its name and value: its place in the table, which doubles as it grows, and the publication.
const OVERHEAD_BYTES: u64 =
    (2 * size_of::<Held>() + 4 * size_of::<usize>() + size_of::<Publication>() + size_of::<Change>()) as u64;

impl State {
    /// What a key holds.
    pub(super) fn find(&self, hash: u64, key: &StateKey) -> Option<&Held> {
        self.held.find(hash, |held| held.is_of(key))
    }

    /// What a key holds, to count it further.
    pub(super) fn find_mut(&mut self, hash: u64, key: &StateKey) -> Option<&mut Held> {
        self.snapshot = None;
        self.held.find_mut(hash, |held| held.is_of(key))
    }

    /// The key of this hash for which something is due.
    pub(super) fn find_due(&self, hash: u64, is_due: impl Fn(&Held) -> bool) -> Option<&Held> {
        self.held.find(hash, |held| held.hash == hash && is_due(held))
    }

    /// Holds something for a key that is not there.
    pub(super) fn insert(&mut self, held: Held) {
        self.snapshot = None;
        self.bytes += held.bytes();
        self.held.insert_unique(held.hash, held, |held| held.hash);
    }

    /// Lets go of a key.
    pub(super) fn remove(&mut self, hash: u64, key: &StateKey) -> Option<Held> {
        let entry = self.held.find_entry(hash, |held| held.is_of(key)).ok()?;
        let (held, _) = entry.remove();
        self.snapshot = None;
        self.bytes -= held.bytes();
        if self.held.len() < self.held.capacity() / 4 {
            self.held.shrink_to(2 * self.held.len(), |held| held.hash);
        }
        Some(held)
    }

    /// All of it, in the order of the keys.
    pub(super) fn snapshot(&mut self) -> SharedPublications {
        let held = &self.held;
        let make = || {
            let mut held: Vec<_> = held.iter().collect();
            held.sort_unstable_by_key(|held| held.key());
            held.into_iter().map(Held::shown).collect()
        };
        SharedPublications::clone(self.snapshot.get_or_insert_with(make))
    }

    /// What last told of each key, and where it is if it is a counter.
    pub(super) fn all(&self) -> Vec<(SharedPublication, Option<i64>)> {
        let counted = |held: &Held| held.is_counter().then_some(held.value);
        let of = |held: &Held| (SharedPublication::clone(&held.publication), counted(held));
        self.held.iter().map(of).collect()
    }

    /// So many keys behind one, in their order, and whether there are more.
    pub(super) fn page(&mut self, after: Option<&StateKey>, limit: usize) -> (SharedPublications, bool) {
        let all = self.snapshot();
        let start = after.map_or(0, |after| all.partition_point(|one| key_of(one) <= after));
        let end = all.len().min(start.saturating_add(limit));
        let page = if (start, end) == (0, all.len()) { all.clone() } else { all[start..end].into() };
        (page, end < all.len())
    }

    /// Whether all of it has to be gathered anew to be shown.
    pub(super) fn is_unshown(&self) -> bool {
        self.snapshot.is_none()
    }

    /// The number of keys.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether there is no key and nobody.
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.present.is_over()
    }

    /// Bytes of all names and values.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Held {
    /// What has just been told.
    pub(super) fn new(next: Next, publication: SharedPublication, told_ms: u64) -> Self {
        let Next { hash, value, expires_ms } = next;
        Self { publication, hash, value, expires_ms, told_ms, tells_ms: NEVER }
    }

    /// Whether a counter is further than was told.
    pub(super) fn is_ahead(&self) -> bool {
        self.tells_ms != NEVER
    }

    /// Its key.
    pub(super) fn key(&self) -> &StateKey {
        &self.change().key
    }

    /// What tells its content from any other.
    pub(super) fn version(&self) -> Version {
        let position = self.publication.position;
        match self.is_counter() {
            true => Version::Counted { epoch: position.epoch, value: self.value },
            false => Version::Set(position),
        }
    }

    /// A change that led to this.
    pub(super) fn changed(&self, is_new: bool) -> Changed {
        Changed { position: self.publication.position, version: self.version(), is_new }
    }

    /// Whether it counts.
    pub(super) fn is_counter(&self) -> bool {
        self.change().kind == ChangeKind::Add
    }

    /// When it goes by itself, as followers are told it.
    pub(super) fn expires_unix_ms(&self) -> Option<u64> {
        self.change().expires_unix_ms
    }

    /// What it would count on from.
    pub(super) fn counted(&self) -> Option<i64> {
        match self.is_counter() {
            true => Some(self.value),
            false => whole_number(&self.publication.payload.data),
        }
    }

    /// What it counts for among the bytes of its channel.
    pub(super) fn bytes(&self) -> u64 {
        content_bytes(self.key(), if self.is_counter() { None } else { Some(&self.publication.payload) })
    }

    /// What keeping it costs.
    pub(super) fn cost(&self) -> u64 {
        cost(self.bytes())
    }

    /// As a snapshot shows it.
    pub(super) fn shown(&self) -> SharedPublication {
        if !self.is_ahead() {
            return SharedPublication::clone(&self.publication);
        }
        let Publication { channel, position, unix_ms, .. } = &*self.publication;
        let payload = counter_payload(self.key().clone(), self.value, self.expires_unix_ms());
        let publication =
            Publication { channel: channel.clone(), position: *position, unix_ms: *unix_ms, payload };
        publication.into()
    }

    fn is_of(&self, key: &StateKey) -> bool {
        self.key() == key
    }

    fn change(&self) -> &Change {
        change_of(&self.publication)
    }
}

fn change_of(publication: &Publication) -> &Change {
    publication.payload.change.as_deref().expect("what is held is a change")
}

fn key_of(publication: &Publication) -> &StateKey {
    &change_of(publication).key
}

/// What a key and its value count for among the bytes of a channel; without a value it is a counter.
pub(super) fn content_bytes(key: &StateKey, value: Option<&Payload>) -> u64 {
    let value_bytes = match value {
        Some(payload) => payload.data.len() + payload.content_type.as_deref().map_or(0, str::len),
        None => COUNTER_BYTES,
    };
    (key.as_str().len() + value_bytes) as u64
}

/// What keeping so many bytes costs.
pub(super) fn cost(content_bytes: u64) -> u64 {
    content_bytes + OVERHEAD_BYTES
}

/// What subscribers are told of a counter.
pub(super) fn counter_payload(key: StateKey, value: i64, expires_unix_ms: Option<u64>) -> Payload {
    json_payload(Change { key, kind: ChangeKind::Add, expires_unix_ms }, &value.to_string())
}

/// A change of which JSON is told.
pub(super) fn json_payload(change: Change, said: &str) -> Payload {
    let mut payload = Payload::text_of(said, Some("application/json"));
    payload.change = Some(Box::new(change));
    payload
}
