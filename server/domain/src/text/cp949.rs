//! CP949, what Korean relays carry: its characters, and what stands for those that it has not (T4, T5).

use super::gsm;
use encoding_rs::EUC_KR;
use icu_normalizer::DecomposingNormalizerBorrowed;
use icu_normalizer::properties::{CanonicalCombiningClassMapBorrowed, CanonicalCompositionBorrowed};
use std::borrow::Cow;
use std::sync::LazyLock;

/// A bit for each code point up to U+FFFF; none beyond is in CP949.
struct Alphabet(Box<[u64; 1_024]>);

/// Read from the codec once, since asking it about each character takes too long.
static ALPHABET: LazyLock<Alphabet> = LazyLock::new(Alphabet::read);

/// Stands for a letter that nothing looks like.
const LOST: &str = "?";

/// What CP949 has of a text.
pub(super) struct Carried<'a> {
    /// In its characters alone.
    pub(super) text: Cow<'a, str>,
    /// Whether a reader learns anything from it: something is left, and most of it.
    pub(super) is_legible: bool,
}

impl Alphabet {
    fn read() -> Alphabet {
        let mut bits = Box::new([0u64; 1_024]);
        for pair in (0x81..=0xfe).flat_map(|lead| (0x41..=0xfe).map(move |trail| [lead, trail])) {
            let text = EUC_KR.decode_without_bom_handling_and_without_replacement(&pair);
            let mut chars = text.iter().flat_map(|text| text.chars());
            // Two: the second byte is one of ASCII by itself.
            if let (Some(c), None) = (chars.next(), chars.next()) {
                let c = c as usize;
                bits[c / 64] |= 1 << (c % 64);
            }
        }
        Alphabet(bits)
    }

    /// Bytes of a character; 0 = it has none.
    #[inline]
    fn bytes(&self, c: char) -> u32 {
        match c {
            '\0'..='\x7f' => 1,
            '가'..='힣' => 2,
            c => 2 * u32::from(self.has_wide(c)),
        }
    }

    fn has_wide(&self, c: char) -> bool {
        let at = c as usize;
        self.0.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }
}

/// Bytes of the text; `None` = CP949 has not all of its characters.
pub(super) fn bytes(text: &str) -> Option<u32> {
    let alphabet = &*ALPHABET;
    text.chars().try_fold(0, |sum, c| Some(alphabet.bytes(c)).filter(|bytes| *bytes > 0).map(|bytes| sum + bytes))
}

/// Bytes of those of its characters that CP949 has.
pub(super) fn bytes_of(text: &str) -> u32 {
    let alphabet = &*ALPHABET;
    text.chars().map(|c| alphabet.bytes(c)).sum()
}

/// The text in characters of CP949: what is written in several is joined, what looks alike stands in, what is
/// decoration is left out.
pub(super) fn carried(text: &str) -> Carried<'_> {
    let alphabet = &*ALPHABET;
    if text.chars().all(|c| alphabet.bytes(c) > 0 && !is_hidden(c)) {
        return Carried { is_legible: text.contains(|c: char| !c.is_whitespace()), text: text.into() };
    }
    let mut writer = Writer { alphabet, text: String::with_capacity(text.len()), is_gap: false, kept: 0, lost: 0 };
    let compositions = CanonicalCompositionBorrowed::new();
    let mut last: Option<char> = None;
    for c in text.chars().flat_map(|c| Parts::of(c, alphabet)) {
        // What joins another is not in CP949 by itself.
        let joining = last.filter(|_| alphabet.bytes(c) == 0);
        let joined = joining.and_then(|last| compositions.compose(last, c));
        match joined.filter(|c| alphabet.bytes(*c) > 0) {
            Some(joined) => last = Some(joined),
            None => last.replace(c).into_iter().for_each(|c| writer.write(c)),
        }
    }
    last.into_iter().for_each(|c| writer.write(c));
    writer.end()
}

/// The same in fewer bytes, where that changes only how it looks: marks as wide as a letter in their narrow form.
pub(super) fn narrow(text: &str) -> String {
    let ascii = |c: char| char::from_u32(c as u32 - 0xfee0);
    let narrow = |c: char| match c {
        '\u{ff01}'..='\u{ff5e}' => ascii(c),
        // A dot between words joins them; a star would not.
        '\u{b7}' => None,
        _ if c.is_ascii() => None,
        _ => gsm::look_alike(c).filter(|plain| plain.len() == 1).and_then(|plain| plain.chars().next()),
    };
    text.chars().map(|c| narrow(c).unwrap_or(c)).collect()
}

/// A character, or what it is made of where CP949 has not the whole.
enum Parts {
    Whole(std::iter::Once<char>),
    Apart(std::vec::IntoIter<char>),
}

impl Parts {
    fn of(c: char, alphabet: &Alphabet) -> Parts {
        // Letters and numbers in frames are made of letters and numbers; no other picture is made of anything.
        let is_picture = || is_decoration(c) && !matches!(c, '\u{1f100}'..='\u{1f2ff}');
        if alphabet.bytes(c) > 0 || is_picture() || look_alike(c).is_some() {
            return Parts::Whole(std::iter::once(c));
        }
        let parts: Vec<char> = DecomposingNormalizerBorrowed::new_nfkd().normalize_iter(std::iter::once(c)).collect();
        Parts::Apart(parts.into_iter())
    }
}

impl Iterator for Parts {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        match self {
            Parts::Whole(one) => one.next(),
            Parts::Apart(some) => some.next(),
        }
    }
}

