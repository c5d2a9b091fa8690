//! The table of every configuration key: what kind of value it takes, its unit and its meaning.
//!
//! The default is not here: it is what [`super::Config::default`] holds. A test proves that this table and that
//! struct name the same keys.

use figment::value::Value;

use crate::model::NoticeKind;

/// One configuration key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its full name, `section.key`.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// The unit of a number; empty for anything else.
    pub unit: &'static str,
    /// What it means, in one sentence or two.
    pub meaning: &'static str,
}

/// What kind of value a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A list of [`super::Endpoint`].
    Endpoints,
    /// One [`super::Endpoint`], or nothing.
    Endpoint,
    /// A [`super::CpuList`].
    Cpus,
    /// A whole number up to this.
    Number(u64),
    /// A [`super::Switch`].
    Switch,
    /// True or false.
    Flag,
    /// A list of strings.
    Texts,
    /// A list of strings nobody may see.
    Secrets,
    /// A string nobody may see, of this kind.
    Secret(&'static str),
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list of some of these words.
    Words(&'static [&'static str]),
    /// A string of this kind.
    Text(&'static str),
}

const U16: Kind = Kind::Number(u16::MAX as u64);
const U32: Kind = Kind::Number(u32::MAX as u64);
/// TOML's integers are signed and 64 bits wide.
const U64: Kind = Kind::Number(i64::MAX as u64);

/// Where a backend is called.
const HOOK: &str =
    "an address such as \"http://127.0.0.1:3000/hooks\", \"unix:/run/app.sock:/hooks\", or \"\"";
/// Who may do something with the channels of a namespace.
const RULES: &[&str] = &["anyone", "token", "hook", "allow"];
/// What no backend is asked about.
const READING_RULES: &[&str] = &["anyone", "token", "allow"];

/// Sections that may stand in a file as often as wanted, `[[section]]`, and nowhere else.
pub const LISTED: &[&str] = &["token_key", "namespace"];

const fn key(name: &'static str, kind: Kind, unit: &'static str, meaning: &'static str) -> Key {
    Key { name, kind, unit, meaning }
}

