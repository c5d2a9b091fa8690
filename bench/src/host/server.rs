//! The server under test as the kernel sees it: a process and its children, its busiest thread, its memory. Started by
//! us when asked, and then ended by us.

use std::{
    collections::BTreeMap,
    fs, io,
    net::{SocketAddr, TcpStream},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{cpu::CpuTime, memory::UserMemory};

/// How long a server we started may take to listen.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(20);
/// How long it may take to end when asked, before it is killed.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// A process whose CPU and memory are measured, with all its descendants: a cluster's workers count as the server.
pub struct Server {
    pid: u32,
    child: Option<Child>,
    open_files_max: Option<u64>,
}

/// CPU used by a server so far.
#[derive(Clone, Debug, Default)]
pub struct ServerCpu {
    /// All processes and threads, also those that have ended.
    pub total: CpuTime,
    threads: BTreeMap<u32, CpuTime>,
}

impl Server {
    /// A server that somebody else runs.
    pub fn watch(pid: u32) -> io::Result<Self> {
        CpuTime::of_process(pid)?;
        Ok(Self { pid, child: None, open_files_max: open_files_max(pid) })
    }

    /// Starts `command` with the shell and waits until something listens on `address`. It ends when this is dropped.
    pub fn spawn(command: &str, address: SocketAddr) -> io::Result<Self> {
        let child = Command::new("sh")
            .arg("-c")
            .arg(format!("exec {command}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            // Ctrl-C on a terminal goes to the whole group: the server has to stay until the result is there.
            .process_group(0)
            .spawn()?;
        let mut server = Self { pid: child.id(), child: Some(child), open_files_max: None };
        let deadline = Instant::now() + LISTEN_TIMEOUT;
        while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
            if let Some(status) = server.child.as_mut().map(Child::try_wait).transpose()?.flatten() {
                return Err(io::Error::other(format!(
                    "it ended with {status} before it listened on {address}"
                )));
            }
            if Instant::now() >= deadline {
                return Err(io::Error::other(format!(
                    "nothing listened on {address} after {LISTEN_TIMEOUT:?}"
                )));
            }
            thread::sleep(Duration::from_millis(20));
        }
        server.open_files_max = open_files_max(server.pid);
        Ok(server)
    }

    /// What hinders the server from holding so many connections, and how that is mended, as far as can be seen from
    /// here. A server with sockets elsewhere than in its descriptor table may hold more than its limit says.
    pub fn cure_for(&self, connections: u64) -> Option<String> {
        // A parent that only watches over the server has what it was given.
        let now = self.processes().into_iter().filter_map(open_files_max).max();
        let (pid, limit) = (self.pid, now.or(self.open_files_max).filter(|limit| *limit <= connections)?);
        let wanted = (connections + connections / 10).next_power_of_two();
        Some(format!(
            "the server's process may hold {limit} open files. Raise that with `prlimit --pid {pid} \
             --nofile={wanted}:{wanted}`, or for good with LimitNOFILE={wanted} in its unit"
        ))
    }

    /// CPU used so far.
    pub fn cpu(&self) -> io::Result<ServerCpu> {
        let mut cpu = ServerCpu::default();
        for pid in self.processes() {
            // A child may end while we look; the server itself may not.
            match CpuTime::of_process(pid) {
                Ok(time) => cpu.total = cpu.total + time,
                Err(error) if pid == self.pid => return Err(error),
                Err(_) => continue,
            }
            for thread in numbers_in(&format!("/proc/{pid}/task")) {
                if let Ok(time) = CpuTime::of_thread(pid, thread) {
                    cpu.threads.insert(thread, time);
                }
            }
        }
        Ok(cpu)
    }

    /// User memory now, all processes together.
    pub fn memory(&self) -> io::Result<UserMemory> {
        let mut sum = UserMemory::of_process(self.pid)?;
        for pid in self.processes().into_iter().skip(1) {
            if let Ok(memory) = UserMemory::of_process(pid) {
                sum += memory;
            }
        }
        Ok(sum)
    }

    /// The process and its descendants, itself first.
    fn processes(&self) -> Vec<u32> {
        let mut found = vec![self.pid];
        let mut looked_at = 0;
        while let Some(&pid) = found.get(looked_at) {
            looked_at += 1;
            for thread in numbers_in(&format!("/proc/{pid}/task")) {
                let children = fs::read_to_string(format!("/proc/{pid}/task/{thread}/children"));
                let children = children.unwrap_or_default();
                found.extend(children.split_ascii_whitespace().filter_map(|child| child.parse::<u32>().ok()));
            }
        }
        found
    }
}

impl ServerCpu {
    /// The time of the thread that used most of it since `earlier`: a server is saturated when one of its cores is.
    pub fn busiest_thread_since(&self, earlier: &Self) -> CpuTime {
        let used = self
            .threads
            .iter()
            .map(|(thread, time)| *time - earlier.threads.get(thread).copied().unwrap_or_default());
        used.max_by_key(|time| time.total_us()).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(child) = &mut self.child else { return };
        let deadline = Instant::now() + LEAVE_TIMEOUT;
        terminate(child);
        while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        if matches!(child.try_wait(), Ok(None)) && child.kill().is_ok() {
            drop(child.wait());
        }
    }
}

/// Asks a child to end, twice: the second ends a server that drains at once.
fn terminate(child: &Child) {
    for _ in 0..2 {
        // SAFETY: the call takes numbers; the child has not been waited for, so its id is still its own.
        unsafe { libc::kill(child.id().cast_signed(), libc::SIGTERM) };
        thread::sleep(Duration::from_millis(50));
    }
}

/// How many files a process may have open.
fn open_files_max(pid: u32) -> Option<u64> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

fn numbers_in(folder: &str) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_never_listens_is_told_of_by_its_end() {
        let error = Server::spawn("false", "127.0.0.1:1".parse().unwrap()).err().unwrap();
        assert!(error.to_string().contains("exit status: 1"), "{error}");
    }

    #[test]
    fn the_busiest_thread_is_found_by_difference() {
        let cpu = |one, two| ServerCpu {
            total: CpuTime::default(),
            threads: [(1, one), (2, two)]
                .map(|(thread, user_us)| (thread, CpuTime { user_us, system_us: 0 }))
                .into(),
        };
        assert_eq!(cpu(1000, 50).busiest_thread_since(&cpu(990, 10)).user_us, 40);
    }
}
