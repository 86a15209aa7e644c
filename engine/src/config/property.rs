//! One property: its name, type, default, bounds and what is done with it; reading and checking a value of it.
//!
//! It knows neither which properties exist nor where a value came from.

use std::fmt;

/// The type of a value, as `DescribeConfigs` reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`, in any case of letters.
    Boolean,
    /// Any text.
    String,
    /// A signed number of 32 bits.
    Int,
    /// A signed number of 16 bits.
    Short,
    /// A signed number of 64 bits.
    Long,
    /// A finite number with a fraction.
    Double,
    /// Texts between commas; spaces around them do not count, empty ones are dropped.
    List,
    /// The name of a Java class; only known names mean something here.
    Class,
    /// A secret text: never echoed, never logged.
    Password,
}

impl Kind {
    /// Kafka's word for the type, as its documentation and error messages have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::String => "string",
            Self::Int => "int",
            Self::Short => "short",
            Self::Long => "long",
            Self::Double => "double",
            Self::List => "list",
            Self::Class => "class",
            Self::Password => "password",
        }
    }
}

/// Which values of the right type are allowed.
#[derive(Clone, Copy, Debug)]
pub enum Allowed {
    /// Every value of the type.
    Anything,
    /// Whole numbers from `min` to `max`, both inclusive.
    Integers {
        /// The smallest.
        min: i64,
        /// The greatest; `i64::MAX` says no more than the type does.
        max: i64,
    },
    /// Numbers from `min` to `max`, both inclusive.
    Reals {
        /// The smallest.
        min: f64,
        /// The greatest.
        max: f64,
    },
    /// Exactly one of these words.
    OneOf(&'static [&'static str]),
    /// A list, each element one of these words.
    EachOf(&'static [&'static str]),
    /// A text of a certain form.
    Form {
        /// The form, for people; completes "allowed: ...".
        description: &'static str,
        /// Whether a text has it.
        check: fn(&str) -> bool,
    },
}

impl Allowed {
    /// Whole numbers from `min` on.
    #[must_use]
    pub const fn at_least(min: i64) -> Self {
        Self::Integers { min, max: i64::MAX }
    }

    /// Whole numbers from `min` to `max`, both inclusive.
    #[must_use]
    pub const fn between(min: i64, max: i64) -> Self {
        Self::Integers { min, max }
    }
}

/// For people: what is allowed, or nothing for [`Allowed::Anything`].
impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Anything => Ok(()),
            Self::Integers { min, max: i64::MAX } => write!(f, "{min} or more"),
            Self::Integers { min, max } => write!(f, "{min} to {max}"),
            Self::Reals { min, max } if max == f64::MAX => write!(f, "{min} or more"),
            Self::Reals { min, max } => write!(f, "{min} to {max}"),
            Self::OneOf(words) => write!(f, "one of {}", words.join(", ")),
            Self::EachOf(words) => write!(f, "a list of {}", words.join(", ")),
            Self::Form { description, .. } => f.write_str(description),
        }
    }
}

/// Whether a value may change while the broker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dynamic {
    /// Only by a restart.
    ReadOnly,
    /// For one broker at a time.
    PerBroker,
    /// For one broker or for the whole cluster at once. Every topic property is of this sort within its topic.
    ClusterWide,
}

/// What becomes of a value that somebody sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handling {
    /// It does what it does in Kafka.
    Honoured,
    /// It steers a mechanism of our own that serves the same purpose.
    Mapped,
    /// Stored and echoed, without effect: there is nothing here that it could steer.
    Accepted,
    /// Stored and echoed, without effect until the named part of Kafka exists here. Only for keys whose absence costs
    /// neither safety nor money; the others are refused.
    Pending(&'static str),
    /// Anything but the default is refused, for this reason.
    Refused(&'static str),
}

/// A property that stands behind another: what holds when the first is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Twin {
    /// Its name.
    pub name: &'static str,
    /// What one of its units is worth in units of the property before it: 3600000 for hours behind milliseconds.
    pub factor: i64,
}

/// One row of a table of properties; everything known about the property.
#[derive(Clone, Copy, Debug)]
pub struct Property {
    /// Kafka's name.
    pub name: &'static str,
    /// The type.
    pub kind: Kind,
    /// The default as text; `None` is null: not set.
    pub default: Option<&'static str>,
    /// The values allowed, beyond what the type says.
    pub allowed: Allowed,
    /// When it may change.
    pub dynamic: Dynamic,
    /// What becomes of it.
    pub handling: Handling,
    /// The broker properties consulted when this one is not set, first come first served. A topic property's default
    /// comes from here; a broker property's are coarser units of itself.
    pub twins: &'static [Twin],
    /// `false`: listed only when somebody set it.
    pub always_listed: bool,
    /// One line for people.
    pub documentation: &'static str,
}

