//! What goes from one process to the next, which may be of another version: streams, who is present, who is shut out, clients of
//! Socket.IO that may come back, and connections that go on.
//!
//! ```text
//!   "roadstead" version │ tag version critical length │ bytes │ tag version … │ … │ 0 0 0 0
//!        header                  section's head                                   the end
//! ```
//!
//! Numbers are little-endian. A reader passes over sections that it does not know, unless they are critical: then it refuses
//! all of it, as it does what ends early, so that whoever wrote it goes on serving. Each stream is a section of its own. Who is
//! shut out is critical as well, for a version that passed over it would let them in again, and who is present, for nobody would
//! ever be told that they leave. Clients of Socket.IO are not: they are new to a version that does not know them. Nor are
//! connections, of which there are none unless the two processes have found beforehand that they know the same version of them.
//!
//! A section whose content changes gets another version, and whoever writes it goes on reading the version before. What a version
//! before does not need to know goes into a section of its own.

use std::{
    fmt,
    fs::File,
    io::{self, BufReader, BufWriter, Read, Seek, Write},
    os::fd::OwnedFd,
};

use rustix::fs::{MemfdFlags, SealFlags};
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::{
    away::{self, StoredPublication},
    codec, connections,
    store::channel_of,
};
use crate::{
    auth::{Revocation, Revoked},
    limits::SNAPSHOT_SECTION_BYTES_MAX,
    mesh::{Left, LeftMembers},
    model::{Position, Restored, StateKey},
};

const MAGIC: &[u8; 9] = b"roadstead";

/// The version of the header and of the sections' heads.
pub const SNAPSHOT_VERSION: u16 = 1;

/// What a section holds. Numbers that were given once are not given again.
mod tag {
    pub(super) const END: u16 = 0;
    pub(super) const STREAM: u16 = 1;
    pub(super) const REVOKED: u16 = 2;
    pub(super) const PRESENT: u16 = 3;
    pub(super) const SOCKETS: u16 = 4;
    pub(super) const CONNECTIONS: u16 = 5;
}

/// The version of what stands in a section of a stream.
const STREAM_VERSION: u16 = 1;
/// The version of what stands in the section of who is shut out.
const REVOKED_VERSION: u16 = 1;
/// The version of what stands in a section of who was present in a channel.
const PRESENT_VERSION: u16 = 1;
/// The version of what stands in a section of a shard's clients of Socket.IO.
const SOCKETS_VERSION: u16 = 1;
/// The version of what stands in a section of a shard's connections.
pub const CONNECTIONS_VERSION: u16 = 7;

/// Why what was left is not gone on with.
#[derive(Debug)]
pub enum SnapshotError {
    /// It could not be read or written.
    Io(io::Error),
    /// It is none, or of a version that is not known.
    Version(u16),
    /// There is something in it that must be known, and is not: the tag and its version.
    Unknown(u16, u16),
    /// It ends early, or its bytes are not what their tag says.
    Broken,
}

#[derive(Serialize, Deserialize)]
struct StoredStream<'a> {
    channel: &'a str,
    epoch: u64,
    offset: u64,
    #[serde(borrow)]
    history: Vec<StoredPublication<'a>>,
    #[serde(borrow)]
    state: Vec<(u64, &'a [u8], Option<i64>)>,
}

struct Head {
    tag: u16,
    version: u16,
    is_critical: bool,
    length: u64,
}

const HEAD_BYTES: usize = 13;

