//! The small documents that the region signs are frozen: what is read here is read on every box.
use serde::Serialize;
use sund_ota::documents::{Approvers, Stop, Suspensions, Vendors};
use sund_ota::fault::Fault;

#[test]
fn the_signed_documents_are_read_and_written_to_the_byte() {
    let golden = |name: &str| {
        let path = format!("{}/tests/goldens/documents/{name}.json", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).unwrap()
    };
    same(&golden("approvers"), Approvers::parse);
    same(&golden("vendors"), Vendors::parse);
    same(&golden("stop"), Stop::parse);
    same(&golden("suspensions"), Suspensions::parse);
}

fn same<T: Serialize>(golden: &str, parse: impl Fn(&[u8]) -> Result<T, Fault>) {
    let read = parse(golden.as_bytes()).unwrap();
    assert_eq!(format!("{}\n", serde_json::to_string_pretty(&read).unwrap()), golden);
    for altered in [golden.replace("\"format\": 1", "\"format\": 2"), golden.replacen('{', "{\"more\": 1,", 1)] {
        assert_eq!(parse(altered.as_bytes()).map(|_| ()).unwrap_err().code, "document-invalid");
    }
    let padded = format!("{golden}{}", " ".repeat(256 * 1024));
    assert_eq!(parse(padded.as_bytes()).map(|_| ()).unwrap_err().code, "document-invalid");
}

#[test]
fn a_key_belongs_to_one_person() {
    let twice = r#"{"format":1,"persons":{"Dora Munk":["aa"],"Emil Nord":["aa"]}}"#;
    assert_eq!(Approvers::parse(twice.as_bytes()).unwrap_err().code, "document-invalid");
}

#[test]
fn a_suspension_of_one_version_leaves_the_others_alone() {
    let suspensions = r#"{"format":1,"suspensions":[{"package":"brain","version":"1.0.2","reason":"x","since":"y"}]}"#;
    let suspensions = Suspensions::parse(suspensions.as_bytes()).unwrap();
    assert!(suspensions.of("brain", "1.0.2").is_some());
    assert!(suspensions.of("brain", "1.0.3").is_none() && suspensions.of("lung", "1.0.2").is_none());
}
