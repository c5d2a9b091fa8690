//! A shard whose thread stands still for good, wherever it is: with a keeper another process takes the place of the one that has
//! it. What an application does that hangs is tested in `tests/supervision`.

use std::{fs, path::PathBuf};

use crate::{
    disk::make_library,
    server::{Server, await_that},
    socket::WebSocket,
    storage::Folder,
};

/// Has threads stand still (`hung.c`).
struct Hanging {
    folder: Folder,
    library: PathBuf,
}

impl Hanging {
    fn new() -> Self {
        let folder = Folder::new("hung");
        let library = make_library(&folder, "hung.c");
        Self { folder, library }
    }

    /// Two shards with a keeper, without TLS: clients over TLS come back, whatever becomes of the server.
    fn launch(&self, settings: &[&str]) -> Server {
        let beside = format!("unix:{}", self.folder.0.join("socket").display());
        let settings = [&["server.keeper=true"], settings].concat();
        let mut command = Server::command(2, &["127.0.0.1:0", &beside], &settings);
        command.env("LD_PRELOAD", &self.library).env("HUNG_THREAD", self.folder.0.join("thread"));
        Server::launch(&mut command)
    }

    /// Has a shard stand still.
    fn hang(&self, server: &Server, shard: u16) {
        let serving = server.serving();
        let threads = fs::read_dir(format!("/proc/{serving}/task")).expect("it runs");
        let mut threads = threads.map(|thread| thread.expect("a thread").path());
        let is_it = |name: &str| {
            name.trim() == format!("shard-{shard}") || name.starts_with(&format!("shard-{shard}-"))
        };
        let thread =
            threads.find(|thread| is_it(&fs::read_to_string(thread.join("comm")).unwrap_or_default()));
        let thread = thread.expect("every shard has a thread");
        // In the midst of something it may hold what others wait for.
        await_that("it sleeps", || {
            let stat = fs::read_to_string(thread.join("stat")).expect("it runs");
            stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('S'))
        });
        let number = thread.file_name().and_then(|name| name.to_str()).expect("a number");
        fs::write(self.folder.0.join("thread"), number).expect("the folder is ours");
        crate::keeper::send(serving, "50");
    }
}

/// WebSockets of a shard that have been opened.
fn websockets(server: &Server, shard: usize) -> u64 {
    server.shards()[shard]["sessions"][1].as_u64().expect("a number")
}

/// A channel of this shard, with one publication.
fn owned_by(server: &Server, shard: u16) -> String {
    let label = format!("shard=\"{shard}\"");
    let stamped = || server.metric("roadstead_publications_total", &label);
    let is_its = |channel: &String| {
        let before = stamped();
        server.publish(channel, "x");
        stamped() > before
    };
    (0..1_000).map(|number| format!("channel-{number}")).find(is_its).expect("each shard owns some")
}

#[test]
fn a_process_of_which_a_shard_hangs_is_replaced_and_what_the_others_have_goes_on() {
    let hanging = Hanging::new();
    let server = hanging.launch(&["server.shard_replaced_ms=6000", "limits.ping_interval_ms=600000"]);
    let before = server.serving();
    let [kept, lost] = [0, 1].map(|shard| owned_by(&server, shard));
    let position = server.position(&kept);
    let (mut stays, mut goes): (Vec<WebSocket>, Vec<WebSocket>) = Default::default();
    while stays.is_empty() || goes.is_empty() {
        let opened = websockets(&server, 0);
        let socket = server.websocket(&format!("/channels/{kept}"));
        if websockets(&server, 0) > opened { &mut stays } else { &mut goes }.push(socket);
    }
    server.await_subscribers(&kept, (stays.len() + goes.len()) as u64);

    hanging.hang(&server, 1);
    await_that("it is asked for", || server.log().contains("the keeper is asked for another process"));
    await_that("another process serves", || server.log().contains("the new version serves"));
    assert_ne!(server.serving(), before);
    assert_eq!(server.admin("/healthz").status, 200);
    assert_eq!(server.position(&kept), position, "it goes on");
    server.publish(&kept, "after");
    stays.iter_mut().for_each(|socket| assert_eq!(socket.text(), "after"));
    goes.iter_mut().for_each(|socket| _ = socket.client.receive_to_end());
    assert_eq!(server.metric("roadstead_carried_total", ""), stays.len() as f64);
    assert_eq!(server.publish(&lost, "x"), 1, "what the shard had was its alone");

    // One that hangs again at once is left as it is, and not waited for at the end.
    let mut server = server;
    hanging.hang(&server, 0);
    await_that("it is told", || {
        server.log().contains("no other process is put in place of this one so soon")
    });
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(1), "{}", server.log());
    assert!(server.log().contains("shard 0 had not ended in time"), "{}", server.log());
}
