//! What a keeper and a server say to each other: short messages over a Unix socket that keeps their bounds
//! (`SOCK_SEQPACKET`, unix(7)), with descriptors beside them.
//!
//! A message that the other has no room for is an error. There are few, and the socket takes many more; only a server that has
//! many to say waits a while for room ([`Link::await_room`]).

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    },
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::handed::Handed;
use crate::{
    auth::Revocation,
    limits::{KEEPER_DESCRIPTORS_MAX, KEEPER_MESSAGE_BYTES_MAX, KEEPER_ROOM_MS},
};

/// What a keeper says. Each keeps its number, for the two may be of different versions.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ToServer {
    /// What to listen on; its descriptors follow.
    Listen(Handed),
    /// Some of them, beside the message, in the order in which they were told of.
    Descriptors,
    /// Another server is ready to go on with what this one has, if it leaves it in this version.
    HandOver {
        /// The version of the snapshot that the other reads.
        reads: u16,
    },
    /// The server may begin, with the snapshot beside the message if there is one.
    Begin,
    /// The keeper was sent this signal.
    Signal {
        /// Its number.
        signal: i32,
        /// Whether it is the second that asks for the end.
        is_second: bool,
    },
    /// Another server is ready, as with `HandOver`, and goes on with connections as well.
    HandOverAll {
        /// The version of the snapshot that the other reads.
        reads: u16,
        /// The version of what it reads of connections.
        carries: u16,
    },
    /// Who asks over the socket beside the message is to be given the connections of a shard.
    Give(u16),
    /// The connections of a shard are to be had over the socket beside the message.
    Take(u16),
    /// An upgrade is under way. Said, as the next, to a server that hears of them.
    UpgradeBegins,
    /// It has failed, for this reason.
    UpgradeFailed(String),
}

/// What a server says. Each keeps its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ToKeeper {
    /// It could serve, and waits to be told to begin.
    Ready {
        /// The version of the snapshot that it reads.
        reads: u16,
    },
    /// An operator asks for what SIGUSR2 asks for.
    Upgrade,
    /// It does not hand over: that version is not written.
    Refuses,
    /// It has ended in order; what it had is beside the message.
    Left,
    /// Every shard listens.
    Serving,
    /// It was asked to end, so that its end is none to be cured.
    Leaving,
    /// Somebody is shut out, from a server that is started after a crash as well.
    ShutOut(Revocation),
    /// It takes no longer than this to end when it is asked to.
    EndsWithin(Duration),
    /// It serves with what stands in the configuration file, which is beside the message.
    Configured,
    /// It goes on with connections of others, and lets others go on with its own. Said to a keeper that knows of it.
    Carries {
        /// The version of what it reads and leaves of them.
        reads: u16,
    },
    /// As `Left`; and it stays for the connections of these shards, until another one serves.
    Holds(Vec<u16>),
    /// A shard of it hangs, and another process of the same program is to go on. Said to a keeper that knows of it.
    Replace,
    /// It wants to be told what becomes of upgrades. Said to a keeper that does.
    HearsOfUpgrades,
}

/// One end.
#[derive(Debug)]
pub(super) struct Link(OwnedFd);

