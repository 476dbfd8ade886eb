//! The store away and back: 503 with a time to come back, nothing half-done, no restart.

use crate::http_support::{Rig, reply};
use backstop_domain::Ms;
use backstop_domain::ids::FollowupId;
use backstop_domain::wallet::Month;
use backstop_server::audit;
use backstop_server::http::Limits;
use backstop_server::store::{
    AlimtalkChange, AlimtalkRow, AppChange, AppRow, AuditFilter, ConversationRow, Due, FollowupFilter, FollowupRow,
    Health, HistoryEntry, Key, Lane, LastText, LedgerFilter, LedgerLine, MailChange, MailRows, MessageRow, PartRow,
    Reply, Row, Scope, Settled, Store, StoreError, StoredAnswer, StoredInbound, SuppressionFilter, SuppressionRow,
    Unit, UsageLine, Verdict, WorkspaceId, WorkspaceRow,
};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A store that can be switched off.
pub struct Switched {
    inner: Arc<dyn Store>,
    off: Arc<AtomicBool>,
}

impl Switched {
    pub fn new(inner: Arc<dyn Store>, off: Arc<AtomicBool>) -> Switched {
        Switched { inner, off }
    }
}

macro_rules! while_on {
    ($(fn $name:ident($($arg:ident: $kind:ty),*) -> $out:ty;)+) => {
        impl Store for Switched {$(
            fn $name(&self, $($arg: $kind),*) -> Reply<'_, $out> {
                if self.off.load(Ordering::Acquire) {
                    Box::pin(async { Err(StoreError::Unavailable("switched off".into())) })
                } else {
                    self.inner.$name($($arg),*)
                }
            }
        )+}
    };
}

while_on! {
    fn load(keys: Vec<Key>) -> Vec<Option<Row>>;
    fn commit(units: Vec<Unit>) -> Vec<Verdict>;
    fn due(lane: Lane, until: Ms, limit: usize) -> Vec<Due>;
    fn pending(after: (Ms, FollowupId), limit: usize) -> Vec<Due>;
    fn pending_count() -> u64;
    fn followups(workspace: WorkspaceId, filter: FollowupFilter) -> Vec<FollowupRow>;
    fn history(workspace: WorkspaceId, id: FollowupId) -> Vec<HistoryEntry>;
    fn messages_of(workspace: WorkspaceId, customer_id: &str, after: (Ms, String), limit: usize) -> Vec<MessageRow>;
    fn conversations_of(workspace: WorkspaceId, customer_id: &str, after: &str, limit: usize) -> Vec<ConversationRow>;
    fn create_workspace(workspace: WorkspaceRow, keys: Vec<([u8; 32], Scope)>) -> Option<WorkspaceId>;
    fn workspace(id: WorkspaceId) -> Option<WorkspaceRow>;
    fn workspace_named(name: &str) -> Option<WorkspaceRow>;
    fn workspaces() -> Vec<WorkspaceRow>;
    fn update_workspace(workspace: WorkspaceRow, entry: audit::Entry) -> bool;
    fn audit(workspace: WorkspaceId, filter: AuditFilter) -> Vec<audit::Stored>;
    fn apps(workspace: WorkspaceId) -> Vec<AppRow>;
    fn alimtalk_templates(workspace: WorkspaceId) -> Vec<AlimtalkRow>;
    fn change_app(workspace: WorkspaceId, version: i64, change: AppChange, entry: audit::Entry) -> bool;
    fn mail(id: WorkspaceId) -> MailRows;
    fn change_mail(id: WorkspaceId, version: i64, change: MailChange, entry: Option<audit::Entry>) -> bool;
    fn mail_domains_due(until: Ms, limit: usize) -> Vec<WorkspaceId>;
    fn change_alimtalk_template(ws: WorkspaceId, version: i64, change: AlimtalkChange, entry: audit::Entry) -> bool;
    fn any_device(workspace: WorkspaceId) -> bool;
    fn suppressions(workspace: WorkspaceId, filter: SuppressionFilter) -> Vec<SuppressionRow>;
    fn ledger(workspace: WorkspaceId, filter: LedgerFilter) -> Vec<LedgerLine>;
    fn usage(workspace: WorkspaceId, month: Month) -> Vec<UsageLine>;
    fn asking(until: Ms, limit: usize) -> Vec<WorkspaceId>;
    fn currencies() -> Vec<String>;
    fn texted(number_hash: [u8; 32], sender: &str, since: Ms) -> Vec<LastText>;
    fn inbound(workspace: WorkspaceId, after: i64, limit: usize) -> Vec<StoredInbound>;
    fn keep_part(part: PartRow) -> ();
    fn settle_part(provider: &str, id: &str, delivered: bool) -> Option<Settled>;
    fn freeze(workspace: WorkspaceId, at: Ms) -> ();
    fn drop_workspace(workspace: WorkspaceId) -> ();
    fn create_key(workspace: WorkspaceId, hash: [u8; 32], scope: Scope, at: Ms, who: audit::Who) -> ();
    fn revoke_key(hash: [u8; 32], at: Ms, who: audit::Who) -> bool;
    fn key(hash: [u8; 32]) -> Option<(WorkspaceId, Scope)>;
    fn stored_answer(workspace: WorkspaceId, key: &str, not_before: Ms) -> Option<StoredAnswer>;
    fn keep_answer(workspace: WorkspaceId, key: &str, answer: StoredAnswer) -> ();
    fn retire(texts_before: Ms, followups_before: Ms, answers_before: Ms, limit: usize) -> usize;
    fn retire_in(workspace: WorkspaceId, texts_before: Ms, followups_before: Ms, limit: usize) -> usize;
    fn scrubbed() -> ();
    fn health() -> Health;
}

