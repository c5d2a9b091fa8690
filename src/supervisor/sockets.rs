//! The listening sockets: every shard's, bound before any shard starts.
//!
//! TCP: one socket per shard and address, which share the port (`SO_REUSEPORT`) so that the kernel spreads
//! connections over them. Unix: one socket per address, of which every shard has a duplicate. Every shard has the admin
//! listener, too, so that one that hangs does not silence it.
//!
//! A socket that was passed to the process (`passed.rs`) is shared like a Unix one.
//!
//! An address that is in use is tried for [`BIND_PATIENCE_MS`]: the kernel closes the rings of a program that has ended, and
//! with them what it listened on, moments after whoever waited for its end is told.
//!
//! The options of a listener are inherited by what it accepts, so no accepted connection costs a system call.

use std::{
    fmt, fs, io,
    net::SocketAddr,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use roadstead_tuning::{rules, setting};
use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};
use tracing::warn;

use super::passed::Passed;

use crate::{
    config::{Config, Endpoint, UnixOwner},
    limits::{BIND_AGAIN_MS, BIND_PATIENCE_MS, UNSENT_BYTES_MAX},
    shard::{Listener, Role},
};

/// What was bound.
pub(super) struct Sockets {
    /// The listeners of each shard.
    pub listeners: Vec<Vec<Listener>>,
    /// The public addresses, with the ports the kernel gave.
    pub public: Vec<Endpoint>,
    /// The admin address.
    pub admin: Option<Endpoint>,
    /// The addresses that send clients to those with TLS.
    pub redirect: Vec<Endpoint>,
    /// Removes the files of Unix sockets at the end.
    pub files: Vec<SocketFile>,
}

/// An address cannot be listened on.
#[derive(Debug)]
pub struct SocketError {
    /// The address.
    pub endpoint: Endpoint,
    /// Whom it would have served.
    pub role: Role,
    /// What was refused.
    pub step: SocketStep,
    /// What the kernel said.
    pub error: io::Error,
}

/// What it takes to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketStep {
    /// Making the socket and setting its options.
    Create,
    /// Taking the address.
    Bind,
    /// Letting connections in.
    Listen,
    /// Giving every shard its own descriptor of a Unix socket.
    Duplicate,
    /// Taking the place of a Unix socket nobody listens on any more.
    ReplaceStale,
    /// Giving the file of a Unix socket its owner and permissions.
    Own,
    /// Finding a use for a socket that was passed.
    Passed,
}

/// The file of a Unix socket; removed when the value is dropped, unless another program has put its own there.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    inode: u64,
}

type Refusal = (SocketStep, io::Error);

/// How sockets are made.
struct Making {
    shards: u16,
    backlog: u32,
    ipv6_only: bool,
    keep_alive: Option<TcpKeepalive>,
    user_timeout: Option<Duration>,
    unix_mode: Option<u32>,
    unix_owner: UnixOwner,
    /// Until when addresses that are in use are tried again.
    patient_until: Instant,
}

impl Making {
    fn of(config: &Config, shards: u16) -> Self {
        let server = &config.server;
        let keep_alive = (server.tcp_keep_alive_s > 0).then(|| {
            let silence = Duration::from_secs(server.tcp_keep_alive_s.into());
            let between = Duration::from_secs((server.tcp_keep_alive_s / 10).max(1).into());
            TcpKeepalive::new().with_time(silence).with_interval(between).with_retries(KEEP_ALIVE_RETRIES)
        });
        let timeout_ms = server.tcp_user_timeout_ms;
        Self {
            shards,
            backlog: server.backlog,
            ipv6_only: server.ipv6_only,
            keep_alive,
            user_timeout: (timeout_ms > 0).then(|| Duration::from_millis(timeout_ms.into())),
            unix_mode: config.unix_mode(),
            unix_owner: config.unix_owner(),
            patient_until: Instant::now() + Duration::from_millis(BIND_PATIENCE_MS),
        }
    }
}

