//! The one table that `kernels/gpu-check` writes, and whether all in it is as it should be.
use super::bars::{self, Verdict};
use super::packages::{Held, Row, UNPROVEN};
use super::steady::{STUDIES, Steady};
use std::fmt::Write;

/// The card, and what was found on it.
pub struct Table {
    capability: (i32, i32),
    text: String,
    all_hold: bool,
}

/// A kernel's time.
pub struct Measured {
    /// The operation and what it was done on.
    pub name: String,
    /// What has to move at least.
    pub bytes: usize,
    /// Median.
    pub ms: f32,
    /// Whether the bars are for it.
    pub is_barred: bool,
}

impl Measured {
    /// In GB/s.
    pub fn speed(&self) -> f64 {
        self.bytes as f64 / f64::from(self.ms) / 1e6
    }
}

impl Table {
    pub fn new(day: &str, card: &str, capability: (i32, i32), code: &str) -> Self {
        let (major, minor) = capability;
        let text = format!(
            "# CUDA kernels on a GPU\n\n{day} · {card} · compute capability {major}.{minor} · kernels from {code}\n\n\
             Written by `kernels/gpu-check`.\n"
        );
        Self { capability, text, all_hold: true }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether nothing differs and no bar is missed. What is unproven is said, and is no fault.
    pub fn all_hold(&self) -> bool {
        self.all_hold
    }

    /// Operations against their references: whether each holds.
    pub fn parity(&mut self, cases: u64, operations: impl IntoIterator<Item = (&'static str, bool)>) {
        self.heads(&["operation", "held against its reference"]);
        for (name, holds) in operations {
            self.all_hold &= holds;
            let verdict = if holds { "holds" } else { "**differs**" };
            self.row(&[name, &format!("{cases} cases of each kind: {verdict}")]);
        }
    }

    /// What each tool of compute-sanitizer found, and whether that is nothing.
    pub fn sanitizer(&mut self, tools: impl IntoIterator<Item = (&'static str, String, bool)>) {
        self.heads(&["compute-sanitizer", "found"]);
        for (tool, found, is_clean) in tools {
            self.all_hold &= is_clean;
            self.row(&[tool, &found]);
        }
    }

    /// TensorRT against ONNX Runtime, or why no plan ran.
    pub fn packages(&mut self, rows: &Result<Vec<Row>, String>) {
        self.heads(&["package", "engine", "against ONNX Runtime", ""]);
        match rows {
            Ok(rows) => {
                // Nothing to compare is not "nothing differs".
                self.all_hold &= !rows.is_empty();
                for Row { package, engine, found, held } in rows {
                    self.all_hold &= *held != Held::Differs;
                    self.row(&[package, engine, found, &held.to_string()]);
                }
                if !rows.iter().any(|row| row.held == Held::Holds) {
                    self.line(UNPROVEN);
                }
            }
            Err(why) => {
                self.row(&["all", "-", why, &Held::Unproven.to_string()]);
                self.line(&format!("{UNPROVEN}: {why}."));
            }
        }
    }

    /// Kernels against the copy bandwidth, in GB/s.
    pub fn benchmarks(&mut self, copy: f64, measured: &[Measured]) {
        self.line(&format!("Measured copy bandwidth: {copy:.0} GB/s (read and written)."));
        self.heads(&["benchmark", "MB", "ms", "GB/s", "of copy", "bar"]);
        for one in measured {
            let of_copy = one.speed() / copy;
            let verdict =
                if one.is_barred { bars::of_preprocessing(self.capability, of_copy, one.ms) } else { Verdict::None };
            self.all_hold &= verdict != Verdict::Missed;
            let numbers = [format!("{:.1}", one.bytes as f64 / 1e6), format!("{:.3}", one.ms)];
            let shares = [format!("{:.0}", one.speed()), format!("{:.0} %", 100.0 * of_copy)];
            self.row(&[&one.name, &numbers[0], &numbers[1], &shares[0], &shares[1], &verdict.to_string()]);
        }
    }

    /// Studies one after another; `engine` says what ran as the engine.
    pub fn steady(&mut self, lanes: usize, engine: &str, steady: &Steady) {
        let verdict = bars::of_steady_state(self.capability, steady.of_slower());
        self.all_hold &= verdict != Verdict::Missed;
        self.line(&format!(
            "{STUDIES} studies on {lanes} lanes, 16-bit samples in page-locked memory to the result there."
        ));
        self.line(&format!("Engine: {engine}."));
        self.heads(&["", "ms for a study", "of the slower", "bar"]);
        let ms = |ms: f64| format!("{ms:.3}");
        self.row(&["transfer alone", &ms(steady.transfer), "", ""]);
        self.row(&["engine alone", &ms(steady.engine), "", ""]);
        let of_slower = format!("{:.2}", steady.of_slower());
        self.row(&["both at once", &ms(steady.both), &of_slower, &verdict.to_string()]);
    }

    fn heads(&mut self, heads: &[&str]) {
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(self.text);
        self.row(heads);
        self.row(&vec!["---"; heads.len()]);
    }

    fn row(&mut self, cells: &[&str]) {
        // A cell is one line, and has no bar of its own.
        let cell = |cell: &&str| cell.replace('|', "/").split_whitespace().collect::<Vec<_>>().join(" ");
        let _ = writeln!(self.text, "| {} |", cells.iter().map(cell).collect::<Vec<_>>().join(" | "));
    }

    fn line(&mut self, line: &str) {
        let _ = writeln!(self.text, "\n{line}");
    }
}
