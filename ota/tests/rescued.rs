//! A box whose slots did not start, and of which one was made anew while the updater had a system on trial.
use super::going_back::on_trial;
use super::rauc::TORN;
use sund_ota::ddi::Finished;

#[tokio::test(flavor = "multi_thread")]
async fn a_box_that_was_rescued_in_the_middle_of_a_trial_keeps_the_system_that_it_was_rescued_with() {
    for is_healthy in [true, false] {
        let system = on_trial().await;
        // Neither slot starts any more, and the slot of the one before is made anew with what the region releases for that.
        {
            let mut slots = system.slots();
            slots.versions = ["1.5".to_owned(), TORN.to_owned()];
            slots.active = 0;
            slots.marks.clear();
        }
        system.cut_power();
        assert_eq!(system.slots().runs(), "1.5");
        system.appliance.agent.serving().is_silent = !is_healthy;
        assert_eq!(system.appliance.once().await, Some(1));
        system.appliance.channel.action("2", |action| {
            assert_eq!(action.closed()[0].status.result.finished, Finished::Failure);
            let words = action.last_words();
            assert!(words.contains("os-made-anew") && words.contains("runs 1.5"), "{words}");
        });
        let slots = system.slots();
        assert_eq!((slots.runs().as_str(), slots.active), ("1.5", slots.booted), "the broken slot is not started");
        assert_eq!(slots.has_marked("good", "booted"), is_healthy, "it is looked at first");
        assert!(!slots.has_marked("bad", "booted"));
        let record = system.appliance.record();
        let good = record.system.expect("one was found good").version;
        assert_eq!((record.action, good.as_str()), (None, if is_healthy { "1.5" } else { "1.0" }));
        assert_eq!(system.appliance.agent.serving().state.as_deref(), Some("north-1"));
    }
}
