//! Other people's nodes: DCMTK, pynetdicom, Orthanc.
use super::node::until;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// Runs a program to its end.
pub fn run<S: AsRef<OsStr>>(program: &str, package: &str, arguments: impl IntoIterator<Item = S>) -> Output {
    let mut command = Command::new(program);
    let output = command.args(arguments).stdin(Stdio::null()).output();
    output.unwrap_or_else(|error| panic!("{program} does not run ({error}): install {package}"))
}

/// The same for DCMTK, with both its outputs as text.
pub fn dcmtk<S: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = S>) -> (bool, String) {
    let output = run(program, "the Debian package dcmtk", arguments);
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

fn python() -> String {
    std::env::var("SUND_TEST_PYTHON").unwrap_or_else(|_| "python3".into())
}

fn script(name: &str) -> String {
    format!("{}/tests/association/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Runs a script of pynetdicom.
pub fn pynetdicom<S: AsRef<OsStr>>(name: &str, arguments: impl IntoIterator<Item = S>) -> String {
    let output = pynetdicom_ends(name, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The same, however it ends.
pub fn pynetdicom_ends<S: AsRef<OsStr>>(name: &str, arguments: impl IntoIterator<Item = S>) -> Output {
    let arguments =
        std::iter::once(script(name).into()).chain(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
    run(&python(), "Python with pynetdicom 3 and set SUND_TEST_PYTHON", arguments)
}

/// A server that runs until it is dropped.
pub struct Server {
    pub address: SocketAddr,
    child: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// DCMTK's storescp, which writes what comes, unchanged, to a folder.
    pub fn storescp(folder: &Path, arguments: &[&str]) -> Self {
        let address = free_port();
        let mut command = Command::new("storescp");
        command.args(["+B", "-od"]).arg(folder).args(arguments).arg(address.port().to_string());
        Self::start(command, address, "the Debian package dcmtk")
    }

    /// A pynetdicom SCP: `scp.py` says how it behaves.
    pub fn pynetdicom(folder: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(python());
        command.arg(script("scp.py")).arg(folder).args(arguments);
        // It serves until its standard input ends, which is with its `Child`.
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("Python runs; set SUND_TEST_PYTHON");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port: u16 = line.trim().parse().expect("scp.py prints its port: install pynetdicom 3");
        Self { address: ([127, 0, 0, 1], port).into(), child }
    }

    /// Orthanc, with its REST interface on the second address; `node` is known to it as `sund`.
    pub fn orthanc(folder: &Path, node: SocketAddr) -> (Self, SocketAddr) {
        Self::orthanc_at(folder, free_port(), node)
    }

    /// The same, at an address.
    pub fn orthanc_at(folder: &Path, dicom: SocketAddr, node: SocketAddr) -> (Self, SocketAddr) {
        let http = free_port();
        let configuration = format!(
            r#"{{ "Name": "test", "StorageDirectory": "{0}", "IndexDirectory": "{0}", "Plugins": [],
                  "DicomAet": "ORTHANC", "DicomPort": {1}, "HttpPort": {2}, "RemoteAccessAllowed": false,
                  "AuthenticationEnabled": false, "DicomCheckCalledAet": true, "DicomAlwaysAllowStore": true,
                  "DicomModalities": {{ "sund": ["SUND", "127.0.0.1", {3}] }} }}"#,
            folder.display(),
            dicom.port(),
            http.port(),
            node.port(),
        );
        let path = folder.join("orthanc.json");
        std::fs::write(&path, configuration).unwrap();
        let mut command = Command::new("Orthanc");
        command.arg(path);
        let server = Self::start(command, dicom, "the Debian package orthanc");
        until("Orthanc's REST interface", || TcpStream::connect(http).is_ok());
        (server, http)
    }

    fn start(mut command: Command, address: SocketAddr, package: &str) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?} ({error}): install {package}"));
        let server = Self { address, child };
        until(&format!("{command:?} listens"), || TcpStream::connect(address).is_ok());
        server
    }
}

/// A port that nobody had a moment ago: these servers cannot choose one by themselves.
pub fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// An HTTP request to Orthanc; the body of its answer.
pub fn http(server: SocketAddr, method: &str, path: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(server).unwrap();
    let head = format!("{method} {path} HTTP/1.0\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") || answer.starts_with("HTTP/1.0 200"), "{method} {path}: {answer}");
    answer.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned())
}
