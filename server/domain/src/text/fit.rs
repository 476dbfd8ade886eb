//! Makes a text fit its route: characters that save a part are replaced, and what is too long is cut (T4, T5).

use super::count::{Encoding, GSM7, Size, UCS2, parted};
use super::cp949;
use super::gsm::{look_alike, septets};
use super::korean::{self, Relay};
use super::route::Carrier;
use std::borrow::Cow;
use unicode_segmentation::UnicodeSegmentation as _;

/// A text as it leaves.
#[derive(Clone, PartialEq, Eq)]
pub struct Fitted {
    /// All of it.
    pub text: String,
    /// What it takes.
    pub size: Size,
    /// Whether its end was cut off.
    pub is_cut: bool,
    /// What is left of its head.
    pub kept_bytes: usize,
}

/// Less of a head is no use: some words.
const MIN_KEPT_BYTES: usize = 40;

/// `head` followed by `ending` as this route takes it, in at most `max_segments` parts: `head` is cut between graphemes
/// where it must be, the ending (opt-out line, link) never is.
pub fn fit(head: &str, ending: &str, carrier: Carrier, max_segments: u16) -> Fitted {
    match carrier {
        Carrier::International => fit_parts(head, ending, max_segments),
        Carrier::Korean { sms_bytes, lms } => Relay { sms_bytes, lms }.fit(head, ending),
    }
}

/// The same with a link on a line of its own behind it. A company's own link may be long: one that leaves no room for
/// what is said is left out.
pub fn fit_linked(head: &str, ending: &str, link: Option<&str>, carrier: Carrier, max_segments: u16) -> Fitted {
    let linked = link.map(|link| fit(head, &[ending, "\n", link].concat(), carrier, max_segments));
    let says_something = |fitted: &Fitted| !fitted.is_cut || fitted.kept_bytes >= MIN_KEPT_BYTES;
    linked.filter(says_something).unwrap_or_else(|| fit(head, ending, carrier, max_segments))
}

/// What this route carries of a text; `None` = nothing that tells its reader anything: it was a picture that is left
/// out, or of a language that the route has no letters for (T5).
pub fn carried(text: &str, carrier: Carrier) -> Option<Cow<'_, str>> {
    match carrier {
        Carrier::International => Some(text.into()),
        Carrier::Korean { .. } => Some(cp949::carried(text)).filter(|carried| carried.is_legible).map(|c| c.text),
    }
}

/// The subject of an LMS: as much of the company's name as it holds.
pub fn subject(company: &str) -> String {
    korean::subject(company)
}

fn fit_parts(head: &str, ending: &str, max_segments: u16) -> Fitted {
    let whole = [head, ending].concat();
    let size = parted(&whole);
    if size.encoding == Encoding::Ucs2
        && let (Some(plain_head), Some(plain_ending)) = (plain(head), plain(ending))
    {
        let fitted = fit_as_is(&plain_head, &plain_ending, max_segments);
        // Only where it saves a part, or keeps words that would be cut off: nobody likes straight quotes.
        if fitted.size.segments < size.segments {
            return fitted;
        }
    }
    if size.segments <= max_segments {
        return Fitted { text: whole, size, is_cut: false, kept_bytes: head.len() };
    }
    cut(head, ending, size.encoding, max_segments)
}

fn fit_as_is(head: &str, ending: &str, max_segments: u16) -> Fitted {
    let text = [head, ending].concat();
    let size = parted(&text);
    if size.segments <= max_segments {
        return Fitted { text, size, is_cut: false, kept_bytes: head.len() };
    }
    cut(head, ending, size.encoding, max_segments)
}

/// The longest beginning of `head` that fits with a mark of what is missing.
fn cut(head: &str, ending: &str, encoding: Encoding, max_segments: u16) -> Fitted {
    let is_gsm = encoding == Encoding::Gsm7;
    let (mark, parts) = if is_gsm { ("...", GSM7) } else { ("…", UCS2) };
    let room = match max_segments {
        0 | 1 => parts.alone,
        several => u32::from(several) * parts.joined,
    };
    let unit = |c| if is_gsm { u32::from(septets(c)) } else { c.len_utf16() as u32 };
    let units = |text: &str| text.chars().map(unit).sum::<u32>();
    let taken = units(mark) + units(ending);
    // Where it may end, as far as units alone allow; what parts leave empty takes the last few away again.
    let mut ends = vec![0];
    let mut used = taken;
    for (at, grapheme) in head.grapheme_indices(true) {
        used += units(grapheme);
        if used > room {
            break;
        }
        ends.push(at + grapheme.len());
    }
    let cut_at = |end: usize| {
        let kept = head[..end].trim_end();
        let text = [kept, mark, ending].concat();
        let size = parted(&text);
        Fitted { text, size, is_cut: true, kept_bytes: kept.len() }
    };
    let fitting = ends.iter().rev().map(|end| cut_at(*end)).find(|fitted| fitted.size.segments <= max_segments);
    // An ending that is too long by itself leaves as it is: a link that is cut leads nowhere.
    fitting.unwrap_or_else(|| cut_at(0))
}

/// The text in GSM 03.38 alone, if that changes only how it looks.
fn plain(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if septets(c) > 0 {
            plain.push(c);
        } else {
            plain.push_str(look_alike(c)?);
        }
    }
    Some(plain)
}
