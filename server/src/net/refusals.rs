//! Keeps the log readable when clients misbehave: so many lines per address and time, the rest counted, and none that is not ours.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::net::IpAddr;
use std::time::Duration;

use millrace_engine::types::Monotonic;

/// What each address has been granted lately.
#[derive(Debug, Default)]
pub(crate) struct RefusalLog {
    addresses: BTreeMap<IpAddr, Window>,
}

#[derive(Debug)]
struct Window {
    began: Monotonic,
    lines: u32,
    left_out: u64,
}

impl RefusalLog {
    /// Whether a line about `address` may be written now; if so, how many about it were left out since the last.
    pub(crate) fn admit(&mut self, address: IpAddr, now: Monotonic) -> Option<u64> {
        let is_over = |window: &Window| window.began.until(now) >= WINDOW;
        if self.addresses.len() >= ADDRESSES_MAX && !self.addresses.contains_key(&address) {
            self.addresses.retain(|_, window| !is_over(window));
            if self.addresses.len() >= ADDRESSES_MAX {
                return None;
            }
        }
        let window = self.addresses.entry(address);
        let window = window.or_insert(Window {
            began: now,
            lines: 0,
            left_out: 0,
        });
        if is_over(window) {
            window.began = now;
            window.lines = 0;
        }
        if window.lines >= LINES_MAX {
            window.left_out += 1;
            return None;
        }
        window.lines += 1;
        Some(std::mem::take(&mut window.left_out))
    }
}

/// A sentence that may hold words of a client's choice, as one line of a log: what has no place in one is escaped. Fields are escaped by
/// the log itself.
pub(crate) struct OneLine<'a, T: ?Sized>(pub(crate) &'a T);

impl<T: fmt::Display + ?Sized> fmt::Display for OneLine<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|character| match character {
            '"' | '\'' => self.0.write_char(character),
            other => write!(self.0, "{}", other.escape_debug()),
        })
    }
}

/// Lines per address and window.
const LINES_MAX: u32 = 5;
const WINDOW: Duration = Duration::from_secs(10);
/// Addresses remembered by one thread.
const ADDRESSES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_clients_choice_make_no_line_of_their_own() {
        let line = |text: &str| OneLine(text).to_string();
        let forged = "topic x\n2026-12-01 ERROR \u{1b}[2J\u{2028}\u{202e}\r\u{85}";
        let told = r"topic x\n2026-12-01 ERROR \u{1b}[2J\u{2028}\u{202e}\r\u{85}";
        assert_eq!(line(forged), told);
        let ours = "Produce 9 refused: acks=0 and 'größe'-0: it is \"full\"";
        assert_eq!(line(ours), ours);
    }

    #[test]
    fn an_address_gets_a_few_lines_and_then_a_count() {
        let mut log = RefusalLog::default();
        let one = IpAddr::from([10, 0, 0, 1]);
        let at = |seconds: u64| Monotonic(seconds * 1_000_000);
        for _ in 0..LINES_MAX {
            assert_eq!(log.admit(one, at(0)), Some(0));
        }
        assert_eq!(log.admit(one, at(9)), None);
        assert_eq!(log.admit(one, at(9)), None);
        assert_eq!(log.admit(IpAddr::from([10, 0, 0, 2]), at(9)), Some(0));
        assert_eq!(log.admit(one, at(10)), Some(2));
        assert_eq!(log.admit(one, at(10)), Some(0));
    }
}
