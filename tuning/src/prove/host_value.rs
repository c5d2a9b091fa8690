//! A value of the whole kernel, changed for the length of a round and put back by a process that outlives this one.
//!
//! The way back does not depend on us: a shell waits for the end of a pipe whose other end only this process holds.
//! It closes when the round is over, and also when this process panics, is interrupted or is killed; then the shell
//! writes the old value, if what stands there still is ours.

use std::{
    fs, io,
    os::unix::process::CommandExt,
    process::{Child, ChildStdin, Command, Stdio},
};

/// Waits for the end of its input, and puts `$3` into the file `$1` if that still holds `$2`. Not with `read`, which
/// takes byte after byte: a second read of a sysctl gives nothing.
const PUT_BACK: &str = r#"
while IFS= read -r line; do :; done
set -- "$1" "$2" "$3" $(cat "$1")
file=$1 ours=$2 old=$3
shift 3
[ "$*" = "$ours" ] || exit 0
echo "$old" >"$file""#;

/// A changed value; dropping it, or dying, puts the old one back.
#[derive(Debug)]
pub struct Lent {
    path: String,
    old: String,
    warden: Child,
    /// What keeps the warden waiting.
    lifeline: Option<ChildStdin>,
}

impl Lent {
    /// Changes the file to `new`, its numbers with one space between them.
    pub fn set(path: &str, new: &str) -> io::Result<Self> {
        let old = read(path)?;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", PUT_BACK, "sh", path, new, &old]).stdin(Stdio::piped());
        // A group of its own, so that Ctrl-C at the terminal ends us and not the way back.
        let mut warden = command.process_group(0).spawn()?;
        let lifeline = warden.stdin.take();
        let lent = Self { path: path.to_owned(), old, warden, lifeline };
        fs::write(path, new)?;
        match read(path)? {
            now if now == new => Ok(lent),
            now => Err(io::Error::other(format!("{path}: asked for {new}, reads {now}"))),
        }
    }

    /// Puts the old value back and makes sure of it.
    pub fn give_back(mut self) -> io::Result<()> {
        self.end()?;
        match read(&self.path)? {
            now if now == self.old => Ok(()),
            now => Err(io::Error::other(format!("{} is {now} and was {}", self.path, self.old))),
        }
    }

    fn end(&mut self) -> io::Result<()> {
        if self.lifeline.take().is_some() {
            self.warden.wait()?;
        }
        Ok(())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // Nobody is left to tell; the warden puts the value back whether or not it can be waited for.
        self.end().ok();
    }
}

fn read(path: &str) -> io::Result<String> {
    fs::read_to_string(path).map(|text| crate::host::settled(&text))
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::PathBuf,
        process::{Command, Stdio},
        thread,
        time::{Duration, Instant},
    };

    use super::{Lent, read};

    const NAMED: &str = "LENT_FILE";

    fn file(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("tune-lent-{}-{name}", std::process::id()));
        fs::write(&path, "1\t2\t3\n").unwrap();
        path
    }

    #[test]
    fn the_old_value_comes_back_when_the_round_panics() {
        let path = file("panic");
        let text = path.display().to_string();
        let round = std::thread::spawn(move || {
            let _lent = Lent::set(&text, "4 5 6").unwrap();
            assert_eq!(fs::read_to_string(&text).unwrap(), "4 5 6");
            panic!("the round fails");
        });
        round.join().unwrap_err();
        assert_eq!(fs::read_to_string(&path).unwrap(), "1 2 3\n");
        fs::remove_file(path).unwrap();
    }

    #[test]
    #[ignore = "it waits to be killed, by the next test"]
    fn a_process_that_has_changed_a_value() {
        let _lent = Lent::set(&std::env::var(NAMED).unwrap(), "4 5 6").unwrap();
        thread::park();
    }

    #[test]
    fn the_old_value_comes_back_when_the_process_is_killed() {
        let path = file("killed");
        let text = path.display().to_string();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--ignored", "a_process_that_has_changed_a_value"]).env(NAMED, &path);
        let mut process = command.stdout(Stdio::null()).spawn().unwrap();
        wait_until(&text, "4 5 6");
        process.kill().unwrap();
        process.wait().unwrap();
        wait_until(&text, "1 2 3");
        fs::remove_file(path).unwrap();
    }

    fn wait_until(path: &str, value: &str) {
        let begun = Instant::now();
        while read(path).unwrap() != value {
            assert!(begun.elapsed() < Duration::from_secs(30), "{}", read(path).unwrap());
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_sysctl_comes_back_although_the_kernel_gives_it_whole_or_not_at_all() {
        let path = "/proc/sys/net/ipv4/tcp_rmem";
        let result = super::super::in_namespace(Duration::from_secs(30), move || {
            let before = fs::read(path)?;
            let lent = Lent::set(path, "4096 65536 65536")?;
            lent.give_back()?;
            Ok(before == fs::read(path)?)
        });
        match result {
            Ok(is_same) => assert!(is_same),
            Err(trouble) => eprintln!("not run: {trouble}"),
        }
    }

    #[test]
    fn what_somebody_else_has_set_meanwhile_stays() {
        let path = file("meanwhile");
        let lent = Lent::set(&path.display().to_string(), "4 5 6").unwrap();
        fs::write(&path, "7\t8\t9\n").unwrap();
        assert!(lent.give_back().unwrap_err().to_string().ends_with("is 7 8 9 and was 1 2 3"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "7\t8\t9\n");
        fs::remove_file(path).unwrap();
    }
}
