//! What operators may do on the admin listener that others may not: look behind the scenes, and shut somebody out.
//!
//! Whoever reaches a listener on a loopback address is an operator, unless there are keys for them. Beyond it nobody is
//! without a key. Health and metrics are for programs that have none, and say nothing of anybody.

use serde::Deserialize;

use super::{
    ChannelServer, Refusal, Settings, pending::Outcome, publish::refuse_other_than_json, route::AdminRoute,
};
use crate::{
    app::{Context, Request, Response},
    auth::{PublishKey, Revocation},
    limits::USER_BYTES_MAX,
};

/// Who is an operator.
#[derive(Debug)]
pub(super) struct Operators {
    keys: Vec<PublishKey>,
    /// Whether whoever reaches the listener is one.
    is_everybody: bool,
}

/// Whom to shut out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RevokeRequest {
    user: Option<String>,
    token: Option<String>,
}

impl Operators {
    /// The operator's words have been checked.
    pub(super) fn new(settings: &Settings) -> Self {
        let keys: Vec<_> =
            settings.admin_keys.iter().filter_map(|text| PublishKey::parse(text).ok()).collect();
        Self { is_everybody: settings.admin_is_local && keys.is_empty(), keys }
    }

    /// Refuses who may not ask for a resource of the admin listener.
    pub(super) fn check(&self, request: &Request<'_>, route: AdminRoute) -> Result<(), Refusal> {
        match route {
            AdminRoute::Index | AdminRoute::Metrics | AdminRoute::Healthz | AdminRoute::Readyz => {
                return Ok(());
            }
            // The page says nothing before it has shown a key.
            AdminRoute::Dashboard => return Ok(()),
            AdminRoute::Shards | AdminRoute::Config | AdminRoute::Revoke => {}
            AdminRoute::Reload | AdminRoute::Upgrade => {}
            AdminRoute::DashboardLive => refuse_other_pages(request)?,
        }
        // A page of another site could send this from an operator's browser; no program of an operator has an origin.
        if route == AdminRoute::Revoke && request.header("origin").is_some() {
            return Err(Refusal::Origin);
        }
        if self.is_everybody {
            return Ok(());
        }
        let digest = PublishKey::digest_of(request.bearer().ok_or(Refusal::OperatorUnknown)?);
        // Compares with every key to the end.
        let found = self.keys.iter().filter(|key| key.is(&digest)).count();
        if found > 0 { Ok(()) } else { Err(Refusal::OperatorWrong) }
    }
}

/// A page of another site cannot read what is answered here, but could take the places of those who may: browsers say
/// where a request comes from (Fetch Metadata), with an origin or without one.
fn refuse_other_pages(request: &Request<'_>) -> Result<(), Refusal> {
    let is_other =
        request.header("sec-fetch-site").is_some_and(|site| !matches!(site, b"same-origin" | b"none"));
    if is_other || request.header("origin").is_some() { Err(Refusal::Origin) } else { Ok(()) }
}

impl ChannelServer {
    /// `POST /auth/revoke`
    pub(super) fn revoke(&self, cx: &mut Context<'_>, request: &Request<'_>) -> Result<Outcome, Refusal> {
        refuse_other_than_json(request)?;
        let asked: RevokeRequest =
            serde_json::from_slice(request.body).map_err(|_| Refusal::RevocationInvalid)?;
        let now_s = cx.now.unix_ms / 1000;
        let until_s = now_s + self.settings.token_lifetime_s;
        let is_name = |name: &str| (1..=USER_BYTES_MAX).contains(&name.len());
        let revocation = match (asked.user, asked.token) {
            (Some(user), None) if is_name(&user) => Revocation::of_user(&user, now_s, until_s),
            (None, Some(id)) if is_name(&id) => Revocation::of_token(&id, until_s),
            _ => return Err(Refusal::RevocationInvalid),
        };
        cx.revoke(revocation);
        Ok(Response::json(202, b"{\"accepted\":true}".to_vec()).into())
    }
}