/// How often a peer is asked whether it is there that does not answer.
const KEEP_ALIVE_RETRIES: u32 = 9;

/// Binds every address for every shard, but those of sockets that were passed.
pub(super) fn bind(config: &Config, shards: u16, mut passed: Passed) -> Result<Sockets, SocketError> {
    let (server, making) = (&config.server, Making::of(config, shards));
    let mut bound = Sockets {
        listeners: (0..shards).map(|_| Vec::new()).collect(),
        public: Vec::new(),
        admin: None,
        redirect: Vec::new(),
        files: Vec::new(),
    };
    for endpoint in &server.listen {
        let kind = (Role::Public, config.speaks_tls(endpoint));
        let address = bound.add(endpoint, kind, &making, &mut passed)?;
        bound.public.push(address);
    }
    for endpoint in &config.tls.redirect {
        let address = bound.add(endpoint, (Role::Redirect, false), &making, &mut passed)?;
        bound.redirect.push(address);
    }
    if let Some(endpoint) = &server.admin {
        let kind = (Role::Admin, config.admin_speaks_tls());
        bound.admin = Some(bound.add(endpoint, kind, &making, &mut passed)?);
    }
    passed.check_all_are_taken()?;
    Ok(bound)
}

impl Sockets {
    /// Binds an address for the first `shards` shards; tells the address with the port it got.
    fn add(
        &mut self,
        endpoint: &Endpoint,
        (role, speaks_tls): (Role, bool),
        making: &Making,
        passed: &mut Passed,
    ) -> Result<Endpoint, SocketError> {
        let passed = passed.take(endpoint);
        let is_passed = passed.is_some();
        let outcome = match (passed, endpoint) {
            (Some(socket), Endpoint::Tcp(_)) => set_options(&socket, making)
                .map_err(|error| (SocketStep::Create, error))
                .and_then(|()| shared(socket, making.shards))
                .map(|sockets| (sockets, endpoint.clone())),
            (Some(socket), Endpoint::Unix(_)) => {
                shared(socket, making.shards).map(|sockets| (sockets, endpoint.clone()))
            }
            (None, Endpoint::Tcp(address)) => patiently(making.patient_until, || bind_tcp(*address, making)),
            (None, Endpoint::Unix(path)) => {
                let bound = patiently(making.patient_until, || bind_unix(path, making));
                bound.map(|(sockets, file)| {
                    self.files.push(file);
                    (sockets, endpoint.clone())
                })
            }
        };
        let (sockets, bound) =
            outcome.map_err(|(step, error)| SocketError { endpoint: endpoint.clone(), role, step, error })?;
        for (listeners, socket) in self.listeners.iter_mut().zip(sockets) {
            let address = bound.to_string();
            listeners.push(Listener {
                socket: Arc::new(socket.into()),
                role,
                address,
                speaks_tls,
                is_passed,
            });
        }
        Ok(bound)
    }
}

/// Binds again and again until then, for as long as the address is in use.
fn patiently<T>(until: Instant, mut bind: impl FnMut() -> Result<T, Refusal>) -> Result<T, Refusal> {
    loop {
        match bind() {
            Err((SocketStep::Bind, error))
                if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < until =>
            {
                thread::sleep(Duration::from_millis(BIND_AGAIN_MS));
            }
            outcome => return outcome,
        }
    }
}

