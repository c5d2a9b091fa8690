//! A channel's state: keys with values and counters, and what changes them; and its members, who are told of in the same
//! way.
//!
//! A change is a publication of its own kind, with a position like any other: what a key holds is what its last change
//! said. What a change may not do, and what it costs, is the hub's business.

use std::{fmt, str::FromStr, sync::Arc};

use super::{ConnectionId, Payload, Position, Publication, PublishError, ShardId};

/// The name of a key: 1 to 255 bytes of UTF-8 without control characters. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StateKey(Arc<str>);

/// A text that is no key's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateKeyError;

/// What a publication does to its channel's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: StateKey,
    /// What happens to it.
    pub kind: ChangeKind,
    /// When it goes by itself, in milliseconds since the Unix epoch.
    pub expires_unix_ms: Option<u64>,
}

/// What happens to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It holds the publication's data.
    Set,
    /// It is a counter, and the publication's data is its value: a whole number in decimal digits.
    Add,
    /// Somebody has removed it.
    Remove,
    /// Its time was over.
    Expire,
    /// The key is a member, who has entered; the data is what others may know of it.
    Enter,
    /// A member says something else of itself.
    Update,
    /// A member has left.
    Leave,
    /// There are many members, and this is how many; the key is nobody's.
    Digest,
}

/// What somebody wants done to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateRequest {
    /// The key.
    pub key: StateKey,
    /// What.
    pub action: StateAction,
    /// Only if this holds.
    pub condition: Condition,
    /// In how many milliseconds the key goes by itself; without it a value stays, and a counter as long as it was to.
    pub ttl_ms: Option<u64>,
}

/// What is done to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateAction {
    /// Hold this.
    Set(Payload),
    /// Hold nothing.
    Remove,
    /// Count so much further; a key that is not there counts from 0.
    Add(i64),
}

/// What a subscriber is shown first, before what is published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// The channel's keys and counters, unless nothing is lost of what it missed.
    pub state: bool,
    /// Who is there.
    pub presence: bool,
}

/// What must hold for a key to be changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    #[default]
    None,
    /// It is not there.
    Absent,
    /// It is there.
    Present,
    /// It is as it was then.
    At(Version),
}

/// What tells one content of a key from any other. Written `epoch:offset` or `epoch/value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// What it was set to here.
    Set(Position),
    /// A counter that has come to this value. Where that was told of is no part of it: a counter that followers are told of
    /// has not changed.
    Counted {
        /// The epoch of the channel.
        epoch: u64,
        /// The value.
        value: i64,
    },
}

/// A change that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Where the change was last told of: of a counter, that may be further.
    pub position: Position,
    /// What the key holds since; of one that was removed, where.
    pub version: Version,
    /// The key was not there before.
    pub is_new: bool,
}

/// A text that is no version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionError;

/// Why a change was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateError {
    /// The channel's owner did not take it.
    Publish(PublishError),
    /// There is a broker, which keeps publications alone.
    OverNodes,
    /// There is no such key to remove.
    Unknown,
    /// The channel has as many members as it may.
    MembersFull,
    /// The connection has entered as many channels as it may.
    EnteredTooMany,
    /// The condition does not hold.
    ConditionFailed,
    /// The channel has as many keys as it may.
    KeysFull,
    /// As many channels have state as may.
    ChannelsFull,
    /// The channel's keys and values would have more bytes than they may.
    ChannelFull,
    /// The owner keeps as much state of all its channels as it may.
    Full,
    /// The key holds something that is no whole number.
    NotCounter,
    /// The counter would leave the range of whole numbers that JavaScript knows.
    Overflow,
}

/// What members begin with, so that no guest is taken for a user.
const USER: char = 'u';
const GUEST: char = 'g';

/// The furthest a counter counts, up and down: beyond it JavaScript's numbers are no longer exact.
pub const COUNTER_MAX: i64 = (1 << 53) - 1;

impl StateKey {
    /// The longest there can be, in bytes.
    pub const BYTES_MAX: usize = 255;

