//! The sender, the same for every server: messages made beforehand, one blocking thread for each association.
use dicom_ul::pdu::{
    AssociationRQ, Pdu, PresentationContextProposed, PresentationContextResultReason, UserVariableItem, read_pdu,
    write_pdu,
};
use std::io::{Error, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

const CT: &str = "1.2.840.10008.5.1.4.1.1.2";
const EXPLICIT: &str = "1.2.840.10008.1.2.1";
/// Longest P-DATA-TF that is sent: each server is told to take as much.
pub const PDU: usize = 128 * 1024;
/// A server that has not answered by then is broken.
const PATIENCE: Duration = Duration::from_mins(1);

/// C-STORE messages, each as it goes over the connection.
pub struct Messages(Vec<Vec<u8>>);

impl Messages {
    /// CT slices of `bytes` of pixel data in one study; `run` makes their UIDs new.
    pub fn ct_slices(count: usize, bytes: usize, run: usize) -> Self {
        let study = format!("1.2.826.0.1.3680043.8.498.{run}");
        let message = |number: usize| {
            let uid = format!("{study}.1.{number}");
            let dataset = dataset(&uid, &study, number, bytes);
            let mut message = Vec::with_capacity(dataset.len() + 1024);
            fragments(&mut message, 1, &command(&uid, number));
            fragments(&mut message, 0, &dataset);
            message
        };
        Self((1..=count).map(message).collect())
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// Sends all messages over so many associations at once; the time from the first connection to the last release.
pub fn send(messages: &Arc<Messages>, server: SocketAddr, associations: usize) -> Result<Duration> {
    let start = Arc::new(Barrier::new(associations + 1));
    let threads: Vec<_> = (0..associations)
        .map(|first| {
            let (messages, start) = (Arc::clone(messages), Arc::clone(&start));
            std::thread::spawn(move || {
                start.wait();
                association(messages.0.iter().skip(first).step_by(associations), server)
            })
        })
        .collect();
    start.wait();
    let started = Instant::now();
    for thread in threads {
        thread.join().map_err(|_| Error::other("a sender panicked"))??;
    }
    Ok(started.elapsed())
}

fn association<'a>(messages: impl Iterator<Item = &'a Vec<u8>>, server: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut buffer = vec![0; 8192];
    send_pdu(&mut stream, &Pdu::AssociationRQ(request()))?;
    match receive_pdu(&mut stream, &mut buffer)? {
        Pdu::AssociationAC(ac)
            if ac.presentation_contexts.iter().all(|c| c.reason == PresentationContextResultReason::Acceptance) => {}
        other => return Err(Error::other(format!("no association: {}", other.short_description()))),
    }
    for message in messages {
        stream.write_all(message)?;
        // A server that writes its answer in two pieces, as DCMTK does, would wait 40 ms for our acknowledgement (Nagle).
        rustix::net::sockopt::set_tcp_quickack(&stream, true)?;
        let response = receive(&mut stream, &mut buffer)?;
        // (0000,0900) Status, two bytes; only text and UIDs follow it.
        let status = response.windows(8).rposition(|head| head == [0, 0, 0, 9, 2, 0, 0, 0]);
        let status = status.and_then(|at| response.get(at + 8..at + 10));
        if status != Some(&[0, 0]) {
            return Err(Error::other(format!("a C-STORE was answered with {status:?}")));
        }
    }
    send_pdu(&mut stream, &Pdu::ReleaseRQ)?;
    receive_pdu(&mut stream, &mut buffer).map(drop)
}

/// One PDU, its head included.
fn receive<'a>(stream: &mut TcpStream, buffer: &'a mut [u8]) -> Result<&'a [u8]> {
    let mut there = 0;
    loop {
        let needed = match buffer[..there].first_chunk::<6>() {
            Some(head) => 6 + u32::from_be_bytes([head[2], head[3], head[4], head[5]]) as usize,
            None => 6,
        };
        if there >= needed && there > 6 {
            return Ok(&buffer[..there]);
        }
        let room = buffer.get_mut(there..).filter(|room| !room.is_empty() && needed <= there + room.len());
        match stream.read(room.ok_or_else(|| Error::other("a response is too long"))?)? {
            0 => return Err(Error::other("the server closed the connection")),
            read => there += read,
        }
    }
}

fn receive_pdu(stream: &mut TcpStream, buffer: &mut [u8]) -> Result<Pdu> {
    let bytes = receive(stream, buffer)?;
    read_pdu(bytes, 1 << 20, true).map_err(Error::other)?.ok_or_else(|| Error::other("half a PDU"))
}

fn send_pdu(stream: &mut TcpStream, pdu: &Pdu) -> Result<()> {
    let mut bytes = Vec::new();
    write_pdu(&mut bytes, pdu).map_err(Error::other)?;
    stream.write_all(&bytes)
}

fn request() -> AssociationRQ {
    AssociationRQ {
        protocol_version: 1,
        calling_ae_title: "BENCH".to_owned(),
        called_ae_title: "SUND".to_owned(),
        application_context_name: "1.2.840.10008.3.1.1.1".to_owned(),
        presentation_contexts: vec![PresentationContextProposed {
            id: 1,
            abstract_syntax: CT.to_owned(),
            transfer_syntaxes: vec![EXPLICIT.to_owned()],
        }],
        user_variables: vec![
            UserVariableItem::MaxLength(PDU as u32),
            UserVariableItem::ImplementationClassUID("2.25.1".to_owned()),
        ],
    }
}

