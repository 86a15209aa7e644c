//! Rounds become tables: medians, ranges, ratios, and whether goals are met.
//!
//! A ratio is the median of the ratios within each round, whose turns lie close together: what changes on the machine from
//! round to round falls out of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use millrace_benches::load::{Durability, Figures, Kind, Measure, Scenario, Short, Side, median};

use crate::machine::Machine;

/// One broker in one scenario.
pub(crate) struct Row {
    name: String,
    kind: Kind,
    /// By number; those that failed are not there.
    rounds: BTreeMap<usize, Figures>,
    /// What was counted apart from the rounds.
    counted: Figures,
    pub(crate) faults: Vec<String>,
}

/// One scenario with all that took part.
pub(crate) struct Compared<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) rows: Vec<Row>,
}

impl Row {
    pub(crate) fn new(name: &str, kind: Kind) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            rounds: BTreeMap::new(),
            counted: Figures::default(),
            faults: Vec::new(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn take(&mut self, round: usize, figures: Figures) {
        self.rounds.insert(round, figures);
    }

    pub(crate) fn count(&mut self, name: &'static str, value: f64) {
        self.counted.push(name, value);
    }

    fn values(&self, figure: &str) -> impl Iterator<Item = f64> {
        self.rounds
            .values()
            .filter_map(move |figures| figures.value(figure))
    }

    fn median(&self, figure: &str) -> Option<f64> {
        median(self.values(figure)).or(self.counted.value(figure))
    }

    /// The median of the ratios within the rounds that both have.
    fn ratio(&self, other: &Self, figure: &str) -> Option<f64> {
        let ratios = self.rounds.iter().filter_map(|(round, figures)| {
            let other = other.rounds.get(round)?.value(figure)?;
            Some(figures.value(figure)? / other)
        });
        // A figure that is zero in both has no ratio.
        median(ratios.filter(|ratio| !ratio.is_nan()))
    }
}

impl Compared<'_> {
    /// The columns that there are figures for.
    fn columns(&self) -> Vec<&'static str> {
        let figure = self.scenario.figure;
        let mut columns = vec![figure];
        let known = |name: &str| self.rows.iter().any(|row| row.median(name).is_some());
        for name in COLUMNS {
            // Where the most is known, what is left of it in the end says little more.
            let less = *name == "resident MB" && known("most resident MB");
            if *name != figure && !less && known(name) && columns.len() < COLUMNS_MAX {
                columns.push(name);
            }
        }
        columns
    }

    fn header(&self) -> Vec<String> {
        let mut cells = vec!["broker".to_owned(), "durability".to_owned()];
        for (index, column) in self.columns().iter().enumerate() {
            cells.push((*column).to_owned());
            if index == 0 {
                cells.push("range".to_owned());
                cells.extend(self.others().map(|other| format!("x {}", other.name)));
            }
        }
        cells
    }

    /// All but the first, which they are compared with.
    fn others(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().skip(1)
    }

    fn cells(&self, row: &Row) -> Vec<String> {
        let mut cells = vec![row.name.clone(), self.durability(row.kind).to_owned()];
        if row.rounds.is_empty() {
            let why = row.faults.first().map_or("no figures", String::as_str);
            cells.push(why.chars().take(80).collect());
            return cells;
        }
        for (index, column) in self.columns().iter().enumerate() {
            let value = row.median(column);
            cells.push(value.map_or_else(String::new, |value| Short(value).to_string()));
            if index == 0 {
                let least = row.values(column).min_by(f64::total_cmp);
                let most = row.values(column).max_by(f64::total_cmp);
                let range = least
                    .zip(most)
                    .map(|(least, most)| format!("{}-{}", Short(least), Short(most)));
                cells.push(range.unwrap_or_default());
                for other in self.others() {
                    let ratio = row.ratio(other, column);
                    let ratio = ratio.map(|ratio| Short(ratio).to_string());
                    cells.push(ratio.unwrap_or_default());
                }
            }
        }
        if !row.faults.is_empty() {
            let _ = write!(cells[0], " ({} rounds failed)", row.faults.len());
        }
        cells
    }

    /// What an acknowledgement of this broker says in this scenario.
    fn durability(&self, kind: Kind) -> &'static str {
        match (self.scenario.durability, kind) {
            (Durability::PageCache, _) => "page cache",
            (Durability::Device, Kind::Kafka) => "device (flush.messages=1)",
            (Durability::Device, _) => "device",
            (Durability::Default, Kind::Millrace) => "page cache, visible when on the device",
            (Durability::Default, _) => "page cache",
        }
    }

    fn table(&self) -> Vec<Vec<String>> {
        let rows = self.rows.iter().map(|row| self.cells(row));
        std::iter::once(self.header()).chain(rows).collect()
    }

    /// The table with columns that line up.
    pub(crate) fn for_terminal(&self) -> String {
        let table = self.table();
        let mut text = String::new();
        for cells in &table {
            for (column, cell) in cells.iter().enumerate() {
                let widths = table.iter().filter_map(|row| row.get(column));
                let width = widths.map(|cell| cell.chars().count()).max();
                let width = width.unwrap_or_default();
                let _ = write!(text, "{cell:width$}  ");
            }
            text.push('\n');
        }
        text
    }

    fn for_document(&self) -> String {
        let mut text = format!("## {}\n\n{}.\n\n", self.scenario.name, self.scenario.about);
        for (index, cells) in self.table().iter().enumerate() {
            let _ = writeln!(text, "| {} |", cells.join(" | "));
            if index == 0 {
                let _ = writeln!(text, "|{}", "---|".repeat(cells.len()));
            }
        }
        text
    }

    fn judged(&self) -> Vec<Vec<String>> {
        let Some(own) = self.rows.first() else {
            return Vec::new();
        };
        let judged = self.scenario.goals().into_iter().filter_map(|goal| {
            let value = own.median(goal.figure)?;
            let (compared, of) = match goal.measure {
                Measure::Plain => (value, Short(goal.factor).to_string()),
                Measure::Floor => (
                    own.ratio(self.first_of(Kind::Floor)?, goal.figure)?,
                    format!("{} x floor", goal.factor),
                ),
                Measure::Kafka => (
                    own.ratio(self.first_of(Kind::Kafka)?, goal.figure)?,
                    format!("{} x Kafka", goal.factor),
                ),
            };
            let (met, sign) = match goal.side {
                Side::AtMost => (compared <= goal.factor, "<="),
                Side::AtLeast => (compared >= goal.factor, ">="),
            };
            let share = match goal.measure {
                Measure::Plain => String::new(),
                Measure::Floor | Measure::Kafka => format!("{} x", Short(compared)),
            };
            Some(vec![
                self.scenario.name.to_owned(),
                goal.figure.to_owned(),
                format!("{sign} {of}"),
                Short(value).to_string(),
                share,
                if met { "yes" } else { "no" }.to_owned(),
            ])
        });
        judged.collect()
    }

    /// Of two floors the first, which has a file per partition as the broker has.
    fn first_of(&self, kind: Kind) -> Option<&Row> {
        self.rows.iter().find(|row| row.kind == kind)
    }
}

