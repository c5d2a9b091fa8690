//! A fake Redis: its commands as nodes say them, byte by byte, and what its scripts do. It fails in every way that one does: it cuts
//! connections, answers late, passes nothing on, is a replica, is full, loses a key or all of them, and another server takes over
//! with what was copied to it some time ago.
//!
//! What the scripts do is said here once more, in another language; that the scripts themselves do it is seen where a real Redis runs
//! (`tests/e2e/nodes.rs`, `failover.rs`, `epochs.rs`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use roadstead::wire::resp::{Decoder, Step};

/// One of the servers that there have been.
#[derive(Debug)]
pub struct Server {
    run_id: u64,
    pub is_replica: bool,
    pub is_full: bool,
    /// When it goes on; until then it does nothing.
    pub stopped_until_ms: u64,
    data: Data,
    scripts: BTreeSet<String>,
    subscribers: BTreeMap<String, BTreeSet<usize>>,
    /// What is pushed to whoever publishes comes behind the reply, as from newer servers.
    pushes_later: bool,
}

/// What is copied to a replica.
#[derive(Clone, Debug, Default)]
pub struct Data {
    streams: BTreeMap<String, Stream>,
    hashes: BTreeMap<String, BTreeMap<String, String>>,
}

#[derive(Clone, Debug, Default)]
struct Stream {
    last: (u64, u64),
    /// Ids, the name of the field, and what it holds.
    entries: VecDeque<((u64, u64), &'static str, Vec<u8>)>,
}

/// What a connection is told: whole replies and pushes.
pub type Told = Vec<(usize, Vec<u8>)>;

impl Server {
    pub fn new(rng: &mut fastrand::Rng, data: Data) -> Self {
        Self {
            run_id: rng.u64(..),
            is_replica: false,
            is_full: false,
            stopped_until_ms: 0,
            data,
            scripts: BTreeSet::new(),
            subscribers: BTreeMap::new(),
            pushes_later: rng.bool(),
        }
    }

    /// What it holds.
    pub fn data(&self) -> Data {
        self.data.clone()
    }

    /// `FLUSHALL`
    pub fn flush_all(&mut self) {
        self.data = Data::default();
    }

    /// A stream is evicted, or deleted.
    pub fn evict(&mut self, rng: &mut fastrand::Rng) {
        let keys: Vec<_> = self.data.streams.keys().cloned().collect();
        if let Some(key) = rng.choice(keys) {
            self.data.streams.remove(&key);
        }
    }

    /// Where a stream is, unless it is one that may have lost something, and begins anew with the next publication.
    pub fn last(&self, key: &str) -> Option<(u64, u64)> {
        let floor = self.data.hashes.get("rs:floor").and_then(|marks| marks.get("floor"));
        let floor = floor.map_or(0, |floor| number(floor));
        self.data.streams.get(key).map(|stream| stream.last).filter(|(epoch, _)| *epoch >= floor)
    }

    /// Whether somebody has spoken with it, so that it has a floor of its own.
    pub fn has_floor(&self) -> bool {
        let run = self.data.hashes.get("rs:floor").and_then(|marks| marks.get("run"));
        run.is_some_and(|run| *run == format!("{:x}", self.run_id))
    }

    /// A connection is gone.
    pub fn forget(&mut self, connection: usize) {
        self.subscribers.values_mut().for_each(|those| {
            those.remove(&connection);
        });
    }

    /// Does what a connection says, of which the last may not be whole; what has been taken, and what everybody is told.
    pub fn handle(&mut self, unix_ms: u64, connection: usize, said: &[u8]) -> (usize, Told) {
        let (mut taken, mut told) = (0, Told::new());
        let mut decoder = Decoder::default();
        while let Step::Reply { value, consumed } =
            decoder.decode(&said[taken..], usize::MAX).expect("nodes speak RESP")
        {
            let words: Option<Vec<&[u8]>> =
                value.list().expect("a command is a list").map(|word| word.text()).collect();
            let words = words.expect("a command has words");
            let mut pushes = Told::new();
            let reply = self.obey(unix_ms, connection, &words, &mut pushes);
            let reply = reply.map(|reply| (connection, reply));
            match self.pushes_later {
                true => told.extend(reply.into_iter().chain(pushes)),
                false => told.extend(pushes.into_iter().chain(reply)),
            }
            taken += consumed;
        }
        (taken, told)
    }

