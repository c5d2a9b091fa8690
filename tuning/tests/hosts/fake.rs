//! A host made of files: a stock server with four CPUs, 32 GiB, one card and enough of everything.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use roadstead_tuning::{
    host::{Counters, Facts, Host, Subject},
    setting::{self, Goal, Profile, Scene},
    verdict::{self, Finding},
};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// The process that stands for a running server.
pub const SERVER: u32 = 42;

/// A folder that looks like a host, removed at the end.
pub struct FakeRoot {
    folder: PathBuf,
    /// What was counted when the host was stock.
    earlier: Option<Counters>,
}

impl FakeRoot {
    /// A host on which every setting is fine for 120,000 connections.
    pub fn stock() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("tune-root-{}-{number}", std::process::id()));
        let mut root = Self { folder, earlier: None };
        for (path, text) in STOCK {
            root.put(path, text);
        }
        symlink("pid:[4026531836]", root.path("/proc/self/ns/pid")).unwrap();
        root.earlier = Some(Counters::read(&Host::at(&root.folder)));
        root
    }

    /// Makes the host a Docker container.
    pub fn into_container(self) -> Self {
        fs::remove_file(self.path("/proc/self/ns/pid")).unwrap();
        symlink("pid:[4026532000]", self.path("/proc/self/ns/pid")).unwrap();
        self.put("/.dockerenv", "");
        self
    }

    /// Where a path of the host lies.
    pub fn path(&self, path: &str) -> PathBuf {
        let path = self.folder.join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    /// Writes a file.
    pub fn put(&self, path: &str, text: &str) {
        fs::write(self.path(path), text).unwrap();
    }

    /// Removes a file or a folder.
    pub fn remove(&self, path: &str) {
        let path = self.path(path);
        if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
    }

    /// Puts back every stock file at or below a path.
    pub fn restore(&self, path: &str) {
        for (file, text) in STOCK.iter().filter(|(file, _)| file.starts_with(path)) {
            self.put(file, text);
        }
    }

    /// A folder in a file's place, or a file in a folder's, cannot be read, not even by root.
    pub fn make_unreadable(&self, path: &str) {
        let was_folder = self.path(path).is_dir();
        self.remove(path);
        if was_folder { self.put(path, "") } else { fs::create_dir(self.path(path)).unwrap() }
    }

    /// Its folder, for `--root`.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The host.
    pub fn host(&self) -> Host {
        let host = Host::at(&self.folder).with_subject(Subject::Server(SERVER));
        match &self.earlier {
            Some(earlier) => host.with_earlier(earlier.clone()),
            None => host,
        }
    }

    /// Judges one setting for a goal.
    pub fn judge(&self, id: &str, goal: &Goal) -> Finding {
        let host = self.host();
        let facts = Facts::of(&host).with_overwriters(&host);
        verdict::judge(&setting::find(id).expect(id), &Scene { host: &host, facts: &facts, goal })
    }
}

impl Drop for FakeRoot {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.folder).ok();
    }
}

/// 120,000 connections on a box that also connects out.
pub fn goal(profile: Profile) -> Goal {
    let mut goal = Goal::new(120_000, profile);
    goal.is_client = true;
    goal
}

const LIMITS: &str = "\
Limit                     Soft Limit           Hard Limit           Units     
Max open files            1024                 1048576              files     
Max locked memory         8388608              8388608              bytes     
";

const STATUS: &str = "\
FDSize:	131072
CapEff:	000001ffffffffff
CapBnd:	000001ffffffffff
Seccomp:	0
";

const NETSTAT: &str = "\
TcpExt: SyncookiesSent ListenOverflows ListenDrops
TcpExt: 0 600 700
IpExt: InNoRoutes
IpExt: 0
";

const NET_DEV: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets
    lo:       0       0    0    0    0     0          0         0        0       0
  eth0:       0       0    0    0    0     0          0         0        0       0
