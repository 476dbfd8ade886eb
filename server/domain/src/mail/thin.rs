//! A mail of any size in little memory: of each part the beginning is kept, which is where a person's words are.

/// Kept of each part: an answer, its quotation and a signature with a logo; of an attachment what names it.
const MAX_PART_BYTES: usize = 512 * 1024;
/// Kept in all.
const MAX_KEPT_BYTES: usize = 4 * 1024 * 1024;

/// Takes a mail in piece by piece, in whichever pieces it comes.
#[derive(Debug, Default)]
pub struct Thin {
    kept: Vec<u8>,
    /// Kept since the last line that may begin a part.
    of_part: usize,
    /// The beginning of the line that is being read, until it is known what it is.
    head: Vec<u8>,
    /// Whether the rest of this line is kept, once that is known.
    line: Option<bool>,
    is_cut: bool,
}

impl Thin {
    /// The next piece.
    pub fn push(&mut self, mut piece: &[u8]) {
        while let Some(first) = piece.first() {
            match self.line {
                None => {
                    self.head.push(*first);
                    piece = &piece[1..];
                    if self.head.len() == 2 || *first == b'\n' {
                        self.begin_line();
                    }
                }
                Some(keep) => {
                    let end = piece.iter().position(|byte| *byte == b'\n').map_or(piece.len(), |at| at + 1);
                    let (rest_of_line, rest) = piece.split_at(end);
                    self.keep(rest_of_line, keep);
                    if rest_of_line.ends_with(b"\n") {
                        self.line = None;
                    }
                    piece = rest;
                }
            }
        }
    }

    /// What is kept, and whether that is less than there was.
    pub fn finish(mut self) -> (Vec<u8>, bool) {
        let head = std::mem::take(&mut self.head);
        let keep = self.of_part < MAX_PART_BYTES;
        self.keep(&head, keep);
        (self.kept, self.is_cut)
    }

    /// What may be a boundary begins a part: it is kept even where a part has had its share.
    fn begin_line(&mut self) {
        let head = std::mem::take(&mut self.head);
        if head == b"--" {
            self.of_part = 0;
        }
        let keep = self.of_part < MAX_PART_BYTES;
        self.keep(&head, keep);
        self.line = if head.ends_with(b"\n") { None } else { Some(keep) };
    }

    fn keep(&mut self, bytes: &[u8], keep: bool) {
        let left = (MAX_KEPT_BYTES - self.kept.len()).min(MAX_PART_BYTES.saturating_sub(self.of_part));
        let taken = if keep { bytes.len().min(left) } else { 0 };
        self.kept.extend_from_slice(&bytes[..taken]);
        self.of_part += taken;
        self.is_cut |= taken < bytes.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thin(mail: &[u8], piece: usize) -> (Vec<u8>, bool) {
        let mut thin = Thin::default();
        mail.chunks(piece).for_each(|piece| thin.push(piece));
        thin.finish()
    }

    /// E3: a mail of usual size is kept as it is, in whichever pieces it comes.
    #[test]
    fn e3_a_small_mail_is_kept_whole() {
        let mail = b"Subject: x\r\n\r\n--b\r\n\r\nHello\n\n-\n--b--\r\nno line end";
        for piece in 1..mail.len() {
            assert_eq!(thin(mail, piece), (mail.to_vec(), false), "{piece}");
        }
        assert_eq!(thin(b"", 1), (Vec::new(), false));
        for odd in [&b"-"[..], b"--", b"\n", b"-\n"] {
            assert_eq!(thin(odd, 1), (odd.to_vec(), false));
        }
    }

    /// E3: of attachments the beginning is kept, and what follows them; the memory is bounded whatever comes.
    #[test]
    fn e3_the_rest_of_an_attachment_is_left_out() {
        let mut mail = b"--b\r\nContent-Disposition: attachment; filename=a\r\n\r\n".to_vec();
        for _ in 0..300_000 {
            mail.extend_from_slice(b"QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVowMTIzNDU2Nzg5\r\n");
        }
        mail.extend_from_slice(b"--b\r\nContent-Disposition: attachment; filename=b\r\n\r\nQQ==\r\n--b--\r\n");
        for piece in [1_000, 65_536, mail.len()] {
            let (kept, is_cut) = thin(&mail, piece);
            assert!(is_cut && kept.len() < MAX_PART_BYTES + 1_000, "{}", kept.len());
            assert!(kept.ends_with(b"filename=b\r\n\r\nQQ==\r\n--b--\r\n"));
        }
        let one_line = vec![b'x'; 3 * MAX_PART_BYTES];
        assert_eq!(thin(&one_line, 10_000).0.len(), MAX_PART_BYTES);
        let parts = "--\n".repeat(3_000_000);
        assert_eq!(thin(parts.as_bytes(), 10_000).0.len(), MAX_KEPT_BYTES);
    }
}
