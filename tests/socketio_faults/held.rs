//! What waits on its shard until another shard has done something, and who waits with it.

use std::sync::{
    Arc, Mutex,
    mpsc::{Receiver, Sender, channel},
};

use roadstead::{app::socketio::Io, supervisor::Server};

use crate::{
    client::{SOON, WebSocket},
    start_shipped, stop,
};

/// Rooms are on either shard by chance: in half of the rounds the first client's event waits for the other shard.
const ROUNDS: usize = 24;

/// The namespace `/control` of the test: a client learns its shard, tells that what it said before has been read, and lets its
/// shard hang until that is to go on.
fn control(noted: Sender<()>, go_on: Receiver<()>) -> impl Fn(&Io) + Clone + Send + Sync + 'static {
    let go_on = Arc::new(Mutex::new(go_on));
    move |io| {
        let (control, shard) = (io.of("/control"), io.shard().0);
        let (read, hanging, go_on) = (noted.clone(), noted.clone(), Arc::clone(&go_on));
        control.on_with_ack("where", move |_, (), ack| ack.send(&shard));
        control.on("noted", move |_, ()| read.send(()).expect("the test listens"));
        control.on("hang", move |_, ()| {
            hanging.send(()).expect("the test listens");
            // It goes on as well when the test has failed.
            go_on.lock().expect("no panic").recv().ok();
        });
    }
}

/// A client in `/` and `/control`, and its shard.
fn open(server: &Server) -> (u16, WebSocket) {
    let mut client = WebSocket::open(server);
    assert!(client.enter("").starts_with("40{"));
    assert!(client.enter("/control,").starts_with("40/control,{"));
    client.say(r#"42/control,0["where"]"#);
    let answer = client.hear();
    let shard = answer.strip_prefix("43/control,0[").and_then(|rest| rest.strip_suffix(']'));
    (shard.expect("its shard").parse().expect("a number"), client)
}

/// Two clients of one of two shards, and one of the other.
fn clients(server: &Server) -> [WebSocket; 3] {
    let mut all = [Vec::new(), Vec::new()];
    loop {
        let (shard, client) = open(server);
        all[usize::from(shard)].push(client);
        if all.iter().all(|one| !one.is_empty()) && all.iter().any(|one| one.len() > 1) {
            all.sort_by_key(Vec::len);
            let [few, many] = &mut all;
            return [many.remove(0), many.remove(0), few.remove(0)];
        }
    }
}

#[test]
fn who_publishes_to_a_room_does_not_wait_behind_what_another_has_waiting_for_it() {
    let ((noting, noted), (go_on, going_on)) = (channel(), channel());
    let server = start_shipped(|config| config.server.shards = 2, control(noting, going_on));
    let [mut first, mut second, mut other] = clients(&server);
    let is_noted = || noted.recv_timeout(SOON).expect("it is read");
    let mut before = 0;
    for round in 0..ROUNDS {
        second.say(&format!(r#"421["join","near-{round}"]"#));
        assert!(second.hear().starts_with("431["));
        other.say(r#"42/control,["hang"]"#);
        is_noted();
        first.say(&format!(r#"42["publish","far-{round}","x"]"#));
        for (client, name) in [(&mut first, "first"), (&mut second, "second")] {
            client.say(&format!(r#"42["publish","near-{round}","{name}"]"#));
            client.say(r#"42/control,["noted"]"#);
            is_noted();
        }
        go_on.send(()).expect("it hangs");
        let heard = [second.hear(), second.hear()];
        before += usize::from(heard[0] == r#"42["second"]"#);
        let mut sorted = heard;
        sorted.sort_unstable();
        assert_eq!(sorted, [r#"42["first"]"#, r#"42["second"]"#]);
    }
    assert!(before > 0, "it waited in every one of {ROUNDS} rounds");
    stop(server);
}
