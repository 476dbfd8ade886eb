//! Delivery receipts: which text they are of, and what became of it. Every SMSC writes them a little differently.

use super::config::MessageIds;

/// A receipt is some hundred octets; what is behind is its copy of the text.
const MAX_OCTETS: usize = 512;

/// What a receipt says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The text's id, in the form that [`taken_id`] gives it.
    pub id: String,
    /// What became of it.
    pub state: State,
}

/// What became of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It is on the phone.
    Delivered,
    /// It never will be, with the SMSC's word and number.
    Failed(String),
    /// On its way, or nobody knows.
    Open,
}

/// The TLVs come first, since they have one form; then the text, which has many. `None` = no text can be told by it.
pub(super) fn read(
    octets: &[u8],
    receipted_id: Option<&str>,
    message_state: Option<u8>,
    ids: MessageIds,
) -> Option<Receipt> {
    let text = String::from_utf8_lossy(&octets[..octets.len().min(MAX_OCTETS)]).into_owned();
    let written = field(&text, "id");
    let id = match (receipted_id.filter(|id| !id.is_empty()), written) {
        // Where the two are alike, both are as receipts write them.
        (Some(id), written) if written.is_none_or(|written| written != id) => taken_id(id, ids),
        (_, Some(written)) => receipt_id(written, ids),
        (_, None) => return None,
    };
    let word = field(&text, "stat").map(str::to_ascii_lowercase);
    let code = field(&text, "err").filter(|code| is_word(code, 8)).map(str::to_ascii_lowercase);
    let failed = |word: &str| State::Failed(code.as_ref().map_or_else(|| word.into(), |code| format!("{word} {code}")));
    let state = match (message_state, word.as_deref().map(|word| word.get(..5).unwrap_or(word))) {
        (Some(2), _) | (None, Some("deliv")) => State::Delivered,
        (Some(3), _) | (None, Some("expir")) => failed("expired"),
        (Some(4), _) | (None, Some("delet")) => failed("deleted"),
        (Some(5), _) | (None, Some("undel")) => failed("undeliverable"),
        (Some(8 | 9), _) | (None, Some("rejec" | "faile" | "skipp")) => failed("rejected"),
        _ => State::Open,
    };
    Some(Receipt { id, state })
}

/// The id of a submit_sm_resp, so that the receipt's can be compared with it.
pub(super) fn taken_id(id: &str, ids: MessageIds) -> String {
    match ids {
        MessageIds::Hex => from_hex(id),
        MessageIds::AsIs | MessageIds::Decimal => plain(id),
    }
}

fn receipt_id(id: &str, ids: MessageIds) -> String {
    match ids {
        MessageIds::Decimal => from_hex(id),
        MessageIds::AsIs | MessageIds::Hex => plain(id),
    }
}

/// Receipts fill numbers up with zeros, and write letters large or small.
fn plain(id: &str) -> String {
    let id = id.trim();
    let short = id.trim_start_matches('0');
    if short.is_empty() { "0".into() } else { short.to_ascii_lowercase() }
}

fn from_hex(id: &str) -> String {
    let id = id.trim();
    let digits = id.strip_prefix("0x").or_else(|| id.strip_prefix("0X")).unwrap_or(id);
    u128::from_str_radix(digits, 16).map_or_else(|_| plain(id), |number| number.to_string())
}

/// `stat` of `id:123 sub:001 dlvrd:001 submit date:… done date:… stat:DELIVRD err:000 text:…`, in any case.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let lower = text.to_ascii_lowercase();
    // The copy of the text may say anything.
    let end = lower.find("text:").unwrap_or(text.len());
    let pattern = format!("{name}:");
    let mut from = 0;
    while let Some(found) = lower[from..end].find(&pattern) {
        let at = from + found;
        let before = at.checked_sub(1).map(|at| lower.as_bytes()[at]);
        let is_word = before.is_none_or(|byte| !byte.is_ascii_alphanumeric() && !b"-_".contains(&byte));
        if is_word {
            let value = text[at + pattern.len()..end].trim_start();
            let value = value.split(|c: char| c.is_whitespace() || c == ',' || c == ';').next()?;
            return is_word_of_id(value).then_some(value);
        }
        from = at + pattern.len();
    }
    None
}

