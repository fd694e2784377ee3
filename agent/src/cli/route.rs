//! `sund route explain`: which models would run on what is in a folder, and why not.
use super::table::table;
use super::{ConfigFile, fail, print};
use crate::config;
use crate::dataset::Header;
use crate::exit::Exit;
use crate::fault::{Blame, Fault};
use crate::route::{Candidate, Decision, SeriesView, plan};
use crate::trial;
use clap::Subcommand;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(super) enum RouteCommand {
    /// Says for each study in a folder which models would run, and why the others would not.
    Explain {
        #[command(flatten)]
        config: ConfigFile,
        /// The folder with the DICOM files.
        folder: PathBuf,
        /// Calling AE title that they would come from.
        #[arg(long, default_value = "ANY")]
        calling: String,
        /// Called AE title; the node's own otherwise.
        #[arg(long)]
        called: Option<String>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

/// One decision. Studies and series are counted from 1: no patient's data.
#[derive(Serialize)]
struct Line {
    study: usize,
    series: usize,
    route: String,
    model: String,
    runs: bool,
    /// Stable code and sentence of each reason against.
    reasons: Vec<(String, String)>,
}

pub(super) fn run(command: RouteCommand) -> Exit {
    let RouteCommand::Explain { config, folder, calling, called, json } = command;
    let config = match config::check(&config.config) {
        Ok(config) => config,
        Err(problems) => {
            let text = config::render(&config.config, &problems);
            return fail(&Fault::new("configuration-invalid", Blame::Configuration, text));
        }
    };
    // By study, then by series.
    let mut studies: BTreeMap<String, BTreeMap<String, Vec<Header>>> = BTreeMap::new();
    let found = trial::find(&folder, &mut |file, header| {
        studies.entry(file.study.clone()).or_default().entry(file.series.clone()).or_default().push(header);
    });
    if let Err(fault) = found {
        return fail(&fault);
    }
    let called = called.unwrap_or(config.node.ae_title);
    let candidates: Vec<Candidate<'_>> = config
        .packages
        .iter()
        .map(|package| Candidate { name: &package.manifest.name, selection: &package.manifest.selection })
        .collect();
    let mut lines = Vec::new();
    let mut unwanted = Vec::new();
    for (n, series) in studies.values().enumerate() {
        let views: Vec<SeriesView<'_>> = series
            .iter()
            .map(|(uid, headers)| SeriesView {
                series: uid,
                calling_ae: &calling,
                called_ae: &called,
                headers: headers.iter().collect(),
            })
            .collect();
        let plan = plan(&config.routes, &candidates, &views);
        if plan.runs().next().is_none() {
            unwanted.push((n + 1, plan.decisions.is_empty()));
        }
        let place = |uid: &str| series.keys().position(|known| known == uid).map_or(0, |at| at + 1);
        lines.extend(plan.decisions.iter().map(|decision| line(n + 1, place(decision.series), decision)));
    }
    if json {
        return match serde_json::to_string_pretty(&lines) {
            Ok(text) => print(&format!("{text}\n")),
            Err(error) => fail(&Fault::new("output", Blame::Sund, error.to_string())),
        };
    }
    let rows: Vec<Vec<String>> = lines.iter().map(row).collect();
    let mut text = table(&["study", "series", "route", "model", "", "because"], &rows);
    for (study, nobody_listens) in unwanted {
        let why =
            if nobody_listens { "no route listens to this caller and called AE title" } else { "no model wants it" };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "study {study}: {why}");
    }
    print(&text)
}

fn line(study: usize, series: usize, decision: &Decision<'_>) -> Line {
    Line {
        study,
        series,
        route: decision.route.name.clone(),
        model: decision.model.to_owned(),
        runs: decision.unfit.is_empty(),
        reasons: decision.unfit.iter().map(|unfit| (unfit.code().to_owned(), unfit.to_string())).collect(),
    }
}

fn row(line: &Line) -> Vec<String> {
    let reasons: Vec<&str> = line.reasons.iter().map(|(_, sentence)| sentence.as_str()).collect();
    let because = if line.runs { "every condition holds".to_owned() } else { reasons.join("; ") };
    let verdict = if line.runs { "runs" } else { "not applicable" };
    [line.study.to_string(), line.series.to_string(), line.route.clone(), line.model.clone(), verdict.into(), because]
        .to_vec()
}