/// Every key, in the order in which they are printed.
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    key("server.listen", Kind::Endpoints, "", "Where clients connect: IP:PORT (port 0 takes a free one and prints it), NAME:PORT (the address that the name has at the start) or unix:PATH. An IPv6 address takes IPv6 only, unless server.ipv6_only says otherwise. A socket that systemd has passed (LISTEN_FDS) is listened on where its address stands here, in server.admin or in tls.redirect. Every shard listens on each."),
    key("server.admin", Kind::Endpoint, "", "Where /metrics, /healthz, /readyz, /shards and /config are served; \"\" serves them nowhere."),
    key("server.admin_keys", Kind::Secrets, "", "Who sends \"Authorization: Bearer KEY\" with one of these, each of which may be given as \"sha256:HEX\", may ask the admin listener for all; others for /metrics, /healthz and /readyz. With none that is everybody who reaches a loopback address or a Unix socket, and beyond them nobody."),
    key("server.allowed_hosts", Kind::Texts, "", "Names under which the server answers, beside localhost and other names of this machine, as clients write them in Host: \"chat.example.org\", \"*.example.org\" for every name below one, \"*\" for every name. A request to another name is answered 421. An empty list is every name, but on a loopback address none: there a page could otherwise give its own name the server's address, and read it. A proxy in front that passes Host on needs its public name here."),
    key("server.subprotocols", Kind::Texts, "", "WebSocket subprotocols that a client of /channels or /ws may ask for, beside roadstead.raw and roadstead.json, which say what these speak anyway: the first that it offers is chosen; \"*\" is any. Without one that is chosen a browser closes."),
    key("server.keeper", Kind::Flag, "", "Whether the program is two processes: a small one, which was started, owns the listening sockets and takes the signals, and another one serves and is started again when it crashes, with the connections that wait to be accepted. Programs that embed the server decide for themselves."),
    key("server.shards", U16, "shards", "How many shards to run; 0 runs one per core. More shards than cores is possible: they take turns."),
    key("server.cpus", Kind::Cpus, "", "The cores to pin shards to, such as \"0-3,8\"; \"\" takes every core of the process's affinity mask."),
    key("server.lame_duck_ms", U32, "ms", "Time from the signal, when /readyz begins to say 503, until nobody new is accepted and the drain begins: as long as a load balancer takes to notice. 0 waits for none."),
    key("server.drain_ms", U32, "ms", "The time over which clients are told to go, evenly, when the server drains."),
    key("server.memory_max", U64, "bytes", "Memory that the process may take, as the kernel counts what is resident; 0 is no limit. From 85 % of it on newcomers are answered 503 with Retry-After, until it is below 80 %, so that those who are connected go on: what the kernel's out-of-memory killer or a container's limit would end is everybody. What the kernel takes for connections is not in it."),
    key("server.backlog", U32, "connections", "Connections the kernel keeps waiting for each shard to accept; net.core.somaxconn caps it."),
    key("server.ipv6_only", Kind::Flag, "", "Whether an IPv6 address takes IPv6 alone. With false \"[::]:80\" takes IPv4 as well, whose clients keep their IPv4 addresses; \"0.0.0.0:80\" cannot stand beside it then."),
    key("server.unix_mode", Kind::Text("permissions such as \"0660\", or \"\""), "", "Permissions of the files of Unix sockets, in octal; \"\" leaves them to the umask."),
    key("server.unix_owner", Kind::Text("USER, USER:GROUP or :GROUP, by name or number, or \"\""), "", "Whose the files of Unix sockets are; \"\" is whoever runs the server. To give them to another user takes CAP_CHOWN."),
    key("server.tcp_keep_alive_s", U32, "s", "Silence of a TCP connection after which the kernel asks its peer whether it is there, and then nine times more a tenth of that time apart; 0 never asks. WebSockets and Socket.IO have pings, event streams have comments; this finds peers that are gone of idle HTTP connections and long polls."),
    key("server.tcp_user_timeout_ms", U32, "ms", "Time for which what was sent over TCP may stay without an acknowledgement, until the kernel gives the connection up (tcp(7), TCP_USER_TIMEOUT); 0 is the kernel's quarter of an hour."),
    key("server.core_dumps", Kind::Switch, "", "Whether the kernel may write a core when the process crashes, or pass one to a program: true, false, or \"auto\", which forbids it where TLS is spoken. The keys of certificates and of connections would stand in it."),
    key("server.spin_us", U32, "µs", "How long a shard that has nothing to do looks for work before it sleeps: saves the wake-up, some microseconds, of what comes within this time, and keeps the core busy meanwhile."),
    key("server.shard_restarts_max", U32, "restarts", "How often a shard that met a mistake in the server begins anew within a minute: its clients are told to come back, the others notice nothing. With one failure more, or at the first with 0, the process ends with status 1."),
    key("server.shard_replaced_ms", U32, "ms", "Time for which a shard may hang until the keeper (server.keeper) puts another process of the same program in place of this one, as at an upgrade: it goes on with the channels and connections of the other shards. Not before the clients of the shard have been taken off it, after 6,000, and not again within five minutes; 0 never."),
    key("server.balance", Kind::Word(&["off", "new", "live"]), "", "What is done so that no shard has much more to do than the others: \"new\" sends new connections to those with fewer; \"live\" does, and has live ones go from a shard that is much busier than another to that; \"off\" leaves all to the kernel, which spreads them by chance."),

    key("tls.certificates", Kind::Texts, "", "Files of certificates in PEM, each with those that lead to its root behind it. A client is shown the one for the name it asks for, also by a wildcard, else the first; ECDSA before RSA. Without one nothing speaks TLS. Files that have changed are read again; what cannot work changes nothing."),
    key("tls.keys", Kind::Texts, "", "Files of their private keys in PEM, in the same order; an empty list where each certificate's file holds its key."),
    key("tls.addresses", Kind::Endpoints, "", "Addresses of server.listen, and server.admin, that speak TLS; an empty list is all of server.listen."),
    key("tls.min_version", Kind::Word(&["1.2", "1.3"]), "", "The oldest version of TLS that is spoken."),
    key("tls.ticket_keys", Kind::Text("the path of a file, or \"\""), "", "File of keys for session tickets, 48 bytes each (openssl rand 48), the first of which seals: for several servers behind one name. \"\" draws a key at the start and another every six hours."),
    key("tls.handshake_timeout_ms", U32, "ms", "Time from a connection's beginning to the end of its TLS handshake, without that for which its hello waits for its turn; then it is closed."),
    key("tls.handshakes_max", U32, "handshakes", "Handshakes of one shard that have been answered and are not done, of some ten kilobytes each. Hellos beyond wait for their turn; with half as many of these, nobody is accepted on addresses with TLS, and clients wait in the kernel's queue. Who owes its next message for a fifth of tls.handshake_timeout_ms while others wait is given up."),
    key("tls.watch_ms", U32, "ms", "Interval between looks at whether the files of this section have changed; 0 looks at SIGHUP and POST /reload only."),
    key("tls.redirect", Kind::Endpoints, "", "Addresses without TLS that send every request to the same path with https:// (308), such as \"0.0.0.0:80\"."),
    key("tls.acme_challenge_folder", Kind::Text("the path of a folder, or \"\""), "", "Folder whose files are served below /.well-known/acme-challenge/ on the addresses of tls.redirect, for certbot and its like; \"\" serves none."),

    key("proxy.trusted", Kind::Texts, "", "Proxies whose word is taken about who their clients are: addresses, networks such as \"10.0.0.0/8\", and \"unix:\" for whoever connects over a Unix socket. What anybody else says of that is ignored."),
    key("proxy.protocol", Kind::Word(&["none", "v1", "v2", "either"]), "", "Whether connections from these proxies to server.listen begin with a header of the PROXY protocol, and of which version. One without it is refused; others' connections begin with their first request, as ever."),
    key("proxy.headers", Kind::Word(&["x-forwarded", "forwarded", "none"]), "", "Which header fields of requests from these proxies are believed: X-Forwarded-For, -Proto and -Host; Forwarded (RFC 7239); or none. Only what the proxies themselves write or delete may be: what they pass on unchanged is their clients' word."),

    key("limits.connections_max", U32, "connections", "Connections in all; 0 takes what the open-files limit allows. Beyond it the answer is 503. Shards lend each other room."),
    key("limits.connections_per_address_max", U32, "connections", "Connections from one address; 0 is no limit. Beyond it the answer is 429. Those of the admin listener are not counted. As many Engine.IO sessions of one address may poll."),
    key("limits.connections_per_user_max", U32, "connections", "Connections that have shown a token of one user, on all shards together; 0 is no limit. Beyond it the answer is 429, or an error on /ws. A client of Socket.IO is one, however many namespaces it is in, and is refused on entering."),
    key("limits.head_bytes_max", U32, "bytes", "A request's line and headers together; beyond it the answer is 431, or 414 for the line."),
    key("limits.head_fields_max", U16, "fields", "The number of header fields of a request; beyond it the answer is 431."),
    key("limits.head_timeout_ms", U32, "ms", "Time from a request's first byte to the end of its headers; then the answer is 408."),
    key("limits.body_bytes_max", U32, "bytes", "A request's body; beyond it the answer is 413."),
    key("limits.body_timeout_ms", U32, "ms", "Time a body may take before its rate is looked at."),
    key("limits.body_bytes_per_second_min", U32, "bytes/s", "The least rate at which a body must arrive after limits.body_timeout_ms; 0 is no limit."),
    key("limits.keep_alive_timeout_ms", U32, "ms", "Idle time of a kept-alive connection between requests."),
    key("limits.message_bytes_max", U32, "bytes", "A WebSocket message, all fragments together; beyond it the connection closes with 1009."),
    key("limits.message_fragments_max", U32, "fragments", "Fragments of one WebSocket message; 0 is no limit."),
    key("limits.message_timeout_ms", U32, "ms", "Time a WebSocket message, or a Socket.IO packet with its attachments, may take from its first byte on before its rate is looked at; one that is too slow closes the connection with 4006."),
    key("limits.message_bytes_per_second_min", U32, "bytes/s", "The least rate at which a message must arrive after limits.message_timeout_ms; 0 asks only that something arrives."),
    key("limits.partial_input_bytes_max", U64, "bytes", "Memory for input that has begun and not ended, of all clients together: request heads and bodies, WebSocket messages, Socket.IO attachments. Each shard has an equal share, and where /echo is served at least what one message there takes. Beyond it what has held most for longest is given up: a request is answered 503, a WebSocket closes with 1013."),
    key("limits.send_queue_bytes_max", U32, "bytes", "Bytes waiting to be sent to one connection before limits.slow_consumer applies. A client that asks for more is not read until it has read half of them."),
    key("limits.send_bytes_max", U64, "bytes", "Memory for what waits to be sent, of all clients together; each shard has an equal share. What many are sent counts once. Beyond it those for whom most waits are ended with 4003."),
    key("limits.send_timeout_ms", U32, "ms", "Time in which a client must take some of what is sent to it, whatever it is; one that takes nothing is ended with 4003. Event streams and HTTP connections are closed."),
    key("limits.slow_consumer", Kind::Word(&["close", "drop-oldest"]), "", "What happens to a subscriber whose send queue is full: \"close\" ends it with 4003, \"drop-oldest\" drops what waits longest and lets the offsets show the gap."),
    key("limits.ping_interval_ms", U32, "ms", "Interval between pings to a WebSocket."),
    key("limits.ping_timeout_ms", U32, "ms", "Time a WebSocket has to answer a ping; at most limits.ping_interval_ms."),
    key("limits.event_stream_keep_alive_ms", U32, "ms", "Interval between comments on an otherwise silent event stream."),
    key("limits.event_stream_retry_ms", U32, "ms", "Mean of the jittered reconnection time told to event streams."),
    key("limits.long_poll_timeout_max_ms", U32, "ms", "The longest time a long poll may wait."),
    key("limits.channel_name_bytes_max", U16, "bytes", "Bytes of a channel's name; at most 255."),
    key("limits.subscriptions_per_connection_max", U32, "subscriptions", "Subscriptions of one connection."),
    key("limits.channels_max", U32, "channels", "Channels in all; each shard owns an equal share."),
    key("limits.publication_bytes_max", U32, "bytes", "One publication's data; at most limits.body_bytes_max and limits.send_queue_bytes_max."),
    key("limits.batch_publications_max", U32, "publications", "Publications in one POST /publish."),
    key("limits.history_publications_max", U32, "publications", "Publications kept per channel; 0 keeps none."),
    key("limits.history_age_max_ms", U32, "ms", "Age beyond which a kept publication is dropped."),
    key("limits.history_bytes_max", U64, "bytes", "Bytes of kept publications in all, payload and bookkeeping; each shard keeps an equal share."),
    key("limits.state_keys_max", U32, "keys", "Keys of one channel's state, counters among them; at most 10000. A change that would make one more is refused."),
    key("limits.state_channels_max", U32, "channels", "Channels that have keys, in all; each shard owns an equal share. They stay as long as their keys do, so that without a limit they could take the place of all others. A change that would make one more is refused."),
    key("limits.state_channel_bytes_max", U32, "bytes", "Bytes of one channel's keys and values; at most 65536, which a newcomer is told in one piece. A change beyond it is refused."),
    key("limits.state_bytes_max", U64, "bytes", "Bytes of state of all channels, keys and values and bookkeeping; each shard keeps an equal share. A change beyond it is refused: nothing is dropped to make room."),
    key("limits.counter_interval_ms", U32, "ms", "The least time between two pushes of one counter; what is added meanwhile is counted and answered at once, and told together. 0 tells each."),
    key("limits.presence_members_max", U32, "members", "Members of one channel; one more is refused."),
    key("limits.presence_events_members_max", U32, "members", "Members of one channel up to which each that comes or goes is told of by itself; with more, followers are told every five seconds how many there are."),
    key("limits.presence_grace_ms", U32, "ms", "Time a user has to come back, after its last connection has gone, before it counts as having left."),
    key("limits.publications_per_key_per_second_max", U32, "publications/s", "Publications per second that one publishing key may make, one user of tokens without a key, or one address without either (of IPv6 one network of 64 bits), on all shards together; 0 is no limit. A second's worth may come at once."),

    key("read.open", Kind::Switch, "", "Whether anybody may read (follow channels, enter Socket.IO namespaces and rooms, ask for history, info and lists) where no [[namespace]] says who may: true, false, or \"auto\", which opens it only where there is no [[namespace]] and every public address is loopback or a Unix socket."),

    key("publish.open", Kind::Switch, "", "Whether anybody may publish where no [[namespace]] says who may: true, false, or \"auto\", which opens it only where no key is set, there is no [[namespace]], and every public address is loopback or a Unix socket."),
    key("publish.keys", Kind::Secrets, "", "Who sends \"Authorization: Bearer KEY\" with one of these may publish. A key may be given by its SHA-256 alone, \"sha256:HEX\" (`printf %s KEY | sha256sum`), and be limited to the channels of patterns that follow it, \"KEY news:** chat:*\"."),
    key("publish.clients", Kind::Flag, "", "Whether WebSocket clients may publish; where publishing is not open, those that presented a key."),

    key("auth.hs256_keys", Kind::Secrets, "", "Secrets of at least 32 bytes with which tokens (JSON Web Tokens, HS256) are signed that say who somebody is and what they may do; `roadstead token make` makes them. A token comes as \"Authorization: Bearer TOKEN\", in the first command on /ws, as auth: {token} over Socket.IO, or as the subprotocol \"bearer.TOKEN\" of a WebSocket."),
    key("auth.audience", Kind::Text("a name, or \"\""), "", "Whom tokens must be for (aud); needed where an issuer's public key is known. \"\" takes tokens that are for nobody in particular, and no others."),
    key("auth.clock_skew_s", U32, "s", "How far the clocks of whoever makes tokens may differ."),
    key("auth.lifetime_max_s", U32, "s", "How long a token may be good from its iat on, or without one from when it is shown; one that is good for longer is refused."),
    key("auth.refresh_s", U32, "s", "How long a client has to bring another token when its own has run out: {\"refresh\":{\"token\":…}} on /ws. Then it is closed with 4007, to come back with another."),
    key("auth.cookie", Kind::Flag, "", "Whether the cookie __Host-roadstead may bring a token; only with requests of pages that the server itself, or cors.allowed_origins by name, lets in."),
    key("auth.token_in_url", Kind::Flag, "", "Whether ?token= may bring a token. URLs are logged by proxies and kept by browsers: for clients that can do nothing else."),
    key("auth.jwks_refetch_s", U32, "s", "Time between fetches of a token_key.url for tokens that name an unknown key: however many there are, they cause no more."),

    key("token_key.issuer", Kind::Text("what tokens have as iss"), "", "Sections [[token_key]], as many as wanted, name the keys of those who make tokens: the issuer, as its tokens have it (iss)."),
    key("token_key.kid", Kind::Text("what tokens have as kid, or \"\""), "", "The name of the key, as tokens have it (kid); \"\" is any."),
    key("token_key.algorithm", Kind::Word(&["HS256", "ES256", "EdDSA", "RS256", "JWKS"]), "", "How tokens are signed; with JWKS the file is a set of public keys, each of which says so itself. What a token says of it is believed only if it is this."),
    key("token_key.file", Kind::Text("the path of a file"), "", "The public key in PEM, the secret, or the JSON Web Key Set. SIGHUP reads it again; if it cannot be read then, nothing changes."),
    key("token_key.url", Kind::Text("an address, or \"\""), "", "Instead of a file, where the issuer's JSON Web Key Set is fetched: at the start, each hour, and for tokens that name a key that is not known. The last good set is kept. https://, or an address of this machine; certificates are checked against hooks.ca_file. Another address needs a restart."),
    key("token_key.user_prefix", Kind::Text("the beginning of a name, or \"\""), "", "What stands before the sub of its tokens in the names of users, such as \"google-\": needed where there are several issuers, or auth.hs256_keys beside one, so that nobody is taken for another's user."),

    key("namespace.pattern", Kind::Text("a pattern of channels, such as \"news:*\""), "", "Sections [[namespace]], as many as wanted, say who may do what with the channels of a pattern; the first that fits a channel counts. Names are split at :, / and #; * is one segment, ** the rest at the end, {sub} the user of the asker's token: \"user:{sub}\" is everybody's own channel."),
    key("namespace.subscribe", Kind::Word(RULES), "", "Who may follow these channels and get what they missed: \"anyone\", \"token\" (everybody with a valid token), \"hook\" (whom hooks.subscribe lets), or \"allow\" (nobody but those whose token names the channel)."),
    key("namespace.publish", Kind::Word(RULES), "", "Who may publish to them; with \"hook\" whom hooks.publish lets, with \"allow\" those whose token or publishing key names the channel."),
    key("namespace.presence", Kind::Word(READING_RULES), "", "Who is shown them in GET /channels, and may ask how many follow one, or who is in a room."),
    key("namespace.history", Kind::Word(READING_RULES), "", "Who may read what is kept of them."),
    key("namespace.state", Kind::Word(READING_RULES), "", "Who may read their keys and counters. Who follows a channel is told of changes all the same."),
    key("namespace.set_state", Kind::Word(READING_RULES), "", "Who may change their keys and counters."),
    key("namespace.history_publications_max", U32, "publications", "Publications kept of each of these channels, in place of limits.history_publications_max; 0 keeps none."),
    key("namespace.history_age_max_ms", U32, "ms", "Age beyond which a kept publication of them is dropped, in place of limits.history_age_max_ms."),
    key("namespace.publication_bytes_max", U32, "bytes", "The largest publication to them; no more than limits.publication_bytes_max."),
    key("namespace.publications_per_second_max", U32, "publications", "How often each key, each user without one, and each address without either may publish to these channels together; no more than limits.publications_per_key_per_second_max, which counts them as well."),
    key("namespace.enter", Kind::Word(READING_RULES), "", "Who may enter them, to be shown as present."),
    key("namespace.member_info", Kind::Word(&["client", "token"]), "", "Who says what others are told of a member: \"client\" (its token, or where that has no info, the client itself) or \"token\" (nobody but its token: what a client says of itself is refused)."),
    key("namespace.presence_members_max", U32, "members", "Members of each of these channels, in place of limits.presence_members_max."),
    key("namespace.state_keys_max", U32, "keys", "Keys of the state of each of them, in place of limits.state_keys_max; at most 10000."),
    key("namespace.state_channel_bytes_max", U32, "bytes", "Bytes of those keys with their values, in place of limits.state_channel_bytes_max; at most 65536."),
    key("namespace.durability", Kind::Word(&["memory", "written", "synced"]), "", "How long what they keep outlives the process, in place of what storage.written and storage.synced say: \"memory\" (not at all), \"written\", or \"synced\" (nobody is told anything before it is on disk). A change takes effect with a restart."),

    key("hooks.connect", Kind::Text(HOOK), "", "Where the backend is asked who somebody is that opens a WebSocket or an event stream, polls, or enters a Socket.IO namespace, without a token or key: by its cookie, say; and who sends a request that would be refused for want of that. \"\" asks nobody: it is anonymous then. See `roadstead help hooks`."),
    key("hooks.subscribe", Kind::Text(HOOK), "", "Where the backend is asked who may follow a channel, for those [[namespace]] sections that say subscribe = \"hook\". Whose token gives the right is let in unasked."),
    key("hooks.publish", Kind::Text(HOOK), "", "Where the backend is asked about each publication, for those [[namespace]] sections that say publish = \"hook\". Whose token or key gives the right publishes unasked."),
    key("hooks.signing_keys", Kind::Secrets, "", "Keys with which calls are signed by the scheme of Standard Webhooks (webhook-signature), each \"whsec_\" and 24 to 64 bytes in base64; with several each signs, so that they can be changed. Without one nothing is signed."),
    key("hooks.headers", Kind::Texts, "", "Header fields of a client's request that the backend is told, such as \"cookie\" and \"x-forwarded-for\"."),
    key("hooks.timeout_ms", U32, "ms", "Time the backend has to answer, with the wait for its turn; then whoever waits is refused."),
    key("hooks.in_flight_max", U16, "calls", "Calls of the backend at a time; half of them are divided among the hooks in use. Others wait, at most 1024 of each shard for each hook, and beyond that are refused as busy."),
    key("hooks.ca_file", Kind::Text("the path of a file, or \"\""), "", "File of the certificates, in PEM, of the authorities that are trusted for https:// addresses; \"\" trusts those of the system."),

    key("notices.url", Kind::Text(HOOK), "", "Where the backend is told what has happened, as notices.events says, in batches. \"\" tells nobody. Certificates are checked against hooks.ca_file. See `roadstead help notices`."),
    key("notices.signing_keys", Kind::Secrets, "", "Keys with which batches are signed by the scheme of Standard Webhooks (webhook-signature), each \"whsec_\" and 24 to 64 bytes in base64; with several each signs, so that they can be changed. Without one nothing is signed."),
    key("notices.events", Kind::Words(NoticeKind::NAMES), "", "What the backend is told: that clients have connected and disconnected, that a channel has its first follower and has lost its last, that members have entered and left a channel, that the process or a shard begins or ends (\"node\")."),
    key("notices.batch_max", U32, "notices", "Notices told together at most; a batch is no larger than 64 kB either."),
    key("notices.delay_ms", U32, "ms", "Time a notice waits for others to be told with it."),
    key("notices.queue_max", U32, "notices", "Notices of each shard that wait while the backend does not take them. Beyond it the oldest goes, and the next batch says how many have gone."),
    key("notices.timeout_ms", U32, "ms", "Time the backend has to take a batch; then it is told again."),
    key("notices.vacated_after_ms", U32, "ms", "Time for which a channel has had no follower before that is told. One that is followed again within it is told of neither way."),

    key("cors.allowed_origins", Kind::Texts, "", "Web pages of these origins may talk to the server, such as \"https://example.org\"; \"*\" allows every page."),
    key("cors.credentials", Kind::Flag, "", "Whether pages that may talk to the server may send cookies with it (withCredentials); not together with \"*\"."),

    key("http.compression", Kind::Flag, "", "Whether answers are compressed where the client takes gzip: those of text or JSON that are long enough, but no event stream, no long poll, no error, none that sets a cookie or has Cache-Control: no-transform, and none with a strong ETag. Off where answers hold secrets beside what others write: their lengths tell of them."),
    key("http.compression_bytes_min", U32, "bytes", "The least body of an answer that is compressed, Socket.IO's polls among them."),

    key("websocket.compression", Kind::Word(&["off", "shared", "channel", "dedicated"]), "", "Whether messages of WebSockets are compressed where clients offer it (permessage-deflate): \"shared\" compresses each by itself, once for all who get it, and keeps nothing for a connection; \"channel\" compresses a channel's messages by those before them, once for all who follow it, and keeps four bytes for a connection and some 300 kB for each of so many channels of a shard as websocket.compression_streams_max says; \"dedicated\" also keeps what was sent before, some 300 kB each, for so many connections of each shard as websocket.compression_contexts_max says. Off where messages hold secrets beside what others write: their lengths tell of them."),
    key("websocket.compression_bytes_min", U32, "bytes", "The least message that is compressed. One that would not become smaller leaves as it is, and so does what a client missed while it was away."),
    key("websocket.compression_streams_max", U32, "channels", "Channels of each shard whose messages build on each other (websocket.compression = \"channel\"): those that were published to last. The others are served as with \"shared\"."),
    key("websocket.compression_contexts_max", U32, "connections", "Connections of each shard whose messages build on each other (websocket.compression = \"dedicated\"): the first that come. The others are served as with \"shared\"."),

    key("socketio.enabled", Kind::Flag, "", "Whether Socket.IO and Engine.IO are served. The names in this section are those of Socket.IO's documentation."),
    key("socketio.path", Kind::Text("a path such as \"/socket.io/\""), "", "Where clients connect, with a slash at both ends; a client has to be given the same path."),
    key("socketio.transports", Kind::Words(&["polling", "websocket"]), "", "How clients may connect; with both they may begin with polling and upgrade."),
    key("socketio.ping_interval_ms", U32, "ms", "Interval between the server's pings (pingInterval)."),
    key("socketio.ping_timeout_ms", U32, "ms", "Time a client has to answer a ping before its session is closed (pingTimeout)."),
    key("socketio.upgrade_timeout_ms", U32, "ms", "Time a polling client has to finish an upgrade it began (upgradeTimeout)."),
    key("socketio.connect_timeout_ms", U32, "ms", "Time a client has to enter a namespace before its session is closed (connectTimeout)."),
    key("socketio.max_http_buffer_size", U32, "bytes", "The largest message or payload a client may send (maxHttpBufferSize); limits.body_bytes_max and limits.message_bytes_max apply as well."),
    key("socketio.per_message_deflate", Kind::Switch, "", "Whether messages over WebSockets are compressed (perMessageDeflate): true, false, or \"auto\", as websocket.compression says. True where that is off compresses as \"shared\" does."),
    key("socketio.http_compression", Kind::Switch, "", "Whether answers to clients that poll are compressed (httpCompression): true, false, or \"auto\", as http.compression says."),
    key("socketio.connection_state_recovery_ms", U32, "ms", "How long a client that lost its connection is kept, so that it comes back to what it missed (connectionStateRecovery.maxDisconnectionDuration); 0 keeps none."),
    key("socketio.connection_state_recovery_bytes_max", U32, "bytes", "Bytes of events each shard keeps for clients that may come back; the oldest go first."),
    key("socketio.cookie", Kind::Text("the name of a cookie, or \"\""), "", "Name of a cookie that holds the session's id, for a proxy that wants one; \"\" sets none. The server needs none."),
    key("socketio.cookie_attributes", Kind::Text("attributes of a cookie, such as \"Path=/; HttpOnly\""), "", "What follows the cookie's value."),
    key("socketio.keep_handshake", Kind::Flag, "", "Whether the request that opened a session is kept for the application while the client is connected: for programs that embed the server. It costs more memory than all the rest of an idle client."),
    key("socketio.namespaces", Kind::Texts, "", "Namespaces that clients may enter where no program decides; * in a name stands for anything."),
    key("socketio.client_rooms", Kind::Texts, "", "Rooms that clients may join, publish to and ask about; * in a name stands for anything, an empty list for none."),
    key("socketio.client_publish", Kind::Switch, "", "Whether clients may publish to rooms: true, false, or \"auto\", which takes publish.clients; where publishing is not open, those that presented a key (auth: {key})."),
    key("socketio.relay", Kind::Switch, "", "Whether an event that is no command goes to everybody in the sender's namespace, if the sender may publish: true, false, or \"auto\", only where publishing is open."),
    key("socketio.presence", Kind::Word(&["off", "count", "ids"]), "", "What a client is told of a room it asks about: nothing, how many sockets are in it, or also their ids."),
    key("socketio.members", Kind::Flag, "", "Whether whoever is in a room is a member of its channel, so that followers are told who enters and leaves, and all can ask who is there. See `roadstead help presence`."),
    key("socketio.admin_keys", Kind::Secrets, "", "Passwords with which Socket.IO's own admin page (npm's @socket.io/admin-ui) enters the namespace /admin; each may be given as \"sha256:HEX\", or as bcrypt's hash of it (\"$2b$10$…\"). With none /admin is a namespace like any other. See `roadstead help socketio`."),
    key("socketio.admin_readonly", Kind::Flag, "", "Whether that page may only look; else it may emit events, move sockets between rooms and disconnect them."),
    key("socketio.cluster", Kind::Word(&["off", "redis-adapter", "sharded-redis-adapter"]), "", "Of which Socket.IO cluster this server is a member: \"redis-adapter\" is that of servers in JavaScript with npm's @socket.io/redis-adapter (createAdapter), and of its emitters; \"sharded-redis-adapter\" is that of its createShardedAdapter. See `roadstead help nodes`."),
    key("socketio.cluster_key", Kind::Text("printable ASCII characters without spaces"), "", "What the names of the cluster's channels in Redis begin with, as the adapter's option `key` (or `channelPrefix`) says."),
    key("socketio.cluster_url", Kind::Secret("an address such as \"redis://127.0.0.1:6379\", or \"\""), "", "Where the cluster's Redis is, as broker.url says where the broker is; \"\" is the first of broker.url, whose certificates hold here, too."),
    key("socketio.client_script", Kind::Text("the path of a file, or \"\""), "", "The official client, dist/socket.io.js of npm's socket.io-client, served below socketio.path with what lies beside it; \"\" looks for an npm installation in the working directory, its parents, and beside the program."),

    key("storage.path", Kind::Text("a folder, or \"\""), "", "The folder where channels are kept that outlive the process; it is made if it is not there. One process at a time uses it. \"\" keeps nothing."),
    key("storage.written", Kind::Texts, "", "Patterns of channels whose history, keys and counters outlive the process, such as \"chat:*\" or \"**\" for all: written behind what is acknowledged, some ten milliseconds later. See `roadstead help storage`."),
    key("storage.synced", Kind::Texts, "", "As `storage.written`, for channels of which nobody is told anything before it is on disk: what is acknowledged is there again after a crash, and so is the epoch."),
    key("storage.history_publications_max", U32, "publications", "Publications of each channel on disk that are kept there, also those that limits.history_* let go of in memory; they are read from disk when somebody asks for them. A channel that has some is not forgotten. 0 keeps what memory keeps."),

    key("broker.url", Kind::Secret("an address such as \"redis://127.0.0.1:6379\", or \"\""), "", "Where Redis 7 or Valkey is, which joins several nodes into one, or several with spaces between, over which channels are spread: redis://HOST:PORT, rediss://HOST:PORT with TLS, or unix:/SOCKET, with USER:PASSWORD@ before the host where it asks for one. What is published on any node reaches the subscribers of all. \"\" joins none. See `roadstead help nodes`."),
    key("broker.prefix", Kind::Text("letters, digits, dots, hyphens and underscores"), "", "What the names of our keys and channels in Redis begin with; nodes with the same prefix are one."),
    key("broker.ca_file", Kind::Text("the path of a file, or \"\""), "", "File of certificates in PEM of the authorities that rediss:// trusts; \"\" trusts those of the system."),
    key("broker.cert_file", Kind::Text("the path of a file, or \"\""), "", "File with a certificate in PEM, and those behind it, that is shown to a rediss:// that asks for one; \"\" shows none."),
    key("broker.key_file", Kind::Text("the path of a file, or \"\""), "", "File with the private key, in PEM, of broker.cert_file."),
    key("broker.plain", Kind::Flag, "", "Whether redis://, and an http:// of broker.advertised_url, may lead beyond this machine, where others can read what is said."),
    key("broker.advertised_url", Kind::Text("an address such as \"http://10.0.0.1:8080\", or \"\""), "", "Where other nodes reach this one, at one of server.listen: http://HOST:PORT, https://HOST:PORT whose certificate broker.ca_file trusts, or unix:/SOCKET. A request of a Socket.IO client that polls and comes to another node is then passed on to this one; \"\" has it refused, so that the client begins anew."),

    key("diagnostics.enabled", Kind::Switch, "", "Whether /hello and /echo are served: true, false, or \"auto\", only where every public address is loopback or a Unix socket."),
    key("diagnostics.message_bytes_max", U32, "bytes", "The longest WebSocket message /echo takes; its fragments are not counted."),

    key("demo.enabled", Kind::Switch, "", "Whether the demo page is served at / and the manual at /manual/: true, false, or \"auto\", only where every public address is loopback or a Unix socket."),

    key("log.format", Kind::Word(&["human", "json"]), "", "How log lines on standard error look: for people, or one JSON object each."),
    key("log.level", Kind::Word(&["off", "error", "warn", "info", "debug", "trace"]), "", "The least severe line that is logged."),
    key("log.access", Kind::Word(&["off", "refusals", "all"]), "", "Which clients are logged, whatever log.level is: none; \"refusals\", requests answered with 400 and more and sessions ended for what the client did; or all requests and sessions. See `roadstead help operating`."),
    key("log.access_per_second", U32, "lines", "How many lines about clients each shard writes a second; how many it left out is told in the next second, 1 to 10,000."),
];

