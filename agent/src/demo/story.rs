//! What the demonstration does, told line by line with times.
use super::case::Case;
use super::pacs::Folder;
use super::verify;
use crate::agent::Agent;
use crate::association::{Listener, ObjectToSend, Peer, Policy, Sent, send, serve};
use crate::config::Config;
use crate::counted::counted;
use crate::dataset::part10;
use crate::deliver::Destination;
use crate::limits::association::MAX_ASSOCIATIONS;
use crate::model::{Package, golden};
use crate::outcome::Outcome;
use crate::results::preview_png;
use crate::route::{Mode, Route, Selection};
use crate::study::assembly::AssemblyRules;
use anyhow::{Context, Result, bail, ensure};
use dicom_dictionary_std::tags;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

/// How the demonstration is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The case; both where none is named.
    pub case: Option<Case>,
    /// True: end after the story.
    pub once: bool,
    /// Where the packages of the cases lie.
    pub cases: PathBuf,
    /// Where everything is put; a new temporary folder where none is named.
    pub folder: Option<PathBuf>,
}

const NODE: &str = "SUND";
const PACS: &str = "STANDIN";
/// A result that does not come within this time is missed.
const PATIENCE: Duration = Duration::from_mins(3);

struct Story(Instant);

impl Story {
    #[expect(clippy::print_stdout, reason = "the story is what the command prints")]
    fn tell(&self, text: impl AsRef<str>) {
        println!("{:7.2} s  {}", self.0.elapsed().as_secs_f64(), text.as_ref());
    }
}

/// Runs the demonstration; an error where a step did not hold.
pub async fn run(options: Options) -> Result<()> {
    let story = Story(Instant::now());
    let temporary = tempfile::Builder::new().prefix("sund-demo-").tempdir().context("no temporary folder")?;
    let folder = match options.folder {
        Some(folder) => folder,
        None => temporary.keep(),
    };
    let received = folder.join("pacs");
    std::fs::create_dir_all(&received).with_context(|| format!("{} cannot be made", received.display()))?;
    let (stop, stopped) = watch::channel(false);
    let (pacs, mut arrivals) = Folder::new(received.clone());
    let pacs_socket = TcpListener::bind("127.0.0.1:0").await?;
    let pacs_address = pacs_socket.local_addr()?.to_string();
    tokio::spawn(serve(Listener { socket: pacs_socket, tls: None }, policy(PACS), Arc::new(pacs), stopped.clone()));

    let mut config = Config::embedded(&folder)?;
    NODE.clone_into(&mut config.node.ae_title);
    configure(&mut config, &options.cases, &pacs_address)?;
    let packages = config.packages.clone();
    let agent = Agent::start(config).await?;
    let node_address = agent.node().to_string();

    story.tell(format!("DICOM node {NODE} on {node_address}, a stand-in PACS {PACS} on {pacs_address}"));
    if let Some(console) = agent.console() {
        story.tell(format!("console http://{console}/"));
    }
    for (case, package) in Case::ALL.into_iter().zip(&packages) {
        if options.case.is_none_or(|only| only == case) {
            play(&story, (case, package), &agent, &mut arrivals).await?;
        }
    }
    story.tell(format!("the results lie in {}", received.display()));
    if !options.once {
        let node = node_address.replace(':', " ");
        // As it is: compressed images too, and past files that are none.
        story.tell(format!("send your own study:  dcmsend -nh +sd +r -aet ME -aec {NODE} {node} FOLDER"));
        story.tell(format!(
            "or with pynetdicom:  python3 -m pynetdicom storescu -r -cx -aet ME -aec {NODE} {node} FOLDER"
        ));
        story.tell("the models' golden cases run now; serving until Ctrl-C");
        agent.check_models();
        tokio::signal::ctrl_c().await?;
        story.tell("draining: associations and jobs that run are ended");
    }
    agent.stop().await?;
    stop.send_replace(true);
    story.tell("drained");
    Ok(())
}

