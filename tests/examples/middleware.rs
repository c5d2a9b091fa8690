//! Middleware that takes time: who waits meanwhile, who is let in or refused then, and what is kept of whom.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
};

use roadstead::app::socketio::{Ack, Applicant, ConnectError, Io, NO_ARGUMENTS, Socket};
use serde_json::{Value, json};

use super::client::{Client, start_on};

/// A door that is opened for all who wait at it.
#[derive(Default)]
struct Door {
    came: Cell<u32>,
    opened: Cell<u32>,
    wakers: RefCell<Vec<Waker>>,
}

impl Door {
    /// Waits until it is opened next.
    async fn pass(&self) {
        self.came.set(self.came.get() + 1);
        let opened = self.opened.get();
        poll_fn(|cx| {
            if self.opened.get() > opened {
                return Poll::Ready(());
            }
            self.wakers.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn open(&self) {
        self.opened.set(self.opened.get() + 1);
        self.wakers.take().into_iter().for_each(Waker::wake);
    }
}

async fn judge(applicant: Applicant, door: Rc<Door>) -> Result<(), ConnectError> {
    let auth: Value = applicant.auth()?;
    let name = auth["name"].as_str().ok_or("tell us your name")?.to_owned();
    if name != "ada" {
        door.pass().await;
    }
    match &*name {
        "eve" => Err(ConnectError::new("no").with_data(&name)),
        "bad" => panic!("on purpose"),
        _ => {
            let before = applicant.data::<Vec<String>>().expect("the function before has kept it");
            applicant.set_data(before.iter().cloned().chain([name]).collect::<Vec<_>>());
            Ok(())
        }
    }
}

fn register(io: &Io) {
    let door = Rc::<Door>::default();
    io.use_middleware(|candidate| {
        candidate.set_data(vec!["first".to_owned()]);
        Ok(())
    });
    let waiting = Rc::clone(&door);
    io.use_async_middleware(move |applicant| judge(applicant, Rc::clone(&waiting)));
    io.use_middleware(|candidate| {
        let before = candidate.data::<Vec<String>>().ok_or("the functions before have kept something")?;
        candidate.set_data(before.iter().cloned().chain(["last".to_owned()]).collect::<Vec<_>>());
        Ok(())
    });
    io.on_with_ack("who", |socket: &Socket, (): (), ack: Ack| {
        ack.send(&(socket.data::<Vec<String>>().as_deref(),));
    });
    let counted = Rc::clone(&door);
    io.on_with_ack("count", move |socket: &Socket, (): (), ack: Ack| {
        ack.send(&(counted.came.get(), socket.namespace().sockets_count()));
    });
    io.on_with_ack("open", move |_: &Socket, (): (), ack: Ack| {
        door.open();
        ack.send(&NO_ARGUMENTS);
    });
}

/// Asks to enter.
fn knock(client: &mut Client, name: &str) {
    client.write(&format!("40{}", json!({"name": name})));
}

#[test]
fn who_waits_is_let_in_or_refused_when_the_application_knows_and_each_function_is_asked_once() {
    let server = start_on(1, register);
    let [mut slow, mut eve, mut bad, mut gone, mut ada] = [0; 5].map(|_| Client::open(&server));
    knock(&mut slow, "slow");
    knock(&mut eve, "eve");
    knock(&mut bad, "bad");
    knock(&mut gone, "gone");
    // Who needs no time comes in meanwhile.
    knock(&mut ada, "ada");
    assert!(ada.hear_packet().starts_with("40{"));
    assert_eq!(ada.ask("who", json!([])), json!([["first", "ada", "last"]]));
    ada.ask_until("count", json!([]), |count| *count == json!([4, 1]));
    drop(gone);
    ada.ask("open", json!([]));
    assert!(slow.hear_packet().starts_with("40{"));
    assert_eq!(slow.ask("who", json!([])), json!([["first", "slow", "last"]]));
    assert_eq!(eve.hear_packet(), r#"44{"message":"no","data":"eve"}"#);
    assert_eq!(bad.hear_packet(), r#"44{"message":"the server failed"}"#);
    ada.ask_until("count", json!([]), |count| *count == json!([4, 2]));
    // Who was refused may try again, and who is in may enter anew.
    knock(&mut eve, "ada");
    assert!(eve.hear_packet().starts_with("40{"));
    assert_eq!(eve.ask("who", json!([])), json!([["first", "ada", "last"]]));
}

#[test]
fn who_asks_again_while_it_waits_is_told_once_and_of_what_it_said_last() {
    let server = start_on(1, register);
    let [mut same, mut other, mut back, mut ada] = [0; 4].map(|_| Client::open(&server));
    for (client, names) in [
        (&mut same, &["slow", "slow"][..]),
        (&mut other, &["eve", "slow"]),
        (&mut back, &["slow", "eve", "slow"]),
    ] {
        names.iter().for_each(|name| knock(client, name));
        // Of events to a namespace that one is not in the session ends; of this it does not, and it comes behind them.
        client.write("40/other");
        assert!(client.hear_packet().starts_with("44/other,"));
    }
    knock(&mut ada, "ada");
    assert!(ada.hear_packet().starts_with("40{"));
    ada.ask_until("count", json!([]), |count| *count == json!([3, 1]));
    ada.ask("open", json!([]));
    // The one that says something else is asked about anew.
    ada.ask_until("count", json!([]), |count| *count == json!([4, 3]));
    ada.ask("open", json!([]));
    for client in [&mut same, &mut other, &mut back] {
        assert!(client.hear_packet().starts_with("40{"));
        assert_eq!(
            client.ask("who", json!([])),
            json!([["first", "slow", "last"]]),
            "nothing was said between"
        );
    }
    ada.ask_until("count", json!([]), |count| *count == json!([4, 4]));
}
