//! Clients of Socket.IO that poll, whose shards others take the place of: no request of theirs meets the end of a connection.

use std::{io::Write, os::unix::net::UnixStream, thread, time::Duration};

use super::{
    Player, World,
    travelling::{common, staying, went_on},
};
use crate::{model::SessionId, shard::simulated::receive};

/// Turns within which an answer comes.
const TURNS_MAX: u32 = 1000;

/// A connection over which a client polls.
struct Poller {
    socket: UnixStream,
    received: Vec<u8>,
    target: String,
}

impl Poller {
    /// A client's, to one of its shards or another.
    fn of(world: &mut World, player: Player, shard: usize) -> Self {
        let (socket, _) = world.shards.connect(shard, 100_000).expect("there is room");
        let sid = SessionId::new(player.id.shard, player.session, [0; 9]);
        let target = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
        Self { socket, received: Vec::new(), target }
    }

    fn ask(&mut self) {
        let request = format!("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", self.target);
        self.socket.write_all(request.as_bytes()).expect("there is room");
    }

    fn say(&mut self, packet: &str) {
        let (target, length) = (&self.target, packet.len());
        let request =
            format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{packet}");
        self.socket.write_all(request.as_bytes()).expect("there is room");
    }

    /// The answer that comes while the shards have their turns: the kernel passes the connection on in its own time.
    fn await_answer(&mut self, world: &mut World) -> Option<String> {
        (0..TURNS_MAX).find_map(|_| {
            (0..world.shards.all.len()).for_each(|shard| world.shards.turn(shard));
            thread::sleep(Duration::from_millis(1));
            self.answer()
        })
    }

    /// The body of the answer that has come, if one has and is not the last over this connection.
    fn answer(&mut self) -> Option<String> {
        let (_, is_over) = receive(&mut self.socket, &mut self.received, usize::MAX);
        assert!(!is_over, "it is cut");
        let end = memchr::memmem::find(&self.received, b"\r\n\r\n")? + 4;
        let body = String::from_utf8(self.received.split_off(end)).expect("text");
        let head = String::from_utf8(std::mem::take(&mut self.received)).expect("text");
        assert!(head.starts_with("HTTP/1.1 200 ") && !head.contains("close"), "{head}{body}");
        Some(body)
    }
}

#[test]
fn who_polls_meets_no_end_whatever_it_asks_of_any_shard_while_its_own_is_emptied() {
    let common = common(2, 0);
    let mut world = World::of(&common, staying);
    let player = world.enter(0);
    let [mut parked, mut asking, mut late, mut last, mut ended] =
        [0, 1, 1, 0, 0].map(|shard| Poller::of(&mut world, player, shard));
    parked.ask();
    // It has been told that its connection ends, and is waited for.
    ended.socket.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("there is room");
    world.turns();
    let (mut world, arrived) = world.succeed_while(
        &common,
        staying,
        |world| {
            // It comes while the shards are emptied, and to another than its own.
            asking.say(r#"421["join","lobby"]"#);
            assert_eq!(asking.await_answer(world).as_deref(), Some("ok"));
            assert_eq!(parked.await_answer(world).as_deref(), Some("431[]"));
            parked.ask();
            drop(ended);
            late.say(r#"422["join","late"]"#);
        },
        |_| last.say(r#"423["join","last"]"#),
    );
    assert_eq!(went_on(&arrived), (0, 0), "none of these is anybody's");
    for connection in [&mut late, &mut last] {
        assert_eq!(connection.answer().as_deref(), Some("ok"));
    }
    let mut told = Vec::new();
    for _ in 0..4 {
        let answer = parked.answer().expect("it hears, or is told to poll again");
        told.extend(answer.split('\u{1e}').filter(|packet| *packet != "6").map(str::to_owned));
        parked.ask();
        world.turns();
        if told.len() == 2 {
            break;
        }
    }
    told.sort();
    assert_eq!(told, ["432[]", "433[]"]);
    world.io(1).to("late").emit("said", &1);
    world.turns();
    assert_eq!(parked.answer().as_deref(), Some(r#"42["said",1]"#));
}