/// Writes what was left, and the end.
pub fn write(mut out: impl Write, left: &Left) -> Result<(), SnapshotError> {
    out.write_all(MAGIC)?;
    out.write_all(&SNAPSHOT_VERSION.to_le_bytes())?;
    for stream in &left.streams {
        write_section(&mut out, (tag::STREAM, STREAM_VERSION, true), &encode(stream))?;
    }
    for members in &left.present {
        write_section(&mut out, (tag::PRESENT, PRESENT_VERSION, true), &encode_present(members))?;
    }
    for sockets in &left.sockets {
        write_section(&mut out, (tag::SOCKETS, SOCKETS_VERSION, false), &away::encode(sockets))?;
    }
    for connections in &left.connections {
        let bytes = connections::encode(connections);
        write_section(&mut out, (tag::CONNECTIONS, CONNECTIONS_VERSION, false), &bytes)?;
    }
    if !left.revoked.is_empty() {
        let all: Vec<_> = left.revoked.all().collect();
        let bytes = postcard::to_stdvec(&all).expect("it is written to memory");
        write_section(&mut out, (tag::REVOKED, REVOKED_VERSION, true), &bytes)?;
    }
    out.write_all(&Head { tag: tag::END, version: 0, is_critical: false, length: 0 }.encode())?;
    Ok(out.flush()?)
}

fn write_section(
    out: &mut impl Write,
    (tag, version, is_critical): (u16, u16, bool),
    bytes: &[u8],
) -> Result<(), SnapshotError> {
    let head = Head { tag, version, is_critical, length: bytes.len() as u64 };
    out.write_all(&head.encode())?;
    Ok(out.write_all(bytes)?)
}

/// Writes it to a file in memory that changes no more.
pub fn write_file(left: &Left) -> Result<File, SnapshotError> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = File::from(rustix::fs::memfd_create(c"roadstead-snapshot", flags).map_err(io::Error::from)?);
    write(BufWriter::new(&file), left)?;
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, seals).map_err(io::Error::from)?;
    Ok(file)
}

/// Reads all there is in such a file, whoever has read of it before.
pub fn read_file(file: OwnedFd) -> Result<Left, SnapshotError> {
    let mut file = File::from(file);
    file.rewind()?;
    read(BufReader::new(file))
}

/// Reads all there is.
pub fn read(mut from: impl Read) -> Result<Left, SnapshotError> {
    let mut magic = [0; MAGIC.len()];
    from.read_exact(&mut magic)?;
    let version = u16::from_le_bytes(take(&mut from)?);
    if magic != *MAGIC || version != SNAPSHOT_VERSION {
        return Err(SnapshotError::Version(version));
    }
    let (mut left, mut bytes) = (Left::default(), Vec::new());
    loop {
        let head = Head::decode(take(&mut from)?);
        if head.length > SNAPSHOT_SECTION_BYTES_MAX {
            return Err(SnapshotError::Broken);
        }
        bytes.clear();
        from.by_ref().take(head.length).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != head.length {
            return Err(SnapshotError::Broken);
        }
        match (head.tag, head.version) {
            (tag::END, _) => return Ok(left),
            (tag::STREAM, STREAM_VERSION) => {
                left.streams.push(decode(&bytes).ok_or(SnapshotError::Broken)?);
            }
            (tag::PRESENT, PRESENT_VERSION) => {
                left.present.push(decode_present(&bytes).ok_or(SnapshotError::Broken)?);
            }
            (tag::SOCKETS, SOCKETS_VERSION) => match away::decode(&bytes) {
                Some(sockets) => left.sockets.push(sockets),
                None => warn!("clients of Socket.IO come back as new ones: what was left of them is damaged"),
            },
            (tag::CONNECTIONS, CONNECTIONS_VERSION) => match connections::decode(&bytes) {
                Some(connections) => left.connections.push(connections),
                None => warn!("connections are lost: what was left of them is damaged"),
            },
            (tag::REVOKED, REVOKED_VERSION) => left.revoked.merge(&decode_revoked(&bytes)?),
            (tag, version) if head.is_critical => return Err(SnapshotError::Unknown(tag, version)),
            _ => {}
        }
    }
}

fn encode_present(present: &LeftMembers) -> Vec<u8> {
    let members = present.members.iter().map(|(id, info)| (id.as_str(), &**info));
    let stored: (&str, Vec<(&str, &str)>) = (present.channel.as_str(), members.collect());
    postcard::to_stdvec(&stored).expect("it is written to memory")
}

