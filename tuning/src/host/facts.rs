//! What the formulas need to know of a host besides the setting itself: memory, processors, cards, kernel, and
//! whether we are in a container or without privileges.
//!
//! Facts never judge. A fact that cannot be read has a stated stand-in, or is an `Option`.

use super::{Host, Overwriter, Reading, overwriters};

/// Bit of `CAP_SYS_RESOURCE` in `/proc/PID/status`: raising a hard limit.
const CAP_SYS_RESOURCE: u32 = 24;
/// Bit of `CAP_NET_ADMIN`: writing `net.*` in one's own network namespace.
const CAP_NET_ADMIN: u32 = 12;
/// Bit of `CAP_SYS_ADMIN`: writing the rest of `/proc/sys`.
const CAP_SYS_ADMIN: u32 = 21;

/// The first process namespace has this number on every kernel (`PROC_PID_INIT_INO`).
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

/// A network card: an interface with a device behind it, seen from our network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// `eth0`
    pub name: String,
    /// Receive queues.
    pub receive_queues: u32,
    /// Megabits per second, where the driver says.
    pub megabits: Option<u64>,
}

/// One host's facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Kernel version, major and minor.
    pub kernel: Option<(u32, u32)>,
    /// The kernel's full release text.
    pub release: String,
    /// Processors on line; 1 if that cannot be read.
    pub cpus: u32,
    /// Memory in all.
    pub memory_bytes: Option<u64>,
    /// Swap in all.
    pub swap_bytes: u64,
    /// NUMA nodes; 1 if that cannot be read.
    pub numa_nodes: u32,
    /// Size of a page.
    pub page_bytes: u64,
    /// What makes us believe that we run in a container.
    pub container: Option<String>,
    /// May write system-wide sysctls.
    pub can_administer: bool,
    /// May write the network sysctls of this namespace.
    pub can_administer_network: bool,
    /// May raise hard limits.
    pub can_raise_limits: bool,
    /// Our network namespace is not the machine's first: what is set in it is ours alone.
    pub owns_network: bool,
    /// Not even root here could raise a hard limit: the bounding set lacks the capability.
    pub limits_are_sealed: bool,
    /// The boot's identity; a journal names it.
    pub boot_id: String,
    /// Real cards.
    pub nics: Vec<Nic>,
    /// Programs that will set values again, where they were looked for.
    pub overwriters: Vec<Overwriter>,
}

impl Facts {
    /// Reads a host's facts.
    pub fn of(host: &Host) -> Self {
        let release = host.read("/proc/sys/kernel/osrelease").value().cloned().unwrap_or_default();
        let status = host.read_raw("/proc/self/status").value().cloned().unwrap_or_default();
        let effective = capabilities(&status, "CapEff:");
        let bounding = capabilities(&status, "CapBnd:");
        Self {
            kernel: version(&release),
            release,
            cpus: cpus(host),
            memory_bytes: meminfo(host, "MemTotal:"),
            swap_bytes: meminfo(host, "SwapTotal:").unwrap_or(0),
            numa_nodes: (host.expand("/sys/devices/system/node/node*").len() as u32).max(1),
            page_bytes: crate::sys::page_bytes(),
            container: container(host),
            can_administer: effective & (1 << CAP_SYS_ADMIN) != 0,
            can_administer_network: effective & (1 << CAP_NET_ADMIN) != 0,
            can_raise_limits: effective & (1 << CAP_SYS_RESOURCE) != 0,
            limits_are_sealed: bounding & (1 << CAP_SYS_RESOURCE) == 0,
            // The only sysctl of TCP that belongs to the whole kernel is shown in the first namespace and in no other.
            owns_network: host.read("/proc/sys/net/ipv4/tcp_rmem").value().is_some()
                && host.read("/proc/sys/net/ipv4/tcp_mem") == Reading::Missing,
            boot_id: host.read("/proc/sys/kernel/random/boot_id").value().cloned().unwrap_or_default(),
            nics: nics(host),
            overwriters: Vec::new(),
        }
    }

    /// Looks for programs that will set values again, which means a look at every process.
    #[must_use]
    pub fn with_overwriters(self, host: &Host) -> Self {
        Self { overwriters: overwriters::find(host), ..self }
    }

    /// Whether the kernel is at least this version; true where the version cannot be read.
    pub fn kernel_is_at_least(&self, major: u32, minor: u32) -> bool {
        self.kernel.is_none_or(|kernel| kernel >= (major, minor))
    }
}

