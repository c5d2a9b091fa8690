//! A hardened systemd unit for `roadstead serve`, and user data for cloud instances that carries it.

use super::{Assignment, DRAIN_MS, STOP_SECONDS};
use crate::{
    rules,
    setting::{Goal, Scene},
};

/// The unit. Each line that restricts says what the server does not need.
pub fn service(scene: &Scene<'_>) -> String {
    let heading = super::heading(scene, "/etc/systemd/system/roadstead.service");
    let Goal { target, .. } = *scene.goal;
    let nofile = rules::descriptors_for(target);
    let memory_mib = super::memory_mib(target);
    let locked_kib = rules::locked_bytes_for(scene) >> 10;
    format!(
        "{heading}{UNIT_HEAD}\
         ExecStart=/usr/local/bin/roadstead serve --drain-ms {DRAIN_MS} --connections {target}\n\
         Restart=on-failure\n\
         RestartSec=1\n\
         # Clients are told to go over --drain-ms; beyond that and a little more, something hangs.\n\
         KillSignal=SIGTERM\n\
         TimeoutStopSec={STOP_SECONDS}\n\n\
         # Limits. limits.conf does not reach a service; these lines do.\n\
         LimitNOFILE={nofile}\n\
         # What the executors register with their rings; the rings themselves are charged to memory since 5.12.\n\
         LimitMEMLOCK={locked_kib}K\n\
         LimitCORE=0\n\
         TasksMax=1024\n\
         # Kernel memory of connections counts: without a limit a leak takes the box, with one it takes the service.\n\
         MemoryMax={memory_mib}M\n{UNIT_TAIL}"
    )
}

/// User data: the values, the unit, the program and its key, and then the start.
pub fn cloud_init(scene: &Scene<'_>, binary: &str) -> String {
    let assignments = super::assignments(scene, &[]);
    let mut files = String::new();
    let mut file = |path: &str, text: &str| {
        files += &format!("  - path: {path}\n    content: |\n{}", super::indented(text, 6));
    };
    if assignments.iter().any(|one| one.sysctl_name().is_some()) {
        file("/etc/sysctl.d/90-roadstead.conf", &super::sysctl(scene));
    }
    if let Some(module) = assignments.iter().find_map(Assignment::module) {
        file("/etc/modules-load.d/90-roadstead.conf", &format!("{module}\n"));
    }
    file("/etc/systemd/system/roadstead.service", &service(scene));
    file("/usr/local/sbin/roadstead-install", &INSTALL.replace("{binary}", binary));
    format!("{CLOUD_HEAD}{files}{CLOUD_TAIL}")
}

const CLOUD_HEAD: &str = "\
#cloud-config
# The values were computed on the host where this was rendered; render it on an instance of the same size.
packages: [curl, openssl]
write_files:
";

const CLOUD_TAIL: &str = "\
runcmd:
  - [sh, /usr/local/sbin/roadstead-install]
";

/// What an instance does once. It stops at the first thing that fails, and then starts nothing.
const INSTALL: &str = "\
set -eu
# The program, to a name that the unit does not start until it is whole.
curl --fail --location --silent --show-error --output /usr/local/bin/roadstead.part '{binary}'
chmod 0755 /usr/local/bin/roadstead.part
/usr/local/bin/roadstead.part --version
mv /usr/local/bin/roadstead.part /usr/local/bin/roadstead
# The key that publishing takes; it stays on the instance.
install -d -m 0700 /etc/roadstead
if ! [ -s /etc/roadstead/roadstead.env ]; then
  (umask 077; printf 'ROADSTEAD_PUBLISH__KEYS=%s\\n' \"$(openssl rand -hex 32)\" >/etc/roadstead/roadstead.env)
fi
for module in $(cat /etc/modules-load.d/90-roadstead.conf 2>/dev/null); do modprobe \"$module\"; done
sysctl --system >/dev/null
systemctl daemon-reload
systemctl enable --now roadstead.service
";

const UNIT_HEAD: &str = "# It needs the program in /usr/local/bin, and once, as root, the key that publishing takes:
#   install -d -m 0700 /etc/roadstead
#   (umask 077; printf 'ROADSTEAD_PUBLISH__KEYS=%s\\n' \"$(openssl rand -hex 32)\" >/etc/roadstead/roadstead.env)

[Unit]
Description=Roadstead real-time server
Documentation=https://github.com/roadstead/roadstead
After=network-online.target
Wants=network-online.target

[Service]
Type=exec
# Clients come from everywhere; metrics and health are for this machine.
Environment=ROADSTEAD_SERVER__LISTEN=0.0.0.0:8080 ROADSTEAD_SERVER__ADMIN=127.0.0.1:8081
# Anybody who reaches it may read; `roadstead config print` tells how to say who may.
Environment=ROADSTEAD_READ__OPEN=true
# The key, and any other setting of yours.
EnvironmentFile=/etc/roadstead/roadstead.env
";

const UNIT_TAIL: &str = "# The keeper starts the server again when that is killed for its memory, on the sockets it has kept.
OOMPolicy=continue

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
