//! What came of it: medians, ratios and their spread; the page that keeps them.

use std::{
    collections::BTreeMap,
    fmt::{self, Display, Write},
    fs,
    path::Path,
};

use anyhow::{Context, Result};

/// A floor that moves by more than this says that the machine had something else to do.
const STEADY: f64 = 0.15;
/// Where the sections of cases begin in the page; what stands above is written by hand.
const BEGIN: &str = "<!-- written by `cargo xtask bench` from here on -->";

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    /// Processor time per request, in nanoseconds.
    Cost,
    /// Time until the answer, in nanoseconds.
    Latency,
    /// Memory, in bytes.
    Memory,
}

impl Measure {
    /// Of a thousand.
    fn unit(self) -> &'static str {
        if self == Self::Memory { "kB" } else { "µs" }
    }

    fn heading(self) -> &'static str {
        match self {
            Self::Cost => "µs a request",
            Self::Latency => "µs",
            Self::Memory => "kB",
        }
    }
}

/// The turns of one server.
pub(super) struct Figures {
    name: String,
    /// By turn, what is measured of each process.
    turns: Vec<Vec<f64>>,
}

impl Figures {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), turns: Vec::new() }
    }

    /// Adds a turn: what is measured of each process.
    pub(super) fn add(&mut self, turn: Vec<f64>) {
        self.turns.push(turn);
    }

    /// The median of its turns, all processes together.
    pub(super) fn median(&self) -> f64 {
        median(self.totals())
    }

    fn totals(&self) -> Vec<f64> {
        self.turns.iter().map(|turn| turn.iter().sum()).collect()
    }

    /// Of each process, in thousands.
    fn parts(&self) -> Vec<f64> {
        let processes = self.turns.first().map_or(0, Vec::len);
        (0..processes).map(|at| median(self.turns.iter().map(|turn| turn[at]).collect()) / 1e3).collect()
    }
}

/// One case.
pub(super) struct Outcome {
    /// Its name.
    pub name: String,
    /// What it measures.
    pub about: &'static str,
    /// In which unit.
    pub measure: Measure,
    /// Requests in a turn.
    pub requests: u32,
    /// The first is what is measured.
    pub figures: Vec<Figures>,
}

/// A line of a table.
struct Row {
    name: String,
    thousands: f64,
    parts: Vec<f64>,
    /// What is measured, by this one: median, least, most.
    ratio: Option<[f64; 3]>,
}

impl Outcome {
    fn rows(&self) -> Vec<Row> {
        let Some(measured) = self.figures.first() else { return Vec::new() };
        let own = measured.totals();
        let row = |(at, figures): (usize, &Figures)| {
            let totals = figures.totals();
            let ratios: Vec<f64> = own.iter().zip(&totals).map(|(own, other)| own / other).collect();
            let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
            let most = ratios.iter().copied().fold(0.0, f64::max);
            let ratio = (at > 0).then(|| [median(ratios), least, most]);
            let parts = figures.parts();
            Row { name: figures.name.clone(), thousands: median(totals) / 1e3, parts, ratio }
        };
        self.figures.iter().enumerate().map(row).collect()
    }

    /// What the others are compared with.
    fn first(&self) -> &str {
        self.figures.first().map(|figures| &*figures.name).unwrap_or_default()
    }

    /// What makes the figures doubtful.
    fn remarks(&self) -> Vec<String> {
        let floors = self.figures.iter().filter(|figures| figures.name.starts_with("floor"));
        let spread = |figures: &Figures| {
            let totals = figures.totals();
            let most = totals.iter().copied().fold(0.0, f64::max);
            let least = totals.iter().copied().fold(f64::INFINITY, f64::min);
            ((most - least) / median(totals), figures.name.clone())
        };
        let unsteady = floors.map(spread).filter(|(spread, _)| *spread > STEADY);
        unsteady
            .map(|(spread, name)| {
                format!("The {name} moved by {:.0}% between rounds: the machine was not quiet.", spread * 100.0)
            })
            .collect()
    }

