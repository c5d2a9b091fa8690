//! Clients of Socket.IO on WebSockets whose shards others take the place of, as at an upgrade: what is left goes through a snapshot,
//! and the sockets come over a carriage.
//!
//! ```text
//!   shards ─► at rest ─► Left ─► bytes ─► Legacy ─► shards of the same numbers
//!      └────── sockets ─► stash ─► carriage ─────────┘
//! ```

use std::{
    cell::RefCell,
    io::Write,
    os::unix::net::UnixStream,
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    World,
    client::{HANDSHAKE, take_frame, take_welcome},
};
use crate::{
    app::socketio::{Ack, AckError, Binary, Io, Settings, Socket},
    limits::{Limits, UPGRADE_ROUNDS},
    mesh::{Arrived, Carriage, Heir, Left, Start},
    model::{ChannelName, ShardId},
    ring::Stash,
    shard::simulated::{Common, receive},
    storage::snapshot,
    wire::websocket::{Opcode, encode_frame_masked},
};

const CONNECTIONS: u32 = 16;

/// Shards that keep what was sent for so long, if at all.
pub(super) fn common(shards: u16, recovery_ms: u32) -> Common {
    let limits = Limits { history_publications_max: 100, ..Limits::default() };
    let socketio = Settings { recovery_ms, ping_interval_ms: 600_000, ..Settings::default() };
    Common { shards, limits, connections: CONNECTIONS, hash_seed: 7, socketio }
}

/// A client.
struct Visitor {
    socket: UnixStream,
    received: Vec<u8>,
    id: String,
}

impl Visitor {
    /// Enters `/`.
    fn enter(world: &mut World, shard: usize) -> Self {
        let (socket, _) = world.shards.connect(shard, 100_000).expect("there is room");
        let mut visitor = Self { socket, received: Vec::new(), id: String::new() };
        visitor.socket.write_all(HANDSHAKE).expect("there is room");
        world.turns();
        visitor.receive();
        assert!(take_welcome(&mut visitor.received));
        visitor.say("40");
        world.turns();
        let heard = visitor.heard();
        let entered: Value = serde_json::from_str(&heard[1][2..]).expect("it is in");
        visitor.id = entered["sid"].as_str().expect("an id").to_owned();
        visitor
    }

    /// Enters `/` and these rooms.
    fn enter_rooms(world: &mut World, shard: usize, rooms: &[&str]) -> Self {
        let mut visitor = Self::enter(world, shard);
        for room in rooms {
            visitor.say(&format!("421{}", json!(["join", room])));
            world.turns();
            assert_eq!(visitor.heard(), ["431[]"]);
        }
        visitor
    }

    fn say(&mut self, packet: &str) {
        self.send(Opcode::Text, packet.as_bytes());
    }

    fn send(&mut self, opcode: Opcode, data: &[u8]) {
        let mut frame = Vec::new();
        encode_frame_masked(&mut frame, opcode, true, data, [1, 2, 3, 4]);
        self.socket.write_all(&frame).expect("there is room");
    }

    fn receive(&mut self) -> bool {
        receive(&mut self.socket, &mut self.received, usize::MAX).1
    }

    /// What it has been told since it was last asked; "1001" when it is told to come back.
    fn heard(&mut self) -> Vec<String> {
        self.receive();
        let mut heard = Vec::new();
        while let Some((opcode, data)) = take_frame(&mut self.received) {
            heard.push(match opcode {
                8 => u16::from_be_bytes([data[0], data[1]]).to_string(),
                _ => String::from_utf8(data).expect("text"),
            });
        }
        heard
    }

    /// The events among that.
    fn events(&mut self) -> Vec<Value> {
        events_of(&self.heard())
    }
}

/// Packets that are all events, without the offsets that these carry.
fn events_of(heard: &[String]) -> Vec<Value> {
    let one = |text: &String| {
        let event = text.strip_prefix("42").unwrap_or_else(|| panic!("{text} is no event"));
        let mut event: Vec<Value> = serde_json::from_str(event).expect("JSON");
        event.truncate(2);
        Value::from(event)
    };
    heard.iter().map(one).collect()
}

impl World {
    /// Lets whatever has been sent be heard, and answered.
    pub(super) fn turns(&mut self) {
        for _ in 0..4 {
            (0..self.shards.all.len()).for_each(|shard| self.shards.turn(shard));
        }
        self.shards.settle();
    }

    pub(super) fn io(&self, shard: usize) -> Io {
        self.shards.all[shard].engines.io.clone()
    }

