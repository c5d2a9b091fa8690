//! Closing one of two listeners: what it has queued is reset, unless `tcp_migrate_req` hands it over.

use std::{
    io::{self, Read, Write},
    time::Duration,
};

use super::{Experiment, Measure, Reach, Trial, Trouble, arena};

const CLIENTS: usize = 1_000;

pub const EXPERIMENT: Experiment = Experiment {
    id: "migrate-req",
    question: "1,000 clients queue at two SO_REUSEPORT listeners, one of which closes before it accepts",
    reach: Reach::Namespace,
    run,
};

fn run(trial: &mut Trial<'_>) -> Result<Vec<Measure>, Trouble> {
    if !std::path::Path::new("/proc/sys/net/ipv4/tcp_migrate_req").exists() {
        return Err(Trouble::NotHere("this kernel has no tcp_migrate_req (Linux 5.14)".to_owned()));
    }
    let arms = [("tcp_migrate_req = 0 (default)", "0"), ("tcp_migrate_req = 1", "1")];
    let samples = trial.alternate(&arms, close_one)?;
    Ok(vec![Measure::of("clients that were reset", &arms, &samples, |count| *count)])
}

fn close_one(migrate: &'static str) -> io::Result<f64> {
    arena::set("net/ipv4/tcp_migrate_req", migrate)?;
    let clients = arena::pairs_that_fit(CLIENTS)?;
    let (mut listeners, address) = arena::listeners(2, 4_096)?;
    let mut waiting = Vec::with_capacity(clients);
    for _ in 0..clients {
        let client = arena::tcp()?;
        client.connect(&address.into())?;
        client.set_read_timeout(Some(Duration::from_millis(500)))?;
        waiting.push(client);
    }
    listeners.pop();
    let survivor = &listeners[0];
    survivor.set_nonblocking(true)?;
    let mut accepted = Vec::new();
    while let Ok((mut server, _)) = survivor.accept() {
        // A client that is gone already shows below, at its own end.
        server.write_all(b"!").ok();
        accepted.push(server);
    }
    let lost = waiting.iter_mut().filter_map(|client| client.read(&mut [0]).err());
    Ok(lost.filter(|error| error.kind() == io::ErrorKind::ConnectionReset).count() as f64)
}
