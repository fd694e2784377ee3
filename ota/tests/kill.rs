//! The updater is killed at every step and at random instants: each action still ends once, and well. `SUND_TEST_KILLS` says how often.
use super::appliance::Appliance;
use super::transitions::{Side, die_at_each, has_died_at};
use serde_json::json;
use std::time::{Duration, Instant};
use sund_ota::ddi::Finished;
use sund_ota::machine::record::Step;

/// Kills for each action; an action without any takes about three seconds.
const KILLS_PER_ACTION: u32 = 10;

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_each_step_it_goes_on_from_there() {
    for side in [Side::Before, Side::After] {
        let mut appliance = Appliance::new().await;
        let descriptor = appliance.state("north-1", &vec![1; 400_000], json!({}));
        appliance.channel.deploy("1", &descriptor);
        let deaths = die_at_each(&appliance, side, || (), || appliance.record().last.is_some()).await;
        has_died_at(&deaths, &["candidate", "verified", "installed", "tested", "active", "ended"]);
        finish(&appliance, "1", "north-1").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_instants_each_action_ends_once_and_well() {
    let kills = kills();
    let mut appliance = Appliance::new().await;
    appliance.channel.told().pause = Some(Duration::from_millis(10));
    for n in 0..kills.div_ceil(KILLS_PER_ACTION) {
        let (id, name) = (format!("{}", n + 1), format!("north-{}", n + 1));
        let descriptor = appliance.state(&name, &vec![n as u8; 400_000], json!({}));
        appliance.channel.deploy(&id, &descriptor);
        for kill in 0..KILLS_PER_ACTION.min(kills - n * KILLS_PER_ACTION) {
            let mut updater = appliance.run();
            let alive = random_below(Duration::from_millis(1500));
            tokio::time::sleep(alive).await;
            updater.kill().expect("it is killed");
            updater.wait().expect("it ended");
            let step = appliance.record().action.map_or("none", |action| action.step.name());
            eprintln!("action {id} kill {kill} after {:4} ms at {step}", alive.as_millis());
        }
        finish(&appliance, &id, &name).await;
    }
}

/// Lets the updater end what is left, and checks that the channel knows it once.
pub async fn finish(appliance: &Appliance, id: &str, name: &str) {
    let until = Instant::now() + Duration::from_mins(1);
    while appliance.channel.action(id, |action| action.is_open) || appliance.record().action.is_some() {
        assert!(Instant::now() < until, "action {id} does not end");
        assert_eq!(appliance.once().await, Some(0));
    }
    appliance.channel.action(id, |action| {
        assert_eq!((action.closed().len(), action.late), (1, 0), "told once");
        assert_eq!(action.closed()[0].status.result.finished, Finished::Success);
    });
    assert_eq!(appliance.agent.serving().state.as_deref(), Some(name));
    let last = appliance.record().last.expect("it was reported");
    assert!(matches!(last.step, Step::Ended { .. }) && last.id == id);
}

/// How often a test at random instants kills.
pub fn kills() -> u32 {
    std::env::var("SUND_TEST_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(20)
}

pub fn random_below(most: Duration) -> Duration {
    let mut random = [0; 4];
    aws_lc_rs::rand::fill(&mut random).expect("randomness");
    most.mul_f64(f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX))
}