/// The row of a key.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The sections, in the order in which they are printed.
pub fn sections() -> impl Iterator<Item = &'static str> {
    let section = |key: &Key| key.name.split_once('.').map_or(key.name, |(section, _)| section);
    KEYS.chunk_by(move |left, right| section(left) == section(right)).map(move |keys| section(&keys[0]))
}

/// The name among `names` that somebody who wrote `written` most likely meant, if any is near enough.
pub fn nearest<'n>(written: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let last = |name: &str| name.rsplit('.').next().map_or(String::new(), str::to_owned);
    let nearness = |name: &str| {
        let whole = strsim::normalized_damerau_levenshtein(written, name);
        // A key in the wrong section, or in none, is near as well, but less so than a misspelt one.
        whole.max(0.9 * strsim::normalized_damerau_levenshtein(&last(written), &last(name)))
    };
    names
        .into_iter()
        .map(|name| (nearness(name), name))
        .filter(|(nearness, _)| *nearness >= NEARNESS_MIN)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, name)| name)
}

/// Below this two names are strangers, and naming the one would only confuse who wrote the other.
const NEARNESS_MIN: f64 = 0.5;

impl Key {
    /// Reads a value written as plain text, in the environment or after `--set`: lists are separated by commas.
    /// `None` when the text can be no such value; what is inside a list or a string is checked with the file's.
    pub fn read(&self, text: &str) -> Option<Value> {
        match self.kind {
            Kind::Number(_) => text.trim().parse::<u64>().ok().map(Value::from),
            Kind::Flag => text.trim().parse::<bool>().ok().map(Value::from),
            Kind::Switch => match text.trim() {
                "auto" => Some(Value::from("auto")),
                other => other.parse::<bool>().ok().map(Value::from),
            },
            Kind::Endpoints | Kind::Texts | Kind::Secrets | Kind::Words(_) => {
                // As `config print` writes it, which JSON can read; an address may begin with a bracket as well.
                let items = serde_json::from_str::<Vec<String>>(text)
                    .unwrap_or_else(|_| text.split(',').map(|item| item.trim().to_owned()).collect());
                let items = items.into_iter().filter(|item| !item.is_empty());
                Some(Value::from(items.map(Value::from).collect::<Vec<_>>()))
            }
            Kind::Endpoint | Kind::Cpus | Kind::Word(_) | Kind::Text(_) | Kind::Secret(_) => {
                Some(Value::from(text.trim()))
            }
        }
    }

