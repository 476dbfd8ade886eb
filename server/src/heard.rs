//! What vendors say on a connection of their own, taken in as if they had called.

use crate::http::{Api, take};
use crate::providers::{Ear, Hearing, PartState, Report, ReportWord, SentPart, Trunks, Unheard, Word};
use crate::store::{PartRow, StoreError};
use std::sync::Arc;

/// Hears for every trunk of the server.
pub(crate) struct Heard {
    api: Arc<Api>,
}

impl Heard {
    pub(crate) fn new(api: Arc<Api>) -> Heard {
        Heard { api }
    }

    /// Keeps the providers' connections, and hears for them.
    pub(crate) fn listen(self: &Arc<Self>) -> Trunks {
        let ear: Arc<dyn Ear> = Arc::clone(self) as Arc<dyn Ear>;
        Trunks::start(&self.api.providers.trunks, &ear)
    }

    async fn keep_part(&self, part: SentPart) -> Result<(), Unheard> {
        let SentPart { provider, id, workspace, followup, attempt, parts } = part;
        let workspace = self.api.registry.by_name(&workspace).await.map_err(|_| Unheard)?.ok_or(Unheard)?;
        let provider = provider.to_owned();
        let row = PartRow { provider, id, workspace: workspace.id, followup, attempt, parts };
        self.api.store.keep_part(row).await.map_err(unheard)
    }

    async fn settle_part(&self, vendor: &'static str, id: &str, state: PartState) -> Result<bool, Unheard> {
        let delivered = state == PartState::Delivered;
        let settled = self.api.store.settle_part(vendor, id, delivered).await.map_err(unheard)?;
        let Some(settled) = settled else { return Ok(false) };
        let word = match state {
            PartState::Failed(code) => ReportWord::Failed(code),
            PartState::Delivered if settled.failed || settled.delivered < settled.part.parts => return Ok(true),
            PartState::Delivered => ReportWord::Delivered,
        };
        let workspace = self.api.registry.by_id(settled.part.workspace).await.map_err(|_| Unheard)?;
        let Some(workspace) = workspace else { return Ok(true) };
        let report = Report {
            workspace: workspace.name.clone(),
            followup: settled.part.followup,
            attempt: settled.part.attempt,
            to: None,
            provider_id: None,
            word,
        };
        self.hear(vendor, Word::Report(report)).await.map(|()| true)
    }
}

impl Ear for Heard {
    fn hear<'a>(&'a self, vendor: &'static str, word: Word) -> Hearing<'a, ()> {
        Box::pin(async move { take(&self.api, vendor, word).await.map_err(|_| Unheard) })
    }

    fn keep(&self, part: SentPart) -> Hearing<'_, ()> {
        Box::pin(self.keep_part(part))
    }

    fn settle<'a>(&'a self, vendor: &'static str, id: &'a str, state: PartState) -> Hearing<'a, bool> {
        Box::pin(self.settle_part(vendor, id, state))
    }
}

fn unheard(error: StoreError) -> Unheard {
    tracing::warn!(%error, "what a vendor said was not stored: it is asked to say it again");
    Unheard
}
