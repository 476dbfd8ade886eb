//! How many parts a text is: GSM 03.38 at 160 or 153 septets, UCS-2 at 70 or 67 units, CP949 by its bytes (T4).

use super::gsm::septets;
use super::korean::Relay;
use super::plan::Form;
use super::route::Carrier;
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
    /// Korea's: one byte for a character of ASCII, two for any other.
    Cp949,
}

/// What a text takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// What it travels as.
    pub form: Form,
    /// How its characters travel.
    pub encoding: Encoding,
    /// Parts; each is paid for.
    pub segments: u16,
    /// Septets, units of sixteen bits, or bytes of CP949; without what is left empty at the end of a part.
    pub units: u32,
}

impl Encoding {
    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Encoding::Gsm7 => "gsm7",
            Encoding::Ucs2 => "ucs2",
            Encoding::Cp949 => "cp949",
        }
    }
}

/// How many units parts hold.
#[derive(Clone, Copy)]
pub(super) struct Parts {
    /// One alone.
    pub(super) alone: u32,
    /// Each of several, beside the header that joins them.
    pub(super) joined: u32,
}

pub(super) const GSM7: Parts = Parts { alone: 160, joined: 153 };
pub(super) const UCS2: Parts = Parts { alone: 70, joined: 67 };

impl Size {
    /// Bytes of text on the air: septets are packed.
    pub fn bytes(self) -> u32 {
        match self.encoding {
            Encoding::Gsm7 => (self.units * 7).div_ceil(8),
            Encoding::Ucs2 => self.units * 2,
            Encoding::Cp949 => self.units,
        }
    }
}

/// What the text takes exactly as it is; what CP949 has not is counted as what stands for it.
pub fn count(text: &str, carrier: Carrier) -> Size {
    match carrier {
        Carrier::International => parted(text),
        Carrier::Korean { sms_bytes, lms } => Relay { sms_bytes, lms }.count(text),
    }
}

/// What the text takes in parts that are joined. Allocates nothing.
pub(super) fn parted(text: &str) -> Size {
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
    let (encoding, units, room) = if is_gsm { (Encoding::Gsm7, gsm, GSM7) } else { (Encoding::Ucs2, ucs, UCS2) };
    let segments = match is_gsm {
        _ if units <= room.alone => 1,
        true if !wide => units.div_ceil(room.joined),
        // An escape and what it escapes stay together.
        true => parts(text.chars().map(|c| u32::from(septets(c))), room.joined),
        false if alone => units.div_ceil(room.joined),
        false => parts(pieces(text), room.joined),
    };
    Size { form: Form::Sms, encoding, segments: u16::try_from(segments).unwrap_or(u16::MAX), units }
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
        let whole = units <= UCS2.joined && grapheme != "\r\n";
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
