//! Any interleaving of stores, values, erasures and restarts looks like the same steps on a plain map.
use super::cuts::{Model, Step, perform, view};
use super::options;
use super::power::Machine;
use proptest::prelude::*;
use sund_agent::spool::{Spool, SpoolOptions};

#[derive(Clone, Debug)]
enum Act {
    Step(Step),
    /// Begun and left.
    Abandon {
        study: usize,
        length: usize,
    },
    Reopen {
        cut: bool,
    },
}

fn act() -> impl Strategy<Value = Act> {
    let length =
        prop_oneof![Just(0usize), 1..5_000usize, 60_000..140_000usize, Just(65_536usize), 300_000..500_000usize];
    let tag = proptest::option::of(0..3usize);
    prop_oneof![
        4 => (0..3usize, length.clone()).prop_map(|(study, length)| Act::Step(Step::Store { study, length })),
        2 => (0..3usize, 0..5_000usize, 0..5usize)
            .prop_map(|(study, length, key)| Act::Step(Step::StoreWith { study, length, key })),
        4 => (0..5usize, tag).prop_map(|(key, study)| Act::Step(Step::Put { key, study })),
        2 => (0..5usize).prop_map(|key| Act::Step(Step::Delete { key })),
        1 => Just(Act::Step(Step::Append)),
        2 => (0..3usize).prop_map(|study| Act::Step(Step::Erase { study })),
        1 => (0..3usize, length).prop_map(|(study, length)| Act::Abandon { study, length }),
        2 => any::<bool>().prop_map(|cut| Act::Reopen { cut }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_interleaving_equals_the_model(acts in proptest::collection::vec(act(), 1..60), spares in 0..3usize) {
        let machine = Machine::new();
        let options = SpoolOptions { spares, ..options() };
        let mut spool = Some(Spool::open_with(machine.mount(), options.clone()).unwrap());
        let mut model = Model::default();
        for (n, act) in acts.iter().enumerate() {
            let open = spool.as_ref().unwrap();
            match act {
                Act::Step(step) => {
                    perform(open, 0, n, step).unwrap();
                    model.apply(0, n, step);
                }
                Act::Abandon { study, length } => {
                    let mut incoming = open.begin(&super::cuts::study(0, *study)).unwrap();
                    incoming.write(&vec![1; *length]).unwrap();
                }
                Act::Reopen { cut } => {
                    if *cut {
                        machine.cut_at(u64::MAX, n as u64);
                        machine.cut();
                    }
                    drop(spool.take());
                    spool = Some(Spool::open_with(machine.mount(), options.clone()).unwrap());
                }
            }
            prop_assert_eq!(&view(spool.as_ref().unwrap(), 0), &model.view);
        }
    }
}
