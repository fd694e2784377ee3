//! DICOM associations: C-ECHO and C-STORE as SCP and SCU (PS3.7, PS3.8).
mod command;
mod intake;
mod negotiate;
mod scp;
mod scu;
mod wire;

pub use intake::{Association, Intake, IntakeInstance};
pub use negotiate::{Caller, Policy};
pub(crate) use negotiate::{IMPLEMENTATION_CLASS, IMPLEMENTATION_VERSION};
pub use scp::{Listener, serve};
pub use scu::{ObjectToSend, Peer, SendError, Sent, echo, send};
