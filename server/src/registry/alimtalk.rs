//! Changes of Alimtalk templates, each with the version of its workspace.

use super::{MAX_TRIES, Registry, too_busy};
use crate::alimtalk::{self, TemplateInput, Templates};
use crate::audit::{Entry, Kind, Who};
use crate::store::{AlimtalkChange, StoreError, WorkspaceId, WorkspaceRow};
use crate::workspace::Workspace;
use backstop_wire::FieldError;
use serde_json::json;
use std::sync::Arc;

/// What came of changing an Alimtalk template.
pub enum AlimtalkChanged {
    /// The workspace as it is now.
    Done(Arc<Workspace>),
    /// Nothing changed: all that is wrong with what was given.
    Invalid(Vec<FieldError>),
    /// There is no such workspace, or template, any more.
    Gone,
}

impl Registry {
    /// Puts an Alimtalk template. What is stored already makes no change.
    pub async fn put_template(
        &self,
        id: WorkspaceId,
        template_id: &str,
        input: &TemplateInput,
        who: &Who,
    ) -> Result<AlimtalkChanged, StoreError> {
        for _ in 0..MAX_TRIES {
            let Some(row) = self.store.workspace(id).await? else { return Ok(AlimtalkChanged::Gone) };
            let templates = self.store.alimtalk_templates(id).await?;
            let at = self.clocks.real_ms();
            let template = match alimtalk::plan((id, template_id), input, &templates, at)? {
                alimtalk::Planned::Invalid(errors) => return Ok(AlimtalkChanged::Invalid(errors)),
                alimtalk::Planned::Same => return self.remember(row, at).await.map(AlimtalkChanged::Done),
                alimtalk::Planned::Put(template) => template,
            };
            let detail = alimtalk::told(template_id, input);
            let entry = Entry { at, kind: Kind::AlimtalkTemplateChanged, who: who.clone(), detail };
            if let Some(workspace) = self.change_template(row, AlimtalkChange::Put(template), entry).await? {
                return Ok(AlimtalkChanged::Done(workspace));
            }
        }
        Err(too_busy())
    }

    /// Deletes an Alimtalk template.
    pub async fn delete_template(
        &self,
        id: WorkspaceId,
        template_id: &str,
        who: &Who,
    ) -> Result<AlimtalkChanged, StoreError> {
        for _ in 0..MAX_TRIES {
            let Some(row) = self.store.workspace(id).await? else { return Ok(AlimtalkChanged::Gone) };
            if self.store.alimtalk_templates(id).await?.iter().all(|row| row.template_id != template_id) {
                return Ok(AlimtalkChanged::Gone);
            }
            let (at, detail) = (self.clocks.real_ms(), json!({ "template_id": template_id }));
            let entry = Entry { at, kind: Kind::AlimtalkTemplateDeleted, who: who.clone(), detail };
            let change = AlimtalkChange::Delete(template_id.to_owned());
            if let Some(workspace) = self.change_template(row, change, entry).await? {
                return Ok(AlimtalkChanged::Done(workspace));
            }
        }
        Err(too_busy())
    }

    /// `None` = somebody else was quicker.
    async fn change_template(
        &self,
        row: WorkspaceRow,
        change: AlimtalkChange,
        entry: Entry,
    ) -> Result<Option<Arc<Workspace>>, StoreError> {
        let at = entry.at;
        if !self.store.change_alimtalk_template(row.id, row.version, change, entry).await? {
            return Ok(None);
        }
        self.remember(WorkspaceRow { version: row.version + 1, ..row }, at).await.map(Some)
    }

    /// The templates as they are stored now; the ones in use, if they are.
    pub(super) async fn alimtalk_of(&self, id: WorkspaceId) -> Result<Arc<Templates>, StoreError> {
        let rows = self.store.alimtalk_templates(id).await?;
        let known = self.cached(id).map(|workspace| Arc::clone(&workspace.alimtalk));
        match known.filter(|known| known.rows() == rows) {
            Some(known) => Ok(known),
            None => Templates::open(rows).map(Arc::new),
        }
    }
}
