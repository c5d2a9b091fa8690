//! Names to addresses, on a thread of its own: the system's resolver blocks, for as long as it likes.

use std::{
    cell::RefCell,
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::{Duration, Instant},
};

use async_channel::{Sender, bounded};

use crate::limits::{RESOLVED_FOR_S, RESOLVING_MAX};

/// Asks the system's resolver, and remembers what it has said for a moment.
#[derive(Debug)]
pub(super) struct Resolver {
    asked: SyncSender<Asked>,
    /// As many as there are backends.
    known: RefCell<HashMap<(Box<str>, u16), Known>>,
}

/// Addresses, and since when they are known.
type Known = (Vec<SocketAddr>, Instant);

struct Asked {
    host: Box<str>,
    port: u16,
    told: Sender<io::Result<Vec<SocketAddr>>>,
}

impl Resolver {
    /// Starts the thread, which ends with the resolver.
    pub(super) fn start() -> io::Result<Self> {
        let (asked, inbox) = sync_channel(RESOLVING_MAX);
        thread::Builder::new().name("resolver".to_owned()).spawn(move || answer(&inbox))?;
        Ok(Self { asked, known: RefCell::default() })
    }

    /// The addresses of a host, in the order in which they are to be tried.
    pub(super) async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![(address, port).into()]);
        }
        let key = (Box::from(host), port);
        if let Some((addresses, at)) = self.known.borrow().get(&key)
            && at.elapsed() < Duration::from_secs(RESOLVED_FOR_S)
        {
            return Ok(addresses.clone());
        }
        let (told, answer) = bounded(1);
        let asked = Asked { host: host.into(), port, told };
        self.asked.try_send(asked).map_err(|_| io::ErrorKind::ResourceBusy)?;
        let addresses = answer.recv().await.map_err(|_| io::ErrorKind::BrokenPipe)??;
        self.known.borrow_mut().insert(key, (addresses.clone(), Instant::now()));
        Ok(addresses)
    }

    /// A host could not be reached where it was said to be.
    pub(super) fn forget(&self, host: &str, port: u16) {
        self.known.borrow_mut().remove(&(Box::from(host), port));
    }
}

fn answer(inbox: &Receiver<Asked>) {
    while let Ok(Asked { host, port, told }) = inbox.recv() {
        // Whoever has given up meanwhile needs no answer.
        if !told.is_closed() {
            told.try_send(look_up(&host, port)).ok();
        }
    }
}

/// What the system's resolver says of a host, which may take as long as it likes; the error tells the cure.
pub(crate) fn look_up(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let addresses = (host, port).to_socket_addrs().map(Iterator::collect);
    addresses.map_err(|error| {
        let told = error.to_string();
        let reason = told.rsplit(": ").next().unwrap_or_default();
        io::Error::new(
            error.kind(),
            format!(
                "{host} has no address that this machine knows ({reason}): correct the name, write it into /etc/hosts, \
                 or give an IP address in its place"
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_nobody_knows_is_named_with_the_cure() {
        let told = look_up("nobody.invalid", 80).expect_err("RFC 6761 keeps this name from being anybody's");
        let told = told.to_string();
        assert!(told.starts_with("nobody.invalid has no address that this machine knows ("), "{told}");
        assert!(told.contains("/etc/hosts") && !told.contains("failed to lookup"), "{told}");
    }
}