/// W4: while nothing can be stored, callers are told so and when to come back; then all goes on, and what was refused
/// did not happen.
#[tokio::test]
async fn a_store_that_is_away_is_a_503_and_nothing_half_done() {
    let off = Arc::new(AtomicBool::new(false));
    let switch = off.clone();
    let rig = Rig::with(Limits::none(), |inner| Arc::new(Switched { inner, off: switch }));
    let shop = rig.shop("shop").await;
    rig.lucas(&shop).await;
    let lucas = rig.phone(&shop, "lucas", "install-1").await;
    let posted = rig.post(&shop, "/v1/messages", reply("m1")).await.expect(202);
    let receipt = rig.receipt(&shop, posted["followup_id"].as_str().unwrap(), &lucas).await;
    off.store(true, Ordering::Release);
    for answer in [
        rig.post(&shop, "/v1/messages", reply("m2")).await,
        rig.acks(&shop, &lucas, &[(&receipt, "displayed")]).await,
        rig.get(&shop, "/v1/followups").await,
        rig.put(&shop, "/v1/settings", json!({})).await,
        rig.put(&shop, "/v1/customers/mia", json!({})).await,
    ] {
        answer.refused(503, "store_unavailable");
        assert!(answer.headers.contains_key("retry-after"));
        assert!(!answer.text.contains("switched off"), "the inside stays inside");
    }
    let ready = rig.call(axum::http::Method::GET, "/readyz", &[], None).await.expect(503);
    assert_eq!(ready["status"], "unavailable");
    // The key is believed for a second; after that nobody knows whether it was revoked.
    rig.advance(1_000);
    rig.get(&shop, "/v1/settings").await.refused(503, "store_unavailable");
    off.store(false, Ordering::Release);
    rig.get(&shop, "/v1/messages/m2").await.refused(404, "not_found");
    rig.get(&shop, "/v1/customers/mia").await.refused(404, "not_found");
    rig.post(&shop, "/v1/messages", reply("m2")).await.expect(202);
    let acked = rig.acks(&shop, &lucas, &[(&receipt, "displayed")]).await.expect(200);
    assert_eq!(acked["results"][0], json!({"result": "accepted", "counted": true}));
    rig.call(axum::http::Method::GET, "/readyz", &[], None).await.expect(200);
}
