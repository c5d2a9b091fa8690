//! Which resource a request target names, and which methods it takes. What a resource answers is elsewhere.
//!
//! Invariant: a path is split at its slashes before anything in it is decoded, so `%2F` is part of a name.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::{Refusal, client_script::ClientScript, manual::Leaf};
use crate::{
    app::Method,
    model::{ChannelName, Misspelt},
};

/// Whether a path is one of those by which clients that speak no Socket.IO follow channels and publish to them.
pub(crate) fn is_of_channels(path: &str) -> bool {
    matches!(path, "/ws" | "/channels" | "/events" | "/publish") || path.starts_with("/channels/")
}

/// One of the demo's pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DemoPage {
    Front,
    Chat,
    Lobby,
}

/// What becomes of the demo's crowd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CrowdOrder {
    Open,
    Say,
    Close,
}

/// A resource of the public listener, or of the admin listener. Names of channels are still percent-encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    Demo(DemoPage),
    DemoStats,
    /// How the demo's crowd is.
    Crowd,
    /// What becomes of it.
    CrowdOrder(CrowdOrder),
    Hello,
    Echo,
    Commands,
    Publish,
    Channels,
    Channel(&'a str),
    /// Several channels at once.
    Events,
    History(&'a str),
    Info(&'a str),
    /// Who is there.
    Presence(&'a str),
    /// The keys of a channel.
    State(&'a str),
    /// One of them.
    StateKey(&'a str, &'a str),
    Counter(&'a str, &'a str),
    /// A file of the Socket.IO client.
    ClientScript(&'a str),
    SocketsHelp,
    SocketsEmit,
    Sockets,
    Admin(AdminRoute),
    /// A page of the manual, on both listeners.
    Manual(Leaf),
    /// `OPTIONS *` asks about the server as a whole (RFC 9110 §9.3.7).
    Server,
}

/// A resource of the admin listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AdminRoute {
    Index,
    Metrics,
    Healthz,
    Readyz,
    Shards,
    Config,
    /// The page.
    Dashboard,
    /// What it is told, once a second.
    DashboardLive,
    Reload,
    Upgrade,
    Revoke,
}

/// The methods a resource takes. All take OPTIONS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Methods {
    /// Reading.
    GetHead,
    /// Connecting; a WebSocket's handshake is a GET (RFC 6455 §4.1).
    Get,
    /// Publishing.
    Post,
    /// Both.
    GetHeadPost,
    /// Reading, setting, removing.
    GetHeadPutDelete,
    /// Nothing but OPTIONS.
    None,
}

impl<'a> Route<'a> {
    /// The resource that `target` names on one of the two listeners; `socketio_path` is where Socket.IO is served, if
    /// it is.
    pub(super) fn find(target: &'a str, is_admin: bool, socketio_path: Option<&str>) -> Option<Self> {
        if target == "*" {
            return Some(Self::Server);
        }
        let path = path_of(target);
        if let Some(leaf) = Leaf::find(path) {
            return Some(Self::Manual(leaf));
        }
        match is_admin {
            true => AdminRoute::find(path).map(Self::Admin),
            false => Self::find_public(path).or_else(|| Self::find_socketio(path, socketio_path?)),
        }
    }

    fn find_public(path: &'a str) -> Option<Self> {
        match path {
            "/" => return Some(Self::Demo(DemoPage::Front)),
            "/demo/chat" => return Some(Self::Demo(DemoPage::Chat)),
            "/demo/lobby" => return Some(Self::Demo(DemoPage::Lobby)),
            "/hello" => return Some(Self::Hello),
            "/echo" => return Some(Self::Echo),
            "/ws" => return Some(Self::Commands),
            "/publish" => return Some(Self::Publish),
            "/channels" => return Some(Self::Channels),
            "/events" => return Some(Self::Events),
            "/demo/stats" => return Some(Self::DemoStats),
            "/demo/crowd" => return Some(Self::Crowd),
            "/demo/crowd/open" => return Some(Self::CrowdOrder(CrowdOrder::Open)),
            "/demo/crowd/say" => return Some(Self::CrowdOrder(CrowdOrder::Say)),
            "/demo/crowd/close" => return Some(Self::CrowdOrder(CrowdOrder::Close)),
            _ => {}
        }
        let below = path.strip_prefix("/channels/")?;
        match below.split_once('/') {
            None => Some(Self::Channel(below)),
            Some((name, "history")) => Some(Self::History(name)),
            Some((name, "info")) => Some(Self::Info(name)),
            Some((name, "presence")) => Some(Self::Presence(name)),
            Some((name, "state")) => Some(Self::State(name)),
            Some((name, rest)) => match rest.split_once('/') {
                Some(("state", key)) if !key.contains('/') => Some(Self::StateKey(name, key)),
                Some(("counters", key)) if !key.contains('/') => Some(Self::Counter(name, key)),
                Some(_) | None => None,
            },
        }
    }

    /// Clients of Socket.IO never get here: the shard takes their requests.
    fn find_socketio(path: &'a str, socketio_path: &str) -> Option<Self> {
        match path {
            "/socket.io-api" | "/socket.io-api/" => Some(Self::SocketsHelp),
            "/socket.io-api/emit" => Some(Self::SocketsEmit),
            "/socket.io-api/sockets" => Some(Self::Sockets),
            _ => {
                let name = path.strip_prefix(socketio_path)?;
                ClientScript::knows(name).then_some(Self::ClientScript(name))
            }
        }
    }

    /// Parameters of the address that mean something. Others are ignored, as those of caches, unless one of these must
    /// have been meant.
    fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::Channel(_) => &["since", "timeout", "lastEventId", "key", "event", "state", "presence"],
            Self::Events => &["channel", "since", "timeout", "lastEventId", "state", "presence"],
            Self::History(_) => &["since", "limit"],
            Self::State(_) | Self::Presence(_) => &["after", "limit"],
            Self::StateKey(..) | Self::Counter(..) => &["ttl_ms"],
            Self::Channels => &["prefix", "limit"],
            Self::Commands => &["key"],
            Self::Sockets => &["namespace", "room", "except", "limit"],
            Self::Demo(_) | Self::DemoStats | Self::Hello | Self::Echo | Self::Publish | Self::Info(_) => &[],
            Self::ClientScript(_) | Self::SocketsHelp | Self::SocketsEmit => &[],
            Self::Crowd | Self::CrowdOrder(_) => &[],
            Self::Admin(_) | Self::Manual(_) | Self::Server => &[],
        }
    }

    /// Refuses an address with a parameter that is misspelt: without it the answer would be to another question.
    pub(super) fn check_parameters(self, target: &str) -> Result<(), Refusal> {
        let Some((_, query)) = target.split_once('?') else { return Ok(()) };
        let known = self.parameters();
        for (name, _) in form_urlencoded::parse(query.as_bytes()) {
            let misspelt = (!known.contains(&&*name)).then(|| Misspelt::new(&name, known));
            if let Some(misspelt) = misspelt.filter(Misspelt::is_near) {
                return Err(Refusal::Parameter(misspelt));
            }
        }
        Ok(())
    }

    /// The methods the resource takes.
    pub(super) fn methods(self) -> Methods {
        match self {
            Self::Demo(_) | Self::DemoStats | Self::Hello | Self::Channels | Self::Events => Methods::GetHead,
            Self::Crowd => Methods::GetHead,
            Self::History(_) | Self::Info(_) | Self::ClientScript(_) => Methods::GetHead,
            Self::SocketsHelp | Self::Manual(_) | Self::State(_) | Self::Presence(_) => Methods::GetHead,
            Self::Echo | Self::Commands | Self::Admin(AdminRoute::DashboardLive) => Methods::Get,
            Self::Publish | Self::SocketsEmit | Self::Counter(..) | Self::CrowdOrder(_) => Methods::Post,
            Self::Admin(AdminRoute::Reload | AdminRoute::Upgrade | AdminRoute::Revoke) => Methods::Post,
            Self::StateKey(..) => Methods::GetHeadPutDelete,
            Self::Channel(_) | Self::Sockets => Methods::GetHeadPost,
            Self::Admin(_) => Methods::GetHead,
            Self::Server => Methods::None,
        }
    }
}

impl AdminRoute {
    fn find(path: &str) -> Option<Self> {
        Some(match path {
            "/" => Self::Index,
            "/metrics" => Self::Metrics,
            "/healthz" => Self::Healthz,
            "/readyz" => Self::Readyz,
            "/shards" => Self::Shards,
            "/config" => Self::Config,
            "/dashboard" => Self::Dashboard,
            "/dashboard/live" => Self::DashboardLive,
            "/reload" => Self::Reload,
            "/upgrade" => Self::Upgrade,
            "/auth/revoke" => Self::Revoke,
            _ => return None,
        })
    }
}

impl Methods {
    /// As `Allow` lists them.
    pub fn listed(self) -> &'static str {
        match self {
            Self::GetHead => "GET, HEAD, OPTIONS",
            Self::Get => "GET, OPTIONS",
            Self::Post => "POST, OPTIONS",
            Self::GetHeadPost => "GET, HEAD, POST, OPTIONS",
            Self::GetHeadPutDelete => "GET, HEAD, PUT, DELETE, OPTIONS",
            Self::None => "OPTIONS",
        }
    }

    /// Whether `method` is among them.
    pub fn include(self, method: Method) -> bool {
        match method {
            Method::Options => true,
            Method::Get => !matches!(self, Self::Post | Self::None),
            Method::Head => !matches!(self, Self::Get | Self::Post | Self::None),
            Method::Post => matches!(self, Self::Post | Self::GetHeadPost),
            Method::Put | Method::Delete => matches!(self, Self::GetHeadPutDelete),
            Method::Patch => false,
        }
    }
}

