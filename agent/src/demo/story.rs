//! What the demonstration does, told line by line with times.
use super::case::Case;
use super::pacs::Folder;
use crate::association::{Listener, ObjectToSend, Peer, Policy, Sent, send, serve};
use crate::console::{self, ConsoleOptions};
use crate::dataset::part10;
use crate::decode::SourceInstance;
use crate::deliver::Destination;
use crate::limits::association::MAX_ASSOCIATIONS;
use crate::metrics;
use crate::model::Package;
use crate::outcome::Outcome;
use crate::pipeline::{Pipeline, Recorder, Site, SpoolIntake, assemble, deliver, run_jobs};
use crate::results::{UidKey, preview_png};
use crate::route::{Mode, Route, Selection};
use crate::spool::{Spool, SpoolOptions};
use crate::study::assembly::AssemblyRules;
use crate::worker::{Bounds, Launcher};
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
    /// Where everything is put; a new temporary folder where none is named.
    pub folder: Option<PathBuf>,
}

const NODE: &str = "SUND";
const PACS: &str = "STANDIN";
/// A result that does not come within this time is missed.
const PATIENCE: Duration = Duration::from_secs(180);

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

    let node_socket = TcpListener::bind("127.0.0.1:0").await?;
    let node_address = node_socket.local_addr()?.to_string();
    let console_socket = TcpListener::bind("127.0.0.1:0").await?;
    let console_address = console_socket.local_addr()?.to_string();
    let pipeline = pipeline(&folder, &pacs_address)?;
    pipeline.listens_on(&node_address);
    let mut tasks = tokio::task::JoinSet::new();
    let (intake, feed) = SpoolIntake::new(Arc::clone(&pipeline));
    let rules = AssemblyRules { quiet: Duration::from_secs(5), complete_on_association_end: true };
    tasks.spawn(assemble(Arc::clone(&pipeline), rules, feed));
    tasks.spawn(serve(Listener { socket: node_socket, tls: None }, policy(NODE), Arc::new(intake), stopped.clone()));
    tasks.spawn(deliver(Arc::clone(&pipeline), destination(&pacs_address)));
    let source = Arc::clone(&pipeline) as Arc<dyn console::StatusSource>;
    let (listeners, watching) = (vec![console_socket], stopped.clone());
    tasks.spawn(async move {
        if let Err(fault) =
            console::serve(listeners, ConsoleOptions::default(), source, metrics::install(), watching).await
        {
            tracing::error!(code = %fault.code, reason = %fault.reason, "the console ended");
        }
    });
    let runner = Arc::clone(&pipeline);
    let runner = std::thread::spawn(move || run_jobs(&runner));

    story.tell(format!("DICOM node {NODE} on {node_address}, a stand-in PACS {PACS} on {pacs_address}"));
    story.tell(format!("console http://{console_address}/"));
    let cases = options.case.map_or(Case::ALL.to_vec(), |case| vec![case]);
    for case in cases {
        play(&story, case, &node_address, &mut arrivals).await?;
    }
    story.tell(format!("the results lie in {}", received.display()));
    if !options.once {
        story.tell(format!(
            "send your own study:  storescu -aet ME -aec {NODE} +sd +r {} FOLDER",
            node_address.replace(':', " ")
        ));
        story.tell("serving until Ctrl-C");
        tokio::signal::ctrl_c().await?;
        story.tell("draining: associations and jobs that run are ended");
    }
    stop.send_replace(true);
    pipeline.drain();
    drop(pipeline);
    tokio::task::spawn_blocking(move || runner.join())
        .await?
        .map_err(|_| anyhow::anyhow!("the job runner panicked"))?;
    while let Ok(Some(_)) = tokio::time::timeout(crate::limits::association::DRAIN, tasks.join_next()).await {}
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
    Destination { name: "stand-in PACS".to_owned(), peer }
}

