//! The disk gives back something else than what was written: what lay there is lost, all around it is not, and it is said.
use super::power::Machine;
use super::{bytes_of, options, put, store};
use sund_agent::instance::StoredInstance;
use sund_agent::spool::{Lack, Spool, SpoolError, Table};

const LOG: &str = "segment-000000000001.log";
const KEYS: &str = "keys";
const BLOCK: usize = 4096;
/// Payload of an instance that takes 15 blocks, and its frame.
const LENGTH: usize = 60_000;
const FRAME: usize = BLOCK + 61_440;

/// What a disk does, by name.
type Rot = (&'static str, fn(&Machine));

/// Thirty instances of one study, all of them in the segment that is still written.
fn thirty(machine: &Machine) -> Vec<StoredInstance> {
    let large = sund_agent::spool::SpoolOptions { segment_bytes: 4 << 20, ..options() };
    let spool = Spool::open_with(machine.mount(), large).unwrap();
    (0..30).map(|n| store(&spool, "1.2", &n.to_string(), &bytes_of(n, LENGTH)).unwrap()).collect()
}

fn change(machine: &Machine, file: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let mut content = machine.files()[file].clone();
    change(&mut content);
    machine.overwrite(file, &content);
}

#[test]
fn a_damaged_block_in_the_middle_costs_what_lay_there_and_is_said() {
    let machine = Machine::new();
    let spool = Spool::open_with(machine.mount(), options()).unwrap();
    let stored: Vec<_> = (0..30).map(|n| store(&spool, "1.2", &n.to_string(), &bytes_of(n, 60_000)).unwrap()).collect();
    drop(spool);
    let mut content = machine.files()["segment-000000000001.log"].clone();
    // The head of the second frame, and one byte of the third's payload.
    let frame = 4096 + 61_440;
    content[4096 + frame + 100] ^= 1;
    content[4096 + 2 * frame + 4096 + 7] ^= 1;
    machine.overwrite("segment-000000000001.log", &content);
    let spool = Spool::open_with(machine.mount(), options()).unwrap();
    assert_eq!(spool.usage().damaged, 1);
    assert_eq!(spool.instances_of("1.2").len(), 29);
    assert!(spool.instance(stored[1].id).is_none());
    assert!(matches!(spool.read(&stored[2]), Err(SpoolError::Damaged { segment: 1, .. })));
    assert_eq!(spool.read(&stored[3]).unwrap(), bytes_of(3, 60_000));
}

/// A power cut leaves nothing whole behind what it tore but the rest of the same write. What was written later shows that
/// the place was once whole: the log goes on behind it.
#[test]
fn damage_in_the_segment_that_is_written_costs_what_lay_there_and_nothing_is_written_over() {
    let rots: [Rot; 2] = [
        ("other bytes", |machine| change(machine, LOG, |log| log[BLOCK + FRAME + 100] ^= 1)),
        ("an error of the disk", |machine| machine.lose(LOG, BLOCK + FRAME..BLOCK + FRAME + 512)),
    ];
    for (what, rot) in rots {
        let machine = Machine::new();
        let stored = thirty(&machine);
        rot(&machine);
        for start in 1..3 {
            let spool = Spool::open_with(machine.mount(), options()).unwrap();
            assert_eq!(spool.usage().damaged, 1, "{what}, start {start}");
            assert!(spool.instance(stored[1].id).is_none(), "{what}");
            for (n, stored) in stored.iter().enumerate().filter(|(n, _)| *n != 1) {
                assert_eq!(spool.read(stored).unwrap(), bytes_of(n, LENGTH), "{what}, start {start}");
            }
            // What comes next is written behind all that is there.
            let next = store(&spool, "1.3", &start.to_string(), &bytes_of(start, LENGTH)).unwrap();
            assert!(next.id > stored[29].id);
            machine.cut();
        }
        let spool = Spool::open_with(machine.mount(), options()).unwrap();
        assert_eq!((spool.instances_of("1.2").len(), spool.instances_of("1.3").len()), (29, 2), "{what}");
    }
}

#[test]
fn a_spool_that_was_closed_knows_its_last_instance_for_damaged() {
    let machine = Machine::new();
    let spool = Spool::open_with(machine.mount(), options()).unwrap();
    store(&spool, "1.2", "1", &bytes_of(1, LENGTH)).unwrap();
    store(&spool, "1.2", "2", &bytes_of(2, LENGTH)).unwrap();
    spool.close();
    change(&machine, LOG, |log| log[BLOCK + FRAME..][..512].fill(0));
    let spool = Spool::open_with(machine.mount(), options()).unwrap();
    assert_eq!((spool.usage().damaged, spool.instances_of("1.2").len()), (1, 1));
}

/// A key that cannot be read is no erasure: what it sealed stays in the log, where the file brought back opens it again.
#[test]
fn a_study_whose_key_is_damaged_is_not_taken_for_erased() {
    let machine = Machine::new();
    let stored = {
        let spool = Spool::open_with(machine.mount(), options()).unwrap();
        let stored = store(&spool, "1.2", "1", &bytes_of(1, 300_000)).unwrap();
        put(&spool, Table::Jobs, "1", "waiting", Some("1.2")).unwrap();
        stored
    };
    let whole = machine.files()[KEYS].clone();
    let rots: [Rot; 2] = [
        ("other bytes", |machine| change(machine, KEYS, |keys| keys[512 + 40] ^= 1)),
        ("an error of the disk", |machine| machine.lose(KEYS, 512..1024)),
    ];
    for (what, rot) in rots {
        let machine = machine.copy();
        rot(&machine);
        {
            let spool = Spool::open_with(machine.mount(), options()).unwrap();
            assert_eq!((spool.usage().damaged, spool.instances_of("1.2").len()), (1, 0), "{what}");
            // Segments fill and die around it; other studies are taken in and erased as ever.
            for n in 0..6 {
                store(&spool, "1.3", "1", &bytes_of(n, 300_000)).unwrap();
                assert_eq!(spool.erase_study("1.3").unwrap().segments_removed, 0, "{what}");
            }
        }
        machine.overwrite(KEYS, &whole);
        let spool = Spool::open_with(machine.mount(), options()).unwrap();
        assert_eq!(spool.usage().damaged, 0, "{what}");
        assert_eq!(spool.read(&stored).unwrap(), bytes_of(1, 300_000), "{what}");
        assert_eq!(spool.get::<String>(Table::Jobs, "1").unwrap().unwrap(), "waiting", "{what}");
    }
}

/// After a write that failed nobody knows what is on the disk: senders are refused, and whoever runs the spool is told.
#[test]
fn a_spool_whose_disk_failed_takes_nothing_more_and_says_why() {
    let machine = Machine::new();
    let spool = Spool::open_with(machine.mount(), options()).unwrap();
    store(&spool, "1.2", "1", b"stored").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    machine.cut();
    put(&spool, Table::Meta, "a", "value", None).unwrap_err();
    assert!(matches!(runtime.block_on(spool.broken()), SpoolError::Disk { action: "write to the log", .. }));
    assert_eq!(spool.usage().lack, Some(Lack::Stopped));
    assert_eq!(spool.begin("1.2").err(), Some(SpoolError::Stopped));
    assert_eq!(spool.begin_result("1.2").err(), Some(SpoolError::Stopped));
}
