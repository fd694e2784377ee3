//! How the agent stands, for the updater: what it watches after an activation.
use super::protocol::{AgentStatus, Finding, ModelStatus, Trial, TrialStanding};
use crate::pipeline::{ModelFigures, Pipeline, Rechecked, StateId};

/// The state at this instant.
pub(super) fn status(pipeline: &Pipeline, trying: Option<StateId>, node_answers: bool) -> AgentStatus {
    let engine_class = if pipeline.serves_on_gpu() { "gpu" } else { "cpu" };
    AgentStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        state: pipeline.serving_set().state.clone(),
        engine_class: engine_class.to_owned(),
        running: pipeline.running(),
        held_until: pipeline.held_until(),
        spool_format: Some(pipeline.spool_format()),
        trying,
        takes_vendors: true,
        region_suspends: Some(pipeline.region_suspends()),
        node_answers,
        models: pipeline.model_figures().into_iter().map(model).collect(),
    }
}

fn model(figures: ModelFigures) -> ModelStatus {
    let ModelFigures {
        name,
        version,
        digest,
        standing,
        reason,
        by,
        engine,
        engine_class,
        answered,
        failed,
        not_applicable,
        median,
    } = figures;
    ModelStatus {
        name,
        version,
        digest,
        standing: standing.to_owned(),
        reason,
        by,
        engine,
        engine_class: engine_class.map(str::to_owned),
        answered,
        failed,
        not_applicable,
        median_ms: median.map(|time| time.as_secs_f64() * 1e3),
    }
}

/// How golden cases stand that are run again.
pub(super) fn check(rechecked: Rechecked) -> Trial {
    let Rechecked { state, held, packages } = rechecked;
    let standing = match held {
        None => TrialStanding::Running,
        Some(Ok(())) => TrialStanding::Held,
        Some(Err(fault)) => TrialStanding::Missed(fault),
    };
    let findings = packages.into_iter().map(|package| Finding {
        package: Some(package.name),
        check: "golden-cases".to_owned(),
        held: package.held,
        text: package.text,
        ms: package.took.as_secs_f64() * 1e3,
    });
    Trial { state, standing, findings: findings.collect() }
}
