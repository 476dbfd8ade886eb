//! A text as octets, for a route that is handed its parts (SMPP): GSM 03.38 one octet a septet, or UCS-2, cut exactly
//! where [`super::count()`] counts; and back, for what comes in.

use super::Encoding;
use unicode_segmentation::UnicodeSegmentation as _;

/// Octets that one part holds alone, and each of several beside the header that joins them.
const GSM7: (usize, usize) = (160, 153);
const UCS2: (usize, usize) = (140, 134);
const ESCAPE: u8 = 0x1b;
/// The basic alphabet in the order of its codes; the escape stands for itself.
const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\u{1b}ÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?\
                     ¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
/// What stands behind an escape.
const EXTENSION: [(u8, char); 10] = [
    (0x0a, '\u{c}'),
    (0x14, '^'),
    (0x28, '{'),
    (0x29, '}'),
    (0x2f, '\\'),
    (0x3c, '['),
    (0x3d, '~'),
    (0x3e, ']'),
    (0x40, '|'),
    (0x65, '€'),
];

/// The parts of a text, without the headers that join them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Octets {
    /// [`Encoding::Gsm7`] or [`Encoding::Ucs2`].
    pub encoding: Encoding,
    /// In their order; at least one.
    pub parts: Vec<Vec<u8>>,
}

impl Octets {
    /// Cuts `text`: never inside an escape, a surrogate pair or a grapheme that fits a part.
    pub fn of(text: &str) -> Octets {
        let septets: Option<Vec<Vec<u8>>> = text.chars().map(septets).collect();
        let (encoding, pieces, (alone, joined)) = match septets {
            Some(pieces) => (Encoding::Gsm7, pieces, GSM7),
            None => (Encoding::Ucs2, graphemes(text), UCS2),
        };
        let whole: usize = pieces.iter().map(Vec::len).sum();
        let room = if whole <= alone { alone } else { joined };
        let mut parts = vec![Vec::new()];
        for piece in pieces {
            match parts.last_mut() {
                Some(last) if last.len() + piece.len() <= room => last.extend(piece),
                _ => parts.push(piece),
            }
        }
        Octets { encoding, parts }
    }
}

/// What GSM 03.38 says, an octet a septet; what is none of it becomes U+FFFD.
pub fn from_gsm7(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len());
    let mut octets = octets.iter();
    while let Some(code) = octets.next() {
        let c = match *code {
            ESCAPE => octets.next().and_then(|code| EXTENSION.iter().find(|(known, _)| known == code)).map(|(_, c)| *c),
            code => BASIC.chars().nth(usize::from(code)),
        };
        text.push(c.unwrap_or(char::REPLACEMENT_CHARACTER));
    }
    text
}

/// What UCS-2 says, big end first; in truth it is UTF-16. An octet too many is left out.
pub fn from_ucs2(octets: &[u8]) -> String {
    let units = octets.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

fn septets(c: char) -> Option<Vec<u8>> {
    if let Some((code, _)) = EXTENSION.iter().find(|(_, known)| *known == c) {
        return Some(vec![ESCAPE, *code]);
    }
    let code = BASIC.chars().position(|known| known == c && known != char::from(ESCAPE))?;
    u8::try_from(code).ok().map(|code| vec![code])
}

/// What must stay together: each grapheme, or each character where a grapheme fills a part or ends a line.
fn graphemes(text: &str) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    for grapheme in text.graphemes(true) {
        let whole = ucs2(grapheme);
        if whole.len() <= UCS2.1 && grapheme != "\r\n" {
            pieces.push(whole);
        } else {
            pieces.extend(grapheme.chars().map(|c| ucs2(c.encode_utf8(&mut [0; 4]))));
        }
    }
    pieces
}

fn ucs2(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{Carrier, Size, count};
    use proptest::prelude::*;

    fn counted(text: &str) -> Size {
        count(text, Carrier::International)
    }

    /// T4: each code has one character, and the other way round.
    #[test]
    fn the_alphabet_is_the_one_that_is_counted_by() {
        assert_eq!(BASIC.chars().count(), 128);
        for c in ('\u{0}'..='\u{ffff}').chain("😀가".chars()) {
            let counted = counted(&c.to_string());
            let octets = septets(c);
            assert_eq!(octets.is_some(), counted.encoding == Encoding::Gsm7, "{c:?}");
            if let Some(octets) = octets {
                assert_eq!((octets.len() as u32, from_gsm7(&octets)), (counted.units, c.to_string()));
            }
        }
    }

    proptest! {
        /// T4, T5: what leaves is as many parts as were paid for, and says what it said.
        #[test]
        fn a_text_leaves_in_the_parts_that_were_counted(
            text in prop_oneof![
                "[a-z €{}\\[\\]~]{0,500}",
                "[a-z가-힣😀👩‍👩‍👧\u{301}\r\n]{0,250}",
                any::<String>(),
            ],
        ) {
            let counted = counted(&text);
            let octets = Octets::of(&text);
            prop_assert_eq!((octets.encoding, octets.parts.len()), (counted.encoding, usize::from(counted.segments)));
            let read = match octets.encoding {
                Encoding::Gsm7 => octets.parts.iter().map(|part| from_gsm7(part)).collect::<String>(),
                _ => octets.parts.iter().map(|part| from_ucs2(part)).collect(),
            };
            prop_assert_eq!(read, text);
            let most = if octets.parts.len() == 1 { (160, 140) } else { (153, 134) };
            let most = if octets.encoding == Encoding::Gsm7 { most.0 } else { most.1 };
            prop_assert!(octets.parts.iter().all(|part| part.len() <= most));
        }
    }
}
