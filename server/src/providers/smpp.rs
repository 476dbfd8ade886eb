//! Texts by SMPP 3.4, to an SMSC over a connection that is kept: sent, reported on by receipts, answered by people.

mod config;
mod join;
mod pdu;
mod receipt;
mod reply;
mod session;

pub use config::{MessageIds, SmppConfig, SmppConfigError, SmppTls};
pub use receipt::{Receipt, State};

use super::{
    About, CheckError, Checked, Checking, Ear, Extent, InboundText, Keeping, PartState, Provider, Rate, Report,
    ReportWord, Sending, SentPart, TextBody, TextProvider, TextSend, Trunk, Unheard, Word,
};
use crate::number;
use backstop_domain::followup::Outcome;
use backstop_domain::ids::FollowupId;
use backstop_domain::text::{Encoding, NumberKind, Octets, Senders, Way, from_gsm7, from_ucs2};
use config::sender;
use join::{JOIN_MS, Joiner, Piece};
use pdu::{Address, Frame, Login, Part};
use reply::{ALREADY_BOUND, OK, TRY_AGAIN, UNREADABLE};
use rlibphonenumber::Region;
use rustls::pki_types::ServerName;
use session::{Answer, Bound, Claim, Link, NoBind, Order};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio_rustls::TlsConnector;

/// A message_payload holds at most so much; the planner cuts long before.
const MAX_PAYLOAD_BYTES: usize = 4_096;
/// A receipt that comes before its text's id is in the store waits so long for it.
const EARLY_MS: u64 = 5_000;
/// Between tries of a later part that the SMSC finds too fast.
const THROTTLED_MS: u64 = 250;
/// What a text may wait at the SMSC, at most.
const MAX_VALIDITY_S: i64 = 99 * 3_600;

/// Sends by one SMSC.
pub struct Smpp {
    account: Arc<Account>,
    config: SmppConfig,
    timeout: Duration,
    rate: Option<Rate>,
    /// Tells the parts of one text from another's to the same phone.
    reference: AtomicU8,
}

/// What a connection needs to know.
struct Account {
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    login: Login,
    message_id: MessageIds,
    numbers: Numbers,
    window: usize,
    enquire_link_ms: u64,
    reconnect_ms: u64,
    timeout_ms: u64,
    link: watch::Sender<Link>,
}

/// How the SMSC may write numbers.
struct Numbers {
    /// Whose national numbers it may write.
    country: Option<Region>,
    /// Senders of the configuration: a short code among them stays as it is.
    own: Vec<String>,
}

/// Which try a part is of.
#[derive(Clone)]
struct Taken {
    workspace: String,
    followup: FollowupId,
    attempt: u32,
    parts: u16,
    to: String,
}

impl Smpp {
    /// Checks all of `config`, but does not connect: an SMSC that is down is no reason not to start.
    pub fn from_config(config: &SmppConfig) -> Result<Smpp, SmppConfigError> {
        let checked = config::check(config)?;
        let tls = match config.tls {
            SmppTls::None => None,
            SmppTls::Required => Some((connector(checked.roots)?, server_name(&config.host)?)),
        };
        let account = Account {
            host: config.host.clone(),
            port: checked.port,
            tls,
            login: checked.login,
            message_id: config.message_id,
            numbers: Numbers {
                country: checked.country,
                own: config.registered_senders.iter().chain([&config.from]).cloned().collect(),
            },
            window: config.window,
            enquire_link_ms: config.enquire_link_ms,
            reconnect_ms: config.reconnect_ms,
            timeout_ms: config.timeout_ms,
            link: watch::channel(Link::Connecting).0,
        };
        let mut reference = [0];
        // Any start will do: it only has to differ from the last one's, mostly.
        let _ = getrandom::fill(&mut reference);
        Ok(Smpp {
            account: Arc::new(account),
            config: config.clone(),
            timeout: Duration::from_millis(config.timeout_ms),
            rate: config.max_per_second.map(Rate::PerSecond),
            reference: AtomicU8::new(reference[0]),
        })
    }

