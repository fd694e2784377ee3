//! `sund model test`: the golden cases of a package on every engine of this machine, and how far each answer is from the
//! expected one. `sund model check` ends with the same.
use super::super::table::table;
use super::super::{fail, print};
use super::bars::spinner;
use super::engines_here;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::model::Package;
use crate::model::golden::Compared;
use crate::trial::{Trial, Trials, this_program};
use serde_json::json;
use std::path::Path;

pub(super) fn test(path: &Path, as_json: bool) -> Result<Exit, Fault> {
    let package = Package::inspect(path)?;
    let trials = run(&package)?;
    if !as_json {
        return Ok(report(&trials, ""));
    }
    let told = json!({
        "format": 1,
        "package": package.reference(),
        "holds": trials.missed().is_none(),
        "trials": trials.trials,
        "not_run": trials.not_run,
    });
    let printed = print(&format!("{told:#}\n"));
    Ok(if trials.missed().is_some() { Exit::Data } else { printed })
}

/// Runs the golden cases; a spinner says which one.
pub(super) fn run(package: &Package) -> Result<Trials, Fault> {
    Trials::run(package, &engines_here(), &this_program()?, &mut |case, engine| {
        Shown(spinner(format!("{} on {engine}", case.name)))
    })
}

/// Prints what came of them; `all_hold` follows where nothing is wrong.
pub(super) fn report(trials: &Trials, all_hold: &str) -> Exit {
    let rows: Vec<Vec<String>> = trials.trials.iter().flat_map(rows).collect();
    let heads = ["golden case", "engine", "what", "expected", "found", "difference", "tolerance", "held", "time"];
    print(&table(&heads, &rows));
    for one in &trials.not_run {
        print(&format!("not run: {}: {}\n", one.engine, one.reason));
    }
    match trials.missed() {
        None => print(all_hold),
        Some(fault) => fail(fault),
    }
}

/// A row for each number; of a case without an answer one that says so.
fn rows(trial: &Trial) -> Vec<Vec<String>> {
    let row = |what: &str, numbers: [String; 4], holds: bool, time: String| {
        let [expected, found, difference, tolerance] = numbers;
        let held = if holds { "yes" } else { "no" };
        let (case, engine) = (trial.case.clone(), trial.engine.clone());
        vec![case, engine, what.to_owned(), expected, found, difference, tolerance, held.to_owned(), time]
    };
    let took = format!("{:.1} s", trial.took.as_secs_f64());
    if trial.compared.is_empty() {
        let none = || "-".to_owned();
        return vec![row("-", [none(), "no answer".to_owned(), none(), none()], false, took)];
    }
    let shown = |(n, one): (usize, &Compared)| {
        let number = |value: f64| if one.expected > 10.0 { format!("{value:.1}") } else { format!("{value:.4}") };
        let found = one.found.map_or_else(|| "nothing".to_owned(), number);
        let difference = one.found.map_or_else(|| "-".to_owned(), |found| number(found - one.expected));
        let time = if n == 0 { took.clone() } else { String::new() };
        row(&one.what, [number(one.expected), found, difference, number(one.tolerance)], one.holds, time)
    };
    trial.compared.iter().enumerate().map(shown).collect()
}

/// Goes from the terminal when it is dropped.
struct Shown(indicatif::ProgressBar);

impl Drop for Shown {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
