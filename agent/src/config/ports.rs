//! What the box's firewall lets through, as it says itself. A port that it does not know is dead for everybody but the box, whose own calls
//! do not pass it: what tries a configuration on the box would find nothing wrong.
use super::channel::Channel;
use super::node::Node;
use super::reader::Section;
use super::service::Console;
use crate::audit::forward::Collector;
use crate::certificate::Settings;
use crate::limits::config::MAX_PORTS;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// Where the image says it; `[channel] firewall` names another place.
pub(super) const FIREWALL: &str = "/usr/lib/sund/ports.nft";

/// What of a configuration uses a port that the firewall has to know. Destinations are not among it: they may have any.
pub(super) struct Used<'a> {
    pub(super) node: Option<&'a Node>,
    pub(super) console: Option<&'a Console>,
    pub(super) forward: Option<&'a Collector>,
    pub(super) certificate: Option<&'a Settings>,
}

/// The ports that the firewall lets through.
#[derive(Debug, PartialEq, Eq)]
struct Ports {
    dicom: Vec<u16>,
    console: Vec<u16>,
    servers: Vec<u16>,
}

/// Tells what the firewall would not let through. But for the node itself, only what is new has to be mended first: what serves already goes on.
/// Where there is no file nobody has said what it does.
pub(super) fn check(root: &Section<'_, '_>, channel: Option<&Channel>, used: &Used<'_>) {
    let path = channel.map_or(Path::new(FIREWALL), |channel| &channel.firewall);
    let ports = match read(path) {
        Ok(Some(ports)) => ports,
        Ok(None) => return,
        Err(why) => {
            let help = "it is part of the system: have it installed anew";
            root.doubt("", &format!("{} does not say which ports the firewall knows: {why}", path.display()), help);
            return;
        }
    };
    let open = |listen: SocketAddr| (!listen.ip().to_canonical().is_loopback()).then(|| listen.port());
    let asked = [
        ("node", "listen", used.node.and_then(|node| open(node.listen)), &ports.dicom),
        ("console", "listen", used.console.and_then(|console| open(console.listen)), &ports.console),
        ("forward", "collector", used.forward.and_then(|collector| elsewhere(&collector.address)), &ports.servers),
        (
            "certificate",
            "est",
            used.certificate.and_then(Settings::est_address).and_then(|at| elsewhere(&at)),
            &ports.servers,
        ),
    ];
    for (name, key, port, known) in asked {
        let Some(port) = port.filter(|port| !known.contains(port)) else { continue };
        let Some(section) = root.section_quietly(name, name) else { continue };
        let known: Vec<String> = known.iter().map(ToString::to_string).collect();
        let message = format!("port {port} is not let through by this box's firewall");
        let help = format!("it lets through {} here: {}", known.join(", "), path.display());
        // A node that nobody reaches serves nobody; without the others a box that serves goes on.
        if name == "node" { section.complain(key, &message, &help) } else { section.doubt(key, &message, &help) }
    }
}

/// The port of `host:port`; `None` where that is this box.
fn elsewhere(address: &str) -> Option<u16> {
    let (host, port) = address.rsplit_once(':')?;
    let ip: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    let is_here = host == "localhost" || ip.is_some_and(|ip| ip.to_canonical().is_loopback());
    port.parse().ok().filter(|_| !is_here)
}

fn read(path: &Path) -> Result<Option<Ports>, String> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file.map_err(|error| error.to_string())?,
    };
    let mut text = String::new();
    file.take(MAX_PORTS + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > MAX_PORTS {
        return Err(format!("it has more than {MAX_PORTS} bytes"));
    }
    Ports::of(&text).map(Some)
}

impl Ports {
    /// Reads the definitions as nftables does.
    fn of(text: &str) -> Result<Self, String> {
        let defined = |name: &str| -> Result<Vec<u16>, String> {
            let mut definitions = text.lines().filter_map(|line| line.trim().strip_prefix("define ")?.split_once('='));
            let value = definitions.find(|(known, _)| known.trim() == name).map(|(_, value)| value.trim());
            let value = value.ok_or_else(|| format!("it does not define {name}"))?;
            let list = value.strip_prefix('{').and_then(|list| list.strip_suffix('}')).unwrap_or(value);
            let ports: Option<Vec<u16>> = list.split(',').map(|port| port.trim().parse().ok()).collect();
            ports.ok_or_else(|| format!("{name} is not a port, or a list of ports in braces"))
        };
        Ok(Self { dicom: defined("dicom")?, console: defined("console")?, servers: defined("servers")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_images_own_file_is_read_and_one_that_is_not_whole_is_told() {
        let image = Path::new(env!("CARGO_MANIFEST_DIR")).join("../image/root").join(&FIREWALL[1..]);
        let ports = Ports { dicom: vec![2762, 11112], console: vec![8443], servers: vec![443, 6514] };
        assert_eq!(read(&image), Ok(Some(ports)));
        assert_eq!(read(Path::new("/nowhere/ports.nft")), Ok(None));
        let whole = "define dicom = 104\ndefine console = { 443 }\ndefine servers = { 443 }\n";
        assert!(Ports::of(whole).is_ok());
        for (from, to, why) in [
            ("define dicom = 104", "", "does not define dicom"),
            ("= 104", "= http", "dicom is not a port"),
            ("{ 443 }\ndefine", "{ 443\ndefine", "console is not a port"),
            ("= 104", "= 70000", "dicom is not a port"),
        ] {
            assert!(Ports::of(&whole.replacen(from, to, 1)).unwrap_err().contains(why), "{why}");
        }
        let folder = tempfile::tempdir().unwrap();
        let long = folder.path().join("ports.nft");
        std::fs::write(&long, "#".repeat(1 << 20)).unwrap();
        assert!(read(&long).is_err());
    }

    #[test]
    fn what_is_asked_on_this_box_passes_no_firewall() {
        for here in ["127.0.0.1:10514", "[::1]:10514", "localhost:10514"] {
            assert_eq!(elsewhere(here), None, "{here}");
        }
        for there in ["logs.example.org:10514", "10.0.0.1:10514", "[fd00::1]:10514"] {
            assert_eq!(elsewhere(there), Some(10514), "{there}");
        }
    }
}