    async fn deliver(&self, text: &TextSend, said: &str, claim: &Claim) -> Outcome {
        let refused = |error: &str| Outcome::Rejected { error: error.into() };
        let Some(from) = sender(&self.config, text.from.as_deref().unwrap_or(&self.config.from)) else {
            return refused("bad_sender");
        };
        let Some(followup) = FollowupId::parse(&text.envelope.followup_id) else { return refused("bad_followup") };
        let to = Address { ton: 1, npi: 1, digits: text.to.trim_start_matches('+').to_owned() };
        let Some(cut) = self.cut(said) else { return refused("too_long") };
        let taken = Taken {
            workspace: text.envelope.workspace.clone(),
            followup,
            attempt: text.envelope.attempt,
            parts: u16::try_from(cut.parts.len()).unwrap_or(u16::MAX),
            to: text.to.clone(),
        };
        let mut first = None;
        for octets in cut.parts {
            let part = Submission {
                from: from.clone(),
                to: to.clone(),
                data_coding: cut.data_coding,
                has_header: taken.parts > 1,
                as_payload: cut.as_payload,
                validity: validity(text.expires_at_ms.saturating_sub(text.envelope.at_ms)),
                octets,
            };
            match (self.submit(part, &taken, claim, first.is_some()).await, &first) {
                (Ok(id), None) => first = Some(id),
                (Ok(_), Some(_)) => {}
                (Err(outcome), None) => return outcome,
                // Half of it is there: certainly not all of it, and nobody can take the half back.
                (Err(outcome), Some(_)) => {
                    return Outcome::Unknown { error: format!("partly_sent: {}", outcome.error().unwrap_or_default()) };
                }
            }
        }
        Outcome::Accepted { provider_id: first }
    }

    /// One part, again while the SMSC finds a later one too fast; `Err` = what its failure means by itself.
    async fn submit(&self, part: Submission, taken: &Taken, claim: &Claim, is_later: bool) -> Result<String, Outcome> {
        let later = |error: String| Outcome::RetryAfter { after_ms: None, error };
        let orders = self.account.orders().await.map_err(later)?;
        loop {
            let (answer, answered) = oneshot::channel();
            let part = part.clone();
            let pdu = Box::new(move |sequence| part.pdu(sequence));
            let order = Order { pdu, claim: claim.clone(), taken: taken.clone(), answer };
            // Part by part on this very connection: another SMSC behind the same name joins nothing.
            if orders.send(order).await.is_err() {
                return Err(later("connection_lost".into()));
            }
            match answered.await {
                Ok(Answer::Taken(id)) => return Ok(id),
                Ok(Answer::Unsent) => return Err(later("connection_lost".into())),
                Ok(Answer::Refused(status)) if is_later && reply::is_too_many(status) => pause(THROTTLED_MS).await,
                Ok(Answer::Refused(status)) => {
                    self.account.complain_of(status);
                    return Err(reply::outcome(status));
                }
                Err(_) => return Err(Outcome::Unknown { error: "connection_lost".into() }),
            }
        }
    }

    /// `None` = longer than a payload is.
    fn cut(&self, said: &str) -> Option<Cut> {
        let Octets { encoding, mut parts } = Octets::of(said);
        let data_coding = if encoding == Encoding::Ucs2 { 8 } else { 0 };
        if parts.len() == 1 {
            return Some(Cut { data_coding, parts, as_payload: false });
        }
        if self.config.message_payload {
            let whole = parts.concat();
            return (whole.len() <= MAX_PAYLOAD_BYTES).then(|| Cut {
                data_coding,
                parts: vec![whole],
                as_payload: true,
            });
        }
        let total = u8::try_from(parts.len()).ok()?;
        let reference = self.reference.fetch_add(1, Ordering::Relaxed);
        for (at, part) in (1u8..).zip(&mut parts) {
            // Six octets: five follow, of a joined text, with three, by a reference of eight bits.
            part.splice(0..0, [5, 0, 3, reference, total, at]);
        }
        Some(Cut { data_coding, parts, as_payload: false })
    }
}

/// A text as PDUs carry it.
struct Cut {
    data_coding: u8,
    parts: Vec<Vec<u8>>,
    as_payload: bool,
}

#[derive(Clone)]
struct Submission {
    from: Address,
    to: Address,
    data_coding: u8,
    octets: Vec<u8>,
    has_header: bool,
    as_payload: bool,
    validity: String,
}