/// One socket per shard on the same port; for port 0 the kernel chooses one.
fn bind_tcp(address: SocketAddr, making: &Making) -> Result<(Vec<Socket>, Endpoint), Refusal> {
    // SO_REUSEPORT lets any process of the same user join a port, so a second server would quietly take half of the
    // first one's clients. A socket without it finds out whether somebody listens already.
    if address.port() != 0 {
        let probe = tcp_socket(address, making).map_err(|error| (SocketStep::Create, error))?;
        probe.bind(&address.into()).map_err(|error| (SocketStep::Bind, error))?;
    }
    // A socket whose port the kernel has chosen loses it when it stops listening, and is no member of the group when it
    // listens again: this one holds the port until the others have asked for it by name, and listens to nobody.
    let holder = bind_shared(address, making)?;
    let local = holder.local_addr().map_err(|error| (SocketStep::Bind, error))?;
    let bound = local.as_socket().expect("an IP socket has an IP address");
    let sockets: Vec<_> = (0..making.shards).map(|_| bind_shared(bound, making)).collect::<Result<_, _>>()?;
    for socket in &sockets {
        listen(socket, making.backlog)?;
    }
    Ok((sockets, Endpoint::Tcp(bound)))
}

/// A socket that shares its port with the others of this process.
fn bind_shared(address: SocketAddr, making: &Making) -> Result<Socket, Refusal> {
    let socket = tcp_socket(address, making).map_err(|error| (SocketStep::Create, error))?;
    socket.set_reuse_port(true).map_err(|error| (SocketStep::Create, error))?;
    socket.bind(&address.into()).map_err(|error| (SocketStep::Bind, error))?;
    Ok(socket)
}

fn tcp_socket(address: SocketAddr, making: &Making) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    set_options(&socket, making)?;
    if address.is_ipv6() {
        // True unless it is said otherwise, so that [::]:8080 and 0.0.0.0:8080 can be listened on together, and one alone
        // means itself.
        socket.set_only_v6(making.ipv6_only)?;
    }
    Ok(socket)
}

/// Sets what accepted connections inherit.
fn set_options(socket: &Socket, making: &Making) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
    if let Some(keep_alive) = &making.keep_alive {
        socket.set_tcp_keepalive(keep_alive)?;
    }
    match making.user_timeout {
        Some(_) => socket.set_tcp_user_timeout(making.user_timeout),
        None => Ok(()),
    }
}

fn listen(socket: &Socket, backlog: u32) -> Result<(), Refusal> {
    let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
    socket.listen(backlog).map_err(|error| (SocketStep::Listen, error))
}

/// One socket, and a duplicate of it for every shard but the first.
fn bind_unix(path: &Path, making: &Making) -> Result<(Vec<Socket>, SocketFile), Refusal> {
    let create = |error| (SocketStep::Create, error);
    let address = SockAddr::unix(path).map_err(create)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(create)?;
    match socket.bind(&address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            remove_if_stale(path, &address)?;
            socket.bind(&address)
        }
        outcome => outcome,
    }
    .map_err(|error| (SocketStep::Bind, error))?;
    let inode = fs::symlink_metadata(path).map_err(|error| (SocketStep::Bind, error))?.ino();
    let file = SocketFile { path: path.to_owned(), inode };
    // Before it listens, so that nobody comes in who may not.
    own(path, making).map_err(|error| (SocketStep::Own, error))?;
    listen(&socket, making.backlog)?;
    Ok((shared(socket, making.shards)?, file))
}

/// Gives the file of a socket its owner and permissions.
fn own(path: &Path, making: &Making) -> io::Result<()> {
    let UnixOwner { user, group } = &making.unix_owner;
    let unknown = |what: &str, name: &str| io::Error::other(format!("there is no {what} {name}"));
    let user = user.as_deref().map(|name| {
        let named = || uzers::get_user_by_name(name).map(|user| user.uid());
        name.parse().ok().or_else(named).ok_or_else(|| unknown("user", name))
    });
    let group = group.as_deref().map(|name| {
        let named = || uzers::get_group_by_name(name).map(|group| group.gid());
        name.parse().ok().or_else(named).ok_or_else(|| unknown("group", name))
    });
    let (user, group) = (user.transpose()?, group.transpose()?);
    if user.is_some() || group.is_some() {
        std::os::unix::fs::chown(path, user, group)?;
    }
    match making.unix_mode {
        Some(mode) => fs::set_permissions(path, fs::Permissions::from_mode(mode)),
        None => Ok(()),
    }
}