    /// Whether it belongs to a section that may stand often, and then only in a file.
    pub fn is_listed(&self) -> bool {
        self.name.split_once('.').is_some_and(|(section, _)| LISTED.contains(&section))
    }

    /// Whether it takes addresses.
    pub fn takes_endpoints(&self) -> bool {
        matches!(self.kind, Kind::Endpoint | Kind::Endpoints)
    }

    /// Whether no message may show this key's value.
    pub fn is_secret(&self) -> bool {
        matches!(self.kind, Kind::Secrets | Kind::Secret(_))
    }

    /// What the key takes, to complete "expected …".
    pub fn expected(&self) -> String {
        match self.kind {
            Kind::Endpoints => format!("a list of addresses: {}", super::EndpointError::Malformed),
            Kind::Endpoint => format!("an address or \"\": {}", super::EndpointError::Malformed),
            Kind::Cpus => "a string of numbers and ranges such as \"0-3,8\"".to_owned(),
            Kind::Number(max) if self.unit.is_empty() => format!("a whole number from 0 to {max}"),
            Kind::Number(max) => format!("a whole number of {} from 0 to {max}", self.unit),
            Kind::Switch => "\"auto\", true or false".to_owned(),
            Kind::Flag => "true or false".to_owned(),
            Kind::Texts | Kind::Secrets => "a list of strings".to_owned(),
            Kind::Word(words) => format!("one of {}", quoted(words)),
            Kind::Words(words) => format!("a list of {}", quoted(words)),
            Kind::Text(what) | Kind::Secret(what) => what.to_owned(),
        }
    }
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::Config;

