//! Shards that are levelled: new connections go where there are fewer.

use roadstead::{
    app::ShardId,
    config::{Balancing, Config},
};

use crate::{
    client::{await_that, websocket_at},
    presence::with_shards,
    restarts::{end, metric, start_with, websocket_to},
};

const HERE: ShardId = ShardId(0);

/// Shards that are not levelled by themselves.
fn settings() -> Config {
    let mut config = with_shards(2, 60_000);
    config.server.balance = Balancing::Off;
    config
}

#[test]
fn new_connections_go_to_the_shard_with_fewer() {
    const MANY: usize = 200;
    let mut config = settings();
    let server = start_with(&config).0;
    let clients: Vec<_> = (0..MANY).map(|_| websocket_to(&server, HERE, "/channels/news")).collect();
    config.server.balance = Balancing::New;
    server.change(&config);
    await_that("new ones are sent to the other", || metric(&server, "steered_permille")[1] > 700);
    let before = metric(&server, "connections");
    let new: Vec<_> = (0..100).map(|_| websocket_at(&server, "/channels/news")).collect();
    let after = metric(&server, "connections");
    // With seven of ten to be expected there are more than half of them but once in ten thousand times; here it is nearly nine.
    assert!(after[1] >= before[1] + 51, "{before:?} {after:?}");
    drop((clients, new));
    end(server);
}
