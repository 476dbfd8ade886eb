//! Everything that leaves the house: one vendor per file, all answering in the domain's words.

mod account;
pub mod apns;
pub mod capture;
mod check;
pub mod fcm;
mod fit;
pub mod gateway;
mod guarded;
pub mod line;
mod mail;
pub mod ses;
pub mod smpp;
pub mod smtp;
pub mod solapi;
mod transport;
mod trunk;
pub mod twilio;

pub(crate) use account::may_go_by_others;
pub use account::{About, Rate};
pub use check::{CheckError, Checked, Checking, Fault};
pub use guarded::{Guarded, Standing};
pub(crate) use mail::message_hash;
pub(crate) use transport::{builder as client, checked_url};
pub use trunk::{Ear, Hearing, Keeping, PartState, SentPart, Trunk, Trunks, Unheard};

use crate::engine::api::MailReport;
use crate::mail::OwnSender;
use crate::settings::Branding;
use crate::templates::OwnTemplate;
use axum::http::HeaderMap;
use backstop_domain::followup::{Found, Outcome, Services};
use backstop_domain::ids::FollowupId;
use backstop_domain::text::{Form, Reach, Routes, Senders, TextService, Way};
use backstop_wire::{Environment, Push};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

/// What one attempt is, whatever carries it. `effect_key` is the same at each repeat of one effect: a provider
/// with an idempotency key uses it as that key.
pub struct Envelope {
    /// The workspace's name.
    pub workspace: String,
    /// `fu_…`.
    pub followup_id: String,
    /// Derived from follow-up, channel and — where a repeat is a new effect — attempt.
    pub effect_key: String,
    /// 1, 2, ….
    pub attempt: u32,
    /// The workspace's clock when it was claimed.
    pub at_ms: i64,
}

/// A push to one device.
pub struct PushSend {
    /// What it is.
    pub envelope: Envelope,
    /// `dev_…`.
    pub device_id: String,
    /// The device's token.
    pub token: String,
    /// APNs topic.
    pub topic: Option<String>,
    /// The APNs environment it goes to; `None` = the credential's own.
    pub environment: Option<Environment>,
    /// What the app receives; its text is cut by the provider file so that the request fits 4,096 bytes.
    pub push: Push,
    /// After this it is of no use (P10).
    pub expires_at_ms: i64,
}

/// A text to one person.
pub struct TextSend {
    /// What it is.
    pub envelope: Envelope,
    /// E.164; empty = no number is known, and the way needs none.
    pub to: String,
    /// The number it comes from; `None` = the account picks one (T6).
    pub from: Option<String>,
    /// What it says, as its way carries it.
    pub body: TextBody,
    /// After this it is of no use (P13), by the same clock as [`Envelope::at_ms`].
    pub expires_at_ms: i64,
}

/// What a text says, as its way carries it.
#[derive(Clone, PartialEq, Eq)]
pub enum TextBody {
    /// SMS or LMS.
    Xms {
        /// Which of the two.
        form: Form,
        /// Of an LMS.
        subject: Option<String>,
        /// The whole text.
        text: String,
    },
    /// A template that Kakao approved, filled in (T3).
    Alimtalk(Alimtalk),
    /// LINE.
    Line(LineMessage),
}

/// A template that Kakao approved, filled in.
#[derive(Clone, PartialEq, Eq)]
pub struct Alimtalk {
    /// The relay's id of the company's Kakao channel.
    pub sender_profile: String,
    /// The relay's id of the template.
    pub template_id: String,
    /// Values by name, without `#{}`.
    pub variables: BTreeMap<String, String>,
    /// What the customer reads.
    pub text: String,
    /// What they can tap, filled in.
    pub buttons: Vec<AlimtalkButton>,
}

/// What can be tapped below an Alimtalk.
#[derive(Clone, PartialEq, Eq)]
pub struct AlimtalkButton {
    /// Its label.
    pub name: String,
    /// Where it leads, on a phone.
    pub url: String,
}

/// A message on LINE.
#[derive(Clone, PartialEq, Eq)]
pub struct LineMessage {
    /// The LINE user; `None` = by the number.
    pub user_id: Option<String>,
    /// All of it but the link.
    pub text: String,
    /// Where to go on.
    pub link: Option<String>,
    /// What the link's button says.
    pub label: String,
}

/// A text that may have left, as it is asked for.
pub struct TextQuery<'a> {
    /// E.164.
    pub to: &'a str,
    /// It was sent at most this long ago.
    pub age_ms: i64,
    /// Whether this is the whole text.
    pub is_it: &'a (dyn Fn(&str) -> bool + Send + Sync),
    /// The vendor's id of it, where its answer came.
    pub provider_id: Option<&'a str>,
    /// `fu_…`.
    pub followup_id: &'a str,
    /// Which try.
    pub attempt: u32,
}

/// One reply in an email.
pub struct EmailReply {
    /// Who answered.
    pub author: String,
    /// What they said.
    pub text: String,
    /// When, by the workspace's clock.
    pub at_ms: i64,
}

