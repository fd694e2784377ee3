//! The way to a TPM: a device file, or a socket that an emulator listens at. Both take a command and give one answer.
use super::answer::{HEADER, MAX_ANSWER};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// A socket that says nothing for so long has nobody behind it. The kernel has limits of its own for a device.
const PATIENCE: Duration = Duration::from_secs(30);

/// What takes commands and gives answers.
pub(super) trait Line: Read + Write {}
impl<T: Read + Write> Line for T {}

/// Opens the way.
pub(super) fn open(device: &Path) -> io::Result<Box<dyn Line>> {
    if !std::fs::metadata(device)?.file_type().is_socket() {
        return Ok(Box::new(std::fs::File::options().read(true).write(true).open(device)?));
    }
    let socket = UnixStream::connect(device)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(Box::new(socket))
}

/// One command, one answer. A device takes the one with a single write and gives the other with a single read; a socket may give it
/// in pieces.
pub(super) fn ask(line: &mut dyn Line, command: &[u8]) -> io::Result<Vec<u8>> {
    line.write_all(command)?;
    let mut answer = vec![0; MAX_ANSWER];
    let mut length = 0;
    loop {
        let more = line.read(&mut answer[length..])?;
        length += more;
        let size = answer.get(2..6).and_then(|size| size.try_into().ok()).map_or(0, u32::from_be_bytes) as usize;
        if more == 0 || length >= MAX_ANSWER || length >= HEADER && length >= size {
            answer.truncate(length);
            return Ok(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_in_pieces_is_one_and_one_without_an_end_ends() {
        let talk = |pieces: Vec<Vec<u8>>| {
            let (mut ours, mut theirs) = UnixStream::pair().expect("a pair");
            let peer = std::thread::spawn(move || {
                let mut command = [0; 3];
                theirs.read_exact(&mut command).expect("a command");
                for piece in &pieces {
                    theirs.write_all(piece).expect("it is read");
                }
            });
            let answer = ask(&mut ours, &[1, 2, 3]).expect("an answer");
            drop(ours);
            let _ = peer.join();
            answer
        };
        let whole = vec![0x80, 1, 0, 0, 0, 12, 0, 0, 0, 0, 7, 7];
        assert_eq!(talk(whole.chunks(5).map(<[u8]>::to_vec).collect()), whole);
        assert_eq!(talk(vec![vec![0xff; MAX_ANSWER]]).len(), MAX_ANSWER);
        assert_eq!(talk(vec![vec![0x80, 1]]), [0x80, 1]);
    }
}
