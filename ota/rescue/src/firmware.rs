//! Variables of the firmware, as the kernel's efivarfs has them: four bytes of attributes, then the value; written as a whole.
use crate::fault::{Blame, Fault};
use crate::limits::{MAX_BOOT_ENTRIES, MAX_VARIABLE};
use crate::starts::{Next, Slot, Starts};
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// Where the kernel shows them.
pub const DIRECTORY: &str = "/sys/firmware/efi/efivars";
/// The starts since the last good one. `sund-updater started` takes it away.
pub const STARTS: &str = "SundStarts-5a6d0020-7375-4e64-8000-000000000020";
/// What belongs to UEFI itself (UEFI 2.10, 3.3).
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// They outlive a restart, and the system may write them (UEFI 2.10, 8.2: non-volatile, boot service and runtime access).
const ATTRIBUTES: [u8; 4] = [7, 0, 0, 0];

/// The firmware's memory.
#[derive(Clone, Debug)]
pub struct Firmware {
    directory: PathBuf,
}

impl Firmware {
    /// As a directory shows it.
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// A slot begins to start: what comes next, kept by the firmware before this returns.
    pub fn begin(&self, slot: Slot) -> Result<Next, Fault> {
        self.count(slot, |starts| starts.begin(slot))
    }

    /// A slot that has begun to start is not what was signed.
    pub fn broken(&self, slot: Slot) -> Result<Next, Fault> {
        self.count(slot, |starts| starts.broken(slot))
    }

    /// A slot was made anew: the firmware starts it next, and no start from before counts.
    pub fn made_anew(&self, slot: Slot) -> Result<(), Fault> {
        self.remove(STARTS)?;
        self.start_next(slot)
    }

    /// The firmware starts this slot next, once; its own order stays as it is.
    fn start_next(&self, slot: Slot) -> Result<(), Fault> {
        let number = self.entry(slot)?;
        // UEFI 2.10, 3.1.3: BootNext goes before BootOrder, once.
        self.write(&format!("BootNext-{GLOBAL}"), &number.to_le_bytes())
    }

    fn count(&self, slot: Slot, step: impl FnOnce(Starts) -> (Starts, Next)) -> Result<Next, Fault> {
        let (starts, next) = step(Starts::parse(&self.read(STARTS)?.unwrap_or_default()));
        if next == Next::Other {
            self.start_next(slot.other())?;
        }
        self.write(STARTS, starts.as_bytes())?;
        Ok(next)
    }

    /// The number of a slot's boot entry, by its description (UEFI 2.10, 3.1.3: attributes, a length, text in UTF-16).
    fn entry(&self, slot: Slot) -> Result<u16, Fault> {
        let label: Vec<u8> = format!("sund-{slot}\0").encode_utf16().flat_map(u16::to_le_bytes).collect();
        let names = fs::read_dir(&self.directory).map_err(|error| failed(&self.directory, &error))?;
        let entries = names.flatten().filter_map(|name| {
            let name = name.file_name().into_string().ok()?;
            let digits = name.strip_prefix("Boot")?.strip_suffix(GLOBAL)?.strip_suffix('-')?;
            let number = u16::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 4)?;
            Some((number, name))
        });
        for (number, name) in entries.take(MAX_BOOT_ENTRIES) {
            let option = self.read(&name)?.unwrap_or_default();
            if option.get(6..).is_some_and(|rest| rest.starts_with(&label)) {
                return Ok(number);
            }
        }
        let reason = format!("the firmware has no boot entry sund-{slot}: make one in its setup");
        Err(Fault::new("boot-entry-missing", Blame::Box, reason))
    }

    /// The value of a variable; nothing where there is none.
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, Fault> {
        value(&self.directory.join(name))
    }

    fn write(&self, name: &str, value: &[u8]) -> Result<(), Fault> {
        let path = self.directory.join(name);
        let written = release(&path).and_then(|()| {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&path)?;
            file.write_all(&[&ATTRIBUTES, value].concat())
        });
        written.map_err(|error| failed(&path, &error))
    }

    fn remove(&self, name: &str) -> Result<(), Fault> {
        let path = self.directory.join(name);
        match release(&path).and_then(|()| fs::remove_file(&path)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(&path, &error)),
            _ => Ok(()),
        }
    }
}

