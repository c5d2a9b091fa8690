//! Every setting on a host made of files: fine, short, missing, unreadable, in a container.
//!
//! One row of [`CASES`] is one setting. What a row says is checked by the five tests below it.

use crate::fake::{FakeRoot, goal};
use Profile::{Idle, Latency, Storm, Throughput};
use Severity::{Fine, Hurts, Note, Stops, Unseen};
use roadstead_tuning::{
    ceiling,
    setting::{self, Profile, Scope, Source},
    verdict::{Finding, Remedy, Severity},
};

struct Case {
    id: &'static str,
    profile: Profile,
    /// The file or folder that holds it.
    path: &'static str,
    /// Text that falls short, and how bad that is.
    short: Option<(&'static str, Severity)>,
    /// What it means when the path does not exist.
    missing: Severity,
    /// What it means when the path cannot be read.
    unreadable: Severity,
}

const fn case(
    id: &'static str,
    profile: Profile,
    path: &'static str,
    short: (&'static str, Severity),
    missing: Severity,
    unreadable: Severity,
) -> Case {
    Case { id, profile, path, short: Some(short), missing, unreadable }
}

/// A setting that asks for nothing and is only shown.
const fn shown(
    id: &'static str,
    profile: Profile,
    path: &'static str,
    missing: Severity,
    unreadable: Severity,
) -> Case {
    Case { id, profile, path, short: None, missing, unreadable }
}

const SHORT_LIMITS: &str = "Max open files  1024  120131  files\nMax locked memory  524287  524287  bytes\n";
const OVERFLOWED: &str = "TcpExt: ListenOverflows\nTcpExt: 601\n";
const DROPPED: &str = "0000000f 00000008 00000000\n000010e3 00000009 00000001\n";

const CASES: &[Case] = &[
    case("nofile", Idle, "/proc/42/limits", (SHORT_LIMITS, Stops), Unseen, Unseen),
    case("nr-open", Idle, "/proc/sys/fs/nr_open", ("127499\n", Hurts), Unseen, Unseen),
    case("file-max", Idle, "/proc/sys/fs/file-max", ("150000\n", Stops), Unseen, Unseen),
    case("init-nofile", Idle, "/proc/1/limits", (SHORT_LIMITS, Note), Note, Note),
    case("limits-conf", Idle, "/etc/security/limits.conf", ("* hard nofile 1000000\n", Note), Fine, Note),
    case("fd-table", Storm, "/proc/42/status", ("FDSize:\t65536\n", Hurts), Unseen, Unseen),
    case("memory", Idle, "/proc/meminfo", ("MemTotal: 1000000 kB\n", Stops), Unseen, Unseen),
    case("memory-max", Idle, "/sys/fs/cgroup/system.slice/memory.max", ("536870912\n", Stops), Fine, Fine),
    case("tcp-mem", Idle, "/proc/sys/net/ipv4/tcp_mem", ("9000\t12000\t14000\n", Stops), Unseen, Unseen),
    case("tcp-mem-equal", Idle, "/proc/sys/net/ipv4/tcp_mem", ("70000\t70000\t70000\n", Hurts), Fine, Unseen),
    case(
        "tcp-rmem",
        Throughput,
        "/proc/sys/net/ipv4/tcp_rmem",
        ("4096\t131072\t6291456\n", Hurts),
        Unseen,
        Unseen,
    ),
    case(
        "tcp-wmem",
        Throughput,
        "/proc/sys/net/ipv4/tcp_wmem",
        ("4096\t16384\t4194304\n", Hurts),
        Unseen,
        Unseen,
    ),
    case(
        "notsent-lowat",
        Latency,
        "/proc/sys/net/ipv4/tcp_notsent_lowat",
        ("131073\n", Hurts),
        Unseen,
        Unseen,
    ),
    case("somaxconn", Storm, "/proc/sys/net/core/somaxconn", ("4095\n", Hurts), Unseen, Unseen),
    case("listen-backlog", Storm, "/proc/net/netstat", (OVERFLOWED, Hurts), Unseen, Unseen),
    case("syn-backlog", Storm, "/proc/sys/net/ipv4/tcp_max_syn_backlog", ("128\n", Hurts), Unseen, Unseen),
    case("syncookies", Storm, "/proc/sys/net/ipv4/tcp_syncookies", ("0\n", Hurts), Hurts, Unseen),
    case(
        "abort-on-overflow",
        Storm,
        "/proc/sys/net/ipv4/tcp_abort_on_overflow",
        ("1\n", Hurts),
        Unseen,
        Unseen,
    ),
    case("migrate-req", Storm, "/proc/sys/net/ipv4/tcp_migrate_req", ("0\n", Hurts), Hurts, Unseen),
    case("ehash", Storm, "/proc/sys/net/ipv4/tcp_ehash_entries", ("-16384\n", Hurts), Fine, Unseen),
    case("conntrack", Idle, "/proc/sys/net/netfilter/nf_conntrack_max", ("65536\n", Stops), Fine, Unseen),
    shown("syn-linear-timeouts", Storm, "/proc/sys/net/ipv4/tcp_syn_linear_timeouts", Fine, Unseen),
    shown("fastopen", Storm, "/proc/sys/net/ipv4/tcp_fastopen", Note, Note),
    shown("syn-retries", Storm, "/proc/sys/net/ipv4/tcp_syn_retries", Note, Note),
    case("synack-retries", Storm, "/proc/sys/net/ipv4/tcp_synack_retries", ("6\n", Note), Note, Note),
    case("softnet", Storm, "/proc/net/softnet_stat", (DROPPED, Note), Note, Note),
    case("timestamps", Storm, "/proc/sys/net/ipv4/tcp_timestamps", ("0\n", Hurts), Unseen, Unseen),
    case("neighbours", Storm, "/proc/sys/net/ipv4/neigh/default/gc_thresh3", ("1023\n", Note), Note, Note),
    case("tw-buckets", Storm, "/proc/sys/net/ipv4/tcp_max_tw_buckets", ("29999\n", Hurts), Unseen, Unseen),
    case("tw-recycle", Storm, "/proc/sys/net/ipv4/tcp_tw_recycle", ("1\n", Hurts), Fine, Unseen),
    case("max-orphans", Storm, "/proc/sys/net/ipv4/tcp_max_orphans", ("4096\n", Hurts), Unseen, Unseen),
    case("fin-timeout", Storm, "/proc/sys/net/ipv4/tcp_fin_timeout", ("61\n", Note), Note, Note),
    case("keepalive", Idle, "/proc/sys/net/ipv4/tcp_keepalive_time", ("7200\n", Note), Note, Note),
    case("retries2", Storm, "/proc/sys/net/ipv4/tcp_retries2", ("16\n", Note), Note, Note),
    case(
        "slow-start-idle",
        Latency,
        "/proc/sys/net/ipv4/tcp_slow_start_after_idle",
        ("1\n", Hurts),
        Unseen,
        Unseen,
    ),
    case(
        "local-ports",
        Storm,
        "/proc/sys/net/ipv4/ip_local_port_range",
        ("32768\t60999\n", Hurts),
        Unseen,
        Unseen,
    ),
    case("tw-reuse", Storm, "/proc/sys/net/ipv4/tcp_tw_reuse", ("0\n", Hurts), Unseen, Unseen),
    case("kernel-version", Idle, "/proc/sys/kernel/osrelease", ("5.15.0-generic\n", Hurts), Unseen, Unseen),
    case("io-uring-disabled", Idle, "/proc/sys/kernel/io_uring_disabled", ("2\n", Hurts), Fine, Unseen),
    case("io-uring-filter", Idle, "/proc/42/status", ("Seccomp:\t2\n", Hurts), Unseen, Unseen),
    case("memlock", Idle, "/proc/42/limits", (SHORT_LIMITS, Hurts), Unseen, Unseen),
    case(
        "transparent-hugepages",
        Latency,
        "/sys/kernel/mm/transparent_hugepage/enabled",
        ("[always] madvise never\n", Hurts),
        Fine,
        Unseen,
    ),
    shown("min-free", Latency, "/proc/sys/vm/min_free_kbytes", Note, Note),
    case("swappiness", Latency, "/proc/sys/vm/swappiness", ("60\n", Hurts), Unseen, Unseen),
    case("max-map-count", Idle, "/proc/sys/vm/max_map_count", ("65529\n", Note), Note, Note),
    case("nic-queues", Throughput, "/sys/class/net/eth0/queues", ("", Hurts), Fine, Unseen),
    case("irq-affinity", Latency, "/proc/irq/33/effective_affinity_list", ("0\n", Hurts), Hurts, Unseen),
    case("irqbalance", Latency, "/proc/42/comm", ("irqbalance\n", Note), Fine, Note),
    case("rps", Throughput, "/sys/class/net/eth0/queues/rx-0/rps_cpus", ("3\n", Hurts), Fine, Unseen),
    case("rfs", Throughput, "/proc/sys/net/core/rps_sock_flow_entries", ("32768\n", Note), Fine, Note),
    case("xps", Throughput, "/sys/class/net/eth0/queues/tx-0/xps_cpus", ("0\n", Hurts), Fine, Unseen),
    shown("coalescing", Latency, "/sys/class/net/eth0/gro_flush_timeout", Fine, Note),
    case("busy-read", Latency, "/proc/sys/net/core/busy_read", ("50\n", Note), Fine, Note),
    case("busy-poll", Latency, "/proc/sys/net/core/busy_poll", ("50\n", Note), Fine, Note),
    shown("congestion-control", Throughput, "/proc/sys/net/ipv4/tcp_congestion_control", Note, Note),
    case(
        "cpu-quota",
        Latency,
        "/sys/fs/cgroup/system.slice/roadstead.service/cpu.max",
        ("200000 100000\n", Hurts),
        Fine,
        Fine,
    ),
    case(
        "governor",
        Latency,
        "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
        ("powersave\n", Hurts),
        Fine,
        Unseen,
    ),
    case(
        "c-states",
        Latency,
        "/sys/devices/system/cpu/cpu0/cpuidle/state0/latency",
        ("51\n", Hurts),
        Fine,
        Unseen,
    ),
    case(
        "clocksource",
        Latency,
        "/sys/devices/system/clocksource/clocksource0/current_clocksource",
        ("hpet\n", Hurts),
        Unseen,
        Unseen,
    ),
    case("numa-balancing", Latency, "/proc/sys/kernel/numa_balancing", ("1\n", Hurts), Fine, Unseen),
    shown("mitigations", Latency, "/sys/devices/system/cpu/vulnerabilities/spectre_v1", Fine, Note),
    shown("socket-buffers", Throughput, "/proc/sys/net/core/rmem_max", Fine, Note),
    case("overwriters", Idle, "/proc/42/comm", ("bpftune\n", Note), Fine, Fine),
    shown("isolation", Latency, "/sys/devices/system/cpu/isolated", Fine, Unseen),
    case("timer-migration", Latency, "/proc/sys/kernel/timer_migration", ("1\n", Note), Fine, Note),
    case("nmi-watchdog", Latency, "/proc/sys/kernel/nmi_watchdog", ("1\n", Note), Fine, Note),
    case("stat-interval", Latency, "/proc/sys/vm/stat_interval", ("1\n", Note), Fine, Note),
    shown("skew-tick", Latency, "/proc/cmdline", Note, Note),
];

/// Makes the host short of the case's setting; a queue less for what counts queues.
fn shorten(root: &FakeRoot, case: &Case) {
    match (case.id, case.short) {
        ("nic-queues", _) => root.remove("/sys/class/net/eth0/queues/rx-3"),
        ("rps", Some((mask, _))) => {
            // Masks only count while there are fewer queues than CPUs.
            root.remove("/sys/class/net/eth0/queues/rx-3");
            root.put(case.path, mask);
        }
        (_, Some((text, _))) => root.put(case.path, text),
        (_, None) => {}
    }
}

/// Puts back what a case took away.
fn restore(root: &FakeRoot, case: &Case) {
    root.restore(case.path);
    root.restore("/sys/class/net/eth0/queues");
}

fn judge(root: &FakeRoot, case: &Case) -> Finding {
    root.judge(case.id, &goal(case.profile))
}

#[test]
fn every_setting_that_can_be_read_has_a_case() {
    for setting in setting::all() {
        let is_advice = matches!(setting.rule.read, Source::Nowhere);
        let has_case = CASES.iter().any(|case| case.id == setting.text.id);
        assert!(has_case != is_advice, "{} needs a row in CASES, or has one too many", setting.text.id);
    }
}

#[test]
fn on_the_stock_host_every_setting_is_fine() {
    let root = FakeRoot::stock();
    for case in CASES {
        let finding = judge(&root, case);
        assert_eq!(finding.severity, Fine, "{}: {finding:?}", case.id);
        assert_ne!(finding.current, "absent", "{} was not read at all", case.id);
        assert_eq!(finding.remedy, Remedy::None, "{}", case.id);
    }
}

#[test]
fn a_short_value_is_as_bad_as_the_case_says() {
    let root = FakeRoot::stock();
    for case in CASES {
        let Some((_, severity)) = case.short else { continue };
        shorten(&root, case);
        let finding = judge(&root, case);
        restore(&root, case);
        assert_eq!(finding.severity, severity, "{}: {finding:?}", case.id);
        assert_ne!(finding.remedy, Remedy::None, "{} has no remedy", case.id);
    }
}

#[test]
fn a_missing_place_means_what_the_setting_says() {
    let root = FakeRoot::stock();
    for case in CASES {
        root.remove(case.path);
        let finding = judge(&root, case);
        restore(&root, case);
        assert_eq!(finding.severity, case.missing, "{}: {finding:?}", case.id);
    }
}

#[test]
fn an_unreadable_place_is_never_taken_for_short() {
    let root = FakeRoot::stock();
    for case in CASES {
        root.make_unreadable(case.path);
        let finding = judge(&root, case);
        root.remove(case.path);
        restore(&root, case);
        assert_eq!(finding.severity, case.unreadable, "{}: {finding:?}", case.id);
        if case.unreadable != Fine {
            assert!(finding.remark.is_some(), "{} does not say why it cannot be read", case.id);
        }
    }
}

#[test]
fn in_a_container_a_shortfall_names_who_can_better_it() {
    let root = FakeRoot::stock().into_container();
    for case in CASES.iter().filter(|case| case.short.is_some()) {
        shorten(&root, case);
        let finding = judge(&root, case);
        restore(&root, case);
        let Remedy::Elsewhere(words) = &finding.remedy else {
            panic!("{}: {:?}", case.id, finding.remedy);
        };
        assert!(words.contains("Docker"), "{}: {words}", case.id);
        let is_host_wide = setting::find(case.id).unwrap().text.scope == Scope::Host;
        assert_eq!(words.contains("on its host"), is_host_wide, "{}: {words}", case.id);
    }
}

#[test]
fn memory_is_that_of_the_control_group_where_it_has_less() {
    let root = FakeRoot::stock();
    let held = || ceiling::in_memory(&root.host()).unwrap();
    assert_eq!((held().owner, held().bytes), ("this control group", 8 << 30));
    assert_eq!(held().connections, (8 << 30) / (3_940 + 256 + 512 + 512));
    root.put("/sys/fs/cgroup/system.slice/memory.max", "max\n");
    assert_eq!((held().owner, held().bytes), ("this machine", 32 << 30));
    assert_eq!(held().connections, ((32 << 30) - (2 << 30)) / (3_940 + 256 + 512 + 512));
    assert_eq!(held().bytes_for(held().connections), 32 << 30);
}

#[test]
fn what_another_network_namespace_owns_is_cured_there() {
    let root = FakeRoot::stock();
    root.remove("/proc/sys/net/ipv4/tcp_mem");
    let Remedy::Elsewhere(words) = root.judge("tcp-mem", &goal(Idle)).remedy else { panic!("no remedy") };
    assert!(words.starts_with("cannot be set from this network namespace"), "{words}");
}

#[test]
fn garbage_is_unreadable_and_not_short() {
    let root = FakeRoot::stock();
    root.put("/proc/sys/net/core/somaxconn", "many\n");
    let finding = root.judge("somaxconn", &goal(Storm));
    assert_eq!(finding.severity, Unseen);
    assert!(finding.remark.unwrap().contains("many"));
}

#[test]
fn a_mark_of_docker_on_a_machine_of_its_own_is_no_container() {
    let root = FakeRoot::stock();
    root.put("/.dockerenv", "");
    root.put("/proc/sys/net/core/somaxconn", "128\n");
    assert_eq!(root.judge("somaxconn", &goal(Storm)).remedy, Remedy::Apply);
}

#[test]
fn what_a_counter_counted_before_it_was_watched_is_nobodys_fault() {
    let root = FakeRoot::stock();
    let finding = root.judge("listen-backlog", &goal(Storm));
    assert_eq!((finding.severity, finding.wanted.as_str()), (Fine, "does not grow"));
    assert!(
        finding.current.starts_with("0 in ") && finding.current.ends_with("600 since boot"),
        "{finding:?}"
    );
    root.put("/proc/net/netstat", OVERFLOWED);
    let finding = root.judge("listen-backlog", &goal(Storm));
    assert!(finding.current.starts_with("1 in ") && finding.severity == Hurts, "{finding:?}");
}

#[test]
fn no_threshold_poses_as_a_value_that_somebody_could_set() {
    let root = FakeRoot::stock();
    for profile in Profile::ALL {
        for setting in setting::all() {
            let finding = root.judge(setting.text.id, &goal(profile));
            for nonsense in ["≤ 0", "≥ 0", "≥ 1 ", "≥ 601", "boot"] {
                assert!(
                    !format!("{} ", finding.wanted).contains(nonsense),
                    "{}: {}",
                    setting.text.id,
                    finding.wanted
                );
            }
        }
    }
    assert_eq!(root.judge("kernel-version", &goal(Idle)).wanted, "6.1 or later");
    assert_eq!(root.judge("abort-on-overflow", &goal(Idle)).wanted, "0");
    assert_eq!(root.judge("c-states", &goal(Latency)).wanted, "≤ 50 µs");
    assert_eq!(root.judge("limits-conf", &goal(Idle)).wanted, "none");
}

#[test]
fn what_works_against_a_goal_is_not_asked_for_it() {
    let root = FakeRoot::stock();
    root.put("/proc/sys/net/ipv4/tcp_wmem", "4096\t16384\t4194304\n");
    root.remove("/sys/class/net/eth0/queues/rx-3");
    for setting in setting::all().into_iter().filter(|setting| setting.text.conflict.is_some()) {
        for profile in Profile::ALL.into_iter().filter(|profile| setting.text.matters(*profile) == 0) {
            let finding = root.judge(setting.text.id, &goal(profile));
            assert_eq!((finding.severity, finding.wanted.as_str()), (Fine, "–"), "{finding:?}");
        }
    }
    // The case that was seen: the idle profile asked for the large maximum that its own text advises against.
    assert_eq!(root.judge("tcp-wmem", &goal(Idle)).severity, Fine);
    assert_eq!(root.judge("tcp-wmem", &goal(Throughput)).severity, Hurts);
}

#[test]
fn when_a_lost_handshake_is_tried_again_is_told_by_kernel() {
    let root = FakeRoot::stock();
    let told = || root.judge("syn-linear-timeouts", &goal(Storm)).formula;
    assert!(told().contains("after 1, 2, 3, 4, 5, 7 and 11 s"), "{}", told());
    root.put("/proc/sys/net/ipv4/tcp_syn_linear_timeouts", "0\n");
    assert!(told().contains("after 1, 3, 7, 15, 31 and 63 s"), "{}", told());
    root.remove("/proc/sys/net/ipv4/tcp_syn_linear_timeouts");
    assert!(told().contains("after 1, 3, 7, 15, 31 and 63 s"), "{}", told());
    for id in ["somaxconn", "syn-linear-timeouts"] {
        let text = setting::find(id).unwrap().text;
        assert!(text.why.contains("1, 2, 3, 4, 5, 7") && text.why.contains("1, 3, 7"), "{}", text.why);
    }
}

#[test]
fn no_command_is_told_that_sets_a_key_which_does_not_exist() {
    let root = FakeRoot::stock();
    for case in CASES.iter().filter(|case| case.path.starts_with("/proc/sys/")) {
        root.remove(case.path);
        let finding = judge(&root, case);
        restore(&root, case);
        if let Remedy::Elsewhere(words) = &finding.remedy {
            // It is shown in the machine's first network namespace, where the command is of use.
            let is_elsewhere = words.contains("in the machine's first");
            assert!(is_elsewhere || !words.contains("sysctl -w"), "{}: {words}", case.id);
        }
    }
}

#[test]
fn a_program_that_will_set_it_again_is_named_at_the_setting() {
    let root = FakeRoot::stock();
    assert!(root.judge("somaxconn", &goal(Storm)).overwritten.is_empty());
    root.put("/proc/77/comm", "tuned\n");
    root.put("/etc/tuned/active_profile", "mine\n");
    root.put(
        "/etc/tuned/mine/tuned.conf",
        "[main]\nsummary=x\ninclude=network-latency\n[vm]\ntransparent_hugepages=never\n",
    );
    root.put(
        "/usr/lib/tuned/network-latency/tuned.conf",
        "[sysctl]\n# net.core.busy_poll=50\nnet.core.somaxconn=>2048\n",
    );
    let finding = root.judge("somaxconn", &goal(Storm));
    assert_eq!(finding.severity, Note);
    assert!(finding.overwritten[0].starts_with("tuned with its profile mine sets it"), "{finding:?}");
    assert_eq!(root.judge("transparent-hugepages", &goal(Latency)).overwritten.len(), 1);
    assert!(root.judge("syn-backlog", &goal(Storm)).overwritten.is_empty());
    root.put("/proc/78/comm", "kube-proxy\n");
    assert!(root.judge("conntrack", &goal(Idle)).overwritten[0].contains("kube-proxy"));
}

#[test]
fn a_file_that_will_set_less_at_boot_is_named_before_it_does() {
    let root = FakeRoot::stock();
    root.put("/etc/sysctl.d/99-old.conf", "net.core.somaxconn = 4096\n");
    assert_eq!(root.judge("somaxconn", &goal(Storm)).severity, Fine);
    root.put("/etc/sysctl.d/99-old.conf", "net.core.somaxconn = 4095\n");
    let finding = root.judge("somaxconn", &goal(Storm));
    assert_eq!(finding.severity, Note);
    assert_eq!(finding.overwritten, ["/etc/sysctl.d/99-old.conf:1 sets 4095 at the next boot"]);
}

#[test]
fn files_that_nobody_reads_at_boot_threaten_nothing_in_a_container() {
    let root = FakeRoot::stock().into_container();
    root.put("/etc/sysctl.d/99-old.conf", "net.core.somaxconn = 4095\n");
    root.put("/proc/1/comm", "sh\n");
    assert_eq!(root.judge("somaxconn", &goal(Storm)).overwritten, [""; 0]);
    // A container that is like a machine has a systemd of its own, which reads them.
    root.put("/proc/1/comm", "systemd\n");
    assert_eq!(root.judge("somaxconn", &goal(Storm)).overwritten.len(), 1);
}
