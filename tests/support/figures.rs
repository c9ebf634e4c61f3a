//! What benches have in common: times, and the tables that they print.

#![allow(dead_code, missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]
#![allow(clippy::disallowed_methods, reason = "a bench looks at the clock")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The library starts children of "the same binary", which a bench is then. `Some` in such a child.
pub fn as_a_child() -> Option<ExitCode> {
    let word = std::env::args().nth(1)?;
    let hidden = ["render-child", "canary", "canary-inner", "exec-in"];
    hidden.contains(&word.as_str()).then(switchlet::cli::run)
}

/// How long `work` takes, and what came of it.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    let result = work();
    (result, began.elapsed())
}

/// The middle one.
pub fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times[times.len() / 2]
}

pub fn worst(times: &[Duration]) -> Duration {
    times.iter().copied().max().unwrap_or_default()
}

pub fn millis(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1e3;
    if millis < 10.0 { format!("{millis:.1} ms") } else { format!("{millis:.0} ms") }
}

/// How many times faster `ours` is than `theirs`.
pub fn times_faster(theirs: Duration, ours: Duration) -> String {
    format!("{:.1}×", theirs.as_secs_f64() / ours.as_secs_f64())
}

/// A Markdown table whose columns line up.
pub struct Table(Vec<Vec<String>>);

impl Table {
    pub fn new(header: &[&str]) -> Self {
        Self(vec![header.iter().map(|&cell| cell.to_owned()).collect()])
    }

    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.0.push(Vec::from(cells));
    }

    pub fn print(&self) {
        let width = |column: usize| self.0.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        println!();
        for (number, row) in self.0.iter().enumerate() {
            let pad = |(column, cell): (usize, &String)| {
                let gap = " ".repeat(width(column) - cell.chars().count());
                if column == 0 { format!(" {cell}{gap} ") } else { format!(" {gap}{cell} ") }
            };
            println!("|{}|", row.iter().enumerate().map(pad).collect::<Vec<_>>().join("|"));
            if number == 0 {
                let rule = |column: usize| {
                    let dashes = "-".repeat(width(column) + 1);
                    if column == 0 { format!(":{dashes}") } else { format!("{dashes}:") }
                };
                println!("|{}|", (0..row.len()).map(rule).collect::<Vec<_>>().join("|"));
            }
        }
        println!();
    }
}
