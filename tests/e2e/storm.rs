//! Very many clients that shake hands at once, some that begin to and do not go on, and certificates that change meanwhile.

use std::{
    fs,
    io::ErrorKind,
    net::TcpStream,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use rustls::{ClientConfig, ClientConnection};

use crate::{
    certificate::Certificate,
    client::Client,
    server::{Patience, Server, await_that},
    socket::WebSocket,
    upgrade::Ending,
};

/// One shard that speaks TLS over TCP, and none over a Unix socket with this path nor to operators.
fn command(certificate: &Certificate, path: &str, settings: &[&str]) -> Command {
    let mut command = Server::command(1, &[], settings);
    command.args(["--listen", "127.0.0.2:0", "--listen", &format!("unix:{path}")]);
    command.args(["--set", "tls.addresses=127.0.0.2:0", "--tls-cert"]).arg(&certificate.chain);
    command.arg("--tls-key").arg(&certificate.key);
    command
}

fn socket_path(name: &str) -> String {
    let name = format!("roadstead-e2e-{name}-{}.sock", std::process::id());
    std::env::temp_dir().join(name).display().to_string()
}

/// A client that has said its hello, and nothing else yet.
struct Greeting {
    connection: ClientConnection,
    stream: TcpStream,
}

impl Greeting {
    fn new(server: &Server, config: &Arc<ClientConfig>) -> Self {
        let mut stream = TcpStream::connect(server.address()).expect("it listens");
        let name = "localhost".try_into().expect("a name");
        let mut connection = ClientConnection::new(Arc::clone(config), name).expect("a client");
        connection.write_tls(&mut stream).expect("a hello finds room");
        stream.set_nonblocking(true).expect("every socket can be");
        Self { connection, stream }
    }

    /// Goes on as far as what has arrived allows; tells whether that is the end.
    fn goes_on(&mut self) -> bool {
        match self.connection.complete_io(&mut self.stream) {
            Ok(_) => !self.connection.is_handshaking(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => panic!("it was cut: {error}"),
        }
    }
}

fn in_progress(server: &Server) -> f64 {
    server.metric("roadstead_tls_handshakes_in_progress", "")
}

fn ended(server: &Server, result: &str) -> f64 {
    server.metric("roadstead_tls_handshakes_total", &format!("result=\"{result}\""))
}

#[test]
fn of_many_who_come_at_once_nobody_is_cut_and_those_without_tls_or_connected_do_not_wait() {
    const CLIENTS: usize = 300;
    let (certificate, path) = (Certificate::new("localhost"), socket_path("storm"));
    // Nobody here is ever too slow.
    let settings = ["tls.handshakes_max=8", "tls.handshake_timeout_ms=600000"];
    let server = Server::launch(&mut command(&certificate, &path, &settings));
    let config = certificate.client();
    let dial = || TcpStream::connect(server.address()).expect("it listens");
    let mut connected = WebSocket::open(Client::sealed_over(dial(), &config), "/echo", "");
    let mut coming: Vec<_> = (0..CLIENTS).map(|_| Greeting::new(&server, &config)).collect();
    await_that("some have been answered, and some wait", || in_progress(&server) >= 12.0);
    // More than there are accepts under way when others begin to be held.
    for round in 0..48 {
        connected.send_text(&format!("round {round}"));
        assert_eq!(connected.text(), format!("round {round}"));
        assert_eq!(Client::connect_unix(&path).request("GET", "/hello", "", b"").status, 200);
    }
    // The others are in the kernel's queue.
    assert!(in_progress(&server) < 200.0, "{} were accepted", in_progress(&server));
    let patience = Patience::begin();
    // Those who have finished stay.
    let mut is_done = [false; CLIENTS];
    while is_done.contains(&false) {
        let each = coming.iter_mut().zip(&mut is_done).filter(|(_, is_done)| !**is_done);
        each.for_each(|(client, is_done)| *is_done = client.goes_on());
        patience.check("all have been answered");
    }
    let finished = || ended(&server, "full") + ended(&server, "resumed");
    await_that("all have shaken hands", || finished() == (CLIENTS + 1) as f64);
    assert_eq!(["given_up", "timeout", "failed", "refused"].map(|result| ended(&server, result)), [0.0; 4]);
}

#[test]
fn clients_that_begin_and_do_not_go_on_hold_the_door_no_longer_than_a_part_of_their_time() {
    const STALLING: usize = 6;
    let (certificate, path) = (Certificate::new("localhost"), socket_path("stall"));
    // Each has a second while others wait, and the last one waits longer for its turn than a handshake may take.
    let settings = ["tls.handshakes_max=1", "tls.handshake_timeout_ms=5000"];
    let server = Server::launch(&mut command(&certificate, &path, &settings));
    let config = certificate.client();
    let _stalling: Vec<_> = (0..STALLING).map(|_| Greeting::new(&server, &config)).collect();
    await_that("all of them have said their hello", || {
        // Whoever has been given up by now had said its own.
        in_progress(&server) + ended(&server, "given_up") == STALLING as f64
    });
    let stream = TcpStream::connect(server.address()).expect("it listens");
    let answer = Client::sealed_over(stream, &config).request("GET", "/hello", "", b"");
    assert_eq!(answer.text(), "Hello, World!");
    assert_eq!((ended(&server, "given_up"), ended(&server, "timeout")), (STALLING as f64, 0.0));
}

#[test]
fn certificates_change_under_load_and_nobody_is_lost() {
    const TALKERS: usize = 8;
    const NEWCOMERS: usize = 2;
    const CHANGES: usize = 12;
    let certificates = [(); 3].map(|()| Certificate::new("localhost"));
    let [shown, one, other] = &certificates;
    let mut command = Server::command(2, &[], &["tls.watch_ms=0"]);
    command.args(["--listen", "127.0.0.1:0", "--tls-cert"]).arg(&shown.chain);
    let server = Server::launch(command.arg("--tls-key").arg(&shown.key));
    // Those who come again resume what they had; whoever looks at the certificate does not.
    let config = || Certificate::client_of(&[shown, one, other]);
    let connect = || TcpStream::connect(server.address()).expect("it listens");
    let common = config();
    let dial = || Client::sealed_over(connect(), &common);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let talkers: Vec<_> = (0..TALKERS)
            .map(|talker| {
                let mut socket = WebSocket::open(dial(), "/echo", "");
                let is_over = &is_over;
                scope.spawn(move || {
                    let mut said = 0;
                    loop {
                        let text = format!("{talker} says {said}");
                        socket.send_text(&text);
                        assert_eq!(socket.text(), text);
                        said += 1;
                        if is_over.load(Ordering::Relaxed) {
                            return said;
                        }
                    }
                })
            })
            .collect();
        let newcomers: Vec<_> = (0..NEWCOMERS)
            .map(|_| {
                scope.spawn(|| {
                    let mut came = 0;
                    loop {
                        assert_eq!(dial().request("GET", "/hello", "", b"").status, 200);
                        came += 1;
                        if is_over.load(Ordering::Relaxed) {
                            return came;
                        }
                    }
                })
            })
            .collect();
        // Whatever fails, those who wait for the end see it.
        let over = Ending(&is_over);
        for next in [one, other].into_iter().cycle().take(CHANGES) {
            fs::copy(&next.chain, &shown.chain).expect("copied");
            fs::copy(&next.key, &shown.key).expect("copied");
            let answer = server.connect_admin().request("POST", "/reload", "", b"");
            assert_eq!(answer.status, 202, "{}", answer.text());
            await_that("both shards show it", || {
                (0..8).all(|_| shows(Client::sealed_over(connect(), &config()), next))
            });
        }
        drop(over);
        let counts = |threads: Vec<thread::ScopedJoinHandle<'_, usize>>| -> Vec<usize> {
            threads.into_iter().map(|thread| thread.join().expect("nobody is lost")).collect()
        };
        let (said, came) = (counts(talkers), counts(newcomers));
        println!("said {said:?}, came {came:?}");
    });
    assert_eq!(["failed", "refused", "rejected"].map(|result| ended(&server, result)), [0.0; 3]);
}

/// Whether a server has shown this certificate to a client.
fn shows(mut client: Client, certificate: &Certificate) -> bool {
    let connection = &client.sealed().expect("it speaks TLS").conn;
    connection.peer_certificates().and_then(|chain| chain.first()) == Some(&certificate.der())
}