/// The value of a row of `/proc/meminfo`, in bytes.
pub fn meminfo(host: &Host, row: &str) -> Option<u64> {
    let text = host.read_raw("/proc/meminfo").value().cloned()?;
    let line = text.lines().find_map(|line| line.strip_prefix(row))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Major and minor of `6.18.44-something`.
pub fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|sign: char| !sign.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// The processors named by a list such as `0-3,8`.
pub fn listed(list: &str) -> Vec<u32> {
    let mut cpus = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.trim().parse::<u32>(), last.trim().parse::<u32>()) {
            cpus.extend(first..=last);
        }
    }
    cpus
}

fn cpus(host: &Host) -> u32 {
    let online = host.read("/sys/devices/system/cpu/online");
    // Where /sys is hidden, a row of /proc/stat for each of them tells as much.
    let rows = || {
        let text = host.read_raw("/proc/stat").value().cloned().unwrap_or_default();
        let of_one = |row: &&str| row.strip_prefix("cpu").is_some_and(|rest| !rest.starts_with(' '));
        text.lines().filter(of_one).count()
    };
    online.value().map_or_else(rows, |list| listed(list).len()).max(1) as u32
}

fn capabilities(status: &str, row: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(row));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}

/// A file such as `/.dockerenv` outlives its container when an image becomes a virtual machine's root, so marks only
/// give a name; what decides, where it can be read, is whether our process namespace is the first one.
fn container(host: &Host) -> Option<String> {
    let namespace = std::fs::read_link(host.path("/proc/self/ns/pid")).ok();
    match namespace {
        Some(link) if link.as_os_str() == FIRST_PID_NAMESPACE => None,
        Some(_) => Some(container_mark(host).unwrap_or_else(|| "a process namespace of its own".to_owned())),
        None => container_mark(host),
    }
}

/// Every runtime leaves one of these marks; systemd-nspawn, podman and lxc also set `container=` for PID 1.
fn container_mark(host: &Host) -> Option<String> {
    for (path, name) in [("/.dockerenv", "Docker"), ("/run/.containerenv", "Podman")] {
        if host.read_raw(path) != Reading::Missing {
            return Some(name.to_owned());
        }
    }
    if host.read_raw("/var/run/secrets/kubernetes.io/serviceaccount/namespace") != Reading::Missing {
        return Some("Kubernetes".to_owned());
    }
    if let Reading::Value(name) = host.read("/run/systemd/container") {
        return Some(name);
    }
    let environment = host.read_raw("/proc/1/environ").value().cloned().unwrap_or_default();
    let named = environment.split('\0').find_map(|entry| entry.strip_prefix("container=")).map(str::to_owned);
    named.or_else(|| {
        let groups = host.read_raw("/proc/1/cgroup").value().cloned().unwrap_or_default();
        let marks = ["/docker", "/kubepods", "/lxc", "containerd", "libpod"];
        marks.iter().find(|mark| groups.contains(*mark)).map(|mark| mark.trim_start_matches('/').to_owned())
    })
}

/// `/sys/class/net` may have been mounted in another network namespace; only what `/proc/net/dev` lists is ours.
fn nics(host: &Host) -> Vec<Nic> {
    let ours = host.read_raw("/proc/thread-self/net/dev");
    let ours = ours.value().cloned().or_else(|| host.read_raw("/proc/net/dev").value().cloned());
    let ours = ours.unwrap_or_default();
    let is_ours = |name: &str| {
        ours.lines().any(|line| line.trim_start().split_once(':').is_some_and(|(first, _)| first == name))
    };
    let mut nics = Vec::new();
    for folder in host.expand("/sys/class/net/*/device") {
        let name = folder.split('/').nth(4).unwrap_or_default().to_owned();
        if is_ours(&name) {
            let receive_queues = host.expand(&format!("/sys/class/net/{name}/queues/rx-*")).len() as u32;
            let megabits = host.number(&format!("/sys/class/net/{name}/speed")).value().copied();
            nics.push(Nic { name, receive_queues, megabits });
        }
    }
    nics
}

#[cfg(test)]
mod tests {
    use super::{listed, version};

    #[test]
    fn a_release_is_read_up_to_its_minor_number() {
        assert_eq!(version("6.18.44-fc"), Some((6, 18)));
        assert_eq!(version("6.1-cloud"), Some((6, 1)));
        assert_eq!(version("unknown"), None);
    }

    #[test]
    fn a_list_of_processors_counts_ranges_and_single_ones() {
        assert_eq!(listed("0-3,8"), [0, 1, 2, 3, 8]);
        assert_eq!(listed(""), [0; 0]);
    }
}
