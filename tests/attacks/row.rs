//! One attack: the server's memory before it, at its worst, and after it.

use std::{fs, sync::Once};

use crate::server::Server;

/// An attack under way.
pub struct Attack<'a> {
    server: &'a Server,
    name: &'static str,
    size: String,
    before: u64,
}

/// What the server may keep beside what the limits say: tables, the allocator's reserve, code that is paged in.
const SLACK_BYTES: u64 = 24 << 20;

impl<'a> Attack<'a> {
    /// Begins to measure. `size` says how large the attack is.
    pub fn begin(server: &'a Server, name: &'static str, size: String) -> Self {
        // proc(5): 5 sets the peak of the resident memory to what is resident now.
        fs::write(format!("/proc/{}/clear_refs", server.id()), "5").expect("the server is ours");
        Self { server, name, size, before: server.resident_bytes() }
    }

    /// Ends the attack: prints its row, and fails if memory has grown by more than `bytes_max` and some slack.
    #[track_caller]
    pub fn end(self, bytes_max: u64) {
        static HEAD: Once = Once::new();
        HEAD.call_once(|| {
            println!("| attack | size | MiB before | peak | after | allowed |\n|---|---|---|---|---|---|");
        });
        let Self { server, name, size, before } = self;
        let (peak, after) = (server.status_bytes("VmHWM:"), server.resident_bytes());
        let allowed = before + bytes_max + SLACK_BYTES;
        let [before, peak_mib, after, allowed_mib] = [before, peak, after, allowed].map(|bytes| bytes >> 20);
        println!("| {name} | {size} | {before} | {peak_mib} | {after} | {allowed_mib} |");
        assert!(peak <= allowed, "{name}, {size}: {peak_mib} MiB, where the limits allow {allowed_mib} MiB");
    }
}
