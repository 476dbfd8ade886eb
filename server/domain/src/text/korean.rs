//! Texts as Korean relays sell them: one SMS of so many bytes of CP949, or one LMS, and no parts (T4, T5).

use super::count::{Encoding, Size};
use super::cp949::{bytes, bytes_of, carried, narrow};
use super::fit::Fitted;
use super::plan::Form;
use unicode_segmentation::UnicodeSegmentation as _;

/// T4: bytes of an LMS.
pub(super) const LMS_BYTES: u16 = 2_000;
/// Bytes of an LMS's subject.
const SUBJECT_BYTES: u32 = 40;
const MARK: &str = "…";
const MARK_BYTES: u32 = 2;

/// What such a route takes.
#[derive(Clone, Copy)]
pub(super) struct Relay {
    pub(super) sms_bytes: u16,
    pub(super) lms: bool,
}

impl Relay {
    /// What the text takes, whole: more than one part is what no relay takes.
    pub(super) fn count(self, text: &str) -> Size {
        self.size(bytes(text).unwrap_or_else(|| bytes_of(&carried(text).text)))
    }

    /// `head` and `ending` in one SMS, else in one LMS where there are any, else cut.
    pub(super) fn fit(self, head: &str, ending: &str) -> Fitted {
        let (head, ending) = (carried(head).text, carried(ending).text);
        let (head_bytes, ending_bytes) = (bytes_of(&head), bytes_of(&ending));
        let size = self.size(head_bytes + ending_bytes);
        let as_is =
            |head: &str, size| Fitted { text: [head, &ending].concat(), size, is_cut: false, kept_bytes: head.len() };
        // Narrow marks only where they save an LMS, or words that would be cut off; at most they halve the head.
        let may_save = size.form == Form::Lms && head_bytes.div_ceil(2) + ending_bytes <= self.sms_bytes.into();
        if size.segments == 1 && !may_save {
            return as_is(&head, size);
        }
        let narrow = narrow(&head);
        let narrow_size = self.size(bytes_of(&narrow) + ending_bytes);
        match (size.segments, narrow_size.segments) {
            (_, 1) if narrow_size.form == Form::Sms => as_is(&narrow, narrow_size),
            (1, _) => as_is(&head, size),
            (_, 1) => as_is(&narrow, narrow_size),
            _ => self.cut(&narrow, &ending, ending_bytes),
        }
    }

    fn size(self, bytes: u32) -> Size {
        let (form, room) = match self.lms && bytes > self.sms_bytes.into() {
            true => (Form::Lms, LMS_BYTES),
            false => (Form::Sms, self.sms_bytes),
        };
        let segments = u16::try_from(bytes.div_ceil(u32::from(room).max(1)).max(1)).unwrap_or(u16::MAX);
        Size { form, encoding: Encoding::Cp949, segments, units: bytes }
    }

    /// The longest beginning of `head` that fits with a mark of what is missing.
    fn cut(self, head: &str, ending: &str, ending_bytes: u32) -> Fitted {
        let room = if self.lms { LMS_BYTES } else { self.sms_bytes };
        let kept = beginning(head, u32::from(room).saturating_sub(MARK_BYTES + ending_bytes));
        let kept = kept.trim_end();
        let text = [kept, MARK, ending].concat();
        Fitted { size: self.size(bytes_of(&text)), text, is_cut: true, kept_bytes: kept.len() }
    }
}

/// An LMS's subject: as much of the name as it holds.
pub(super) fn subject(name: &str) -> String {
    beginning(&carried(name).text, SUBJECT_BYTES).trim_end().to_owned()
}

/// As many graphemes as fit.
fn beginning(text: &str, room: u32) -> &str {
    let mut used = 0;
    let beyond = text.grapheme_indices(true).find(|(_, grapheme)| {
        used += bytes_of(grapheme);
        used > room
    });
    &text[..beyond.map_or(text.len(), |(at, _)| at)]
}