/// Decodes and checks the name of a channel from a path.
pub(super) fn channel_name(encoded: &str, bytes_max: u16) -> Result<ChannelName, Refusal> {
    Ok(ChannelName::new(&percent_decoded(encoded)?, bytes_max.into())?)
}

/// Decodes a segment of a path.
pub(super) fn percent_decoded(encoded: &str) -> Result<Cow<'_, str>, Refusal> {
    let bytes = encoded.as_bytes();
    let digit = |index: usize| bytes.get(index).is_some_and(u8::is_ascii_hexdigit);
    let is_sound = memchr::memchr_iter(b'%', bytes).all(|index| digit(index + 1) && digit(index + 2));
    let decoded = percent_decode_str(encoded).decode_utf8();
    match (is_sound, decoded) {
        (true, Ok(text)) => Ok(text),
        (false, _) | (_, Err(_)) => Err(Refusal::PathEncoding),
    }
}

/// A query parameter; what does not belong to any resource is ignored.
pub(super) fn query<'a>(target: &'a str, name: &str) -> Option<Cow<'a, str>> {
    let (_, query) = target.split_once('?')?;
    form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value)
}

/// All values of a query parameter, in their order.
pub(super) fn queries<'a>(target: &'a str, name: &'static str) -> impl Iterator<Item = Cow<'a, str>> {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    form_urlencoded::parse(query.as_bytes()).filter(move |(key, _)| key == name).map(|(_, value)| value)
}