";

/// Every file, as the kernel prints it.
pub const STOCK: &[(&str, &str)] = &[
    ("/proc/sys/kernel/osrelease", "6.12.5-stock\n"),
    ("/proc/sys/kernel/random/boot_id", "11111111-2222-3333-4444-555555555555\n"),
    ("/proc/self/status", STATUS),
    ("/proc/self/limits", LIMITS),
    ("/proc/self/cgroup", "0::/system.slice/roadstead.service\n"),
    ("/proc/1/limits", LIMITS),
    ("/proc/1/comm", "systemd\n"),
    ("/proc/1/environ", "PATH=/bin\0"),
    ("/proc/1/cgroup", "0::/init.scope\n"),
    ("/proc/42/limits", LIMITS),
    ("/proc/42/status", STATUS),
    ("/proc/42/comm", "roadstead\n"),
    ("/proc/42/cgroup", "0::/system.slice/roadstead.service\n"),
    ("/proc/meminfo", "MemTotal:       33554432 kB\nSwapTotal:       1048576 kB\n"),
    ("/proc/net/netstat", NETSTAT),
    ("/proc/net/softnet_stat", "0000000f 00000007 00000000\n000010e3 00000009 00000001\n"),
    ("/proc/net/dev", NET_DEV),
    ("/proc/irq/30/effective_affinity_list", "0\n"),
    ("/proc/irq/31/effective_affinity_list", "1\n"),
    ("/proc/irq/32/effective_affinity_list", "2\n"),
    ("/proc/irq/33/effective_affinity_list", "3\n"),
    ("/proc/sys/fs/nr_open", "1048576\n"),
    ("/proc/sys/fs/file-max", "9223372036854775807\n"),
    ("/proc/sys/net/ipv4/tcp_mem", "383869\t511826\t767738\n"),
    ("/proc/sys/net/ipv4/tcp_rmem", "4096\t131072\t33554432\n"),
    ("/proc/sys/net/ipv4/tcp_wmem", "4096\t16384\t16777216\n"),
    ("/proc/sys/net/ipv4/tcp_notsent_lowat", "131072\n"),
    ("/proc/sys/net/core/somaxconn", "4096\n"),
    ("/proc/sys/net/ipv4/tcp_max_syn_backlog", "4096\n"),
    ("/proc/sys/net/ipv4/tcp_syncookies", "1\n"),
    ("/proc/sys/net/ipv4/tcp_syn_linear_timeouts", "4\n"),
    ("/proc/sys/net/ipv4/tcp_fastopen", "1\n"),
    ("/proc/sys/net/core/rmem_max", "212992\n"),
    ("/proc/sys/net/core/wmem_max", "212992\n"),
    ("/proc/sys/net/core/busy_read", "0\n"),
    ("/proc/sys/vm/min_free_kbytes", "67584\n"),
    ("/proc/sys/vm/stat_interval", "10\n"),
    ("/proc/sys/kernel/timer_migration", "0\n"),
    ("/proc/sys/kernel/nmi_watchdog", "0\n"),
    ("/proc/cmdline", "root=/dev/vda1 skew_tick=1\n"),
    ("/sys/devices/system/cpu/isolated", "\n"),
    ("/sys/devices/system/cpu/nohz_full", "(null)\n"),
    ("/proc/sys/net/ipv4/tcp_syn_retries", "6\n"),
    ("/proc/sys/net/ipv4/tcp_synack_retries", "5\n"),
    ("/proc/sys/net/ipv4/tcp_abort_on_overflow", "0\n"),
    ("/proc/sys/net/ipv4/tcp_migrate_req", "1\n"),
    ("/proc/sys/net/ipv4/tcp_ehash_entries", "262144\n"),
    ("/proc/sys/net/netfilter/nf_conntrack_max", "262144\n"),
    ("/proc/sys/net/netfilter/nf_conntrack_count", "17\n"),
    ("/proc/sys/net/ipv4/tcp_timestamps", "1\n"),
    ("/proc/sys/net/ipv4/neigh/default/gc_thresh3", "1024\n"),
    ("/proc/sys/net/ipv4/tcp_max_tw_buckets", "131072\n"),
    ("/proc/sys/net/ipv4/tcp_max_orphans", "131072\n"),
    ("/proc/sys/net/ipv4/tcp_fin_timeout", "60\n"),
    ("/proc/sys/net/ipv4/tcp_keepalive_time", "200\n"),
    ("/proc/sys/net/ipv4/tcp_retries2", "15\n"),
    ("/proc/sys/net/ipv4/tcp_slow_start_after_idle", "0\n"),
    ("/proc/sys/net/ipv4/ip_local_port_range", "1024\t65535\n"),
    ("/proc/sys/net/ipv4/tcp_tw_reuse", "2\n"),
    ("/proc/sys/net/ipv4/tcp_tw_recycle", "0\n"),
    ("/proc/sys/net/ipv4/tcp_congestion_control", "cubic\n"),
    ("/proc/sys/net/core/rps_sock_flow_entries", "0\n"),
    ("/proc/sys/net/core/busy_poll", "0\n"),
    ("/proc/sys/kernel/io_uring_disabled", "0\n"),
    ("/proc/sys/kernel/numa_balancing", "0\n"),
    ("/proc/sys/vm/swappiness", "10\n"),
    ("/proc/sys/vm/max_map_count", "65530\n"),
    ("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n"),
    ("/sys/fs/cgroup/system.slice/roadstead.service/memory.max", "max\n"),
    ("/sys/fs/cgroup/system.slice/memory.max", "8589934592\n"),
    ("/sys/fs/cgroup/system.slice/roadstead.service/cpu.max", "max 100000\n"),
    ("/sys/class/net/eth0/device/msi_irqs/30", ""),
    ("/sys/class/net/eth0/device/msi_irqs/31", ""),
    ("/sys/class/net/eth0/device/msi_irqs/32", ""),
    ("/sys/class/net/eth0/device/msi_irqs/33", ""),
    ("/sys/class/net/eth0/speed", "1000\n"),
    ("/sys/class/net/eth0/gro_flush_timeout", "0\n"),
    ("/sys/class/net/eth0/queues/rx-0/rps_cpus", "0\n"),
    ("/sys/class/net/eth0/queues/rx-1/rps_cpus", "0\n"),
    ("/sys/class/net/eth0/queues/rx-2/rps_cpus", "0\n"),
    ("/sys/class/net/eth0/queues/rx-3/rps_cpus", "0\n"),
    ("/sys/class/net/eth0/queues/tx-0/xps_cpus", "1\n"),
    ("/sys/class/net/eth0/queues/tx-1/xps_cpus", "2\n"),
    ("/sys/class/net/eth0/queues/tx-2/xps_cpus", "4\n"),
    ("/sys/class/net/eth0/queues/tx-3/xps_cpus", "8\n"),
    ("/sys/devices/system/cpu/online", "0-3\n"),
    ("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n"),
    ("/sys/devices/system/cpu/cpu0/cpuidle/state0/latency", "2\n"),
    ("/sys/devices/system/cpu/cpu0/cpuidle/state0/disable", "0\n"),
    ("/sys/devices/system/cpu/cpu0/cpuidle/state1/latency", "133\n"),
    ("/sys/devices/system/cpu/cpu0/cpuidle/state1/disable", "1\n"),
    ("/sys/devices/system/cpu/vulnerabilities/spectre_v1", "Mitigation: barriers\n"),
    ("/sys/devices/system/node/node0/cpulist", "0-1\n"),
    ("/sys/devices/system/node/node1/cpulist", "2-3\n"),
    ("/sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n"),
    ("/etc/security/limits.conf", "# nofile comes from the units\n"),
];
