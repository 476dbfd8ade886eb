//! How many parts a text is: GSM 03.38 at 160 or 153 septets, UCS-2 at 70 or 67 units (T4).

use super::gsm::septets;
use serde::{Deserialize, Serialize};
use unicode_segmentation::UnicodeSegmentation as _;

/// How a text travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// GSM 03.38 with its extension table, seven bits a character.
    Gsm7,
    /// Sixteen bits a unit; what is beyond them takes two.
    Ucs2,
}

/// What a text takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// How it travels.
    pub encoding: Encoding,
    /// Parts; each is paid for.
    pub segments: u16,
    /// Septets, or units of sixteen bits, without what is left empty at the end of a part.
    pub units: u32,
}

impl Encoding {
    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Encoding::Gsm7 => "gsm7",
            Encoding::Ucs2 => "ucs2",
        }
    }

    /// Units that a text of one part holds.
    pub(super) fn alone(self) -> u32 {
        match self {
            Encoding::Gsm7 => 160,
            Encoding::Ucs2 => 70,
        }
    }

    /// Units that each of several parts holds beside the header that joins them.
    pub(super) fn joined(self) -> u32 {
        match self {
            Encoding::Gsm7 => 153,
            Encoding::Ucs2 => 67,
        }
    }
}

impl Size {
    /// Bytes of text on the air: septets are packed.
    pub fn bytes(self) -> u32 {
        match self.encoding {
            Encoding::Gsm7 => (self.units * 7).div_ceil(8),
            Encoding::Ucs2 => self.units * 2,
        }
    }
}

/// What the text takes exactly as it is. Allocates nothing.
pub fn count(text: &str) -> Size {
    let (mut gsm, mut wide, mut ucs) = (0u32, false, 0u32);
    let (mut is_gsm, mut alone) = (true, true);
    for c in text.chars() {
        let septets = septets(c);
        is_gsm &= septets > 0;
        alone &= stands_alone(c);
        wide |= septets == 2;
        gsm += u32::from(septets);
        ucs += c.len_utf16() as u32;
    }
    let (encoding, units) = if is_gsm { (Encoding::Gsm7, gsm) } else { (Encoding::Ucs2, ucs) };
    let segments = match encoding {
        _ if units <= encoding.alone() => 1,
        Encoding::Gsm7 if !wide => units.div_ceil(encoding.joined()),
        // An escape and what it escapes stay together.
        Encoding::Gsm7 => parts(text.chars().map(|c| u32::from(septets(c))), encoding.joined()),
        Encoding::Ucs2 if alone => units.div_ceil(encoding.joined()),
        Encoding::Ucs2 => parts(pieces(text), encoding.joined()),
    };
    Size { encoding, segments: u16::try_from(segments).unwrap_or(u16::MAX), units }
}

/// Whether a character is one unit and never part of another grapheme, as far as that is quickly told: most characters
/// of most texts.
fn stands_alone(c: char) -> bool {
    matches!(c, ' '..='~' | '\n' | '가'..='힣' | '一'..='鿿' | 'ぁ'..='ゖ' | 'ァ'..='ヺ' | 'а'..='я' | '\u{2010}'..='\u{2027}')
}

/// UCS-2 units of what must stay together: of each grapheme, or of each character where a grapheme fills a part.
fn pieces(text: &str) -> impl Iterator<Item = u32> {
    text.graphemes(true).flat_map(|grapheme| {
        let units = grapheme.chars().map(|c| c.len_utf16() as u32).sum::<u32>();
        // A line's end may be torn: nothing is seen of it.
        let whole = units <= Encoding::Ucs2.joined() && grapheme != "\r\n";
        let apart = grapheme.chars().filter(move |_| !whole).map(|c| c.len_utf16() as u32);
        whole.then_some(units).into_iter().chain(apart)
    })
}

/// Parts of `room` units that these pieces fill in their order.
fn parts(pieces: impl Iterator<Item = u32>, room: u32) -> u32 {
    let (mut parts, mut used) = (1, 0);
    for units in pieces {
        if used + units > room {
            parts += 1;
            used = 0;
        }
        used += units;
    }
    parts
}
