//! A store whose commits wait until the test lets them through, and what the loop does meanwhile.

use super::*;
use crate::audit;
use crate::store::{
    AlimtalkChange, AlimtalkRow, AppChange, AppRow, AuditFilter, ConversationRow, Due, FollowupFilter, FollowupRow,
    Health, HistoryEntry, Lane, LastText, LedgerFilter, LedgerLine, MailChange, MailRows, MessageRow, Op, PartRow,
    Reply, Scope, Settled, StoredAnswer, StoredInbound, SuppressionFilter, SuppressionRow, Unit, UsageLine, Verdict,
    WorkspaceId, WorkspaceRow,
};
use backstop_domain::ids::FollowupId;
use backstop_domain::wallet::Month;
use std::sync::Mutex;
use tokio::sync::{Semaphore, watch};

struct Held {
    inner: Arc<dyn Store>,
    /// One for each commit that may go on.
    through: Semaphore,
    /// What the next commit that goes on comes to instead.
    fails: Mutex<Option<StoreError>>,
    begun: watch::Sender<usize>,
    loaded: watch::Sender<usize>,
}

impl Held {
    async fn commits(&self, count: usize) {
        self.begun.subscribe().wait_for(|begun| *begun >= count).await.expect("the store is there");
    }

    /// Lets everything through from now on.
    fn release(&self) {
        self.through.add_permits(1_000);
    }
}

macro_rules! passed_on {
    ($($name:ident($($arg:ident: $ty:ty),*) -> $answer:ty;)*) => {$(
        fn $name(&self, $($arg: $ty),*) -> Reply<'_, $answer> {
            self.inner.$name($($arg),*)
        }
    )*};
}

impl Store for Held {
    fn load(&self, keys: Vec<Key>) -> Reply<'_, Vec<Option<Row>>> {
        Box::pin(async move {
            let rows = self.inner.load(keys).await;
            self.loaded.send_modify(|loaded| *loaded += 1);
            rows
        })
    }

    fn commit(&self, units: Vec<Unit>) -> Reply<'_, Vec<Verdict>> {
        Box::pin(async move {
            self.begun.send_modify(|begun| *begun += 1);
            self.through.acquire().await.expect("open").forget();
            let failure = self.fails.lock().expect("whole").take();
            match failure {
                Some(error) => Err(error),
                None => self.inner.commit(units).await,
            }
        })
    }

    passed_on! {
        due(lane: Lane, until: Ms, limit: usize) -> Vec<Due>;
        pending(after: (Ms, FollowupId), limit: usize) -> Vec<Due>;
        pending_count() -> u64;
        followups(ws: WorkspaceId, filter: FollowupFilter) -> Vec<FollowupRow>;
        history(ws: WorkspaceId, id: FollowupId) -> Vec<HistoryEntry>;
        messages_of(ws: WorkspaceId, of: &str, after: (Ms, String), limit: usize) -> Vec<MessageRow>;
        conversations_of(ws: WorkspaceId, of: &str, after: &str, limit: usize) -> Vec<ConversationRow>;
        create_workspace(row: WorkspaceRow, keys: Vec<([u8; 32], Scope)>) -> Option<WorkspaceId>;
        workspace(id: WorkspaceId) -> Option<WorkspaceRow>;
        workspace_named(name: &str) -> Option<WorkspaceRow>;
        workspaces() -> Vec<WorkspaceRow>;
        update_workspace(row: WorkspaceRow, entry: audit::Entry) -> bool;
        audit(ws: WorkspaceId, filter: AuditFilter) -> Vec<audit::Stored>;
        apps(ws: WorkspaceId) -> Vec<AppRow>;
        alimtalk_templates(ws: WorkspaceId) -> Vec<AlimtalkRow>;
        change_app(ws: WorkspaceId, version: i64, change: AppChange, entry: audit::Entry) -> bool;
        mail(ws: WorkspaceId) -> MailRows;
        change_mail(ws: WorkspaceId, version: i64, change: MailChange, entry: Option<audit::Entry>) -> bool;
        mail_domains_due(until: Ms, limit: usize) -> Vec<WorkspaceId>;
        change_alimtalk_template(ws: WorkspaceId, version: i64, change: AlimtalkChange, entry: audit::Entry) -> bool;
        any_device(ws: WorkspaceId) -> bool;
        suppressions(ws: WorkspaceId, filter: SuppressionFilter) -> Vec<SuppressionRow>;
        ledger(ws: WorkspaceId, filter: LedgerFilter) -> Vec<LedgerLine>;
        usage(ws: WorkspaceId, month: Month) -> Vec<UsageLine>;
        asking(until: Ms, limit: usize) -> Vec<WorkspaceId>;
        currencies() -> Vec<String>;
        texted(number_hash: [u8; 32], sender: &str, since: Ms) -> Vec<LastText>;
        inbound(workspace: WorkspaceId, after: i64, limit: usize) -> Vec<StoredInbound>;
        keep_part(part: PartRow) -> ();
        settle_part(provider: &str, id: &str, delivered: bool) -> Option<Settled>;
        freeze(ws: WorkspaceId, at: Ms) -> ();
        drop_workspace(ws: WorkspaceId) -> ();
        create_key(ws: WorkspaceId, hash: [u8; 32], scope: Scope, at: Ms, who: audit::Who) -> ();
        revoke_key(hash: [u8; 32], at: Ms, who: audit::Who) -> bool;
        key(hash: [u8; 32]) -> Option<(WorkspaceId, Scope)>;
        stored_answer(ws: WorkspaceId, key: &str, not_before: Ms) -> Option<StoredAnswer>;
        keep_answer(ws: WorkspaceId, key: &str, answer: StoredAnswer) -> ();
        retire(texts: Ms, followups: Ms, answers: Ms, limit: usize) -> usize;
        retire_in(ws: WorkspaceId, texts: Ms, followups: Ms, limit: usize) -> usize;
        scrubbed() -> ();
        health() -> Health;
    }
}

