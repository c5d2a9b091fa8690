//! Keys of issuers that are fetched: at the start, again when a token names another, and never more often than they may be.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::{
    backend::{Backend, Reaction},
    permissions::TemporaryFile,
    server::{Server, await_that, program},
    tokens::{self, now_s},
};

const ISSUER: &str = "https://login.example";

/// A key of an issuer.
struct Key {
    kid: &'static str,
    private: EncodingKey,
    public: Value,
}

impl Key {
    fn new(kid: &'static str) -> Self {
        let pair = rcgen::KeyPair::generate().expect("a key on P-256");
        let private = EncodingKey::from_ec_der(pair.serialized_der());
        let (x, y) = pair.public_key_raw()[1..].split_at(32);
        let [x, y] = [x, y].map(|part| URL_SAFE_NO_PAD.encode(part));
        let public = json!({"kty": "EC", "crv": "P-256", "kid": kid, "use": "sig", "x": x, "y": y});
        Self { kid, private, public }
    }

    /// A good token that gives the history of `news`, as header fields.
    fn token(&self) -> String {
        let header = Header { kid: Some(self.kid.into()), ..Header::new(Algorithm::ES256) };
        let claims = json!({
            "iss": ISSUER, "aud": "roadstead", "sub": "42", "exp": now_s() + 600, "allow": {"history": ["news"]},
        });
        let token = jsonwebtoken::encode(&header, &claims, &self.private).expect("it can sign");
        format!("Authorization: Bearer {token}\r\n")
    }
}

fn server(name: &str, backend: &Backend, refetch_s: u32) -> Server {
    let url = format!("http://{}/keys", backend.address.expect("it has a port"));
    let text = format!(
        "[auth]\naudience = \"roadstead\"\njwks_refetch_s = {refetch_s}\n[[token_key]]\nissuer = \"{ISSUER}\"\n\
         algorithm = \"JWKS\"\nurl = \"{url}\"\n"
    );
    let file = TemporaryFile::holding(&format!("jwks-{name}.toml"), &text);
    let mut command = Server::command(2, &["127.0.0.1:0"], &[]);
    Server::launch(command.args(["--config", file.path()]))
}

#[track_caller]
fn code(server: &Server, fields: &str) -> Option<String> {
    let answer = server.connect().request("GET", "/channels/news/history", fields, b"");
    (answer.status != 200).then(|| answer.error_code())
}

#[test]
fn keys_are_fetched_at_the_start_again_when_they_change_and_the_last_good_ones_are_kept() {
    let (first, second) = (Key::new("first"), Key::new("second"));
    let set = Arc::new(Mutex::new(Some(json!({"keys": [first.public]}))));
    let served = Arc::clone(&set);
    let backend = Backend::start(move |asked| {
        assert!(asked.head.starts_with("GET /keys HTTP/1.1\r\n"), "{}", asked.head);
        match served.lock().expect("nobody panics here").clone() {
            Some(set) => Reaction::Json(set),
            None => Reaction::Status(500, String::new()),
        }
    });
    let server = server("rotated", &backend, 1);
    await_that("the keys are there", || code(&server, &first.token()).is_none());
    // An issuer makes a new key and goes on with it.
    *set.lock().expect("nobody panics here") = Some(json!({"keys": [first.public, second.public]}));
    await_that("the new one counts", || code(&server, &second.token()).is_none());
    *set.lock().expect("nobody panics here") = None;
    let calls = backend.calls();
    let unknown = Key::new("third").token();
    await_that("it is asked in vain", || {
        assert!(code(&server, &unknown).is_some());
        backend.calls() > calls
    });
    for key in [&first, &second] {
        assert_eq!(code(&server, &key.token()), None, "{}", key.kid);
    }
    // What is no set changes nothing either.
    *set.lock().expect("nobody panics here") = Some(json!({"keys": []}));
    let calls = backend.calls();
    await_that("it is asked again", || code(&server, &unknown).is_some() && backend.calls() > calls + 1);
    assert_eq!(code(&server, &first.token()), None);
    // And one that takes a key away takes it from everybody.
    *set.lock().expect("nobody panics here") = Some(json!({"keys": [second.public]}));
    await_that("it is gone", || code(&server, &unknown).is_some() && code(&server, &first.token()).is_some());
    assert_eq!(code(&server, &second.token()), None);
    server.signal("HUP");
    await_that("the configuration is read again", || server.log().contains("was read again"));
    assert_eq!(code(&server, &second.token()), None, "what was fetched stays");
}

