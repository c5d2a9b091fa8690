//! The listeners of a network namespace: how many connections wait at each, and how many may.
//!
//! The kernel tells both over a netlink socket, of the namespace that asks. Of another one only `/proc` can be read, which
//! tells how many wait.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::host::{Host, Subject, counters::net_path};

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where it listens.
    pub port: u16,
    /// Connections that nobody has accepted yet.
    pub queued: u64,
    /// How many may wait: the lesser of the sysctl and what the program asked for, where that could be seen.
    pub bound: Option<u64>,
}

impl Listener {
    /// How full the queue is, in per mille of its bound; of an unknown bound, how many wait.
    fn fullness(&self) -> u64 {
        self.bound.map_or(self.queued, |bound| self.queued * 1_000 / bound.max(1))
    }
}

/// The fullest listener; where nobody waits at any of them at this moment, those with the least bound, which are the
/// next to overflow.
pub fn fullest(host: &Host) -> Vec<Listener> {
    let found = all(host);
    if found.iter().any(|listener| listener.queued > 0) {
        return found.into_iter().max_by_key(Listener::fullness).into_iter().collect();
    }
    let least = found.iter().filter_map(|listener| listener.bound).min();
    let mut shortest: Vec<Listener> =
        found.into_iter().filter(|listener| least.is_some() && listener.bound == least).collect();
    // A shard has a listener of its own on the same port.
    shortest.sort_by_key(|listener| listener.port);
    shortest.dedup();
    shortest
}

fn all(host: &Host) -> Vec<Listener> {
    if is_our_namespace(host)
        && let Ok(found) = asked(libc::AF_INET).and_then(|mut found| {
            found.extend(asked(libc::AF_INET6)?);
            Ok(found)
        })
    {
        return found;
    }
    ["tcp", "tcp6"].iter().flat_map(|file| listed(host, file)).collect()
}

/// Whether the process that is watched shares our network namespace, which is the one a socket of ours asks.
fn is_our_namespace(host: &Host) -> bool {
    let namespace = |folder: &str| std::fs::read_link(format!("{folder}/ns/net")).ok();
    match host.subject() {
        Subject::Server(_) => {
            host.is_live() && namespace(&host.process_folder()) == namespace("/proc/thread-self")
        }
        Subject::Ourselves | Subject::Shell(_) => host.is_live(),
    }
}