impl Submission {
    fn pdu(self, sequence: u32) -> Option<Vec<u8>> {
        let Submission { from, to, data_coding, octets, has_header, as_payload, validity } = self;
        let part = Part { from: &from, to: &to, data_coding, octets, has_header, as_payload, validity };
        pdu::submit(part, sequence)
    }
}

impl Account {
    /// The bound connection's queue; `Err` = why there is none. Who comes while the first one is made waits for it.
    async fn orders(&self) -> Result<tokio::sync::mpsc::Sender<Order>, String> {
        let mut link = self.link.subscribe();
        let link = link.wait_for(|link| !matches!(link, Link::Connecting)).await;
        match link.as_deref() {
            Ok(Link::Up(orders)) => Ok(orders.clone()),
            Ok(Link::Down(error)) => Err(error.clone()),
            Ok(Link::Connecting) | Err(_) => Err("not_connected".into()),
        }
    }

    async fn connect(&self) -> Result<Bound, NoBind> {
        let limit = Duration::from_millis(self.timeout_ms);
        tokio::time::timeout(limit, self.connecting()).await.unwrap_or(Err(NoBind::Timeout))
    }

    async fn connecting(&self) -> Result<Bound, NoBind> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|_| NoBind::Unreachable)?;
        // Every PDU is a message of its own, and somebody waits for its answer.
        let _ = stream.set_nodelay(true);
        let Some((tls, name)) = &self.tls else { return session::bind(Box::new(stream), self).await };
        let stream = tls.connect(name.clone(), stream).await.map_err(|_| NoBind::Tls)?;
        session::bind(Box::new(stream), self).await
    }

    fn complain(&self, error: &NoBind) {
        metrics::counter!("backstop_alarms_total", "alarm" => "smpp_connection").increment(1);
        let (host, fault) = (&self.host, self.diagnosis(error));
        tracing::error!(host, error = error.word(), "{fault}");
    }

    fn complain_of(&self, status: u32) {
        if let Some(mend) = reply::mend(status) {
            metrics::counter!("backstop_alarms_total", "alarm" => "smpp_configuration").increment(1);
            tracing::error!(mend, status = reply::word(status), "the SMSC refuses what we send as");
        }
    }

    fn diagnosis(&self, error: &NoBind) -> CheckError {
        let (host, port) = (&self.host, self.port);
        let login = "check system_id, password (or password_file) and system_type of [providers.smpp], and that the \
                     SMSC's operator lets this machine's address bind as a transceiver";
        match error {
            NoBind::Refused(status) => {
                CheckError::refused(format!("the SMSC at {host} refuses our log-in (0x{status:x})"), login)
            }
            NoBind::Later(status) => CheckError::unreachable(
                format!("the SMSC at {host} takes no log-in now (0x{status:x})"),
                "wait until it has let go of the last connection; let no other program use this log-in",
            ),
            NoBind::Closed => {
                CheckError::refused(format!("the SMSC at {host} closes the connection on our log-in"), login)
            }
            NoBind::Tls => CheckError::refused(
                format!("the SMSC at {host} speaks no TLS, or shows a certificate that is not trusted for that name"),
                "let [providers.smpp] host be the name in its certificate; for an SMSC's own give ca_file",
            ),
            NoBind::Timeout => CheckError::unreachable(
                format!("the SMSC at {host}:{port} does not answer our log-in in time"),
                "check [providers.smpp] host, port and tls: a server that speaks no SMPP there says nothing",
            ),
            NoBind::Unreachable => CheckError::unreachable(
                format!("the SMSC at {host}:{port} cannot be reached"),
                "check [providers.smpp] host and port, and whether the firewall lets this machine out",
            ),
        }
    }

    async fn probe(&self) -> Result<Checked, CheckError> {
        let message = if matches!(*self.link.borrow(), Link::Up(_)) {
            format!("bound to the SMSC at {}", self.host)
        } else {
            match self.connect().await {
                Ok(bound) => {
                    let goodbye = tokio::time::timeout(Duration::from_millis(self.timeout_ms), bound.unbind());
                    let _ = goodbye.await;
                    format!("the SMSC at {} takes our log-in", self.host)
                }
                Err(NoBind::Later(ALREADY_BOUND)) => {
                    format!("the SMSC at {} knows our log-in, which is in use: by the running server?", self.host)
                }
                Err(error) => return Err(self.diagnosis(&error)),
            }
        };
        Ok(Checked { message, vendor_ahead_ms: None })
    }

    /// Takes in a deliver_sm: a receipt, or what somebody wrote. Answers the SMSC's status for it.
    async fn take_in(&self, frame: &Frame, ear: &dyn Ear, open: watch::Receiver<usize>, joiner: &Joiner) -> u32 {
        let Some(message) = frame.delivered() else { return UNREADABLE };
        let heard = match message.esm_class & 0b0011_1100 {
            0x04 => {
                let pdu::Delivered { octets, receipted_id, state, .. } = &message;
                match receipt::read(octets, receipted_id.as_deref(), *state, self.message_id) {
                    Some(receipt) => settle(ear, receipt, open).await,
                    None => {
                        metrics::counter!("backstop_callbacks_unknown_total").increment(1);
                        Ok(())
                    }
                }
            }
            0x00 => self.wrote(message, frame.sequence, ear, joiner).await,
            // Words of the network on the way, or of phones that answer by themselves.
            _ => Ok(()),
        };
        if heard.is_ok() { OK } else { TRY_AGAIN }
    }

    /// Takes in what somebody wrote; a part of it waits for the others.
    async fn wrote(
        &self,
        message: pdu::Delivered,
        sequence: u32,
        ear: &dyn Ear,
        joiner: &Joiner,
    ) -> Result<(), Unheard> {
        let (from, to) = (self.numbers.read(&message.from), self.numbers.read(&message.to));
        let Some((_, said)) = message.split() else { return Ok(()) };
        let (data_coding, octets) = (message.data_coding, said.to_vec());
        let Some(place) = message.place else {
            return hear(ear, from, to, read(data_coding, &octets), Extent::Whole).await;
        };
        let key = (from, to, place.reference, place.total);
        let (told, mut answered) = oneshot::channel();
        let pieces = match joiner.add(&key, Piece { sequence, place, data_coding, octets, told }) {
            Some(pieces) => pieces,
            None => match tokio::time::timeout(Duration::from_millis(JOIN_MS), &mut answered).await {
                Ok(answered) => return answered.unwrap_or(Err(Unheard)),
                Err(_) => match joiner.take(&key, sequence) {
                    Some(pieces) => pieces,
                    None => return answered.await.unwrap_or(Err(Unheard)),
                },
            },
        };
        let extent = match pieces.len() == usize::from(place.total) {
            true => Extent::Whole,
            false => Extent::From(pieces.first().map_or(1, |piece| piece.place.at)),
        };
        // A character may be torn between two parts, but not between two alphabets.
        let text = pieces.chunk_by(|one, next| one.data_coding == next.data_coding).map(|alike| {
            let octets: Vec<u8> = alike.iter().flat_map(|piece| &piece.octets).copied().collect();
            read(alike[0].data_coding, &octets)
        });
        let (from, to, ..) = key;
        let heard = hear(ear, from, to, text.collect(), extent).await;
        for piece in pieces {
            let _ = piece.told.send(heard);
        }
        heard
    }
}