/// The value of the variable that a file shows; nothing where there is none.
pub fn value(path: &Path) -> Result<Option<Vec<u8>>, Fault> {
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(MAX_VARIABLE + 1).read_to_end(&mut bytes)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|error| failed(path, &error))?,
    };
    if bytes.len() as u64 > MAX_VARIABLE {
        return Err(failed(path, &io::Error::other(format!("it has more than {MAX_VARIABLE} bytes"))));
    }
    Ok(bytes.get(ATTRIBUTES.len()..).map(<[u8]>::to_vec))
}

/// The kernel holds on to each variable that it does not know, so that no careless `rm` makes a machine unbootable.
fn release(path: &Path) -> io::Result<()> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    // Another file system than the kernel's own may have no such flags.
    match ioctl_getflags(&file) {
        Ok(flags) if flags.contains(IFlags::IMMUTABLE) => Ok(ioctl_setflags(&file, flags - IFlags::IMMUTABLE)?),
        _ => Ok(()),
    }
}

fn failed(path: &Path, error: &io::Error) -> Fault {
    let reason = format!("{}: {error}: does the firmware keep its variables? Clear its settings", path.display());
    Fault::new("firmware-failed", Blame::Box, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory as the kernel shows the variables of a box with two boot entries.
    fn firmware() -> (tempfile::TempDir, Firmware) {
        let directory = tempfile::tempdir().expect("a directory");
        let firmware = Firmware::new(directory.path());
        for (number, label) in [("0000", "UiApp"), ("0003", "sund-a"), ("001B", "sund-b")] {
            let text = format!("{label}\0").encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
            let option = [&[1, 0, 0, 0, 4, 0][..], &text, &[0x7f, 0xff, 4, 0]].concat();
            firmware.write(&format!("Boot{number}-{GLOBAL}"), &option).expect("an entry");
        }
        firmware.write(&format!("BootOrder-{GLOBAL}"), &[3, 0, 0x1b, 0]).expect("an order");
        (directory, firmware)
    }

    fn next(firmware: &Firmware) -> Option<Vec<u8>> {
        firmware.read(&format!("BootNext-{GLOBAL}")).expect("it is read")
    }

    #[test]
    fn a_broken_slot_has_the_firmware_start_the_other_one_once() {
        let (directory, firmware) = firmware();
        assert_eq!(firmware.begin(Slot::A), Ok(Next::This));
        assert_eq!((firmware.broken(Slot::A), next(&firmware)), (Ok(Next::Other), Some(vec![0x1b, 0])));
        let kept = fs::read(directory.path().join(STARTS)).expect("it is kept");
        assert_eq!(kept, b"\x07\0\0\0aaaB");
        assert_eq!(firmware.begin(Slot::B), Ok(Next::This));
        assert_eq!(firmware.broken(Slot::B), Ok(Next::Rescue));
        assert_eq!(firmware.made_anew(Slot::A), Ok(()));
        assert_eq!(next(&firmware), Some(vec![3, 0]));
        assert!(!directory.path().join(STARTS).exists(), "no start of the system before counts against the new one");
    }

    #[test]
    fn without_the_other_slots_entry_nothing_is_counted_that_would_leave_this_one() {
        let (directory, firmware) = firmware();
        fs::remove_file(directory.path().join(format!("Boot001B-{GLOBAL}"))).expect("it was there");
        assert_eq!(firmware.broken(Slot::A).map_err(|fault| fault.code), Err("boot-entry-missing"));
        assert!(!directory.path().join(STARTS).exists());
    }
}
