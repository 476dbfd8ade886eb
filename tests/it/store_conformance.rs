//! What every engine of storage does: each engine runs this suite, unchanged.

use crate::store_inbound::answers_are_listed_in_the_order_of_their_coming;
use crate::store_rows::{
    T0, acked, conversation, customer, device, entry, failed, followup, message, put, staged, workspace,
};
use backstop_domain::Ms;
use backstop_domain::followup::{Reason, Stage};
use backstop_domain::ids::{DeviceId, FollowupId, SuppressionId};
use backstop_domain::text::{Country, Link};
use backstop_domain::wallet::{self, AutoCharge, Change, Charge, Kind as Paid, Month, Terms, Wallet};
use backstop_server::audit::{Entry, Kind, Stored, Who};
use backstop_server::store::{
    AuditFilter, Due, FollowupFilter, FollowupRow, Key, Lane, LedgerFilter, LedgerLine, LinkKey, LinkRow, MessageRow,
    Op, OptOutSource, PartRow, Row, Scope, SettingsSet, Store, StoredAnswer, SuppressionChannel, SuppressionFilter,
    SuppressionRow, SuppressionStanding, Texted, TopUpRow, Unit, UsageLine, Verdict, WalletRow, WorkspaceId,
};
use std::sync::Arc;

use Verdict::{Conflict, Done};

/// Runs the suite. Each part makes workspaces of its own; the store may hold others.
pub async fn exercise(store: Arc<dyn Store>) {
    let store = &*store;
    rows_read_back_as_written(store).await;
    a_version_is_replaced_once(store).await;
    a_unit_happens_whole_or_not(store).await;
    units_of_a_call_build_on_each_other(store).await;
    unique_ids_are_taken_once(store).await;
    nothing_is_found_across_workspaces(store).await;
    nothing_is_written_into_a_dropped_workspace(store).await;
    links_are_found_by_their_key_alone(store).await;
    the_timer_sees_what_is_due(store).await;
    a_frozen_clock_never_goes_back(store).await;
    open_follow_ups_are_the_newest_200(store).await;
    lists_filter_and_page(store).await;
    watching_rows_are_in_no_list(store).await;
    workspaces_and_keys(store).await;
    answers_stay_for_a_day(store).await;
    export_pages_through_all_messages(store).await;
    erasing_leaves_no_customer(store).await;
    retention_takes_the_oldest(store).await;
    opt_outs_outlive_the_customer(store).await;
    whom_a_stop_is_for(store).await;
    what_a_receipt_names(store).await;
    answers_are_listed_in_the_order_of_their_coming(store).await;
    money_is_told_in_entries(store).await;
    dropping_takes_everything_of_one(store).await;
    health_is_a_durable_write(store).await;
}

pub(crate) async fn new_workspace(store: &dyn Store, name: &str) -> WorkspaceId {
    store.create_workspace(workspace(name), Vec::new()).await.unwrap().unwrap()
}

pub(crate) async fn commit(store: &dyn Store, unit: Unit) -> Verdict {
    store.commit(vec![unit]).await.unwrap()[0]
}

async fn load(store: &dyn Store, key: Key) -> Option<Row> {
    store.load(vec![key]).await.unwrap().remove(0)
}

async fn load_followup(store: &dyn Store, ws: WorkspaceId, id: FollowupId) -> FollowupRow {
    match load(store, Key::Followup(ws, id)).await {
        Some(Row::Followup(row)) => std::sync::Arc::unwrap_or_clone(row),
        other => panic!("{other:?}"),
    }
}

/// T8: a short link is found without its workspace, changes once a version, and goes with the texts and its workspace.
async fn links_are_found_by_their_key_alone(store: &dyn Store) {
    let ws = new_workspace(store, "links").await;
    let key = |made_at_s: i64, n: u8| LinkKey { made_at_s, hash: [n; 16] };
    let link = |key| LinkRow { workspace: ws, key, version: 0, followup: FollowupId(5), link: Link::new(T0) };
    let first = link(key(T0 / 1_000, 1));
    assert_eq!(commit(store, vec![Op::put(Row::Link(first.clone()))]).await, Done);
    let stored = LinkRow { version: 1, ..first.clone() };
    assert_eq!(load(store, Key::Link(first.key)).await, Some(Row::Link(stored.clone())));
    assert_eq!(commit(store, vec![Op::put(Row::Link(first.clone()))]).await, Conflict);
    let used = LinkRow { link: Link { login_used_at: Some(T0 + 1), ..stored.link }, ..stored };
    assert_eq!(commit(store, vec![Op::put(Row::Link(used.clone()))]).await, Done);
    assert_eq!(commit(store, vec![Op::put(Row::Link(used.clone()))]).await, Conflict, "used once");
    assert_eq!(load(store, Key::Link(key(T0 / 1_000, 2))).await, None);
    assert_eq!(load(store, Key::Link(key(T0 / 1_000 + 1, 1))).await, None);
    let (old, older) = (link(key(11, 3)), link(key(10, 4)));
    let unit = vec![Op::put(Row::Link(old.clone())), Op::put(Row::Link(older.clone()))];
    assert_eq!(commit(store, unit).await, Done);
    assert_eq!(store.retire(11_999, 0, 0, 10).await.unwrap(), 1);
    assert_eq!(load(store, Key::Link(older.key)).await, None);
    assert!(load(store, Key::Link(old.key)).await.is_some(), "both sides of the second");
    assert_eq!(store.retire(12_000, 0, 0, 10).await.unwrap(), 1);
    store.drop_workspace(ws).await.unwrap();
    assert_eq!(load(store, Key::Link(first.key)).await, None);
}

