//! The accounts: whether each vendor takes its credentials, and what time it is there.

use super::{Finding, PATIENCE, late};
use crate::app;
use crate::clock::Clock;
use crate::config::Config;
use crate::providers::{CheckError, Checked, Checking};
use backstop_domain::Ms;
use std::sync::Arc;

/// Further off than this, vendors refuse tokens, or will soon.
const SKEW_MS: Ms = 30_000;

/// How an account stands, and how far its vendor's clock is ahead of ours.
type Asked = (Finding, Option<Ms>);

pub(super) async fn look(config: &Config, clock: &Arc<dyn Clock>) -> Vec<Finding> {
    let providers = match app::accounts(config, clock) {
        Ok(providers) => providers,
        Err(error) => return vec![Finding::failed("accounts", error.to_string(), "mend it, then look again")],
    };
    let texts = async {
        let mut found = Vec::new();
        for provider in &providers.text {
            found.extend(asked("text", Some(provider.check())).await);
        }
        found
    };
    let (fcm, apns, texts, email) = tokio::join!(
        asked("fcm", providers.fcm.as_ref().map(|provider| provider.check())),
        asked("apns", providers.apns.as_ref().map(|provider| provider.check())),
        texts,
        asked("email", providers.email.as_ref().map(|provider| provider.check())),
    );
    let asked: Vec<Asked> = [fcm, apns].into_iter().flatten().chain(texts).chain(email).collect();
    let ahead = asked.iter().filter_map(|(_, ahead_ms)| *ahead_ms).max_by_key(|ahead_ms| ahead_ms.abs());
    let mut found: Vec<Finding> = asked.into_iter().map(|(finding, _)| finding).collect();
    found.push(skew(ahead));
    found
}

async fn asked(check: &str, checking: Option<Checking<'_>>) -> Option<Asked> {
    Some(account(check, tokio::time::timeout(PATIENCE, checking?).await.ok()))
}

/// `None` = nothing was heard in time.
pub(super) fn account(check: &str, heard: Option<Result<Checked, CheckError>>) -> Asked {
    match heard {
        Some(Ok(checked)) => (Finding::ok(check, checked.message), checked.vendor_ahead_ms),
        Some(Err(error)) => (Finding::failed(check, error.message, error.mend), None),
        None => (late(check), None),
    }
}

/// What vendors' clocks say of ours; `None` = none told.
fn skew(vendor_ahead_ms: Option<Ms>) -> Finding {
    let Some(ahead_ms) = vendor_ahead_ms else {
        return Finding::unknown("clock", "no vendor told the time", "keep the clock set by NTP");
    };
    let seconds = ahead_ms.abs() / 1_000;
    if ahead_ms.abs() <= SKEW_MS {
        return Finding::ok("clock", format!("within {} s of the vendors'", seconds + 1));
    }
    let side = if ahead_ms > 0 { "behind" } else { "ahead" };
    let message = format!("this machine's clock is {seconds} s {side}: vendors refuse tokens, and times are wrong");
    Finding::failed("clock", message, "set it, best by NTP")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golive::Status;

    #[test]
    fn a_clock_is_right_within_30_s() {
        assert_eq!(skew(None).status, Status::Unknown);
        assert_eq!((skew(Some(30_000)).status, skew(Some(-30_000)).status), (Status::Ok, Status::Ok));
        assert!(skew(Some(30_001)).message.starts_with("this machine's clock is 30 s behind"));
        assert!(skew(Some(-3_600_000)).message.starts_with("this machine's clock is 3600 s ahead"));
    }
}