fn decode_present(bytes: &[u8]) -> Option<LeftMembers> {
    let (channel, members): (&str, Vec<(&str, &str)>) = postcard::from_bytes(bytes).ok()?;
    let channel = channel_of(channel).ok()?;
    let members = members.into_iter().map(|(id, info)| (StateKey::of_member(id), info.into())).collect();
    Some(LeftMembers { channel, members })
}

fn decode_revoked(bytes: &[u8]) -> Result<Revoked, SnapshotError> {
    let all: Vec<Revocation> = postcard::from_bytes(bytes).map_err(|_| SnapshotError::Broken)?;
    let mut revoked = Revoked::default();
    for one in all {
        // Whatever the time is now: what is over by now is passed over when it is looked for.
        revoked.add(one, 0);
    }
    Ok(revoked)
}

fn take<const N: usize>(from: &mut impl Read) -> Result<[u8; N], SnapshotError> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn encode(stream: &Restored) -> Vec<u8> {
    let history: Vec<_> = stream.history.iter().map(|one| codec::encode(one)).collect();
    let state: Vec<_> = stream.state.iter().map(|(one, counted)| (codec::encode(one), *counted)).collect();
    let stored = StoredStream {
        channel: stream.channel.as_str(),
        epoch: stream.position.epoch,
        offset: stream.position.offset,
        history: history
            .iter()
            .zip(&stream.history)
            .map(|(bytes, one)| StoredPublication::new(bytes, one))
            .collect(),
        // A key may have been changed last under another epoch.
        state: state
            .iter()
            .zip(&stream.state)
            .map(|((bytes, counted), (one, _))| (one.position.epoch, bytes.as_slice(), *counted))
            .collect(),
    };
    postcard::to_stdvec(&stored).expect("it is written to memory")
}

fn decode(bytes: &[u8]) -> Option<Restored> {
    let stored: StoredStream<'_> = postcard::from_bytes(bytes).ok()?;
    let channel = channel_of(stored.channel).ok()?;
    let one = |epoch, bytes: &[u8]| codec::decode(&channel, epoch, bytes);
    let history: Option<Vec<_>> =
        stored.history.iter().map(|publication| publication.read(&channel, stored.epoch)).collect();
    let state: Option<Vec<_>> =
        stored.state.iter().map(|(epoch, bytes, counted)| Some((one(*epoch, bytes)?, *counted))).collect();
    Some(Restored {
        position: Position { epoch: stored.epoch, offset: stored.offset },
        history: history?,
        state: state?,
        members: Vec::new(),
        is_whole: true,
        channel,
    })
}

impl Head {
    fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[..2].copy_from_slice(&self.tag.to_le_bytes());
        bytes[2..4].copy_from_slice(&self.version.to_le_bytes());
        bytes[4] = self.is_critical.into();
        bytes[5..].copy_from_slice(&self.length.to_le_bytes());
        bytes
    }

    fn decode(bytes: [u8; HEAD_BYTES]) -> Self {
        let [a, b, c, d, critical, length @ ..] = bytes;
        Self {
            tag: u16::from_le_bytes([a, b]),
            version: u16::from_le_bytes([c, d]),
            is_critical: critical != 0,
            length: u64::from_le_bytes(length),
        }
    }
}

impl From<io::Error> for SnapshotError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Broken,
            _ => Self::Io(error),
        }
    }
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Version(version) => {
                write!(f, "it is of version {version}, and {SNAPSHOT_VERSION} is known")
            }
            Self::Unknown(tag, version) => {
                write!(f, "its section {tag} of version {version} must be known, and is not")
            }
            Self::Broken => f.write_str("it is damaged"),
        }
    }
}

impl std::error::Error for SnapshotError {}

