//! Which slot is the other one, and what was written to the one that runs, by RAUC's own status.
use super::SlotStatus;
use crate::fault::{Blame, Fault};

/// Name of the slot that a boot loader can start and that does not run: of the class of the running one, which may be a child of the slot
/// that the boot loader knows (a root file system beside its EFI partition).
pub(super) fn other(slots: &[(String, SlotStatus)]) -> Result<&str, Fault> {
    let unclear = |reason: &str| {
        let reason = format!("RAUC's status does not say which slot is the other one: {reason}; see `rauc status`");
        Fault::new("os-slots-unclear", Blame::Box, reason)
    };
    let status = |name: &str| slots.iter().find(|(slot, _)| slot == name).map(|(_, status)| status);
    let running = slots.iter().find(|(_, status)| text(status, "state") == Some("booted"));
    let (mut name, mut running) =
        running.map(|(name, status)| (name.as_str(), status)).ok_or_else(|| unclear("none is booted"))?;
    // A chain without an end is no chain: each step leads to another slot.
    for _ in slots {
        let Some(parent) = text(running, "parent") else { break };
        (name, running) = (parent, status(parent).ok_or_else(|| unclear("a parent is missing"))?);
    }
    let is_other = |(slot, status): &&(String, SlotStatus)| {
        slot != name
            && text(status, "parent").is_none()
            && text(status, "bootname").is_some()
            && text(status, "class") == text(running, "class")
    };
    let mut others = slots.iter().filter(is_other);
    match (others.next(), others.next()) {
        (Some((slot, _)), None) => Ok(slot),
        (None, _) => Err(unclear("there is none")),
        (Some(_), Some(_)) => Err(unclear("there are several")),
    }
}

/// The version of the bundle that RAUC wrote last to the slot that runs.
pub(super) fn written(slots: &[(String, SlotStatus)]) -> Option<&str> {
    let (_, running) = slots.iter().find(|(_, status)| text(status, "state") == Some("booted"))?;
    text(running, "bundle.version")
}

fn text<'a>(status: &'a SlotStatus, key: &str) -> Option<&'a str> {
    status.get(key).and_then(|value| value.downcast_ref::<&str>().ok()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use zbus::{OwnedVariant, Variant};

    fn slot(name: &str, pairs: &[(&str, &str)]) -> (String, SlotStatus) {
        let value = |text: &str| OwnedVariant::try_from(Variant::from(text.to_owned())).expect("a text");
        (name.to_owned(), pairs.iter().map(|(key, text)| ((*key).to_owned(), value(text))).collect())
    }

    #[test]
    fn the_other_slot_is_named_by_its_class_also_where_the_running_one_is_a_child() {
        let plain = [
            slot("rootfs.0", &[("class", "rootfs"), ("bootname", "A"), ("state", "inactive")]),
            slot("data.0", &[("class", "data"), ("state", "inactive")]),
            slot("rootfs.1", &[("class", "rootfs"), ("bootname", "B"), ("state", "booted")]),
        ];
        assert_eq!(other(&plain).ok(), Some("rootfs.0"));
        let with_children = [
            slot("efi.0", &[("class", "efi"), ("bootname", "A"), ("state", "active")]),
            slot("rootfs.0", &[("class", "rootfs"), ("parent", "efi.0"), ("state", "booted")]),
            slot("efi.1", &[("class", "efi"), ("bootname", "B"), ("state", "inactive")]),
            slot("rootfs.1", &[("class", "rootfs"), ("parent", "efi.1"), ("state", "inactive")]),
        ];
        assert_eq!(other(&with_children).ok(), Some("efi.1"));
    }

    #[test]
    fn no_slot_is_guessed() {
        let booted = slot("rootfs.0", &[("class", "rootfs"), ("bootname", "A"), ("state", "booted")]);
        let spare = |name: &str| slot(name, &[("class", "rootfs"), ("bootname", name), ("state", "inactive")]);
        let looped = slot("rootfs.0", &[("class", "rootfs"), ("parent", "rootfs.0"), ("state", "booted")]);
        for slots in
            [vec![booted.clone()], vec![booted, spare("B"), spare("C")], vec![spare("B")], vec![looped], vec![]]
        {
            assert_eq!(other(&slots).map_err(|fault| fault.code), Err("os-slots-unclear".into()));
        }
    }
}
