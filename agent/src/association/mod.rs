//! DICOM associations: C-ECHO and C-STORE as SCP and SCU, C-FIND as SCU (PS3.7, PS3.8).
//!
//! A data set goes to the intake as it comes, fragment by fragment and byte by byte; all that is read of it on the way
//! is its structure and the four UIDs that say what it is. `0000H` is sent only after the intake has made it durable.
mod client;
mod command;
mod find;
mod gate;
mod intake;
mod negotiate;
mod object;
mod places;
mod policy;
mod receive;
mod scp;
mod scu;
mod session;
mod status;
mod transcode;
mod walk;
mod wire;

pub use client::{Peer, SendError};
pub use find::{Found, Query};
pub use gate::Gate;
pub use intake::{Association, Intake, IntakeInstance};
pub use negotiate::{IMPLEMENTATION_CLASS, IMPLEMENTATION_VERSION};
pub use object::{Kind, ObjectToSend};
pub use policy::{Caller, Network, NotANetwork, Policy};
pub use scp::{Listener, serve};
pub use scu::{Sender, Sent, echo, send};
pub use wire::WireError;