    fn obey(
        &mut self,
        unix_ms: u64,
        connection: usize,
        words: &[&[u8]],
        pushes: &mut Told,
    ) -> Option<Vec<u8>> {
        let role = if self.is_replica { "replica" } else { "master" };
        match words[0] {
            b"HELLO" => Some([b"%1\r\n".to_vec(), bulk("role"), bulk(role)].concat()),
            b"INFO" => Some(bulk(format!("run_id:{:x}\r\n", self.run_id))),
            b"ROLE" => {
                let role = if self.is_replica { "slave" } else { "master" };
                Some([b"*1\r\n".to_vec(), bulk(role)].concat())
            }
            b"SUBSCRIBE" | b"UNSUBSCRIBE" => {
                let name = text(words[0]).to_lowercase();
                for topic in &words[1..] {
                    let those = self.subscribers.entry(text(topic)).or_default();
                    match words[0] {
                        b"SUBSCRIBE" => those.insert(connection),
                        _ => those.remove(&connection),
                    };
                    pushes.push((connection, push(&[name.as_bytes(), topic, b"1"])));
                }
                None
            }
            b"PUBLISH" => {
                self.publish(words[1], words[2], pushes);
                Some(b":1\r\n".to_vec())
            }
            b"EVAL" | b"EVALSHA" => Some(self.evaluate(unix_ms, words, pushes)),
            other => panic!("nodes do not say {}", text(other)),
        }
    }

    fn publish(&self, topic: &[u8], said: &[u8], pushes: &mut Told) {
        for connection in self.subscribers.get(&text(topic)).into_iter().flatten() {
            pushes.push((*connection, push(&[b"message", topic, said])));
        }
    }

    /// Runs a script: which it is, is seen by how many keys and words it is given.
    fn evaluate(&mut self, unix_ms: u64, words: &[&[u8]], pushes: &mut Told) -> Vec<u8> {
        let (code, keys) = (text(words[1]), text(words[2]));
        // The hash of a script cannot be known here without its text; so it is known by what it is for.
        let kind = match &*keys {
            "2" => "stream",
            _ if words[0] == b"EVAL" && code.contains("HMGET") => "floor",
            _ => "run",
        };
        match words[0] {
            b"EVAL" => {
                self.scripts.insert(kind.to_owned());
            }
            _ if !self.scripts.contains(kind) => return b"-NOSCRIPT No matching script.\r\n".to_vec(),
            _ => {}
        }
        if self.is_replica {
            return b"-READONLY You can't write against a read only replica.\r\n".to_vec();
        }
        if self.is_full {
            return b"-OOM command not allowed when used memory > 'maxmemory'.\r\n".to_vec();
        }
        let key = text(words[3]);
        match kind {
            "stream" => self.run_stream(unix_ms, &key, &text(words[4]), &words[5..], pushes),
            "floor" => self.run_floor(unix_ms, &key, &words[4..]),
            _ => self.run_run(&key, &words[4..], pushes),
        }
    }

    /// `script::FLOOR`
    fn run_floor(&mut self, unix_ms: u64, key: &str, argv: &[&[u8]]) -> Vec<u8> {
        let marks = self.data.hashes.entry(key.to_owned()).or_default();
        let run = text(argv[0]);
        if marks.get("run") == Some(&run)
            && let Some(floor) = marks.get("floor")
        {
            return bulk(floor);
        }
        let after = |field: &str| marks.get(field).map_or(0, |mark| number(mark)) + 1;
        let floor = (unix_ms * 1024 + number(&text(argv[1])))
            .max(after("floor"))
            .max(after("epoch"))
            .max(after("base"));
        for (field, value) in [("run", run), ("floor", floor.to_string()), ("base", floor.to_string())] {
            marks.insert(field.to_owned(), value);
        }
        bulk(floor.to_string())
    }

    /// `script::RUN`
    fn run_run(&mut self, key: &str, argv: &[&[u8]], pushes: &mut Told) -> Vec<u8> {
        let epoch = text(argv[0]).strip_suffix("-*").map(number).expect("an epoch");
        let kept_max = number(&text(argv[2])) as usize;
        let Some(stream) = self.data.streams.get_mut(key) else { return b"_\r\n".to_vec() };
        if epoch < stream.last.0 {
            return b"-ERR The ID specified in XADD is equal or smaller than the target stream top item\r\n"
                .to_vec();
        }
        if epoch > stream.last.0 {
            self.data.streams.remove(key);
            return b"_\r\n".to_vec();
        }
        for body in &argv[6..] {
            stream.add(epoch, body, kept_max);
        }
        let last = stream.last;
        self.publish(argv[4], &argv[5..].concat(), pushes);
        bulk(id(last))
    }