    #[test]
    fn the_table_and_the_struct_name_the_same_keys() {
        let value = serde_json::to_value(Config::default()).expect("a Config serializes");
        let sections = value.as_object().expect("sections").iter();
        let listed = |section: &str| match section {
            "namespace" => serde_json::to_value(crate::config::Namespace::default()).expect("it serializes"),
            "token_key" => {
                serde_json::to_value(crate::config::TokenKeySection::default()).expect("so does it")
            }
            _ => panic!("{section} is no listed section"),
        };
        let in_struct: BTreeSet<String> = sections
            .flat_map(|(section, keys)| {
                let keys = if keys.is_array() { listed(section) } else { keys.clone() };
                let keys = keys.as_object().expect("a section holds keys").clone();
                keys.into_iter().map(move |(key, _)| format!("{section}.{key}"))
            })
            .collect();
        let in_table: BTreeSet<String> = KEYS.iter().map(|key| key.name.to_owned()).collect();
        assert_eq!(in_table, in_struct);
        assert_eq!(in_table.len(), KEYS.len(), "no key stands twice in the table");
    }

    #[test]
    fn every_key_is_explained_and_every_number_has_a_unit() {
        for key in KEYS {
            assert!(key.meaning.ends_with('.'), "{}: its meaning is a sentence", key.name);
            assert_eq!(matches!(key.kind, Kind::Number(_)), !key.unit.is_empty(), "{}: its unit", key.name);
        }
    }

