//! The page cache between rounds: what one broker wrote is not to reach the device while another one is measured.

use std::fs;
use std::time::Duration;

use nix::unistd::sync;

use super::clock::{nanos, rest};
use crate::Outcome;

/// Lets everything that was written go to the device, and waits until that is done. False if it is not after a quarter of
/// a minute: somebody else is writing.
///
/// # Errors
/// The system does not say how much there is.
pub fn wait_for_write_back() -> Outcome<bool> {
    let begun = nanos();
    loop {
        sync();
        let text = fs::read_to_string("/proc/meminfo")?;
        let pending = kibibytes(&text, "Dirty")? + kibibytes(&text, "Writeback")?;
        if pending <= PENDING_KIBIBYTES_MAX {
            return Ok(true);
        }
        if nanos() - begun > PATIENCE_NANOS {
            return Ok(false);
        }
        rest(TURN);
    }
}

/// How many bytes can be written before the kernel begins to write back by itself, less a fifth for what else happens.
///
/// # Errors
/// The system does not say where it begins.
pub fn room_before_write_back() -> Outcome<u64> {
    let setting = |name: &str| -> Outcome<u64> {
        let text = fs::read_to_string(format!("/proc/sys/vm/{name}"))?;
        Ok(text.trim().parse()?)
    };
    let bytes = setting("dirty_background_bytes")?;
    let ratio = setting("dirty_background_ratio")?;
    room(bytes, ratio, &fs::read_to_string("/proc/meminfo")?)
}

/// By bytes where they are set, else by a share (in percent) of the memory that may hold pages of files.
fn room(bytes: u64, ratio: u64, meminfo: &str) -> Outcome<u64> {
    let of = |name| kibibytes(meminfo, name);
    let begins = match bytes {
        0 => (of("MemFree")? + of("Active(file)")? + of("Inactive(file)")?) * 1024 * ratio / 100,
        _ => bytes,
    };
    Ok(begins / 5 * 4)
}

fn kibibytes(meminfo: &str, name: &str) -> Outcome<u64> {
    let mut lines = meminfo.lines().filter_map(|line| line.split_once(':'));
    let found = lines.find(|(known, _)| *known == name);
    let (_, value) = found.ok_or_else(|| format!("no {name} in meminfo"))?;
    Ok(value.trim().trim_end_matches(" kB").parse()?)
}

/// What a machine at rest may always have.
pub const PENDING_KIBIBYTES_MAX: u64 = 4 << 10;
const TURN: Duration = Duration::from_millis(100);
const PATIENCE_NANOS: u64 = 15_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn write_back_begins_at_the_bytes_or_at_the_share_of_memory() {
        let meminfo =
            "MemTotal: 9 kB\nMemFree: 600 kB\nActive(file): 100 kB\nInactive(file): 300 kB\n";
        assert_eq!(room(0, 10, meminfo).unwrap(), 81_920);
        assert_eq!(room(5_000, 10, meminfo).unwrap(), 4_000);
        assert!(room(0, 10, "MemFree: 600 kB\n").is_err());
    }
}
