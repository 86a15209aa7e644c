//! A table of properties, and the notation its rows are written in.
//!
//! One row is one property; parsing, descriptions, checks of changes and the documentation derive from it.

use super::property::Property;

/// Rows of properties, by theme. No name appears twice.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    themes: &'static [(&'static str, &'static [Property])],
}

impl Table {
    /// A table made of themes: a title and its rows each.
    #[must_use]
    pub const fn new(themes: &'static [(&'static str, &'static [Property])]) -> Self {
        Self { themes }
    }

    /// The themes in the order they were given.
    #[must_use]
    pub const fn themes(&self) -> &'static [(&'static str, &'static [Property])] {
        self.themes
    }

    /// Every row.
    pub fn rows(&self) -> impl Iterator<Item = &'static Property> + use<> {
        self.themes.iter().flat_map(|(_, rows)| rows.iter())
    }

    /// The row of `name`, if there is such a property. Walks the rows: for start-up and administration.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&'static Property> {
        self.rows().find(|row| row.name == name)
    }
}

/// Rows of a [`Table`], each `"name": Kind = "default", allowed, Dynamic, handling, "documentation";`. Without `=` the
/// default is null. After the handling may follow `twins [("name", factor)],` and `[unlisted],` (shown only when set).
#[macro_export]
macro_rules! properties {
    ($(
        $name:literal : $kind:ident $(= $default:literal)?, $allowed:expr, $dynamic:ident, $handling:expr,
        $(twins [$(($twin:literal, $factor:literal)),*],)? $([$unlisted:ident],)? $documentation:literal;
    )*) => {
        &[$($crate::config::Property {
            name: $name,
            kind: $crate::config::Kind::$kind,
            default: $crate::properties!(@default $($default)?),
            allowed: $allowed,
            dynamic: $crate::config::Dynamic::$dynamic,
            handling: $handling,
            twins: &[$($($crate::config::Twin { name: $twin, factor: $factor }),*)?],
            always_listed: $crate::properties!(@listed $($unlisted)?),
            documentation: $documentation,
        }),*]
    };
    (@default) => { None };
    (@default $default:literal) => { Some($default) };
    (@listed) => { true };
    (@listed unlisted) => { false };
}