/// Every field of every row, and the answers of the keys that only find.
async fn rows_read_back_as_written(store: &dyn Store) {
    let ws = new_workspace(store, "rows").await;
    let mut c = customer(ws, "lucas");
    let mut v = conversation(ws, "chat", "lucas");
    let mut m = message(ws, "m-1", "lucas");
    let mut f = followup(ws, "lucas", T0);
    let mut d = device(ws, "install");
    m.followup = Some(f.id);
    let unit = vec![put(c.clone()), put(v.clone()), put(m.clone()), put(f.clone()), put(d.clone())];
    assert_eq!(commit(store, unit).await, Done);
    let keys = vec![
        Key::Device(ws, d.id),
        Key::Customer(ws, "lucas".into()),
        Key::Conversation(ws, "chat".into(), "lucas".into()),
        Key::Message(ws, "m-1".into()),
        Key::Followup(ws, f.id),
        Key::Install(ws, "install".into()),
        Key::Token(ws, d.token_hash),
        Key::Open(ws, "lucas".into()),
        Key::Open(ws, "nobody".into()),
        Key::Customer(ws, "Lucas".into()),
        Key::Conversation(ws, "chat".into(), "maria".into()),
        Key::Message(ws, "m-1 ".into()),
    ];
    (c.version, v.version, m.version, f.version, d.version) = (1, 1, 1, 1, 1);
    let expected = vec![
        Some(Row::Device(d.clone())),
        Some(Row::Customer(c)),
        Some(Row::Conversation(v)),
        Some(Row::Message(m)),
        Some(Row::Followup(Arc::new(f.clone()))),
        Some(Row::Found(d.id)),
        Some(Row::Found(d.id)),
        Some(Row::Open(vec![f.id])),
        Some(Row::Open(vec![])),
        None,
        None,
        None,
    ];
    assert_eq!(store.load(keys).await.unwrap(), expected);

    // And with every option the other way.
    let mut bare = device(ws, "bare");
    (bare.customer_id, bare.topic, bare.environment, bare.wire) = (None, None, None, vec![]);
    bare.standing = backstop_domain::device::Standing::Registered;
    let mut stranger = customer(ws, "Ünïcode \u{0} \"'); --");
    (stranger.contact, stranger.locale, stranger.time_zone, stranger.engaged_at) = (None, None, None, None);
    assert_eq!(commit(store, vec![put(bare.clone()), put(stranger.clone())]).await, Done);
    (bare.version, stranger.version) = (1, 1);
    assert_eq!(load(store, Key::Device(ws, bare.id)).await, Some(Row::Device(bare)));
    let key = Key::Customer(ws, stranger.customer_id.clone());
    assert_eq!(load(store, key).await, Some(Row::Customer(stranger)));
}

/// P8, invariant 1: of two that loaded the same version, one writes.
async fn a_version_is_replaced_once(store: &dyn Store) {
    let ws = new_workspace(store, "versions").await;
    let row = followup(ws, "lucas", T0);
    let id = row.id;
    assert_eq!(commit(store, vec![put(row.clone())]).await, Done);
    assert_eq!(commit(store, vec![put(row)]).await, Conflict, "it exists already");
    let loaded = load_followup(store, ws, id).await;
    let by_ack = vec![put(acked(loaded.clone()))];
    let by_timer = vec![put(staged(loaded.clone(), failed(T0 + 30_000), None))];
    assert_eq!(store.commit(vec![by_ack, by_timer]).await.unwrap(), [Done, Conflict]);
    let after = load_followup(store, ws, id).await;
    assert_eq!((after.version, after.state.public_state().unwrap().as_str()), (2, "acked"));

    for stale in [0, 1, 3] {
        let row = FollowupRow { version: stale, ..after.clone() };
        assert_eq!(commit(store, vec![put(row)]).await, Conflict, "version {stale}");
    }
    let d = device(ws, "install");
    assert_eq!(commit(store, vec![put(d.clone())]).await, Done);
    assert_eq!(commit(store, vec![Op::DeleteDevice(ws, d.id, 2)]).await, Conflict);
    assert_eq!(commit(store, vec![Op::DeleteDevice(ws, d.id, 1)]).await, Done);
    assert_eq!(commit(store, vec![Op::DeleteDevice(ws, d.id, 1)]).await, Conflict);
    let absent = backstop_server::store::CustomerRow { version: 1, ..customer(ws, "absent") };
    assert_eq!(commit(store, vec![put(absent)]).await, Conflict, "there is no version 1 to replace");
}

/// W4: a conflict anywhere in a unit leaves nothing of it, and all of its neighbours.
async fn a_unit_happens_whole_or_not(store: &dyn Store) {
    let ws = new_workspace(store, "units").await;
    let f = followup(ws, "lucas", T0);
    let taken = message(ws, "taken", "lucas");
    assert_eq!(commit(store, vec![put(taken.clone())]).await, Done);
    let before = vec![put(customer(ws, "before"))];
    let half = vec![
        put(customer(ws, "half")),
        put(f.clone()),
        Op::History(ws, f.id, entry("half")),
        Op::Erase(ws, "lucas".into()),
        put(taken),
        put(conversation(ws, "half", "half")),
    ];
    let after = vec![put(customer(ws, "after")), Op::History(ws, f.id, entry("after"))];
    assert_eq!(store.commit(vec![before, half, after]).await.unwrap(), [Done, Conflict, Done]);
    assert!(load(store, Key::Customer(ws, "before".into())).await.is_some());
    assert!(load(store, Key::Customer(ws, "after".into())).await.is_some());
    assert_eq!(load(store, Key::Customer(ws, "half".into())).await, None);
    assert_eq!(load(store, Key::Conversation(ws, "half".into(), "half".into())).await, None);
    assert_eq!(load(store, Key::Followup(ws, f.id)).await, None);
    assert_eq!(store.history(ws, f.id).await.unwrap(), [entry("after")]);
    let Some(Row::Message(taken)) = load(store, Key::Message(ws, "taken".into())).await else { panic!() };
    assert_eq!((taken.version, taken.body.is_some()), (1, true));
    assert_eq!(store.commit(Vec::new()).await.unwrap(), []);
    assert_eq!(store.commit(vec![Vec::new()]).await.unwrap(), [Done]);
}

/// A later unit sees what an earlier one of the same call wrote.
async fn units_of_a_call_build_on_each_other(store: &dyn Store) {
    let ws = new_workspace(store, "chain").await;
    let first = followup(ws, "lucas", T0);
    let second = FollowupRow { version: 1, ..acked(first.clone()) };
    let stale = FollowupRow { version: 1, ..first.clone() };
    let third = FollowupRow { version: 2, wake: first.wake, ..second.clone() };
    let units = [first.clone(), second, stale, third];
    let units = units.into_iter().enumerate();
    let units = units.map(|(n, row)| vec![put(row), Op::History(ws, first.id, entry(&n.to_string()))]).collect();
    assert_eq!(store.commit(units).await.unwrap(), [Done, Done, Conflict, Done]);
    assert_eq!(load_followup(store, ws, first.id).await.version, 3);
    let history: Vec<_> = store.history(ws, first.id).await.unwrap().into_iter().map(|entry| entry.event).collect();
    assert_eq!(history, ["0", "1", "3"]);
}

/// C2, D9: an `install_id`, a push token and a message id belong to one.
async fn unique_ids_are_taken_once(store: &dyn Store) {
    let ws = new_workspace(store, "unique").await;
    let (a, b) = (device(ws, "a"), device(ws, "b"));
    assert_eq!(commit(store, vec![put(a.clone())]).await, Done);
    let same_install = backstop_server::store::DeviceRow { install_id: "a".into(), ..b.clone() };
    let same_token = backstop_server::store::DeviceRow { token_hash: a.token_hash, ..b.clone() };
    assert_eq!(commit(store, vec![put(same_install.clone())]).await, Conflict);
    assert_eq!(commit(store, vec![put(same_token.clone())]).await, Conflict);
    assert_eq!(commit(store, vec![put(b.clone())]).await, Done);
    for taken in [same_install, same_token] {
        let change = vec![put(customer(ws, "lucas")), put(backstop_server::store::DeviceRow { version: 1, ..taken })];
        assert_eq!(commit(store, change).await, Conflict, "an update may take no other's id either");
        assert_eq!(load(store, Key::Customer(ws, "lucas".into())).await, None);
    }
    // A token moves in one unit: off the old device, onto the new one.
    let moved = backstop_server::store::DeviceRow { version: 1, token_hash: a.token_hash, ..b.clone() };
    assert_eq!(commit(store, vec![Op::DeleteDevice(ws, a.id, 1), put(moved)]).await, Done);
    assert_eq!(load(store, Key::Token(ws, a.token_hash)).await, Some(Row::Found(b.id)));
    assert_eq!(load(store, Key::Install(ws, "a".into())).await, None);
}

