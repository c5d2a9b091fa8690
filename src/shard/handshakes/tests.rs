//! Clients that come together, over TLS, to a shard without an executor.

use std::{io::Write, net::Shutdown, os::unix::net::UnixStream};

use rustls::ClientConnection;

use super::*;
use crate::{
    app::{Answer, Context, Handler, Peer, Request, Verdict},
    shard::{
        Redirect, TlsSetup,
        secrets::Secrets,
        simulated::{Common, Shards, receive},
    },
    tls::tests::{client, client_of_tls12, say, sent, take, terms},
};

const CLIENTS: usize = 40;
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
const PATIENCE: usize = 10_000;

/// Answers every request with 204, and one for `/here` with 404.
struct Server;

impl Handler for Server {
    fn connect(&mut self, _: &mut Context<'_>, _: &Peer<'_>, _: &Request<'_>) -> Verdict {
        Verdict::accept(0)
    }

    fn request(&mut self, _: &mut Context<'_>, _: &Peer<'_>, request: &Request<'_>) -> Answer {
        Answer::Respond(Response::empty(if request.path() == "/here" { 404 } else { 204 }))
    }
}

/// A client that speaks TLS.
struct Client {
    socket: UnixStream,
    index: u32,
    tls: ClientConnection,
    said: Vec<u8>,
    heard: Vec<u8>,
}

impl Client {
    fn connect(shards: &mut Shards, mut tls: ClientConnection) -> Self {
        let (socket, index) = shards.connect(0, 1 << 16).expect("there is room");
        shards.all[0].lines.slab.at(index).flags.set(Flags::TLS);
        let said = sent(&mut tls);
        Self { socket, index, tls, said, heard: Vec::new() }
    }

    /// Sends what it has to say.
    fn send(&mut self) {
        self.socket.write_all(&std::mem::take(&mut self.said)).expect("it is taken");
    }

    /// Hears what it is told; what it has to say to that is kept.
    fn hear(&mut self) {
        let mut bytes = Vec::new();
        receive(&mut self.socket, &mut bytes, usize::MAX);
        self.heard.extend(take(&mut self.tls, &bytes).expect("it follows"));
        self.said.extend(sent(&mut self.tls));
    }

    /// Says something behind what it has to say.
    fn say(&mut self, plain: &[u8]) {
        let sealed = say(&mut self.tls, plain);
        self.said.extend(sealed);
    }
}

/// A shard that speaks TLS.
fn sealing_shard() -> Shards {
    let mut shards = Shards::new(&Common::of_one(CLIENTS as u32 + 1), |_| Box::new(Server));
    let slots = shards.all[0].foundation.descriptors();
    let (terms, redirect) = (terms(), Redirect::default());
    let setup = TlsSetup { terms, handshakes_max: 1000, handshake_timeout_ms: 10_000, redirect };
    shards.all[0].lines.secrets = Secrets::of(Some(setup), slots).0;
    shards
}

/// One, and clients whose hellos it has answered and whose second flights are ready.
fn greeted() -> (Shards, Vec<Client>) {
    let mut shards = sealing_shard();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| Client::connect(&mut shards, client())).collect();
    clients.iter_mut().for_each(Client::send);
    for _ in 0..PATIENCE {
        shards.turn(0);
        clients.iter_mut().for_each(Client::hear);
        if clients.iter().all(|client| !client.tls.is_handshaking()) {
            return (shards, clients);
        }
    }
    panic!("not all hellos are answered");
}

/// How many have shaken hands.
fn established(shards: &Shards) -> usize {
    shards.all[0].report.tls_handshakes_total[HandshakeResult::Full as usize] as usize
}

/// Gives turns until all have been answered.
fn answer_all(shards: &mut Shards, clients: &mut [Client]) {
    for _ in 0..PATIENCE {
        shards.turn(0);
        clients.iter_mut().for_each(Client::hear);
        if clients.iter().all(|client| client.heard.starts_with(b"HTTP/1.1 ")) {
            return assert_eq!(established(shards), CLIENTS);
        }
    }
    panic!("{} of {CLIENTS} have shaken hands", established(shards));
}

/// Gives turns until all have shaken hands.
fn establish_all(shards: &mut Shards, clients: &mut [Client]) {
    clients.iter_mut().for_each(Client::send);
    for _ in 0..PATIENCE {
        shards.turn(0);
        if established(shards) == CLIENTS {
            return clients.iter_mut().for_each(Client::hear);
        }
    }
    panic!("{} of {CLIENTS} have shaken hands", established(shards));
}