fn is_word_of_id(word: &str) -> bool {
    (1..=64).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_word(word: &str, max: usize) -> bool {
    (1..=max).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<Receipt> {
        read(text.as_bytes(), None, None, MessageIds::AsIs)
    }

    fn receipt(id: &str, state: State) -> Option<Receipt> {
        Some(Receipt { id: id.into(), state })
    }

    /// W2: the forms that SMSCs write receipts in.
    #[test]
    fn receipts_are_read_in_any_form() {
        let failed = |word: &str| State::Failed(word.into());
        let long =
            "id:0123456789 sub:001 dlvrd:001 submit date:2611230741 done date:2611230742 stat:DELIVRD err:000 text:Hi";
        assert_eq!(of(long), receipt("123456789", State::Delivered));
        assert_eq!(of("ID:ab12-CD STAT:UNDELIV ERR:00b TEXT:"), receipt("ab12-cd", failed("undeliverable 00b")));
        assert_eq!(of("id: 7 stat: EXPIRED"), receipt("7", failed("expired")));
        assert_eq!(of("id:7, stat:Rejected; err:13"), receipt("7", failed("rejected 13")));
        assert_eq!(of("id:7 stat:ACCEPTD err:000"), receipt("7", State::Open));
        assert_eq!(of("id:7 stat:UNKNOWN err:000"), receipt("7", State::Open));
        assert_eq!(of("sub:001 submit-id:9 id:7 stat:DELETED"), receipt("7", failed("deleted")));
        assert_eq!(
            of("id:7 text:stat:DELIVRD"),
            receipt("7", State::Open),
            "what the text says is not the receipt's word"
        );
        assert_eq!(of("id:000 stat:DELIVRD"), receipt("0", State::Delivered));
        for nothing in ["", "hello", "id:", "id: text:x", "stat:DELIVRD err:000", "id:\u{e9}1 stat:DELIVRD"] {
            assert_eq!(of(nothing), None, "{nothing}");
        }
    }

    /// W2: one id, written in hex by one of the two and in decimal by the other.
    #[test]
    fn ids_are_compared_as_the_smsc_writes_them() {
        let read = |text: &str, tlv, ids| read(text.as_bytes(), tlv, None, ids).unwrap().id;
        assert_eq!(taken_id("1A2B", MessageIds::Hex), read("id:6699 stat:DELIVRD", None, MessageIds::Hex));
        assert_eq!(taken_id("6699", MessageIds::Decimal), read("id:00001a2b stat:DELIVRD", None, MessageIds::Decimal));
        assert_eq!(taken_id("00A7", MessageIds::AsIs), read("id:a7 stat:DELIVRD", None, MessageIds::AsIs));
        // The TLV is written as the answer to the send was, unless it is alike the text.
        assert_eq!(taken_id("1A2B", MessageIds::Hex), read("id:6699", Some("1a2b"), MessageIds::Hex));
        assert_eq!(taken_id("1A2B", MessageIds::Hex), read("id:6699", Some("6699"), MessageIds::Hex));
        assert_eq!(taken_id("not-hex", MessageIds::Hex), "not-hex");
    }

    /// W2: the TLVs win over the text.
    #[test]
    fn the_state_of_the_tlv_comes_first() {
        let state = |tlv| read(b"id:7 stat:DELIVRD err:001", None, Some(tlv), MessageIds::AsIs).unwrap().state;
        assert_eq!(state(2), State::Delivered);
        assert_eq!(state(5), State::Failed("undeliverable 001".into()));
        assert_eq!((state(1), state(6), state(7), state(99)), (State::Open, State::Open, State::Open, State::Open));
        assert_eq!(read(b"", Some("7"), Some(2), MessageIds::AsIs), receipt("7", State::Delivered));
    }
}
