//! The support bundle: one archive for those who help, with nothing in it that tells of a patient.
//!
//! Nothing is let through because it looks harmless. Of a configuration the values of listed keys are taken, of a log line its time,
//! its level, the constant message and the code, of the audit log counts, of the state figures; all else is left out, and it is
//! said how much. So it does not matter what a site has written into a comment, a path or a reason.
mod bundle;
mod configuration;
mod counts;
mod figures;
mod log;
mod machine;
mod messages;
mod tail;
mod tar;

pub use bundle::{Bundle, bundle, name};
pub use configuration::{LEFT_OUT, told as told_of_configuration};
pub use counts::counts;
pub use figures::figures;
pub use log::told as told_of_log;
pub use machine::machine;
pub use tail::Tail;
pub use tar::archive;

use std::path::PathBuf;

/// What a daemon makes a bundle of beside its state.
#[derive(Clone, Debug)]
pub struct Source {
    /// The configuration of the box.
    pub own: PathBuf,
    /// Its log.
    pub log: Tail,
}