/// Of what all say together each turn hears one, when there is time for no more, and somebody who is connected meanwhile.
fn check_that_each_turn_hears_one(
    shards: &mut Shards,
    clients: &mut [Client],
    count: impl Fn(&Shards) -> usize,
) {
    let (mut connected, _) = shards.connect(0, 1 << 16).expect("there is room");
    shards.all[0].lines.secrets.shaking.limit_time(1);
    clients.iter_mut().for_each(Client::send);
    connected.write_all(b"GET /here HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it is taken");
    let (mut answer, mut answered_after) = (Vec::new(), None);
    for _ in 0..PATIENCE {
        let before = count(shards);
        shards.turn(0);
        assert!(count(shards) <= before + 1, "{} in one turn", count(shards) - before);
        receive(&mut connected, &mut answer, usize::MAX);
        if !answer.is_empty() {
            answered_after.get_or_insert(count(shards));
        }
        if count(shards) == CLIENTS {
            assert!(answer.starts_with(b"HTTP/1.1 404"), "{answer:?}");
            return assert!(answered_after < Some(CLIENTS / 2), "after {answered_after:?} of them");
        }
        assert!(count(shards) == 0 || shards.are_busy(), "no turn is waited for");
    }
    panic!("{} of {CLIENTS} have been heard", count(shards));
}

#[test]
fn second_flights_that_come_together_share_some_time_of_each_turn() {
    let (mut shards, mut clients) = greeted();
    clients.iter_mut().for_each(|client| client.say(REQUEST));
    check_that_each_turn_hears_one(&mut shards, &mut clients, established);
    answer_all(&mut shards, &mut clients);
}

#[test]
fn first_requests_that_come_together_share_some_time_of_each_turn() {
    let (mut shards, mut clients) = greeted();
    establish_all(&mut shards, &mut clients);
    clients.iter_mut().for_each(|client| client.say(REQUEST));
    let answered = |shards: &Shards| shards.all[0].report.responses_total[1] as usize;
    check_that_each_turn_hears_one(&mut shards, &mut clients, answered);
    answer_all(&mut shards, &mut clients);
    // What comes behind them has as much time as anybody's.
    clients.iter_mut().for_each(|client| client.say(REQUEST));
    clients.iter_mut().for_each(Client::send);
    let mut most = 0;
    while answered(&shards) < 2 * CLIENTS {
        let before = answered(&shards);
        shards.turn(0);
        most = most.max(answered(&shards) - before);
    }
    assert!(most > 1);
}

#[test]
fn what_a_client_has_said_while_it_waits_is_heard_before_its_end_is() {
    for comes_behind in [false, true] {
        let (mut shards, mut clients) = greeted();
        if comes_behind {
            establish_all(&mut shards, &mut clients);
        }
        // They wait.
        shards.all[0].lines.secrets.shaking.limit_time(1);
        clients.iter_mut().for_each(|client| client.say(REQUEST));
        clients.iter_mut().for_each(Client::send);
        let last = clients.last().expect("there are some");
        last.socket.shutdown(Shutdown::Write).expect("it can be");
        answer_all(&mut shards, &mut clients);
        assert_eq!(shards.all[0].report.tls_handshakes_total[HandshakeResult::Gone as usize], 0);
    }
}

#[test]
fn who_says_much_while_it_waits_need_not_wait_and_is_not_refused_for_it() {
    for comes_behind in [false, true] {
        let (mut shards, mut clients) = greeted();
        if comes_behind {
            establish_all(&mut shards, &mut clients);
        }
        // They wait.
        shards.all[0].lines.secrets.shaking.limit_time(1);
        let body = vec![b'a'; 100_000];
        let head = format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
        let (last, others) = clients.split_last_mut().expect("there are some");
        others.iter_mut().for_each(|client| client.say(REQUEST));
        last.say(&[head.as_bytes(), &body].concat());
        clients.iter_mut().for_each(Client::send);
        answer_all(&mut shards, &mut clients);
    }
}

#[test]
fn who_has_nearly_used_up_the_keys_of_tls12_is_closed_and_may_come_again() {
    let mut shards = sealing_shard();
    let mut client = Client::connect(&mut shards, client_of_tls12());
    client.say(REQUEST);
    for _ in 0..PATIENCE {
        client.send();
        shards.turn(0);
        client.hear();
        if !client.heard.is_empty() {
            break;
        }
    }
    assert!(client.heard.starts_with(b"HTTP/1.1 204"), "{:?}", client.heard);
    let closed = |shards: &Shards| shards.all[0].report.closed_total[CloseReason::GoingAway.index()];
    let record = shards.all[0].lines.secrets.record(client.index);
    record.expect("it has shaken hands").nearly_exhaust();
    assert_eq!(closed(&shards), 0);
    client.say(REQUEST);
    client.send();
    let (mut told, mut is_over) = (Vec::new(), false);
    for _ in 0..PATIENCE {
        shards.turn(0);
        is_over = receive(&mut client.socket, &mut told, usize::MAX).1;
        if is_over {
            break;
        }
    }
    assert_eq!((is_over, told.is_empty(), closed(&shards)), (true, false, 1));
}