    /// Checks `text` and makes it a key's name.
    pub fn new(text: &str) -> Result<Self, StateKeyError> {
        match (1..=Self::BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control) {
            true => Ok(Self(text.into())),
            false => Err(StateKeyError),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The member that a user is, whatever its name.
    pub fn of_user(user: &str) -> Self {
        Self(format!("{USER}{user}").into())
    }

    /// The member that a connection of nobody is.
    pub fn of_guest(shard: ShardId, connection: ConnectionId) -> Self {
        let ConnectionId { index, generation } = connection;
        Self(format!("{GUEST}{shard}-{index}-{generation}").into())
    }

    /// Nobody.
    pub fn of_nobody() -> Self {
        Self("".into())
    }

    /// The member that was named so in a page.
    pub fn of_member(text: &str) -> Self {
        Self(text.into())
    }

    /// Whether this member is a user.
    pub fn is_user(&self) -> bool {
        self.0.starts_with(USER)
    }

    /// The user's name, or the guest's.
    pub fn member(&self) -> &str {
        self.0.get(1..).unwrap_or_default()
    }
}

impl Change {
    /// Bytes of memory that its name takes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + 2 * size_of::<usize>() + self.key.0.len()
    }
}

impl ChangeKind {
    /// As clients are told it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Add => "add",
            Self::Remove | Self::Expire => "remove",
            Self::Enter => "enter",
            Self::Update => "update",
            Self::Leave => "leave",
            Self::Digest => "presence",
        }
    }
}

impl StateRequest {
    /// Let a key hold this, whatever it held.
    pub fn set(key: StateKey, payload: Payload) -> Self {
        Self { key, action: StateAction::Set(payload), condition: Condition::None, ttl_ms: None }
    }

    /// Remove a key.
    pub fn remove(key: StateKey) -> Self {
        Self { key, action: StateAction::Remove, condition: Condition::None, ttl_ms: None }
    }

    /// Count a key so much further.
    pub fn add(key: StateKey, count: i64) -> Self {
        Self { key, action: StateAction::Add(count), condition: Condition::None, ttl_ms: None }
    }

    /// But only if this holds.
    pub fn only_if(mut self, condition: Condition) -> Self {
        self.condition = condition;
        self
    }

    /// And it goes by itself in so many milliseconds.
    pub fn for_ms(mut self, ttl_ms: Option<u64>) -> Self {
        self.ttl_ms = ttl_ms;
        self
    }

    /// Bytes of memory it keeps.
    pub fn bytes(&self) -> usize {
        let data = match &self.action {
            StateAction::Set(payload) => payload.bytes(),
            StateAction::Remove | StateAction::Add(_) => 0,
        };
        size_of::<Self>() + self.key.0.len() + data
    }
}

impl Condition {
    /// Whether it holds of a key with this content.
    pub fn holds(self, version: Option<Version>) -> bool {
        match self {
            Self::None => true,
            Self::Absent => version.is_none(),
            Self::Present => version.is_some(),
            Self::At(wanted) => version == Some(wanted),
        }
    }
}

impl Version {
    /// That of a key's content, which is the publication that last changed it.
    pub fn of(publication: &Publication) -> Self {
        let position = publication.position;
        publication
            .counter()
            .map_or(Self::Set(position), |value| Self::Counted { epoch: position.epoch, value })
    }

    /// The value of a counter.
    pub fn value(self) -> Option<i64> {
        match self {
            Self::Set(_) => None,
            Self::Counted { value, .. } => Some(value),
        }
    }
}

impl Publication {
    /// The value of a counter, if this is what one holds.
    pub fn counter(&self) -> Option<i64> {
        match self.payload.change.as_deref()?.kind {
            ChangeKind::Add => whole_number(&self.payload.data),
            ChangeKind::Set | ChangeKind::Remove | ChangeKind::Expire => None,
            ChangeKind::Enter | ChangeKind::Update | ChangeKind::Leave | ChangeKind::Digest => None,
        }
    }
}

/// The whole number that stands in decimal digits, as it would be written.
pub fn whole_number(data: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(data).ok()?;
    let number: i64 = text.parse().ok()?;
    let is_written_so =
        !text.starts_with('+') && (text == "0" || !text.trim_start_matches('-').starts_with('0'));
    (is_written_so && (-COUNTER_MAX..=COUNTER_MAX).contains(&number)).then_some(number)
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        match text.split_once('/') {
            None => text.parse().map(Self::Set).map_err(|_| VersionError),
            Some((epoch, value)) => {
                let is_number = epoch.bytes().all(|byte| byte.is_ascii_digit());
                let epoch = epoch.parse().ok().filter(|_| is_number).ok_or(VersionError)?;
                Ok(Self::Counted { epoch, value: whole_number(value.as_bytes()).ok_or(VersionError)? })
            }
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set(position) => position.fmt(f),
            Self::Counted { epoch, value } => write!(f, "{epoch}/{value}"),
        }
    }
}