fn policy(ae_title: &str) -> Policy {
    Policy {
        ae_title: ae_title.to_owned(),
        require_called_ae: true,
        also_called: Vec::new(),
        callers: Vec::new(),
        max_associations: MAX_ASSOCIATIONS,
    }
}

fn destination(address: &str) -> Destination {
    let peer = Peer { calling_ae: NODE.to_owned(), called_ae: PACS.to_owned(), address: address.to_owned(), tls: None };
    Destination::new("stand-in PACS".to_owned(), peer)
}

/// The demonstration's models, its one route and its destination.
fn configure(config: &mut Config, cases: &Path, pacs_address: &str) -> Result<()> {
    for case in Case::ALL {
        config.packages.push(Package::open(&case.folder(cases)?)?);
    }
    config.destinations.push(destination(pacs_address));
    config.routes.push(Route {
        name: "demonstration".to_owned(),
        called_ae: Vec::new(),
        callers: Vec::new(),
        selection: Selection::default(),
        models: config.packages.iter().map(|package| package.manifest.name.clone()).collect(),
        mode: Mode::Research,
        destinations: config.destinations.iter().map(|destination| destination.name.clone()).collect(),
        outcome_reports: vec![Outcome::Failed, Outcome::TooLate],
        deadline: None,
    });
    config.assembly = AssemblyRules { quiet: Duration::from_secs(5), complete_on_association_end: true };
    Ok(())
}

/// Sends the images of a case's golden case and waits for the results, each of which is checked.
async fn play(
    story: &Story,
    (case, package): (Case, &Package),
    agent: &Agent,
    arrivals: &mut mpsc::UnboundedReceiver<PathBuf>,
) -> Result<()> {
    let golden = package.manifest.golden.first().context("the package has no golden case")?;
    let images = golden::series(package, golden)?;
    let objects: Vec<ObjectToSend> = images
        .iter()
        .map(|image| ObjectToSend {
            sop_class: image.sop_class.clone(),
            sop_instance: image.sop_instance.clone(),
            transfer_syntax: image.header.transfer_syntax.clone(),
            dataset: image.dataset.clone(),
        })
        .collect();
    let peer = Peer {
        calling_ae: "MODALITY".to_owned(),
        called_ae: NODE.to_owned(),
        address: agent.node().to_string(),
        tls: None,
    };
    let mut stored = 0;
    send(&peer, &objects, |_, sent| stored += usize::from(matches!(sent, Sent::Stored { .. }))).await?;
    ensure!(stored == objects.len(), "{stored} of {} images were stored", objects.len());
    story.tell(format!(
        "sent {}: {} stored, each durable before its answer",
        case.study(),
        counted(stored, "instance", "instances")
    ));
    let models = agent.status().models;
    let engine = models.iter().find(|model| model.name == case.package()).and_then(|model| model.engine.as_deref());
    story.tell(format!("{} runs on {}", case.package(), engine.unwrap_or("no engine")));
    let mut missing = case.expects().to_vec();
    while !missing.is_empty() {
        let Some(path) = tokio::time::timeout(PATIENCE, arrivals.recv()).await.context("no result came")? else {
            bail!("the stand-in PACS ended");
        };
        let result = part10::read_file(&path)?;
        let failed = agent.status().studies.into_iter().flat_map(|study| study.timeline).find(|m| m.step == "failed");
        if let Some(moment) = failed {
            bail!("{}", moment.text);
        }
        let modality = result.header.text(tags::MODALITY).unwrap_or_default();
        let place = missing.iter().position(|kind| *kind == modality);
        missing.remove(place.with_context(|| format!("an unexpected {modality} came"))?);
        let says = verify::check(&result, &images, golden)?;
        let picture = if modality == "OT" {
            let png = path.with_extension("png");
            std::fs::write(&png, preview_png(&result.dataset)?)?;
            png
        } else {
            path
        };
        let name = picture.file_name().unwrap_or_default().to_string_lossy().into_owned();
        story.tell(format!("the PACS received {name}  ({modality}, {says}, in the right study)"));
    }
    Ok(())
}
