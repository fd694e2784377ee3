//! The source frames of an answer on their way back from the worker: places in the series of the task. A worker that was
//! taken over can name no image that it was not given.
use crate::inference::{Findings, Inference, SourceFrame};
use crate::limits::worker::MAX_SOURCES;
use crate::spool::GrantedInstance;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// One source frame: the instance's place in the series, from 0, and the frame's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place(u32, Option<u32>);

/// Takes the names out of an inference; their places in the series. `None` where it names an image that is not in it.
pub fn places(inference: &mut Inference, series: &[GrantedInstance]) -> Option<Vec<Place>> {
    let numbered: HashMap<&str, u32> =
        series.iter().zip(0u32..).map(|(instance, n)| (instance.sop_instance.as_str(), n)).collect();
    let sources = std::mem::take(named(inference));
    sources.iter().map(|source| Some(Place(*numbered.get(source.sop_instance.as_str())?, source.frame))).collect()
}

/// Puts the names back. False where a place is none, where there are too many, or where a name came with the inference.
pub fn name(inference: &mut Inference, places: &[Place], series: &[GrantedInstance]) -> bool {
    let sources = named(inference);
    if !sources.is_empty() || places.len() > MAX_SOURCES {
        return false;
    }
    let source = |Place(instance, frame): &Place| {
        let instance = series.get(*instance as usize).filter(|_| *frame != Some(0))?;
        Some(SourceFrame {
            sop_class: instance.sop_class.clone(),
            sop_instance: instance.sop_instance.clone(),
            frame: *frame,
        })
    };
    let Some(all) = places.iter().map(source).collect() else { return false };
    *sources = all;
    true
}

fn named(inference: &mut Inference) -> &mut Vec<SourceFrame> {
    match &mut inference.findings {
        Findings::Volume { sources, .. } | Findings::Images { sources, .. } => sources,
    }
}
