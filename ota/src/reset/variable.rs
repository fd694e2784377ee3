//! The request to the next boot: a variable of the firmware, as the kernel's efivarfs has it.
use crate::durable;
use crate::fault::{Blame, Fault};
use std::path::Path;

/// It outlives a restart, and the system may write it (UEFI 2.10, 8.2: non-volatile, boot service and runtime access).
const ATTRIBUTES: u32 = 0x7;
/// What counts as yes for systemd, in UTF-16 with its end.
const YES: [u8; 4] = [b'1', 0, 0, 0];

/// Asks the next boot for a factory reset. Asked twice is asked once.
pub(super) fn request(variable: &Path) -> Result<(), Fault> {
    let value = [ATTRIBUTES.to_le_bytes(), YES].concat();
    if std::fs::read(variable).is_ok_and(|there| there == value) {
        return Ok(());
    }
    durable::variable(variable, &value).map_err(|error| {
        let reason = format!(
            "{}: {error}: the firmware takes no request for a factory reset; nothing was changed. Clear its settings, or erase the disk",
            variable.display()
        );
        Fault::new("reset-variable", Blame::Box, reason)
    })
}
