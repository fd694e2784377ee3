//! Desired states: what is refused before anybody signs, what whoever signs reads, and how many there may be.
use crate::region::{Region, TWO, frozen, text, words};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use sund_channel::repository::{Draft, Home, Proposal, describe};
use sund_ota::fault::Fault;
use sund_ota::limits::metadata::MAX_DELEGATIONS;
use tough::schema::DelegatedRole;

const MODEL: &str = "models/sund/positive-values-1.0.0.sund";
const TWO_ROUTES: &str = "ae_title = \"SUND\"\n[[routes]]\nname = \"neuro\"\n[[routes]]\nname = \"thorax\"\n";

/// Proposes states as the server could, whatever they say.
fn propose(region: &Region, states: impl Iterator<Item = Value>) -> Result<Proposal, Fault> {
    let mut draft = Draft::begin(&Home::open(&region.home()).unwrap(), None).unwrap();
    for state in states {
        let target = format!("state/{}.json", state["name"].as_str().unwrap());
        draft.list_bytes(&target, state.to_string().into_bytes()).unwrap();
    }
    draft.finish("states")
}

/// The model as it is listed.
fn model(region: &Region) -> Value {
    let listed = region.must(&["status"])["targets"][MODEL].clone();
    json!({ "target": MODEL, "sha256": listed["sha256"], "length": listed["length"], "name": "positive-values", "version": "1.0.0" })
}

/// Two routes, and the configuration that has them.
fn with_two_routes() -> (Region, String) {
    let region = Region::with_state();
    let file = region.file("two.toml", TWO_ROUTES);
    let configuration = region.must(&["publish", "config", text(&file), "--name", "two"])["target"]["target"].clone();
    region.publish("config-3", &TWO);
    (region, configuration.as_str().unwrap().to_owned())
}

#[test]
fn a_release_that_hundreds_of_states_name_is_withdrawn() {
    let region = Region::with_state();
    let model = model(&region);
    let states = |from: usize, to: usize| {
        let of = |n| json!({ "format": 1, "name": format!("site-{n}"), "models": [model], "watch_seconds": 60 });
        propose(&region, (from..to).map(of))
    };
    // More than whoever signs could open.
    assert_eq!(states(0, 300).unwrap_err().code, "proposal-too-large");
    assert_eq!(region.must(&["proposals"])["proposals"], json!([]));
    assert_eq!(fs::read_dir(region.home().join("proposals")).unwrap().count(), 0, "nothing of it is written");
    for (n, (from, to)) in [(0, 150), (150, 300)].into_iter().enumerate() {
        states(from, to).unwrap();
        region.publish(&format!("state-{}", n + 3), &TWO);
    }

    let proposed = region.must(&["withdraw", MODEL, "--reason", "misses small bleeds"]);
    assert_eq!(proposed["withdrawn"].as_array().unwrap().len(), 302);
    assert_eq!(region.must(&["proposals"])["proposals"][0]["proposal"], "models.sund-3");
    assert!(words(&region.must(&["show", "models.sund-3"])).contains("- state/site-299.json"));
    region.publish("models.sund-3", &TWO);
    assert_eq!(region.must(&["verify"])["states"], 0);
    // One that goes by itself is taken off in a proposal with others.
    propose(&region, (0..2).map(|n| json!({ "format": 1, "name": format!("old-{n}"), "watch_seconds": 60 }))).unwrap();
    region.publish("state-6", &TWO);
    region.must(&["withdraw", "state/old-0.json", "--reason", "nobody runs it"]);
    region.must(&["withdraw", "state/old-1.json", "--reason", "nobody runs it", "--with", "state-7"]);
    region.publish("state-7", &TWO);
    assert_eq!(region.must(&["verify"])["states"], 0);
}

#[test]
fn what_goes_is_enclosed_as_far_as_there_is_room_and_it_can_be_read_for_those_who_sign_with_an_earlier_program() {
    let region = Region::with_state();
    let model = model(&region);
    let of = |n| json!({ "format": 1, "name": format!("site-{n}"), "models": [model], "watch_seconds": 60 });
    propose(&region, (0..3).map(of)).unwrap();
    region.publish("state-3", &TWO);
    let listed = region.must(&["status"])["targets"].clone();
    let of_state = |target: &str| listed[target]["sha256"].as_str().unwrap().to_owned();
    let lost = of_state("state/site-1.json");
    for entry in fs::read_dir(region.home().join("repository/targets/state")).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with(&lost) {
            fs::remove_file(path).unwrap();
        }
    }
    region.must(&["withdraw", MODEL, "--reason", "misses small bleeds"]);
    let proposal = region.home().join("proposals/models.sund-3");
    for (state, is_there) in [("north-1", true), ("site-0", true), ("site-1", false), ("site-2", true)] {
        let payload = proposal.join("payloads").join(of_state(&format!("state/{state}.json")));
        assert_eq!(payload.exists(), is_there, "{state}");
    }
    region.publish("models.sund-3", &TWO);
}