/// T8 of the threat model, W4: the same ids in a second workspace are other rows; ids of ours are in one workspace.
async fn nothing_is_found_across_workspaces(store: &dyn Store) {
    let (one, two) = (new_workspace(store, "mine").await, new_workspace(store, "theirs").await);
    let (f, d) = (followup(one, "lucas", T0), device(one, "install"));
    let mut m = message(one, "m-1", "lucas");
    m.followup = Some(f.id);
    let rows = vec![
        put(customer(one, "lucas")),
        put(conversation(one, "chat", "lucas")),
        put(m),
        put(f.clone()),
        put(d.clone()),
        Op::History(one, f.id, entry("mine")),
    ];
    assert_eq!(commit(store, rows).await, Done);
    let keys = |ws| {
        vec![
            Key::Customer(ws, "lucas".into()),
            Key::Conversation(ws, "chat".into(), "lucas".into()),
            Key::Message(ws, "m-1".into()),
            Key::Followup(ws, f.id),
            Key::Device(ws, d.id),
            Key::Install(ws, "install".into()),
            Key::Token(ws, d.token_hash),
        ]
    };
    assert!(store.load(keys(two)).await.unwrap().iter().all(Option::is_none));
    assert_eq!(load(store, Key::Open(two, "lucas".into())).await, Some(Row::Open(vec![])));
    let filter = FollowupFilter { limit: 10, ..FollowupFilter::default() };
    let of = |key: &str| Some(key.to_owned());
    for filter in [
        filter.clone(),
        FollowupFilter { customer_id: of("lucas"), ..filter.clone() },
        FollowupFilter { conversation_id: of("chat"), ..filter.clone() },
        FollowupFilter { message_id: of("m-1"), ..filter.clone() },
        FollowupFilter { state: of("sending"), ..filter.clone() },
    ] {
        assert_eq!(store.followups(one, filter.clone()).await.unwrap().len(), 1, "{filter:?}");
        assert_eq!(store.followups(two, filter).await.unwrap(), []);
    }
    assert_eq!(store.history(two, f.id).await.unwrap(), []);
    assert_eq!(store.messages_of(two, "lucas", (0, String::new()), 10).await.unwrap(), []);
    let theirs =
        vec![put(customer(two, "lucas")), put(conversation(two, "chat", "lucas")), put(message(two, "m-1", "lucas"))];
    assert_eq!(commit(store, theirs).await, Done, "the same callers' ids");

    // Writing under a foreign workspace finds nothing either.
    let foreign = FollowupRow { workspace: two, version: 1, ..f.clone() };
    assert_eq!(commit(store, vec![put(foreign)]).await, Conflict);
    let foreign = backstop_server::store::DeviceRow { workspace: two, version: 1, ..d.clone() };
    assert_eq!(commit(store, vec![put(foreign)]).await, Conflict);
    assert_eq!(commit(store, vec![Op::DeleteDevice(two, d.id, 1)]).await, Conflict);
    let same_id = FollowupRow { workspace: two, ..f.clone() };
    assert_eq!(commit(store, vec![put(same_id)]).await, Conflict, "ids of ours are unique in the deployment");
    assert_eq!(commit(store, vec![Op::Erase(two, "lucas".into())]).await, Done);
    store.freeze(two, T0).await.unwrap();
    store.drop_workspace(two).await.unwrap();
    assert!(store.load(keys(one)).await.unwrap().iter().all(Option::is_some), "nothing of the first was touched");
    assert_eq!(load_followup(store, one, f.id).await.version, 1);
    assert_eq!(store.history(one, f.id).await.unwrap().len(), 1);
}

/// A unit that was decided before a workspace was dropped brings nothing of it back.
async fn nothing_is_written_into_a_dropped_workspace(store: &dyn Store) {
    let (gone, other) = (new_workspace(store, "gone").await, new_workspace(store, "other").await);
    store.drop_workspace(gone).await.unwrap();
    let f = followup(gone, "lucas", T0);
    let units = vec![
        vec![put(customer(gone, "lucas"))],
        vec![put(customer(other, "lucas")), put(f.clone())],
        vec![Op::History(gone, f.id, entry("late"))],
        vec![put(customer(other, "maria"))],
    ];
    assert_eq!(store.commit(units).await.unwrap(), [Conflict, Conflict, Conflict, Done]);
    assert_eq!(load(store, Key::Customer(other, "lucas".into())).await, None);
}

fn ids(due: &[Due]) -> Vec<FollowupId> {
    due.iter().map(|due| due.id).collect()
}

/// D8, P3: one index serves every wake-up, in order, and pages.
async fn the_timer_sees_what_is_due(store: &dyn Store) {
    let ws = new_workspace(store, "timer").await;
    let before = store.pending_count().await.unwrap();
    // Far from every other part's rows.
    let start: Ms = T0 + 1_000_000_000;
    let at = |n: Ms| followup(ws, "lucas", start + n);
    let (late, early, twin_a, twin_b, never) = (at(500), at(0), at(200), at(200), acked(at(1)));
    let rows = [&late, &early, &twin_a, &twin_b, &never].map(|row| vec![put(row.clone())]);
    assert_eq!(store.commit(rows.to_vec()).await.unwrap(), [Done; 5]);
    assert_eq!(store.pending_count().await.unwrap(), before + 4);
    let due = |until: Ms, limit| store.due(Lane::Real, start + 30_000 + until, limit);
    let mine = |due: Vec<Due>| due.into_iter().filter(|due| due.workspace == ws).collect::<Vec<_>>();
    assert_eq!(mine(due(-1, 1000).await.unwrap()), []);
    let first = mine(due(0, 1000).await.unwrap());
    assert_eq!(first, [Due { workspace: ws, id: early.id, wake: early.wake.unwrap() }], "at its instant, not after it");
    let all = mine(due(500, 1000).await.unwrap());
    assert_eq!(ids(&all), [early.id, twin_a.id, twin_b.id, late.id]);

    let mut paged = Vec::new();
    let mut after = (start + 29_999, FollowupId(i64::MAX));
    while let Some(next) = store.pending(after, 1).await.unwrap().first() {
        paged.push(next.id);
        after = (next.wake.at, next.id);
    }
    assert_eq!(paged, [early.id, twin_a.id, twin_b.id, late.id]);

    // A wake-up that moves, moves in the index; one that ends, ends there.
    let moved = FollowupRow { version: 1, ..staged(early.clone(), Stage::Waiting, Some(start + 40_000)) };
    let ended = FollowupRow { version: 1, ..acked(twin_a.clone()) };
    let noted = FollowupRow { version: 1, ..late.clone() };
    let units = vec![vec![put(moved)], vec![put(ended)], vec![put(noted)]];
    assert_eq!(store.commit(units).await.unwrap(), [Done; 3]);
    assert_eq!(ids(&mine(due(20_000, 1000).await.unwrap())), [twin_b.id, late.id, early.id]);
    assert_eq!(store.pending_count().await.unwrap(), before + 3);
    store.drop_workspace(ws).await.unwrap();
    assert_eq!(store.pending_count().await.unwrap(), before);
}