    /// The table, with what an earlier page says beside it.
    pub(super) fn table<'a>(&'a self, earlier: Option<&'a Report>) -> impl Display + 'a {
        fmt::from_fn(move |out| {
            write!(out, "\n{}: {}", self.name, self.about)?;
            if self.measure == Measure::Memory {
                writeln!(out)?;
            } else {
                writeln!(out, " ({} requests a turn)", self.requests)?;
            }
            let unit = self.measure.unit();
            for row in self.rows() {
                let parts = if row.parts.len() > 1 { format!("  ({})", sum(&row.parts)) } else { String::new() };
                write!(out, "  {:<18} {:>7.1} {unit}{parts}", row.name, row.thousands)?;
                if let Some([median, least, most]) = row.ratio {
                    write!(out, "   {} is {median:.3} × ({least:.3} to {most:.3})", self.first())?;
                }
                let before = earlier.and_then(|earlier| earlier.figures.get(&(self.name.clone(), row.name.clone())));
                if let Some((thousands, ratio)) = before {
                    write!(out, "   before: {thousands} {unit}")?;
                    if !ratio.is_empty() {
                        write!(out, ", {ratio} ×")?;
                    }
                }
                writeln!(out)?;
            }
            self.remarks().iter().try_for_each(|remark| writeln!(out, "  {remark}"))
        })
    }

    /// Its section of the page.
    fn section(&self, machine: &str, missing: &[String]) -> String {
        let mut text = format!("### {}\n\n{}. Measured on {machine}.\n\n", self.name, self.about);
        let _ = writeln!(text, "| | {} | {} ÷ it | least to most |", self.measure.heading(), self.first());
        text.push_str("|---|---|---|---|\n");
        for row in self.rows() {
            let parts = if row.parts.len() > 1 { format!(" ({})", sum(&row.parts)) } else { String::new() };
            let ratio = row.ratio.map_or_else(
                || " | ".to_owned(),
                |[median, least, most]| format!("{median:.3} | {least:.3} to {most:.3}"),
            );
            let _ = writeln!(text, "| {} | {:.1}{parts} | {ratio} |", row.name, row.thousands);
        }
        for remark in self.remarks().iter().chain(missing) {
            let _ = write!(text, "\n{remark}\n");
        }
        text
    }
}

fn sum(parts: &[f64]) -> String {
    parts.iter().map(|part| format!("{part:.1}")).collect::<Vec<_>>().join(" + ")
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// A run, or a page that an earlier one wrote.
pub(super) struct Report {
    machine: String,
    sections: BTreeMap<String, String>,
    /// The figure and the ratio, by case and server.
    figures: BTreeMap<(String, String), (String, String)>,
}

impl Report {
    /// Nothing yet.
    pub(super) fn new(machine: String) -> Self {
        Self { machine, sections: BTreeMap::new(), figures: BTreeMap::new() }
    }

    /// What a run begins with.
    pub(super) fn heading(&self) -> &str {
        &self.machine
    }

    /// Adds a case.
    pub(super) fn add(&mut self, outcome: &Outcome, missing: &[String]) {
        let missing: Vec<_> = missing.iter().map(|peer| format!("Missing: {peer}.")).collect();
        self.sections.insert(outcome.name.clone(), outcome.section(&self.machine, &missing));
    }

    /// Reads a page.
    pub(super) fn read(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("{} can't be read", file.display()))?;
        let (_, written) = text.split_once(BEGIN).unwrap_or_default();
        let mut report = Self::new(String::new());
        for section in written.split("\n### ").skip(1) {
            let name = section.lines().next().unwrap_or_default().to_owned();
            for line in section.lines().filter(|line| line.starts_with("| ")).skip(1) {
                let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
                if let [server, figure, ratio, _] = cells[..] {
                    let key = (name.clone(), server.to_owned());
                    report.figures.insert(key, (figure.to_owned(), ratio.to_owned()));
                }
            }
            report.sections.insert(name, format!("### {}\n", section.trim_end()));
        }
        Ok(report)
    }

    /// Writes the page: what stands in it above the sections, and about other cases, stays.
    pub(super) fn save(&self, file: &Path) -> Result<()> {
        let text = fs::read_to_string(file).unwrap_or_default();
        let above = text.split_once(BEGIN).map_or(&*text, |(above, _)| above).trim_end();
        let mut sections = if text.is_empty() { BTreeMap::new() } else { Self::read(file)?.sections };
        sections.extend(self.sections.clone());
        let sections = sections.values().map(|section| section.trim_end()).collect::<Vec<_>>().join("\n\n");
        fs::write(file, format!("{above}\n\n{BEGIN}\n\n{sections}\n"))
            .with_context(|| format!("{} can't be written", file.display()))
    }
}
