//! What one round of a scenario gave, in figures with names.

use std::fmt;

/// Figures by name and unit, in the order in which they were added.
#[derive(Clone, Debug, Default)]
pub struct Figures(Vec<(&'static str, f64)>);

impl Figures {
    /// Adds a figure. The name carries its unit.
    pub fn push(&mut self, name: &'static str, value: f64) {
        self.0.push((name, value));
    }

    /// The figure of this name.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<f64> {
        let found = self.0.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| *value)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, f64)> {
        self.0.iter().copied()
    }

    /// For each figure its median over the rounds.
    #[must_use]
    pub fn medians(rounds: &[Self]) -> Self {
        let names = rounds.first().into_iter().flat_map(Self::iter);
        let of = |name| median(rounds.iter().filter_map(|round| round.value(name)));
        let medians = names.filter_map(|(name, _)| Some((name, of(name)?)));
        Self(medians.collect())
    }
}

/// The value in the middle, or between the two that are there; none of none.
pub fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        count if count % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.iter().enumerate() {
            let gap = if index == 0 { "" } else { ", " };
            write!(f, "{gap}{name} {}", Short(value))?;
        }
        Ok(())
    }
}

/// A number with about three digits that matter.
#[derive(Clone, Copy, Debug)]
pub struct Short(pub f64);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.0.abs();
        let decimals = match size {
            _ if size >= 100.0 || size == 0.0 => 0,
            _ if size >= 10.0 => 1,
            _ if size >= 1.0 => 2,
            _ => 3,
        };
        write!(f, "{:.decimals$}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(values: &[f64]) -> Vec<Figures> {
        let round = |value: &f64| Figures(vec![("x", *value)]);
        values.iter().map(round).collect()
    }

    #[test]
    fn the_median_is_the_middle_or_between_the_two() {
        let odd = rounds(&[9.0, 1.0, 5.0]);
        assert_eq!(Figures::medians(&odd).value("x"), Some(5.0));
        let even = rounds(&[9.0, 1.0, 5.0, 6.0]);
        assert_eq!(Figures::medians(&even).value("x"), Some(5.5));
        assert_eq!(median(std::iter::empty()), None);
    }

    #[test]
    fn numbers_have_three_digits_that_matter() {
        let shown = [1_234.4, 12.34, 1.234, 0.1234, 0.0].map(|value| Short(value).to_string());
        assert_eq!(shown, ["1234", "12.3", "1.23", "0.123", "0"]);
    }
}
