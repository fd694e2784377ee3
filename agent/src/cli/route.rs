//! `sund route explain`: which models would run on what is in a folder, and why not.
use super::table::table;
use super::{ConfigFile, fail, print};
use crate::config::{self, Config};
use crate::dataset::Header;
use crate::exit::Exit;
use crate::fault::{Blame, Fault};
use crate::route::{Candidate, Decision, Route, SeriesView, plan};
use crate::trial;
use clap::Subcommand;
use dicom_dictionary_std::tags;
use serde::Serialize;
use std::fmt::Write as _;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(super) enum RouteCommand {
    /// Says for each series in a folder which models would run, and every reason why another would not.
    ///
    /// Nothing is sent and nothing runs. Studies and series are counted in the order of the files; no patient's data is shown.
    Explain {
        #[command(flatten)]
        config: ConfigFile,
        /// The folder with the DICOM files.
        folder: PathBuf,
        /// Calling AE title that they would come from.
        #[arg(long, value_name = "AE", default_value = "ANY")]
        calling: String,
        /// Called AE title; the node's own otherwise.
        #[arg(long, value_name = "AE")]
        called: Option<String>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

/// What routing says to everything in a folder.
#[derive(Serialize)]
struct Explanation {
    calling: String,
    called: String,
    /// Routes that do not listen to this association.
    deaf: Vec<DeafRoute>,
    studies: Vec<StudyExplained>,
}

#[derive(Serialize)]
struct DeafRoute {
    route: String,
    reason: String,
}

/// A study, counted from 1.
#[derive(Serialize)]
struct StudyExplained {
    study: usize,
    /// `runs`, `no-model` where no model wants it, `no-route` where no route listens.
    verdict: &'static str,
    decisions: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    /// Counted from 1 within the study.
    series: usize,
    modality: String,
    images: usize,
    route: String,
    model: String,
    runs: bool,
    reasons: Vec<Reason>,
}

/// Why not.
#[derive(Serialize)]
struct Reason {
    /// Stable, of REFUSALS.md.
    code: &'static str,
    reason: String,
}

/// The series of a study, in the order of the files.
type Study = Vec<(String, Vec<Header>)>;

pub(super) fn run(command: RouteCommand) -> Exit {
    let RouteCommand::Explain { config, folder, calling, called, json } = command;
    let config = match config::check(&config.config) {
        Ok(config) => config,
        Err(problems) => {
            let text = config::render(&config.config, &problems);
            return fail(&Fault::new("configuration-invalid", Blame::Configuration, text.trim_end()));
        }
    };
    let mut studies: Vec<(String, Study)> = Vec::new();
    let found = trial::find(&folder, &mut |file, header| {
        let study = entry(&mut studies, &file.study);
        entry(study, &file.series).push(header);
    });
    if let Err(fault) = found {
        return fail(&fault);
    }
    let called = called.unwrap_or_else(|| config.node.ae_title.clone());
    let explanation = explain(&config, &studies, calling, called);
    if json {
        return match serde_json::to_string_pretty(&explanation) {
            Ok(text) => print(&format!("{text}\n")),
            Err(error) => fail(&Fault::new("output", Blame::Sund, error.to_string())),
        };
    }
    print(&text(&explanation))
}

/// The value under a key, in the order in which the keys came.
fn entry<'a, V: Default>(list: &'a mut Vec<(String, V)>, key: &str) -> &'a mut V {
    let at = list.iter().position(|(known, _)| known == key).unwrap_or_else(|| {
        list.push((key.to_owned(), V::default()));
        list.len() - 1
    });
    &mut list[at].1
}

fn explain(config: &Config, studies: &[(String, Study)], calling: String, called: String) -> Explanation {
    let candidates: Vec<Candidate<'_>> = config
        .packages
        .iter()
        .map(|package| Candidate { name: &package.manifest.name, selection: &package.manifest.selection })
        .collect();
    let explained = studies.iter().enumerate().map(|(n, (_, series))| {
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
        let verdict = match (plan.runs().next(), plan.decisions.is_empty()) {
            (Some(_), _) => "runs",
            (None, true) => "no-route",
            (None, false) => "no-model",
        };
        let mut decisions: Vec<Line> = plan.decisions.iter().map(|decision| line(decision, series)).collect();
        decisions.sort_by_key(|line| line.series);
        StudyExplained { study: n + 1, verdict, decisions }
    });
    let studies = explained.collect();
    let deaf = config.routes.iter().filter_map(|route| deaf(route, &calling, &called)).collect();
    Explanation { calling, called, deaf, studies }
}

/// Why a route does not listen to an association, where it does not.
fn deaf(route: &Route, calling: &str, called: &str) -> Option<DeafRoute> {
    let listens = |list: &[String], title: &str| list.is_empty() || list.iter().any(|known| known == title);
    let mut reasons = Vec::new();
    if !listens(&route.called_ae, called) {
        reasons.push(format!("to called AE title {} alone, not to {called}", route.called_ae.join(", ")));
    }
    if !listens(&route.callers, calling) {
        reasons.push(format!("to caller {} alone, not to {calling}", route.callers.join(", ")));
    }
    let reason = format!("listens {}", reasons.join("; and "));
    (!reasons.is_empty()).then(|| DeafRoute { route: route.name.clone(), reason })
}

fn line(decision: &Decision<'_>, study: &Study) -> Line {
    let at = study.iter().position(|(uid, _)| uid == decision.series).unwrap_or_default();
    let headers = study.get(at).map_or(&[][..], |(_, headers)| headers);
    Line {
        series: at + 1,
        modality: headers.first().and_then(|header| header.text(tags::MODALITY)).unwrap_or_else(|| "?".to_owned()),
        images: headers.len(),
        route: decision.route.name.clone(),
        model: decision.model.to_owned(),
        runs: decision.unfit.is_empty(),
        reasons: decision.unfit.iter().map(|unfit| Reason { code: unfit.code(), reason: unfit.to_string() }).collect(),
    }
}

fn text(explanation: &Explanation) -> String {
    let rows = explanation.studies.iter().flat_map(|study| study.decisions.iter().map(|line| row(study.study, line)));
    let rows: Vec<Vec<String>> = rows.collect();
    let mut text = format!("called {} by {}\n\n", explanation.called, explanation.calling);
    if !rows.is_empty() {
        text += &table(&["study", "series", "route", "model", "verdict", "because"], &rows);
        text.push('\n');
    }
    // Writing to a String cannot fail.
    for route in &explanation.deaf {
        let _ = writeln!(text, "route {} {}", route.route, route.reason);
    }
    for study in &explanation.studies {
        let ran = study.decisions.iter().filter(|line| line.runs).count();
        let _ = match study.verdict {
            "no-route" => writeln!(text, "study {}: no route listens to this caller and called AE title", study.study),
            "no-model" => writeln!(text, "study {}: no model wants it", study.study),
            _ => writeln!(text, "study {}: {ran} {}", study.study, if ran == 1 { "job" } else { "jobs" }),
        };
    }
    text
}

fn row(study: usize, line: &Line) -> Vec<String> {
    let reasons: Vec<&str> = line.reasons.iter().map(|reason| reason.reason.as_str()).collect();
    let images = if line.images == 1 { "image" } else { "images" };
    vec![
        study.to_string(),
        format!("{} ({}, {} {images})", line.series, line.modality, line.images),
        line.route.clone(),
        line.model.clone(),
        if line.runs { "runs" } else { "not applicable" }.to_owned(),
        if line.runs { "every condition holds".to_owned() } else { reasons.join("; ") },
    ]
}