/// The sandbox's clock: stored, moves on only, and takes its wake-ups with it.
async fn a_frozen_clock_never_goes_back(store: &dyn Store) {
    let (ws, real) = (new_workspace(store, "frozen").await, new_workspace(store, "running").await);
    let (old, neighbour) = (followup(ws, "lucas", T0), followup(real, "lucas", T0));
    assert_eq!(commit(store, vec![put(old.clone())]).await, Done);
    assert_eq!(commit(store, vec![put(neighbour.clone())]).await, Done);
    store.freeze(ws, T0 + 10).await.unwrap();
    let new = followup(ws, "lucas", T0 + 5);
    assert_eq!(commit(store, vec![put(new.clone())]).await, Done);
    let updated = FollowupRow { version: 1, ..old.clone() };
    assert_eq!(commit(store, vec![put(updated)]).await, Done, "what was loaded before the freeze still fits");
    let frozen = store.due(Lane::Frozen(ws), Ms::MAX, 10).await.unwrap();
    assert_eq!(ids(&frozen), [old.id, new.id]);
    let running = store.due(Lane::Real, Ms::MAX, 100_000).await.unwrap();
    assert!(running.iter().all(|due| due.workspace != ws));
    assert!(running.iter().any(|due| due.id == neighbour.id));
    let pending = store.pending((0, FollowupId(0)), 100_000).await.unwrap();
    assert!(pending.iter().all(|due| due.workspace != ws));
    for (asked, stands) in [(T0 + 5, T0 + 10), (T0 + 10, T0 + 10), (T0 + 11, T0 + 11), (0, T0 + 11)] {
        store.freeze(ws, asked).await.unwrap();
        assert_eq!(store.workspace(ws).await.unwrap().unwrap().frozen_at, Some(stands));
    }
    assert_eq!(store.workspace(real).await.unwrap().unwrap().frozen_at, None);
    store.freeze(WorkspaceId(i64::MAX), T0).await.unwrap();
}

/// P9: what an ack may settle.
async fn open_follow_ups_are_the_newest_200(store: &dyn Store) {
    let ws = new_workspace(store, "open").await;
    let open: Vec<_> = (0..203).map(|n| followup(ws, "lucas", T0 + n)).collect();
    let closed = acked(followup(ws, "lucas", T0 + 500));
    let others = followup(ws, "maria", T0 + 501);
    let units = open.iter().chain([&closed, &others]).map(|row| vec![put(row.clone())]).collect();
    store.commit(units).await.unwrap();
    let expected: Vec<_> = open.iter().rev().take(200).map(|row| row.id).collect();
    assert_eq!(load(store, Key::Open(ws, "lucas".into())).await, Some(Row::Open(expected)));
}

async fn listed(store: &dyn Store, ws: WorkspaceId, filter: FollowupFilter) -> Vec<FollowupId> {
    store.followups(ws, filter).await.unwrap().into_iter().map(|row| row.id).collect()
}

/// S6: newest first, every filter, alone and together, page by page.
async fn lists_filter_and_page(store: &dyn Store) {
    let ws = new_workspace(store, "lists").await;
    let a = followup(ws, "lucas", T0);
    let b = acked(followup(ws, "lucas", T0 + 1));
    let c = staged(followup(ws, "maria", T0 + 2), failed(T0), None);
    let cancelled = Stage::Cancelled { at: T0, why: Reason::CustomerRead };
    let d = FollowupRow { conversation_id: "second".into(), ..staged(followup(ws, "lucas", T0 + 3), cancelled, None) };
    let mut m = message(ws, "m-b", "lucas");
    m.followup = Some(b.id);
    let mut unit: Unit = [&a, &b, &c, &d].map(|row| put(row.clone())).to_vec();
    unit.extend([put(m), put(conversation(ws, "chat", "lucas")), put(conversation(ws, "chat", "maria"))]);
    unit.push(put(conversation(ws, "second", "lucas")));
    assert_eq!(commit(store, unit).await, Done);
    let all = FollowupFilter { limit: 50, ..FollowupFilter::default() };
    let of = |key: &str| Some(key.to_owned());
    let by_state = |state| FollowupFilter { state: of(state), ..all.clone() };
    let lucas = FollowupFilter { customer_id: of("lucas"), ..all.clone() };
    let chat = FollowupFilter { conversation_id: of("chat"), ..all.clone() };
    let b_only = FollowupFilter { message_id: of("m-b"), ..all.clone() };
    let cases = [
        (all.clone(), vec![d.id, c.id, b.id, a.id]),
        (lucas.clone(), vec![d.id, b.id, a.id]),
        (chat.clone(), vec![c.id, b.id, a.id]),
        (FollowupFilter { conversation_id: of("second"), ..lucas.clone() }, vec![d.id]),
        (FollowupFilter { conversation_id: of("second"), customer_id: of("maria"), ..all.clone() }, vec![]),
        (b_only.clone(), vec![b.id]),
        (FollowupFilter { customer_id: of("maria"), ..b_only.clone() }, vec![]),
        (FollowupFilter { conversation_id: of("chat"), state: of("acked"), ..b_only }, vec![b.id]),
        (by_state("sending"), vec![a.id]),
        (by_state("acked"), vec![b.id]),
        (by_state("failed"), vec![c.id]),
        (by_state("cancelled"), vec![d.id]),
        (by_state("' OR 1=1 --"), vec![]),
        (FollowupFilter { state: of("cancelled"), ..lucas.clone() }, vec![d.id]),
        (FollowupFilter { state: of("failed"), ..chat }, vec![c.id]),
        (FollowupFilter { after: Some(c.id), ..all.clone() }, vec![b.id, a.id]),
        (FollowupFilter { after: Some(b.id), ..by_state("failed") }, vec![]),
        (FollowupFilter { limit: 2, ..all.clone() }, vec![d.id, c.id]),
        (FollowupFilter { limit: 1, after: Some(d.id), ..lucas }, vec![b.id]),
    ];
    for (filter, expected) in cases {
        assert_eq!(listed(store, ws, filter.clone()).await, expected, "{filter:?}");
    }
    let rows = store.followups(ws, all).await.unwrap();
    assert_eq!(rows[2], FollowupRow { version: 1, ..b });
}

