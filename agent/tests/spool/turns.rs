//! Whoever holds the writer passes it on: nobody waits for a turn that never comes.
use super::power::Machine;
use super::{options, put_async, store};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use sund_agent::spool::{Spool, SpoolError};

/// Looks once, as a runtime does after a wake-up.
fn poll<T>(future: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Runs `during` while `holder` has the writer and is held up at the disk; returns when the holder is done.
fn while_held<T: Send>(machine: &Machine, holder: impl FnOnce() -> T + Send, during: impl FnOnce()) -> T {
    std::thread::scope(|scope| {
        machine.hold_writes();
        let holder = scope.spawn(holder);
        machine.wait_for_a_held_write();
        during();
        machine.release_writes();
        holder.join().expect("it does not panic")
    })
}

#[test]
fn what_is_submitted_during_an_erasure_is_written_when_the_erasure_ends() {
    for fails in [false, true] {
        let machine = Machine::new();
        let spool = Spool::open_with(machine.mount(), options()).unwrap();
        store(&spool, "1.2", "1", b"to be erased").unwrap();
        let mut write = pin!(put_async(&spool, "1"));
        let erased = while_held(
            &machine,
            || spool.erase_study("1.2"),
            || {
                assert!(poll(write.as_mut()).is_pending());
                if fails {
                    machine.cut();
                }
            },
        );
        assert_eq!(erased.is_err(), fails);
        // However the erasure ended, the writer was passed on.
        let Poll::Ready(written) = poll(write) else { panic!("it waits for ever, after {erased:?}") };
        assert_eq!(written.is_err(), fails);
    }
}

#[test]
fn what_is_submitted_while_the_spool_closes_is_answered() {
    let machine = Machine::new();
    let spool = Spool::open_with(machine.mount(), options()).unwrap();
    let [queued, late] = ["queued", "late"].map(|key| put_async(&spool, key));
    let (mut queued, mut late) = (pin!(queued), pin!(late));
    // The first write is held up; the close has to wait for it, and writes what was queued behind it.
    let first = || put_async_now(&spool, "first");
    while_held(&machine, first, || assert!(poll(queued.as_mut()).is_pending())).unwrap();
    spool.clone().close();
    assert_eq!(poll(queued), Poll::Ready(Ok(())));
    assert_eq!(poll(late.as_mut()), Poll::Ready(Err(SpoolError::Stopped)));
}

fn put_async_now(spool: &Spool, key: &str) -> Result<(), SpoolError> {
    super::put(spool, sund_agent::spool::Table::Jobs, key, "x", None)
}

#[test]
fn a_waiter_that_was_told_to_lead_and_gave_up_leaves_its_turn_to_the_next() {
    let machine = Machine::new();
    let spool = Spool::open_with(machine.mount(), options()).unwrap();
    let mut told = Box::pin(put_async(&spool, "told"));
    let mut behind = pin!(put_async(&spool, "behind"));
    while_held(
        &machine,
        || put_async_now(&spool, "first"),
        || {
            assert!(poll(told.as_mut()).is_pending());
            assert!(poll(behind.as_mut()).is_pending());
        },
    )
    .unwrap();
    drop(told);
    assert_eq!(poll(behind), Poll::Ready(Ok(())));
}
