//! The request to the next boot: a variable of the firmware, as the kernel's efivarfs has it.
use crate::durable;
use crate::fault::{Blame, Fault};
use std::path::Path;

/// What counts as yes for systemd, in UTF-16 with its end.
const YES: [u8; 4] = [b'1', 0, 0, 0];

/// Fails where a start was asked before and has not erased the box: asked again, it would restart for ever.
pub(super) fn is_free(variable: &Path) -> Result<(), Fault> {
    if !variable.exists() {
        return Ok(());
    }
    let reason = "a factory reset was asked for before, and no start has erased the box since: restart it by hand; if it is as before then, its log \
                  says why (sund-factory-reset.service), and its disk has to be erased";
    Err(Fault::new("reset-not-erased", Blame::Box, reason))
}

/// Asks the next boot for a factory reset.
pub(super) fn request(variable: &Path) -> Result<(), Fault> {
    let value = [durable::VARIABLE_ATTRIBUTES.to_le_bytes(), YES].concat();
    durable::variable(variable, &value).map_err(|error| {
        let reason = format!(
            "{}: {error}: the firmware takes no request for a factory reset; nothing was changed. Clear its settings, or erase the disk",
            variable.display()
        );
        Fault::new("reset-variable", Blame::Box, reason)
    })
}
