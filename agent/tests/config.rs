//! The configuration: every defect is told with its line, all at once, and nothing starts that stands open by mistake.
use crate::hospital::signed;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use sund_agent::config::{self, KEYS, Problem};
use sund_agent::exit::Exit;
use sund_agent::limits::config::MAX_FILE;

const AGENT: &str = env!("CARGO_MANIFEST_DIR");

/// What the fixtures name: directories, keys, certificates, a package.
fn site() -> tempfile::TempDir {
    let site = tempfile::tempdir().unwrap();
    let at = |name: &str| site.path().join(name);
    for folder in ["spool", "audit", "models", "keys", "tls", "channel", "acceptance"] {
        fs::create_dir(at(folder)).unwrap();
    }
    let write = |name: &str, text: &str, mode: u32| {
        fs::write(at(name), text).unwrap();
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    let key = format!("{}\n", "5a".repeat(32));
    for name in ["uid.key", "audit.key", "keys/uid.key", "keys/audit.key", "keys/spool.key", "keys/metrics.token"] {
        write(name, &key, 0o600);
    }
    write("open.key", &key, 0o644);
    fs::create_dir(at("open-folder")).unwrap();
    fs::set_permissions(at("open-folder"), fs::Permissions::from_mode(0o777)).unwrap();
    write("short.key", "5a5a\n", 0o600);
    write("libonnx.so", "", 0o644);

    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let node_key = KeyPair::generate().unwrap();
    let node = CertificateParams::new(vec!["localhost".into()]).unwrap().signed_by(&node_key, &authority).unwrap();
    for name in ["ca.pem", "tls/region-ca.pem"] {
        write(name, &authority.pem(), 0o644);
    }
    write("ca.key", &authority.key().serialize_pem(), 0o600);
    for name in ["node", "tls/node", "tls/console"] {
        write(&format!("{name}.pem"), &node.pem(), 0o644);
        write(&format!("{name}.key"), &node_key.serialize_pem(), 0o600);
    }
    let brain = signed("brain-extraction", &at("models"));
    fs::create_dir(at("vendors")).unwrap();
    fs::copy(brain.public_key, at("vendors/packaged-by-sund.pem")).unwrap();
    for package in ["text-detection", "brain-extraction"] {
        symlink(Path::new(AGENT).join("demo/models").join(package), at("models").join(package)).unwrap();
    }
    site
}

/// Problems that a fixture says it has: `# expects: line | key | part of the message or of the help`.
fn expected(text: &str) -> Vec<(usize, String, String)> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("# expects: "));
    let parts = lines.map(|line| line.splitn(3, " | ").map(str::to_owned).collect::<Vec<_>>());
    parts.map(|part| (part[0].parse().unwrap(), part[1].clone(), part[2].clone())).collect()
}

fn is_expected(problem: &Problem, (line, key, part): &(usize, String, String)) -> bool {
    let told = format!("{}\n{}", problem.message, problem.help);
    problem.line == *line && problem.key == *key && told.contains(part.as_str())
}

#[test]
fn every_defect_is_told_with_its_line_and_nothing_else_is() {
    let site = site();
    let mut fixtures = 0;
    for entry in fs::read_dir(Path::new(AGENT).join("tests/data/config")).unwrap() {
        let fixture = entry.unwrap().path();
        let name = fixture.file_stem().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&fixture).unwrap();
        let path = site.path().join("sund.toml");
        fs::write(&path, &text).unwrap();
        let problems = config::check(&path).err().unwrap_or_default();
        let expected = expected(&text);
        for expected in &expected {
            assert!(problems.iter().any(|p| is_expected(p, expected)), "{name}: {expected:?} is not in {problems:#?}");
        }
        assert_eq!(problems.len(), expected.len(), "{name}: {problems:#?}");
        let (report, exit) = config::report(&path);
        assert_eq!(exit, if expected.is_empty() { Exit::Ok } else { Exit::Usage }, "{name}");
        assert!(!report.contains("5a5a"), "{name}: a key stands in {report}");
        for (line, _, part) in expected {
            let told = format!("{}:{line}:", path.display());
            assert!(report.contains(&told) && report.contains(&part), "{name}: {told} {part} is not in\n{report}");
        }
        fixtures += 1;
    }
    assert!(fixtures > 50, "{fixtures} fixtures");
}