/// A request's length: a header of netlink and one of `sock_diag(7)`.
const REQUEST_BYTES: usize = 16 + 56;
/// `SOCK_DIAG_BY_FAMILY`
const BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST | NLM_F_DUMP`
const DUMP: u16 = 0x301;
/// The types of messages that end a dump: `NLMSG_ERROR` and `NLMSG_DONE`.
const ENDS: [u16; 2] = [2, 3];
/// The state of a listener, `TCP_LISTEN`.
const LISTEN: u32 = 10;

/// Asks the kernel for the listeners of one family.
fn asked(family: i32) -> io::Result<Vec<Listener>> {
    let netlink = Domain::from(libc::AF_NETLINK);
    let mut socket = Socket::new(netlink, Type::RAW, Some(Protocol::from(libc::NETLINK_SOCK_DIAG)))?;
    let mut request = [0u8; REQUEST_BYTES];
    request[0..4].copy_from_slice(&(REQUEST_BYTES as u32).to_ne_bytes());
    request[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
    request[6..8].copy_from_slice(&DUMP.to_ne_bytes());
    request[16] = family as u8;
    request[17] = libc::IPPROTO_TCP as u8;
    request[20..24].copy_from_slice(&(1u32 << LISTEN).to_ne_bytes());
    socket.send(&request)?;
    let mut found = Vec::new();
    // The kernel writes no message larger than this.
    let mut answer = vec![0u8; 32 << 10];
    loop {
        let length = socket.read(&mut answer)?;
        if length == 0 || !add_messages(&answer[..length], &mut found) {
            return Ok(found);
        }
    }
}

/// Adds the listeners of some messages; false after the last.
fn add_messages(mut rest: &[u8], found: &mut Vec<Listener>) -> bool {
    while let (Some(length), Some(kind)) = (number(rest, 0), rest.get(4..6)) {
        let length = length as usize;
        let (Some(message), true) = (rest.get(..length), length >= 16) else { return false };
        if ENDS.contains(&u16::from_ne_bytes([kind[0], kind[1]])) {
            return false;
        }
        found.extend(listener_in(&message[16..]));
        // Messages begin at multiples of four.
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    true
}

/// `struct inet_diag_msg`: family, state, timer, retries, then 48 bytes that begin with the port, the time that is left,
/// and the two queues, which of a listener are how many wait and how many may.
fn listener_in(message: &[u8]) -> Option<Listener> {
    let port = message.get(4..6)?;
    Some(Listener {
        port: u16::from_be_bytes([port[0], port[1]]),
        queued: number(message, 56)?.into(),
        bound: Some(number(message, 60)?.into()),
    })
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// The listeners of a file of `/proc/net`. They stand first in it, and it is read no further: a million connections
/// follow.
fn listed(host: &Host, file: &str) -> Vec<Listener> {
    let Ok(list) = File::open(host.path(&net_path(host, file))) else { return Vec::new() };
    let rows = BufReader::new(list).lines().map_while(Result::ok).skip(1);
    rows.map_while(|row| listener(&row)).collect()
}

/// `0: 0100007F:1F90 00000000:0000 0A 00000000:00000081 …`: address and port, peer, state, queues to send and to read.
fn listener(row: &str) -> Option<Listener> {
    let mut fields = row.split_whitespace().skip(1);
    let (local, _, state, queues) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    (state == "0A").then_some(())?;
    let port = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
    let queued = u64::from_str_radix(queues.split_once(':')?.1, 16).ok()?;
    Some(Listener { port, queued, bound: None })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{all, fullest, listener};
    use crate::{host::Host, prove::in_namespace};

    #[test]
    fn of_the_kernels_list_listeners_are_read_and_the_first_connection_ends_them() {
        let row = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000081 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0";
        let found = listener(row).unwrap();
        assert_eq!((found.port, found.queued), (8080, 129));
        assert!(listener(&row.replace(" 0A ", " 01 ")).is_none());
        assert!(listener("short").is_none());
    }

    #[test]
    fn the_kernel_tells_of_each_listener_how_many_wait_and_how_many_may() {
        let told = in_namespace(Duration::from_secs(30), || {
            let listen = |address: &str, backlog: i32| {
                let address: std::net::SocketAddr = address.parse().map_err(std::io::Error::other)?;
                let socket =
                    socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
                socket.bind(&address.into())?;
                socket.listen(backlog)?;
                Ok::<_, std::io::Error>(socket)
            };
            let _short = listen("127.0.0.1:7001", 8)?;
            let _long = listen("127.0.0.1:7002", 100)?;
            let _wide = listen("[::1]:7003", 50)?;
            let _as_short = listen("127.0.0.1:7004", 8)?;
            let quiet = fullest(&Host::at("/"));
            let _clients = (0..3)
                .map(|_| std::net::TcpStream::connect("127.0.0.1:7002"))
                .collect::<Result<Vec<_>, _>>()?;
            let mut all = all(&Host::at("/"));
            all.sort_by_key(|listener| listener.port);
            Ok((quiet, all, fullest(&Host::at("/"))))
        });
        let (quiet, all, busy) = match told {
            Ok(told) => told,
            Err(trouble) => return eprintln!("not run: {trouble}"),
        };
        let all: Vec<(u16, u64, Option<u64>)> =
            all.iter().map(|listener| (listener.port, listener.queued, listener.bound)).collect();
        assert_eq!(all, [(7001, 0, Some(8)), (7002, 3, Some(100)), (7003, 0, Some(50)), (7004, 0, Some(8))]);
        let ports = |found: &[super::Listener]| found.iter().map(|one| one.port).collect::<Vec<_>>();
        assert_eq!(ports(&quiet), [7001, 7004]);
        assert_eq!(ports(&busy), [7002]);
    }
}
