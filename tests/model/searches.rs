//! The searches: how much may go wrong in each, and the designs that must be found out.

use crate::design::{Budget, Design, Search};
use crate::oracle::{NOT_BEFORE_CLAIM, ONE_OUTCOME, ONE_TEXT, SILENCE, STUCK};
use backstop_wire::Grade;

const NONE: Budget = Budget { crashes: 0, pauses: 0, slow: 0, failovers: 0, faults: 0, reads: 0, replies: 0 };
const BASE: Search = Search {
    name: "",
    design: Design::Production,
    nodes: 2,
    devices: 1,
    text_key: false,
    email: false,
    grades: &[Grade::Displayed],
    budget: NONE,
};

/// The design as it is.
pub(crate) const SOUND: [Search; 11] = [
    Search {
        name: "text: a crash, a pause, a synchronous failover, a provider's fault",
        nodes: 3,
        budget: Budget { crashes: 1, pauses: 1, failovers: 1, faults: 1, ..NONE },
        ..BASE
    },
    Search {
        name: "text: a crash, two pauses, two provider's faults",
        budget: Budget { crashes: 1, pauses: 2, faults: 2, ..NONE },
        ..BASE
    },
    Search {
        name: "text: a slow commit, a pause, a provider's fault",
        budget: Budget { slow: 1, pauses: 1, faults: 1, ..NONE },
        ..BASE
    },
    Search { name: "text: two slow commits, a read", budget: Budget { slow: 2, reads: 1, ..NONE }, ..BASE },
    Search {
        name: "text under a key: a failover, a pause, a provider's fault",
        text_key: true,
        budget: Budget { failovers: 1, pauses: 1, faults: 1, ..NONE },
        ..BASE
    },
    Search {
        name: "text, two replies: a pause, a read",
        budget: Budget { replies: 1, pauses: 1, reads: 1, ..NONE },
        ..BASE
    },
    Search {
        name: "text, two replies: a crash, a provider's fault",
        nodes: 1,
        budget: Budget { replies: 1, crashes: 1, faults: 1, ..NONE },
        ..BASE
    },
    Search { name: "text, two replies: a slow commit", budget: Budget { replies: 1, slow: 1, ..NONE }, ..BASE },
    Search {
        name: "text and email: a pause, a provider's fault",
        email: true,
        budget: Budget { pauses: 1, faults: 1, ..NONE },
        ..BASE
    },
    Search {
        name: "text and email: a crash, two provider's faults",
        nodes: 1,
        email: true,
        budget: Budget { crashes: 1, faults: 2, ..NONE },
        ..BASE
    },
    Search {
        name: "text, two devices, grades: a crash, two provider's faults",
        nodes: 1,
        devices: 2,
        grades: &[Grade::Suppressed, Grade::Displayed],
        budget: Budget { crashes: 1, faults: 2, ..NONE },
        ..BASE
    },
];

/// The same with more going wrong, for a machine that has the time and 16 GiB.
pub(crate) const LONG: [Search; 4] = [
    Search {
        name: "text, two replies: a crash, a provider's fault",
        budget: Budget { replies: 1, crashes: 1, faults: 1, ..NONE },
        ..BASE
    },
    Search {
        name: "text: a crash, two pauses, a failover, two provider's faults",
        nodes: 3,
        budget: Budget { crashes: 1, pauses: 2, failovers: 1, faults: 2, ..NONE },
        ..BASE
    },
    Search {
        name: "text, two replies: a crash, a pause, a provider's fault, a read",
        budget: Budget { replies: 1, crashes: 1, pauses: 1, faults: 1, reads: 1, ..NONE },
        ..BASE
    },
    Search {
        name: "text and email: a crash, a pause, a provider's fault",
        email: true,
        budget: Budget { crashes: 1, pauses: 1, faults: 1, ..NONE },
        ..BASE
    },
];

/// Designs that fail, and the rules they break.
pub(crate) const KNOWN_TO_FAIL: [(Search, &[&str]); 8] = [
    (
        Search {
            name: "a claim that is only a lease",
            design: Design::LeaseOnly,
            budget: Budget { pauses: 1, ..NONE },
            ..BASE
        },
        &[ONE_TEXT],
    ),
    (
        Search {
            name: "a lease, and a look at it right before the send",
            design: Design::LeaseAndCheck,
            budget: Budget { pauses: 1, ..NONE },
            ..BASE
        },
        &[ONE_TEXT],
    ),
    (
        Search {
            name: "an asynchronous standby that lacks the last commit",
            design: Design::AsyncFailover,
            budget: Budget { failovers: 1, ..NONE },
            ..BASE
        },
        &[ONE_TEXT, SILENCE],
    ),
    (
        Search {
            name: "an ack that counts between two tries under a key",
            design: Design::AckBetweenTries,
            text_key: true,
            budget: Budget { pauses: 1, ..NONE },
            ..BASE
        },
        &[SILENCE],
    ),
    (
        Search {
            name: "sending again what is unknown",
            design: Design::ResendUnknown,
            budget: Budget { faults: 1, ..NONE },
            ..BASE
        },
        &[ONE_TEXT],
    ),
    (
        Search {
            name: "commits without a look at the version",
            design: Design::NoVersionGuard,
            budget: Budget { slow: 1, ..NONE },
            ..BASE
        },
        &[ONE_OUTCOME, SILENCE],
    ),
    (
        Search {
            name: "bytes that leave while the claim is being committed",
            design: Design::SendBeforeClaim,
            budget: Budget { slow: 1, ..NONE },
            ..BASE
        },
        &[NOT_BEFORE_CLAIM],
    ),
    (
        Search {
            name: "a claim that arms no wake-up",
            design: Design::LostWakeUp,
            budget: Budget { crashes: 1, ..NONE },
            ..BASE
        },
        &[STUCK],
    ),
];