/// A socket, and a duplicate of it for every shard but one.
fn shared(socket: Socket, shards: u16) -> Result<Vec<Socket>, Refusal> {
    let mut sockets = Vec::new();
    for _ in 1..shards {
        sockets.push(socket.try_clone().map_err(|error| (SocketStep::Duplicate, error))?);
    }
    sockets.push(socket);
    Ok(sockets)
}

/// Removes a socket file a server that died has left behind. Whether anybody listens is known by connecting.
fn remove_if_stale(path: &Path, address: &SockAddr) -> Result<(), Refusal> {
    let stale = |error| (SocketStep::ReplaceStale, error);
    let in_use = || (SocketStep::Bind, io::Error::from_raw_os_error(libc::EADDRINUSE));
    if !fs::symlink_metadata(path).map_err(stale)?.file_type().is_socket() {
        return Err(stale(io::Error::from(io::ErrorKind::AlreadyExists)));
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(stale)?;
    // Somebody's full queue must not keep us waiting: it answers EAGAIN, and that is somebody too.
    probe.set_nonblocking(true).map_err(stale)?;
    match probe.connect(address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(stale)
        }
        Ok(()) | Err(_) => Err(in_use()),
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = fs::symlink_metadata(&self.path).is_ok_and(|file| file.ino() == self.inode);
        if is_ours && let Err(error) = fs::remove_file(&self.path) {
            warn!("the socket file {} stays: {error}", self.path.display());
        }
    }
}

/// listen(2) caps the backlog silently, and a short one makes a storm of connects wait for seconds. How short is too
/// short is the rule of `roadstead tune check`.
pub(super) fn warn_of_short_backlog(backlog: u32, connections: u32, shards: u16) {
    let somaxconn = fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap_or_default();
    if let Some(sentence) = short_backlog(backlog, connections, shards, &somaxconn) {
        warn!("{sentence}");
    }
}

fn short_backlog(backlog: u32, connections: u32, shards: u16, somaxconn: &str) -> Option<String> {
    let cap: u64 = somaxconn.trim().parse().ok()?;
    let queue = cap.min(backlog.into());
    let needed = rules::backlog_shortfall(connections.into(), shards.into(), queue)?;
    let cure = match (cap < needed, u64::from(backlog) < needed) {
        (true, false) => format!("raise the kernel's cap with {}", setting::cure("somaxconn", needed)),
        (false, _) => format!("set server.backlog to {needed} or more"),
        (true, true) => format!(
            "set server.backlog to {needed} or more, and raise the kernel's cap with {}",
            setting::cure("somaxconn", needed)
        ),
    };
    Some(format!(
        "each listener queues {queue} connections that nobody has accepted yet, and a storm of {connections} over \
         {shards} shards needs {needed}: many clients that connect at the same moment will wait for a second and \
         more; {cure}"
    ))
}

impl fmt::Display for SocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoint, error, .. } = self;
        let doing = match self.step {
            SocketStep::Create => "cannot make a socket for",
            SocketStep::Bind => "cannot take the address",
            SocketStep::Listen => "cannot listen on",
            SocketStep::Duplicate => "cannot share with every shard",
            SocketStep::ReplaceStale => "cannot take the place of",
            SocketStep::Own => "cannot give owner and permissions to",
            SocketStep::Passed => "was passed a socket that nobody asked for",
        };
        write!(f, "{doing} {endpoint}: {error}; {}", self.cure())
    }
}

