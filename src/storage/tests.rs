//! A disk that gives nothing back for a while, or something else than was written.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::mpsc::channel,
    thread,
    time::{Duration, Instant},
};

use super::{
    HistoryKept, Keeper, Opened, Writer,
    codec::tests::news,
    store::{FILE, guarded},
};
use crate::{
    auth::Revoked,
    model::{
        Change, ChangeKind, ChannelName, Durability, PageAsked, Payload, Position, Publication, Record,
        Restored, StateKey,
    },
    ring::Doorbell,
};

/// A folder that is gone afterwards.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("roadstead-storage-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }

    pub(crate) fn open(&self) -> Opened {
        Opened::open(&self.0, HistoryKept { in_memory: 3, on_disk: 0 }, |_| Durability::Synced)
            .expect("it opens")
    }

    /// Puts something in the way of whoever opens the file.
    fn block(&self) {
        fs::rename(self.0.join(FILE), self.0.join("aside")).expect("it is there");
        fs::create_dir(self.0.join(FILE)).expect("there is room");
    }

    fn clear(&self) {
        fs::remove_dir(self.0.join(FILE)).expect("it was made");
        fs::rename(self.0.join("aside"), self.0.join(FILE)).expect("it was put aside");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

fn record(offset: u64) -> Record {
    let position = Position { epoch: 7, offset };
    let payload = Payload::new(vec![b'x'; 500], None);
    let publication = Publication { channel: news(), position, unix_ms: 5, payload }.into();
    Record::Publication { publication, is_kept: true, is_synced: true }
}

/// A thread that writes to a store that is there and cannot be opened again, for a shard that begins anew and another.
fn start(folder: &Folder) -> (Writer, Keeper, Keeper) {
    let mut opened = folder.open();
    opened.store.write(&Revoked::default(), &[record(1), record(2)]).expect("there is room");
    opened.store.close();
    folder.block();
    let bells = [Doorbell::new().expect("a bell"), Doorbell::new().expect("a bell")];
    let (writer, mut keepers) = opened.start(&bells, &[]).expect("it starts");
    let another = keepers.remove(1);
    (writer, keepers.remove(0), another)
}

/// Waits until something is so.
pub(crate) fn await_that(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < until, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Where the channel is for a shard that begins anew; what waits meanwhile is told while it waits.
fn begin_anew(folder: &Folder, keeper: Keeper, meanwhile: impl FnOnce()) -> (Keeper, Vec<u64>) {
    let (found, finds) = channel();
    let waits = thread::spawn(move || {
        found.send(keeper.read_again(|_| true)).expect("somebody waits");
        keeper
    });
    meanwhile();
    assert!(finds.try_recv().is_err(), "nothing is said of what cannot be read");
    folder.clear();
    let found = finds.recv().expect("it is told");
    let keeper = waits.join().expect("no panic");
    (keeper, found.iter().map(|one| one.position.offset).collect())
}

#[test]
fn a_shard_that_begins_anew_waits_for_what_could_not_be_written_yet() {
    let folder = Folder::new("unwritten");
    let (writer, keeper, another) = start(&folder);
    keeper.leave(vec![record(3)]);
    await_that("it has failed", || another.is_failing());
    let (keeper, found) = begin_anew(&folder, keeper, || {
        let (_, before) = another.tried();
        await_that("it has been tried again, twice", || another.tried().1 > before + 1);
    });
    assert_eq!((found, keeper.written()), (vec![3], 1));
    drop((keeper, another));
    writer.end(true).expect("all is written");
    assert_eq!(folder.open().channels[0].history.len(), 3);
}

#[test]
fn a_shard_that_begins_anew_waits_for_what_cannot_be_read() {
    let folder = Folder::new("unread");
    let (writer, keeper, another) = start(&folder);
    let (keeper, found) = begin_anew(&folder, keeper, || thread::sleep(Duration::from_millis(50)));
    assert_eq!(found, [2]);
    keeper.leave(vec![record(3)]);
    drop((keeper, another));
    writer.end(true).expect("all is written");
    assert_eq!(folder.open().channels[0].position.offset, 3);
}

#[test]
fn a_file_that_holds_something_else_ends_no_thread() {
    let folder = Folder::new("damaged");
    let mut opened = folder.open();
    opened
        .store
        .write_last(&Revoked::default(), &(1..3_000).map(record).collect::<Vec<_>>())
        .expect("there is room");
    drop(opened);
    let opened = folder.open();
    let file = fs::OpenOptions::new().write(true).open(folder.0.join(FILE)).expect("it is there");
    // Everything but the first pages, which are remembered.
    let size = file.metadata().expect("a size").len();
    for at in (16_384..size).step_by(4_096) {
        file.write_all_at(&[0xff; 4_096], at).expect("there is room");
    }
    let (writer, mut keepers) = opened.start(&[Doorbell::new().expect("a bell")], &[]).expect("it starts");
    let keeper = keepers.remove(0);
    for number in 0..2 {
        let asked =
            PageAsked { number, channel: news(), epoch: 7, after: 100, limit: 1_000, bytes_max: 1 << 20 };
        keeper.ask(asked);
        await_that("it is answered", || keeper.has_page());
        assert!(keeper.take_page().expect("it has come").publications.len() < 1_000);
    }
    keeper.leave(vec![record(3_000)]);
    await_that("it is tried", || keeper.tried() != (0, 0) || keeper.written() > 0);
    drop(keeper);
    // Whether that could be written depends on what was remembered; that it was tried does not.
    drop(writer.end(true));
}

#[test]
fn what_was_left_is_written_though_a_shard_hangs_that_could_leave_more_and_that_is_no_end_in_order() {
    let folder = Folder::new("cut");
    let bells = [Doorbell::new().expect("a bell"), Doorbell::new().expect("a bell")];
    let (writer, mut keepers) = folder.open().start(&bells, &[]).expect("it starts");
    let hanging = keepers.remove(1);
    keepers.remove(0).leave(vec![record(1), record(2)]);
    writer.end(false).expect("all is written");
    hanging.leave(vec![record(3)]);
    let opened = folder.open();
    assert!(!opened.was_clean);
    assert_eq!(opened.channels[0].position.offset, 2);
}

#[test]
fn a_panic_of_the_store_is_an_error() {
    assert!(guarded(|| -> Result<(), _> { panic!("a page is not what it says") }).is_err());
}

const CHANNELS: u64 = 12;

/// Every second channel is synced.
fn kept(channel: &ChannelName) -> Durability {
    if channel.as_str().ends_with(['0', '2', '4', '6', '8']) {
        Durability::Synced
    } else {
        Durability::Written
    }
}

/// A transaction of a store in which much is written over, and its number in all that it says.
fn transaction(number: u64) -> Vec<Record> {
    let record = |channel: u64| {
        let channel = ChannelName::new(&format!("channel-{channel}"), 255).expect("a name");
        let is_synced = kept(&channel) == Durability::Synced;
        let position = Position { epoch: 7, offset: number };
        let key = StateKey::new(&format!("key-{}", number % 5)).expect("a key");
        let mut payload = Payload::new(format!("{number} ").repeat(200).into_bytes(), None);
        payload.change = Some(Box::new(Change { key, kind: ChangeKind::Set, expires_unix_ms: None }));
        let publication = Publication { channel, position, unix_ms: 5, payload }.into();
        Record::Publication { publication, is_kept: true, is_synced }
    };
    (0..CHANNELS).map(record).collect()
}

/// What a store says that it holds, if it opens; that of a channel that may have lost something is under another epoch.
fn held(folder: &Folder) -> Result<(bool, Vec<String>), String> {
    let history = HistoryKept { in_memory: 1_000, on_disk: 0 };
    let opened = Opened::open(&folder.0, history, kept).map_err(|error| error.to_string())?;
    let mut all = Vec::new();
    for one in opened.channels {
        let is_honest = one.is_whole || (!opened.was_clean && kept(&one.channel) == Durability::Written);
        assert!(is_honest, "{}", one.channel.as_str());
        all.push(format!("{:?}", Restored { is_whole: true, ..one }));
    }
    Ok((opened.was_clean, all))
}

/// Damages a file somewhere: a bit, a part of a page that is missing, a page that stands in the place of another.
fn damage(bytes: &mut [u8], rng: &mut fastrand::Rng) {
    const PAGE: usize = 4_096;
    let pages = bytes.len() / PAGE;
    match rng.u8(0..4) {
        0 => bytes[rng.usize(..320)] ^= 1 << rng.u8(..8),
        1 => bytes[rng.usize(..bytes.len())] ^= 1 << rng.u8(..8),
        2 => {
            let at = rng.usize(..bytes.len() / 512) * 512;
            bytes[at..(at / PAGE + 1) * PAGE].fill(0);
        }
        _ => {
            let (from, to) = (rng.usize(1..pages) * PAGE, rng.usize(1..pages) * PAGE);
            bytes.copy_within(from..from + PAGE, to);
        }
    }
}

/// Opens a file that is damaged in many ways, each by itself: whether it opens, and then with one of these contents.
fn open_damaged(folder: &Folder, good: &[u8], contents: &[(bool, Vec<String>)]) {
    let (mut refused, mut opened, mut wrong) = (0, 0, Vec::new());
    for seed in 0..60 {
        let (mut bytes, mut rng) = (good.to_vec(), fastrand::Rng::with_seed(seed));
        (0..rng.u8(1..4)).for_each(|_| damage(&mut bytes, &mut rng));
        fs::write(folder.0.join(FILE), &bytes).expect("there is room");
        for again in [false, true] {
            match held(folder) {
                Ok(found) if contents.contains(&found) && !again => opened += 1,
                Err(told) if told.contains(FILE) && told.contains("is damaged") => {
                    refused += 1;
                    // Nor does it open at the next start.
                    continue;
                }
                Ok(_) => wrong.push(format!("seed {seed}: it opens, and holds something else, {again}")),
                Err(told) => wrong.push(format!("seed {seed}: {told}")),
            }
            break;
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(refused > 8 && opened > 8, "{refused} times refused, {opened} times opened");
}

#[test]
fn a_file_that_is_damaged_anywhere_is_refused_or_has_lost_nothing() {
    let folder = Folder::new("anywhere");
    let mut store =
        Opened::open(&folder.0, HistoryKept { in_memory: 1_000, on_disk: 0 }, kept).expect("it opens").store;
    (1..80).for_each(|number| store.write(&Revoked::default(), &transaction(number)).expect("there is room"));
    let before = fs::read(folder.0.join(FILE)).expect("it is there");
    store.write(&Revoked::default(), &transaction(80)).expect("there is room");
    let killed = fs::read(folder.0.join(FILE)).expect("it is there");
    store.write_last(&Revoked::default(), &[]).expect("there is room");
    drop(store);
    let closed = fs::read(folder.0.join(FILE)).expect("it is there");
    let whole = |bytes: &[u8]| {
        fs::write(folder.0.join(FILE), bytes).expect("there is room");
        held(&folder).expect("nothing is wrong with it")
    };
    let [before, last, all] = [&before, &killed, &closed].map(|bytes| whole(bytes));
    assert_eq!((before.0, last.0, all.0, &all.1), (false, false, true, &last.1));
    assert_ne!(before.1, last.1);
    open_damaged(&folder, &closed, &[all, last.clone()]);
    // One that was being written to is as it was before the last transaction, if that cannot be read: so is one that had not
    // been written whole, which nobody has been told of.
    open_damaged(&folder, &killed, &[last, before]);
}