/// PDUs of one value each; `control` 1 for a command.
fn fragments(out: &mut Vec<u8>, control: u8, bytes: &[u8]) {
    let mut parts = bytes.chunks(PDU - 6).peekable();
    while let Some(part) = parts.next() {
        let last = if parts.peek().is_none() { 2 } else { 0 };
        out.extend_from_slice(&[4, 0]);
        out.extend_from_slice(&(part.len() as u32 + 6).to_be_bytes());
        out.extend_from_slice(&(part.len() as u32 + 2).to_be_bytes());
        out.extend_from_slice(&[1, control | last]);
        out.extend_from_slice(part);
    }
}

fn padded(text: &str, pad: u8) -> Vec<u8> {
    let mut value = text.as_bytes().to_vec();
    if value.len() % 2 == 1 {
        value.push(pad);
    }
    value
}

fn command(sop_instance: &str, number: usize) -> Vec<u8> {
    let mut body = Vec::new();
    let mut element = |element: u16, value: &[u8]| {
        body.extend_from_slice(&[0, 0]);
        body.extend_from_slice(&element.to_le_bytes());
        body.extend_from_slice(&(value.len() as u32).to_le_bytes());
        body.extend_from_slice(value);
    };
    element(0x0002, &padded(CT, 0));
    element(0x0100, &1_u16.to_le_bytes());
    element(0x0110, &(number as u16).to_le_bytes());
    element(0x0700, &0_u16.to_le_bytes());
    element(0x0800, &1_u16.to_le_bytes());
    element(0x1000, &padded(sop_instance, 0));
    let mut set = vec![0, 0, 0, 0, 4, 0, 0, 0];
    set.extend_from_slice(&(body.len() as u32).to_le_bytes());
    set.extend_from_slice(&body);
    set
}

/// A CT slice with the attributes that a scanner writes, and pixels that are not all the same.
fn dataset(sop_instance: &str, study: &str, number: usize, pixels: usize) -> Vec<u8> {
    let mut set = Vec::with_capacity(pixels + 2048);
    let mut element = |group: u16, element: u16, vr: &[u8; 2], value: &[u8]| {
        set.extend_from_slice(&group.to_le_bytes());
        set.extend_from_slice(&element.to_le_bytes());
        set.extend_from_slice(vr);
        if matches!(vr, b"OW") {
            set.extend_from_slice(&[0, 0]);
            set.extend_from_slice(&(value.len() as u32).to_le_bytes());
        } else {
            set.extend_from_slice(&(value.len() as u16).to_le_bytes());
        }
        set.extend_from_slice(value);
    };
    let columns = if pixels >= 1024 * 256 { 512 } else { 160_u16 };
    let rows = (pixels / 2 / usize::from(columns)) as u16;
    let pixels: Vec<u8> = (0..usize::from(rows) * usize::from(columns) * 2)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8 ^ number as u8)
        .collect();
    let mut text = |group, number, vr: &[u8; 2], value: &str| {
        element(group, number, vr, &padded(value, if vr == b"UI" { 0 } else { b' ' }));
    };
    text(0x0008, 0x0005, b"CS", "ISO_IR 100");
    text(0x0008, 0x0008, b"CS", "ORIGINAL\\PRIMARY\\AXIAL");
    text(0x0008, 0x0016, b"UI", CT);
    text(0x0008, 0x0018, b"UI", sop_instance);
    text(0x0008, 0x0020, b"DA", "20260101");
    text(0x0008, 0x0030, b"TM", "120000");
    text(0x0008, 0x0050, b"SH", "A1");
    text(0x0008, 0x0060, b"CS", "CT");
    text(0x0008, 0x0070, b"LO", "Bench");
    text(0x0008, 0x103e, b"LO", "Thorax 1.0");
    text(0x0010, 0x0010, b"PN", "Bench^Phantom");
    text(0x0010, 0x0020, b"LO", "BENCH");
    text(0x0010, 0x0030, b"DA", "");
    text(0x0010, 0x0040, b"CS", "O");
    text(0x0018, 0x0050, b"DS", "1.0");
    text(0x0018, 0x0060, b"DS", "120");
    text(0x0018, 0x1210, b"SH", "B30f");
    text(0x0020, 0x000d, b"UI", study);
    text(0x0020, 0x000e, b"UI", &format!("{study}.1"));
    text(0x0020, 0x0011, b"IS", "1");
    text(0x0020, 0x0013, b"IS", &number.to_string());
    text(0x0020, 0x0032, b"DS", &format!("-180\\-180\\{number}"));
    text(0x0020, 0x0037, b"DS", "1\\0\\0\\0\\1\\0");
    text(0x0020, 0x0052, b"UI", &format!("{study}.2"));
    element(0x0028, 0x0002, b"US", &1_u16.to_le_bytes());
    element(0x0028, 0x0004, b"CS", b"MONOCHROME2 ");
    element(0x0028, 0x0010, b"US", &rows.to_le_bytes());
    element(0x0028, 0x0011, b"US", &columns.to_le_bytes());
    element(0x0028, 0x0030, b"DS", b"0.7\\0.7 ");
    element(0x0028, 0x0100, b"US", &16_u16.to_le_bytes());
    element(0x0028, 0x0101, b"US", &16_u16.to_le_bytes());
    element(0x0028, 0x0102, b"US", &15_u16.to_le_bytes());
    element(0x0028, 0x0103, b"US", &0_u16.to_le_bytes());
    element(0x7fe0, 0x0010, b"OW", &pixels);
    set
}
