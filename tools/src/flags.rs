//! Flags that several commands share, and Kafka's notations for the values of flags.
//!
//! Texts of errors are those of Kafka's tools.

use std::path::PathBuf;

use clap::Args;
use fancy_regex::Regex;

use crate::admin::{Admin, TopicPartition};
use crate::command::Failure;
use crate::properties::{self, Properties};

/// How an admin command reaches the cluster.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Connect {
    /// The brokers to connect to first
    #[arg(long, value_name = "HOST:PORT,...")]
    pub(crate) bootstrap_server: Option<String>,

    /// Properties file for the client (client.id, request.timeout.ms, default.api.timeout.ms,
    /// socket.connection.setup.timeout.ms)
    #[arg(long, value_name = "FILE")]
    pub(crate) command_config: Option<PathBuf>,
}

impl Connect {
    /// A client with these flags; it connects with the first request.
    pub(crate) fn admin(&self) -> Result<Admin, Failure> {
        let Some(servers) = &self.bootstrap_server else {
            return Err(missing("bootstrap-server"));
        };
        Ok(Admin::new(servers, &self.properties()?)?)
    }

    fn properties(&self) -> Result<Properties, Failure> {
        match &self.command_config {
            Some(path) => properties::load(path),
            None => Ok(Properties::new()),
        }
    }
}

/// Kafka's words for a flag that has to be there.
pub(crate) fn missing(flag: &str) -> Failure {
    Failure::Usage(format!("Missing required argument \"[{flag}]\""))
}

/// Answers `--zookeeper`, which old guides have, with what to use instead.
pub(crate) fn refuse_zookeeper(given: Option<&str>) -> Result<(), Failure> {
    let text = "--zookeeper is gone since Kafka 3.0 and Millrace has no ZooKeeper: use --bootstrap-server HOST:PORT with the address of a broker instead.";
    match given {
        Some(_) => Err(Failure::Usage(text.to_owned())),
        None => Ok(()),
    }
}

/// Refuses a flag beside another, in Kafka's words, if both were given.
pub(crate) fn refuse_together(flag: (&str, bool), others: &[(&str, bool)]) -> Result<(), Failure> {
    for (other, given) in others {
        if flag.1 && *given {
            let text = format!(
                "Option \"[{}]\" can't be used with option \"[{other}]\"",
                flag.0
            );
            return Err(Failure::Usage(text));
        }
    }
    Ok(())
}

/// Some topics.
#[derive(Debug)]
pub(crate) struct TopicFilter(Regex);

impl TopicFilter {
    /// Parses Kafka's notation for several topics: regular expressions between commas, matched as a whole.
    pub(crate) fn parse(list: &str) -> Result<Self, Failure> {
        let pattern = list.trim().replace(',', "|").replace(' ', "");
        let pattern = pattern.trim_matches(['"', '\'']);
        Regex::new(&format!("^(?:{pattern})$"))
            .map(Self)
            .map_err(|_| Failure::Text(format!("{list} is an invalid regex.")))
    }

    pub(crate) fn is_match(&self, topic: &str) -> bool {
        // Where this gives up, after a million steps back, Java would go on for ages.
        self.0.is_match(topic).unwrap_or(false)
    }
}

/// What a consumer subscribes to for a pattern: librdkafka takes what begins with `^` for a regular expression, of the POSIX kind.
///
/// # Errors
/// It has what Java's regular expressions can say and those cannot.
pub(crate) fn subscription(pattern: &str) -> Result<String, Failure> {
    match posix(pattern) {
        Some(pattern) => Ok(format!("^({pattern})$")),
        None => Err(Failure::Usage(format!(
            "Invalid regular expression '{pattern}': groups with '(?', possessive quantifiers and some escapes are not supported here"
        ))),
    }
}

/// A regular expression of Java as a POSIX extended one that matches the same names, where there is one. No name has a comma or a
/// space: Kafka's consumers would find nothing, and here a list stands for its parts, as in a [`TopicFilter`].
fn posix(pattern: &str) -> Option<String> {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern.chars().peekable();
    let (mut in_brackets, mut in_braces, mut after_quantifier) = (false, false, false);
    while let Some(next) = rest.next() {
        let is_quantifier = !in_brackets && matches!(next, '*' | '+' | '?' | '}');
        match next {
            // A lazy one matches the same names as a whole.
            '?' if after_quantifier => {
                after_quantifier = false;
                continue;
            }
            '+' if after_quantifier => return None,
            '\\' => out.push_str(&escape(rest.next()?, in_brackets)?),
            '(' if !in_brackets && rest.next_if_eq(&'?').is_some() => {
                rest.next_if_eq(&':')?;
                out.push('(');
            }
            ',' if !in_brackets && !in_braces => out.push('|'),
            ' ' if !in_brackets => {}
            _ => {
                match next {
                    '[' => in_brackets = true,
                    ']' => in_brackets = false,
                    '{' => in_braces = !in_brackets,
                    '}' => in_braces = false,
                    _ => {}
                }
                out.push(next);
            }
        }
        after_quantifier = is_quantifier;
    }
    Some(out)
}

