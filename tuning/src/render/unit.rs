//! A hardened systemd unit for `roadstead serve`, and user data for cloud instances that carries it.

use crate::{
    rules,
    setting::{Goal, Scene},
};

/// Over how long a stopping service tells its clients to go: short enough for a person who waits for the restart.
const DRAIN_MS: u64 = 30_000;
/// What a stop may take beyond its drain before systemd kills it.
const STOP_SPARE_SECONDS: u64 = 15;

/// The unit. Each line that restricts says what the server does not need.
pub fn service(scene: &Scene<'_>) -> String {
    let heading = super::heading(scene, "/etc/systemd/system/roadstead.service");
    let Goal { target, .. } = *scene.goal;
    let nofile = rules::descriptors_for(target);
    let memory_mib = super::memory_mib(target);
    let locked_kib = rules::locked_bytes_for(scene) >> 10;
    format!(
        "{heading}{UNIT_HEAD}\
         ExecStart=/usr/local/bin/roadstead serve --config /etc/roadstead/roadstead.toml --drain-ms {DRAIN_MS} --connections {target}\n\
         Restart=on-failure\n\
         RestartSec=1\n\
         # Clients are told to go over --drain-ms; beyond that and a little more, something hangs.\n\
         KillSignal=SIGTERM\n\
         TimeoutStopSec={}\n\n\
         # Limits. limits.conf does not reach a service; these lines do.\n\
         LimitNOFILE={nofile}\n\
         # What the executors register with their rings; the rings themselves are charged to memory since 5.12.\n\
         LimitMEMLOCK={locked_kib}K\n\
         LimitCORE=0\n\
         TasksMax=1024\n\
         # Kernel memory of connections counts: without a limit a leak takes the box, with one it takes the service.\n\
         MemoryMax={memory_mib}M\n{UNIT_TAIL}",
        DRAIN_MS / 1_000 + STOP_SPARE_SECONDS,
    )
}

/// User data: the sysctls and the unit, written before the service is started.
pub fn cloud_init(scene: &Scene<'_>) -> String {
    let sysctl = indented(&super::sysctl(scene));
    let unit = indented(&service(scene));
    format!(
        "#cloud-config\n\
         # The values were computed on the host where this was rendered; render it on an instance of the same size.\n\
         write_files:\n\
         \x20 - path: /etc/sysctl.d/90-roadstead.conf\n\
         \x20   content: |\n{sysctl}\
         \x20 - path: /etc/systemd/system/roadstead.service\n\
         \x20   content: |\n{unit}\
         runcmd:\n\
         \x20 - [sysctl, --system]\n\
         \x20 - [systemctl, daemon-reload]\n\
         \x20 - [systemctl, enable, --now, roadstead.service]\n"
    )
}

fn indented(text: &str) -> String {
    text.lines()
        .map(|line| if line.is_empty() { "\n".to_owned() } else { format!("      {line}\n") })
        .collect()
}

const UNIT_HEAD: &str = "
[Unit]
Description=Roadstead real-time server
Documentation=https://github.com/roadstead/roadstead
After=network-online.target
Wants=network-online.target

[Service]
Type=exec
";

const UNIT_TAIL: &str = "OOMPolicy=stop

# A user that exists only while the service runs.
DynamicUser=yes
StateDirectory=roadstead
ConfigurationDirectory=roadstead
UMask=0077

# Nothing is gained after start, and ports below 1024 are bound by this one capability.
NoNewPrivileges=yes
AmbientCapabilities=CAP_NET_BIND_SERVICE
CapabilityBoundingSet=CAP_NET_BIND_SERVICE

# The file system is read-only but for the state directory.
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectProc=invisible
# The server reads /proc/sys and /proc/self to tell its ceiling, and writes neither.
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
KeyringMode=private

# Clients come by TCP or over a Unix socket; nothing here needs netlink or raw packets.
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
SystemCallArchitectures=native
# io_uring is part of @system-service by way of @aio, and named in case a version of systemd leaves it out. So are the
# calls by which shards pin themselves and raise their soft limits; do not take @resources away.
SystemCallFilter=@system-service io_uring_setup io_uring_enter io_uring_register
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
";
