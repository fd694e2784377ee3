//! HTTP/1.1 as far as a static file needs it: GET, Range, Content-Length. No redirects, no codings, no second answer.
use crate::fault::{Blame, Fault};
use crate::limits::MAX_HEAD;
use crate::source::Source;
use crate::tls::Connection;

/// Asks for a file from byte `from` on.
pub fn get<'c, 'b>(
    connection: &'c mut Connection<'b>,
    source: &Source,
    file: &str,
    from: u64,
) -> Result<Answer<'c, 'b>, Fault> {
    let range = if from > 0 { format!("Range: bytes={from}-\r\n") } else { String::new() };
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: sund-rescue/{}\r\nAccept-Encoding: identity\r\nConnection: close\r\n{range}\r\n",
        source.path_of(file),
        source.authority(),
        env!("CARGO_PKG_VERSION"),
    );
    connection.send(request.as_bytes())?;
    let mut received = Vec::new();
    loop {
        // RFC 9112 2.1: the head ends with an empty line.
        if let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") {
            let body = received.split_off(end + 4);
            received.truncate(end);
            let head = Head::parse(&received)?;
            let start = head.start(from)?;
            return Ok(Answer { connection, ahead: body, start, length: head.length });
        }
        if received.len() >= MAX_HEAD {
            return Err(misspoken(format!("the head of its answer has more than {MAX_HEAD} bytes")));
        }
        let mut room = [0; 2048];
        match connection.receive(&mut room)? {
            0 => return Err(broken("before its answer had begun")),
            count => received.extend(room.get(..count).unwrap_or_default()),
        }
    }
}

/// The answer to a request: a file, or the rest of one.
pub struct Answer<'c, 'b> {
    connection: &'c mut Connection<'b>,
    /// What came together with the head.
    ahead: Vec<u8>,
    start: u64,
    length: u64,
}

impl Answer<'_, '_> {
    /// Where in the file it begins: where it was asked to, or at 0 where the source does not resume.
    pub const fn start(&self) -> u64 {
        self.start
    }

    /// How many bytes it says it has.
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Hands on the whole of it, piece by piece, and not a byte more than it said.
    pub fn read(self, mut take: impl FnMut(&[u8]) -> Result<(), Fault>) -> Result<(), Fault> {
        let mut rest = self.length;
        let mut hand_on = |piece: &[u8]| {
            let piece = piece.get(..usize::try_from(rest).unwrap_or(usize::MAX)).unwrap_or(piece);
            rest -= piece.len() as u64;
            take(piece)?;
            Ok(rest > 0)
        };
        let mut goes_on = hand_on(&self.ahead)?;
        // As much as a record holds.
        let mut room = vec![0; 16 * 1024];
        while goes_on {
            match self.connection.receive(&mut room)? {
                0 => return Err(broken("in the middle of a file")),
                count => goes_on = hand_on(room.get(..count).unwrap_or_default())?,
            }
        }
        Ok(())
    }
}

/// What matters of a head.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    length: u64,
    /// First byte, last byte and whole length of a part (RFC 9110 14.4).
    range: Option<(u64, u64, u64)>,
}

impl Head {
    fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let text = str::from_utf8(bytes).map_err(|_| misspoken("its headers are not text".to_owned()))?;
        let mut lines = text.split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.strip_prefix("HTTP/1.1 "))
            .and_then(|rest| rest.get(..3)?.parse::<u16>().ok())
            .ok_or_else(|| misspoken("its first line is none of HTTP/1.1".to_owned()))?;
        if !matches!(status, 200 | 206) {
            let reason = match status {
                300..=399 => format!("the source sends us elsewhere ({status}); it has to hold the file itself"),
                404 | 410 => format!("the source does not have the file ({status})"),
                _ => format!("the source answers with {status}"),
            };
            return Err(Fault::new("not-served", Blame::Network, reason));
        }
        let (mut length, mut range) = (None, None);
        for line in lines {
            let (name, value) = line.split_once(':').ok_or_else(|| misspoken(format!("{line:?} is no header")))?;
            let value = value.trim_matches([' ', '\t']);
            match name.to_ascii_lowercase().as_str() {
                "content-length" if length.is_some() => return Err(misspoken("it names two lengths".to_owned())),
                "content-length" => {
                    length = Some(number(value).ok_or_else(|| misspoken("its length is no number".to_owned()))?);
                }
                "content-range" => {
                    range = Some(part(value).ok_or_else(|| misspoken(format!("{value:?} is no range")))?);
                }
                "transfer-encoding" => {
                    return Err(misspoken("it does not say beforehand how much it sends".to_owned()));
                }
                "content-encoding" if !value.eq_ignore_ascii_case("identity") => {
                    return Err(misspoken(format!("it has coded the file ({value:?})")));
                }
                _ => {}
            }
        }
        let length = length.ok_or_else(|| misspoken("it does not say how much it sends".to_owned()))?;
        Ok(Self { status, length, range })
    }

    /// Where the body begins in the file, asked for from byte `from` on.
    fn start(&self, from: u64) -> Result<u64, Fault> {
        match (self.status, self.range) {
            (200, None) => Ok(0),
            (206, Some((first, last, whole)))
                if from > 0 && first == from && last.checked_add(1) == Some(whole) && whole - first == self.length =>
            {
                Ok(from)
            }
            _ => Err(misspoken(format!("it answers with another part than the one from byte {from} on"))),
        }
    }
}

