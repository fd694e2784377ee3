//! No system is found good under which a model falls from a GPU to the CPU.
use super::rauc::System;
use sund_ota::machine::record::Record;

/// A box whose own configuration has two models on a GPU.
async fn of_two_models() -> System {
    let system = System::new("").await;
    {
        let mut serving = system.appliance.agent.serving();
        serving.own_models = vec!["brain".to_owned(), "text".to_owned()];
        "gpu".clone_into(&mut serving.engine_class);
    }
    system
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_system_under_which_one_model_of_several_falls_to_the_cpu_is_given_up_and_the_model_named() {
    let mut system = of_two_models().await;
    let descriptor = system.state();
    system.appliance.channel.deploy("1", &descriptor);
    assert_eq!(system.appliance.once().await, Some(0));
    assert_eq!(system.slots().runs(), "2.0");
    system.appliance.agent.serving().on_cpu = vec!["brain".to_owned()];
    // Gives it up, and restarts.
    assert_eq!(system.appliance.once().await, Some(0));
    assert_eq!(system.slots().runs(), "1.0");
    system.appliance.agent.serving().on_cpu.clear();
    assert_eq!(system.appliance.once().await, Some(1));
    system.appliance.channel.action("1", |action| {
        let words = action.last_words();
        assert!(words.contains("os-unhealthy") && words.contains("the model `brain` is served by `cpu`"), "{words}");
        assert!(!words.contains("`text`"), "{words}");
    });
    assert!(!system.slots().has_marked("good", "booted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_that_nobody_here_has_started_is_not_called_good_where_a_model_is_served_by_less() {
    let system = of_two_models().await;
    assert_eq!(system.appliance.once().await, Some(0));
    system.slots().active = 1;
    system.cut_power();
    system.appliance.agent.serving().on_cpu = vec!["text".to_owned()];
    assert_eq!(system.appliance.once().await, Some(1));
    assert!(!system.slots().has_marked("good", "booted"));
    let trouble = system.appliance.channel.told().attributes.get("os.trouble").cloned();
    assert!(trouble.as_ref().is_some_and(|why| why.contains("the model `text` is served by `cpu`")), "{trouble:?}");

    // An agent that does not say it model by model is believed as far as it says anything.
    system.appliance.agent.serving().says_no_classes = true;
    assert_eq!(system.appliance.once().await, Some(0));
    assert!(system.slots().has_marked("good", "booted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_served_is_kept_with_the_system_and_a_suspended_model_is_not_held_against_the_next_one() {
    let mut system = of_two_models().await;
    assert_eq!(system.appliance.once().await, Some(0));
    let known = system.appliance.record().system.expect("it was found good").engines;
    assert_eq!(
        known.model_engines.iter().map(|(name, served)| format!("{name} {}", served.class)).collect::<Vec<_>>(),
        ["brain gpu", "text gpu"]
    );
    let descriptor = system.state();
    system.appliance.channel.deploy("1", &descriptor);
    assert_eq!(system.appliance.once().await, Some(0));
    {
        let mut serving = system.appliance.agent.serving();
        serving.by_person.insert("brain".to_owned(), "a person looks into it".to_owned());
        serving.on_cpu = vec!["brain".to_owned()];
    }
    assert_eq!(system.appliance.once().await, Some(0));
    assert_eq!(system.appliance.record().system.map(|system| system.version).as_deref(), Some("2.0"));
}

#[test]
fn a_record_of_an_earlier_updater_is_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("state.json");
    let text = r#"{"format": 1, "action": {"id": "7", "descriptor": null, "since": 0, "version": "", "files": [],
        "os": {"version": "2.0", "before": "1.0", "boot": "b", "slot": "marked", "engine_class": "gpu", "committed": false},
        "step": {"at": "rebooting"}}, "last": null, "good": [], "suspended": [], "told": null,
        "system": {"version": "1.0", "other": null}, "spool_format": 2}"#;
    std::fs::write(&path, text).expect("state.json");
    let record = Record::read(&path).expect("it is read");
    let trial = record.action.and_then(|action| action.os).expect("a system on trial");
    assert_eq!((trial.engines.engine_class.as_str(), trial.engines.model_engines.len()), ("gpu", 0));
    assert_eq!(record.system.map(|system| system.engines.engine_class).as_deref(), Some(""));
}