/// Hands on what somebody wrote; `None` = in no alphabet that we read.
async fn hear(ear: &dyn Ear, from: String, to: String, text: Option<String>, extent: Extent) -> Result<(), Unheard> {
    let Some(text) = text else { return Ok(()) };
    let text = InboundText { way: Way::Xms, id: None, from, to, text, keyword: None, extent };
    ear.hear("smpp", Word::Text(text)).await
}

/// A receipt may overtake the answer that names its text, or that answer's way into the store: while any is open, it is
/// asked for again.
async fn settle(ear: &dyn Ear, receipt: Receipt, mut open: watch::Receiver<usize>) -> Result<(), Unheard> {
    let state = match receipt.state {
        State::Open => return Ok(()),
        State::Delivered => PartState::Delivered,
        State::Failed(code) => PartState::Failed(code),
    };
    let asking = async {
        loop {
            let is_open = *open.borrow_and_update() > 0;
            if ear.settle("smpp", &receipt.id, state.clone()).await? {
                return Ok(true);
            }
            if !is_open || open.changed().await.is_err() {
                return Ok(false);
            }
        }
    };
    let known = tokio::time::timeout(Duration::from_millis(EARLY_MS), asking).await.unwrap_or(Ok(false))?;
    if !known {
        metrics::counter!("backstop_callbacks_unknown_total").increment(1);
    }
    Ok(())
}