    /// Has shards come to rest, once `draining` has been done when they have begun to be emptied, and takes what they leave: of each
    /// shard, when that is asked for.
    fn rest(&mut self, draining: impl FnOnce(&mut Self)) -> Leaving {
        let (left, came) = channel();
        let (stashes, stashed) = channel();
        for shard in &mut self.shards.all {
            shard.drain_ms = 0;
            shard.carrying.heir = Some(Heir { left: left.clone(), stashes: Some(stashes.clone()) });
            shard.hub.hold_members();
            shard.begin_drain();
        }
        draining(self);
        for _ in 0..8 + 4 * UPGRADE_ROUNDS {
            self.shards.clock += Duration::from_millis(10);
            (0..self.shards.all.len()).for_each(|shard| self.shards.turn(shard));
        }
        Leaving { came, stashed }
    }

    /// Others take the place of the shards, once `meanwhile` has been done when each of them has left what it had, but the first.
    fn succeed(
        self,
        next: &Common,
        register: impl Fn(&Io) + Clone + Send + Sync + 'static,
        meanwhile: impl FnOnce(&mut Self),
    ) -> (Self, Vec<Arrived>) {
        self.succeed_while(next, register, |_| (), meanwhile)
    }

    /// The same, once `draining` has been done when they have begun to be emptied.
    pub(super) fn succeed_while(
        mut self,
        next: &Common,
        register: impl Fn(&Io) + Clone + Send + Sync + 'static,
        draining: impl FnOnce(&mut Self),
        meanwhile: impl FnOnce(&mut Self),
    ) -> (Self, Vec<Arrived>) {
        let leaving = self.rest(draining);
        self.shards.all[1..].iter_mut().for_each(|shard| shard.leave_to_heir());
        meanwhile(&mut self);
        self.shards.all[0].leave_to_heir();
        drop(self);
        let mut bytes = Vec::new();
        snapshot::write(&mut bytes, &Left::together(leaving.came.try_iter()))
            .expect("it is written to memory");
        let left = snapshot::read(&*bytes).expect("it was written");
        let mut world = Self::of(next, register);
        let owner_of = |channel: &ChannelName| world.shards.all[0].hub.owner_of(channel);
        let legacies = left.divide(next.shards, owner_of);
        let mut carriages: Vec<_> = (0..next.shards).map(|_| None).collect();
        for (shard, mut stash) in leaving.stashed.try_iter() {
            let (giving, taking) = Carriage::pair().expect("a pair");
            thread::spawn(move || Carriage::new(giving).give(&mut stash));
            carriages[usize::from(shard.0)] = Some(Carriage::new(taking));
        }
        let mut all = Vec::new();
        for (shard, (mut legacy, carriage)) in legacies.into_iter().zip(carriages).enumerate() {
            let (arrived, told) = channel();
            // Closed is what says go.
            let (_, go) = channel();
            legacy.start = Some(Start { carriage, arrived, go });
            world.shards.all[shard].succeed(legacy);
            all.push(told.recv().expect("it is told"));
        }
        // Time goes on: what has been told to end has time to.
        let since_start = world.shards.all.iter().map(|shard| shard.clock.started().elapsed());
        world.shards.clock = since_start.max().unwrap_or_default();
        world.turns();
        (world, all)
    }
}

/// What shards leave.
struct Leaving {
    came: Receiver<Left>,
    stashed: Receiver<(ShardId, Stash)>,
}

/// Rooms, and events for everybody.
fn rooms(io: &Io) {
    io.on_with_ack("join", |socket: &Socket, room: String, ack: Ack| {
        socket.join(room);
        ack.send(&[(); 0]);
    });
    io.on_with_ack("name", |socket: &Socket, name: String, ack: Ack| {
        socket.set_data(name);
        ack.send(&[(); 0]);
    });
    io.on_with_ack("who", |socket: &Socket, (): (), ack: Ack| {
        ack.send(&(socket.data::<String>().as_deref(), socket.recovered()));
    });
}

/// And clients stay, with what they are called.
pub(super) fn staying(io: &Io) {
    rooms(io);
    io.on_upgrade(
        |socket, _| Some(socket.data::<String>().map_or_else(Vec::new, |name| name.as_bytes().to_vec())),
        |socket, resumed| {
            let name = String::from_utf8(resumed.saved.to_vec()).expect("text");
            if !name.is_empty() {
                socket.set_data(name);
            }
            true
        },
    );
}

pub(super) fn went_on(all: &[Arrived]) -> (u32, u32) {
    (all.iter().map(|one| one.carried).sum(), all.iter().map(|one| one.refused).sum())
}