/// D2: a row that only watches is not a follow-up yet.
async fn watching_rows_are_in_no_list(store: &dyn Store) {
    let ws = new_workspace(store, "watching").await;
    let row = staged(followup(ws, "lucas", T0), Stage::Watching, Some(T0 + 60_000));
    assert_eq!(commit(store, vec![put(row.clone())]).await, Done);
    let filter = FollowupFilter { limit: 10, ..FollowupFilter::default() };
    assert_eq!(listed(store, ws, filter.clone()).await, []);
    assert_eq!(load(store, Key::Open(ws, "lucas".into())).await, Some(Row::Open(vec![row.id])));
    let started = FollowupRow { version: 1, ..staged(row.clone(), Stage::Waiting, Some(T0 + 90_000)) };
    assert_eq!(commit(store, vec![put(started)]).await, Done);
    assert_eq!(listed(store, ws, filter).await, [row.id]);
}

/// Keys open their own workspace with their own scope, until revoked.
async fn workspaces_and_keys(store: &dyn Store) {
    let row = workspace("acme");
    let keys = vec![([1; 32], Scope::Server), ([2; 32], Scope::App)];
    let id = store.create_workspace(row.clone(), keys).await.unwrap().unwrap();
    assert_eq!(store.create_workspace(row.clone(), vec![([3; 32], Scope::Read)]).await.unwrap(), None);
    assert_eq!(store.key([3; 32]).await.unwrap(), None, "a refused workspace leaves no key");
    assert_eq!(store.create_workspace(workspace("acme-2"), vec![([1; 32], Scope::Read)]).await.unwrap(), None);
    assert_eq!(store.workspace_named("acme-2").await.unwrap(), None, "a taken key leaves no workspace");
    let mut stored = backstop_server::store::WorkspaceRow { id, ..row };
    assert_eq!(store.workspace(id).await.unwrap(), Some(stored.clone()));
    assert_eq!(store.workspace_named("acme").await.unwrap(), Some(stored.clone()));
    assert_eq!(store.workspace_named("Acme").await.unwrap(), None);
    assert!(store.workspaces().await.unwrap().contains(&stored));
    stored.settings = "{}".into();
    stored.identity_secrets = vec![vec![9; 80]];
    stored.trusted_keys.clear();
    let set = SettingsSet { version: 2, at: T0, who: Who::key(&[1; 32], Some("Mina".into())) };
    stored.settings_set = Some(set);
    let line = |n: i64| {
        let (kind, who) = (Kind::SettingsChanged, Who::cli());
        Entry { at: T0 + n, kind, who, detail: serde_json::json!({ "n": n }) }
    };
    assert!(store.update_workspace(stored.clone(), line(1)).await.unwrap());
    assert!(!store.update_workspace(stored.clone(), line(2)).await.unwrap(), "what was read is not there any more");
    stored.version += 1;
    assert_eq!(store.workspace(id).await.unwrap(), Some(stored.clone()));
    let all = AuditFilter { limit: 10, ..AuditFilter::default() };
    let said = store.audit(id, all).await.unwrap();
    assert_eq!(said.iter().map(|row| &row.entry).collect::<Vec<_>>(), [&line(1)], "refused: not done, not said");

    assert_eq!(store.key([1; 32]).await.unwrap(), Some((id, Scope::Server)));
    assert_eq!(store.key([2; 32]).await.unwrap(), Some((id, Scope::App)));
    store.create_key(id, [4; 32], Scope::Read, T0, Who::cli()).await.unwrap();
    assert_eq!(store.key([4; 32]).await.unwrap(), Some((id, Scope::Read)));
    assert!(store.create_key(id, [4; 32], Scope::Server, T0, Who::cli()).await.is_err(), "a key is made once");
    assert!(store.create_key(WorkspaceId(i64::MAX), [5; 32], Scope::Server, T0, Who::cli()).await.is_err());
    assert!(store.revoke_key([4; 32], T0 + 1, Who::cli()).await.unwrap());
    assert!(!store.revoke_key([4; 32], T0 + 2, Who::cli()).await.unwrap());
    assert!(!store.revoke_key([99; 32], T0, Who::cli()).await.unwrap());
    assert_eq!(store.key([4; 32]).await.unwrap(), None);
    // The log: newest first, by kind, from a line on; a unit's line is written if the unit is.
    let erased = Entry { kind: Kind::CustomerErased, ..line(9) };
    let unit = vec![Op::Audit(id, erased.clone())];
    assert_eq!(store.commit(vec![unit]).await.unwrap(), [Verdict::Done]);
    let kinds = |rows: Vec<Stored>| rows.into_iter().map(|row| row.entry.kind).collect::<Vec<_>>();
    let every = [Kind::CustomerErased, Kind::KeyRevoked, Kind::KeyCreated, Kind::SettingsChanged];
    assert_eq!(kinds(store.audit(id, all).await.unwrap()), every);
    let two = store.audit(id, AuditFilter { limit: 2, ..all }).await.unwrap();
    let after = AuditFilter { after: Some(two[1].id), ..all };
    assert_eq!(kinds(store.audit(id, after).await.unwrap()), every[2..]);
    let one_kind = AuditFilter { kind: Some(Kind::KeyRevoked), ..all };
    assert_eq!(kinds(store.audit(id, one_kind).await.unwrap()), [Kind::KeyRevoked]);
    store.drop_workspace(id).await.unwrap();
    assert_eq!(store.audit(id, all).await.unwrap(), [], "it goes with its workspace");
    assert_eq!(store.key([1; 32]).await.unwrap(), None);
    let again = store.create_workspace(workspace("acme"), vec![([1; 32], Scope::Read)]).await.unwrap().unwrap();
    assert!(again > id, "an id is never given twice");
}

/// W3: the first answer stands for 24 h.
async fn answers_stay_for_a_day(store: &dyn Store) {
    const DAY: Ms = 86_400_000;
    let (ws, other) = (new_workspace(store, "answers").await, new_workspace(store, "answers-2").await);
    let answer = |n: u8, at| StoredAnswer { request_hash: [n; 32], status: 202, body: vec![n; 3], at };
    store.keep_answer(ws, "k", answer(1, T0)).await.unwrap();
    store.keep_answer(ws, "k", answer(2, T0 + DAY - 1)).await.unwrap();
    assert_eq!(store.stored_answer(ws, "k", T0).await.unwrap(), Some(answer(1, T0)));
    assert_eq!(store.stored_answer(ws, "k", T0 + 1).await.unwrap(), None, "too old");
    assert_eq!(store.stored_answer(ws, "K", 0).await.unwrap(), None);
    assert_eq!(store.stored_answer(other, "k", 0).await.unwrap(), None);
    store.keep_answer(ws, "k", answer(3, T0 + DAY)).await.unwrap();
    assert_eq!(store.stored_answer(ws, "k", 0).await.unwrap(), Some(answer(3, T0 + DAY)));
}

