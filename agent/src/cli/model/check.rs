//! `sund model check`: what is wrong with a package, and whether its golden cases hold.
use super::super::table::table;
use super::super::{fail, print};
use super::bars::spinner;
use super::defective;
use crate::counted::counted;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::infer::{Engines, ONNXRUNTIME_VARIABLE};
use crate::model::manifest::Golden;
use crate::model::{Package, golden};
use crate::trial::Bench;
use std::path::Path;
use std::time::Instant;

pub(super) fn check(folder: &Path) -> Result<Exit, Fault> {
    let package = match Package::inspect(folder) {
        Ok(package) => package,
        Err(defects) => return Ok(defective(folder, &defects)),
    };
    let manifest = &package.manifest;
    print(&format!(
        "{} {} ({})\n{}\n{}, {}, {}\n\n",
        manifest.name,
        manifest.version,
        manifest.vendor,
        package.digest,
        counted(manifest.networks.len(), "network", "networks"),
        counted(manifest.steps.len(), "step", "steps"),
        counted(manifest.golden.len(), "golden case", "golden cases"),
    ));
    let here = Engines::here(None);
    // Refused where no engine of this machine may serve the package.
    here.choose(&manifest.engines)?;
    let mut bench = Bench::new()?;
    let (mut rows, mut ran, mut missed) = (Vec::new(), Vec::new(), None);
    for engine in here.kinds() {
        let (class, precision) = engine.class_and_precision();
        if !manifest.engines.iter().any(|valid| valid.class == class && valid.precision == precision) {
            continue;
        }
        let name = format!("{class} {precision}");
        for case in &manifest.golden {
            let waiting = spinner(format!("{} on {name}", case.name));
            let begun = Instant::now();
            let answer = bench.run(&package, &engine, case);
            let took = format!("{:.1} s", begun.elapsed().as_secs_f64());
            waiting.finish_and_clear();
            let (found, holds) = match &answer {
                Ok(inference) => {
                    let verdict = golden::judge(case, inference);
                    (verdict.found, verdict.holds)
                }
                Err(_) => ("no answer".to_owned(), false),
            };
            if let Err(fault) = answer.and_then(|inference| golden::held(case, &inference)) {
                missed = Some(fault);
            }
            rows.push(row(case, &name, found, holds, took));
        }
        ran.push(name);
    }
    print(&table(&["golden case", "engine", "expected", "found", "held", "time"], &rows));
    for valid in &manifest.engines {
        let name = format!("{} {}", valid.class, valid.precision);
        if !ran.contains(&name) {
            let hint = if valid.class == "onnxruntime" {
                format!("; {ONNXRUNTIME_VARIABLE} names its library: the path of libonnxruntime.so")
            } else {
                String::new()
            };
            print(&format!("not on this machine: {name}{hint}\n"));
        }
    }
    Ok(match missed {
        None => print("the package holds\n"),
        Some(fault) => fail(&fault),
    })
}

fn row(case: &Golden, engine: &str, found: String, holds: bool, took: String) -> Vec<String> {
    let held = if holds { "yes" } else { "no" };
    vec![case.name.clone(), engine.to_owned(), golden::expected(case), found, held.to_owned(), took]
}
