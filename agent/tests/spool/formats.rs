//! An update that changes the format of the spool, and the way back: what was queued survives both.
use super::power::Machine;
use super::{bytes_of, options, put, store};
use std::collections::BTreeMap;
use std::path::Path;
use sund_agent::spool::{Spool, SpoolError, SpoolIo, Table};

fn segments(machine: &Machine) -> BTreeMap<String, u32> {
    let files = machine.files().into_iter().filter(|(name, _)| name.starts_with("segment-"));
    files.map(|(name, bytes)| (name, u32::from_le_bytes(bytes[8..12].try_into().unwrap()))).collect()
}

/// Writes until another segment is begun.
fn roll(spool: &Spool, machine: &Machine, study: &str) {
    let before = segments(machine).len();
    for n in 0.. {
        if segments(machine).len() > before {
            return;
        }
        store(spool, study, &format!("{study}.{before}.{n}"), &bytes_of(n, 100_000)).unwrap();
    }
}

/// The spool of an agent that knew format 1 alone; its files are frozen.
fn of_format_1() -> Machine {
    let machine = Machine::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/spool-1");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let bytes = std::fs::read(&path).unwrap();
        let io = machine.mount();
        let file = io.create(&name, 0, false).unwrap();
        file.write_at(0, &[&bytes]).unwrap();
        file.sync().unwrap();
        io.sync_directory().unwrap();
    }
    machine
}

#[test]
fn what_the_agent_before_had_queued_is_there_after_the_update() {
    let machine = of_format_1();
    let spool = Spool::open_with(machine.mount(), options()).unwrap();
    assert_eq!(spool.get::<String>(Table::Jobs, "00000000000000000001").unwrap().unwrap(), "waiting");
    assert_eq!(spool.scan::<String>(Table::Ledger, "").unwrap(), ["sent"]);
    let instances = spool.instances_of("1.2.3");
    assert_eq!(spool.read(&instances[0]).unwrap(), bytes_of(1, 5000));
    assert_eq!(spool.read(&instances[1]).unwrap(), bytes_of(2, 200_000));
    assert_eq!((spool.usage().damaged, spool.format()), (0, (1, 2)));
}

#[test]
fn until_the_system_stays_all_is_written_as_the_agent_before_reads_it() {
    let machine = of_format_1();
    let spool = Spool::open_with(machine.mount(), options()).unwrap();
    roll(&spool, &machine, "1.2.3");
    roll(&spool, &machine, "1.2.4");
    drop(spool);
    let versions = segments(&machine);
    assert!(versions.len() >= 3 && versions.values().all(|version| *version == 1), "{versions:?}");
    assert!(!machine.files().contains_key("format"), "a file that the agent before does not know");
    // Its header is what it was: magic, version, number, first sequence number, salt, and the seal behind them.
    let last = machine.files()[versions.last_key_value().unwrap().0].clone();
    assert!(last[44 + 12 + 16..4096].iter().all(|byte| *byte == 0));
}

#[test]
fn once_it_stays_the_newest_format_is_written_and_both_are_read() {
    let machine = of_format_1();
    let spool = Spool::open_with(machine.mount(), options()).unwrap();
    assert!(spool.commit_format().unwrap());
    assert!(!spool.commit_format().unwrap(), "said once");
    put(&spool, Table::Jobs, "2", "waiting", Some("1.2.3")).unwrap();
    roll(&spool, &machine, "1.2.3");
    drop(spool);
    let versions = segments(&machine);
    assert_eq!((versions.values().next(), versions.values().next_back()), (Some(&1), Some(&2)));
    let last = machine.files()[versions.last_key_value().unwrap().0].clone();
    assert!(last[44..].starts_with(env!("CARGO_PKG_VERSION").as_bytes()));

    let spool = Spool::open_with(machine.mount(), options()).unwrap();
    assert_eq!((spool.format(), spool.usage().damaged), ((2, 2), 0));
    assert_eq!(spool.scan::<String>(Table::Jobs, "").unwrap(), ["waiting", "waiting"]);
    for instance in spool.instances_of("1.2.3").iter().skip(2) {
        assert_eq!(spool.read(instance).unwrap().len(), 100_000);
    }
}

#[test]
fn the_power_may_go_at_each_operation_of_the_change() {
    for cut in 1.. {
        let machine = of_format_1();
        let spool = Spool::open_with(machine.mount(), options()).unwrap();
        machine.cut_at(cut, cut);
        let done = spool.commit_format();
        let was_cut = !machine.is_on();
        drop(spool);
        machine.cut();
        let spool = Spool::open_with(machine.mount(), options()).unwrap();
        let (written, newest) = spool.format();
        assert!(written == newest || done.is_err(), "what was told is durable");
        assert_eq!(spool.get::<String>(Table::Jobs, "00000000000000000001").unwrap().unwrap(), "waiting");
        if !was_cut {
            return;
        }
    }
}

#[test]
fn an_older_agent_refuses_what_it_cannot_read_says_who_can_and_touches_nothing() {
    for name in ["segment-000000000001.log", "format"] {
        let machine = of_format_1();
        Spool::open_with(machine.mount(), options()).unwrap().commit_format().unwrap();
        // As an agent of a format that comes later leaves them.
        let mut bytes = machine.files()[name].clone();
        bytes[8] = 3;
        if name != "format" {
            bytes[44..68].copy_from_slice(b"9.10.1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        }
        machine.overwrite(name, &bytes);
        let before = machine.files();
        let error = Spool::open_with(machine.mount(), options()).unwrap_err();
        let by = (name != "format").then(|| "9.10.1".to_owned());
        assert_eq!(error, SpoolError::UnknownFormat { file: name.into(), found: 3, known: 2, by });
        assert_eq!(machine.files(), before);
    }
}