/// The rig on a held store. Nothing is held yet: see [`hold`].
async fn held_rig() -> (Arc<Rig>, Arc<Held>) {
    let mut held = None;
    let rig = rig_on(None, |inner| {
        let store = Arc::new(Held {
            inner,
            through: Semaphore::new(0),
            fails: Mutex::default(),
            begun: watch::Sender::new(0),
            loaded: watch::Sender::new(0),
        });
        held = Some(Arc::clone(&store));
        store
    })
    .await;
    (Arc::new(rig), held.expect("made"))
}

/// Lets what `work` commits through, one commit.
async fn at_once<T>(held: &Held, work: impl Future<Output = T>) -> T {
    held.through.add_permits(1);
    work.await
}

/// Enough work for the loop to decide it while a commit runs; answered with what became of it.
fn crowd(rig: &Arc<Rig>) -> tokio::task::JoinHandle<bool> {
    let rig = Arc::clone(rig);
    tokio::spawn(async move {
        let mut all = tokio::task::JoinSet::new();
        for n in 0..super::super::batch::CHUNK {
            let rig = Arc::clone(&rig);
            all.spawn(async move { rig.put(&format!("crowd-{n}")).await.is_ok() });
        }
        all.join_all().await.into_iter().all(|put| put)
    })
}

/// Returns when what came after a commit began is decided. One thread runs everything: from a load to the decision
/// nothing else comes in between.
async fn decided(held: &Held, since: usize) {
    held.loaded.subscribe().wait_for(|loaded| *loaded > since).await.expect("the store is there");
}

/// Invariant 3: nobody is answered before their own commit is durable, also when it was decided before that.
#[tokio::test]
async fn what_is_decided_during_a_commit_is_answered_after_its_own() {
    let (rig, held) = held_rig().await;
    let first = tokio::spawn({
        let rig = Arc::clone(&rig);
        async move { rig.put("lucas").await }
    });
    held.commits(1).await;
    let since = *held.loaded.borrow();
    let crowd = crowd(&rig);
    decided(&held, since).await;
    assert_eq!((*held.begun.borrow(), first.is_finished(), crowd.is_finished()), (1, false, false));
    held.through.add_permits(1);
    first.await.expect("ran").expect("put");
    held.commits(2).await;
    assert!(!crowd.is_finished(), "decided, not durable");
    held.through.add_permits(1);
    assert!(crowd.await.expect("ran"));
    assert_eq!(*held.begun.borrow(), 2, "all of it in one commit");
}

