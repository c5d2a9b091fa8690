//! The stated sum: what may be kept is, and takes no more than `roadstead config check` says.

use roadstead::config::{Config, MemorySum, Override, Sources};
use serde_json::json;

use crate::{row::Attack, server::Server};

/// A machine that is busy with other tests is not in time for pings.
const PATIENT: &[&str] = &["limits.ping_interval_ms=600000"];

/// What clients can make a server with these settings keep.
pub fn memory_sum(settings: &[&str], shards: u16) -> MemorySum {
    let setting = |setting: &&str| {
        let (key, text) = setting.split_once('=').expect("a key and its value");
        Override { flag: "--set".into(), key: key.into(), texts: vec![text.into()] }
    };
    let sources = Sources { overrides: settings.iter().map(setting).collect(), ..Sources::default() };
    Config::load(&sources).expect("the settings are right").memory_sum(shards)
}

#[test]
fn channels_with_all_the_history_that_is_kept_take_what_is_stated() {
    const CHANNELS: usize = 30_000;
    const SETTINGS: [&str; 2] = ["limits.channels_max=30000", "limits.history_bytes_max=16000000"];
    let server = Server::with_shards(1, &SETTINGS);
    let mut client = server.connect();
    let attack = Attack::begin(&server, "channels and history", format!("{CHANNELS} with 1 kB and more"));
    for first in (0..CHANNELS).step_by(500) {
        let items: Vec<_> = (first..first + 500)
            .map(|number| json!({"channel":format!("{:a>200}{number}", ""),"data":"x".repeat(1_000)}))
            .collect();
        let body = serde_json::to_vec(&json!({ "publications": items })).expect("JSON");
        assert_eq!(client.request("POST", "/publish", "", &body).status, 200);
    }
    assert_eq!(server.metric("roadstead_channels", ""), CHANNELS as f64);
    let sum = memory_sum(&SETTINGS, 1);
    attack.end(sum.part("limits.channels_max") + sum.part("limits.history_bytes_max"));
}

#[test]
fn members_take_what_is_stated_of_each() {
    const CLIENTS: usize = 50;
    const CHANNELS: usize = 128;
    let server = Server::with_shards(1, PATIENT);
    let attack = Attack::begin(&server, "members", format!("{CLIENTS} in {CHANNELS} channels each"));
    let info = json!({"text":"x".repeat(1_000)});
    let mut sockets: Vec<_> = (0..CLIENTS).map(|_| server.websocket("/ws")).collect();
    for socket in &mut sockets {
        for channel in 0..CHANNELS {
            let command = json!({"id":1,"enter":{"channel":format!("room-{channel}"),"info":info}});
            assert!(socket.command(&command)["entered"].is_object());
        }
    }
    let sum = memory_sum(&[], 1);
    let each = sum.connection_bytes + CHANNELS as u64 * sum.membership_bytes;
    attack.end(CLIENTS as u64 * each);
}

#[test]
fn subscriptions_take_what_is_stated_of_each() {
    const CLIENTS: usize = 300;
    const CHANNELS: usize = 128;
    let server = Server::with_shards(1, PATIENT);
    let attack = Attack::begin(&server, "subscriptions", format!("{CLIENTS} to {CHANNELS} channels each"));
    let mut sockets: Vec<_> = (0..CLIENTS).map(|_| server.websocket("/ws")).collect();
    for socket in &mut sockets {
        for channel in 0..CHANNELS {
            let text = json!({"id":1,"subscribe":{"channel":format!("room-{channel}")}}).to_string();
            socket.send_text(&text);
        }
        for _ in 0..CHANNELS {
            assert!(socket.json()["subscribed"].is_object());
        }
    }
    assert_eq!(server.subscribers("room-7"), CLIENTS as u64);
    let sum = memory_sum(&[], 1);
    let each = sum.connection_bytes + CHANNELS as u64 * sum.subscription_bytes;
    attack.end(CLIENTS as u64 * each);
}
