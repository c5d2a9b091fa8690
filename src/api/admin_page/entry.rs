//! Who may enter Socket.IO's admin page: whoever has a password, or what was told after one.
//!
//! ```text
//!   session ─► its signature, its end ──────────────────────────────────────────────► in
//!   password ─► too many wrong ones from there? ─► plain, SHA-256 ─► the comparer ──► in, told a session
//!                             └─► refused            at once         └ bcrypt, on a thread: one at a time
//! ```
//!
//! Wrong ones are counted by address, so that whoever tries passwords keeps nobody else out, and by shard. What waits for the
//! thread is bounded ([`PASSWORDS_WAITING_MAX`]); of one address a shard lets one wait.

use std::{
    cell::RefCell,
    net::IpAddr,
    sync::{Arc, OnceLock},
    thread,
    time::Instant,
};

use async_channel::{Receiver, Sender, bounded};
use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rustc_hash::FxHashMap;
use tracing::error;

use super::AdminPageSettings;
use crate::{
    api::unix_ms,
    app::socketio::ConnectError,
    auth::{BcryptHash, PublishKey},
    limits::{ADMIN_ADDRESSES_MAX, ADMIN_MISTAKEN_S, ADMIN_MISTAKES_MAX, PASSWORDS_WAITING_MAX},
    model::network,
};

/// How long what a page was told when it gave its password is good in the place of it.
const SESSION_S: u64 = 24 * 60 * 60;
/// The page shows these words.
const REFUSED: &str = "invalid credentials";
/// It shows these as well.
const BUSY: &str = "the server is comparing other passwords; try again in a moment";

/// What one shard knows of passwords.
pub(super) struct Entry {
    keys: Vec<PublishKey>,
    comparer: Option<Arc<Comparer>>,
    signing: hmac::Key,
    mistakes: RefCell<Mistakes>,
}

/// The wrong passwords of each address; those of no known address count as one.
#[derive(Default)]
struct Mistakes(FxHashMap<Option<IpAddr>, Mistaken>);

struct Mistaken {
    count: u32,
    latest: Instant,
    /// One of its passwords is being compared.
    is_waiting: bool,
}

/// Compares passwords with hashes by bcrypt, on a thread that all shards share and that begins with the first.
pub(super) struct Comparer {
    hashes: Arc<[BcryptHash]>,
    questions: OnceLock<Sender<Question>>,
}

struct Question {
    password: String,
    answer: Sender<bool>,
}

impl Entry {
    pub(super) fn new(settings: &AdminPageSettings) -> Self {
        Self {
            keys: settings.keys.clone(),
            comparer: settings.comparer.clone(),
            signing: hmac::Key::new(hmac::HMAC_SHA256, &settings.secret),
            mistakes: RefCell::default(),
        }
    }

    /// When it ends, and the signature of that.
    pub(super) fn session(&self) -> String {
        let until = format!("{:x}", unix_s() + SESSION_S);
        let signature = hmac::sign(&self.signing, until.as_bytes());
        format!("{until}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    pub(super) fn is_session(&self, text: &str) -> bool {
        let Some((until, signature)) = text.split_once('.') else { return false };
        let Ok(until_s) = u64::from_str_radix(until, 16) else { return false };
        let Ok(signature) = URL_SAFE_NO_PAD.decode(signature) else { return false };
        until_s > unix_s() && hmac::verify(&self.signing, until.as_bytes(), &signature).is_ok()
    }

    /// Whether this is a password, for somebody who comes from there.
    pub(super) async fn check(
        &self,
        password: Option<&str>,
        address: Option<IpAddr>,
    ) -> Result<(), ConnectError> {
        let address = address.map(network);
        let password = password.ok_or(REFUSED)?;
        self.mistakes.borrow_mut().begin(address, Instant::now())?;
        let found = self.is_password(password).await;
        self.mistakes.borrow_mut().end(address, found, Instant::now());
        match found {
            Some(true) => Ok(()),
            Some(false) => Err(REFUSED.into()),
            None => Err(BUSY.into()),
        }
    }

    /// `None` if nobody has had time to find out.
    async fn is_password(&self, password: &str) -> Option<bool> {
        let digest = PublishKey::digest_of(password.as_bytes());
        // Every key is compared with, whichever it is.
        let matching = self.keys.iter().filter(|key| key.is(&digest)).count();
        match &self.comparer {
            Some(comparer) if matching == 0 => comparer.is_password(password).await,
            _ => Some(matching > 0),
        }
    }
}

impl Mistakes {
    /// Refuses whoever comes from where too many wrong ones have come from, or one is being compared.
    fn begin(&mut self, address: Option<IpAddr>, now: Instant) -> Result<(), ConnectError> {
        self.forget(now);
        let fresh = || Mistaken { count: 0, latest: now, is_waiting: false };
        let one = self.0.entry(address).or_insert_with(fresh);
        if one.count >= ADMIN_MISTAKES_MAX {
            return Err(REFUSED.into());
        }
        if one.is_waiting {
            return Err(BUSY.into());
        }
        one.is_waiting = true;
        Ok(())
    }

    fn end(&mut self, address: Option<IpAddr>, found: Option<bool>, now: Instant) {
        let Some(one) = self.0.get_mut(&address) else { return };
        one.is_waiting = false;
        match found {
            Some(true) => drop(self.0.remove(&address)),
            Some(false) => (one.count, one.latest) = (one.count + 1, now),
            None => {}
        }
    }