/// Invariants 3 and 5: what was decided on rows that did not come to be is decided again, and answered for what is.
#[tokio::test]
async fn what_rests_on_a_commit_that_failed_is_decided_again() {
    let (rig, held) = held_rig().await;
    at_once(&held, rig.put("lucas")).await.expect("put");
    let first = tokio::spawn({
        let rig = Arc::clone(&rig);
        async move { rig.engine.post_message(&rig.ws, message("m1")).await }
    });
    held.commits(2).await;
    let since = *held.loaded.borrow();
    let again = tokio::spawn({
        let rig = Arc::clone(&rig);
        async move { rig.reply("m1").await }
    });
    let crowd = crowd(&rig);
    decided(&held, since).await;
    *held.fails.lock().expect("whole") = Some(StoreError::Unavailable("the disk is full".into()));
    held.release();
    assert!(matches!(first.await.expect("ran"), Err(EngineError::Store(StoreError::Unavailable(_)))));
    let Posted::Followup { followup_id, .. } = again.await.expect("ran") else { panic!("nobody is online") };
    assert!(crowd.await.expect("ran"));
    let keys = vec![Key::Followup(rig.ws.id, followup_id), Key::Message(rig.ws.id, "m1".into())];
    let rows = rig.store.load(keys).await.expect("a look");
    assert!(rows[0].is_some(), "what was answered is durable");
    assert_eq!(rows[1].as_ref().and_then(Row::as_message).and_then(|m| m.followup), Some(followup_id));
}

/// Invariant 1: a row that another node changed is decided on again, and so is what was decided after it.
#[tokio::test]
async fn what_rests_on_a_commit_in_conflict_is_decided_again() {
    let (rig, held) = held_rig().await;
    at_once(&held, rig.put("lucas")).await.expect("put");
    let key = Key::Customer(rig.ws.id, "lucas".into());
    let row = held.inner.load(vec![key.clone()]).await.expect("a look").remove(0).expect("there");
    held.inner.commit(vec![vec![Op::put(row)]]).await.expect("another node's");
    let named = |name: &str| {
        let (rig, input) = (Arc::clone(&rig), CustomerInput { name: Some(name.into()), ..CustomerInput::default() });
        tokio::spawn(async move { rig.engine.put_customer(&rig.ws, "lucas".into(), input).await.is_ok() })
    };
    let first = named("Lucas");
    held.commits(2).await;
    let since = *held.loaded.borrow();
    let second = named("Luca");
    let crowd = crowd(&rig);
    decided(&held, since).await;
    held.release();
    assert!(first.await.expect("ran") && second.await.expect("ran") && crowd.await.expect("ran"));
    let row = held.inner.load(vec![key]).await.expect("a look").remove(0).expect("there");
    assert_eq!(row.version(), 4, "both of them, after the other node's");
}

/// S8: nothing is decided on what an erasure leaves before it is durable.
#[tokio::test]
async fn nothing_is_decided_while_an_erasure_is_under_way() {
    let (rig, held) = held_rig().await;
    at_once(&held, rig.register("install-1", "token-1", None)).await.expect("registered");
    let erased = tokio::spawn({
        let rig = Arc::clone(&rig);
        async move { rig.engine.erase_customer(&rig.ws, "lucas".into(), audit::Who::cli()).await }
    });
    held.commits(2).await;
    let since = *held.loaded.borrow();
    let put = tokio::spawn({
        let rig = Arc::clone(&rig);
        async move { rig.put("lucas").await.is_ok() }
    });
    let crowd = crowd(&rig);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(*held.loaded.borrow(), since, "nothing is even loaded");
    held.release();
    assert_eq!(erased.await.expect("ran"), Ok(true));
    assert!(put.await.expect("ran") && crowd.await.expect("ran"));
    let key = Key::Customer(rig.ws.id, "lucas".into());
    let row = rig.store.load(vec![key]).await.expect("a look").remove(0).expect("there");
    assert_eq!(row.as_customer().map(|c| (c.version, c.devices.len())), Some((1, 0)), "somebody new");
}