struct Writer<'a> {
    alphabet: &'a Alphabet,
    text: String,
    /// Decoration was just left out: the spaces around it are one.
    is_gap: bool,
    kept: usize,
    lost: usize,
}

impl Writer<'_> {
    fn write(&mut self, c: char) {
        if self.alphabet.bytes(c) > 0 && !is_hidden(c) {
            match c {
                ' ' if self.is_gap && self.text.chars().next_back().is_none_or(char::is_whitespace) => {}
                '\n' => self.end_line(),
                c => self.keep(c.encode_utf8(&mut [0; 4])),
            }
        } else if let Some(plain) = look_alike(c) {
            self.keep(plain);
        } else if is_decoration(c) || is_mark(c) {
            self.is_gap = true;
        } else {
            self.lost += 1;
            self.put(LOST);
        }
    }

    fn keep(&mut self, text: &str) {
        self.kept += usize::from(!text.trim_ascii().is_empty());
        self.put(text);
    }

    fn put(&mut self, text: &str) {
        self.is_gap = false;
        self.text.push_str(text);
    }

    fn end_line(&mut self) {
        self.close_gap();
        self.put("\n");
    }

    fn close_gap(&mut self) {
        if self.is_gap {
            self.text.truncate(self.text.trim_end_matches(' ').len());
        }
    }

    fn end(mut self) -> Carried<'static> {
        self.close_gap();
        Carried { text: self.text.into(), is_legible: self.kept > 0 && self.kept >= self.lost }
    }
}

/// What a reader takes for the character that CP949 has not.
fn look_alike(c: char) -> Option<&'static str> {
    Some(match c {
        '₩' => "￦",
        '¥' => "￥",
        '£' => "￡",
        '¢' => "￠",
        '¬' => "￢",
        '¯' => "￣",
        '©' => "(c)",
        '−' => "-",
        '⁄' => "/",
        '•' | '‧' | '・' => "·",
        '〜' => "~",
        '⭐' | '🌟' => "★",
        '❤' | '♥' | '💛' | '💙' | '💚' | '💜' | '🖤' | '🤍' => "♥",
        '➡' | '⮕' | '➔' | '➜' => "→",
        '⬅' => "←",
        '⬆' => "↑",
        '⬇' => "↓",
        '❗' | '❕' => "!",
        '❓' | '❔' => "?",
        '✓' | '✔' | '☑' | '✅' => "√",
        '✕' | '✖' | '✗' | '✘' | '❌' => "×",
        '➕' => "+",
        '➖' => "-",
        '➗' => "÷",
        '\u{2776}'..='\u{2793}' => DIGITS.get((c as usize - 0x2776) % 10)?,
        '\u{1100}'..='\u{1112}' => LEADS.get(c as usize - 0x1100)?,
        '\u{1161}'..='\u{1175}' => VOWELS.get(c as usize - 0x1161)?,
        '\u{11a8}'..='\u{11c2}' => TAILS.get(c as usize - 0x11a8)?,
        'Đ' => "D",
        '〇' => "○",
        _ => return gsm::look_alike(c).filter(|plain| !plain.is_empty()),
    })
}

const DIGITS: [&str; 10] = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"];
/// Consonants and vowels that nothing joins, as they are written alone.
const LEADS: [&str; 19] =
    ["ㄱ", "ㄲ", "ㄴ", "ㄷ", "ㄸ", "ㄹ", "ㅁ", "ㅂ", "ㅃ", "ㅅ", "ㅆ", "ㅇ", "ㅈ", "ㅉ", "ㅊ", "ㅋ", "ㅌ", "ㅍ", "ㅎ"];
const VOWELS: [&str; 21] = [
    "ㅏ", "ㅐ", "ㅑ", "ㅒ", "ㅓ", "ㅔ", "ㅕ", "ㅖ", "ㅗ", "ㅘ", "ㅙ", "ㅚ", "ㅛ", "ㅜ", "ㅝ", "ㅞ", "ㅟ", "ㅠ", "ㅡ",
    "ㅢ", "ㅣ",
];
const TAILS: [&str; 27] = [
    "ㄱ", "ㄲ", "ㄳ", "ㄴ", "ㄵ", "ㄶ", "ㄷ", "ㄹ", "ㄺ", "ㄻ", "ㄼ", "ㄽ", "ㄾ", "ㄿ", "ㅀ", "ㅁ", "ㅂ", "ㅄ", "ㅅ",
    "ㅆ", "ㅇ", "ㅈ", "ㅊ", "ㅋ", "ㅌ", "ㅍ", "ㅎ",
];

/// In CP949, and yet nothing that a reader should see.
fn is_hidden(c: char) -> bool {
    (c.is_control() && c != '\n') || c == '\u{ad}'
}

/// Pictures, and what only says how others look: no word is lost with it.
fn is_decoration(c: char) -> bool {
    is_hidden(c)
        || matches!(c,
            '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{e0000}'..='\u{e0fff}'
            | '\u{20d0}'..='\u{20ff}' | '\u{2190}'..='\u{21ff}' | '\u{2300}'..='\u{23ff}'
            | '\u{2500}'..='\u{27bf}' | '\u{2900}'..='\u{297f}' | '\u{2b00}'..='\u{2bff}'
            | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..='\u{fffc}' | '\u{1f000}'..='\u{1faff}')
}

/// Stands over or under another.
fn is_mark(c: char) -> bool {
    CanonicalCombiningClassMapBorrowed::new().get_u8(c) > 0
}
