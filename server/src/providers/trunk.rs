//! What a provider hears on a connection that it keeps itself, and who listens: reports and texts without a request.

use super::Word;
use backstop_domain::ids::FollowupId;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::watch;

/// A part of a text that a vendor has taken, and by which id its report will name it.
#[derive(Clone, PartialEq, Eq)]
pub struct SentPart {
    /// The vendor.
    pub provider: &'static str,
    /// The vendor's id of it.
    pub id: String,
    /// The workspace's name.
    pub workspace: String,
    /// Whose.
    pub followup: FollowupId,
    /// Which try.
    pub attempt: u32,
    /// How many parts the text has.
    pub parts: u16,
}

/// What became of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartState {
    /// It was delivered.
    Delivered,
    /// It failed, with the vendor's code.
    Failed(String),
}

/// It could not be taken in: the vendor should say it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unheard;

/// The answer of an [`Ear`].
pub type Hearing<'a, T> = Pin<Box<dyn Future<Output = Result<T, Unheard>> + Send + 'a>>;
/// What keeps a [`Trunk`] up.
pub type Keeping = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Takes in what a provider hears. Repeats and any order are fine; an answer comes after it is durable.
pub trait Ear: Send + Sync + 'static {
    /// Takes in a word.
    fn hear<'a>(&'a self, vendor: &'static str, word: Word) -> Hearing<'a, ()>;
    /// Keeps which text an id is of.
    fn keep(&self, part: SentPart) -> Hearing<'_, ()>;
    /// Takes in what became of the part of this id: the text is delivered when all parts are, and failed when one is.
    /// `false` = no such part is known.
    fn settle<'a>(&'a self, vendor: &'static str, id: &'a str, state: PartState) -> Hearing<'a, bool>;
}

/// A provider that keeps a connection.
pub trait Trunk: Send + Sync + 'static {
    /// Keeps it up until `stop` becomes true, then ends it in good order, within seconds.
    fn keep(&self, ear: Arc<dyn Ear>, stop: watch::Receiver<bool>) -> Keeping;
}

/// Trunks that are kept; dropped, they are cut.
pub struct Trunks {
    stop: watch::Sender<bool>,
    tasks: tokio::task::JoinSet<()>,
}

impl Trunks {
    /// Keeps each in a task of its own.
    pub fn start(trunks: &[Arc<dyn Trunk>], ear: &Arc<dyn Ear>) -> Trunks {
        let (stop, stopped) = watch::channel(false);
        let mut tasks = tokio::task::JoinSet::new();
        for trunk in trunks {
            tasks.spawn(trunk.keep(Arc::clone(ear), stopped.clone()));
        }
        Trunks { stop, tasks }
    }

    /// Ends them all in good order.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
    }
}
