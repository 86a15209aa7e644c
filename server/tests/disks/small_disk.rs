//! A disk of a few megabytes: a tmpfs in a mount namespace of its own, held by a process that does nothing else.
//!
//! Needs no privileges where user namespaces are allowed. The broker runs outside and reaches it through `/proc`.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// Mounted; gone with all it holds when dropped.
pub(crate) struct SmallDisk {
    holder: Child,
    root: PathBuf,
    _mounted_on: TempDir,
}

impl SmallDisk {
    /// A disk of `mebibytes`, or why there is none.
    pub(crate) fn mount(mebibytes: u32) -> Result<Self, String> {
        let place = tempfile::Builder::new()
            .prefix("millrace-disk-")
            .tempdir()
            .map_err(|error| error.to_string())?;
        let script = format!(
            "mount -t tmpfs -o size={mebibytes}m none \"$0\" && echo mounted && exec sleep 100000"
        );
        let mut holder = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
            .arg(place.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("unshare: {error}"))?;
        let mut said = String::new();
        if let Some(stdout) = holder.stdout.take() {
            let _ = BufReader::new(stdout).read_line(&mut said);
        }
        let inside = format!("/proc/{}/root{}", holder.id(), place.path().display());
        let disk = Self {
            holder,
            root: PathBuf::from(inside),
            _mounted_on: place,
        };
        if said.trim() != "mounted" {
            return Err("no mount namespace, or no tmpfs in it".to_owned());
        }
        fs::create_dir(disk.data())
            .map_err(|error| format!("not reached from outside: {error}"))?;
        Ok(disk)
    }

    /// Where the broker's data goes.
    pub(crate) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    /// Takes all the space there is left; says how many bytes that were.
    pub(crate) fn fill(&self) -> u64 {
        let mut ballast = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.ballast())
            .expect("a name needs no space");
        for length in [1 << 20, 4 << 10, 1] {
            let piece = vec![1; length];
            while ballast.write_all(&piece).is_ok() {}
        }
        length_of(&self.ballast())
    }

    /// Gives the space back.
    pub(crate) fn make_room(&self) {
        File::create(self.ballast()).expect("the ballast can go");
    }

    fn ballast(&self) -> PathBuf {
        self.root.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn length_of(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}