    /// `script::STREAM`
    fn run_stream(
        &mut self,
        unix_ms: u64,
        key: &str,
        marks: &str,
        argv: &[&[u8]],
        pushes: &mut Told,
    ) -> Vec<u8> {
        let [epoch_min, drawn] = [0, 1].map(|at| number(&text(argv[at])));
        let [wanted, room, kept_max] = [4, 5, 6].map(|at| number(&text(argv[at])));
        let (topic, part, hash) = (argv[2], text(argv[8]), text(argv[9]));
        let bodies = argv.get(12..).unwrap_or_default();
        let Data { streams, hashes } = &mut self.data;
        let marks = hashes.entry(marks.to_owned()).or_default();
        let mark = |marks: &BTreeMap<String, String>, field: &str| marks.get(field).map(|mark| number(mark));
        let base = mark(marks, "base").unwrap_or_else(|| {
            let after = |field: &str| mark(marks, field).unwrap_or(0) + 1;
            let base = (unix_ms * 1024 + drawn).max(after("floor")).max(after("epoch"));
            let floor = marks.get("floor").cloned().unwrap_or_else(|| "0".to_owned());
            let fields = [("run", text(argv[7])), ("floor", floor), ("base", base.to_string())];
            marks.extend(fields.map(|(field, value)| (field.to_owned(), value)));
            base
        });
        let least = mark(marks, "floor").unwrap_or(0).max(epoch_min);
        let mut last = streams.get(key).map_or((0, 0), |stream| stream.last);
        let mut epoch = streams.get(key).and((last.0 >= least).then_some(last.0));
        let mut renewed = None;
        if epoch.is_none() {
            let begun = marks.get(&part).cloned().unwrap_or_default();
            let digits = begun.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(begun.len());
            let (mut free, mut begun) = (number(&begun[..digits]), begun[digits..].to_owned());
            if free < base {
                (free, begun) = (base, String::new());
            }
            if begun.contains(&format!(" {hash}")) {
                (free, begun) = (free + 1, String::new());
            }
            if free < epoch_min {
                (free, begun) = (epoch_min, String::new());
            }
            last = (free, 0);
            if argv.len() > 10 || epoch_min > 0 {
                epoch = Some(free);
                let mut stream = Stream { last, entries: VecDeque::new() };
                stream.entries.push_back((last, "r", Vec::new()));
                streams.insert(key.to_owned(), stream);
                renewed = Some(free);
                begun = format!("{begun} {hash}");
                if begun.len() > 64 * (hash.len() + 1) {
                    (free, begun) = (free + 1, String::new());
                }
                let latest = epoch.max(mark(marks, "epoch")).unwrap_or_default();
                marks.insert("epoch".to_owned(), latest.to_string());
                marks.insert(part, format!("{free}{begun}"));
            }
        }
        let Some(epoch) = epoch else {
            return [b"*2\r\n".to_vec(), bulk(id(last)), b"*0\r\n".to_vec()].concat();
        };
        let stream = streams.get_mut(key).expect("it is there");
        bodies.iter().for_each(|body| stream.add(epoch, body, kept_max as usize));
        let said = stream.tail(wanted as usize, room as i64);
        if let Some(epoch) = renewed {
            self.publish(topic, format!("R{epoch} ").as_bytes(), pushes);
        }
        if argv.len() > 10 {
            let head = [argv[10], format!("{epoch} ").as_bytes(), &argv[11..].concat()].concat();
            self.publish(topic, &head, pushes);
        }
        said
    }
}

impl Stream {
    fn add(&mut self, epoch: u64, body: &[u8], kept_max: usize) {
        self.last = (epoch, self.last.1 + 1);
        self.entries.push_back((self.last, "d", body.to_vec()));
        while self.entries.len() > kept_max {
            self.entries.pop_front();
        }
    }

    /// Its last id and its latest entries, the last first: so many, and no more once so many bytes have been told.
    fn tail(&self, wanted: usize, mut room: i64) -> Vec<u8> {
        let (mut entries, mut count) = (Vec::new(), 0);
        for (at, field, body) in self.entries.iter().rev().take(wanted) {
            if room <= 0 {
                break;
            }
            room -= body.len() as i64;
            count += 1;
            let head = [b"*2\r\n".to_vec(), bulk(id(*at)), b"*2\r\n".to_vec(), bulk(field)];
            entries.extend_from_slice(&[head.concat(), bulk(body)].concat());
        }
        [b"*2\r\n".to_vec(), bulk(id(self.last)), format!("*{count}\r\n").into_bytes(), entries].concat()
    }
}

fn id((epoch, offset): (u64, u64)) -> String {
    format!("{epoch}-{offset}")
}

fn number(text: &str) -> u64 {
    if text.is_empty() { 0 } else { text.parse().unwrap_or_else(|_| panic!("{text} is a number")) }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn bulk(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

fn push(words: &[&[u8]]) -> Vec<u8> {
    let words = words.iter().flat_map(bulk);
    [b">3\r\n".to_vec(), words.collect()].concat()
}