#[cfg(test)]
mod tests {
    use super::{
        super::codec::tests::{news, payloads},
        *,
    };
    use crate::model::{ChannelName, Publication, SharedPublication};

    fn streams() -> Vec<Restored> {
        let one = |(offset, payload)| {
            let position = Position { epoch: 7, offset };
            Publication { channel: news(), position, unix_ms: 5, payload }.into()
        };
        let history: Vec<SharedPublication> = (1..).zip(payloads()).map(one).collect();
        let position = Position { epoch: 7, offset: history.len() as u64 };
        let state = vec![(history[6].clone(), Some(-4)), (history[5].clone(), None)];
        let full =
            Restored { channel: news(), position, history, state, members: Vec::new(), is_whole: true };
        let other = ChannelName::new("other", 255).expect("a name");
        let empty = Restored { channel: other, history: Vec::new(), state: Vec::new(), ..full.clone() };
        vec![full, empty]
    }

    fn left() -> Left {
        let mut revoked = Revoked::default();
        revoked.add(Revocation::of_user("42", 100, 500), 100);
        revoked.add(Revocation::of_token("t", 900), 100);
        let members = vec![(StateKey::of_user("42"), "{}".into()), (StateKey::of_user("43"), "".into())];
        let present = vec![LeftMembers { channel: news(), members }];
        let (sockets, connections) = (vec![away::tests::sockets()], vec![connections::tests::connections()]);
        Left { streams: streams(), present, revoked, sockets, connections }
    }

    fn written() -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut bytes, &left()).expect("memory");
        bytes
    }

    /// The bytes with a section before the end.
    fn with(tag: u16, version: u16, is_critical: bool) -> Vec<u8> {
        let mut bytes = written();
        let end = bytes.split_off(bytes.len() - HEAD_BYTES);
        bytes.extend(Head { tag, version, is_critical, length: 3 }.encode());
        bytes.extend(b"abc");
        bytes.extend(end);
        bytes
    }

    #[test]
    fn what_was_left_is_read_as_it_was_written() {
        let (read, left) = (read(&written()[..]).expect("whole"), left());
        assert_eq!(format!("{:?}", read.streams), format!("{:?}", left.streams));
        assert_eq!((read.present, read.revoked), (left.present, left.revoked));
        assert_eq!((read.sockets, read.connections), (left.sockets, left.connections));
    }

    #[test]
    fn a_file_can_be_read_twice_and_not_be_changed() {
        let file = write_file(&left()).expect("memory");
        for _ in 0..2 {
            let another = file.try_clone().expect("a descriptor").into();
            assert_eq!(read_file(another).expect("whole").streams.len(), 2);
        }
        assert!((&file).write_all(b"x").is_err());
    }

    #[test]
    fn what_is_not_known_is_passed_over_unless_it_is_critical() {
        assert_eq!(read(&with(99, 1, false)[..]).expect("passed over").streams.len(), 2);
        assert!(matches!(read(&with(99, 1, true)[..]), Err(SnapshotError::Unknown(99, 1))));
        let newer = STREAM_VERSION + 1;
        assert!(
            matches!(read(&with(tag::STREAM, newer, true)[..]), Err(SnapshotError::Unknown(tag::STREAM, v)) if v == newer)
        );
    }

    #[test]
    fn what_ends_early_or_is_something_else_is_refused() {
        let bytes = written();
        for cut in 0..bytes.len() {
            assert!(read(&bytes[..cut]).is_err(), "{cut} of {} bytes", bytes.len());
        }
        let mut newer = bytes.clone();
        newer[MAGIC.len()] += 1;
        assert!(matches!(read(&newer[..]), Err(SnapshotError::Version(2))));
        let mut long = with(99, 1, false);
        let end = long.len();
        long[end - HEAD_BYTES - 3 - 1] = 0x7f;
        assert!(matches!(read(&long[..]), Err(SnapshotError::Broken)));
    }
}
