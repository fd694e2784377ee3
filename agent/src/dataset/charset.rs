//! Text by Specific Character Set (PS3.5 6.1, PS3.3 C.12.1.1.2), ISO 2022 code extensions included.
use encoding_rs::{
    EUC_JP, EUC_KR, Encoding, GB18030, GBK, ISO_2022_JP, ISO_8859_2, ISO_8859_3, ISO_8859_4, ISO_8859_5, ISO_8859_6,
    ISO_8859_7, ISO_8859_8, ISO_8859_15, SHIFT_JIS, UTF_8, WINDOWS_874, WINDOWS_1252, WINDOWS_1254,
};

const ESC: u8 = 0x1b;

/// Decodes a value under the declared character sets (none: undeclared).
///
/// Undeclared bytes above 0x7F are read as UTF-8 where they are valid UTF-8, as ISO 8859-1 otherwise: what Danish senders
/// that forget the declaration mean by them.
pub fn decode(value: &[u8], sets: &[String]) -> String {
    if value.is_ascii() && !value.contains(&ESC) {
        return String::from_utf8_lossy(value).into_owned();
    }
    let Some(first) = sets.first().map(|set| encoding_of(set)) else {
        return match std::str::from_utf8(value) {
            Ok(text) => text.to_owned(),
            Err(_) => decode_with(WINDOWS_1252, value),
        };
    };
    if !value.contains(&ESC) {
        return decode_with(first, value);
    }
    let mut text = String::new();
    for (n, part) in value.split(|byte| *byte == ESC).enumerate() {
        if n == 0 {
            text.push_str(&decode_with(first, part));
            continue;
        }
        text.push_str(&decode_escaped(part, first));
    }
    text
}

/// A run that begins with an escape sequence (PS3.3 tables C.12-3 and C.12-4), the ESC itself taken off.
fn decode_escaped(part: &[u8], first: &'static Encoding) -> String {
    let (encoding, skip) = match part {
        [b'(', b'B' | b'J', ..] => (first, 2),
        [b'-', b'A', ..] => (WINDOWS_1252, 2),
        [b'-', b'B', ..] => (ISO_8859_2, 2),
        [b'-', b'C', ..] => (ISO_8859_3, 2),
        [b'-', b'D', ..] => (ISO_8859_4, 2),
        [b'-', b'L', ..] => (ISO_8859_5, 2),
        [b'-', b'G', ..] => (ISO_8859_6, 2),
        [b'-', b'F', ..] => (ISO_8859_7, 2),
        [b'-', b'H', ..] => (ISO_8859_8, 2),
        [b'-', b'M', ..] => (WINDOWS_1254, 2),
        [b'-', b'T', ..] => (WINDOWS_874, 2),
        [b'-', b'b', ..] => (ISO_8859_15, 2),
        [b')', b'I', ..] => (SHIFT_JIS, 2),
        [b'$', b')', b'C', ..] => (EUC_KR, 3),
        [b'$', b')', b'A', ..] => (GBK, 3),
        // JIS X 0212, which EUC-JP holds behind a byte of its own, in the upper half.
        [b'$', b'(', b'D', pairs @ ..] => {
            let upper: Vec<u8> =
                pairs.as_chunks::<2>().0.iter().flat_map(|[a, b]| [0x8f, a | 0x80, b | 0x80]).collect();
            return decode_with(EUC_JP, &upper);
        }
        [b'$', b'B' | b'@', ..] => {
            let mut with_escape = vec![ESC];
            with_escape.extend_from_slice(part);
            return decode_with(ISO_2022_JP, &with_escape);
        }
        _ => (first, 0),
    };
    decode_with(encoding, &part[skip..])
}

/// The encoding of a defined term; an unknown one is read as ISO 8859-1.
fn encoding_of(set: &str) -> &'static Encoding {
    let number = set.rsplit([' ', '_']).next().unwrap_or_default();
    match (set, number) {
        ("GB18030", _) => GB18030,
        ("GBK", _) => GBK,
        (_, "101") => ISO_8859_2,
        (_, "109") => ISO_8859_3,
        (_, "110") => ISO_8859_4,
        (_, "144") => ISO_8859_5,
        (_, "127") => ISO_8859_6,
        (_, "126") => ISO_8859_7,
        (_, "138") => ISO_8859_8,
        (_, "148") => WINDOWS_1254,
        (_, "166") => WINDOWS_874,
        (_, "203") => ISO_8859_15,
        (_, "13") => SHIFT_JIS,
        (_, "192") => UTF_8,
        _ => WINDOWS_1252,
    }
}

fn decode_with(encoding: &'static Encoding, bytes: &[u8]) -> String {
    encoding.decode_without_bom_handling(bytes).0.into_owned()
}

#[cfg(test)]
mod tests {
    use super::decode;

    fn sets(declared: &str) -> Vec<String> {
        declared.split('\\').map(str::to_owned).collect()
    }

    #[test]
    fn danish_survives_every_way_of_writing_it() {
        let latin = b"Bj\xf8rn^\xc6r\xf8 \xc5";
        for declared in ["ISO_IR 100", "ISO 2022 IR 100", "\\ISO 2022 IR 100"] {
            assert_eq!(decode(latin, &sets(declared)), "Bjørn^Ærø Å", "{declared}");
        }
        assert_eq!(decode("Bjørn^Ærø Å".as_bytes(), &sets("ISO_IR 192")), "Bjørn^Ærø Å");
        assert_eq!(decode(b"Bj\x1b-A\xf8rn", &sets("ISO 2022 IR 6\\ISO 2022 IR 100")), "Bjørn");
    }

    #[test]
    fn undeclared_bytes_are_utf8_where_they_can_be_and_latin_1_otherwise() {
        assert_eq!(decode("Ærø".as_bytes(), &[]), "Ærø");
        assert_eq!(decode(b"\xc6r\xf8", &[]), "Ærø");
    }

    #[test]
    fn other_scripts_are_read_by_their_escapes() {
        // PS3.5 H.3.1: Yamada^Tarou in ideographic and phonetic form.
        let yamada = b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B";
        assert_eq!(decode(yamada, &sets("\\ISO 2022 IR 87")), "Yamada^Tarou=山田^太郎");
        // PS3.5 I.2: Hong^Gildong.
        let hong = b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7";
        assert_eq!(decode(hong, &sets("\\ISO 2022 IR 149")), "Hong^Gildong=洪^吉洞");
        // PS3.5 K.3: Zhang^XiaoDong; JIS X 0212 row 48, cell 33 (U+4E02, as in the table of JIS X 0212); the euro sign.
        let zhang = b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab";
        assert_eq!(decode(zhang, &sets("\\ISO 2022 IR 58")), "Zhang^XiaoDong=张^小东");
        assert_eq!(decode(b"A=\x1b$(D0!\x1b(B", &sets("\\ISO 2022 IR 159")), "A=\u{4e02}");
        assert_eq!(decode(b"\xa4 5", &sets("ISO_IR 203")), "€ 5");
    }
}
