//! The moves that an order can make, written down a second time.

/// The first two states of a history between which there is no way.
pub(crate) fn forbidden(history: &[String]) -> Option<(&str, &str)> {
    let begins = history.first().is_none_or(|first| first == "accepted");
    if !begins {
        return Some(("nothing", &history[0]));
    }
    history
        .windows(2)
        .map(|pair| (pair[0].as_str(), pair[1].as_str()))
        .find(|(from, to)| !next(from).contains(to))
}

fn next(from: &str) -> &'static [&'static str] {
    match from {
        "accepted" => &["queued", "rejected", "failed"],
        "queued" => &["provisioning", "retrying", "failed", "cancelling"],
        "provisioning" => &[
            "completed",
            "retrying",
            "needs_reconciliation",
            "failed",
            "cancelling",
        ],
        "retrying" | "needs_reconciliation" => &[
            "provisioning",
            "retrying",
            "needs_reconciliation",
            "completed",
            "failed",
            "cancelling",
        ],
        "failed" => &["queued", "provisioning", "completed", "cancelling"],
        "cancelling" => &["cancelled", "failed"],
        _ => &[],
    }
}
