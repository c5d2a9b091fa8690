//! TLS for tests that embed a server and whose clients write and read a bare socket: with `ROADSTEAD_TEST_TLS=1` they have one
//! end of a tunnel, whose other end speaks TLS to the server. What they write arrives in records, and their end is a last
//! word of TLS, or a reset where theirs is one.

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, LazyLock, Mutex},
    thread,
    time::Duration,
};

use roadstead::{config::Config, supervisor::Server};
use rustls::ClientConnection;

use crate::certificate;

/// What both directions of a tunnel share.
#[derive(Clone)]
struct Tunnel {
    connection: Arc<Mutex<ClientConnection>>,
    near: Arc<TcpStream>,
    far: Arc<TcpStream>,
}

/// Lets a server speak TLS, if everything is to.
pub fn secure(config: &mut Config) {
    if certificate::is_used_everywhere() {
        let [_, chain, _, key] = certificate::flags();
        (config.tls.certificates, config.tls.keys) = (vec![chain], vec![key]);
    }
}

/// From which port a tunnel comes to its server, by both addresses of the client's end: several ends may have one port.
static PORTS: LazyLock<Mutex<HashMap<[SocketAddr; 2], u16>>> = LazyLock::new(Mutex::default);

fn addresses(stream: &TcpStream) -> [SocketAddr; 2] {
    [stream.local_addr(), stream.peer_addr()].map(|address| address.expect("it is connected"))
}

/// The port of a client's connection, as its server sees it; to be asked while there is one.
pub fn port(stream: &TcpStream) -> u16 {
    if !certificate::is_used_everywhere() {
        return stream.local_addr().expect("an address").port();
    }
    let own = addresses(stream);
    PORTS.lock().expect("nobody panics here")[&own]
}

/// A connection to the first public address of a server, through a tunnel if everything is to speak TLS.
pub fn connect(server: &Server) -> std::io::Result<TcpStream> {
    connect_to(&server.listening().public[0].to_string())
}

/// The same by its address.
pub fn connect_to(address: &str) -> std::io::Result<TcpStream> {
    let far = TcpStream::connect(address)?;
    if !certificate::is_used_everywhere() {
        return Ok(far);
    }
    far.set_nodelay(true)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let end = TcpStream::connect(listener.local_addr()?)?;
    let (own, port) = (addresses(&end), far.local_addr()?.port());
    PORTS.lock().expect("nobody panics here").insert(own, port);
    let (near, _) = listener.accept()?;
    near.set_nodelay(true)?;
    let name = "localhost".try_into().expect("a name");
    let mut connection = ClientConnection::new(certificate::client(), name).expect("a client");
    connection.set_buffer_limit(None);
    let (near, far) = (Arc::new(near), Arc::new(far));
    thread::spawn(move || {
        // A server that turns clients away may not even shake hands.
        while connection.is_handshaking() {
            if connection.complete_io(&mut &*far).is_err() {
                return near.shutdown(Shutdown::Both);
            }
        }
        let tunnel = Tunnel { connection: Arc::new(Mutex::new(connection)), near, far };
        let back = tunnel.clone();
        thread::spawn(move || back.carry_back());
        tunnel.carry_on();
        Ok(())
    });
    Ok(end)
}

impl Tunnel {
    /// What the client writes, until it ends.
    fn carry_on(&self) {
        let mut piece = vec![0; 64 * 1024];
        loop {
            let read = (&*self.near).read(&mut piece);
            let mut sealed = Vec::new();
            {
                // Nobody waits for the socket while holding this.
                let mut connection = self.connection.lock().expect("nobody panics here");
                match read {
                    Ok(0) => connection.send_close_notify(),
                    Ok(count) => connection.writer().write_all(&piece[..count]).expect("without a bound"),
                    Err(_) => {}
                }
                while connection.wants_write() {
                    connection.write_tls(&mut sealed).expect("a vector takes everything");
                }
            }
            match read {
                Ok(1..) if (&*self.far).write_all(&sealed).is_ok() => {}
                Ok(0) => {
                    // Whoever has gone is not told that this has failed.
                    let _ended =
                        (&*self.far).write_all(&sealed).and_then(|()| self.far.shutdown(Shutdown::Write));
                    return;
                }
                Ok(1..) => return self.end(),
                Err(_) => {
                    let _option = socket2::SockRef::from(&*self.far).set_linger(Some(Duration::ZERO));
                    return self.end();
                }
            }
        }
    }

    /// What the server says, until it ends.
    fn carry_back(&self) {
        let mut piece = vec![0; 64 * 1024];
        loop {
            let count = match (&*self.far).read(&mut piece) {
                Ok(count @ 1..) => count,
                Ok(0) => {
                    let _ended = self.near.shutdown(Shutdown::Write);
                    return;
                }
                Err(_) => return self.end(),
            };
            let (mut plain, mut sealed) = (Vec::new(), &piece[..count]);
            let has_ended = {
                let mut connection = self.connection.lock().expect("nobody panics here");
                let mut has_ended = false;
                while !sealed.is_empty() && !has_ended {
                    connection.read_tls(&mut sealed).expect("a slice can be read");
                    let Ok(state) = connection.process_new_packets() else { return self.end() };
                    let start = plain.len();
                    plain.resize(start + state.plaintext_bytes_to_read(), 0);
                    connection.reader().read_exact(&mut plain[start..]).expect("so much is there");
                    has_ended = state.peer_has_closed();
                }
                has_ended
            };
            if (&*self.near).write_all(&plain).is_err() {
                return self.end();
            }
            if has_ended {
                let _ended = self.near.shutdown(Shutdown::Write);
            }
        }
    }

    fn end(&self) {
        let _ended = (self.near.shutdown(Shutdown::Both), self.far.shutdown(Shutdown::Both));
    }
}