/// An email to one address.
pub struct EmailSend {
    /// What it is.
    pub envelope: Envelope,
    /// The address.
    pub to: String,
    /// The customer's name, if known.
    pub to_name: Option<String>,
    /// The company's display name.
    pub company: String,
    /// BCP 47; the template falls back to English.
    pub locale: Option<String>,
    /// The replies the customer has not seen, oldest first.
    pub replies: Vec<EmailReply>,
    /// Where the conversation goes on.
    pub link: Option<String>,
    /// Stands for the conversation: mail programs show its mails as one thread.
    pub thread: String,
    /// What the company has chosen for its mail.
    pub dress: Dress,
}

/// How an email looks, whom it comes from and where answers go, as far as the company has chosen; the default is the
/// account's sender, the built-in template and no answers.
#[derive(Clone, Default)]
pub struct Dress {
    /// The sender of the company's own domain (E2); `None` = the account's, under the company's name.
    pub sender: Option<OwnSender>,
    /// The company's own template (E1).
    pub template: Option<Arc<OwnTemplate>>,
    /// Logo, colour, footer.
    pub branding: Branding,
    /// Where answers go (E3).
    pub answers: Answers,
}

/// Where answers to an email go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Answers {
    /// To the sender.
    #[default]
    Sender,
    /// To an address that the company reads.
    Company(String),
    /// To us.
    Here {
        /// In Reply-To.
        reply_to: String,
        /// The envelope's sender, where bounces go.
        bounce_to: String,
    },
}

/// The answer of [`TextProvider::find`].
pub type Finding<'a> = Pin<Box<dyn Future<Output = Found> + Send + 'a>>;
/// The answer of [`PushProvider::send`] and its kin.
pub type Sending<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// What each of them says of itself and its account, whatever it carries.
pub trait Provider: Send + Sync + 'static {
    /// Name in deliveries and metrics (`fcm`, `apns`, `capture`).
    fn name(&self) -> &'static str;
    /// What an operator knows of its account.
    fn about(&self) -> About {
        About::named(self.name())
    }
    /// How its account stands.
    fn standing(&self) -> Standing {
        Standing::free(self.about())
    }
    /// Asks the vendor whether it takes the account, without a message to anybody.
    fn check(&self) -> Checking<'_>;
}

/// Carries pushes.
pub trait PushProvider: Provider {
    /// Sends once; never retries by itself.
    fn send<'a>(&'a self, push: &'a PushSend) -> Sending<'a>;
}

/// Carries texts.
pub trait TextProvider: Provider {
    /// What it carries.
    fn ways(&self) -> &'static [Way] {
        &[Way::Xms]
    }
    /// Whom it reaches.
    fn reach(&self) -> Reach {
        Reach::Anybody
    }
    /// Whether a repeat under the same effect key is one effect at the vendor.
    fn idempotent(&self) -> bool;
    /// Whether it says later of each SNS that it took whether it arrived, by a report or when it is asked.
    fn confirms(&self) -> bool {
        false
    }
    /// Whether it counts in bytes of CP949 and carries LMS, to Korean numbers.
    fn is_korean(&self) -> bool {
        false
    }
    /// The longest Korean SMS that it sells, in bytes of CP949 (T4).
    fn max_sms_bytes(&self) -> u16 {
        u16::MAX
    }
    /// The account's default number, and those it may send from (T6).
    fn senders(&self) -> Senders {
        Senders::default()
    }
    /// Sends once.
    fn send<'a>(&'a self, text: &'a TextSend) -> Sending<'a>;
    /// Asks once what it knows of a text that may have left; `None` = it cannot be asked.
    fn find<'a>(&'a self, _: &'a TextQuery<'a>) -> Option<Finding<'a>> {
        None
    }
    /// Whether [`TextProvider::find`] answers.
    fn can_find(&self) -> bool {
        false
    }
}

/// Carries emails.
pub trait EmailProvider: Provider {
    /// Sends once, under the Message-ID that the effect key fixes.
    fn send<'a>(&'a self, email: &'a EmailSend) -> Sending<'a>;
}

/// A vendor's call, as it came in.
pub struct Call<'a> {
    /// What follows the host.
    pub path_and_query: &'a str,
    /// As they came.
    pub headers: &'a HeaderMap,
    /// Everything.
    pub body: &'a [u8],
}

impl Call<'_> {
    /// A header, if it is there once and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next().and_then(|value| value.to_str().ok());
        value.filter(|_| values.next().is_none())
    }
}

/// What a vendor says when it calls.
#[derive(Clone, PartialEq, Eq)]
pub enum Word {
    /// What became of a text.
    Report(Report),
    /// Somebody wrote to one of our numbers.
    Text(InboundText),
    /// What became of an email (E5).
    Mail {
        /// The workspace's name.
        workspace: String,
        /// Whose, and what.
        report: MailReport,
    },
    /// Somebody closed one of our ways to them, or opened it again.
    Block(Block),
    /// Its proof holds, and it cannot be read: for whoever is writing a gateway.
    Unreadable {
        /// Where.
        field: &'static str,
        /// What to do about it.
        mend: &'static str,
    },
}