/// A value that passed its property's checks.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Of a boolean.
    Boolean(bool),
    /// Of an int, short or long.
    Integer(i64),
    /// Of a double; finite.
    Real(f64),
    /// Of a string, class or password; trimmed.
    Text(String),
    /// Of a list; no element is empty.
    List(Vec<String>),
}

/// As `DescribeConfigs` echoes it. A password is shown too: whoever echoes must ask [`Property::is_sensitive`] first.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(value) => value.fmt(f),
            Self::Integer(value) => value.fmt(f),
            Self::Real(value) => write_java_double(f, *value),
            Self::Text(value) => f.write_str(value),
            Self::List(elements) => f.write_str(&elements.join(",")),
        }
    }
}

/// Java's `Double.toString`, near enough: 1.0 and not 1, 1.7976931348623157E308 and not 309 digits.
fn write_java_double(f: &mut fmt::Formatter<'_>, value: f64) -> fmt::Result {
    let magnitude = value.abs();
    if magnitude == 0.0 || (1e-3..1e7).contains(&magnitude) {
        write!(f, "{value:?}")
    } else {
        let text = format!("{value:E}");
        match text.split_once('E') {
            Some((digits, exponent)) if !digits.contains('.') => write!(f, "{digits}.0E{exponent}"),
            _ => f.write_str(&text),
        }
    }
}

/// A value that its property does not take. The sentence begins as Kafka's does, because people search for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Invalid value {value} for configuration {key}: {problem}")]
pub struct ValueError {
    /// The property.
    pub key: String,
    /// The value as given; `[hidden]` for a password.
    pub value: String,
    /// What is wrong with it, and what is allowed.
    pub problem: String,
}

impl Property {
    /// Whether the value must never be shown.
    #[must_use]
    pub const fn is_sensitive(&self) -> bool {
        matches!(self.kind, Kind::Password)
    }

    /// Reads and checks `text`, white space around it ignored.
    ///
    /// # Errors
    /// Not of the type, outside of what is allowed, or refused by us: the error names key, value and what is allowed.
    pub fn parse(&self, text: &str) -> Result<Value, ValueError> {
        let text = text.trim();
        let value = self.read(text).ok_or_else(|| {
            let what = match self.kind {
                Kind::Boolean => "Expected value to be either true or false".to_owned(),
                kind => format!("Not a number of type {}", kind.name().to_uppercase()),
            };
            self.error(text, with_allowed(&what, self.allowed))
        })?;
        if !self.allows(&value, text) {
            return Err(self.error(text, format!("allowed: {}", self.allowed)));
        }
        if let Handling::Refused(reason) = self.handling
            && !self.is_default(&value)
        {
            let default = self.default.unwrap_or("no value");
            return Err(self.error(text, format!("{reason}; allowed: {default:?}")));
        }
        Ok(value)
    }

    /// The default as a value, `None` when it is null.
    #[must_use]
    pub fn default_value(&self) -> Option<Value> {
        self.read(self.default?)
    }

    /// An error about `text` as a value of this property; hides a password.
    #[must_use]
    pub fn error(&self, text: &str, problem: impl Into<String>) -> ValueError {
        let shown = if self.is_sensitive() {
            "[hidden]"
        } else {
            text
        };
        ValueError {
            key: self.name.to_owned(),
            value: shown.to_owned(),
            problem: problem.into(),
        }
    }

    fn is_default(&self, value: &Value) -> bool {
        match self.default_value() {
            Some(default) => default == *value,
            // "key=" in a file says as little as no line at all.
            None => *value == Value::Text(String::new()) || *value == Value::List(Vec::new()),
        }
    }

    fn read(&self, text: &str) -> Option<Value> {
        Some(match self.kind {
            Kind::Boolean if text.eq_ignore_ascii_case("true") => Value::Boolean(true),
            Kind::Boolean if text.eq_ignore_ascii_case("false") => Value::Boolean(false),
            Kind::Boolean => return None,
            Kind::Int => Value::Integer(i64::from(text.parse::<i32>().ok()?)),
            Kind::Short => Value::Integer(i64::from(text.parse::<i16>().ok()?)),
            Kind::Long => Value::Integer(text.parse().ok()?),
            Kind::Double => Value::Real(text.parse().ok().filter(|real: &f64| real.is_finite())?),
            Kind::String | Kind::Class | Kind::Password => Value::Text(text.to_owned()),
            Kind::List => Value::List(elements(text).map(str::to_owned).collect()),
        })
    }

