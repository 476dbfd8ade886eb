//! What a mail server says of a mail of ours, and what that means for its address (E5; RFC 3463, 3464, 5965).

use crate::Ms;

/// So many failures that may pass mark an address.
pub const STRIKES: u8 = 3;
/// An address is marked by failures that came within this time of the first: a mailbox that was full in spring is none
/// in autumn. A later one begins the count anew.
pub const STRIKES_WITHIN_MS: Ms = 30 * 86_400_000;
/// Behind a status: the mail server refused the sender, and had not heard of the address yet.
pub const AT_MAIL_FROM: &str = "at_mail_from";
/// Behind a status: the mail server had taken the address, and refused the mail.
pub const AT_DATA: &str = "at_data";
/// A report of one mail names one address; the rest is somebody's joke.
const MAX_RECIPIENTS: usize = 20;

/// What a failure says of the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Nobody is there and nobody will be: it is marked at once.
    Dead,
    /// It may work again: only several of these mark it.
    Strike,
    /// It says nothing of the address: the mail or its sender was refused.
    NotTheAddress,
}

/// What became of a mail, by its report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is in the mailbox.
    Delivered,
    /// It is given up.
    Failed,
    /// It is still tried, or went on to where nobody reports from.
    Open,
}

/// One recipient's part of a delivery status notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusReport {
    /// The addresses it is about: the one the mail was sent to, the one it ended at.
    pub recipients: Vec<String>,
    /// What became of it.
    pub fate: Fate,
    /// `5.1.1`; empty where the report has none.
    pub status: String,
}

/// What a status says of the address: an enhanced one (RFC 3463) if there is one in it, as in `550 5.1.1`, else the
/// reply code. A code that names nothing speaks of what it answered: of the address only where that was asked for.
pub fn verdict(status: &str) -> Verdict {
    let is = |stage: &str| status.split_whitespace().any(|word| word == stage);
    if is(AT_MAIL_FROM) {
        return Verdict::NotTheAddress;
    }
    let enhanced = status.split_whitespace().find_map(|word| {
        let mut numbers = word.split('.').map(|part| part.parse::<u16>().ok());
        let code = (numbers.next()??, numbers.next()??, numbers.next()??);
        numbers.next().is_none().then_some(code)
    });
    match enhanced {
        // No such mailbox, no such host, no address at all, moved, takes no mail, disabled.
        Some((5, 1, 1 | 2 | 3 | 6 | 10) | (5, 2, 1)) => Verdict::Dead,
        // No more than the reply code says.
        Some((_, 0, _)) if is(AT_DATA) => Verdict::NotTheAddress,
        // About the sender's address, or the size of the mail.
        Some((_, 1, 7..=9) | (_, 2, 3)) => Verdict::NotTheAddress,
        Some((4 | 5, 0 | 1 | 2 | 4, _)) => Verdict::Strike,
        // The server, the protocol, the content, the policy.
        Some(_) => Verdict::NotTheAddress,
        None => match status.split_whitespace().next() {
            Some("450" | "550" | "551" | "552" | "553") if !is(AT_DATA) => Verdict::Strike,
            _ => Verdict::NotTheAddress,
        },
    }
}

/// One more strike, after `before` of them since `since`: how many since when, or `None` = the address is marked.
pub fn strike(before: u8, since: Ms, now: Ms) -> Option<(u8, Ms)> {
    let is_recent = now.saturating_sub(since) < STRIKES_WITHIN_MS;
    let (strikes, since) = if is_recent { (before.saturating_add(1), since) } else { (1, now) };
    (strikes < STRIKES).then_some((strikes, since))
}

/// Reads the part `message/delivery-status` of a report.
pub fn read_status(status: &str) -> Vec<StatusReport> {
    let unfolded = unfold(status);
    let groups = unfolded.split("\n\n").map(|group| group.lines().filter_map(field).collect::<Vec<_>>());
    let reports = groups.filter_map(|fields| {
        let get =
            |name: &str| fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| *value);
        let action = get("Action")?;
        let recipients = ["Original-Recipient", "Final-Recipient"].into_iter().filter_map(get).filter_map(address);
        let status = get("Status").and_then(|value| value.split_whitespace().next()).unwrap_or_default();
        let fate = match action.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default() {
            word if word.eq_ignore_ascii_case("failed") => Fate::Failed,
            word if word.eq_ignore_ascii_case("delivered") => Fate::Delivered,
            _ => Fate::Open,
        };
        Some(StatusReport { recipients: recipients.collect(), fate, status: code(status) })
    });
    reports.take(MAX_RECIPIENTS).collect()
}

/// Whether the part `message/feedback-report` says that the customer called a mail of ours spam. Others are about
/// signatures, or take a complaint back.
pub fn is_complaint(report: &str) -> bool {
    let unfolded = unfold(report);
    let kind = unfolded.lines().filter_map(field).find(|(name, _)| name.eq_ignore_ascii_case("Feedback-Type"));
    kind.is_some_and(|(_, kind)| ["abuse", "fraud", "opt-out", "other"].iter().any(|k| kind.eq_ignore_ascii_case(k)))
}

/// Only what looks like a status: it is shown as the delivery's error.
fn code(status: &str) -> String {
    let shaped = status.len() <= 11 && status.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if shaped { status.to_owned() } else { String::new() }
}

/// `rfc822; lucas@example.com`
fn address(value: &str) -> Option<String> {
    let (_, address) = value.split_once(';')?;
    let address = address.trim().trim_start_matches('<').trim_end_matches('>');
    (address.contains('@') && address.len() <= 320).then(|| address.to_owned())
}

fn field(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once(':')?;
    Some((name.trim(), value.trim()))
}

