//! The only source of randomness: the kernel's, or a seeded stream for simulations.
//!
//! The seeded stream (xoshiro256++ by Blackman and Vigna) repeats itself exactly and guards no secret.

#![expect(
    unsafe_code,
    reason = "getrandom has no safe wrapper among our dependencies"
)]

use nix::errno::Errno;
use nix::libc;

/// Draws random numbers.
#[derive(Clone, Debug)]
pub struct Random {
    inside: Inside,
}

#[derive(Clone, Debug)]
enum Inside {
    System,
    Seeded([u64; 4]),
}

impl Random {
    /// The kernel's generator, fit for ids and secrets.
    #[must_use]
    pub fn system() -> Self {
        Self {
            inside: Inside::System,
        }
    }

    /// A stream that `seed` decides. A clone repeats what the original will draw.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        let mut state = seed;
        let mut next = || split_mix(&mut state);
        Self {
            inside: Inside::Seeded([next(), next(), next(), next()]),
        }
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        match &mut self.inside {
            Inside::System => fill_from_kernel(bytes),
            Inside::Seeded(state) => {
                for chunk in bytes.chunks_mut(8) {
                    let drawn = xoshiro(state).to_le_bytes();
                    chunk.copy_from_slice(&drawn[..chunk.len()]);
                }
            }
        }
    }

    /// Any `u64`.
    pub fn u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// Any `u128`.
    pub fn u128(&mut self) -> u128 {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        u128::from_le_bytes(bytes)
    }

    /// A number from 0 up to, not including, `end`; 0 when `end` is 0. Biased by less than 2^-64 * `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        let wide = u128::from(self.u64()) * u128::from(end);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// True `numerator` times out of `denominator`; never when both are 0.
    pub fn chance(&mut self, numerator: u64, denominator: u64) -> bool {
        self.below(denominator) < numerator
    }
}

#[expect(
    clippy::panic,
    reason = "no id or secret may be made without the kernel's randomness"
)]
fn fill_from_kernel(bytes: &mut [u8]) {
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        // SAFETY: `rest` is borrowed mutably until the call returns and the kernel writes at most `rest.len()` bytes
        // into it; nothing keeps the pointer afterwards.
        let count = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        match usize::try_from(count) {
            Ok(count) => filled += count,
            Err(_) if Errno::last() == Errno::EINTR => {}
            Err(_) => panic!("getrandom: {}", Errno::last()),
        }
    }
}

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn xoshiro(state: &mut [u64; 4]) -> u64 {
    let drawn = state[0]
        .wrapping_add(state[3])
        .rotate_left(23)
        .wrapping_add(state[0]);
    let shifted = state[1] << 17;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= shifted;
    state[3] = state[3].rotate_left(45);
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_the_stream_and_another_seed_another_one() {
        let drawn = |seed| {
            let mut random = Random::seeded(seed);
            [random.u64(), random.u64(), random.below(10)]
        };
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
    }

    /// From the reference implementation of xoshiro256++ with the state 1, 2, 3, 4.
    #[test]
    fn the_stream_is_the_published_one() {
        let mut state = [1, 2, 3, 4];
        assert_eq!(xoshiro(&mut state), 41_943_041);
        assert_eq!(xoshiro(&mut state), 58_720_359);
        assert_eq!(xoshiro(&mut state), 3_588_806_011_781_223);
    }

    #[test]
    fn numbers_stay_below_their_end() {
        let mut random = Random::seeded(7);
        assert!((0..1000).all(|_| random.below(3) < 3));
        assert_eq!(random.below(0), 0);
        assert!(!random.chance(0, 10) && random.chance(10, 10));
    }

    #[test]
    fn the_kernel_does_not_repeat_itself() {
        let mut random = Random::system();
        assert_ne!(random.u128(), random.u128());
        let mut long = [0; 1000];
        random.fill(&mut long);
        assert!(long.iter().any(|&byte| byte != 0));
    }
}