impl fmt::Debug for StateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for StateKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a key has 1 to {} bytes of text without control characters", StateKey::BYTES_MAX)
    }
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Publish(error) => return error.fmt(f),
            Self::OverNodes => {
                "nodes that are joined by a broker (broker.url) have neither state nor presence of channels yet"
            }
            Self::Unknown => "the channel's state has no such key",
            Self::EnteredTooMany => {
                "this connection has entered as many channels as it may (limits.subscriptions_per_connection_max)"
            }
            Self::MembersFull => "the channel has as many members as it may (presence_members_max)",
            Self::ConditionFailed => {
                "the key is not as the condition says; read it again, and send what it then has as etag"
            }
            Self::KeysFull => "the channel has as many keys as it may (state_keys_max); remove some",
            Self::ChannelsFull => {
                "as many channels have state as may (limits.state_channels_max); remove the keys of some"
            }
            Self::ChannelFull => {
                "the channel's keys and values have as many bytes as they may (state_channel_bytes_max)"
            }
            Self::Full => "the server keeps as much state as it may (limits.state_bytes_max); remove some keys",
            Self::NotCounter => "the key holds something that is no whole number; count with another key",
            Self::Overflow => "a counter counts to 9007199254740991, up and down, and no further",
        })
    }
}

impl std::error::Error for StateKeyError {}
impl std::error::Error for StateError {}

impl From<PublishError> for StateError {
    fn from(error: PublishError) -> Self {
        Self::Publish(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_refused_for_emptiness_length_and_control_characters() {
        for (text, is_key) in
            [("a", true), ("", false), ("größe/1", true), ("a\n", false), ("a\u{85}", false)]
        {
            assert_eq!(StateKey::new(text).is_ok(), is_key, "{text:?}");
        }
        assert!(StateKey::new(&"k".repeat(255)).is_ok() && StateKey::new(&"k".repeat(256)).is_err());
    }

    #[test]
    fn a_whole_number_is_one_that_is_written_as_itself() {
        for number in [0, 1, -1, 4_812, COUNTER_MAX, -COUNTER_MAX] {
            assert_eq!(whole_number(number.to_string().as_bytes()), Some(number));
        }
        let not =
            ["", "-", "+1", "01", "-0", "-01", "1.0", "1e3", " 1", "9007199254740992", "-9007199254740992"];
        for text in not {
            assert_eq!(whole_number(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(whole_number(b"\xff"), None);
    }

    #[test]
    fn a_version_reads_what_it_writes_and_nothing_else() {
        let position = Position { epoch: 17, offset: 4 };
        let counted = |value| Version::Counted { epoch: 17, value };
        for version in [Version::Set(position), counted(0), counted(-12)] {
            assert_eq!(version.to_string().parse(), Ok(version));
        }
        for text in ["", "17", "17/", "17/x", "17/01", "/1", "17:4/1", "+17/1", "17/1/1"] {
            assert_eq!(text.parse::<Version>(), Err(VersionError), "{text:?}");
        }
    }

    #[test]
    fn a_condition_holds_of_what_it_says_alone() {
        let set = |offset| Version::Set(Position { epoch: 1, offset });
        let counted = |value| Version::Counted { epoch: 1, value };
        let check = |condition: Condition, holds: [bool; 3]| {
            let of = [None, Some(set(4)), Some(counted(7))];
            assert_eq!(of.map(|version| condition.holds(version)), holds, "{condition:?}");
        };
        check(Condition::None, [true, true, true]);
        check(Condition::Absent, [true, false, false]);
        check(Condition::Present, [false, true, true]);
        check(Condition::At(set(4)), [false, true, false]);
        check(Condition::At(counted(7)), [false, false, true]);
        check(Condition::At(set(5)), [false, false, false]);
    }
}
