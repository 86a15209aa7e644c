//! The names around a group: its own, its members', their instances'. Texts of the client, cheap to clone.
//!
//! They promise nothing about their content; lengths are checked where a command enters.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

macro_rules! text {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Arc<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Whether it is the empty text.
            #[must_use]
            pub fn is_empty(&self) -> bool {
                self.0.is_empty()
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(Arc::from(text))
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text! {
    /// The `group.id` of a consumer group. May be empty for offsets only, as Kafka has it for very old clients.
    GroupId
}

text! {
    /// The name the coordinator gave a member; empty where a client has none yet.
    MemberId
}

text! {
    /// The `group.instance.id` of a static member (KIP-345): it outlives the member ids of the process behind it.
    InstanceId
}
