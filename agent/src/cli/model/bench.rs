//! `sund model bench`: how long a package takes on every engine of this machine, on one of its golden cases.
use super::super::print;
use super::super::table::table;
use super::bars::spinner;
use super::engines_here;
use crate::exit::Exit;
use crate::fault::{Blame, Fault};
use crate::infer::{Candidate, EngineKind};
use crate::inference::EngineUsed;
use crate::limits::trial::MAX_ROUNDS;
use crate::model::Package;
use crate::model::manifest::Golden;
use crate::trial::{Rig, this_program};
use serde::Serialize;
use serde_json::json;
use std::path::Path;
use std::time::Duration;

/// How often.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(in crate::cli) struct Rounds {
    /// Times that are measured.
    #[arg(long, value_name = "N", default_value_t = 10)]
    rounds: usize,
    /// Times before them that are not.
    #[arg(long, value_name = "N", default_value_t = 2)]
    warm_up: usize,
}

/// The times of one engine.
#[derive(Serialize)]
struct Measured {
    engine: String,
    version: String,
    /// Each network, then the whole bracket: decode, preprocess, networks, postprocess.
    latencies: Vec<Latency>,
}

/// Times of one part, in milliseconds.
#[derive(Serialize)]
struct Latency {
    what: String,
    min_ms: f64,
    median_ms: f64,
    p95_ms: f64,
}

pub(super) fn bench(path: &Path, case: Option<&str>, rounds: Rounds, as_json: bool) -> Result<Exit, Fault> {
    if rounds.rounds == 0 || rounds.rounds.max(rounds.warm_up) > MAX_ROUNDS {
        let reason = format!("--rounds is from 1 to {MAX_ROUNDS}, --warm-up from 0 to {MAX_ROUNDS}");
        return Err(Fault::new("rounds-wrong", Blame::Configuration, reason));
    }
    let package = Package::inspect(path)?;
    let golden = &package.manifest.golden;
    let found = golden.iter().find(|one| case.is_none_or(|name| one.name == name));
    let case = found.ok_or_else(|| {
        let known: Vec<&str> = golden.iter().map(|case| case.name.as_str()).collect();
        let reason = format!("there is no golden case `{}`; there is: {}", case.unwrap_or_default(), known.join(", "));
        Fault::new("golden-case-unknown", Blame::Configuration, reason)
    })?;
    let here = engines_here();
    here.choose(&package)?;
    let mut rig = Rig::new(this_program()?);
    let (mut measured, mut not_run) = (Vec::new(), Vec::new());
    for Candidate { name, engine } in here.candidates(&package) {
        match engine {
            Ok(engine) => {
                let waiting = spinner(format!("{} on {name}", case.name));
                let times = measure(&mut rig, &package, &engine, &name, case, rounds);
                waiting.finish_and_clear();
                measured.push(times?);
            }
            Err(reason) => not_run.push((name, reason)),
        }
    }
    if as_json {
        let not_run: Vec<_> =
            not_run.iter().map(|(engine, reason)| json!({"engine": engine, "reason": reason})).collect();
        let told = json!({
            "format": 1,
            "package": package.reference(),
            "case": case.name,
            "rounds": rounds.rounds,
            "warm_up": rounds.warm_up,
            "engines": measured,
            "not_run": not_run,
        });
        return Ok(print(&format!("{told:#}\n")));
    }
    let mut rows = Vec::new();
    for Measured { engine, version, latencies } in &measured {
        for Latency { what, min_ms, median_ms, p95_ms } in latencies {
            let times = [min_ms, median_ms, p95_ms].map(|ms| format!("{ms:.1}"));
            rows.push([vec![format!("{engine} {version}"), what.clone()], times.to_vec()].concat());
        }
    }
    let head = format!("{}: {} rounds after {} to warm up, ms\n\n", case.name, rounds.rounds, rounds.warm_up);
    print(&(head + &table(&["engine", "what", "min", "median", "p95"], &rows)));
    for (engine, reason) in not_run {
        print(&format!("not run: {engine}: {reason}\n"));
    }
    Ok(Exit::Ok)
}

fn measure(
    rig: &mut Rig,
    package: &Package,
    engine: &EngineKind,
    name: &str,
    case: &Golden,
    rounds: Rounds,
) -> Result<Measured, Fault> {
    let networks = &package.manifest.networks;
    let mut times: Vec<(String, Vec<Duration>)> =
        networks.iter().map(|network| (network.name.clone(), Vec::new())).collect();
    let mut whole = Vec::new();
    let mut used: Option<EngineUsed> = None;
    for round in 0..rounds.warm_up + rounds.rounds {
        let inference = rig.run(package, engine, case)?;
        if round >= rounds.warm_up {
            whole.push(inference.times.iter().map(|step| step.took).sum());
            for (network, taken) in &mut times {
                let of_network = inference.times.iter().filter(|step| step.network.as_ref() == Some(network));
                taken.push(of_network.map(|step| step.took).sum());
            }
        }
        used = Some(inference.engine);
    }
    let version = used.map_or_else(String::new, |used| used.version);
    let whole = ("whole".to_owned(), whole);
    let latencies = times.into_iter().chain([whole]).map(|(what, taken)| latency(what, taken)).collect();
    Ok(Measured { engine: name.to_owned(), version, latencies })
}

/// Nearest-rank quantiles; there is at least one time.
fn latency(what: String, mut taken: Vec<Duration>) -> Latency {
    taken.sort_unstable();
    let at = |percent: usize| {
        let rank = (taken.len() * percent).div_ceil(100).max(1);
        taken.get(rank - 1).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    };
    Latency { what, min_ms: at(0), median_ms: at(50), p95_ms: at(95) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_times_that_were_taken() {
        let of = |millis: &[u64]| {
            let taken = millis.iter().map(|ms| Duration::from_millis(*ms)).collect();
            let Latency { min_ms, median_ms, p95_ms, .. } = latency("x".into(), taken);
            (min_ms, median_ms, p95_ms)
        };
        assert_eq!(of(&[7]), (7.0, 7.0, 7.0));
        assert_eq!(of(&[4, 1, 3, 2]), (1.0, 2.0, 4.0));
        assert_eq!(of(&(1..=100).collect::<Vec<_>>()), (1.0, 50.0, 95.0));
    }
}