/// S8: export gives everything, page by page, whatever order it came in.
async fn export_pages_through_all_messages(store: &dyn Store) {
    let ws = new_workspace(store, "export").await;
    let times = [("b", 5), ("a", 5), ("c", 1), ("d", 9), ("e", 5)];
    let rows = times.map(|(id, at)| put(MessageRow { accepted_at: T0 + at, ..message(ws, id, "lucas") }));
    let mut unit = rows.to_vec();
    unit.push(put(message(ws, "other", "maria")));
    // Some have a follow-up, of this customer or another.
    for (id, at, customer) in [("f", 3, "lucas"), ("g", 6, "lucas"), ("theirs", 4, "maria")] {
        let f = followup(ws, customer, T0 + at);
        let followed = MessageRow { followup: Some(f.id), accepted_at: T0 + at, ..message(ws, id, customer) };
        unit.extend([put(followed), put(f)]);
    }
    assert_eq!(commit(store, unit).await, Done);
    let mut seen = Vec::new();
    let mut after = (Ms::MIN, String::new());
    loop {
        let page = store.messages_of(ws, "lucas", after.clone(), 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = (last.accepted_at, last.message_id.clone());
        seen.extend(page.into_iter().map(|row| row.message_id));
    }
    assert_eq!(seen, ["c", "f", "a", "b", "e", "g", "d"]);
}

/// S8: what is left of an erased customer counts and answers repeats, and names nobody.
async fn erasing_leaves_no_customer(store: &dyn Store) {
    let ws = new_workspace(store, "erase").await;
    let (f, d) = (followup(ws, "lucas", T0), device(ws, "install"));
    let mut m = message(ws, "m-1", "lucas");
    m.followup = Some(f.id);
    let rows = vec![
        put(customer(ws, "lucas")),
        put(conversation(ws, "chat", "lucas")),
        put(m.clone()),
        put(message(ws, "own", "lucas")),
        put(f.clone()),
        put(d.clone()),
        Op::History(ws, f.id, entry("posted")),
        put(customer(ws, "maria")),
        put(message(ws, "m-2", "maria")),
    ];
    assert_eq!(commit(store, rows).await, Done);
    let ended = FollowupRow { version: 1, ..staged(f.clone(), failed(T0), None) };
    assert_eq!(commit(store, vec![put(ended.clone()), Op::Erase(ws, "lucas".into())]).await, Done);
    for key in [
        Key::Customer(ws, "lucas".into()),
        Key::Conversation(ws, "chat".into(), "lucas".into()),
        Key::Device(ws, d.id),
        Key::Install(ws, "install".into()),
        Key::Token(ws, d.token_hash),
    ] {
        assert_eq!(load(store, key.clone()).await, None, "{key:?}");
    }
    let Some(Row::Message(left)) = load(store, Key::Message(ws, "m-1".into())).await else { panic!() };
    assert_eq!((left.body, left.customer_id.as_str(), left.conversation_id.as_str()), (None, "", ""));
    assert_eq!((left.body_hash, left.answer, left.followup), ([0; 32], m.answer, Some(f.id)));
    let Some(Row::Message(own)) = load(store, Key::Message(ws, "own".into())).await else { panic!() };
    assert_eq!((own.body, own.customer_id.as_str()), (None, ""));
    let left = load_followup(store, ws, f.id).await;
    assert_eq!((left.customer_id.as_str(), left.conversation_id.as_str(), left.version), ("", "", 3));
    assert_eq!(left.state, ended.state);
    assert_eq!(store.history(ws, f.id).await.unwrap().len(), 1);
    assert_eq!(store.messages_of(ws, "lucas", (0, String::new()), 10).await.unwrap(), []);
    let stale = FollowupRow { version: 2, ..ended };
    assert_eq!(commit(store, vec![put(stale)]).await, Conflict, "what was loaded before brings nobody back");
    assert!(load(store, Key::Customer(ws, "maria".into())).await.is_some());
    assert_eq!(store.messages_of(ws, "maria", (0, String::new()), 10).await.unwrap().len(), 1);
    assert_eq!(commit(store, vec![Op::Erase(ws, "nobody".into())]).await, Done);
    assert_eq!(commit(store, vec![put(customer(ws, "lucas"))]).await, Done, "the id may be used again");
}

/// S8: texts go first, then what is closed; what is pending stays. Long ago, so that no other part's rows are old.
async fn retention_takes_the_oldest(store: &dyn Store) {
    let ws = new_workspace(store, "retire").await;
    let year: Ms = 365 * 86_400_000;
    let (ancient, old) = (T0 - 20 * year, T0 - 10 * year);
    let text = |id: &str, at| MessageRow { accepted_at: at, ..message(ws, id, "lucas") };
    let (closed, pending) = (acked(followup(ws, "lucas", ancient)), followup(ws, "lucas", ancient));
    let closed = FollowupRow { id: FollowupId(ancient << 20), ..closed };
    let pending = FollowupRow { id: FollowupId((ancient << 20) + 1), ..pending };
    let rows = vec![
        put(text("ancient", ancient)),
        put(text("old", old)),
        put(text("new", T0)),
        put(closed.clone()),
        put(pending.clone()),
        Op::History(ws, closed.id, entry("acked")),
    ];
    assert_eq!(commit(store, rows).await, Done);
    let answer = StoredAnswer { request_hash: [1; 32], status: 200, body: vec![], at: ancient };
    store.keep_answer(ws, "k", answer).await.unwrap();
    assert_eq!(store.retire(old, 0, 0, 0).await.unwrap(), 0);
    assert_eq!(store.retire(old + 1, 0, 0, 1).await.unwrap(), 1, "one row a call, the oldest");
    assert_eq!(store.retire(old + 1, 0, 0, 100).await.unwrap(), 1);
    assert_eq!(store.retire(old + 1, 0, 0, 100).await.unwrap(), 0);
    let body = async |id: &str| match load(store, Key::Message(ws, id.into())).await {
        Some(Row::Message(row)) => Some(row.body.is_some()),
        _ => None,
    };
    assert_eq!((body("ancient").await, body("old").await, body("new").await), (Some(false), Some(false), Some(true)));
    assert_eq!(store.retire(0, 0, ancient + 1, 100).await.unwrap(), 1);
    assert_eq!(store.stored_answer(ws, "k", 0).await.unwrap(), None);
    assert!(store.retire(0, ancient + 1, 0, 100_000).await.unwrap() >= 2);
    assert_eq!(body("ancient").await, None);
    assert!(body("old").await.is_some());
    assert_eq!(load(store, Key::Followup(ws, closed.id)).await, None);
    assert_eq!(store.history(ws, closed.id).await.unwrap(), []);
    assert!(load(store, Key::Followup(ws, pending.id)).await.is_some());
}

/// T7: one row a number and workspace, listed while it is in force, and no erasure takes it.
async fn opt_outs_outlive_the_customer(store: &dyn Store) {
    let (ws, other) = (new_workspace(store, "opt-outs").await, new_workspace(store, "opt-outs-2").await);
    let row = |id: i64, hash: u8| SuppressionRow {
        workspace: ws,
        id: SuppressionId(id),
        version: 0,
        number_hash: [hash; 32],
        number: Some(vec![hash]),
        channel: if id == 2 { SuppressionChannel::Email } else { SuppressionChannel::Text },
        source: OptOutSource::Stop,
        at: T0,
        standing: SuppressionStanding::InForce,
    };
    let unit =
        vec![put(customer(ws, "lucas")), Op::put(Row::Suppression(row(1, 1))), Op::put(Row::Suppression(row(2, 2)))];
    assert_eq!(commit(store, unit).await, Done);
    assert_eq!(commit(store, vec![Op::put(Row::Suppression(row(3, 1)))]).await, Conflict, "one a number");
    let stored = SuppressionRow { version: 1, ..row(1, 1) };
    assert_eq!(load(store, Key::Suppression(ws, [1; 32])).await, Some(Row::Suppression(stored.clone())));
    assert_eq!(load(store, Key::Suppression(other, [1; 32])).await, None);
    assert_eq!(commit(store, vec![Op::Erase(ws, "lucas".into())]).await, Done);
    let ids = async |filter| {
        let rows = store.suppressions(ws, filter).await.unwrap();
        rows.into_iter().map(|row| row.id.0).collect::<Vec<_>>()
    };
    let all = SuppressionFilter { limit: 10, ..SuppressionFilter::default() };
    assert_eq!(ids(all).await, [2, 1], "newest first");
    assert_eq!(ids(SuppressionFilter { limit: 1, ..all }).await, [2]);
    assert_eq!(ids(SuppressionFilter { after: Some(SuppressionId(2)), ..all }).await, [1]);
    assert_eq!(ids(SuppressionFilter { id: Some(SuppressionId(1)), ..all }).await, [1]);
    assert_eq!(ids(SuppressionFilter { channel: Some(SuppressionChannel::Email), ..all }).await, [2]);
    assert_eq!(store.suppressions(other, all).await.unwrap(), []);
    let lifted = SuppressionStanding::Lifted(T0 + 1);
    let lifted = SuppressionRow { standing: lifted, source: OptOutSource::Provider, number: None, ..stored };
    assert_eq!(commit(store, vec![Op::put(Row::Suppression(lifted.clone()))]).await, Done);
    assert_eq!(ids(all).await, [2]);
    let lifted = SuppressionRow { version: 2, ..lifted };
    assert_eq!(load(store, Key::Suppression(ws, [1; 32])).await, Some(Row::Suppression(lifted)));
    let struck = SuppressionRow { standing: SuppressionStanding::Struck(2), ..row(4, 4) };
    assert_eq!(commit(store, vec![Op::put(Row::Suppression(struck.clone()))]).await, Done);
    assert_eq!(ids(all).await, [2], "not in force yet");
    let struck = SuppressionRow { version: 1, ..struck };
    assert_eq!(load(store, Key::Suppression(ws, [4; 32])).await, Some(Row::Suppression(struck)));
    store.drop_workspace(ws).await.unwrap();
    assert!(ids(all).await.is_empty());
}

/// W2: a receipt finds its text by the vendor's id, the first word on a part stands, and they go with their workspace
/// or after some days.
async fn what_a_receipt_names(store: &dyn Store) {
    let ws = new_workspace(store, "receipts").await;
    let part = |id: &str, followup: Ms, parts| PartRow {
        provider: "smpp".into(),
        id: id.into(),
        workspace: ws,
        followup: FollowupId(followup << 20),
        attempt: 1,
        parts,
    };
    for row in [part("1", T0, 2), part("2", T0, 2), part("3", T0 + 1, 1)] {
        store.keep_part(row).await.unwrap();
    }
    let settled = async |id: &str, delivered| {
        let settled = store.settle_part("smpp", id, delivered).await.unwrap();
        settled.map(|settled| (settled.part, settled.delivered, settled.failed))
    };
    assert_eq!(settled("9", true).await, None);
    assert_eq!(store.settle_part("other", "1", true).await, Ok(None));
    assert_eq!(settled("1", true).await, Some((part("1", T0, 2), 1, false)));
    assert_eq!(settled("1", false).await, Some((part("1", T0, 2), 1, false)), "the first word stands");
    assert_eq!(settled("2", false).await, Some((part("2", T0, 2), 1, true)));
    assert_eq!(settled("3", true).await, Some((part("3", T0 + 1, 1), 1, false)));
    // The SMSC counts from the beginning again.
    store.keep_part(part("1", T0 + 2, 1)).await.unwrap();
    assert_eq!(settled("1", true).await, Some((part("1", T0 + 2, 1), 1, false)));
    store.drop_workspace(ws).await.unwrap();
    assert_eq!(settled("3", true).await, None);
}

/// T7: whoever texted the number from there, lately; a number that the account picked may be any.
async fn whom_a_stop_is_for(store: &dyn Store) {
    let [a, b, c] = ["stop-a", "stop-b", "stop-c"].map(|name| new_workspace(store, name));
    let (a, b, c) = (a.await, b.await, c.await);
    let texted = |ws, sender: &str, at| {
        let followup = FollowupId(at);
        Op::Texted(ws, Texted { number_hash: [9; 32], sender: sender.into(), followup, at })
    };
    let unit = vec![texted(a, "+1", T0), texted(a, "+1", T0 - 5), texted(b, "+2", T0), texted(c, "", T0 + 1)];
    assert_eq!(commit(store, unit).await, Done);
    let meant = async |sender: &str, since| {
        let meant = store.texted([9; 32], sender, since).await.unwrap();
        assert!(meant.is_sorted_by(|a, b| a.at >= b.at) && meant.iter().all(|t| t.followup == Some(FollowupId(t.at))));
        let mut meant: Vec<_> = meant.into_iter().map(|last| last.workspace).collect();
        meant.sort();
        meant
    };
    assert_eq!(meant("+1", T0).await, [a, c]);
    assert_eq!(meant("+2", T0).await, [b, c]);
    assert_eq!(meant("", T0).await, [a, b, c], "from whichever");
    assert_eq!(meant("+1", T0 + 1).await, [c], "the others are too old");
    assert_eq!(store.texted([8; 32], "+1", 0).await.unwrap(), []);
    let kept_ms = 31 * 24 * 3_600_000;
    // What the other tests left goes first.
    store.retire(0, 0, T0 + kept_ms, 100).await.unwrap();
    assert_eq!(store.retire(0, 0, T0 + kept_ms + 1, 100).await.unwrap(), 2);
    assert_eq!(meant("+1", 0).await, [c]);
}

/// S2, S3, S9: a wallet is replaced once a version and its entries are added beside it; a month adds up to its captures
/// without refunds; questions to the billing system are found when they are due; all of it goes with the workspace.
async fn money_is_told_in_entries(store: &dyn Store) {
    let (ws, other) = (new_workspace(store, "money").await, new_workspace(store, "money-2").await);
    let auto_charge = Some(AutoCharge { threshold_micros: 95_000, amount_micros: 7 });
    let terms = Terms { currency: "USD".into(), opening_micros: 100_000, auto_charge, ..Terms::default() };
    let mut change = Change::at(&Wallet::empty("USD"), &terms, T0);
    let charge = |kind, country: &str, parts| {
        let country = Country::parse(country);
        Charge { kind, country, attempt: 1, parts, micros: 1_000 * i64::from(parts), pu_milli: 500 }
    };
    let mut holds = Vec::new();
    for charge in [charge(Paid::Sms, "KR", 3), charge(Paid::Sms, "KR", 2), charge(Paid::Line, "", 1)] {
        let mut hold = change.hold(&charge, &terms, T0).unwrap();
        change.capture(&mut hold, T0);
        holds.push(hold);
    }
    change.give_back(holds.remove(0), T0);
    let lines: Vec<LedgerLine> = change.entries.iter().map(|entry| line(entry.clone())).collect();
    let row = WalletRow { workspace: ws, version: 0, wallet: change.wallet.clone() };
    let unit = || {
        let mut unit = vec![Op::put(Row::Wallet(row.clone()))];
        unit.extend(lines.iter().map(|line| Op::Ledger(ws, line.clone())));
        unit
    };
    assert_eq!((commit(store, unit()).await, commit(store, unit()).await), (Done, Conflict), "each entry once");
    let stored = WalletRow { version: 1, ..row.clone() };
    assert_eq!(load(store, Key::Wallet(ws)).await, Some(Row::Wallet(stored.clone())));
    assert_eq!(load(store, Key::Wallet(other)).await, None);
    let filter = |before, limit| LedgerFilter { before, limit };
    let mut newest_first = lines.clone();
    newest_first.reverse();
    assert_eq!(store.ledger(ws, filter(None, 100)).await.unwrap(), newest_first);
    let second_page = store.ledger(ws, filter(Some(lines.len() as i64 - 1), 2)).await.unwrap();
    assert_eq!(second_page, newest_first[2..4]);
    assert_eq!(commit(store, vec![Op::Ledger(ws, lines[0].clone())]).await, Conflict);
    assert_eq!(store.ledger(other, filter(None, 100)).await.unwrap(), []);
    let of = |kind, country, parts| UsageLine { kind, country, texts: 1, parts, pu_milli: 500, micros: 1_000 * parts };
    let month = Month::of(T0);
    let expected = [of(Paid::Line, None, 1), of(Paid::Sms, Country::parse("KR"), 2)];
    assert_eq!(store.usage(ws, month).await.unwrap(), expected);
    assert_eq!(store.usage(other, month).await.unwrap(), []);
    assert_eq!(store.usage(ws, Month::of(month.end())).await.unwrap(), []);
    // It was asked for at once; heard, it is due no more.
    assert_eq!(store.asking(0, 10).await.unwrap(), [ws]);
    assert_eq!(store.asking(-1, 10).await.unwrap(), []);
    change.asked(1, true, T0);
    let heard = WalletRow { wallet: change.wallet, ..stored };
    assert_eq!(commit(store, vec![Op::put(Row::Wallet(heard))]).await, Done);
    assert_eq!(store.asking(i64::MAX, 10).await.unwrap(), []);
    assert!(store.currencies().await.unwrap().contains(&"USD".to_owned()));
    let paid = TopUpRow {
        workspace: ws,
        top_up_id: "invoice".into(),
        version: 0,
        at: T0,
        amount_micros: 5,
        ask: Some(1),
        seq: 1,
    };
    assert_eq!(commit(store, vec![Op::put(Row::TopUp(paid.clone()))]).await, Done);
    assert_eq!(commit(store, vec![Op::put(Row::TopUp(paid.clone()))]).await, Conflict);
    let stored = Some(Row::TopUp(TopUpRow { version: 1, ..paid }));
    assert_eq!(load(store, Key::TopUp(ws, "invoice".into())).await, stored);
    assert_eq!(load(store, Key::TopUp(other, "invoice".into())).await, None);
    store.drop_workspace(ws).await.unwrap();
    assert_eq!(store.ledger(ws, filter(None, 100)).await.unwrap(), []);
    assert_eq!((store.usage(ws, month).await.unwrap(), load(store, Key::Wallet(ws)).await), (vec![], None));
    assert_eq!(load(store, Key::TopUp(ws, "invoice".into())).await, None);
}

fn line(entry: wallet::Entry) -> LedgerLine {
    LedgerLine { followup: entry.charge.as_ref().map(|_| FollowupId(7)), entry }
}

/// A sandbox workspace goes with everything in it.
async fn dropping_takes_everything_of_one(store: &dyn Store) {
    let ws = new_workspace(store, "drop").await;
    let (f, d) = (followup(ws, "lucas", T0), device(ws, "install"));
    let rows = vec![
        put(customer(ws, "lucas")),
        put(conversation(ws, "chat", "lucas")),
        put(message(ws, "m-1", "lucas")),
        put(f.clone()),
        put(d.clone()),
        Op::History(ws, f.id, entry("posted")),
    ];
    assert_eq!(commit(store, rows).await, Done);
    let answer = StoredAnswer { request_hash: [1; 32], status: 200, body: vec![], at: T0 };
    store.keep_answer(ws, "k", answer).await.unwrap();
    store.drop_workspace(ws).await.unwrap();
    let keys = vec![
        Key::Customer(ws, "lucas".into()),
        Key::Conversation(ws, "chat".into(), "lucas".into()),
        Key::Message(ws, "m-1".into()),
        Key::Followup(ws, f.id),
        Key::Device(ws, DeviceId(d.id.0)),
        Key::Install(ws, "install".into()),
    ];
    assert!(store.load(keys).await.unwrap().iter().all(Option::is_none));
    assert_eq!(store.history(ws, f.id).await.unwrap(), []);
    assert_eq!(store.workspace(ws).await.unwrap(), None);
    assert_eq!(store.stored_answer(ws, "k", 0).await.unwrap(), None);
    store.drop_workspace(ws).await.unwrap();
}

async fn health_is_a_durable_write(store: &dyn Store) {
    let health = store.health().await.unwrap();
    assert_eq!(health.writable, Ok(()));
    assert!(health.schema >= 1);
}
