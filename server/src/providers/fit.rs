//! Cuts the text of a push until the whole request fits the vendors' limit.

use backstop_wire::Push;
use serde_json::Value;
use unicode_segmentation::UnicodeSegmentation;

/// What APNs and FCM take at most, and what we allow the whole request.
pub(super) const MAX_REQUEST_BYTES: usize = 4096;

/// The request that `build` makes of `push`, its texts cut at a grapheme and closed with "…" until it fits: first what
/// was said, then who said it; at last the link is left out. `None` when even that is too much.
pub(super) fn fit(push: &Push, build: impl Fn(&Push) -> Value) -> Option<Value> {
    let fits = |push: &Push| Some(build(push)).filter(|request| size_bytes(request) <= MAX_REQUEST_BYTES);
    if let Some(request) = fits(push) {
        return Some(request);
    }
    let mut cut = push.clone();
    let fields: [fn(&mut Push) -> &mut String; 2] = [|push| &mut push.body, |push| &mut push.title];
    for field in fields {
        let whole = std::mem::take(field(&mut cut));
        if fits(&cut).is_some() {
            *field(&mut cut) = longest(&whole, |text| {
                let mut tried = cut.clone();
                *field(&mut tried) = text;
                fits(&tried).is_some()
            });
            return fits(&cut);
        }
    }
    cut.link = None;
    fits(&cut)
}

/// The longest beginning of `whole` with "…" after it that `fits`; empty when none does. More text is never smaller,
/// so halving finds it.
fn longest(whole: &str, fits: impl Fn(String) -> bool) -> String {
    let ends: Vec<usize> = whole.grapheme_indices(true).map(|(at, _)| at).collect();
    let cut = |at: &usize| format!("{}…", whole[..*at].trim_end());
    let n = ends.partition_point(|at| fits(cut(at)));
    n.checked_sub(1).map(|last| cut(&ends[last])).unwrap_or_default()
}

/// Length of `value` as compact JSON, without writing it down.
fn size_bytes(value: &Value) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    serde_json::to_writer(&mut count, value).expect("counting cannot fail, and a Value has string keys");
    count.0
}
