//! The servers that are compared, each a process of its own.
use std::io::{BufRead, BufReader, Error, ErrorKind, Result, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// A server that does not listen by then does not start.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server that runs.
pub struct Server {
    /// Name in the tables.
    pub name: &'static str,
    /// Of these, the best result counts as the peer's.
    pub family: Family,
    /// Where it listens.
    pub address: SocketAddr,
    child: Child,
    held: Held,
}

/// Whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// The sender alone.
    Sink,
    /// Ours: durable before each answer.
    Ours,
    /// DCMTK: not durable.
    Dcmtk,
    /// dicom-rs: not durable.
    DicomRs,
}

/// How DCMTK's storescp runs.
#[derive(Clone, Copy, Debug)]
pub enum Dcmtk {
    /// As it comes: each data set is parsed and written anew.
    Plain,
    /// Each data set is written as it is read.
    AsRead,
    /// The same, with a process for each association.
    AsReadForked,
}

/// How to ask what it holds.
enum Held {
    Nothing,
    Folder(PathBuf),
    Answers(ChildStdin, BufReader<ChildStdout>),
}

impl Server {
    /// The sink: a child of this very program.
    pub fn sink() -> Result<Self> {
        let mut child = ourselves(&["--sink"])?;
        let (address, _) = port(&mut child)?;
        Ok(Self { name: "sink, answers at once", family: Family::Sink, address, child, held: Held::Nothing })
    }

    /// Our node: a child of this very program.
    pub fn ours(directory: &Path) -> Result<Self> {
        let folder = directory.join("ours").to_string_lossy().into_owned();
        let mut child = ourselves(&["--node", &folder])?;
        let (address, answers) = port(&mut child)?;
        let questions = child.stdin.take().ok_or_else(|| Error::other("no pipe"))?;
        let held = Held::Answers(questions, answers);
        Ok(Self { name: "sund, durable", family: Family::Ours, address, child, held })
    }

    /// DCMTK's storescp.
    pub fn dcmtk(directory: &Path, how: Dcmtk, pdu: usize) -> Result<Self> {
        let (name, folder, options): (_, _, &[&str]) = match how {
            Dcmtk::Plain => ("storescp", "plain", &[]),
            Dcmtk::AsRead => ("storescp +B", "dcmtk", &["+B"]),
            Dcmtk::AsReadForked => ("storescp --fork +B", "fork", &["--fork", "+B"]),
        };
        let mut arguments: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        arguments.extend(["--max-pdu".to_owned(), pdu.to_string()]);
        let folder = directory.join(folder);
        arguments.extend(["-od".to_owned(), folder.to_string_lossy().into_owned()]);
        Self::peer(name, Family::Dcmtk, Path::new("storescp"), arguments, &[], folder)
    }

    /// The storescp of dicom-rs.
    pub fn dicom_rs(program: &Path, directory: &Path, asynchronous: bool, pdu: usize) -> Result<Self> {
        let (name, folder) = if asynchronous { ("dicom-storescp -n", "async") } else { ("dicom-storescp", "dicom-rs") };
        let folder = directory.join(folder);
        let mut arguments = vec!["-o".to_owned(), folder.to_string_lossy().into_owned()];
        arguments.extend(["-m".to_owned(), pdu.to_string()]);
        if asynchronous {
            arguments.push("-n".to_owned());
        }
        Self::peer(name, Family::DicomRs, program, arguments, &["-p"], folder)
    }

    fn peer(
        name: &'static str,
        family: Family,
        program: &Path,
        arguments: Vec<String>,
        port_option: &[&str],
        folder: PathBuf,
    ) -> Result<Self> {
        std::fs::create_dir_all(&folder)?;
        // It cannot be told to choose a port by itself.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = Command::new(program);
        command.args(arguments).args(port_option).arg(address.port().to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::other(format!("{} is not installed", program.display())),
            _ => error,
        })?;
        let server = Self { name, family, address, child, held: Held::Folder(folder) };
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            if begun.elapsed() > PATIENCE {
                return Err(Error::other(format!("{name} does not listen on {address}")));
            }
            std::thread::yield_now();
        }
        Ok(server)
    }

    /// How many instances it holds; it has none from then on, and the disk is at rest.
    pub fn clear(&mut self) -> Result<Option<usize>> {
        let count = match &mut self.held {
            Held::Nothing => None,
            Held::Folder(folder) => {
                let mut count = 0;
                for entry in std::fs::read_dir(&*folder)? {
                    std::fs::remove_file(entry?.path())?;
                    count += 1;
                }
                Some(count)
            }
            Held::Answers(questions, answers) => {
                writeln!(questions)?;
                let mut answer = String::new();
                answers.read_line(&mut answer)?;
                Some(answer.trim().parse().map_err(Error::other)?)
            }
        };
        rustix::fs::sync();
        Ok(count)
    }

    /// Its process.
    pub fn process(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ourselves(arguments: &[&str]) -> Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
}

/// The port that a child of ours prints.
fn port(child: &mut Child) -> Result<(SocketAddr, BufReader<ChildStdout>)> {
    let mut lines = BufReader::new(child.stdout.take().ok_or_else(|| Error::other("no pipe"))?);
    let mut line = String::new();
    lines.read_line(&mut line)?;
    let port: u16 = line.trim().parse().map_err(|_| Error::other("a server did not start"))?;
    Ok((SocketAddr::from(([127, 0, 0, 1], port)), lines))
}
