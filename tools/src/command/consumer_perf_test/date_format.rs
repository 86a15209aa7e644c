//! Times as java.text.SimpleDateFormat prints them, in the time zone of this machine.
//!
//! Letters for the day of the year, weeks and eras are refused like letters that Java does not know.

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::command::Failure;

/// A parsed pattern.
#[derive(Clone, Debug)]
pub(super) struct DateFormat {
    pieces: Vec<Piece>,
    zone: TimeZone,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// A letter, and how often it stands there.
    Field(char, usize),
}

impl DateFormat {
    /// Parses a pattern such as `yyyy-MM-dd HH:mm:ss:SSS`.
    pub(super) fn parse(pattern: &str) -> Result<Self, Failure> {
        let mut pieces = Vec::new();
        let mut letters = pattern.chars().peekable();
        while let Some(letter) = letters.next() {
            if letter == '\'' {
                pieces.push(Piece::Text(quoted(&mut letters)?));
            } else if letter.is_ascii_alphabetic() {
                if !FIELDS.contains(letter) {
                    let text = format!("Illegal pattern character '{letter}'");
                    return Err(Failure::Usage(text));
                }
                let mut count = 1;
                while letters.next_if_eq(&letter).is_some() {
                    count += 1;
                }
                // More digits than a number has are zeros in front of it; more than this are a mistake.
                pieces.push(Piece::Field(letter, count.min(FIELD_WIDTH_MAX)));
            } else {
                pieces.push(Piece::Text(letter.to_string()));
            }
        }
        let zone = TimeZone::system();
        Ok(Self { pieces, zone })
    }

    /// The time in this format.
    pub(super) fn print(&self, time: Timestamp) -> String {
        let time = time.to_zoned(self.zone.clone());
        let pieces = self.pieces.iter();
        pieces
            .map(|piece| match piece {
                Piece::Text(text) => text.clone(),
                Piece::Field(letter, count) => field(*letter, *count, &time),
            })
            .collect()
    }
}

const FIELDS: &str = "yMdHkKhmsSaEuzZX";

const FIELD_WIDTH_MAX: usize = 64;

/// What stands between quotes; the opening one was read. Two quotes are one.
fn quoted(letters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<String, Failure> {
    if letters.next_if_eq(&'\'').is_some() {
        return Ok("'".to_owned());
    }
    let mut text = String::new();
    loop {
        match letters.next() {
            Some('\'') if letters.next_if_eq(&'\'').is_some() => text.push('\''),
            Some('\'') => return Ok(text),
            Some(letter) => text.push(letter),
            None => return Err(Failure::Usage("Unterminated quote".to_owned())),
        }
    }
}

fn field(letter: char, count: usize, time: &Zoned) -> String {
    let digits = |number: i32| format!("{number:0count$}");
    let hour = i32::from(time.hour());
    match letter {
        'y' if count == 2 => format!("{:02}", time.year().rem_euclid(100)),
        'y' => digits(i32::from(time.year())),
        'M' if count >= 4 => time.strftime("%B").to_string(),
        'M' if count == 3 => time.strftime("%b").to_string(),
        'M' => digits(i32::from(time.month())),
        'd' => digits(i32::from(time.day())),
        'H' => digits(hour),
        'k' => digits(if hour == 0 { 24 } else { hour }),
        'K' => digits(hour % 12),
        'h' => digits(if hour % 12 == 0 { 12 } else { hour % 12 }),
        'm' => digits(i32::from(time.minute())),
        's' => digits(i32::from(time.second())),
        'S' => digits(i32::from(time.millisecond())),
        'u' => digits(i32::from(time.weekday().to_monday_one_offset())),
        'a' => time.strftime("%p").to_string(),
        'E' if count >= 4 => time.strftime("%A").to_string(),
        'E' => time.strftime("%a").to_string(),
        'z' => time.strftime("%Z").to_string(),
        'Z' => time.strftime("%z").to_string(),
        _ => iso_offset(count, time),
    }
}

/// `Z`, `+02`, `+0200` or `+02:00`.
fn iso_offset(count: usize, time: &Zoned) -> String {
    if time.offset().seconds() == 0 {
        return "Z".to_owned();
    }
    match count {
        1 => time.strftime("%z").to_string().chars().take(3).collect(),
        2 => time.strftime("%z").to_string(),
        _ => time.strftime("%:z").to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(pattern: &str, seconds_east: i32) -> String {
        let mut format = DateFormat::parse(pattern).unwrap();
        format.zone = TimeZone::fixed(jiff::tz::Offset::from_seconds(seconds_east).unwrap());
        // 2026-11-22T21:05:07.042Z, a Sunday.
        format.print(Timestamp::from_millisecond(1_795_381_507_042).unwrap())
    }

    #[test]
    fn times_look_as_java_prints_them() {
        assert_eq!(
            printed("yyyy-MM-dd HH:mm:ss:SSS", 0),
            "2026-11-22 21:05:07:042"
        );
        assert_eq!(
            printed("yyyy-MM-dd HH:mm:ss:SSS", 7200),
            "2026-11-22 23:05:07:042"
        );
        assert_eq!(printed("d.M.yy h:m a", 0), "22.11.26 9:5 PM");
        assert_eq!(printed("EEE, d MMM yyyy", 0), "Sun, 22 Nov 2026");
        assert_eq!(printed("EEEE MMMM u", 0), "Sunday November 7");
        assert_eq!(
            printed("yyyy-MM-dd'T'HH:mm:ssXXX", 5400),
            "2026-11-22T22:35:07+01:30"
        );
        assert_eq!(printed("X Z", 0), "Z +0000");
        assert_eq!(printed("''HH 'o''clock'", 0), "'21 o'clock");
    }

    #[test]
    fn unknown_letters_and_open_quotes_are_refused_in_javas_words() {
        let error = |pattern: &str| DateFormat::parse(pattern).unwrap_err().to_string();
        assert_eq!(error("yyyy-bb"), "Illegal pattern character 'b'");
        assert_eq!(error("HH 'x"), "Unterminated quote");
    }
}