#[test]
fn who_stays_is_told_what_was_published_in_the_last_moment_in_its_order_once() {
    for (shards, recovery_ms) in [(1, 0), (1, 60_000), (3, 0), (3, 60_000)] {
        let common = common(shards, recovery_ms);
        let mut world = World::of(&common, staying);
        let owned = |room: &String| {
            let channel = ChannelName::new(room, 255).expect("a name");
            world.shards.all[0].hub.owner_of(&channel) == ShardId(0)
        };
        let lobby = &*(0..).map(|number| format!("lobby{number}")).find(owned).expect("there is one");
        let place = |number: usize| number % usize::from(shards);
        let mut all: Vec<_> =
            (0..6).map(|number| Visitor::enter_rooms(&mut world, place(number), &[lobby])).collect();
        let mut quiet = Visitor::enter_rooms(&mut world, place(1), &[lobby, "quiet"]);
        let polling = world.enter(shards - 1);
        world.say(polling, &format!("21{}", json!(["join", lobby])));
        world.turns();
        assert_eq!(world.take_heard(polling), ["431[]"]);
        world.io(0).to(lobby).emit("said", &1);
        world.turns();
        let (mut world, arrived) = world.succeed(&common, staying, |world| {
            let io = world.io(0);
            for number in 2..5 {
                io.to(lobby).emit("said", &number);
                io.to(lobby).except("quiet").emit("said", &(number * 10));
            }
            world.shards.turn(0);
        });
        assert_eq!(went_on(&arrived), (7, 0), "{shards} {recovery_ms}");
        let io = world.io(place(2));
        io.to(lobby).emit("said", &5);
        io.to(lobby).except("quiet").emit("said", &50);
        world.turns();
        let said = |numbers: &[u64]| numbers.iter().map(|number| json!(["said", number])).collect::<Vec<_>>();
        for visitor in &mut all {
            assert_eq!(visitor.events(), said(&[1, 2, 20, 3, 30, 4, 40, 5, 50]), "{shards} {recovery_ms}");
        }
        assert_eq!(quiet.events(), said(&[1, 2, 3, 4, 5]), "{shards} {recovery_ms}");
        let polled = events_of(&world.take_heard(polling));
        assert_eq!(polled, said(&[1, 2, 20, 3, 30, 4, 40, 5, 50]), "{shards} {recovery_ms}");
        world.io(0).to(&*quiet.id).emit("alone", &quiet.id);
        world.turns();
        assert_eq!(quiet.events(), [json!(["alone", quiet.id])], "it is called as before");
    }
}

