//! The operations that a device has, each under the name and with the results of its reference on the processor.
use super::Part;
use crate::{Grid, Preparation};

/// An operation on memory of a device.
#[derive(Clone, Debug)]
pub enum Operation<B> {
    /// [`crate::preprocess`]: stored samples to a network's input.
    Preprocess {
        /// Stored samples on `grid`.
        samples: Part<B>,
        /// What they are.
        kind: SampleKind,
        /// Where they lie.
        grid: Grid,
        /// Where the results lie.
        onto: Grid,
        /// From samples to results.
        preparation: Preparation,
        /// The results.
        into: Part<B>,
        /// What they are.
        element: Element,
    },
    /// Whether all of the 32-bit reals are finite: a single 32-bit 0 where they are, else 1. A NaN compares as "not above", so
    /// that without this check it would read as "nothing found".
    NotFinite {
        /// The values.
        values: Part<B>,
        /// The answer, 4 bytes.
        into: Part<B>,
    },
    /// [`crate::softmax`] over `[channels, n]` 32-bit reals, `into` another place.
    Softmax {
        /// The scores.
        scores: Part<B>,
        /// Channels.
        channels: usize,
        /// The shares.
        into: Part<B>,
    },
    /// 1 where [`crate::argmax`] over `[channels, n]` 32-bit reals is `label`, else 0.
    Argmax {
        /// The scores.
        scores: Part<B>,
        /// Channels.
        channels: usize,
        /// The channel that is looked for.
        label: usize,
        /// The mask, n bytes.
        into: Part<B>,
    },
    /// [`crate::threshold`] on 32-bit reals.
    Threshold {
        /// The scores.
        scores: Part<B>,
        /// 1 above it.
        above: f32,
        /// The mask.
        into: Part<B>,
    },
    /// [`crate::largest_component`].
    LargestComponent {
        /// The mask.
        mask: Part<B>,
        /// Slices, rows, columns.
        dims: [usize; 3],
        /// Its largest component.
        into: Part<B>,
    },
    /// [`crate::fill_holes`].
    FillHoles {
        /// The mask.
        mask: Part<B>,
        /// Slices, rows, columns.
        dims: [usize; 3],
        /// The mask without holes.
        into: Part<B>,
    },
}

/// What stored samples are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleKind {
    /// 8 bits, unsigned.
    U8,
    /// 16 bits, signed.
    I16,
    /// 16 bits, unsigned.
    U16,
    /// 32 bits, signed.
    I32,
    /// 32-bit reals.
    F32,
}

impl SampleKind {
    /// Length of one.
    pub fn bytes(self) -> usize {
        match self {
            SampleKind::U8 => 1,
            SampleKind::I16 | SampleKind::U16 => 2,
            SampleKind::I32 | SampleKind::F32 => 4,
        }
    }
}

/// What the values are that a network takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// 16-bit reals.
    Float16,
    /// 32-bit reals.
    Float32,
}

impl Element {
    /// Length of one.
    pub fn bytes(self) -> usize {
        match self {
            Element::Float16 => 2,
            Element::Float32 => 4,
        }
    }
}
