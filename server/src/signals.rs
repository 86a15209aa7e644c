//! The signals that stop the broker in order.

use std::future::poll_fn;
use std::task::Poll;
use std::{fs, io};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Waited for from the moment when this is made: none of them ends the process by itself any more.
pub(crate) struct StopSignals(Vec<Signal>);

impl StopSignals {
    /// SIGTERM, SIGINT, and SIGHUP unless the process was started to outlive its terminal: those that Kafka stops at, too.
    pub(crate) fn listen() -> io::Result<Self> {
        let mut kinds = vec![SignalKind::terminate(), SignalKind::interrupt()];
        // Where nobody can tell, it is not ignored.
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        if !ignores_hangup(&status) {
            kinds.push(SignalKind::hangup());
        }
        kinds
            .into_iter()
            .map(signal)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Waits for the first of them.
    pub(crate) async fn first(mut self) {
        poll_fn(|context| {
            let mut signals = self.0.iter_mut();
            if signals.any(|signal| signal.poll_recv(context).is_ready()) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }
}

/// Whether SIGHUP is ignored (`nohup`) by a process with this `status`, in the form of proc(5).
fn ignores_hangup(status: &str) -> bool {
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // The lowest bit is signal 1.
    ignored.is_some_and(|mask| mask & 1 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hangup_is_ignored_where_the_mask_has_its_bit() {
        let status = |mask: &str| {
            format!("SigBlk:\t0000000000000001\nSigIgn:\t{mask}\nSigCgt:\t0000000000000001\n")
        };
        assert!(ignores_hangup(&status("0000000000001001")));
        assert!(!ignores_hangup(&status("0000000000001000")));
        assert!(!ignores_hangup(&status("?")));
        assert!(!ignores_hangup(""));
    }
}