    /// Forgets what is long ago, and makes room for one more.
    fn forget(&mut self, now: Instant) {
        let is_recent = |one: &Mistaken| now.duration_since(one.latest).as_secs() < ADMIN_MISTAKEN_S;
        self.0.retain(|_, one| one.is_waiting || is_recent(one));
        while self.0.len() >= ADMIN_ADDRESSES_MAX {
            let quiet = self.0.iter().min_by_key(|(_, one)| one.latest).map(|(address, _)| *address);
            let Some(quiet) = quiet else { return };
            self.0.remove(&quiet);
        }
    }
}

impl Comparer {
    /// `None` where nothing is hashed.
    pub(super) fn of(hashes: Vec<BcryptHash>) -> Option<Arc<Self>> {
        let comparer = || Arc::new(Self { hashes: hashes.as_slice().into(), questions: OnceLock::new() });
        (!hashes.is_empty()).then(comparer)
    }

    async fn is_password(&self, password: &str) -> Option<bool> {
        let (answer, answered) = bounded(1);
        self.questions()?.try_send(Question { password: password.to_owned(), answer }).ok()?;
        answered.recv().await.ok()
    }

    fn questions(&self) -> Option<&Sender<Question>> {
        if self.questions.get().is_none() {
            let (sender, questions) = bounded(PASSWORDS_WAITING_MAX);
            let hashes = Arc::clone(&self.hashes);
            let compare = move || answer_all(&questions, &hashes);
            match thread::Builder::new().name("passwords".to_owned()).spawn(compare) {
                // Of two shards that begin at once one has its way, and the other's thread ends.
                Ok(_) => drop(self.questions.set(sender)),
                Err(error) => error!("no password can be compared: no thread could be started: {error}"),
            }
        }
        self.questions.get()
    }
}

/// Until nobody can ask any more.
fn answer_all(questions: &Receiver<Question>, hashes: &[BcryptHash]) {
    while let Ok(Question { password, answer }) = questions.recv_blocking() {
        let began = Instant::now();
        let is_password = hashes.iter().any(|hash| hash.is_of(&password));
        // Who has asked may have gone.
        answer.try_send(is_password).ok();
        // Whoever sends passwords takes half of a core at most.
        thread::sleep(began.elapsed());
    }
}

fn unix_s() -> u64 {
    unix_ms() / 1000
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_lite::future::block_on;

    use super::*;

    /// Of `anchor-chain-7`, at the least cost there is.
    const HASH: &str = "$2b$04$abcdefghijklmnopqrstuuL8tEuEm5k13j1TRnf3yXLB05wO2Zisa";

    fn entry(keys: &[&str]) -> Entry {
        let keys: Vec<_> = keys.iter().map(|key| (*key).to_owned()).collect();
        Entry::new(&AdminPageSettings::new(&keys, false))
    }

    fn from(last: u8) -> Option<IpAddr> {
        Some([192, 0, 2, last].into())
    }

    #[test]
    fn a_password_is_one_of_the_keys_however_they_are_written() {
        let entry = entry(&["plain-1", HASH]);
        for (password, is_one) in [("plain-1", true), ("anchor-chain-7", true), (HASH, false), ("", false)] {
            assert_eq!(block_on(entry.check(Some(password), from(1))).is_ok(), is_one, "{password}");
        }
        assert!(block_on(entry.check(None, from(1))).is_err());
    }

    #[test]
    fn whoever_brings_wrong_passwords_is_not_listened_to_and_others_are() {
        let entry = entry(&["plain-1"]);
        for _ in 0..ADMIN_MISTAKES_MAX {
            assert!(block_on(entry.check(Some("plain-2"), from(1))).is_err());
        }
        let refused = block_on(entry.check(Some("plain-1"), from(1)));
        assert_eq!(refused, Err(REFUSED.into()));
        for other in [from(2), None] {
            assert_eq!(block_on(entry.check(Some("plain-1"), other)), Ok(()));
        }
    }

    #[test]
    fn a_right_password_forgives_and_so_does_time() {
        let (mut mistakes, now) = (Mistakes::default(), Instant::now());
        let mut tries = |count, found, now| {
            (0..count).for_each(|_| {
                mistakes.begin(from(1), now).expect("it is listened to");
                mistakes.end(from(1), found, now);
            });
            mistakes.begin(from(1), now).map(|()| mistakes.end(from(1), None, now)).is_ok()
        };
        assert!(tries(ADMIN_MISTAKES_MAX - 1, Some(false), now));
        assert!(tries(1, Some(true), now));
        assert!(!tries(ADMIN_MISTAKES_MAX, Some(false), now));
        assert!(tries(1, Some(false), now + Duration::from_secs(ADMIN_MISTAKEN_S)));
    }

    #[test]
    fn one_password_of_an_address_is_compared_at_a_time_and_so_many_addresses_are_kept() {
        let (mut mistakes, now) = (Mistakes::default(), Instant::now());
        assert_eq!(mistakes.begin(from(1), now), Ok(()));
        assert_eq!(mistakes.begin(from(1), now), Err(BUSY.into()));
        for number in 0..2 * ADMIN_ADDRESSES_MAX as u32 {
            let later = now + Duration::from_millis(1);
            mistakes.begin(Some(IpAddr::V4(number.into())), later).expect("it is listened to");
        }
        assert_eq!(mistakes.0.len(), ADMIN_ADDRESSES_MAX);
    }

    #[test]
    fn when_too_many_wait_nobody_is_taken_for_wrong() {
        let comparer = Comparer { hashes: [].into(), questions: OnceLock::new() };
        let (sender, _waiting) = bounded(1);
        comparer.questions.set(sender.clone()).expect("nobody has begun");
        let (answer, _) = bounded(1);
        sender.try_send(Question { password: String::new(), answer }).expect("there is room for one");
        assert_eq!(block_on(comparer.is_password("any")), None);
    }
}
