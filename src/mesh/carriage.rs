//! Sockets on their way from a process to the next: over a Unix socket, as many at once as whoever asks for them has room for.
//!
//! ```text
//!   new shard: carriage ── from, count ──────────► old process: stash
//!                       ◄── count, descriptors ──
//! ```
//!
//! What has been asked for can be asked for again. Until the old process is told to let go, it holds all of them.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
    sync::mpsc::{Receiver, Sender},
    thread,
    time::Duration,
};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

use crate::{
    limits::{CARRIAGE_ANSWER_MS, CARRIED_AT_ONCE},
    ring::Stash,
};

/// One end of the way.
#[derive(Debug)]
pub struct Carriage(OwnedFd);

/// What a shard waits for that goes on where another process has left.
#[derive(Debug)]
pub struct Start {
    /// The way to the sockets that it is left, if it is left some.
    pub carriage: Option<Carriage>,
    /// Is told when it has them. Nothing has been read from them or sent by then.
    pub arrived: Sender<Arrived>,
    /// Says when to begin, by being closed.
    pub go: Receiver<()>,
}

/// What a shard has taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrived {
    /// Connections that go on.
    pub carried: u32,
    /// Connections that were left and are told to come back, or are lost.
    pub refused: u32,
    /// Connections that were told to come back before.
    pub told: u64,
}

const SPACE_BYTES: usize = rustix::cmsg_space!(ScmRights(CARRIED_AT_ONCE));

impl Carriage {
    /// Both ends, to be given to two processes.
    pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
        Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
    }

    /// An end that this process was given.
    pub fn new(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// Asks for so many from this place on, at most [`CARRIED_AT_ONCE`]. There may come fewer, where either process has no more
    /// room for descriptors.
    pub fn ask(&self, from: u32, count: u32) -> io::Result<Vec<OwnedFd>> {
        let socket = socket2::SockRef::from(&self.0);
        socket.set_read_timeout(Some(Duration::from_millis(CARRIAGE_ANSWER_MS)))?;
        let mut asked = [0; 8];
        asked[..4].copy_from_slice(&from.to_le_bytes());
        asked[4..].copy_from_slice(&count.min(CARRIED_AT_ONCE as u32).to_le_bytes());
        rustix::io::retry_on_intr(|| rustix::net::send(&self.0, &asked, SendFlags::NOSIGNAL))?;
        let (mut bytes, mut space) = ([0; 4], [MaybeUninit::uninit(); SPACE_BYTES]);
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::io::retry_on_intr(|| {
            let into = &mut [IoSliceMut::new(&mut bytes)];
            rustix::net::recvmsg(&self.0, into, &mut beside, RecvFlags::CMSG_CLOEXEC)
        })?;
        if received.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let rights = beside.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        });
        Ok(rights.flatten().collect())
    }

    /// Gives whoever asks, until nobody does any more.
    pub fn give(&self, stash: &mut Stash) -> io::Result<()> {
        let mut asked = [0; 8];
        loop {
            let received =
                rustix::io::retry_on_intr(|| rustix::net::recv(&self.0, &mut asked[..], RecvFlags::empty()))?;
            if received.0 < asked.len() {
                return Ok(());
            }
            let [a, b, c, d, count @ ..] = asked;
            let count = u32::from_le_bytes(count).min(CARRIED_AT_ONCE as u32);
            self.send(&stash.look(u32::from_le_bytes([a, b, c, d]), count)?)?;
        }
    }

    fn send(&self, sockets: &[OwnedFd]) -> io::Result<()> {
        /// What is on its way is bounded for each user (unix(7), `ETOOMANYREFS`): others may be sending as well.
        const TRIES_MAX: usize = 1000;
        let count = (sockets.len() as u32).to_le_bytes();
        let descriptors: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
        for _ in 0..TRIES_MAX {
            let mut space = [MaybeUninit::uninit(); SPACE_BYTES];
            let mut beside = SendAncillaryBuffer::new(&mut space);
            if !descriptors.is_empty() {
                let fits = beside.push(SendAncillaryMessage::ScmRights(&descriptors));
                assert!(fits, "{} descriptors beside one message", descriptors.len());
            }
            match rustix::net::sendmsg(&self.0, &[IoSlice::new(&count)], &mut beside, SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::TOOMANYREFS) => thread::sleep(Duration::from_millis(1)),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(rustix::io::Errno::TOOMANYREFS.into())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        os::unix::net::UnixStream,
    };

    use super::*;

    #[test]
    fn sockets_come_in_their_order_as_often_as_they_are_asked_for_and_no_longer_than_they_are_kept() {
        let (ours, mut others): (Vec<OwnedFd>, Vec<_>) = (0..300)
            .map(|_| {
                let (one, other) = UnixStream::pair().expect("a pair");
                (OwnedFd::from(one), other)
            })
            .unzip();
        let mut stash = Stash::new(300).expect("a table");
        stash.put(&ours).expect("there is room");
        drop(ours);
        let (one, other) = Carriage::pair().expect("a pair");
        let giver = thread::spawn(move || Carriage::new(one).give(&mut stash));
        let carriage = Carriage::new(other);
        for _ in 0..2 {
            let mut came = carriage.ask(0, 300).expect("some");
            assert_eq!(came.len(), CARRIED_AT_ONCE);
            came.extend(carriage.ask(CARRIED_AT_ONCE as u32, 300).expect("the rest"));
            assert_eq!(came.len(), 300);
            for (socket, number) in came.into_iter().zip(0u8..=255) {
                UnixStream::from(socket).write_all(&[number]).expect("it is open");
            }
        }
        assert!(carriage.ask(300, 5).expect("an answer").is_empty());
        drop(carriage);
        giver.join().expect("no panic").expect("nobody asks any more");
        for (socket, number) in others.iter_mut().zip(0u8..=255) {
            let mut text = Vec::new();
            socket.read_to_end(&mut text).expect("nobody holds it any more");
            assert_eq!(text, [number, number]);
        }
    }

    #[test]
    fn whoever_asks_where_nobody_is_any_more_is_told_so() {
        let (one, other) = Carriage::pair().expect("a pair");
        drop(one);
        assert!(Carriage::new(other).ask(0, 1).is_err());
    }
}