impl SocketError {
    /// What to do about it.
    fn cure(&self) -> String {
        let flag = match self.role {
            Role::Public => "--listen",
            Role::Admin => "--admin",
            Role::Redirect => "tls.redirect",
        };
        match self.step {
            SocketStep::Own => {
                return "to give a file to another user takes root or CAP_CHOWN, to another group membership in it \
                        (server.unix_owner, server.unix_mode)"
                    .to_owned();
            }
            SocketStep::Passed => {
                return "name its address in server.listen (--listen), server.admin (--admin) or tls.redirect, or take it out \
                        of the .socket unit"
                    .to_owned();
            }
            _ => {}
        }
        match (self.error.raw_os_error(), &self.endpoint) {
            (Some(libc::EADDRINUSE), Endpoint::Tcp(address)) => format!(
                "`ss -ltnp 'sport = :{port}'` shows who has it; end that program or choose another address ({flag})",
                port = address.port()
            ),
            (Some(libc::EADDRINUSE), Endpoint::Unix(path)) => format!(
                "`ss -lxp src {}` shows who listens; end that program or choose another path ({flag})",
                path.display()
            ),
            (Some(libc::EADDRNOTAVAIL), _) => {
                format!("no interface has this address: `ip -brief address` shows which there are ({flag})")
            }
            (Some(libc::EACCES | libc::EPERM), Endpoint::Tcp(address)) => format!(
                "a port below 1024 belongs to root: choose another ({flag}), or allow it with \
                 `sysctl -w net.ipv4.ip_unprivileged_port_start={port}`",
                port = address.port()
            ),
            (Some(libc::EACCES | libc::EPERM), Endpoint::Unix(_)) => {
                format!("this user may not write to its directory; choose another path ({flag})")
            }
            (Some(libc::ENOENT | libc::ENOTDIR), Endpoint::Unix(_)) => {
                format!("its directory has to exist; make it, or choose another path ({flag})")
            }
            (Some(libc::EAFNOSUPPORT), _) => {
                format!("the kernel has this address family switched off; choose another address ({flag})")
            }
            (Some(libc::EMFILE), _) => {
                "every shard needs a descriptor of its own; raise the open-files limit (`ulimit -n`)"
                    .to_owned()
            }
            (None, Endpoint::Unix(path)) if self.step == SocketStep::ReplaceStale => {
                format!(
                    "{} is there and is no socket; move it away, or choose another path ({flag})",
                    path.display()
                )
            }
            (Some(_) | None, _) => format!("choose another address ({flag})"),
        }
    }
}

impl std::error::Error for SocketError {}

#[cfg(test)]
mod tests {
    use std::{
        net::{TcpListener, TcpStream},
        os::unix::net::{UnixListener, UnixStream},
    };

    use roadstead_tuning::{
        host::{Facts, Host},
        setting::{Goal, Profile, Scene},
        verdict::{self, Severity},
    };

    use super::*;

    fn server(listen: &[&str], admin: &str) -> Config {
        let endpoint = |text: &str| text.parse::<Endpoint>().expect("an address");
        let mut config = Config::default();
        config.server.listen = listen.iter().map(|text| endpoint(text)).collect();
        config.server.admin = (!admin.is_empty()).then(|| endpoint(admin));
        config.server.backlog = 16;
        config
    }

    fn address_of(endpoint: &Endpoint) -> SocketAddr {
        match endpoint {
            Endpoint::Tcp(address) => *address,
            Endpoint::Unix(path) => panic!("{} is no TCP address", path.display()),
        }
    }

    /// A path in the temporary directory that nobody else uses.
    fn free_path() -> PathBuf {
        std::env::temp_dir().join(format!("roadstead-{}-{:x}.sock", std::process::id(), fastrand::u64(..)))
    }

    fn refusal(server: &Config) -> String {
        bind(server, 2, Passed::default()).map(|_| ()).expect_err("refused").to_string()
    }

