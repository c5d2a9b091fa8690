//! A hardened systemd unit for `roadstead serve`, and user data for cloud instances that carries it.

use crate::{rules, setting::Scene};

/// The unit. Each line that restricts says what the server does not need.
pub fn service(scene: &Scene<'_>) -> String {
    let heading = super::heading(scene, "/etc/systemd/system/roadstead.service");
    let nofile = rules::descriptors_for(scene.goal.target);
    let memory_mib = super::memory_mib(scene.goal.target);
    format!(
        "{heading}{UNIT_BEFORE_LIMITS}LimitNOFILE={nofile}\n{LIMITS_REST}MemoryMax={memory_mib}M\n{UNIT_AFTER_LIMITS}"
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

const UNIT_BEFORE_LIMITS: &str = "
[Unit]
Description=Roadstead real-time server
Documentation=https://github.com/roadstead/roadstead
After=network-online.target
Wants=network-online.target

[Service]
Type=exec
ExecStart=/usr/local/bin/roadstead serve --config /etc/roadstead/roadstead.toml
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=1
# Connections are closed in waves; give them the time.
KillSignal=SIGTERM
TimeoutStopSec=90

# Limits. limits.conf does not reach a service; these lines do.
";

const LIMITS_REST: &str = "# Rings are not charged here since Linux 5.12; registered buffers would be.
LimitMEMLOCK=8M
LimitCORE=0
TasksMax=1024
# Kernel memory of connections counts: without a limit a leak takes the box. Compare `tune check` for yours.
";

const UNIT_AFTER_LIMITS: &str = "OOMPolicy=stop

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

# TCP, Unix sockets for systemd, and netlink for nothing.
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
SystemCallArchitectures=native
# @system-service does not hold io_uring; the ring needs its three calls.
SystemCallFilter=@system-service io_uring_setup io_uring_enter io_uring_register
SystemCallFilter=~@privileged @resources
# Shards pin themselves and raise their soft limit.
SystemCallFilter=sched_setaffinity prlimit64 setrlimit
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
";
