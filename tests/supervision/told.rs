//! What a backend is told of a shard that fails and begins anew.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::Duration,
};

use roadstead::{
    api::{self, ChannelServer},
    app::{Handler, ShardId},
    supervisor::{Failure, Server},
};
use serde_json::Value;

use crate::client::config;

/// Takes every batch of notices, and passes their events on.
fn receiver() -> (String, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("it is bound"));
    let (sender, told) = channel();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let sender = sender.clone();
            thread::spawn(move || take_batches(stream, &sender));
        }
    });
    (url, told)
}

fn take_batches(mut stream: TcpStream, sender: &Sender<Value>) {
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if let Some(text) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = text.trim().parse().expect("a length");
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("a body");
        let batch: Value = serde_json::from_slice(&body).expect("JSON");
        for event in batch["events"].as_array().expect("a list") {
            let mut event = event.clone();
            event["shard"] = batch["shard"].clone();
            // The test may have seen enough.
            sender.send(event).ok();
        }
        stream.write_all(b"HTTP/1.1 204 X\r\n\r\n").expect("it reads");
    }
}

#[test]
fn a_shard_that_begins_anew_says_so_and_its_numbers_go_on() {
    let (url, told) = receiver();
    let mut config = config(2);
    (config.notices.url, config.notices.delay_ms) = (url, 1);
    let settings = api::Settings::from_config(&config).expect("good settings");
    let handler = move |_| -> Box<dyn Handler> { Box::new(ChannelServer::new(settings.clone())) };
    let server = Server::start(&config, handler).expect("it starts");
    let next = || told.recv_timeout(Duration::from_secs(20)).expect("it is told");
    assert_eq!(next()["event"], "node_started");
    for restarts in 1..=2 {
        server.fail_shard(ShardId(1), Failure::InTurn);
        let event = next();
        assert_eq!((&event["event"], &event["shard"]), (&"shard_restarted".into(), &1.into()));
        assert_eq!((event["seq"].as_u64(), event["restarts"].as_u64()), (Some(restarts), Some(restarts)));
    }
    server.drain();
    server.wait().expect("every shard ends");
    assert_eq!(next()["event"], "node_draining");
}