    #[test]
    fn every_shard_gets_a_listener_of_each_address_and_port_0_is_the_same_for_all() {
        let sockets = bind(&server(&["127.0.0.1:0", "127.0.0.1:0"], "127.0.0.1:0"), 3, Passed::default())
            .expect("bound");
        let counts: Vec<_> = sockets.listeners.iter().map(Vec::len).collect();
        assert_eq!(counts, [3, 3, 3], "also the admin listener: a shard that hangs must not silence it");
        for (index, endpoint) in sockets.public.iter().enumerate() {
            assert_ne!(address_of(endpoint).port(), 0);
            for listeners in &sockets.listeners {
                assert_eq!(listeners[index].address, endpoint.to_string());
                assert_eq!(listeners[index].role, Role::Public);
                let bound = Socket::from(listeners[index].socket.try_clone().expect("a descriptor"));
                let bound = bound.local_addr().expect("bound").as_socket();
                assert_eq!(bound, Some(address_of(endpoint)));
            }
            TcpStream::connect(address_of(endpoint)).expect("it listens");
        }
        assert_eq!(sockets.listeners[0][2].role, Role::Admin);
    }

    #[test]
    fn accepted_connections_have_no_delay_and_take_little_unsent_by_inheritance() {
        let sockets = bind(&server(&["127.0.0.1:0"], ""), 1, Passed::default()).expect("bound");
        let _client = TcpStream::connect(address_of(&sockets.public[0])).expect("it listens");
        let listener = Socket::from(sockets.listeners[0][0].socket.try_clone().expect("a descriptor"));
        let (accepted, _) = listener.accept().expect("a client waits");
        assert!(accepted.tcp_nodelay().expect("an option of every TCP socket"));
        assert_eq!(accepted.tcp_notsent_lowat().expect("an option of every TCP socket"), UNSENT_BYTES_MAX);
    }

    #[test]
    fn ipv6_leaves_the_same_ipv4_port_free() {
        let Ok(sockets) = bind(&server(&["[::]:0"], ""), 1, Passed::default()) else { return };
        let port = address_of(&sockets.public[0]).port();
        bind(&server(&[&format!("0.0.0.0:{port}")], ""), 1, Passed::default())
            .expect("the IPv4 port is free");
    }

    #[test]
    fn ipv6_takes_the_same_ipv4_port_if_it_is_to() {
        let mut config = server(&["[::]:0"], "");
        config.server.ipv6_only = false;
        let Ok(sockets) = bind(&config, 2, Passed::default()) else { return };
        let port = address_of(&sockets.public[0]).port();
        let own = format!("0.0.0.0:{port}");
        assert!(refusal(&server(&[&own], "")).starts_with(&format!("cannot take the address {own}")));
    }

    #[test]
    fn an_address_in_use_is_refused_even_when_its_owner_shares_ports() {
        let plain = TcpListener::bind("127.0.0.1:0").expect("bound");
        let shared = bind(&server(&["127.0.0.1:0"], ""), 2, Passed::default()).expect("bound");
        for taken in [plain.local_addr().expect("bound"), address_of(&shared.public[0])] {
            let port = taken.port();
            assert_eq!(
                refusal(&server(&[&taken.to_string()], "")),
                format!(
                    "cannot take the address {taken}: Address already in use (os error 98); \
                     `ss -ltnp 'sport = :{port}'` shows who has it; end that program or choose another address \
                     (--listen)"
                )
            );
            let as_admin = refusal(&server(&["127.0.0.1:0"], &taken.to_string()));
            assert!(as_admin.ends_with("(--admin)"), "{as_admin}");
        }
    }

