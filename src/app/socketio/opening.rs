//! What an application says about the request that opens a session: whether it may, and what the answer's head holds.

use std::{cell::RefCell, fmt, rc::Rc, time::Duration};

use super::{Settings, told::FAILED};
use crate::app::{Request, Response, guard::guarded};

/// The application's say about requests that open a session.
#[derive(Default)]
pub(super) struct Opening {
    allow: RefCell<Option<Rc<Allow>>>,
    headers: RefCell<Option<Rc<Headers>>>,
    /// Those of every answer, not only of the first.
    headers_of_all: RefCell<Option<Rc<Headers>>>,
    cookie: RefCell<Option<Rc<Cookie>>>,
}

impl Opening {
    /// The application ends.
    pub(super) fn end(&self) {
        drop((self.allow.take(), self.headers.take(), self.cookie.take()));
    }
}

type Allow = dyn Fn(&Request<'_>) -> Result<(), String>;
type Headers = dyn Fn(&Request<'_>) -> Vec<(String, String)>;

/// A cookie with the session's id, for load balancers that want one. This server needs none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// Its name.
    pub name: String,
    /// The path it is for.
    pub path: String,
    /// Whether scripts cannot read it.
    pub http_only: bool,
    /// Whether it is sent only over TLS.
    pub secure: bool,
    /// On which requests of other sites it is sent.
    pub same_site: SameSite,
    /// How long it is kept; without, as long as the browser runs.
    pub max_age: Option<Duration>,
}

/// On which requests of other sites a cookie is sent (RFC 6265bis §5.6.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    /// On none.
    Strict,
    /// When one of their links is followed.
    Lax,
    /// On all; browsers ask for `secure` then.
    None,
}

impl Default for Cookie {
    /// As Socket.IO has it when only a name is given.
    fn default() -> Self {
        Self {
            name: "io".into(),
            path: "/".into(),
            http_only: true,
            secure: false,
            same_site: SameSite::Lax,
            max_age: None,
        }
    }
}

impl Opening {
    pub(super) fn set_allow(&self, allow: impl Fn(&Request<'_>) -> Result<(), String> + 'static) {
        drop(self.allow.replace(Some(Rc::new(allow))));
    }

    pub(super) fn set_headers(&self, headers: impl Fn(&Request<'_>) -> Vec<(String, String)> + 'static) {
        drop(self.headers.replace(Some(Rc::new(headers))));
    }

    pub(super) fn set_headers_of_all(
        &self,
        headers: impl Fn(&Request<'_>) -> Vec<(String, String)> + 'static,
    ) {
        drop(self.headers_of_all.replace(Some(Rc::new(headers))));
    }

    /// The header fields to add to the answer to any request.
    pub(super) fn fields_of(&self, request: &Request<'_>) -> String {
        let Some(headers) = self.headers_of_all.borrow().clone() else { return String::new() };
        let fields = guarded("headers", || headers(request)).unwrap_or_default();
        let add = |answer: Response, (name, value): (String, String)| answer.with_field(&name, &value);
        fields.into_iter().fold(Response::empty(200), add).fields
    }

    pub(super) fn set_cookie(&self, cookie: Cookie) {
        self.cookie.replace(Some(Rc::new(cookie)));
    }

    /// The header fields to add to the answer, or why there is no session.
    pub(super) fn judge(
        &self,
        request: &Request<'_>,
        sid: &str,
        settings: &Settings,
    ) -> Result<String, String> {
        let (allow, headers) = (self.allow.borrow().clone(), self.headers.borrow().clone());
        if let Some(allow) = allow {
            guarded("allow_request", || allow(request)).unwrap_or_else(|| Err(FAILED.into()))?;
        }
        let mut answer = Response::empty(200);
        let fields = match headers {
            Some(headers) => guarded("initial_headers", || headers(request)).ok_or(FAILED)?,
            None => Vec::new(),
        };
        for (name, value) in fields {
            answer = answer.with_field(&name, &value);
        }
        match &*self.cookie.borrow() {
            Some(cookie) => answer = answer.with_field("Set-Cookie", &cookie.value(sid)),
            None => answer.fields += &settings.cookie_field(sid).unwrap_or_default(),
        }
        Ok(answer.fields)
    }
}

impl Cookie {
    fn value(&self, sid: &str) -> String {
        let Self { name, path, same_site, .. } = self;
        let max_age = self.max_age.map(|age| format!("; Max-Age={}", age.as_secs())).unwrap_or_default();
        let http_only = if self.http_only { "; HttpOnly" } else { "" };
        let secure = if self.secure { "; Secure" } else { "" };
        format!("{name}={sid}{max_age}; Path={path}{http_only}{secure}; SameSite={same_site:?}")
    }
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening").field("cookie", &self.cookie).finish_non_exhaustive()
    }
}