/// Whether goals are met, as a table.
pub(crate) fn goals(compared: &[Compared<'_>]) -> String {
    let mut text = String::from(
        "| scenario | figure | goal | median | ratio | met |\n|---|---|---|---|---|---|\n",
    );
    for cells in compared.iter().flat_map(Compared::judged) {
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text
}

/// All of it as a page.
pub(crate) fn document(machine: &Machine, times: &str, compared: &[Compared<'_>]) -> String {
    let mut text = format!(
        "# Benchmarks\n\n\
         Written by `cargo run --release -p millrace-benches --bin compare`. {machine}. {times}.\n\n\
         Figures are medians; CPU is user and system time of all threads of the broker's process, per GB (10^9 bytes) of record \
         values or per request. Latencies are counted from the moment at which a request should have left. Everything \
         acknowledged was read back and counted, but of the floor, which is a server of one thread that receives, checks the \
         checksum, appends and answers fixed bytes. `x NAME` is the first figure divided by that of NAME in the same round, the \
         median over the rounds; goals are judged by it. `switches/request` and `syscalls/request` are context switches and \
         system calls of the broker's threads (per fetch where nothing is produced); work that the kernel does on its own \
         io_uring threads makes switches and no system calls.\n\n\
         ## Goals\n\n{}",
        goals(compared)
    );
    for part in compared {
        let _ = write!(text, "\n{}", part.for_document());
    }
    text
}

/// What a table shows beside the figure of its scenario, most wanted first.
const COLUMNS: &[&str] = &[
    "idle CPU ms/s",
    "start after SIGKILL ms",
    "clean start CPU-s",
    "start after SIGKILL CPU-s",
    "first writes CPU-s",
    "syscalls/request",
    "switches/request",
    "requests/s",
    "wakes/s",
    "kB/connection",
    "MB/s",
    "records/s",
    "end-to-end p50 ms",
    "end-to-end p99 ms",
    "end-to-end p99.9 ms",
    "end-to-end p99.99 ms",
    "end-to-end max ms",
    "ack p50 ms",
    "p99 ms",
    "p99.9 ms",
    "p99.99 ms",
    "max ms",
    "alone p99 ms",
    "warm p99 ms",
    "cold/alone p99",
    "cold/warm p99",
    "cold max ms",
    "cold MB/s",
    "warm MB/s",
    "cold CPU-s/GB",
    "warm CPU-s/GB",
    "most resident MB",
    "resident MB",
];
const COLUMNS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn row(rounds: &[(usize, f64)]) -> Row {
        let mut row = Row::new("x", Kind::Millrace);
        for &(round, value) in rounds {
            let mut figures = Figures::default();
            figures.push("f", value);
            row.take(round, figures);
        }
        row
    }

    #[test]
    fn a_ratio_pairs_the_figures_of_one_round() {
        let own = row(&[(0, 2.0), (1, 20.0), (2, 300.0)]);
        let other = row(&[(0, 1.0), (1, 10.0), (2, 100.0)]);
        assert_eq!(own.ratio(&other, "f"), Some(2.0));
        let failed_once = row(&[(0, 1.0), (2, 100.0)]);
        assert_eq!(own.ratio(&failed_once, "f"), Some(2.5));
        assert_eq!(own.ratio(&row(&[(7, 1.0)]), "f"), None);
    }

    #[test]
    fn what_was_counted_apart_stands_where_no_round_has_it() {
        let mut own = row(&[(0, 2.0)]);
        own.count("syscalls/request", 3.0);
        assert_eq!(own.median("syscalls/request"), Some(3.0));
        assert_eq!(own.ratio(&row(&[(0, 1.0)]), "syscalls/request"), None);
    }
}