/// What stands for a backslash and `escaped`.
fn escape(escaped: char, in_brackets: bool) -> Option<String> {
    let class = match escaped {
        'd' => "0-9",
        'w' => "A-Za-z0-9_",
        _ if escaped.is_ascii_alphanumeric() => return None,
        // In brackets a backslash is one of the characters, and these mean something.
        '^' | ']' | '-' if in_brackets => return None,
        _ if in_brackets => return Some(escaped.to_string()),
        _ => return Some(format!("\\{escaped}")),
    };
    Some(match in_brackets {
        true => class.to_owned(),
        false => format!("[{class}]"),
    })
}

/// The parts of a list as Java splits it: those at the end that are empty do not count.
pub(crate) fn parts(list: &str) -> impl Iterator<Item = &str> {
    let filled = list.trim_end_matches(',');
    let has_any = list.is_empty() || !filled.is_empty();
    filled.split(',').filter(move |_| has_any)
}

/// Parses `topic:0,1,2`.
pub(crate) fn topic_partitions(argument: &str) -> Result<Vec<TopicPartition>, Failure> {
    let Some((topic, partitions)) = argument
        .split_once(':')
        .filter(|(_, list)| !list.contains(':'))
    else {
        let text = format!("Invalid topic arg '{argument}', expected topic name and partitions");
        return Err(Failure::Usage(text));
    };
    let partition = |text: &str| {
        text.parse().map_err(|_| {
            Failure::Usage(format!(
                "Invalid partition '{text}' specified in topic arg '{argument}''"
            ))
        })
    };
    let parsed = parts(partitions).map(|text| {
        partition(text).map(|partition| TopicPartition {
            topic: topic.to_owned(),
            partition,
        })
    });
    parsed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_filter_matches_whole_names() {
        let filter = TopicFilter::parse("orders, pay.*").unwrap();
        assert!(filter.is_match("orders") && filter.is_match("payments"));
        assert!(!filter.is_match("orders2") && !filter.is_match("my-orders"));
        assert!(TopicFilter::parse("(").is_err());
    }

    #[test]
    fn a_topic_filter_looks_around_as_javas_patterns_can() {
        let filter = TopicFilter::parse("^(?!__).*").unwrap();
        assert!(filter.is_match("orders") && !filter.is_match("__consumer_offsets"));
        let filter = TopicFilter::parse("(?!__).*(?<!-test),__t++").unwrap();
        assert!(filter.is_match("orders") && filter.is_match("__tt"));
        assert!(!filter.is_match("orders-test") && !filter.is_match("__consumer_offsets"));
    }

    #[test]
    fn a_subscription_matches_what_the_same_pattern_matches_in_java() {
        for (pattern, expected) in [
            ("orders, pay.*", "^(orders|pay.*)$"),
            (r"orders-\d+", "^(orders-[0-9]+)$"),
            (r"[\d_\.]+?x", "^([0-9_.]+x)$"),
            (r"(?:a|b)\.c{2}?", r"^((a|b)\.c{2})$"),
            (r"\w*?", "^([A-Za-z0-9_]*)$"),
            ("[?+]+", "^([?+]+)$"),
            (r"orders-\d{1,3}", "^(orders-[0-9]{1,3})$"),
            ("[{]a{2,},b[,]", "^([{]a{2,}|b[,])$"),
        ] {
            assert_eq!(subscription(pattern).unwrap(), expected, "{pattern}");
        }
        for pattern in [
            "(?i)orders",
            "(?!internal).*",
            "a*+",
            r"\p{Lower}",
            r"a\",
            r"[\^a]",
        ] {
            assert!(subscription(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn a_list_may_end_in_commas() {
        let cases: [(&str, &[&str]); 4] = [
            ("a,,b,,", &["a", "", "b"]),
            ("a", &["a"]),
            ("", &[""]),
            (",", &[]),
        ];
        for (list, expected) in cases {
            assert_eq!(parts(list).collect::<Vec<_>>(), expected, "{list:?}");
        }
    }

    #[test]
    fn partitions_stand_behind_a_colon() {
        let found = topic_partitions("t:0,2,").unwrap();
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, ["t-0", "t-2"]);
        let error = topic_partitions("t:x").unwrap_err();
        assert_eq!(
            error.to_string(),
            "Invalid partition 'x' specified in topic arg 't:x''"
        );
        assert!(topic_partitions("t").is_err() && topic_partitions("t:1:2").is_err());
    }
}
