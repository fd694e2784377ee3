//! From an opened study to the jobs that it asks for, each decision with its reason.
use super::decide::{Unfit, judge};
use super::selection::Selection;
use crate::dataset::Header;
use crate::outcome::Outcome;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What the region has approved a model for on a route, the least first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Runs, and its results stay on the box.
    #[default]
    Shadow,
    /// Results are sent, marked "not for diagnosis".
    Research,
    /// Results are sent for clinical use.
    Clinical,
}

/// A route: which studies, by which models, to which destinations.
#[derive(Clone, Debug)]
pub struct Route {
    /// Name in the configuration.
    pub name: String,
    /// Called AE titles that it listens to; empty for any.
    pub called_ae: Vec<String>,
    /// Calling AE titles that it listens to; empty for any.
    pub callers: Vec<String>,
    /// What a series must be, beyond the model's own rule.
    pub selection: Selection,
    /// Models by name.
    pub models: Vec<String>,
    /// The mode on this route.
    pub mode: Mode,
    /// Destinations by name.
    pub destinations: Vec<String>,
    /// Outcomes that are sent as a report.
    pub outcome_reports: Vec<Outcome>,
    /// After this time from completion the answer is too late.
    pub deadline: Option<Duration>,
}

/// A model's own rule, by name.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    /// Name in its manifest.
    pub name: &'a str,
    /// Its selection rule.
    pub selection: &'a Selection,
}

/// One series of an opened study.
#[derive(Clone, Debug)]
pub struct SeriesView<'a> {
    /// Series Instance UID.
    pub series: &'a str,
    /// Calling and called AE title of its newest instance.
    pub calling_ae: &'a str,
    /// Called AE title.
    pub called_ae: &'a str,
    /// Headers of its instances.
    pub headers: Vec<&'a Header>,
}

/// What one route decides for one model and one series.
#[derive(Clone, Debug)]
pub struct Decision<'a> {
    /// The route.
    pub route: &'a Route,
    /// The model.
    pub model: &'a str,
    /// The series.
    pub series: &'a str,
    /// Reasons against; empty: the model runs.
    pub unfit: Vec<Unfit>,
}

/// What a study asks for.
#[derive(Clone, Debug, Default)]
pub struct Plan<'a> {
    /// Every pair of a matching route's model and a series, judged.
    pub decisions: Vec<Decision<'a>>,
}

impl<'a> Plan<'a> {
    /// Decisions to run.
    pub fn runs(&self) -> impl Iterator<Item = &Decision<'a>> {
        self.decisions.iter().filter(|decision| decision.unfit.is_empty())
    }

    /// For each route and model that no series is fit for: the decision that comes closest (fewest reasons against).
    pub fn not_applicable(&self) -> Vec<&Decision<'a>> {
        let mut closest: Vec<&Decision<'a>> = Vec::new();
        for decision in &self.decisions {
            let same = |other: &Decision| other.route.name == decision.route.name && other.model == decision.model;
            if self.runs().any(&same) {
                continue;
            }
            match closest.iter_mut().find(|known| same(known)) {
                Some(known) if known.unfit.len() > decision.unfit.len() => *known = decision,
                Some(_) => {}
                None => closest.push(decision),
            }
        }
        closest
    }
}

/// Judges every series against every model of every route that listens to its association.
pub fn plan<'a>(routes: &'a [Route], models: &[Candidate<'a>], series: &[SeriesView<'a>]) -> Plan<'a> {
    let listens = |list: &[String], ae: &str| list.is_empty() || list.iter().any(|l| l == ae);
    let mut decisions = Vec::new();
    for route in routes {
        for view in series {
            if !listens(&route.called_ae, view.called_ae) || !listens(&route.callers, view.calling_ae) {
                continue;
            }
            for model in models.iter().filter(|model| route.models.iter().any(|name| name == model.name)) {
                let mut unfit = judge(model.selection, &view.headers);
                unfit.extend(judge(&route.selection, &view.headers));
                unfit.dedup();
                decisions.push(Decision { route, model: model.name, series: view.series, unfit });
            }
        }
    }
    Plan { decisions }
}