/// The example, with its paths below `site`; with the keys that it leaves out, where `whole`.
fn example(site: &Path, whole: bool) -> String {
    let text = fs::read_to_string(Path::new(AGENT).join("sund.example.toml")).unwrap();
    let mut lines = Vec::new();
    for line in text.lines() {
        // `#key = value` and `#[section]` are left out; `# Text` is a comment.
        let left_out =
            line.strip_prefix('#').filter(|rest| rest.starts_with(|c: char| c == '[' || c.is_ascii_lowercase()));
        lines.push(if whole { left_out.unwrap_or(line) } else { line });
    }
    let at = |path: &str| site.join(path).display().to_string();
    lines
        .join("\n")
        .replace("/etc/sund/", &at(""))
        .replace("/var/lib/sund/", &at(""))
        .replace("/usr/lib/sund/libonnxruntime.so", &at("libonnx.so"))
        .replace("/usr/lib/sund/libtensorrt_rtx.so.1", &at("libonnx.so"))
        .replace("/usr/lib/sund/libnvinfer.so.11", &at("libonnx.so"))
}

#[test]
fn the_example_holds_as_it_stands() {
    let site = site();
    let path = site.path().join("sund.toml");
    fs::write(&path, example(site.path(), false)).unwrap();
    let config = config::check(&path).unwrap();
    assert_eq!((config.callers.len(), config.packages.len(), config.routes.len()), (2, 1, 1));
    assert!(config.node.tls.is_some() && config.console.unwrap().login.is_some());
}

/// What is asked on the box itself passes no firewall, and would find nothing wrong with a port that is dead for everybody else.
#[test]
fn a_port_that_the_boxs_firewall_does_not_know_is_told_where_that_says_what_it_knows() {
    let site = site();
    let path = site.path().join("sund.toml");
    let whole = example(site.path(), true);
    let begin = whole.find("[node.plain_dicom_exception]").unwrap();
    let end = whole.find("# Who may call.").unwrap();
    let text = format!("{}{}", &whole[..begin], &whole[end..]).replace("/usr/lib/sund/ports.nft", "ports.nft");
    let told = |known: Option<&str>| {
        let file = site.path().join("ports.nft");
        match known {
            Some(known) => fs::write(&file, known).unwrap(),
            None => drop(fs::remove_file(&file)),
        }
        fs::write(&path, &text).unwrap();
        let problems = config::check(&path).map_or_else(|problems| problems, |config| config.doubts);
        let (_, exit) = config::report(&path);
        assert_eq!(exit == Exit::Ok, problems.is_empty(), "what is checked by hand is new");
        problems.into_iter().map(|problem| (problem.key, problem.message)).collect::<Vec<_>>()
    };
    let node = toml::from_str::<toml::Table>(&text).unwrap()["node"]["listen"].as_str().unwrap().to_owned();
    let port = node.rsplit_once(':').unwrap().1;
    let known = format!("define dicom = {{ 104, {port} }}\ndefine console = 8443\ndefine servers = {{ 443, 6514 }}\n");
    assert_eq!(told(None), [], "nobody has said what it lets through");
    assert_eq!(told(Some(&known)), []);
    let keys = |known: &str| told(Some(known)).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    let others = "define dicom = 1\ndefine console = 2\ndefine servers = { 3, 4 }\n";
    assert_eq!(keys(others), ["node.listen"], "a node that nobody reaches serves nobody");
    // What serves already goes on without the rest.
    let the_rest = others.replace("dicom = 1", &format!("dicom = {port}"));
    assert_eq!(keys(&the_rest), ["console.listen", "forward.collector", "certificate.est"]);
    let damaged = told(Some("define dicom = 1\n"));
    assert!(
        matches!(damaged.as_slice(), [(key, why)] if key.is_empty() && why.contains("does not define console")),
        "{damaged:?}"
    );
}

