//! What travels is read strictly.
use sund_ota::descriptor::Descriptor;
use sund_ota::state::DesiredState;

#[test]
fn the_golden_descriptor_is_read_and_would_be_written_the_same() {
    let golden = include_bytes!("goldens/descriptor.json");
    assert!(golden.len() <= 4096);
    let read = Descriptor::parse(golden).unwrap();
    assert_eq!(read.target, "state/north-1.json");
    assert_eq!(serde_json::to_string(&read).unwrap().as_bytes(), golden);
}

#[test]
fn a_descriptor_names_a_desired_state_by_its_hash_and_nothing_else() {
    let whole = format!(r#"{{"format":1,"target":"state/north-1.json","sha256":"{}","length":120}}"#, "a".repeat(64));
    assert_eq!(Descriptor::parse(whole.as_bytes()).map(|descriptor| descriptor.length), Ok(120));
    for (altered, code) in [
        (whole.replace("state/", "os/"), "descriptor-invalid"),
        (whole.replace("\"format\":1", "\"format\":2"), "descriptor-format"),
        (whole.replace("aaaa", "AAAA"), "descriptor-invalid"),
        (whole.replace("\"length\"", "\"more\":1,\"length\""), "descriptor-invalid"),
        (format!("{whole}{}", " ".repeat(4096)), "descriptor-invalid"),
    ] {
        assert_eq!(Descriptor::parse(altered.as_bytes()).map_err(|fault| fault.code.to_string()), Err(code.to_owned()));
    }
}

#[test]
fn a_state_runs_no_model_that_it_does_not_name() {
    let state = r#"{"format":1,"name":"north-1","routes":{"neuro":{"models":["brain-extraction"],"mode":"shadow"}}}"#;
    let fault = DesiredState::parse("state/north-1.json", state.as_bytes()).expect_err("the model is not there");
    assert_eq!(fault.code, "state-invalid");
    assert!(DesiredState::parse("state/north-2.json", state.as_bytes()).is_err(), "another name than its target's");
}