#[test]
fn a_proposal_that_cannot_be_read_keeps_no_other_one_from_being_seen() {
    let region = Region::with_state();
    region.must(&["suspend", "brain", "--unlisted", "--reason", "a test"]);
    let waiting = region.home().join("proposals/os-2");
    fs::create_dir(&waiting).unwrap();
    fs::write(waiting.join("proposal.json"), "no proposal").unwrap();
    let listed = region.must(&["proposals"])["proposals"].clone();
    assert_eq!((&listed[0]["proposal"], &listed[0]["error"]["code"]), (&json!("os-2"), &json!("proposal-invalid")));
    assert_eq!((&listed[1]["proposal"], &listed[1]["error"]), (&json!("state-3"), &Value::Null));
    region.must(&["discard", "os-2"]);
    assert_eq!(region.must(&["proposals"])["proposals"].as_array().unwrap().len(), 1);
}

#[test]
fn no_state_goes_to_the_boxes_unwatched_unless_it_says_so() {
    let region = Region::with_state();
    let publish = |watch: &str| {
        let file = region.file("s.json", &format!(r#"{{"name":"south-1"{watch}}}"#));
        region.run(&["publish", "state", text(&file)])
    };
    for watch in ["", r#","watch_seconds":604801"#] {
        let ended = publish(watch);
        assert_eq!((ended.code, ended.refusal()), (Some(64), "state-invalid"), "{watch}");
        assert!(ended.json["error"]["reason"].as_str().unwrap().contains("watch_seconds"), "{:#}", ended.json);
    }
    let week = words(&publish(r#","watch_seconds":604800"#).json);
    assert!(week.contains("each box watches itself for 604800 s") && !week.contains("NOT WATCHED"), "{week}");
    region.must(&["discard", "state-3"]);
    let never = words(&publish(r#","watch_seconds":0"#).json);
    assert!(never.contains("NOT WATCHED"), "{never}");
}

#[test]
fn a_state_says_of_each_route_of_its_configuration_what_it_runs() {
    let (region, configuration) = with_two_routes();
    let publish = |routes: &str| {
        let state = format!(
            r#"{{"name":"south-1","boxes":["*"],"configuration":{{"target":"{configuration}"}},"models":[{{"target":"{MODEL}"}}],
                "routes":{{"neuro":{{"models":["positive-values"],"mode":"shadow"}}{routes}}},"watch_seconds":60}}"#
        );
        region.run(&["publish", "state", text(&region.file("s.json", &state))])
    };
    let ended = publish("");
    assert_eq!((ended.code, ended.refusal()), (Some(64), "state-invalid"));
    assert!(ended.json["error"]["reason"].as_str().unwrap().contains("thorax"), "{:#}", ended.json);
    assert_eq!(region.must(&["proposals"])["proposals"], json!([]));
    let told = words(&publish(r#","thorax":{"models":[],"mode":"shadow"}"#).json);
    assert!(told.contains("route thorax: RUNS NOTHING") && !told.contains("neuro: RUNS NOTHING"), "{told}");
}

#[test]
fn whoever_signs_reads_what_a_state_takes_away() {
    let (region, configuration) = with_two_routes();
    let listed = region.must(&["status"])["targets"][&configuration].clone();
    let pin = json!({ "target": configuration, "sha256": listed["sha256"], "length": listed["length"] });
    // A server in other hands may propose what `publish state` refuses.
    let mut state = json!({
        "format": 1, "name": "south-1", "configuration": pin, "models": [model(&region)], "watch_seconds": 60,
        "routes": { "neuro": { "models": ["positive-values"], "mode": "shadow" } },
    });
    let told = describe(&propose(&region, [state.clone()].into_iter()).unwrap()).unwrap().join("\n");
    assert!(told.contains("route thorax: RUNS NOTHING, it is not named"), "{told}");
    // It is read out of the configuration that is signed, and what hides that does not pass without a word.
    let proposal = region.home().join("proposals/state-3");
    fs::remove_file(proposal.join("payloads").join(listed["sha256"].as_str().unwrap())).unwrap();
    let told = words(&region.must(&["show", "state-3"]));
    assert!(told.contains("RUNS NOTHING; which ones there are cannot be read here"), "{told}");
    region.must(&["discard", "state-3"]);
    state.as_object_mut().unwrap().remove("configuration");
    let told = describe(&propose(&region, [state].into_iter()).unwrap()).unwrap().join("\n");
    assert!(told.contains("configuration: the box's own, as on its first day"), "{told}");
}

#[test]
fn whoever_signs_reads_which_model_it_is_and_what_it_may_be_used_for() {
    let region = Region::with_vendor();
    let told = words(&region.must(&["publish", "model", text(&frozen("format-1.sund")), "--vendor", "sund"]));
    // What `sund model inspect` shows of the frozen package.
    let inspected: Value = serde_json::from_slice(&fs::read(frozen("format-1.json")).unwrap()).unwrap();
    let digest = format!("digest: {}", inspected["digest"].as_str().unwrap());
    for line in
        [digest.as_str(), "intended_use: Freezes the format of packages.", "regulatory_status: Not a medical device."]
    {
        assert!(told.contains(line), "{line} in\n{told}");
    }
    region.publish("models.sund-2", &TWO);
    let publish = |mode: &str| {
        let state = format!(
            r#"{{"name":"south-1","models":[{{"target":"{MODEL}"}}],"routes":{{"all":{{"models":["positive-values"],"mode":"{mode}"}}}},
                "watch_seconds":60}}"#
        );
        words(&region.must(&["publish", "state", text(&region.file("s.json", &state))]))
    };
    let line = "regulatory status of positive-values, as its vendor says: Not a medical device.";
    let told = publish("clinical");
    assert!(told.contains("in mode CLINICAL") && told.contains(line), "{told}");
    // A proposal that leaves out where it is listed does not pass without a word.
    let path = region.home().join("proposals/state-2/proposal.json");
    let mut cover: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    cover["before"] = json!(["root", "state", "targets"]);
    fs::write(&path, cover.to_string()).unwrap();
    let told = words(&region.must(&["show", "state-2"]));
    assert!(told.contains("regulatory status of positive-values, as its vendor says: NOT LISTED WITH IT"), "{told}");
    region.must(&["discard", "state-2"]);
    assert!(!publish("research").contains(line));
}

#[test]
fn the_state_of_the_readme_is_published_as_it_stands() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap();
    let section = readme.split("\n### The desired state\n").nth(1).unwrap().split("\n### ").next().unwrap();
    let example = section.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    // Every key of it is explained below it.
    let parsed: Value = serde_json::from_str(example).unwrap();
    for key in parsed.as_object().unwrap().keys() {
        assert!(section.contains(&format!("| `{key}`")), "{key}");
    }
    // The names of the region that the tests have.
    let region = Region::with_vendor();
    let config = region.file("north.toml", TWO_ROUTES);
    region.must(&["publish", "model", text(&frozen("format-1.sund")), "--vendor", "sund"]);
    let config = region.must(&["publish", "config", text(&config), "--name", "north", "--with", "models.sund-2"]);
    let os = region.file("os.raucb", "an operating system");
    let digest = "a".repeat(64);
    let os =
        ["publish", "os", text(&os), "--version", "1.2.0", "--manifest-sha256", &digest, "--with", "models.sund-2"];
    region.must(&os);
    let example = example
        .replace("models/acme/brain-extraction-1.0.2.sund", MODEL)
        .replace("brain-extraction", "positive-values")
        .replace("config/north-0a1b2c3d4e5f.toml", config["target"]["target"].as_str().unwrap());
    let file = region.file("north-7.json", &example);
    region.must(&["publish", "state", text(&file), "--with", "models.sund-2"]);
    region.publish("models.sund-2", &TWO);
    assert_eq!(region.must(&["verify"])["states"], 1);
}

#[test]
fn more_roles_than_boxes_take_are_not_proposed() {
    let region = Region::new();
    let mut draft = Draft::begin(&Home::open(&region.home()).unwrap(), None).unwrap();
    let delegations = draft.role("targets").unwrap().delegations.as_mut().unwrap();
    let of_os = delegations.roles.iter().find(|role| role.name == "os").unwrap().clone();
    let vendors: Vec<String> = (0..MAX_DELEGATIONS).map(|n| format!("models/vendor-{n}")).collect();
    delegations.roles.extend(vendors.iter().map(|name| DelegatedRole { name: name.clone(), ..of_os.clone() }));
    for vendor in &vendors {
        draft.found(vendor).unwrap();
    }
    assert_eq!(draft.finish("vendors").unwrap_err().code, "metadata-too-large");
    assert_eq!(region.must(&["proposals"])["proposals"], json!([]));
}