#[test]
fn a_user_of_one_issuer_is_not_that_of_another_with_the_same_name() {
    let key = Key::new("theirs");
    let set = json!({"keys": [key.public]});
    let backend = Backend::start(move |_| Reaction::Json(set.clone()));
    let url = format!("http://{}/keys", backend.address.expect("it has a port"));
    let text = format!(
        "[auth]\naudience = \"roadstead\"\nhs256_keys = [\"{}\"]\n[[token_key]]\nissuer = \"{ISSUER}\"\n\
         algorithm = \"JWKS\"\nurl = \"{url}\"\nuser_prefix = \"login-\"\n\
         [[namespace]]\npattern = \"user:{{sub}}\"\nhistory = \"token\"\n",
        tokens::SECRET
    );
    let file = TemporaryFile::holding("jwks-users.toml", &text);
    let mut command = Server::command(2, &["127.0.0.1:0"], &[]);
    let server = Server::launch(command.args(["--config", file.path()]));
    let status = |channel: &str, fields: &str| {
        server.connect().request("GET", &format!("/channels/{channel}/history"), fields, b"").status
    };
    await_that("the keys are there", || status("user:login-42", &key.token()) == 200);
    assert_eq!(status("user:42", &key.token()), 403);
    let ours = format!("Authorization: Bearer {}\r\n", tokens::make(&json!({"aud": "roadstead"})));
    assert_eq!((status("user:42", &ours), status("user:login-42", &ours)), (200, 403));
}

#[test]
fn a_flood_of_tokens_with_unknown_keys_causes_no_more_fetches_than_may_be() {
    let key = Key::new("known");
    let set = json!({"keys": [key.public]});
    let backend = Backend::start(move |_| Reaction::Json(set.clone()));
    let server = server("flood", &backend, 600);
    await_that("the keys are there", || code(&server, &key.token()).is_none());
    for _ in 0..300 {
        let told = code(&server, &Key { kid: "unknown", ..Key::new("x") }.token()).expect("it is refused");
        assert!(["token_keys_pending", "token_key_unknown"].contains(&&*told), "{told}");
    }
    assert_eq!(backend.calls(), 1);
    await_that("it is told for good", || {
        code(&server, &Key::new("unknown").token()).as_deref() == Some("token_key_unknown")
    });
    assert_eq!(code(&server, &key.token()), None, "who is known is not kept out");
    // Another issuer's token is no reason to ask.
    assert_eq!(backend.calls(), 1);
}

#[test]
fn until_the_keys_are_there_nobody_gets_in_and_everybody_is_told_to_come_again() {
    let key = Key::new("late");
    let (set, is_there) = (json!({"keys": [key.public]}), Arc::new(AtomicBool::new(false)));
    let is_served = Arc::clone(&is_there);
    let backend = Backend::start(move |_| match is_served.load(Ordering::SeqCst) {
        true => Reaction::Json(set.clone()),
        false => Reaction::Endless,
    });
    let server = server("late", &backend, 1);
    backend.asked();
    let answer = server.connect().request("GET", "/channels/news/history", &key.token(), b"");
    assert_eq!((answer.status, &*answer.error_code()), (503, "token_keys_pending"));
    assert_eq!(answer.field("retry-after"), Some("1"));
    is_there.store(true, Ordering::SeqCst);
    await_that("they are there", || code(&server, &key.token()).is_none());
    assert!(server.log().contains("cannot be fetched") && server.log().contains("can be fetched again"));
}

#[test]
fn keys_that_anybody_on_the_way_could_pass_are_refused_at_the_start() {
    for (rest, told) in [
        ("url = \"http://login.example/keys\"\nalgorithm = \"JWKS\"", "without TLS anybody on the way"),
        ("url = \"login.example\"\nalgorithm = \"JWKS\"", "a backend's address is"),
        ("url = \"https://login.example/keys\"\nalgorithm = \"ES256\"", "at a url is a set of keys"),
        (
            "url = \"https://login.example/keys\"\nalgorithm = \"JWKS\"\nfile = \"x\"",
            "at a url is a set of keys",
        ),
    ] {
        let text = format!("[auth]\naudience = \"roadstead\"\n[[token_key]]\nissuer = \"a\"\n{rest}\n");
        let file = TemporaryFile::holding("jwks-refused.toml", &text);
        let output = program().args(["config", "check", file.path()]).output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(told), "{said}");
    }
}