/// Lines of a header that go on in the next one, put together; line ends as `\n`.
fn unfold(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let goes_on = line.starts_with([' ', '\t']) && !line.trim().is_empty();
        if goes_on {
            out.push(' ');
        } else if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(line.trim());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// E5: what marks an address at once, what does so after several times, and what says nothing of it.
    #[test]
    fn e5_a_status_says_what_it_says_of_the_address() {
        for dead in ["5.1.1", "550 5.1.1", "5.1.10", "5.2.1", "5.1.2", "5.1.6", "5.1.3"] {
            assert_eq!(verdict(dead), Verdict::Dead, "{dead}");
        }
        for strike in ["4.1.1", "5.2.2", "4.2.2", "552 5.2.2", "4.4.7", "5.4.4", "5.0.0", "5.1.0", "550", "552"] {
            assert_eq!(verdict(strike), Verdict::Strike, "{strike}");
        }
        for other in [
            "5.7.1",
            "550 5.7.26",
            "5.6.0",
            "5.2.3",
            "5.1.8",
            "5.3.4",
            "4.7.0",
            "554",
            "421",
            "",
            "x",
            "5.1",
            "5.1.1.1",
        ] {
            assert_eq!(verdict(other), Verdict::NotTheAddress, "{other}");
        }
    }

    /// E5: a bare code of a relay that refuses us, or what we say, is nobody's strike; a status that names the address
    /// is, wherever it is said, but before the address was.
    #[test]
    fn e5_a_code_speaks_of_the_address_only_where_that_was_asked_for() {
        assert_eq!(verdict("550"), Verdict::Strike);
        for said in
            ["550 at_mail_from", "550 5.1.1 at_mail_from", "553 5.1.0 at_mail_from", "550 at_data", "552 at_data"]
        {
            assert_eq!(verdict(said), Verdict::NotTheAddress, "{said}");
        }
        assert_eq!(verdict("550 5.0.0 at_data"), Verdict::NotTheAddress);
        assert_eq!((verdict("550 5.1.1 at_data"), verdict("552 5.2.2 at_data")), (Verdict::Dead, Verdict::Strike));
    }

    /// E5: the third within thirty days of the first marks; the second, or one a month later, does not.
    #[test]
    fn e5_three_strikes_within_a_month() {
        let since = 1_000;
        assert_eq!(strike(0, Ms::MIN, since), Some((1, since)));
        assert_eq!(strike(STRIKES - 2, since, since + 1), Some((STRIKES - 1, since)));
        assert_eq!(strike(STRIKES - 1, since, since + STRIKES_WITHIN_MS - 1), None);
        assert_eq!(strike(STRIKES - 1, since, since + STRIKES_WITHIN_MS), Some((1, since + STRIKES_WITHIN_MS)));
        assert_eq!(strike(u8::MAX, since, since), None);
        // Only the first one's time is kept: the count begins anew, and with it the time.
        let day = |n: Ms| since + n * 86_400_000;
        let (mut standing, mut marked_on) = ((0, Ms::MIN), None);
        for n in [0, 29, 31, 40, 41] {
            match strike(standing.0, standing.1, day(n)) {
                Some(counted) => standing = counted,
                None => marked_on = Some(n),
            }
        }
        assert_eq!(marked_on, Some(41));
    }

    /// E5: a report as Postfix writes it, folded lines and all.
    #[test]
    fn e5_a_delivery_status_is_read() {
        let postfix = "Reporting-MTA: dns; mx.example.net\r\nX-Postfix-Queue-ID: 4ABC\r\n\
                       Arrival-Date: Mon, 23 Nov 2026 03:00:00 +0900 (KST)\r\n\r\n\
                       Final-Recipient: rfc822; lucas@example.com\r\nOriginal-Recipient: rfc822;Lucas@example.com\r\n\
                       Action: failed\r\nStatus: 5.1.1\r\nRemote-MTA: dns; mx.example.com\r\n\
                       Diagnostic-Code: smtp; 550 5.1.1 <lucas@example.com>: Recipient\r\n    address rejected\r\n";
        let report = StatusReport {
            recipients: vec!["Lucas@example.com".into(), "lucas@example.com".into()],
            fate: Fate::Failed,
            status: "5.1.1".into(),
        };
        assert_eq!(read_status(postfix), vec![report]);
        let delayed = "Final-Recipient: rfc822;a@b.example\nAction: delayed\nStatus: 4.4.1\n";
        assert_eq!(read_status(delayed).first().map(|r| r.fate), Some(Fate::Open));
        let relayed = "Final-Recipient: rfc822;a@b.example\nAction: Delivered (to mailbox)\nStatus: 2.0.0\n";
        assert_eq!(read_status(relayed).first().map(|r| r.fate), Some(Fate::Delivered));
        for nothing in ["", "\n\n\n", "Status: 5.1.1", "Action", ":::", "<html>", "Final-Recipient: x"] {
            assert_eq!(read_status(nothing), Vec::new(), "{nothing}");
        }
        let many = "Final-Recipient: rfc822;a@b.example\nAction: failed\nStatus: 5.1.1\n\n".repeat(1_000);
        assert_eq!(read_status(&many).len(), MAX_RECIPIENTS);
        let odd = "Final-Recipient: rfc822;a@b.example\nAction: failed\nStatus: lucas@example.com\n";
        assert_eq!(read_status(odd)[0].status, "");
    }

    /// E5: what the customer said, not what a checker of signatures says, nor a complaint taken back.
    #[test]
    fn e5_a_complaint_is_told_from_other_feedback() {
        assert!(is_complaint("Feedback-Type: abuse\r\nUser-Agent: Example/1\r\nVersion: 1\r\n"));
        for other in ["Feedback-Type: not-spam", "Feedback-Type: auth-failure", "", "Version: 1"] {
            assert!(!is_complaint(other), "{other}");
        }
    }
}