/// What octets say; `None` = in no alphabet that we read.
fn read(data_coding: u8, octets: &[u8]) -> Option<String> {
    Some(match data_coding {
        0 => from_gsm7(octets),
        1 => octets.iter().map(|byte| char::from(byte & 0x7f)).collect(),
        3 => octets.iter().copied().map(char::from).collect(),
        8 => from_ucs2(octets),
        _ => return None,
    })
}

impl Numbers {
    /// E.164 where it is a number that somebody can have, since people are known by that (T7, T9): as its type says, or
    /// where that says nothing as a national one that exists, else as one of the world by its length.
    fn read(&self, address: &Address) -> String {
        let as_is = || address.digits.clone();
        let digits = address.digits.trim_start_matches('+');
        let is_number = (7..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number || self.own.contains(&address.digits) {
            return as_is();
        }
        let of_world = || format!("+{digits}");
        let national = || self.country.and_then(|country| number::read(digits, Some(country)));
        let exists = |number: &String| number::look_up(number).1 != NumberKind::Unassigned;
        match address.ton {
            _ if digits.len() < address.digits.len() => of_world(),
            1 => of_world(),
            2 => national().unwrap_or_else(as_is),
            0 if digits.starts_with('0') => national().unwrap_or_else(as_is),
            0 if digits.len() >= 10 => national().filter(exists).unwrap_or_else(of_world),
            0 => national().filter(exists).unwrap_or_else(as_is),
            _ => as_is(),
        }
    }
}

impl Taken {
    /// Keeps what a receipt will name the part by.
    async fn keep(&self, ear: &dyn Ear, id: &str, ids: MessageIds) {
        let part = SentPart {
            provider: "smpp",
            id: receipt::taken_id(id, ids),
            workspace: self.workspace.clone(),
            followup: self.followup,
            attempt: self.attempt,
            parts: self.parts,
        };
        if ear.keep(part).await.is_err() {
            tracing::warn!(followup = %self.followup, "a text's id was not stored: no receipt will be known as its");
        }
    }

    /// The answer came when nobody waited any more. Of one part it settles the whole text.
    async fn tell_late(&self, ear: &dyn Ear, answer: Result<String, u32>) {
        if self.parts > 1 {
            return;
        }
        let (provider_id, word) = match answer {
            Ok(id) => (Some(id), ReportWord::Taken),
            Err(status) => (None, ReportWord::Refused(reply::outcome(status))),
        };
        let Taken { workspace, followup, attempt, to, .. } = self.clone();
        let report = Report { workspace, followup, attempt, to: Some(to), provider_id, word };
        // Not stored, it stays unknown, as it was.
        let _ = ear.hear("smpp", Word::Report(report)).await;
    }
}

impl Provider for Smpp {
    fn name(&self) -> &'static str {
        "smpp"
    }

    fn about(&self) -> About {
        About {
            name: "smpp",
            vendor: "the SMSC",
            account: format!("{}@{}", self.account.login.system_id, self.account.host),
            rate: self.rate,
            mend: "check host, port, tls, system_id, password and system_type",
            section: "[providers.smpp]",
        }
    }

    fn check(&self) -> Checking<'_> {
        Box::pin(self.account.probe())
    }
}

impl TextProvider for Smpp {
    fn senders(&self) -> Senders {
        config::shown(&self.config)
    }

    /// submit_sm takes no key.
    fn idempotent(&self) -> bool {
        false
    }

    fn send<'a>(&'a self, text: &'a TextSend) -> Sending<'a> {
        Box::pin(async move {
            let TextBody::Xms { text: said, .. } = &text.body else {
                return Outcome::Rejected { error: "not_a_text".into() };
            };
            let claim = Claim::new();
            let outcome = tokio::time::timeout(self.timeout, self.deliver(text, said, &claim)).await;
            outcome.unwrap_or_else(|_| match claim.withdraw() {
                true => Outcome::RetryAfter { after_ms: None, error: "timeout".into() },
                false => Outcome::Unknown { error: "timeout".into() },
            })
        })
    }
}