/// `bytes FIRST-LAST/WHOLE`.
fn part(value: &str) -> Option<(u64, u64, u64)> {
    let (range, whole) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, whole) = (number(first)?, number(last)?, number(whole)?);
    (first <= last && last < whole).then_some((first, last, whole))
}

/// Digits alone: neither a sign nor a list.
fn number(text: &str) -> Option<u64> {
    if text.bytes().all(|digit| digit.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn misspoken(reason: String) -> Fault {
    Fault::new(
        "http-refused",
        Blame::Source,
        format!("the source does not speak HTTP as a static file needs it: {reason}"),
    )
}

fn broken(when: &str) -> Fault {
    Fault::new("connection-broken", Blame::Network, format!("the source closed the connection {when}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Result<Head, &'static str> {
        Head::parse(text.as_bytes()).map_err(|fault| fault.code)
    }

    #[test]
    fn an_answer_says_its_length_once_and_in_digits() {
        let good = head("HTTP/1.1 200 OK\r\nServer: x\r\ncontent-LENGTH:\t12 ");
        assert_eq!(good, Ok(Head { status: 200, length: 12, range: None }));
        for text in [
            "",
            "HTTP/1.1",
            "HTTP/1.0 200 OK\r\nContent-Length: 12",
            "HTTP/1.1 200 OK",
            "HTTP/1.1 200 OK\r\nContent-Length: +12",
            "HTTP/1.1 200 OK\r\nContent-Length: 12, 12",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999",
            "HTTP/1.1 200 OK\r\nContent-Length: 12\r\nContent-Length: 12",
            "HTTP/1.1 200 OK\r\nContent-Length: 12\r\nTransfer-Encoding: chunked",
            "HTTP/1.1 200 OK\r\nContent-Length: 12\r\nContent-Encoding: gzip",
            "HTTP/1.1 200 OK\r\nContent-Length: 12\r\nnonsense",
            "HTTP/1.1 206 OK\r\nContent-Length: 12\r\nContent-Range: bytes 5-4/9",
            "HTTP/1.1 206 OK\r\nContent-Length: 12\r\nContent-Range: bytes 0-9/9",
        ] {
            assert_eq!(head(text), Err("http-refused"), "{text}");
        }
        assert_eq!(head("HTTP/1.1 302 Found\r\nLocation: https://elsewhere.example/"), Err("not-served"));
    }

    #[test]
    fn a_part_is_the_one_that_was_asked_for_up_to_the_end() {
        let part = |range: &str, length: u64| {
            let text =
                format!("HTTP/1.1 206 Partial Content\r\nContent-Length: {length}\r\nContent-Range: bytes {range}");
            Head::parse(text.as_bytes()).and_then(|head| head.start(5)).map_err(|fault| fault.code)
        };
        assert_eq!(part("5-9/10", 5), Ok(5));
        for (range, length) in [("4-9/10", 6), ("6-9/10", 4), ("5-8/10", 4), ("5-9/10", 6), ("5-9/11", 5)] {
            assert_eq!(part(range, length), Err("http-refused"), "{range}");
        }
        let whole = head("HTTP/1.1 200 OK\r\nContent-Length: 10").expect("a head");
        assert_eq!(whole.start(5), Ok(0), "a source that does not resume begins anew");
    }
}
