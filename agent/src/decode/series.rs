//! Opens the instances of a job together, within the limit on all of them, and decodes their frames on all cores.
use super::frames::Frames;
use super::{Samples, SourceInstance};
use crate::fault::{Blame, Fault};
use crate::inference::SourceFrame;
use crate::limits::decode::MAX_DECODED;
use std::borrow::Cow;

/// Opens instances; what they would decode to, and what was inflated, is at most `MAX_DECODED`.
pub(super) fn open(instances: &[SourceInstance]) -> Result<Vec<Frames<'_>>, Fault> {
    let mut bytes = 0;
    let mut opened = Vec::with_capacity(instances.len());
    for instance in instances {
        let frames = Frames::open(instance)?;
        bytes += frames.pixel.bytes() as u64 * frames.pixel.frames as u64;
        if let Cow::Owned(inflated) = &frames.dataset {
            bytes += inflated.len() as u64;
        }
        if bytes > MAX_DECODED {
            let reason =
                format!("the images take more than the {} MiB that are decoded for one job", MAX_DECODED >> 20);
            return Err(Fault::new("image-too-large", Blame::Study, reason));
        }
        opened.push(frames);
    }
    Ok(opened)
}

/// Decodes frames, given as (instance, frame from 0), on all cores; the result is in the order given.
pub(super) fn decode(opened: &[Frames], wanted: &[(usize, usize)]) -> Result<Vec<Samples>, Fault> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let share = wanted.len().div_ceil(cores).max(1);
    let decode_share =
        |share: &[(usize, usize)]| share.iter().map(|(i, f)| opened[*i].decode(*f)).collect::<Result<Vec<_>, _>>();
    std::thread::scope(|scope| {
        let threads: Vec<_> = wanted.chunks(share).map(|share| scope.spawn(move || decode_share(share))).collect();
        let mut all = Vec::with_capacity(wanted.len());
        for thread in threads {
            // A codec that panics ends the worker, as it would on its own thread.
            all.extend(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(all)
    })
}

/// The source of a frame (from 0).
pub(super) fn source(frames: &Frames, frame: usize) -> SourceFrame {
    SourceFrame {
        sop_class: frames.instance.sop_class.clone(),
        sop_instance: frames.instance.sop_instance.clone(),
        frame: (frames.pixel.frames > 1).then_some(frame as u32 + 1),
    }
}
