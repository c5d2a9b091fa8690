//! One attack: the server's memory before it, at its worst, and after it; how much one turn has done at most; and how long an
//! innocent client waits meanwhile, which is shown and, as time is, not judged.

use std::{
    fs,
    net::SocketAddr,
    sync::{
        Arc, Once,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use roadstead::limits::{CHANNELS_PER_TURN, HEARD_PER_TURN_MAX, PUBLICATIONS_PER_TURN, SOCKETS_PER_TURN};

use crate::{client::Client, server::Server, socket::WebSocket};

/// An attack under way.
pub struct Attack<'a> {
    server: &'a Server,
    name: &'static str,
    size: String,
    before: u64,
    probe: Probe,
}

/// An innocent client: an echo now and then.
struct Probe {
    is_over: Arc<AtomicBool>,
    waits: JoinHandle<Vec<Duration>>,
}

/// What the server may keep beside what the limits say: tables, the allocator's reserve, code that is paged in.
const SLACK_BYTES: u64 = 24 << 20;

/// What a turn does at most, and what it finishes that it has begun.
const PER_TURN: [(&str, usize); 4] = [
    ("heard", HEARD_PER_TURN_MAX),
    ("channels", CHANNELS_PER_TURN),
    // Each request can be one.
    ("publications", PUBLICATIONS_PER_TURN + HEARD_PER_TURN_MAX),
    ("sockets", SOCKETS_PER_TURN + 64),
];

const PROBE_EVERY: Duration = Duration::from_millis(5);

impl<'a> Attack<'a> {
    /// Begins to measure. `size` says how large the attack is.
    pub fn begin(server: &'a Server, name: &'static str, size: String) -> Self {
        let probe = Probe::begin(server.address());
        // proc(5): 5 sets the peak of the resident memory to what is resident now.
        fs::write(format!("/proc/{}/clear_refs", server.id()), "5").expect("the server is ours");
        Self { server, name, size, before: server.resident_bytes(), probe }
    }

    /// Ends the attack: prints its row, and fails if memory has grown by more than `bytes_max` and some slack, or if a turn
    /// has done more than it may of anything.
    #[track_caller]
    pub fn end(self, bytes_max: u64) {
        static HEAD: Once = Once::new();
        HEAD.call_once(|| {
            println!("| attack | size | MiB before | peak | after | allowed | heard in a turn | an echo: p50 | p99 | most |");
            println!("|---|---|---|---|---|---|---|---|---|---|");
        });
        let Self { server, name, size, before, probe } = self;
        let (peak, after) = (server.status_bytes("VmHWM:"), server.resident_bytes());
        let allowed = before + bytes_max + SLACK_BYTES;
        let [before, peak_mib, after, allowed_mib] = [before, peak, after, allowed].map(|bytes| bytes >> 20);
        let shards = server.shards().len();
        let done =
            PER_TURN.map(|(work, _)| server.metric("roadstead_turn_items_max", &format!("\"{work}\"")));
        let [p50, p99, most] = probe.end().map(|wait| wait.as_secs_f64() * 1e3);
        println!(
            "| {name} | {size} | {before} | {peak_mib} | {after} | {allowed_mib} | {} | {p50:.2} ms | {p99:.2} ms | {most:.2} ms |",
            done[0]
        );
        assert!(peak <= allowed, "{name}, {size}: {peak_mib} MiB, where the limits allow {allowed_mib} MiB");
        for ((work, most), done) in PER_TURN.into_iter().zip(done) {
            let most = most * shards;
            assert!(done <= most as f64, "{name}, {size}: {done} {work} in one turn, of {most}");
        }
    }
}

impl Probe {
    fn begin(address: SocketAddr) -> Self {
        let mut socket = WebSocket::open(Client::connect(address), "/echo", "");
        let is_over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&is_over);
        let waits = std::thread::spawn(move || {
            let (mut waits, mut due) = (Vec::new(), Instant::now());
            while !seen.load(Ordering::Relaxed) {
                socket.send_text("are you there?");
                assert_eq!(socket.text(), "are you there?");
                // From when it was to be sent: one that waits long delays those behind it.
                waits.push(due.elapsed());
                due += PROBE_EVERY;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            waits
        });
        Self { is_over, waits }
    }

    /// The median, the 99th percentile and the longest.
    fn end(self) -> [Duration; 3] {
        self.is_over.store(true, Ordering::Relaxed);
        let mut waits = self.waits.join().expect("an innocent client is served");
        waits.sort_unstable();
        let at = |percent: usize| waits.get((waits.len() * percent / 100).min(waits.len().saturating_sub(1)));
        [at(50), at(99), at(100)].map(|wait| wait.copied().unwrap_or_default())
    }
}