    #[test]
    fn an_address_that_is_given_back_in_time_is_taken() {
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(600));
        let tries = |until, error, given_back_at| {
            let mut tries = 0;
            let outcome = patiently(until, || {
                tries += 1;
                let refusal = (SocketStep::Bind, io::Error::from_raw_os_error(error));
                if tries < given_back_at { Err(refusal) } else { Ok(()) }
            });
            (tries, outcome.is_ok())
        };
        assert_eq!(tries(later, libc::EADDRINUSE, 4), (4, true));
        assert_eq!(tries(now, libc::EADDRINUSE, 4), (1, false), "too late");
        assert_eq!(tries(later, libc::EADDRNOTAVAIL, 4), (1, false), "waiting would not help");
    }

    #[test]
    fn an_address_of_no_interface_is_refused() {
        assert_eq!(
            refusal(&server(&["192.0.2.1:8080"], "")),
            "cannot take the address 192.0.2.1:8080: Cannot assign requested address (os error 99); no interface has \
             this address: `ip -brief address` shows which there are (--listen)"
        );
    }

    #[test]
    fn a_unix_socket_is_shared_by_every_shard_and_its_file_goes_with_the_server() {
        let path = free_path();
        let sockets =
            bind(&server(&[&format!("unix:{}", path.display())], ""), 3, Passed::default()).expect("bound");
        assert_eq!(sockets.listeners.iter().map(Vec::len).sum::<usize>(), 3);
        UnixStream::connect(&path).expect("it listens");
        drop(sockets);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_socket_file_is_replaced_and_a_living_one_is_not() {
        let path = free_path();
        let unix = format!("unix:{}", path.display());
        let living = UnixListener::bind(&path).expect("bound");
        assert_eq!(
            refusal(&server(&[&unix], "")),
            format!(
                "cannot take the address {unix}: Address already in use (os error 98); `ss -lxp src {}` shows who \
                 listens; end that program or choose another path (--listen)",
                path.display()
            )
        );
        drop(living);
        assert!(path.exists(), "a socket file outlives its socket");
        drop(bind(&server(&[&unix], ""), 1, Passed::default()).expect("the stale file is replaced"));
    }

    #[test]
    fn a_file_that_is_no_socket_is_never_removed() {
        let path = free_path();
        fs::write(&path, "precious").expect("the temporary directory takes a file");
        let refused = refusal(&server(&[&format!("unix:{}", path.display())], ""));
        assert!(refused.contains("is there and is no socket; move it away"), "{refused}");
        assert_eq!(fs::read_to_string(&path).expect("still there"), "precious");
        fs::remove_file(&path).expect("still there");
    }

    #[test]
    fn a_missing_directory_is_told() {
        let refused = refusal(&server(&["unix:/nonexistent/roadstead.sock"], ""));
        assert!(
            refused.ends_with("its directory has to exist; make it, or choose another path (--listen)"),
            "{refused}"
        );
    }

    #[test]
    fn a_queue_too_short_for_a_storm_is_told_with_the_cure_and_a_capped_one_that_is_long_enough_is_not() {
        // What every default start of a machine with the kernel's default has.
        assert_eq!(short_backlog(16_384, 20_000, 2, "4096\n"), None);
        let told = |backlog, somaxconn| short_backlog(backlog, 1_000_000, 8, somaxconn).expect("too short");
        assert!(told(16_384, "4096\n").contains("`sysctl -w net.core.somaxconn=8192`"));
        let own = told(4_096, "65535\n");
        assert!(own.ends_with("set server.backlog to 8192 or more"), "{own}");
        let both = told(128, "128\n");
        assert!(both.contains("queues 128 ") && both.contains("server.backlog to 8192"), "{both}");
        assert!(both.contains("net.core.somaxconn=8192"), "{both}");
    }

    #[test]
    fn the_server_and_tune_check_have_one_rule_for_the_queue() {
        let root =
            std::env::temp_dir().join(format!("roadstead-{}-{:x}", std::process::id(), fastrand::u64(..)));
        let folder = root.join("proc/sys/net/core");
        fs::create_dir_all(&folder).expect("a folder");
        for (target, somaxconn) in [(20_000, 4_096), (20_000, 4_095), (1_000_000, 4_096), (1_000_000, 65_535)]
        {
            let text = format!("{somaxconn}\n");
            fs::write(folder.join("somaxconn"), &text).expect("a file");
            let host = Host::at(&root);
            let facts = Facts::of(&host);
            let goal = Goal::new(target, Profile::Storm);
            let rule = setting::find("somaxconn").expect("a setting");
            let finding = verdict::judge(&rule, &Scene { host: &host, facts: &facts, goal: &goal });
            let shards = facts.cpus.try_into().expect("few");
            let told = short_backlog(u32::MAX, target.try_into().expect("few"), shards, &text).is_some();
            assert_eq!(told, finding.severity > Severity::Fine, "{target} {somaxconn} {finding:?}");
        }
        fs::remove_dir_all(root).expect("gone");
    }

    #[test]
    fn a_socket_file_gets_its_permissions_and_its_owner_and_an_unknown_one_is_told() {
        let path = free_path();
        let mut config = server(&[&format!("unix:{}", path.display())], "");
        config.server.unix_mode = "0640".into();
        let own = fs::metadata("/proc/self").expect("proc(5)");
        config.server.unix_owner = format!("{}:{}", own.uid(), own.gid());
        let sockets = bind(&config, 2, Passed::default()).expect("bound");
        let file = fs::symlink_metadata(&path).expect("the file");
        assert_eq!(file.mode() & 0o777, 0o640);
        assert_eq!((file.uid(), file.gid()), (own.uid(), own.gid()));
        drop(sockets);
        config.server.unix_owner = ":no-such-group".into();
        let refused = refusal(&config);
        assert!(refused.contains("there is no group no-such-group; to give a file"), "{refused}");
    }

    #[test]
    fn a_listener_that_listens_again_gets_its_share_of_connections_again() {
        const SHARDS: u16 = 3;
        const CLIENTS: usize = 300;
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let mut config = server(&[address], "");
            config.server.backlog = CLIENTS as u32;
            let sockets = bind(&config, SHARDS, Passed::default()).expect("bound");
            let listeners: Vec<_> =
                sockets.listeners.iter().map(|of| socket2::SockRef::from(&*of[0].socket)).collect();
            for again in &listeners {
                again.shutdown(std::net::Shutdown::Read).expect("it listens");
                again.listen(CLIENTS as i32).expect("it listens again");
                let clients: Vec<_> = (0..CLIENTS)
                    .map(|_| TcpStream::connect(address_of(&sockets.public[0])).expect("somebody listens"))
                    .collect();
                let counts: Vec<_> = listeners.iter().map(accept_all).collect();
                assert_eq!(counts.iter().sum::<usize>(), CLIENTS);
                // By chance alone one gets less than a sixth once in many billions of times.
                assert!(counts.iter().all(|count| *count > CLIENTS / 6), "{address}: {counts:?}");
                drop(clients);
            }
        }
    }

    /// Accepts all who wait; how many those were.
    fn accept_all(listener: &socket2::SockRef<'_>) -> usize {
        listener.set_nonblocking(true).expect("an option");
        std::iter::from_fn(|| listener.accept().ok()).count()
    }

    #[test]
    fn listeners_have_the_options_that_connections_inherit() {
        let mut config = server(&["127.0.0.1:0"], "");
        (config.server.tcp_keep_alive_s, config.server.tcp_user_timeout_ms) = (40, 7_000);
        let sockets = bind(&config, 1, Passed::default()).expect("bound");
        let _client = TcpStream::connect(address_of(&sockets.public[0])).expect("it listens");
        let listener = Socket::from(sockets.listeners[0][0].socket.try_clone().expect("a descriptor"));
        let (accepted, _) = listener.accept().expect("one waits");
        assert!(accepted.keepalive().expect("an option") && accepted.tcp_nodelay().expect("an option"));
        assert_eq!(accepted.tcp_keepalive_time().expect("an option"), Duration::from_secs(40));
        assert_eq!(accepted.tcp_keepalive_interval().expect("an option"), Duration::from_secs(4));
        assert_eq!(accepted.tcp_user_timeout().expect("an option"), Some(Duration::from_secs(7)));
    }
}
