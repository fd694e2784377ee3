//! What the firmware says of the start: whether it asked for a signature on what it started. The disk's key is sealed to that answer (PCR 7), so
//! a box that is made without Secure Boot is one whose disk may open to whatever is started on it.
use crate::config::Config;
use crate::fault::{Blame, Fault};
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::path::Path;

/// Whether Secure Boot was on at the start, as the kernel's efivarfs has it: four bytes of attributes, then one that is 1 where it was
/// (UEFI 2.10, 3.3).
pub const SECURE_BOOT: &str = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// The bytes before the value.
const ATTRIBUTES: usize = 4;

/// Whether the firmware started what was signed alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecureBoot {
    /// It did.
    On,
    /// It starts anything.
    Off,
}

impl SecureBoot {
    /// What the variable says; nothing on a machine that shows no variables at all. A firmware that has others and not this one knows no Secure Boot.
    pub fn read(variable: &Path) -> Option<Self> {
        match std::fs::read(variable) {
            Ok(value) if value.get(ATTRIBUTES) == Some(&1) => Some(Self::On),
            Ok(_) => Some(Self::Off),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let others = variable.parent().and_then(|folder| folder.read_dir().ok());
                others.and_then(|mut others| others.next()).map(|_| Self::Off)
            }
            Err(_) => None,
        }
    }

    /// As it was when the system started that this updater looks after.
    pub fn of(config: &Config) -> Option<Self> {
        config.os.as_ref().and_then(|os| Self::read(&os.secure_boot))
    }

    /// For programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
        }
    }

    /// For people.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "OFF: this box starts any system, and its disk may open to it",
        }
    }
}

/// Refuses a box that starts anything, where that is known.
pub fn refuse_unsecured(variable: &Path) -> Result<(), Fault> {
    if SecureBoot::read(variable) == Some(SecureBoot::Off) { Err(off()) } else { Ok(()) }
}

/// What is said of a box that starts anything.
pub fn off() -> Fault {
    let reason = "Secure Boot is off: this box starts any system, and its disk may open to it. Enrol the keys in the firmware, switch Secure \
                  Boot on, and write the disk anew: what was sealed at a start without it does not open at one with it";
    Fault::new("secure-boot-off", Blame::Box, reason)
}