/// The path of a target in origin form, or in the absolute form every server must take (RFC 9112 §3.2.2).
fn path_of(target: &str) -> &str {
    let target = target.split('?').next().unwrap_or(target);
    let scheme_length = "http://".len();
    match target.get(..scheme_length) {
        Some(scheme) if scheme.eq_ignore_ascii_case("http://") => {
            let rest = &target[scheme_length..];
            rest.find('/').map_or("/", |slash| &rest[slash..])
        }
        Some(_) | None => target,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_split_before_they_are_decoded() {
        let find = |target| Route::find(target, false, None);
        assert_eq!(find("/channels/a%2Fb?since=1:1"), Some(Route::Channel("a%2Fb")));
        assert_eq!(find("/channels/a/b"), None);
        assert_eq!(find("/channels/history"), Some(Route::Channel("history")));
        assert_eq!(find("/channels/a/history?limit=1"), Some(Route::History("a")));
        assert_eq!(find("/channels/a%2Finfo"), Some(Route::Channel("a%2Finfo")));
        assert_eq!(find("/channels/a/info"), Some(Route::Info("a")));
        assert_eq!(find("/channels/a/info/"), None);
        assert_eq!(find("/channels/a%2Fb/state"), Some(Route::State("a%2Fb")));
        assert_eq!(find("/channels/a/state/k%2Fl?ttl_ms=1"), Some(Route::StateKey("a", "k%2Fl")));
        assert_eq!(find("/channels/a/state/"), Some(Route::StateKey("a", "")));
        assert_eq!(find("/channels/a/counters/sold"), Some(Route::Counter("a", "sold")));
        for target in ["/channels/a/counters", "/channels/a/state/k/l", "/channels/a/counters/k/l"] {
            assert_eq!(find(target), None, "{target}");
        }
        assert_eq!(find("/channels/"), Some(Route::Channel("")));
        assert_eq!(find("/channels?prefix=a/b"), Some(Route::Channels));
        assert_eq!(find("/events?channel=a&channel=b"), Some(Route::Events));
        assert_eq!(find("//"), None);
        assert_eq!(find("/Hello"), None);
    }

    #[test]
    fn the_absolute_form_names_the_same_resources() {
        let find = |target| Route::find(target, false, None);
        assert_eq!(find("HTTP://host:80/hello?x"), Some(Route::Hello));
        assert_eq!(find("http://host"), Some(Route::Demo(DemoPage::Front)));
        assert_eq!(find("http://host?x=/hello"), Some(Route::Demo(DemoPage::Front)));
        assert_eq!(find("*"), Some(Route::Server));
    }

    #[test]
    fn each_listener_serves_its_own_resources() {
        assert_eq!(Route::find("/metrics", true, None), Some(Route::Admin(AdminRoute::Metrics)));
        assert_eq!(Route::find("/metrics", false, None), None);
        assert_eq!(Route::find("/channels", true, None), None);
        for is_admin in [false, true] {
            let find = |target| Route::find(target, is_admin, None);
            assert_eq!(find("/manual/ws?x"), Some(Route::Manual(Leaf::Page("ws"))));
            assert_eq!(find("/manual/"), Some(Route::Manual(Leaf::Index)));
            assert_eq!(find("/manual"), Some(Route::Manual(Leaf::WithoutSlash)));
            for target in ["/manual/nothing", "/manual/ws/", "/manuals", "/manual/ws.md"] {
                assert_eq!(find(target), None, "{target}");
            }
        }
        assert_eq!(Route::find("/socket.io-api/emit", true, Some("/socket.io/")), None);
    }

    #[test]
    fn a_misspelt_parameter_is_refused_and_one_of_somebody_else_is_not() {
        let check = |target| {
            let route = Route::find(target, false, None).expect("a resource");
            route.check_parameters(target).map_err(|refusal| refusal.to_string())
        };
        let told = "there is no parameter \"sinse\"; did you mean \"since\"?";
        assert_eq!(check("/channels/a?timeout=1&sinse=1:1"), Err(told.to_owned()));
        assert!(check("/channels/a/history?limits=1").is_err());
        assert!(check("/ws?keys=x").is_err());
        assert!(check("/events?channels=a").is_err());
        assert!(check("/channels/a/state/k?ttl=5").is_err());
        for target in
            ["/channels/a?since=1:1&timeout=0&_=17", "/channels?prefix=a", "/hello?keys=x", "/channels/a"]
        {
            assert_eq!(check(target), Ok(()), "{target}");
        }
    }

    #[test]
    fn files_of_the_client_stand_below_the_path_of_socketio_and_nothing_else_does() {
        let find = |target| Route::find(target, false, Some("/live/"));
        assert_eq!(find("/live/socket.io.js?v=4"), Some(Route::ClientScript("socket.io.js")));
        assert_eq!(find("/live/socket.io.min.js.map"), Some(Route::ClientScript("socket.io.min.js.map")));
        for target in ["/live/", "/live/secrets.txt", "/live/x/socket.io.js", "/socket.io/socket.io.js"] {
            assert_eq!(find(target), None, "{target}");
        }
        assert_eq!(find("/socket.io-api/emit"), Some(Route::SocketsEmit));
        assert_eq!(Route::find("/socket.io-api/emit", false, None), None, "nothing is served over Socket.IO");
    }

    #[test]
    fn a_name_is_decoded_once_and_refused_when_it_is_no_text() {
        let name = |text| channel_name(text, 8).map(|name| name.as_str().to_owned());
        assert_eq!(name("a%2Fb").as_deref(), Ok("a/b"));
        assert_eq!(name("%2525").as_deref(), Ok("%25"));
        assert_eq!(name("a+b").as_deref(), Ok("a+b"));
        assert_eq!(name("%C3%A9").as_deref(), Ok("é"));
        assert!(matches!(name(""), Err(Refusal::ChannelName(_))));
        assert!(matches!(name("123456789"), Err(Refusal::ChannelName(_))));
        assert!(matches!(name("a%0Ab"), Err(Refusal::ChannelName(_))));
        for text in ["%", "%2", "%zz", "a%C3", "%+1"] {
            assert_eq!(name(text), Err(Refusal::PathEncoding), "{text}");
        }
    }
}