/// What became of a text (W2).
#[derive(Clone, PartialEq, Eq)]
pub struct Report {
    /// The workspace's name.
    pub workspace: String,
    /// Whose.
    pub followup: FollowupId,
    /// Which try.
    pub attempt: u32,
    /// Where it went, E.164.
    pub to: Option<String>,
    /// The vendor's id of it.
    pub provider_id: Option<String>,
    /// What became of it.
    pub word: ReportWord,
}

/// What became of a text, in a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReportWord {
    /// The vendor has it.
    Taken,
    /// The vendor did not take it: the send's own answer, which came when nobody waited for it any more.
    Refused(Outcome),
    /// It was delivered.
    Delivered,
    /// It failed, with the vendor's code.
    Failed(String),
}

/// A text that somebody wrote to us.
#[derive(Clone, PartialEq, Eq)]
pub struct InboundText {
    /// By what: [`Way::Line`], else [`Way::Xms`].
    pub way: Way,
    /// The vendor's id of it: a repeat is the same text. `None` = it gives none.
    pub id: Option<String>,
    /// Who: E.164, or the LINE user.
    pub from: String,
    /// Our number; of LINE, the account's user id; empty = the vendor does not say which.
    pub to: String,
    /// What.
    pub text: String,
    /// The vendor's own word for it, where it knows it as an opt-out or opt-in.
    pub keyword: Option<String>,
    /// How much of it.
    pub extent: Extent,
}

/// How much of what somebody wrote a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Whole,
    /// What came of a text whose rest did not, from this part on: a word in it is within a sentence.
    From(u8),
}

/// A way that somebody closed to us, or opened again: that way alone (T7).
#[derive(Clone, PartialEq, Eq)]
pub struct Block {
    /// Which.
    pub way: Way,
    /// Who: of LINE, the user's id.
    pub who: String,
    /// Whether it is open again.
    pub is_lifted: bool,
}

/// A call that is not the vendor's, or was made to another URL than it is known by here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The URL it should have been signed for, without its query.
    pub url: String,
}

/// Hears what a vendor has to say later, at `/in/{name}/{account}`.
pub trait Callbacks: Send + Sync + 'static {
    /// The vendor.
    fn name(&self) -> &'static str;
    /// The account, as it is named in the path.
    fn account(&self) -> &str;
    /// How its calls are written: the beginning of `Content-Type`, lower case.
    fn content_type(&self) -> &'static str;
    /// The largest call that it makes.
    fn max_bytes(&self) -> usize {
        64 * 1024
    }
    /// What it expects to hear when all went well.
    fn thanks(&self) -> Thanks {
        Thanks::NoContent
    }
    /// What mends a call whose proof does not hold, for the operator.
    fn mend(&self) -> &'static str;
    /// Reads a call, if it is proven to be the vendor's. It may hold several words, or none that concerns anybody.
    fn read<'a>(&'a self, call: &'a Call<'a>) -> Reading<'a>;
}

/// The answer of [`Callbacks::read`].
pub type Reading<'a> = Pin<Box<dyn Future<Output = Result<Vec<Word>, Refused>> + Send + 'a>>;

/// What a vendor expects to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thanks {
    /// 204.
    NoContent,
    /// 200 without a body.
    Ok,
    /// 200 with an empty instruction in TwiML.
    Twiml,
}

/// What the deployment sends by; `None` = nothing is configured, which is a valid set-up (P12).
#[derive(Clone, Default)]
pub struct Providers {
    /// For Android devices.
    pub fcm: Option<Arc<dyn PushProvider>>,
    /// For Apple devices.
    pub apns: Option<Arc<dyn PushProvider>>,
    /// For texts, in no order: see [`Routes`].
    pub text: Vec<Arc<dyn TextProvider>>,
    /// Which of them carry XMS where.
    pub routes: Routes,
    /// For emails.
    pub email: Option<Arc<dyn EmailProvider>>,
    /// For what vendors say later.
    pub callbacks: Vec<Arc<dyn Callbacks>>,
    /// Those that keep a connection.
    pub trunks: Vec<Arc<dyn Trunk>>,
}

impl Providers {
    /// What the rules need to know of them.
    pub fn services(&self) -> Services {
        Services {
            fcm: self.fcm.is_some(),
            apns: self.apns.is_some(),
            text: self.text.iter().map(|text| service(text.as_ref())).collect(),
            routes: self.routes.clone(),
            email: self.email.as_ref().map(|email| email.name().to_owned()),
        }
    }
}

/// What the rules need to know of a text provider.
fn service(text: &dyn TextProvider) -> TextService {
    TextService {
        name: text.name().to_owned(),
        ways: text.ways().to_vec(),
        reach: text.reach(),
        idempotent: text.idempotent(),
        confirms: text.confirms(),
        is_korean: text.is_korean(),
        max_sms_bytes: text.max_sms_bytes(),
        is_shared: !text.senders().is_everybodys,
    }
}

impl Providers {
    /// The text provider of this name.
    pub fn text_of(&self, name: &str) -> Option<&Arc<dyn TextProvider>> {
        self.text.iter().find(|text| text.name() == name)
    }
}
