//! Rounds become tables: medians, ranges, ratios, and whether goals are met.

use std::fmt::Write as _;

use millrace_benches::load::{Durability, Figures, Goal, Kind, Measure, Scenario, Short, Side};

use crate::machine::Machine;

/// One broker in one scenario.
pub(crate) struct Row {
    name: String,
    kind: Kind,
    pub(crate) rounds: Vec<Figures>,
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
            rounds: Vec::new(),
            faults: Vec::new(),
        }
    }

    fn median(&self, figure: &str) -> Option<f64> {
        Figures::medians(&self.rounds).value(figure)
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
                let range = Figures::range(&row.rounds, column);
                cells.push(range.map_or_else(String::new, |(least, most)| {
                    format!("{}-{}", Short(least), Short(most))
                }));
                for other in self.others() {
                    let ratio = value.zip(other.median(column));
                    let ratio = ratio.map(|(value, other)| Short(value / other).to_string());
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
            let bound = self.bound(goal)?;
            let (met, sign) = match goal.side {
                Side::AtMost => (value <= bound, "<="),
                Side::AtLeast => (value >= bound, ">="),
            };
            let of = match goal.measure {
                Measure::Plain => Short(goal.factor).to_string(),
                Measure::Floor => format!("{} x floor", goal.factor),
                Measure::Kafka => format!("{} x Kafka", goal.factor),
            };
            let share = match goal.measure {
                Measure::Plain => String::new(),
                Measure::Floor | Measure::Kafka => {
                    format!("{} x", Short(value / bound * goal.factor))
                }
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

    fn bound(&self, goal: Goal) -> Option<f64> {
        let of = |kind| {
            let row = self.rows.iter().find(|row| row.kind == kind)?;
            Some(row.median(goal.figure)? * goal.factor)
        };
        match goal.measure {
            Measure::Plain => Some(goal.factor),
            Measure::Floor => of(Kind::Floor),
            Measure::Kafka => of(Kind::Kafka),
        }
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
         checksum, appends and answers fixed bytes. `x NAME` is the first figure divided by that of NAME.\n\n\
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
    "requests/s",
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
    "most resident MB",
    "resident MB",
];
const COLUMNS_MAX: usize = 14;
