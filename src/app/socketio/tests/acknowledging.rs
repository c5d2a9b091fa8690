//! Acknowledgements in both directions, timers, and questions to other shards.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use super::{
    super::{Ack, AckError, Order, Socket},
    Rig, id,
};
use crate::limits::{ACK_TIMEOUT_MS, ACKS_AWAITED_PER_SOCKET_MAX};

/// The number under which the last event asked for an acknowledgement.
fn number(rig: &Rig) -> u64 {
    match rig.orders().pop() {
        Some(Order::Emit { ack: Some(number), .. }) => number,
        other => panic!("{other:?} asks for no acknowledgement"),
    }
}

#[test]
fn an_event_is_acknowledged_now_or_later_or_never() {
    let rig = Rig::new();
    let kept = Rc::new(std::cell::RefCell::new(None));
    let slot = Rc::clone(&kept);
    rig.io.on_with_ack("e", move |_: &Socket, number: i32, ack: Ack| match number {
        1 => ack.send(&"one"),
        2 => ack.send(&(1, 2)),
        3 => drop(ack),
        _ => *slot.borrow_mut() = Some(ack),
    });
    let root = rig.enter(1, "/");
    for ack in 1..5 {
        rig.say_for_ack(1, root, &format!(r#"["e",{ack}]"#), Some(ack));
    }
    assert_eq!(rig.asked(), [r#"ack 1 1 ["one"]"#, "ack 1 2 [1,2]"]);
    kept.take().expect("it was kept").send(&[(); 0]);
    assert_eq!(rig.asked(), ["ack 1 4 []"]);
    rig.say(1, root, r#"["e",1]"#);
    assert!(rig.asked().is_empty());
}

fn asking(rig: &Rig) -> super::NamespaceId {
    let notes = rig.notes.clone();
    rig.io.on("ask", move |socket: &Socket, (): ()| {
        let notes = notes.clone();
        socket.emit_with_callback("q", &1, move |answer: Result<i32, AckError>| match answer {
            Ok(answer) => notes.add(answer.to_string()),
            Err(error) => notes.add(error.to_string()),
        });
    });
    rig.enter(1, "/")
}

#[test]
fn the_answer_of_a_client_is_heard_once() {
    let rig = Rig::new();
    let root = asking(&rig);
    rig.say(1, root, r#"["ask"]"#);
    let first = number(&rig);
    rig.say(1, root, r#"["ask"]"#);
    let second = number(&rig);
    rig.io.acknowledged(id(2), first, "[0]", &[]);
    rig.io.acknowledged(id(1), second, "[22]", &[]);
    rig.io.acknowledged(id(1), second, "[23]", &[]);
    rig.io.acknowledged(id(1), first, r#"["x"]"#, &[]);
    let notes = rig.notes.take();
    assert_eq!(notes[0], "22");
    assert!(notes[1].starts_with("the acknowledgement is not what was asked for"), "{notes:?}");
    assert_eq!(notes.len(), 2);
    assert_eq!(rig.io.core().presence.states_count(), 0);
    assert_eq!(format!("{:?}", rig.io.core().deadlines), "0 deadlines");
}

#[test]
fn a_client_that_does_not_answer_is_not_waited_for_for_ever() {
    let rig = Rig::new();
    let root = asking(&rig);
    rig.say(1, root, r#"["ask"]"#);
    let before = Instant::now() + Duration::from_millis(ACK_TIMEOUT_MS - 1_000);
    rig.pass(before);
    assert!(rig.notes.take().is_empty());
    rig.pass(before + Duration::from_secs(2));
    assert_eq!(rig.notes.take(), ["the client did not acknowledge in time"]);
    rig.io.acknowledged(id(1), number(&rig), "[1]", &[]);
    rig.say(1, root, r#"["ask"]"#);
    rig.leave(1, root);
    assert_eq!(rig.notes.take(), ["the client is gone"]);
    assert_eq!(format!("{:?}", rig.io.core().deadlines), "0 deadlines");
}

#[test]
fn a_client_owes_only_so_many_answers() {
    let rig = Rig::new();
    let root = asking(&rig);
    for _ in 0..=ACKS_AWAITED_PER_SOCKET_MAX {
        rig.say(1, root, r#"["ask"]"#);
    }
    assert_eq!(rig.asked().len(), ACKS_AWAITED_PER_SOCKET_MAX);
    assert_eq!(rig.notes.take(), ["the client owes 256 acknowledgements"]);
}

#[test]
fn whoever_is_gone_or_is_asked_under_a_reserved_name_answers_at_once() {
    let rig = Rig::new();
    let notes = rig.notes.clone();
    rig.io.on_disconnect(move |socket, _| {
        for event in ["q", "connect"] {
            let notes = notes.clone();
            socket.emit_with_callback(event, &1, move |answer: Result<i32, _>| {
                notes.add(answer.expect_err("it is gone").to_string());
            });
        }
    });
    let root = rig.enter(1, "/");
    rig.leave(1, root);
    assert_eq!(rig.notes.take(), ["the client is gone", "the event could not be sent"]);
    assert!(rig.asked().is_empty());
}

#[test]
fn an_answer_can_be_awaited() {
    let rig = Rig::new();
    let answers = Rc::new(std::cell::RefCell::new(Vec::new()));
    let list = Rc::clone(&answers);
    rig.io.on_connect(move |socket| {
        let list = Rc::clone(&list);
        list.borrow_mut().push(socket.timeout(Duration::from_secs(1)).emit_with_ack::<String>("q", &[(); 0]));
    });
    rig.enter(1, "/");
    let awaiting = answers.borrow_mut().pop().expect("it was asked");
    let number = number(&rig);
    let io = rig.io.clone();
    let answer = async { io.acknowledged(id(1), number, r#"["yes"]"#, &[]) };
    let (answer, ()) = futures_lite::future::block_on(futures_lite::future::zip(awaiting, answer));
    assert_eq!(answer.expect("it came"), "yes");
}

#[test]
fn timers_run_in_order_until_they_are_dropped() {
    let rig = Rig::new();
    let note = |text: &'static str| {
        let notes = rig.notes.clone();
        move || notes.add(text)
    };
    let second = Duration::from_secs(1);
    let begin = Instant::now();
    rig.io.after(3 * second, note("after 3")).detach();
    rig.io.after(2 * second, note("never")).cancel();
    drop(rig.io.every(second, note("never")));
    let every = rig.io.every(2 * second, note("every 2"));
    for passed in [1, 3, 5, 7] {
        rig.pass(begin + passed * second);
    }
    drop(every);
    rig.pass(begin + 100 * second);
    assert_eq!(rig.notes.take(), ["every 2", "after 3", "every 2", "every 2"]);
    assert_eq!(format!("{:?}", rig.io.core().deadlines), "0 deadlines");
}

#[test]
fn a_timer_may_cancel_itself() {
    let rig = Rig::new();
    let slot = Rc::new(std::cell::RefCell::new(None));
    let (own, notes) = (Rc::clone(&slot), rig.notes.clone());
    let timer = rig.io.every(Duration::from_secs(1), move || {
        notes.add("once");
        drop(own.take());
    });
    *slot.borrow_mut() = Some(timer);
    rig.pass(Instant::now() + Duration::from_secs(100));
    rig.pass(Instant::now() + Duration::from_secs(200));
    assert_eq!(rig.notes.take(), ["once"]);
}
