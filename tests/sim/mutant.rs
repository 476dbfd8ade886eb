//! Deliberate faults of the shell, the store or a phone around the rules: each must be caught, or the oracle is blind.

/// One deviation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// Sends a text first and claims after.
    ClaimAfterSend,
    /// Counts an ack that came after the fallback was decided.
    AckAfterDecision,
    /// In one batch, decides deadlines before acks.
    DeadlinesFirst,
    /// Takes a text that may have left for one that did not.
    BlindResend,
    /// Takes a text that its provider does not find for one that did not leave, at the first look.
    AskedOnce,
    /// Takes an expired claim for one whose bytes never left: a lease.
    LeaseOnly,
    /// Writes rows whatever their version.
    NoVersions,
    /// Keeps a unit that builds on one that was left out.
    BuildsOnAir,
    /// Trusts the index in memory alone: no sweep.
    NoSweep,
    /// The store's index of wake-ups forgets a row now and then.
    LostWakeup,
    /// Measures by the wall clock.
    WallClock,
    /// Rounds its time up to whole seconds.
    RoundsUp,
    /// Takes a receipt from any device.
    ReceiptUnbound,
    /// Looks messages up without the workspace.
    ForeignMessage,
    /// Cancels follow-ups of any workspace.
    ForeignCancel,
    /// Answers commits before they are on the disk: a power cut loses them.
    NormalSync,
    /// The standby lags behind: a failover loses answered commits. Not a bug of ours but of the set-up: it must show.
    AsyncFailover,
    /// Hands effects on before the commit.
    EffectsFirst,
    /// Answers callers before the commit.
    AnswersFirst,
    /// Goes on with the rows it has after a commit that did not happen.
    KeepsCache,
    /// Keeps rows between batches although other nodes write.
    CacheOfMany,
    /// Drops a provider's word when the store is away.
    OutcomeDropped,
    /// Takes a repeated message for a new one.
    RepeatIsNew,
    /// A crash leaves half a unit behind.
    HalfUnit,
    /// Comes back before the provider's `Retry-After`.
    RetryAtOnce,
    /// Pushes although the push is of no more use.
    PushTooLate,
    /// The phone keeps its acks in memory alone.
    PhoneForgets,
    /// Takes the workspace's clock for every customer's.
    HomeClock,
    /// The index is not filled at start, and the sweep looks at fresh rows only.
    OverdueForgotten,
}

pub(crate) const MUTANTS: [Mutant; 29] = [
    Mutant::ClaimAfterSend,
    Mutant::AckAfterDecision,
    Mutant::DeadlinesFirst,
    Mutant::BlindResend,
    Mutant::AskedOnce,
    Mutant::LeaseOnly,
    Mutant::NoVersions,
    Mutant::BuildsOnAir,
    Mutant::NoSweep,
    Mutant::LostWakeup,
    Mutant::WallClock,
    Mutant::RoundsUp,
    Mutant::ReceiptUnbound,
    Mutant::ForeignMessage,
    Mutant::ForeignCancel,
    Mutant::NormalSync,
    Mutant::AsyncFailover,
    Mutant::EffectsFirst,
    Mutant::AnswersFirst,
    Mutant::KeepsCache,
    Mutant::CacheOfMany,
    Mutant::OutcomeDropped,
    Mutant::RepeatIsNew,
    Mutant::HalfUnit,
    Mutant::RetryAtOnce,
    Mutant::PushTooLate,
    Mutant::PhoneForgets,
    Mutant::HomeClock,
    Mutant::OverdueForgotten,
];