    fn allows(&self, value: &Value, text: &str) -> bool {
        match (self.allowed, value) {
            (Allowed::Integers { min, max }, Value::Integer(number)) => {
                (min..=max).contains(number)
            }
            (Allowed::Reals { min, max }, Value::Real(number)) => (min..=max).contains(number),
            (Allowed::OneOf(words), Value::Text(word)) => words.contains(&word.as_str()),
            (Allowed::EachOf(words), Value::List(list)) => {
                list.iter().all(|word| words.contains(&word.as_str()))
            }
            (Allowed::Form { check, .. }, _) => check(text),
            (Allowed::Anything, _) => true,
            // A row whose bounds do not fit its type allows nothing; a test keeps such rows out of the tables.
            _ => false,
        }
    }
}

/// The elements of a list as text: what stands between commas, trimmed, empty ones dropped.
pub(super) fn elements(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
}

fn with_allowed(problem: &str, allowed: Allowed) -> String {
    match allowed {
        Allowed::Anything => problem.to_owned(),
        _ => format!("{problem}; allowed: {allowed}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn property(kind: Kind, allowed: Allowed) -> Property {
        Property {
            name: "some.key",
            kind,
            default: None,
            allowed,
            dynamic: Dynamic::ClusterWide,
            handling: Handling::Honoured,
            twins: &[],
            always_listed: true,
            documentation: "",
        }
    }

    #[test]
    fn an_error_names_key_value_and_what_is_allowed() {
        let row = property(Kind::Int, Allowed::between(1, 9));
        assert_eq!(
            row.parse("ten").unwrap_err().to_string(),
            "Invalid value ten for configuration some.key: Not a number of type INT; allowed: 1 to 9"
        );
        assert_eq!(
            row.parse("10").unwrap_err().to_string(),
            "Invalid value 10 for configuration some.key: allowed: 1 to 9"
        );
    }

    #[test]
    fn numbers_outside_their_type_are_refused() {
        let outside = [
            (Kind::Short, "32768"),
            (Kind::Int, "2147483648"),
            (Kind::Long, "9223372036854775808"),
            (Kind::Double, "NaN"),
            (Kind::Double, "1e999"),
            (Kind::Int, ""),
            (Kind::Boolean, "yes"),
        ];
        for (kind, text) in outside {
            assert!(
                property(kind, Allowed::Anything).parse(text).is_err(),
                "{text}"
            );
        }
    }

    #[test]
    fn a_password_does_not_show_in_an_error() {
        let check = |_: &str| false;
        let allowed = Allowed::Form {
            description: "a key",
            check,
        };
        let error = property(Kind::Password, allowed)
            .parse("secret")
            .unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn a_refused_property_takes_its_default_and_nothing_else() {
        let mut row = property(Kind::Boolean, Allowed::Anything);
        row.default = Some("false");
        row.handling = Handling::Refused("there is no tiering");
        assert_eq!(row.parse("FALSE"), Ok(Value::Boolean(false)));
        let error = row.parse("true").unwrap_err().to_string();
        assert!(
            error.ends_with("there is no tiering; allowed: \"false\""),
            "{error}"
        );
    }

    #[test]
    fn doubles_look_as_java_prints_them() {
        let texts = [
            (0.5, "0.5"),
            (1.0, "1.0"),
            (f64::MAX, "1.7976931348623157E308"),
            (1e7, "1.0E7"),
            (0.0001, "1.0E-4"),
        ];
        for (value, text) in texts {
            assert_eq!(Value::Real(value).to_string(), text);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_echoed_reads_back_as_the_same_value(text in "\\PC{0,20}", number: i64, real: f64) {
            let list = property(Kind::List, Allowed::Anything);
            let value = list.parse(&text).unwrap();
            prop_assert_eq!(list.parse(&value.to_string()), Ok(value));
            let long = property(Kind::Long, Allowed::Anything);
            prop_assert_eq!(long.parse(&number.to_string()), Ok(Value::Integer(number)));
            if real.is_finite() {
                let double = property(Kind::Double, Allowed::Anything);
                prop_assert_eq!(
                    double.parse(&Value::Real(real).to_string()),
                    Ok(Value::Real(real))
                );
            }
        }
    }
}