impl Trunk for Smpp {
    fn keep(&self, ear: Arc<dyn Ear>, stop: watch::Receiver<bool>) -> Keeping {
        Box::pin(session::keep(Arc::clone(&self.account), ear, stop))
    }
}

/// `DDhhmmss` from now, as SMPP writes it.
fn validity(left_ms: i64) -> String {
    let left_s = (left_ms / 1_000).clamp(1, MAX_VALIDITY_S);
    let (days, hours) = (left_s / 86_400, left_s / 3_600 % 24);
    format!("0000{days:02}{hours:02}{:02}{:02}000R", left_s / 60 % 60, left_s % 60)
}

fn connector(roots: Vec<rustls::pki_types::CertificateDer<'static>>) -> Result<TlsConnector, SmppConfigError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let failed = |error: rustls::Error| SmppConfigError::Tls(error.to_string());
    let verifier = rustls_platform_verifier::Verifier::new_with_extra_roots(roots, Arc::clone(&provider));
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config =
        config.map_err(failed)?.dangerous().with_custom_certificate_verifier(Arc::new(verifier.map_err(failed)?));
    Ok(TlsConnector::from(Arc::new(config.with_no_client_auth())))
}

fn server_name(host: &str) -> Result<ServerName<'static>, SmppConfigError> {
    ServerName::try_from(host.to_owned()).map_err(|_| SmppConfigError::Host)
}

#[expect(clippy::disallowed_methods, reason = "the SMSC asks to go slower; the send's time-out bounds it")]
async fn pause(wait_ms: u64) {
    tokio::time::sleep(Duration::from_millis(wait_ms)).await;
}

/// What a receipt says. For `tests/fuzz`.
#[doc(hidden)]
pub fn receipt(octets: &[u8], receipted_id: Option<&str>, state: Option<u8>, ids: MessageIds) -> Option<Receipt> {
    receipt::read(octets, receipted_id, state, ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_validity_is_written_as_smpp_writes_it() {
        assert_eq!(validity(21_600_000), "000000060000000R");
        assert_eq!(validity(93_784_000), "000001020304000R");
        assert_eq!((validity(-5), validity(i64::MAX)), ("000000000001000R".into(), "000004030000000R".into()));
    }

    /// T7, T9: who wrote is known by the number that they are known by, however the SMSC writes it.
    #[test]
    fn t7_a_number_is_e164_where_it_can_be() {
        let of = |country: Option<&str>, ton, digits: &str| {
            let numbers = Numbers { country: country.and_then(number::region), own: vec!["15881234".into()] };
            numbers.read(&Address { ton, npi: 1, digits: digits.into() })
        };
        for (country, ton, digits, is) in [
            (None, 1, "821012345678", "+821012345678"),
            (None, 0, "14155550100", "+14155550100"),
            (None, 0, "+4915112345678", "+4915112345678"),
            (None, 2, "01012345678", "01012345678"),
            (None, 0, "01012345678", "01012345678"),
            (Some("KR"), 1, "821012345678", "+821012345678"),
            (Some("KR"), 2, "01012345678", "+821012345678"),
            (Some("KR"), 2, "1012345678", "+821012345678"),
            (Some("KR"), 0, "01012345678", "+821012345678"),
            (Some("KR"), 0, "821012345678", "+821012345678"),
            (Some("KR"), 0, "4915112345678", "+4915112345678"),
            (Some("KR"), 0, "15881234", "15881234"),
            (Some("US"), 0, "4155550123", "+14155550123"),
            (Some("US"), 0, "14155550123", "+14155550123"),
            (Some("US"), 0, "821012345678", "+821012345678"),
            (Some("HK"), 2, "61234567", "+85261234567"),
            (Some("US"), 3, "12345", "12345"),
            (Some("US"), 0, "12345", "12345"),
            (Some("US"), 5, "Lone Oak", "Lone Oak"),
        ] {
            assert_eq!(of(country, ton, digits), is, "{country:?} {ton}");
        }
    }
}
