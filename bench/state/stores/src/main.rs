//! Embedded stores under the load that channels are kept with: entries of 100 bytes come in batches, each batch is one
//! transaction with the newest position of each channel in it, and it is on disk when the transaction ends.
//!
//! One store and one part at a time, so that each has a process of its own to be measured; `run` asks for all of them:
//!
//! ```text
//! roadstead-stores write STORE FOLDER BATCH COMMITS     → how long commits took, CPU, memory, bytes on disk
//! roadstead-stores read STORE FOLDER                    → how long opening and reading everything took, and how much it was
//! ```

mod stores;

use std::{
    fs,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use stores::{Entry, open};

const CHANNELS: u32 = 100;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["write", store, folder, batch, commits] => match (batch.parse(), commits.parse()) {
            (Ok(batch), Ok(commits)) => write(store, Path::new(folder), batch, commits),
            _ => return ExitCode::from(2),
        },
        ["read", store, folder] => read(store, Path::new(folder)),
        _ => {
            eprintln!("roadstead-stores write STORE FOLDER BATCH COMMITS, or read STORE FOLDER");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

/// Writes so many batches, and tells what that took.
fn write(name: &str, folder: &Path, batch: usize, commits: usize) {
    let mut entries = Entries::default();
    let mut store = open(name, folder);
    // Files and tables are there, and what is allocated once.
    store.commit(&entries.take(batch));
    let (memory, cpu, began) = (anonymous_bytes(), cpu_time(), Instant::now());
    let mut took: Vec<Duration> = (0..commits)
        .map(|_| {
            let batch = entries.take(batch);
            let began = Instant::now();
            store.commit(&batch);
            began.elapsed()
        })
        .collect();
    let (elapsed, cpu) = (began.elapsed(), cpu_time() - cpu);
    let memory = anonymous_bytes().saturating_sub(memory);
    took.sort();
    let at = |share: usize| took[(took.len() - 1) * share / 100].as_secs_f64() * 1e3;
    // As if it were killed now: nothing is closed.
    std::mem::forget(store);
    println!(
        "{{\"commits_per_s\":{:.1},\"entries_per_s\":{:.0},\"p50_ms\":{:.3},\"p99_ms\":{:.3},\"cpu_us\":{:.3},\
         \"memory_bytes\":{memory},\"disk_bytes\":{},\"entries\":{}}}",
        commits as f64 / elapsed.as_secs_f64(),
        (commits * batch) as f64 / elapsed.as_secs_f64(),
        at(50),
        at(99),
        cpu.as_secs_f64() * 1e6 / (commits * batch) as f64,
        disk_bytes(folder),
        entries.count,
    );
}

/// Opens what was written, and reads all of it.
fn read(name: &str, folder: &Path) {
    let began = Instant::now();
    let store = open(name, folder);
    let opened = began.elapsed();
    let began = Instant::now();
    let (count, bytes) = store.read_all();
    println!(
        "{{\"open_ms\":{:.2},\"read_ms\":{:.1},\"entries\":{count},\"bytes\":{bytes}}}",
        opened.as_secs_f64() * 1e3,
        began.elapsed().as_secs_f64() * 1e3
    );
}

/// Publications as they come: of channels in no order, each channel's in order.
struct Entries {
    offsets: [u64; CHANNELS as usize],
    seed: u64,
    count: u64,
}

impl Default for Entries {
    fn default() -> Self {
        Self { offsets: [0; CHANNELS as usize], seed: 14, count: 0 }
    }
}

impl Entries {
    fn take(&mut self, batch: usize) -> Vec<Entry> {
        let next = |seed: &mut u64| {
            // Knuth's, of which the upper half is good.
            *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (*seed >> 33) as u32
        };
        self.count += batch as u64;
        (0..batch)
            .map(|_| {
                let channel = next(&mut self.seed) % CHANNELS;
                let offset = &mut self.offsets[channel as usize];
                *offset += 1;
                let mut data = [b'x'; 100];
                // Not all alike, for some stores compress.
                data.chunks_exact_mut(4)
                    .take(16)
                    .for_each(|four| four.copy_from_slice(&next(&mut self.seed).to_le_bytes()));
                Entry { channel, offset: *offset, data }
            })
            .collect()
    }
}

fn cpu_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").expect("Linux has it");
    let (_, fields) = stat.rsplit_once(')').expect("the name is in brackets");
    let ticks =
        fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number"));
    // USER_HZ is 100 on every Linux there is.
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

fn anonymous_bytes() -> u64 {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").expect("Linux has it");
    let line = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:")).expect("it is there");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

/// What the folder takes of the disk, holes in its files not counted.
fn disk_bytes(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = fs::read_dir(folder).expect("it is there").map(|entry| entry.expect("it can be read"));
    entries
        .map(|entry| match entry.metadata().expect("it is there") {
            folder if folder.is_dir() => disk_bytes(&entry.path()),
            file => file.blocks() * 512,
        })
        .sum()
}
