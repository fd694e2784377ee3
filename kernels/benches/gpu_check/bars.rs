//! The bars: what an H100-class card has to reach. On other cards the same is measured, and nothing is asked of it.
use std::fmt;

/// Compute capability of the cards that the bars are for.
pub const H100: (i32, i32) = (9, 0);

/// `preprocess` of a CT: least share of the measured copy bandwidth.
pub const LEAST_OF_COPY: f64 = 0.8;

/// The same: most milliseconds of kernels.
pub const MOST_MS: f32 = 0.12;

/// Studies one after another: least speed, as a share of that of the slower of transfer and engine.
pub const LEAST_OF_SLOWER: f64 = 0.8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Met,
    Missed,
    /// There is no bar, or not for this card.
    None,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Met => "met",
            Self::Missed => "**missed**",
            Self::None => "",
        })
    }
}

/// Of `preprocess`: its speed as a share of the copy bandwidth, and its time.
pub fn of_preprocessing(capability: (i32, i32), of_copy: f64, ms: f32) -> Verdict {
    // A time of nothing is a clock that does not work.
    on_h100(capability, of_copy.is_finite() && of_copy >= LEAST_OF_COPY && ms > 0.0 && ms <= MOST_MS)
}

/// Of studies one after another.
pub fn of_steady_state(capability: (i32, i32), of_slower: f64) -> Verdict {
    on_h100(capability, of_slower.is_finite() && of_slower >= LEAST_OF_SLOWER)
}

fn on_h100(capability: (i32, i32), is_met: bool) -> Verdict {
    match (capability == H100, is_met) {
        (false, _) => Verdict::None,
        (true, true) => Verdict::Met,
        (true, false) => Verdict::Missed,
    }
}