    #[test]
    fn a_misspelt_key_finds_its_neighbour_and_a_stranger_finds_nobody() {
        let names = || KEYS.iter().map(|key| key.name);
        assert_eq!(nearest("limits.conections_max", names()), Some("limits.connections_max"));
        assert_eq!(nearest("server.listne", names()), Some("server.listen"));
        assert_eq!(nearest("zzz", names()), None);
    }

    #[test]
    fn plain_text_is_read_as_what_its_key_takes() {
        let read = |name: &str, text: &str| find(name).expect("a key").read(text);
        assert_eq!(read("server.cpus", "3"), Some(Value::from("3")), "a single CPU stays a string");
        assert_eq!(read("publish.keys", "123"), Some(Value::from(vec![Value::from("123")])));
        assert_eq!(read("server.listen", ""), Some(Value::from(Vec::<Value>::new())));
        let printed = Some(Value::from(vec![Value::from("a,b"), Value::from("*")]));
        assert_eq!(read("cors.allowed_origins", "[\"a,b\", \"*\"]"), printed, "as it is printed");
        assert_eq!(read("cors.allowed_origins", "[]"), Some(Value::from(Vec::<Value>::new())));
        assert_eq!(read("server.listen", "[::1]:80"), Some(Value::from(vec![Value::from("[::1]:80")])));
        assert_eq!(read("server.shards", " 4 "), Some(Value::from(4u64)));
        assert_eq!(read("server.shards", "-4"), None);
        assert_eq!(read("publish.open", "true"), Some(Value::from(true)));
        assert_eq!(read("publish.open", "yes"), None);
        assert_eq!(read("publish.clients", "auto"), None);
        let polling = Value::from(vec![Value::from("polling")]);
        assert_eq!(read("socketio.transports", "polling"), Some(polling));
        assert_eq!(read("socketio.path", "/live/"), Some(Value::from("/live/")));
    }
}
