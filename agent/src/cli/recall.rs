//! `sund recall`: what a package has made, taken back by the agent that runs.
use super::status::{request, unexpected};
use super::table::table;
use super::{fail, print};
use crate::control::{Answer, Request};
use crate::counted::counted;
use crate::exit::Exit;
use crate::fault::{Blame, Fault};
use crate::recall::{Counts, DestinationRecalled, Reason, Report, Which};
use std::fmt::Write as _;
use std::path::Path;

/// Recalls, or tells what a recall would find where no reason is given.
pub(super) async fn run(config: &Path, package: Which, reason: Option<Reason>, json: bool) -> Exit {
    let report = match request(config, &Request::Recall { package, reason }).await {
        Ok(Answer::Recalled(report)) => report,
        Ok(Answer::Refused(fault)) | Err(fault) => return fail(&fault),
        Ok(_) => return fail(&unexpected()),
    };
    let as_json = || serde_json::to_string_pretty(&report).map(|text| text + "\n");
    let text = if json { as_json() } else { Ok(for_people(&report)) };
    let printed = match text {
        Ok(text) => print(&text),
        Err(error) => return fail(&Fault::new("status-unreadable", Blame::Sund, error.to_string())),
    };
    match printed {
        Exit::Ok if report.studies.iter().any(|study| study.fault.is_some()) => Exit::Failed,
        printed => printed,
    }
}

fn for_people(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = match &report.reason {
        Some(reason) => writeln!(text, "recalled: {}, because: {reason}\n", report.package),
        None => writeln!(text, "a dry run: nothing is changed. A recall of {} would find:\n", report.package),
    };
    let rows: Vec<Vec<String>> = report
        .studies
        .iter()
        .flat_map(|study| study.destinations.iter().map(|one| row(&study.study, one, report.reason.is_none())))
        .chain([numbers("total".to_owned(), String::new(), &report.total, counted(report.notes, "note", "notes"))])
        .collect();
    let heads = ["study", "destination", "sent", "in doubt", "cancelled", "by hand", "rejection note"];
    text += &table(&heads, &rows);
    text.push('\n');
    for line in lines(report) {
        let _ = writeln!(text, "{line}");
    }
    text
}

fn row(study: &str, one: &DestinationRecalled, is_dry: bool) -> Vec<String> {
    let states: Vec<&str> = one.notes.iter().map(|note| note.state.as_str()).collect();
    let would_go = is_dry && states.is_empty() && one.counts.sent + one.counts.in_doubt > one.counts.by_hand;
    let notes = if would_go { "would go".to_owned() } else { states.join(", ") };
    numbers(study.to_owned(), one.destination.clone(), &one.counts, notes)
}

fn numbers(study: String, destination: String, counts: &Counts, notes: String) -> Vec<String> {
    let Counts { sent, in_doubt, cancelled, by_hand } = counts;
    let counts = [sent, in_doubt, cancelled, by_hand].map(ToString::to_string);
    [study, destination].into_iter().chain(counts).chain([notes]).collect()
}

/// What is left to do, and what the table does not show.
fn lines(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    for study in &report.studies {
        if let Some(fault) = &study.fault {
            lines.push(format!("study {}: {fault}", study.study));
        }
    }
    if report.total.by_hand > 0 {
        let (one, more) = match &report.reason {
            Some(_) => ("result is to be", "results are to be"),
            None => ("result would have to be", "results would have to be"),
        };
        let results = counted(report.total.by_hand, one, more);
        lines.push(format!(
            "{results} withdrawn by hand: its destination has no `rejection_notes` in [[destinations]]."
        ));
    }
    let resting = report.studies.iter().flat_map(|study| &study.destinations).flat_map(|one| &one.notes);
    let resting = resting.filter(|note| note.state == "dead" || note.state == "held").count();
    if resting > 0 {
        let notes = counted(resting as u64, "rejection note was", "rejection notes were");
        lines.push(format!("{notes} given up or held: mend the cause, see `sund status`, then sund requeue."));
    }
    for model in &report.still_on {
        let (package, command) = (&model.package, &model.command);
        let named = format!("{}@{}", package.name, package.version);
        lines.push(format!(
            "{named} still serves, and what it makes is sent. Switch it off: {command}; then recall again."
        ));
    }
    if report.cancelled_jobs > 0 {
        let jobs = counted(report.cancelled_jobs, "job was", "jobs were");
        lines.push(format!("{jobs} ended before they made anything: see the timelines of their studies."));
    }
    if report.open_jobs > 0 {
        let jobs = counted(report.open_jobs, "job is", "jobs are");
        let what = if report.reason.is_some() {
            "came since, or could not be recorded: recall again"
        } else {
            "would be cancelled"
        };
        lines.push(format!("{jobs} open, and {what}."));
    }
    lines
        .push("Studies that were erased here are not among these: the audit log has what was sent of them.".to_owned());
    lines
}
