//! What a desired state has a box run, and what it takes away from it.
use super::super::document::Document;
use super::super::proposal::Proposal;
use super::super::roles::of_target;
use super::super::routes;
use super::super::store::sha256_of;
use sund_ota::state::{DesiredState, Mode, Model};
use tough::TargetName;

pub(super) fn tell(proposal: &Proposal, state: &DesiredState, tell: &mut impl FnMut(String)) {
    match &state.boxes {
        Some(boxes) if !boxes.iter().any(|it| it == "*") => tell(format!("for the boxes {}", boxes.join(", "))),
        _ => tell("for EVERY box".to_owned()),
    }
    match &state.os {
        Some(os) => tell(format!("operating system {} ({})", os.version, os.bundle.target)),
        None => tell("operating system: as it is".to_owned()),
    }
    for model in &state.models {
        tell(format!("model {} {} ({})", model.name, model.version, model.package.target));
    }
    configuration(proposal, state, tell);
    for (route, plan) in &state.routes {
        if plan.models.is_empty() {
            tell(format!("route {route}: RUNS NOTHING"));
            continue;
        }
        let mode = match plan.mode {
            Mode::Shadow => "shadow",
            Mode::Research => "research",
            Mode::Clinical => "CLINICAL",
        };
        tell(format!("route {route}: {} in mode {mode}", plan.models.join(", ")));
        let clinical =
            state.models.iter().filter(|model| plan.mode == Mode::Clinical && plan.models.contains(&model.name));
        for model in clinical {
            let status = status(proposal, model).unwrap_or("NOT LISTED WITH IT");
            tell(format!("  regulatory status of {}, as its vendor says: {status}", model.name));
        }
    }
    match state.watch_seconds {
        0 => tell("NOT WATCHED: each box calls it good as soon as it serves".to_owned()),
        seconds => tell(format!("each box watches itself for {seconds} s")),
    }
}

/// The configuration, and the routes of it that the state does not name.
fn configuration(proposal: &Proposal, state: &DesiredState, tell: &mut impl FnMut(String)) {
    let Some(pin) = &state.configuration else {
        tell(
            "configuration: the box's own, as on its first day; a route of it that is not named here RUNS NOTHING"
                .to_owned(),
        );
        return;
    };
    tell(format!("configuration {}", pin.target));
    let text = proposal.enclosed.get(&pin.sha256);
    let Some(routes) = text.and_then(|text| routes::left_out(state, text)) else {
        tell("a route of it that is not named here RUNS NOTHING; which ones there are cannot be read here".to_owned());
        return;
    };
    for route in routes {
        tell(format!("route {route}: RUNS NOTHING, it is not named"));
    }
}

/// What its vendor says that a model may be used for, as the role lists it beside the package.
fn status<'a>(proposal: &'a Proposal, model: &Model) -> Option<&'a str> {
    let (role, name) = (of_target(&model.package.target).ok()?, TargetName::new(&model.package.target).ok()?);
    let listed =
        [&proposal.documents, &proposal.before].into_iter().filter_map(|documents| match documents.get(&role) {
            Some(Document::Targets(targets)) => targets.targets.get(&name),
            _ => None,
        });
    let listed = listed.into_iter().find(|listed| sha256_of(listed) == model.package.sha256)?;
    listed.custom.get("regulatory_status")?.as_str()
}
