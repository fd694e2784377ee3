//! Why a device does not do what it is asked for.
use crate::KernelError;

/// What went wrong, by what can be done about it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DeviceError {
    /// Less is in use elsewhere, or nothing helps; the device goes on.
    #[error("{asked} bytes of the device's memory were asked for, {free} are free")]
    OutOfMemory {
        /// Bytes that were asked for.
        asked: usize,
        /// Bytes that were free.
        free: usize,
    },
    /// The device has failed (an Xid, a context that is dead): this process can no longer use it.
    #[error("the device is lost: {0}")]
    Lost(String),
    /// No answer within the time that was given: this process can no longer use the device.
    #[error("the device gave no answer within {seconds} s")]
    Hung {
        /// The time that was given.
        seconds: u64,
    },
    /// It does not do this; the device goes on.
    #[error("{0}")]
    Refused(String),
    /// An operation does not take what it was given; the device goes on.
    #[error(transparent)]
    Operation(#[from] KernelError),
}

impl DeviceError {
    /// True where only another process can go on with the device.
    pub fn ends_the_process(&self) -> bool {
        matches!(self, DeviceError::Lost(_) | DeviceError::Hung { .. })
    }
}
