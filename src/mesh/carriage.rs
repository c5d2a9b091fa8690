//! Sockets on their way from a process to the next: over a Unix socket, as many at once as whoever asks for them has room for.
//!
//! ```text
//!   new shard: carriage ── from, count ──────────► old process: stash
//!                       ◄── count, secrets, descriptors ──
//! ```
//!
//! What has been asked for can be asked for again. Until the old process is told to let go, it holds all of them.
//!
//! The keys of a connection that speaks TLS go beside its socket, and not with what else is known of it: that stands in a file in
//! memory (`storage/snapshot.rs`), which the kernel may swap out as it may any other, and which the keeper holds as well. A socket's
//! buffer is the kernel's own memory, which is never swapped out and never a file. Both ends are held by the two processes alone:
//! the keeper has made them and let go of them, and neither has a name. On both sides the bytes are in memory that is zeroed
//! when it is dropped, or that ends with its process, which leaves no core (`server.core_dumps`).

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

use zeroize::Zeroizing;

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
    /// Connections that go on, but for those between two requests, which are nobody's.
    pub carried: u32,
    /// Of the same, those that were left and are told to come back, or are lost.
    pub refused: u32,
    /// Connections that were told to come back before.
    pub told: u64,
}

/// A socket, and what is to be known of it and of nobody else.
pub type Given = (OwnedFd, Zeroizing<Vec<u8>>);

const SPACE_BYTES: usize = rustix::cmsg_space!(ScmRights(CARRIED_AT_ONCE));

/// How many sockets there are.
const COUNT_BYTES: usize = 4;
/// A secret is not longer, for its length is one byte.
const SECRET_BYTES_MAX: usize = u8::MAX as usize;
const ANSWER_BYTES_MAX: usize = COUNT_BYTES + CARRIED_AT_ONCE * (1 + SECRET_BYTES_MAX);

const _: () = assert!(crate::tls::EXPORT_BYTES <= SECRET_BYTES_MAX);

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
    pub fn ask(&self, from: u32, count: u32) -> io::Result<Vec<Given>> {
        let socket = socket2::SockRef::from(&self.0);
        socket.set_read_timeout(Some(Duration::from_millis(CARRIAGE_ANSWER_MS)))?;
        let mut asked = [0; 8];
        asked[..4].copy_from_slice(&from.to_le_bytes());
        asked[4..].copy_from_slice(&count.min(CARRIED_AT_ONCE as u32).to_le_bytes());
        rustix::io::retry_on_intr(|| rustix::net::send(&self.0, &asked, SendFlags::NOSIGNAL))?;
        let mut bytes = Zeroizing::new(vec![0; ANSWER_BYTES_MAX]);
        let mut space = [MaybeUninit::uninit(); SPACE_BYTES];
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
        let secrets = secrets_in(bytes.get(COUNT_BYTES..received.bytes).unwrap_or_default());
        Ok(rights.flatten().zip(secrets).collect())
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
            let from = u32::from_le_bytes([a, b, c, d]);
            let mut sockets = stash.look(from, count)?;
            let secret = |at| stash.secret(from.saturating_add(at as u32));
            while let Err(error) = self.send(&sockets, secret) {
                // A socket may have room for less than all the secrets.
                if error.raw_os_error() != Some(libc::EMSGSIZE) || sockets.len() < 2 {
                    return Err(error);
                }
                sockets.truncate(sockets.len() / 2);
            }
        }
    }

    fn send<'a>(&self, sockets: &[OwnedFd], secret: impl Fn(usize) -> &'a [u8]) -> io::Result<()> {
        /// What is on its way is bounded for each user (unix(7), `ETOOMANYREFS`): others may be sending as well.
        const TRIES_MAX: usize = 1000;
        let said = answer(sockets.len(), secret);
        let descriptors: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
        for _ in 0..TRIES_MAX {
            let mut space = [MaybeUninit::uninit(); SPACE_BYTES];
            let mut beside = SendAncillaryBuffer::new(&mut space);
            if !descriptors.is_empty() {
                let fits = beside.push(SendAncillaryMessage::ScmRights(&descriptors));
                assert!(fits, "{} descriptors beside one message", descriptors.len());
            }
            match rustix::net::sendmsg(&self.0, &[IoSlice::new(&said)], &mut beside, SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::TOOMANYREFS) => thread::sleep(Duration::from_millis(1)),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(rustix::io::Errno::TOOMANYREFS.into())
    }
}

/// What is said of so many sockets.
fn answer<'a>(count: usize, secret: impl Fn(usize) -> &'a [u8]) -> Zeroizing<Vec<u8>> {
    let mut said = Zeroizing::new(Vec::with_capacity(ANSWER_BYTES_MAX));
    said.extend_from_slice(&(count as u32).to_le_bytes());
    for secret in (0..count).map(secret) {
        said.push(secret.len() as u8);
        said.extend_from_slice(&secret[..secret.len().min(SECRET_BYTES_MAX)]);
    }
    said
}

/// The secrets of an answer, one for each socket.
fn secrets_in(mut said: &[u8]) -> impl Iterator<Item = Zeroizing<Vec<u8>>> {
    std::iter::from_fn(move || {
        let (len, rest) = said.split_first()?;
        let (secret, rest) = rest.split_at_checked(usize::from(*len))?;
        said = rest;
        Some(secret.to_vec().into())
    })
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
        let mut stash = Stash::new(300, 300).expect("a table");
        stash.put(&ours).expect("there is room");
        (0..300u32).filter(|place| place % 2 == 1).for_each(|place| {
            stash.put_secret(place, |out| out.extend_from_slice(&place.to_le_bytes()[..2]));
        });
        drop(ours);
        let (one, other) = Carriage::pair().expect("a pair");
        let giver = thread::spawn(move || Carriage::new(one).give(&mut stash));
        let carriage = Carriage::new(other);
        for _ in 0..2 {
            let mut came = carriage.ask(0, 300).expect("some");
            assert_eq!(came.len(), CARRIED_AT_ONCE);
            came.extend(carriage.ask(CARRIED_AT_ONCE as u32, 300).expect("the rest"));
            assert_eq!(came.len(), 300);
            for ((socket, secret), number) in came.into_iter().zip(0u16..) {
                let expected = if number % 2 == 1 { number.to_le_bytes().to_vec() } else { Vec::new() };
                assert_eq!(*secret, expected);
                UnixStream::from(socket).write_all(&[number as u8]).expect("it is open");
            }
        }
        assert!(carriage.ask(300, 5).expect("an answer").is_empty());
        drop(carriage);
        giver.join().expect("no panic").expect("nobody asks any more");
        for (socket, number) in others.iter_mut().zip(0u16..) {
            let mut text = Vec::new();
            socket.read_to_end(&mut text).expect("nobody holds it any more");
            assert_eq!(text, [number as u8; 2]);
        }
    }

    #[test]
    fn whoever_asks_where_nobody_is_any_more_is_told_so() {
        let (one, other) = Carriage::pair().expect("a pair");
        drop(one);
        assert!(Carriage::new(other).ask(0, 1).is_err());
    }
}
