//! The one thing a broker reads in a member's subscription: the topics (`ConsumerProtocolSubscription`, version 0, which
//! is a prefix of all later versions).
//!
//! Everything else in it belongs to the assignor. Nonsense is no error: the topics are then unknown.

use std::collections::BTreeSet;

/// The protocol type whose subscriptions are read.
pub(super) const CONSUMER: &str = "consumer";

/// The topics of a subscription, or `None` when it does not read as one.
pub(super) fn topics(subscription: &[u8]) -> Option<BTreeSet<&str>> {
    let (version, rest) = subscription.split_first_chunk()?;
    let (count, mut rest) = rest.split_first_chunk()?;
    if i16::from_be_bytes(*version) < 0 {
        return None;
    }
    let mut topics = BTreeSet::new();
    for _ in 0..usize::try_from(i32::from_be_bytes(*count)).ok()? {
        let (length, tail) = rest.split_first_chunk()?;
        let length = usize::try_from(i16::from_be_bytes(*length)).ok()?;
        let (name, tail) = tail.split_at_checked(length)?;
        topics.insert(std::str::from_utf8(name).ok()?);
        rest = tail;
    }
    Some(topics)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topics_of_every_version_are_read() {
        // ConsumerProtocolSubscription v3: topics, user data, owned partitions, generation, rack.
        let bytes = b"\x00\x03\x00\x00\x00\x02\x00\x01b\x00\x02aa\xff\xff\xff\xff\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff";
        assert_eq!(topics(bytes), Some(BTreeSet::from(["aa", "b"])));
        assert_eq!(topics(&bytes[..12]), None);
    }

    #[test]
    fn nonsense_is_no_subscription() {
        assert_eq!(topics(b""), None);
        assert_eq!(topics(b"\x00\x00\x7f\xff\xff\xff"), None);
        assert_eq!(topics(b"\x00\x00\xff\xff\xff\xff"), None);
        assert_eq!(topics(b"\xff\xff\x00\x00\x00\x00"), None);
        assert_eq!(topics(b"\x00\x00\x00\x00\x00\x01\x00\x01\xff"), None);
    }
}