impl Link {
    /// Both ends.
    pub(super) fn pair() -> io::Result<(Self, Self)> {
        let (one, other) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self(one), Self(other)))
    }

    /// The end that this process was given as its standard input.
    pub(super) fn of_standard_input() -> io::Result<Self> {
        io::stdin().as_fd().try_clone_to_owned().map(Self)
    }

    /// Whether this process's standard input is such an end.
    pub(super) fn is_standard_input() -> bool {
        let input = io::stdin();
        socket2::SockRef::from(&input).r#type().is_ok_and(|kind| kind == socket2::Type::SEQPACKET)
    }

    /// Another handle of the same end.
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// Says something, with at most [`KEEPER_DESCRIPTORS_MAX`] descriptors beside it.
    pub(super) fn send(&self, message: &impl Serialize, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = postcard::to_stdvec(message).map_err(io::Error::other)?;
        assert!(bytes.len() <= KEEPER_MESSAGE_BYTES_MAX, "a message of {} bytes", bytes.len());
        let mut space = [MaybeUninit::uninit(); SPACE_BYTES];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            let fits = beside.push(SendAncillaryMessage::ScmRights(descriptors));
            assert!(fits, "{} descriptors beside one message", descriptors.len());
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        rustix::net::sendmsg(&self.0, &[IoSlice::new(&bytes)], &mut beside, flags)?;
        Ok(())
    }

    /// Waits until there is room for a message, [`KEEPER_ROOM_MS`] at most.
    pub(super) fn await_room(&self) {
        let within = Timespec { tv_sec: KEEPER_ROOM_MS / 1000, tv_nsec: KEEPER_ROOM_MS % 1000 * 1_000_000 };
        // Whether there is shows when it is said.
        rustix::event::poll(&mut [PollFd::new(self, PollFlags::OUT)], Some(&within)).ok();
    }

    /// What was said next, with its descriptors; waits for it. `None` when the other side has gone.
    pub(super) fn recv<T: DeserializeOwned>(&self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        self.recv_with(RecvFlags::empty())
    }

    /// The same, if something was said already: `WouldBlock` if nothing was.
    pub(super) fn try_recv<T: DeserializeOwned>(&self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        self.recv_with(RecvFlags::DONTWAIT)
    }

    fn recv_with<T: DeserializeOwned>(&self, flags: RecvFlags) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let mut bytes = vec![0; KEEPER_MESSAGE_BYTES_MAX];
        let mut space = [MaybeUninit::uninit(); SPACE_BYTES];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let flags = flags | RecvFlags::CMSG_CLOEXEC;
        let length = loop {
            match rustix::net::recvmsg(&self.0, &mut [IoSliceMut::new(&mut bytes)], &mut beside, flags) {
                Ok(received) => break received.bytes,
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::CONNRESET) => break 0,
                Err(error) => return Err(error.into()),
            }
        };
        if length == 0 {
            return Ok(None);
        }
        let rights = beside.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        });
        let descriptors = rights.flatten().collect();
        let message = postcard::from_bytes(&bytes[..length]).map_err(io::Error::other)?;
        Ok(Some((message, descriptors)))
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<Link> for OwnedFd {
    fn from(link: Link) -> Self {
        link.0
    }
}

const SPACE_BYTES: usize = rustix::cmsg_space!(ScmRights(KEEPER_DESCRIPTORS_MAX));

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::{Read, Write},
    };

    use super::*;

    #[test]
    fn messages_arrive_whole_in_order_with_their_descriptors_and_then_the_end() {
        let (keeper, server) = Link::pair().expect("a pair");
        let (mut reading, writing) = io::pipe().expect("a pipe");
        let first = ToServer::Signal { signal: 15, is_second: false };
        keeper.send(&first, &[]).expect("sent");
        keeper.send(&ToServer::Descriptors, &[writing.as_fd()]).expect("sent");
        drop((keeper, writing));
        assert_eq!(server.recv().expect("readable").map(|(said, _)| said), Some(first));
        let (said, mut descriptors) = server.recv::<ToServer>().expect("readable").expect("said");
        assert_eq!((said, descriptors.len()), (ToServer::Descriptors, 1));
        File::from(descriptors.remove(0)).write_all(b"x").expect("the pipe takes it");
        let mut text = String::new();
        reading.read_to_string(&mut text).expect("text");
        assert_eq!(text, "x");
        assert!(server.recv::<ToServer>().expect("readable").is_none());
    }

    #[test]
    fn who_looks_does_not_wait() {
        let (_keeper, server) = Link::pair().expect("a pair");
        let error = server.try_recv::<ToServer>().expect_err("nothing was said");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
