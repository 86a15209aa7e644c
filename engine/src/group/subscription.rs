//! The one thing a broker reads in a member's subscription: the topics (`ConsumerProtocolSubscription`, version 0, which
//! is a prefix of all later versions).
//!
//! Everything else in it belongs to the assignor. Nonsense is no error: the topics are then unknown.

use std::collections::BTreeSet;

/// The protocol type whose subscriptions are read.
pub(super) const CONSUMER: &str = "consumer";

/// The topics of a subscription, in its order; `None`, at the end, where it does not read as one.
pub(super) fn topics(subscription: &[u8]) -> impl Iterator<Item = Option<&str>> {
    let head = head(subscription);
    let mut left = head.map_or(1, |(count, _)| count);
    let mut rest = head.map(|(_, rest)| rest);
    std::iter::from_fn(move || {
        left = left.checked_sub(1)?;
        let topic = rest.and_then(topic);
        rest = topic.map(|(_, rest)| rest);
        if topic.is_none() {
            left = 0;
        }
        Some(topic.map(|(topic, _)| topic))
    })
}

/// Whether two subscriptions are to different topics. Those that do not read are taken for alike, very long ones for different
/// unless they are the same to the byte: a comparison of a hundred thousand names is not worth a rebalance.
pub(super) fn differ_in_topics(one: &[u8], other: &[u8]) -> bool {
    let count = |subscription| head(subscription).map_or(0, |(count, _)| count);
    if one == other {
        return false;
    }
    if count(one).max(count(other)) > COMPARED_TOPICS_MAX {
        return true;
    }
    let set = |subscription| topics(subscription).collect::<Option<BTreeSet<&str>>>();
    match (set(one), set(other)) {
        (Some(one), Some(other)) => one != other,
        _ => false,
    }
}

/// How many topics there are, and the bytes that begin with them.
fn head(subscription: &[u8]) -> Option<(usize, &[u8])> {
    let (version, rest) = subscription.split_first_chunk()?;
    let (count, rest) = rest.split_first_chunk()?;
    if i16::from_be_bytes(*version) < 0 {
        return None;
    }
    let count = usize::try_from(i32::from_be_bytes(*count)).ok()?;
    Some((count, rest))
}

/// The first topic, and the bytes after it.
fn topic(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let length = usize::try_from(i16::from_be_bytes(*length)).ok()?;
    let (name, rest) = rest.split_at_checked(length)?;
    Some((std::str::from_utf8(name).ok()?, rest))
}

/// How many topics of a subscription are compared with those of another.
const COMPARED_TOPICS_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn all(subscription: &[u8]) -> Option<Vec<&str>> {
        topics(subscription).collect()
    }

    #[test]
    fn the_topics_of_every_version_are_read() {
        // ConsumerProtocolSubscription v3: topics, user data, owned partitions, generation, rack.
        let bytes = b"\x00\x03\x00\x00\x00\x02\x00\x01b\x00\x02aa\xff\xff\xff\xff\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff";
        assert_eq!(all(bytes), Some(vec!["b", "aa"]));
        assert_eq!(all(&bytes[..12]), None);
        assert_eq!(
            topics(&bytes[..12]).count(),
            2,
            "it ends with the first that does not read"
        );
        assert_eq!(all(&[0; 6]), Some(vec![]));
    }

    #[test]
    fn nonsense_is_no_subscription() {
        assert_eq!(all(b""), None);
        assert_eq!(all(b"\x00\x00\x7f\xff\xff\xff"), None);
        assert_eq!(all(b"\x00\x00\xff\xff\xff\xff"), None);
        assert_eq!(all(b"\xff\xff\x00\x00\x00\x00"), None);
        assert_eq!(all(b"\x00\x00\x00\x00\x00\x01\x00\x01\xff"), None);
    }
}