/// The node that is asked is the destination, but for what is said of it.
#[test]
fn a_destination_is_asked_where_it_says_so_or_where_another_node_is_named() {
    let site = site();
    let path = site.path().join("sund.toml");
    let text = example(site.path(), false);
    let asked = |section: &str| {
        fs::write(&path, text.replace("[[routes]]", &format!("{section}\n[[routes]]"))).unwrap();
        let destination = config::check(&path).unwrap().destinations.remove(0);
        destination.patient_check.map(|node| (node.called_ae, node.address, node.tls.is_some()))
    };
    let node = |ae_title: &str, address: &str| Some((ae_title.to_owned(), address.to_owned(), true));
    assert_eq!(asked(""), None);
    assert_eq!(asked("[destinations.patient_check]"), node("PACS", "pacs.example.org:2762"));
    let other = "[destinations.patient_check]\nae_title = \"PACS_QR\"\naddress = \"qr.example.org:2763\"";
    assert_eq!(asked(other), node("PACS_QR", "qr.example.org:2763"));
}

#[test]
fn the_example_documents_every_key_and_no_other() {
    let site = site();
    let path = site.path().join("sund.toml");
    let text = example(site.path(), true);
    fs::write(&path, &text).unwrap();
    // All keys at once contradict each other in this one point.
    let problems = config::check(&path).unwrap_err();
    assert!(problems.iter().all(|problem| problem.key == "node.plain_dicom_exception"), "{problems:#?}");

    let table: toml::Table = toml::from_str(&text).unwrap();
    let mut documented = BTreeSet::new();
    collect("", &toml::Value::Table(table), &mut documented);
    let known: BTreeSet<String> =
        KEYS.iter().flat_map(|(section, keys)| keys.iter().map(move |key| join(section, key))).collect();
    let undocumented: Vec<_> = known.difference(&documented).collect();
    assert!(undocumented.is_empty(), "not in sund.example.toml: {undocumented:?}");
}

fn join(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") }
}

fn collect(section: &str, value: &toml::Value, keys: &mut BTreeSet<String>) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                keys.insert(join(section, key));
                collect(&join(section, key), value, keys);
            }
        }
        toml::Value::Array(values) => values.iter().for_each(|value| collect(section, value, keys)),
        _ => {}
    }
}

#[test]
fn no_secret_shows_in_the_debug_form() {
    let site = site();
    let path = site.path().join("sund.toml");
    let whole = example(site.path(), true);
    let begin = whole.find("[node.plain_dicom_exception]").unwrap();
    let end = whole.find("# Who may call.").unwrap();
    fs::write(&path, format!("{}{}", &whole[..begin], &whole[end..])).unwrap();
    let config = config::check(&path).unwrap();
    let shown = format!("{config:?}");
    for secret in ["5a5a", "[90, 90", "argon2id", "PRIVATE"] {
        assert!(!shown.contains(secret), "{secret} is in {shown}");
    }
    assert!(shown.contains("SUND") && shown.contains("pacs.example.org"));
    assert_eq!(config.policy().also_called, ["SUND_NEURO"]);
}

#[test]
fn a_file_that_cannot_be_read_ends_with_64() {
    let site = site();
    let report = |path: &Path| config::report(path);
    let (text, exit) = report(&site.path().join("not-there.toml"));
    assert!(exit == Exit::Usage && text.contains("cannot be read"), "{text}");
    let (text, exit) = report(site.path());
    assert!(exit == Exit::Usage && text.contains("cannot be read"), "{text}");

    let path = site.path().join("sund.toml");
    fs::write(&path, b"\xff\xfe").unwrap();
    assert!(report(&path).0.contains("is not UTF-8"));
    fs::write(&path, vec![b'#'; MAX_FILE as usize + 1]).unwrap();
    assert!(report(&path).0.contains("bytes"));
    fs::write(&path, format!("x = {}", "[".repeat(100_000))).unwrap();
    assert_eq!(report(&path).1, Exit::Usage, "100,000 deep");
}