fn pipeline(folder: &Path, pacs_address: &str) -> Result<Arc<Pipeline>> {
    let models = folder.join("models");
    let mut packages = Vec::new();
    for case in Case::ALL {
        packages.push(Package::open(&case.unpack(&models)?)?);
    }
    let route = Route {
        name: "demonstration".to_owned(),
        called_ae: Vec::new(),
        callers: Vec::new(),
        selection: Selection::default(),
        models: packages.iter().map(|package| package.manifest.name.clone()).collect(),
        mode: Mode::Research,
        destinations: vec!["stand-in PACS".to_owned()],
        outcome_reports: vec![Outcome::Failed, Outcome::TooLate],
        deadline: None,
    };
    let site = Site {
        ae_title: NODE.to_owned(),
        routes: vec![route],
        destinations: vec![destination(pacs_address)],
        uid_key: UidKey::new(&UidKey::random().context("the system gives no random numbers")?),
        device: "demonstration".to_owned(),
        launcher: Launcher::Child { program: std::env::current_exe()? },
        bounds: Bounds { memory: 4 << 30, time: PATIENCE },
    };
    let audit = crate::audit::Log::open(crate::audit::Options {
        dir: folder.join("audit"),
        key: crate::audit::Key::new(UidKey::random().context("the system gives no random numbers")?),
        source: NODE.to_owned(),
        max_file: 16 << 20,
    })?;
    let spool = Spool::open(SpoolOptions::in_directory(folder.join("spool")))?;
    Ok(Pipeline::new(spool, site, packages, Recorder::new(Some(Arc::new(audit))))?)
}

/// Sends a case and waits for its results, each of which is checked.
async fn play(story: &Story, case: Case, node: &str, arrivals: &mut mpsc::UnboundedReceiver<PathBuf>) -> Result<()> {
    let images = case.images()?;
    let objects: Vec<ObjectToSend> = images
        .iter()
        .map(|image| ObjectToSend {
            sop_class: image.sop_class.clone(),
            sop_instance: image.sop_instance.clone(),
            transfer_syntax: image.header.transfer_syntax.clone(),
            dataset: image.dataset.clone(),
        })
        .collect();
    let peer =
        Peer { calling_ae: "MODALITY".to_owned(), called_ae: NODE.to_owned(), address: node.to_owned(), tls: None };
    let mut stored = 0;
    send(&peer, &objects, |_, sent| stored += usize::from(matches!(sent, Sent::Stored { .. }))).await?;
    ensure!(stored == objects.len(), "{stored} of {} images were stored", objects.len());
    story.tell(format!("sent {}: {stored} instances stored, each durable before its answer", case.study()));
    story.tell(format!("{} runs (tract, CPU)", case.package()));
    let mut missing = case.expects().to_vec();
    while !missing.is_empty() {
        let Some(path) = tokio::time::timeout(PATIENCE, arrivals.recv()).await.context("no result came")? else {
            bail!("the stand-in PACS ended");
        };
        let result = part10::read_file(&path)?;
        check(&result, &images[0])?;
        let modality = result.header.text(tags::MODALITY).unwrap_or_default();
        let place = missing.iter().position(|kind| *kind == modality);
        missing.remove(place.with_context(|| format!("an unexpected {modality} came"))?);
        let picture = if modality == "OT" {
            let png = path.with_extension("png");
            std::fs::write(&png, preview_png(&result.dataset)?)?;
            png
        } else {
            path
        };
        let name = picture.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = result.header.text(tags::SERIES_DESCRIPTION).unwrap_or_default();
        story.tell(format!("the PACS received {name}  ({modality}, {text}, in the right study)"));
    }
    Ok(())
}

/// A result belongs to the study and the patient that were sent.
fn check(result: &SourceInstance, image: &SourceInstance) -> Result<()> {
    for tag in [tags::STUDY_INSTANCE_UID, tags::PATIENT_ID, tags::PATIENT_NAME, tags::ACCESSION_NUMBER] {
        ensure!(result.header.text(tag) == image.header.text(tag), "a result differs from its study in {tag}");
    }
    Ok(())
}