#[test]
fn what_has_arrived_of_a_binary_event_goes_with_its_client() {
    let common = common(1, 0);
    let heard = |io: &Io| {
        staying(io);
        io.on("bytes", |socket: &Socket, (a, b): (Binary, Binary)| {
            socket.emit("came", &(a.0.len() * b.0.len()));
        });
    };
    let mut world = World::of(&common, heard);
    let mut visitor = Visitor::enter(&mut world, 0);
    visitor.say(r#"452-["bytes",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#);
    visitor.send(Opcode::Binary, b"first");
    // And half of the second.
    let mut frame = Vec::new();
    encode_frame_masked(&mut frame, Opcode::Binary, true, b"second", [9; 4]);
    visitor.socket.write_all(&frame[..8]).expect("there is room");
    world.turns();
    let (mut world, arrived) = world.succeed(&common, heard, |_| ());
    assert_eq!(went_on(&arrived), (1, 0));
    assert_eq!(visitor.heard(), [""; 0]);
    visitor.socket.write_all(&frame[8..]).expect("there is room");
    world.turns();
    assert_eq!(visitor.events(), [json!(["came", 30])]);
}

#[test]
fn an_application_says_what_of_a_client_stays_and_hears_of_those_that_do() {
    let common = common(1, 0);
    let mut world = World::of(&common, staying);
    let [mut ann, mut bob] = ["ann", "bob"].map(|name| {
        let mut visitor = Visitor::enter(&mut world, 0);
        visitor.say(&format!("421{}", json!(["name", name])));
        world.turns();
        assert_eq!(visitor.heard(), ["431[]"]);
        visitor
    });
    let welcoming = |io: &Io| {
        rooms(io);
        io.use_middleware(|_| Err("nobody enters here".into()));
        io.on_connect(|socket| {
            socket.emit("welcome", &(socket.recovered(), socket.data::<String>().as_deref()))
        });
        io.on_upgrade(
            |_, _| None,
            |socket, resumed| {
                socket.set_data(String::from_utf8(resumed.saved.to_vec()).expect("text"));
                assert_eq!(resumed.followed.iter().map(ChannelName::as_str).collect::<Vec<_>>(), ["/"]);
                resumed.saved != b"bob"
            },
        );
    };
    let (mut world, arrived) = world.succeed(&common, welcoming, |_| ());
    assert_eq!(went_on(&arrived), (1, 1));
    assert_eq!(bob.heard(), ["1001"]);
    // Until its client has closed as well, it is waited for.
    drop(bob);
    while world.shards.all[0].clients() > 1 {
        world.turns();
    }
    assert_eq!(ann.heard(), [r#"42["welcome",true,"ann"]"#]);
    ann.say(r#"427["who",null]"#);
    world.turns();
    assert_eq!(ann.heard(), [r#"437["ann",true]"#]);
    // Of whom it says nothing does not stay. It has told two, then.
    let (_, arrived) = world.succeed(&common, welcoming, |_| ());
    assert_eq!((went_on(&arrived), arrived[0].told), ((0, 0), 2));
    assert_eq!(ann.heard(), ["1001"]);
}

#[test]
fn whom_an_application_owes_an_acknowledgement_comes_back_and_so_do_all_of_one_that_says_nothing() {
    let common = common(1, 0);
    let owing = |io: &Io| {
        staying(io);
        let kept = RefCell::new(None);
        io.on_with_ack("later", move |_: &Socket, (): (), ack: Ack| _ = kept.replace(Some(ack)));
    };
    let mut world = World::of(&common, owing);
    let [mut owed, mut given, mut other] = [(); 3].map(|()| Visitor::enter(&mut world, 0));
    // The second is what makes the application drop the first.
    for visitor in [&mut given, &mut owed] {
        visitor.say(r#"423["later",null]"#);
        world.turns();
    }
    let (world, arrived) = world.succeed(&common, rooms, |_| ());
    assert_eq!((went_on(&arrived), arrived[0].told), ((0, 2), 1), "it knows of no upgrade");
    for visitor in [&mut owed, &mut given, &mut other] {
        assert_eq!(visitor.heard(), ["1001"]);
    }
    drop(world);
    let mut world = World::of(&common, rooms);
    let mut last = Visitor::enter(&mut world, 0);
    let (_, arrived) = world.succeed(&common, owing, |_| ());
    assert_eq!(went_on(&arrived), (0, 0));
    assert_eq!(last.heard(), ["1001"]);
}

#[test]
fn an_answer_to_what_the_process_before_has_asked_is_not_taken_for_another() {
    thread_local! {
        static TOLD: RefCell<Vec<String>> = RefCell::default();
    }
    let common = common(1, 0);
    let asking = |io: &Io| {
        staying(io);
        io.on("ask", |socket: &Socket, (): ()| {
            socket.emit_with_callback("question", &1, |answer: Result<u32, AckError>| {
                TOLD.with_borrow_mut(|told| told.push(format!("{answer:?}")));
            });
        });
    };
    let mut world = World::of(&common, asking);
    let mut visitor = Visitor::enter(&mut world, 0);
    let ask = |visitor: &mut Visitor, world: &mut World| {
        visitor.say(r#"42["ask",null]"#);
        world.turns();
        let heard = visitor.heard();
        let number = heard[0].strip_prefix("42").and_then(|text| text.split_once('[')).expect("a question").0;
        number.parse::<u64>().expect("a number")
    };
    let before = ask(&mut visitor, &mut world);
    let (mut world, arrived) = world.succeed(&common, asking, |_| ());
    assert_eq!(went_on(&arrived), (1, 0));
    let after = ask(&mut visitor, &mut world);
    assert!(after > before, "{before} {after}");
    for (number, answer) in [(before, 7), (after, 8)] {
        visitor.say(&format!("43{number}[{answer}]"));
    }
    world.turns();
    TOLD.with_borrow(|told| assert_eq!(told[..], ["Err(Disconnected)", "Ok(8)"]));
    assert_eq!(visitor.heard(), [""; 0]);
}

#[test]
fn who_has_not_read_what_it_was_sent_hears_the_rest_of_it_and_what_is_said_then() {
    for recovery_ms in [0, 60_000] {
        let common = common(1, recovery_ms);
        let mut world = World::of(&common, staying);
        let mut visitor = Visitor::enter(&mut world, 0);
        let filling = "x".repeat(400_000);
        world.io(0).emit("large", &filling);
        world.turns();
        let (mut world, arrived) = world.succeed(&common, staying, |_| ());
        assert_eq!((went_on(&arrived), arrived[0].told), ((1, 0), 0));
        world.io(0).emit("small", &visitor.id);
        let mut heard = Vec::new();
        for _ in 0..100 {
            world.turns();
            heard.append(&mut visitor.events());
        }
        assert!(heard == [json!(["large", filling]), json!(["small", visitor.id])], "{recovery_ms}");
    }
}
