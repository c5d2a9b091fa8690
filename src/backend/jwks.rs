//! Sets of an issuer's public keys, fetched by their address: at the start, each hour, and when a token names a key that is
//! not among them. The last good set is kept, whatever comes after it.
//!
//! Invariant: tokens with keys that nobody has cause at most one fetch in `refetch_s`.

use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use async_channel::Receiver;
use async_io::Timer;
use futures_lite::future;
use tracing::{info, warn};

use super::{
    client::{Call, Client},
    desk::{FetchedKeys, Outlet},
    target::Target,
};
use crate::{
    auth::TokenKey,
    limits::{JWKS_INTERVAL_S, JWKS_TIMEOUT_MS, TOKEN_KEY_BYTES_MAX},
};

/// Where an issuer's keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySet {
    /// Whose.
    pub issuer: Box<str>,
    /// The address, as the operator wrote it.
    pub url: Box<str>,
    /// The same, read.
    pub target: Target,
}

/// Fetches a set again and again, until the last desk has gone.
pub(super) async fn keep(
    client: Rc<Client>,
    set: KeySet,
    refetch_s: u32,
    wanted: Receiver<()>,
    outlets: &[Outlet],
) {
    let refetch = Duration::from_secs(refetch_s.into());
    let mut is_well = true;
    loop {
        let begun = Instant::now();
        match fetch(&client, &set).await {
            Ok(keys) => {
                if !is_well {
                    info!("the keys at {} can be fetched again", set.url);
                }
                is_well = true;
                let keys: Arc<[TokenKey]> = keys.into();
                for outlet in outlets {
                    let (issuer, url) = (set.issuer.clone(), set.url.clone());
                    outlet.tell_keys(FetchedKeys { issuer, url, keys: Arc::clone(&keys) });
                }
            }
            Err(why) => {
                if is_well {
                    warn!("the keys at {} cannot be fetched; those that are known go on: {why}", set.url);
                }
                is_well = false;
            }
        }
        let pause = if is_well { Duration::from_secs(JWKS_INTERVAL_S) } else { refetch };
        let passed = async {
            Timer::at(begun + pause).await;
            true
        };
        // A token names a key that is not among them; not before the time has passed.
        let asked = async {
            let is_asked = wanted.recv().await.is_ok();
            Timer::at(begun + refetch).await;
            is_asked
        };
        if !future::or(passed, asked).await || wanted.is_closed() {
            return;
        }
    }
}

async fn fetch(client: &Client, set: &KeySet) -> Result<Vec<TokenKey>, String> {
    let call =
        Call { target: &set.target, fields: "", body: None, answer_bytes_max: TOKEN_KEY_BYTES_MAX as u32 };
    let deadline = Instant::now() + Duration::from_millis(JWKS_TIMEOUT_MS);
    let received = client.call(&call, deadline).await.map_err(|error| error.to_string())?;
    match received.status {
        200 => TokenKey::set(Some(&set.issuer), &received.body).map_err(|error| error.to_string()),
        status => Err(format!("the answer has status {status}")),
    }
}
